//! Capture files, written in every form and read back: classic pcap and pcapng, both byte orders.
//!
//! Reads only what capture tools write (no compression), and gives up at the first fault: a judge
//! has no use for half a file.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::site::Point;

/// Which file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub is_pcapng: bool,
    pub is_big_endian: bool,
    /// Time in nanoseconds; of pcap only, interfaces of pcapng have clocks of their own.
    pub is_nano: bool,
}

impl Form {
    pub fn of_word(word: &str) -> Option<Self> {
        let (is_pcapng, is_big_endian, is_nano) = match word {
            "pcap" => (false, false, false),
            "pcap-nano" => (false, false, true),
            "pcap-big" => (false, true, false),
            "pcap-nano-big" => (false, true, true),
            "pcapng" => (true, false, false),
            "pcapng-big" => (true, true, false),
            _ => return None,
        };
        Some(Self { is_pcapng, is_big_endian, is_nano })
    }
}

/// A capture being written.
pub struct Writer<W: Write> {
    out: BufWriter<W>,
    form: Form,
    written: u64,
}

impl<W: Write> Writer<W> {
    pub fn new(out: W, form: Form) -> io::Result<Self> {
        let out = BufWriter::with_capacity(1 << 20, out);
        let mut writer = Self { out, form, written: 0 };
        if form.is_pcapng {
            writer.put_section()?;
        } else {
            let magic = if form.is_nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4_u32 };
            let mut header = Vec::new();
            header.extend(writer.u32(magic));
            header.extend(writer.u16(2));
            header.extend(writer.u16(4));
            for word in [0, 0, SNAPLEN, LINK_ETHERNET] {
                header.extend(writer.u32(word));
            }
            writer.put(&header)?;
        }
        Ok(writer)
    }

    pub fn write(&mut self, time_us: u64, point: Point, bytes: &[u8]) -> io::Result<()> {
        let len = bytes.len() as u32;
        if self.form.is_pcapng {
            let time = if point.interface().1 == 9 { time_us * 1000 } else { time_us };
            let padding = bytes.len().next_multiple_of(4) - bytes.len();
            let total = (32 + bytes.len() + padding) as u32;
            let words = [6, total, point as u32, (time >> 32) as u32, time as u32, len, len];
            self.put_words(&words)?;
            self.put(bytes)?;
            self.put(&[0; 3][..padding])?;
            self.put_words(&[total])
        } else {
            let (seconds, micros) = ((time_us / 1_000_000) as u32, (time_us % 1_000_000) as u32);
            let fraction = if self.form.is_nano { micros * 1000 } else { micros };
            self.put_words(&[seconds, fraction, len, len])?;
            self.put(bytes)
        }
    }

    /// Bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn put_section(&mut self) -> io::Result<()> {
        let mut body = Vec::new();
        body.extend(self.u32(0x1a2b_3c4d));
        body.extend(self.u16(1));
        body.extend(self.u16(0));
        body.extend([0xff; 8]);
        self.put_block(0x0a0d_0d0a, &body)?;
        for point in Point::ALL {
            let (name, digits) = point.interface();
            let mut body = Vec::new();
            body.extend(self.u16(LINK_ETHERNET as u16));
            body.extend(self.u16(0));
            body.extend(self.u32(SNAPLEN));
            self.option(&mut body, 2, name.as_bytes());
            // Six digits are what an interface has that says nothing.
            if digits != 6 {
                self.option(&mut body, 9, &[digits]);
            }
            self.option(&mut body, 0, &[]);
            self.put_block(1, &body)?;
        }
        Ok(())
    }

    fn option(&self, body: &mut Vec<u8>, code: u16, value: &[u8]) {
        body.extend(self.u16(code));
        body.extend(self.u16(value.len() as u16));
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }

    fn put_block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let total = body.len() as u32 + 12;
        self.put_words(&[kind, total])?;
        self.put(body)?;
        self.put_words(&[total])
    }

    fn put_words(&mut self, words: &[u32]) -> io::Result<()> {
        for word in words {
            let bytes = self.u32(*word);
            self.put(&bytes)?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn u16(&self, value: u16) -> [u8; 2] {
        if self.form.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }

    fn u32(&self, value: u32) -> [u8; 4] {
        if self.form.is_big_endian { value.to_be_bytes() } else { value.to_le_bytes() }
    }
}

/// A packet of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub time_ns: u64,
    pub wire_len: u32,
    pub bytes: &'a [u8],
}

