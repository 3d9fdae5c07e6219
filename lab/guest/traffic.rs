//! Traffic whose every packet and byte can be counted: for the lab's guests and machines.
//!
//! One end sends numbered messages that carry a tenant's marker, the other counts what arrives
//! and what should not have. Static and without crates, so that the same program runs in a guest
//! that has nothing else. It paces, it does not measure speed.
//!
//! Usage: traffic MODE key=value... The last line printed is `result key=value...`.
//!   udp-send  to=IP:PORT marker=acme count=1000 rate=100 size=64 stop=FILE
//!   udp-count port=5001 marker=acme count=1000 idle_s=60 wait_s=60 stop=FILE
//!   tcp-send  to=IP:PORT marker=acme bytes=1000000 rate=0 stop=FILE
//!   tcp-count port=5001 marker=acme wait_s=60
//!   echo      port=7, UDP and TCP, for ever

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

type Outcome = std::io::Result<()>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let mode = words.next().unwrap_or_default();
    let options = Options(
        words
            .filter_map(|word| {
                word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
            })
            .collect(),
    );
    let outcome = match mode.as_str() {
        "udp-send" => udp_send(&options),
        "udp-count" => udp_count(&options),
        "tcp-send" => tcp_send(&options),
        "tcp-count" => tcp_count(&options),
        "echo" => echo(options.number("port", 7)),
        _ => Err(std::io::Error::other(
            "usage: traffic udp-send|udp-count|tcp-send|tcp-count|echo key=value...",
        )),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("result error={}", error.to_string().replace(' ', "_"));
            ExitCode::FAILURE
        }
    }
}

struct Options(HashMap<String, String>);

impl Options {
    fn text<'a>(&'a self, key: &str, default: &'a str) -> &'a str {
        self.0.get(key).map_or(default, String::as_str)
    }

    fn number(&self, key: &str, default: u64) -> u64 {
        self.0.get(key).and_then(|value| value.parse().ok()).unwrap_or(default)
    }

    fn seconds(&self, key: &str, default: u64) -> Duration {
        Duration::from_secs(self.number(key, default))
    }
}

/// Message `number` of a stream: `acme:000001`, filled up with dots to `size` bytes.
fn message(marker: &str, number: u64, size: usize) -> Vec<u8> {
    let mut bytes = format!("{marker}:{number:06}").into_bytes();
    bytes.resize(size.max(bytes.len()), b'.');
    bytes
}

/// The number of a message, if it carries `marker`.
fn number_of(bytes: &[u8], marker: &str) -> Option<u64> {
    let rest = bytes.strip_prefix(marker.as_bytes())?.strip_prefix(b":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
}

fn udp_send(options: &Options) -> Outcome {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(options.text("to", ""))?;
    let marker = options.text("marker", "lab");
    let count = options.number("count", u64::MAX);
    let size = options.number("size", 64) as usize;
    let interval = Duration::from_secs_f64(1.0 / options.number("rate", 100).max(1) as f64);
    let start = Instant::now();
    let (mut sent, mut failed) = (0, 0);
    while sent < count && !stop_asked(options) {
        sleep_until(start + interval.mul_f64((sent + failed) as f64));
        // A refused datagram was never sent; its number is used again.
        match socket.send(&message(marker, sent + 1, size)) {
            Ok(_) => sent += 1,
            Err(_) => failed += 1,
        }
    }
    println!("result sent={sent} send_errors={failed} send_ms={}", start.elapsed().as_millis());
    Ok(())
}

fn stop_asked(options: &Options) -> bool {
    let path = options.text("stop", "");
    !path.is_empty() && Path::new(path).exists()
}

fn sleep_until(due: Instant) {
    sleep(due.saturating_duration_since(Instant::now()));
}

fn udp_count(options: &Options) -> Outcome {
    let socket = UdpSocket::bind(("0.0.0.0", options.number("port", 5001) as u16))?;
    let marker = options.text("marker", "lab");
    let count = options.number("count", u64::MAX);
    println!("ready");
    let mut numbers = HashSet::new();
    let (mut received, mut foreign, mut out_of_order, mut highest) = (0_u64, 0_u64, 0_u64, 0);
    let mut gaps = Gaps::default();
    let mut buffer = [0; 65536];
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut heard = Instant::now();
    loop {
        let Ok(len) = socket.recv(&mut buffer) else {
            let patience = match received + foreign {
                // The last message may have a duplicate close behind it, or be late itself.
                _ if numbers.len() as u64 >= count => Duration::from_millis(300),
                _ if stop_asked(options) => Duration::from_millis(500),
                0 => options.seconds("wait_s", 60),
                _ => options.seconds("idle_s", 60),
            };
            if heard.elapsed() >= patience {
                break;
            }
            continue;
        };
        heard = Instant::now();
        let Some(number) = number_of(&buffer[..len], marker) else {
            foreign += 1;
            continue;
        };
        received += 1;
        gaps.mark();
        if numbers.insert(number) && number < highest {
            out_of_order += 1;
        }
        highest = highest.max(number);
    }
    println!(
        "result received={received} distinct={} duplicates={} out_of_order={out_of_order} foreign={foreign} longest_gap_ms={}",
        numbers.len(),
        received - numbers.len() as u64,
        gaps.longest_ms,
    );
    Ok(())
}

/// The longest silence between two arrivals.
#[derive(Default)]
struct Gaps {
    last: Option<Instant>,
    longest_ms: u128,
}

impl Gaps {
    fn mark(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.longest_ms = self.longest_ms.max((now - last).as_millis());
        }
    }
}

