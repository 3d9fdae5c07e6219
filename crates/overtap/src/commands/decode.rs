//! `overtap decode`: prints one line for each packet of a file with its layers.

mod json;
mod text;
mod tsv;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use capture::Input;
use clap::ValueEnum;
use wire::file::{DamageReason, Interface, Item, Record};
use wire::header::Trailer;
use wire::{Layers, PointId, TunnelPorts};

use crate::exit::Exit;
use crate::tunnels::Tunnels;

/// Prints one line for each packet of a file with its layers.
///
/// A line says when and where the packet was seen, how many of its bytes were captured, which
/// headers it holds, who talks to whom outside and inside of all tunnels, and why decoding stopped
/// where it did not reach the payload. What is wrong with the file is told on standard error.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  overtap decode uplink.pcapng
  overtap decode mirror.pcap --tunnel-port vxlan=4800 --tunnel-port geneve=6082
  overtap decode - --output json < uplink.pcap.gz | jq .levels

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 finished but the file is damaged or cut.")]
pub(crate) struct Args {
    /// The capture file, pcap or pcapng, also packed by gzip; `-` is standard input.
    file: PathBuf,
    #[command(flatten)]
    tunnels: Tunnels,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// How packets are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs, one object a line.
    Json,
    /// For tables: a line of column names, then one line for each packet.
    Tsv,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut input = Input::open(&args.file)?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let mut ports = TunnelPorts::default();
    args.tunnels.add_to(&mut ports);
    match decode(&mut input, &ports, args.output, &mut out) {
        // Whoever reads us has seen enough.
        Err(error) if is_broken_pipe(&error) => Ok(Exit::Done),
        result => result,
    }
}

fn decode(
    input: &mut Input,
    ports: &TunnelPorts,
    format: Format,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let mut points = Points::default();
    let mut line = Vec::new();
    let mut exit = Exit::Done;
    let path = input.path().display().to_string();
    if format == Format::Tsv {
        out.write_all(tsv::HEADER.as_bytes())?;
    }
    loop {
        let records = input.records();
        match input.next() {
            Ok(None) => break,
            Ok(Some(Item::Interface(interface))) => points.add(&interface),
            Ok(Some(Item::Record(record))) => {
                let view = View::new(&record, &points, ports);
                line.clear();
                match format {
                    Format::Text => text::write(&mut line, &view),
                    Format::Json => json::write(&mut line, &view),
                    Format::Tsv => tsv::write(&mut line, &view),
                }?;
                out.write_all(&line)?;
            }
            Ok(Some(Item::Damage(damage))) => {
                let is_nothing = matches!(damage.reason, DamageReason::NotACapture { .. });
                if is_nothing && records == 0 {
                    anyhow::bail!("cannot read {path}: {damage}");
                }
                // Standard error is read beside our lines, so they have to be in step.
                out.flush()?;
                eprintln!("overtap: {path}: {damage}");
                if damage.costs_packet() || damage.is_final() {
                    exit = Exit::Lost;
                }
            }
            Ok(Some(_)) => {}
            Err(error) => {
                out.flush()?;
                return Err(error.into());
            }
        }
    }
    out.flush()?;
    Ok(exit)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What a line is made from.
struct View<'a> {
    record: &'a Record<'a>,
    /// The bytes of the packet, without a frame check sequence.
    data: &'a [u8],
    layers: Layers,
    point: Option<&'a Point>,
}

impl<'a> View<'a> {
    fn new(record: &'a Record<'a>, points: &'a Points, ports: &TunnelPorts) -> Self {
        let packet = &record.packet;
        let point = points.get(packet.point);
        // A sliced packet has lost its frame check sequence already.
        let fcs_bytes = match point {
            Some(point) if !packet.is_sliced() => usize::from(point.fcs_bytes),
            _ => 0,
        };
        let len = packet.data.len().saturating_sub(fcs_bytes);
        let data = packet.data.get(..len).unwrap_or(packet.data);
        Self { record, data, layers: Layers::decode(packet.link, data, ports), point }
    }

    /// What a time-stamping device put behind the packet.
    fn trailer(&self) -> Option<Trailer> {
        let behind = self.data.get(self.layers.payload_end()..)?;
        Trailer::find(behind, self.record.packet.time)
    }

    /// What the observation point is called; empty if it has no name.
    fn point_name(&self) -> &str {
        self.point.map(|point| point.name.as_str()).unwrap_or_default()
    }
}

/// The observation points of a file.
#[derive(Default)]
struct Points(Vec<Point>);

struct Point {
    point: PointId,
    /// As the file names it, without control characters: it is printed on terminals.
    name: String,
    fcs_bytes: u8,
}

impl Points {
    fn add(&mut self, interface: &Interface<'_>) {
        let name = interface.name().map(|name| name.to_str().into_owned()).unwrap_or_default();
        self.0.push(Point {
            point: interface.point,
            name: name.replace(char::is_control, "\u{fffd}"),
            fcs_bytes: interface.fcs_bytes.unwrap_or_default(),
        });
    }

    fn get(&self, point: PointId) -> Option<&Point> {
        // They are numbered in order, nearly always without a gap.
        self.0
            .get(point.0 as usize)
            .filter(|found| found.point == point)
            .or_else(|| self.0.iter().find(|found| found.point == point))
    }
}

const BUFFER_BYTES: usize = 256 * 1024;