/// A whole capture in memory.
pub struct Capture {
    bytes: Vec<u8>,
}

impl Capture {
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self { bytes: std::fs::read(path)? })
    }

    /// All packets, or what is wrong with the file.
    pub fn records(&self) -> Result<Vec<Record<'_>>, String> {
        let bytes = &self.bytes;
        let magic = word(bytes, 0, false)?;
        match magic {
            0x0a0d_0d0a => records_of_pcapng(bytes),
            0xa1b2_c3d4 => records_of_pcap(bytes, false, 1000),
            0xd4c3_b2a1 => records_of_pcap(bytes, true, 1000),
            0xa1b2_3c4d => records_of_pcap(bytes, false, 1),
            0x4d3c_b2a1 => records_of_pcap(bytes, true, 1),
            _ => Err(format!("not a capture: it begins with {magic:#x}")),
        }
    }
}

fn records_of_pcap(bytes: &[u8], is_big: bool, unit_ns: u64) -> Result<Vec<Record<'_>>, String> {
    let mut records = Vec::new();
    let mut at = 24;
    while at < bytes.len() {
        let [seconds, fraction, len, wire_len] = words(bytes, at, is_big)?;
        let start = at + 16;
        at = start + len as usize;
        let bytes = bytes.get(start..at).ok_or_else(|| format!("cut at byte {start}"))?;
        let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit_ns;
        records.push(Record { time_ns, wire_len, bytes });
    }
    Ok(records)
}

fn records_of_pcapng(bytes: &[u8]) -> Result<Vec<Record<'_>>, String> {
    let mut records = Vec::new();
    let (mut at, mut is_big, mut units) = (0, false, Vec::new());
    while at < bytes.len() {
        let mut kind = word(bytes, at, is_big)?;
        if kind == 0x0a0d_0d0a {
            is_big = word(bytes, at + 8, false)? != 0x1a2b_3c4d;
            units.clear();
            kind = 0;
        }
        let total = word(bytes, at + 4, is_big)? as usize;
        if total < 12
            || !total.is_multiple_of(4)
            || word(bytes, at + total - 4, is_big)? as usize != total
        {
            return Err(format!("a block of {total} bytes at byte {at}"));
        }
        match kind {
            1 => units.push(unit_ns(&bytes[at + 16..at + total - 4], is_big)?),
            6 => {
                let [interface, high, low, len] = words(bytes, at + 8, is_big)?;
                let wire_len = word(bytes, at + 24, is_big)?;
                let unit = *units.get(interface as usize).ok_or("a packet of no interface")?;
                let time_ns = (u64::from(high) << 32 | u64::from(low)) * unit;
                let start = at + 28;
                let end = start + len as usize;
                if end > at + total - 4 {
                    return Err(format!("a packet longer than its block at byte {at}"));
                }
                records.push(Record { time_ns, wire_len, bytes: &bytes[start..end] });
            }
            _ => {}
        }
        at += total;
    }
    Ok(records)
}

/// Nanoseconds in a tick, from the options of an interface.
fn unit_ns(options: &[u8], is_big: bool) -> Result<u64, String> {
    let half = |at: usize| -> Result<u16, String> {
        let bytes = options.get(at..at + 2).ok_or("options end too early")?;
        let bytes = [bytes[0], bytes[1]];
        Ok(if is_big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let mut at = 0;
    while at + 4 <= options.len() {
        let (code, len) = (half(at)?, usize::from(half(at + 2)?));
        if code == 0 {
            break;
        }
        if code == 9 {
            return match options.get(at + 4) {
                Some(digits @ 0..=9) => Ok(10u64.pow(9 - u32::from(*digits))),
                other => Err(format!("a clock of resolution {other:?}")),
            };
        }
        at += 4 + len.next_multiple_of(4);
    }
    Ok(1000)
}

fn words<const N: usize>(bytes: &[u8], at: usize, is_big: bool) -> Result<[u32; N], String> {
    let mut words = [0; N];
    for (n, slot) in words.iter_mut().enumerate() {
        *slot = word(bytes, at + 4 * n, is_big)?;
    }
    Ok(words)
}

fn word(bytes: &[u8], at: usize, is_big: bool) -> Result<u32, String> {
    let bytes = bytes.get(at..at + 4).ok_or_else(|| format!("ends at byte {at}"))?;
    let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
    Ok(if is_big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

const SNAPLEN: u32 = 262_144;
const LINK_ETHERNET: u32 = 1;