/// A TCP stream is lines of this many bytes, so that its receiver can check the order.
const LINE_LEN: usize = 64;

fn line(marker: &str, number: u64) -> Vec<u8> {
    let mut bytes = message(marker, number, LINE_LEN);
    bytes[LINE_LEN - 1] = b'\n';
    bytes
}

fn tcp_send(options: &Options) -> Outcome {
    let mut stream = connect(options.text("to", ""), options.seconds("wait_s", 20))?;
    stream.set_nodelay(true)?;
    let marker = options.text("marker", "lab");
    let bytes = options.number("bytes", u64::MAX);
    let rate = options.number("rate", 0);
    // One line in a segment when paced, so that the stream is steady; many when it is not.
    let lines = if rate > 0 { 1 } else { 256 };
    let start = Instant::now();
    let (mut sent, mut number) = (0_u64, 0);
    while sent < bytes && !stop_asked(options) {
        let chunk: Vec<u8> = (1..=lines).flat_map(|step| line(marker, number + step)).collect();
        number += lines;
        let part = &chunk[..chunk.len().min(usize::try_from(bytes - sent).unwrap_or(usize::MAX))];
        stream.write_all(part)?;
        sent += part.len() as u64;
        if rate > 0 {
            sleep_until(start + Duration::from_secs_f64(sent as f64 / rate as f64));
        }
    }
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.read_to_string(&mut answer)?;
    println!(
        "result sent_bytes={sent} confirmed_bytes={} send_ms={}",
        answer.trim(),
        start.elapsed().as_millis()
    );
    Ok(())
}

fn connect(to: &str, patience: Duration) -> std::io::Result<TcpStream> {
    let start = Instant::now();
    loop {
        match TcpStream::connect(to) {
            Err(_) if start.elapsed() < patience => sleep(Duration::from_millis(100)),
            outcome => return outcome,
        }
    }
}

fn tcp_count(options: &Options) -> Outcome {
    let listener = TcpListener::bind(("0.0.0.0", options.number("port", 5001) as u16))?;
    println!("ready");
    let (mut stream, _) = accept(&listener, options.seconds("wait_s", 60))?;
    stream.set_read_timeout(Some(options.seconds("idle_s", 30)))?;
    let marker = options.text("marker", "lab");
    let (mut received, mut in_order, mut number) = (0_u64, true, 0);
    let mut gaps = Gaps::default();
    let (mut rest, mut buffer) = (Vec::new(), [0; 65536]);
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            break;
        }
        gaps.mark();
        received += len as u64;
        rest.extend_from_slice(&buffer[..len]);
        let whole = rest.len() / LINE_LEN * LINE_LEN;
        for bytes in rest[..whole].chunks(LINE_LEN) {
            number += 1;
            in_order &= bytes == line(marker, number);
        }
        rest.drain(..whole);
    }
    in_order &= line(marker, number + 1).starts_with(&rest);
    stream.write_all(received.to_string().as_bytes())?;
    println!(
        "result received_bytes={received} in_order={in_order} longest_gap_ms={}",
        gaps.longest_ms
    );
    Ok(())
}

/// `accept` with an end: the standard library has none.
fn accept(
    listener: &TcpListener,
    patience: Duration,
) -> std::io::Result<(TcpStream, std::net::SocketAddr)> {
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, from)) => {
                stream.set_nonblocking(false)?;
                return Ok((stream, from));
            }
            Err(error) if start.elapsed() > patience => return Err(error),
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

fn echo(port: u64) -> Outcome {
    let udp = UdpSocket::bind(("0.0.0.0", port as u16))?;
    spawn(move || {
        let mut buffer = [0; 65536];
        loop {
            if let Ok((len, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(&buffer[..len], from);
            }
        }
    });
    for stream in TcpListener::bind(("0.0.0.0", port as u16))?.incoming() {
        let mut stream = stream?;
        spawn(move || {
            let mut back = stream.try_clone()?;
            std::io::copy(&mut stream, &mut back)
        });
    }
    Ok(())
}
