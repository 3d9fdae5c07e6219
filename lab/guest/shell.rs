//! The way into a guest that needs no network: runs commands that come over a virtio-serial port.
//!
//! Request: `ID NUL COMMAND NUL`. Answer: what the command printed, then `NUL ID SPACE STATUS LF`.
//! One command at a time. A reader drops everything before its own ID, so an answer nobody waited
//! for does no harm. It is the guest's half; the host's is shell.py.
//!
//! Usage: shell /dev/vport1p1

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_default();
    let mut port = OpenOptions::new().read(true).write(true).open(path)?;
    let (mut pending, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match port.read(&mut buffer) {
            // Nobody is connected on the host's side.
            Ok(0) | Err(_) => sleep(Duration::from_millis(50)),
            Ok(len) => pending.extend_from_slice(&buffer[..len]),
        }
        while let Some((id, command)) = take_request(&mut pending) {
            let answer = run(&id, &command);
            port.write_all(&answer)?;
        }
    }
}

fn take_request(pending: &mut Vec<u8>) -> Option<(String, String)> {
    let mut ends = pending.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
    let (id_end, end) = (ends.next()?, ends.next()?);
    let id = String::from_utf8_lossy(&pending[..id_end]).into_owned();
    let command = String::from_utf8_lossy(&pending[id_end + 1..end]).into_owned();
    pending.drain(..=end);
    Some((id, command))
}

fn run(id: &str, command: &str) -> Vec<u8> {
    let outcome = Command::new("/bin/sh")
        .args(["-c", &format!("exec 2>&1\n{command}")])
        .stdin(Stdio::null())
        .output();
    let (mut answer, status) = match outcome {
        Ok(output) => (output.stdout, output.status.code().unwrap_or(255)),
        Err(error) => (error.to_string().into_bytes(), 126),
    };
    answer.extend_from_slice(format!("\0{id} {status}\n").as_bytes());
    answer
}
