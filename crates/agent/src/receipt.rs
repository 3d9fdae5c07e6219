//! The receipt of a capture: every packet from the interface to the file, in numbers that add up.

use std::fmt;

use pipeline::Ledger;
use serde::Serialize;

use crate::orders::{End, FileReport};
use crate::sandbox::Sandbox;

/// What a capture did, for people (its text) and programs (its JSON).
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// Version of the program.
    pub overtap: &'static str,
    /// Name of the VM when the capture began.
    pub vm: String,
    /// Its identity.
    pub vm_id: String,
    /// The host.
    pub host: String,
    /// Kind of observation point: `port`, `uplink` or `inside`.
    pub point: String,
    /// The expression, as understood.
    pub filter: Option<String>,
    /// Most bytes kept of each packet.
    pub snaplen: u32,
    /// When the capture began, RFC 3339.
    pub began: String,
    /// When it ended, RFC 3339.
    pub ended: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Why it ended, in words.
    pub end: String,
    /// The account of each interface.
    pub interfaces: Vec<InterfaceReceipt>,
    /// All accounts together.
    pub total: Ledger,
    /// Packets not accounted for; anything but 0 is a fault of the program.
    pub unaccounted: i64,
    /// Packets that were asked for and are not in the file.
    pub lost: u64,
    /// Packets written out of the order of time.
    pub out_of_order: u64,
    /// The files written.
    pub files: Vec<FileReport>,
    /// Files that the ring has deleted again.
    pub deleted_files: u64,
    /// What happened meanwhile: renamed, interface gone ...
    pub events: Vec<String>,
    /// The fences around the process that read the packets.
    pub sandbox: Sandbox,
}

/// The account of one interface.
#[derive(Debug, Clone, Serialize)]
pub struct InterfaceReceipt {
    /// `web-01/net0 @ hv-1:vnet3`.
    pub label: String,
    /// Name of the interface.
    pub interface: String,
    /// Packets that the interface itself counted meanwhile, both directions; `None` when it is gone
    /// or cannot be read. A check from outside: it is read a moment before and after.
    pub interface_packets: Option<u64>,
    /// Packets that the kernel's filter passed over, by the interface's own counters.
    pub passed_over: Option<u64>,
    /// What became of those that reached the socket.
    #[serde(flatten)]
    pub ledger: Ledger,
}

impl Receipt {
    /// Whether everything that was asked for is in the file.
    pub const fn is_complete(&self) -> bool {
        self.lost == 0
    }

    /// Whether the capture ended because the output gave up.
    pub const fn has_failed(end: &End) -> bool {
        matches!(end, End::OutputFailed(_) | End::InterfacesGone | End::DiskReserve)
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Receipt: {} @ {}, {}, {:.1} s; ended because {}",
            self.vm, self.host, self.point, self.seconds, self.end
        )?;
        let columns = self.columns();
        let label_width = ROWS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for column in columns.iter().filter(|_| columns.len() > 1) {
            writeln!(f, "  [{}] {}", column.head, column.label)?;
        }
        if columns.len() > 1 {
            write!(f, "  {:label_width$}", "")?;
            for column in &columns {
                write!(f, " {:>COLUMN_WIDTH$}", format!("[{}]", column.head))?;
            }
            writeln!(f)?;
        }
        for (name, value) in ROWS {
            write!(f, "  {name:label_width$}")?;
            for column in &columns {
                write!(f, " {:>COLUMN_WIDTH$}", grouped(value(&column.ledger)))?;
            }
            writeln!(f)?;
        }
        self.write_rest(f)
    }
}

impl Receipt {
    fn columns(&self) -> Vec<Column> {
        let mut columns: Vec<Column> = self
            .interfaces
            .iter()
            .enumerate()
            .map(|(number, interface)| Column {
                head: (number + 1).to_string(),
                label: interface.label.clone(),
                ledger: interface.ledger,
            })
            .collect();
        if columns.len() > MOST_COLUMNS {
            columns.clear();
        }
        if columns.len() != 1 {
            columns.push(Column {
                head: "all".into(),
                label: format!("{} interfaces together", self.interfaces.len()),
                ledger: self.total,
            });
        }
        columns
    }

    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for interface in &self.interfaces {
            if let Some(packets) = interface.interface_packets {
                write!(f, "  {} itself counted {}", interface.interface, grouped(packets))?;
                match interface.passed_over {
                    Some(0) | None => writeln!(f)?,
                    Some(over) => {
                        writeln!(
                            f,
                            ", of which the kernel's filter passed over {}",
                            grouped(over)
                        )?;
                    }
                }
            }
        }
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        if self.out_of_order > 0 {
            writeln!(f, "  {} packets are out of the order of time", grouped(self.out_of_order))?;
        }
        for file in &self.files {
            writeln!(
                f,
                "  {}: {} packets, {} bytes",
                file.path.display(),
                grouped(file.packets),
                grouped(file.bytes)
            )?;
        }
        if self.deleted_files > 0 {
            writeln!(f, "  {} older files of the ring were deleted", self.deleted_files)?;
        }
        match (self.unaccounted, self.lost) {
            (0, 0) => writeln!(f, "  Every packet is accounted for; none was lost."),
            (0, lost) => {
                writeln!(f, "  Every packet is accounted for; {} were LOST.", grouped(lost))
            }
            (missing, _) => {
                writeln!(
                    f,
                    "  {missing} packets are NOT ACCOUNTED FOR: this is a fault of overtap."
                )
            }
        }
    }
}

struct Column {
    head: String,
    label: String,
    ledger: Ledger,
}

type Row = (&'static str, fn(&Ledger) -> u64);

/// From the interface to the file; the first is the sum of all but the last.
const ROWS: [Row; 9] = [
    ("seen", |ledger| ledger.received),
    ("  dropped by the kernel", |ledger| ledger.kernel_dropped),
    ("  other tenant", |ledger| ledger.other_tenant),
    ("  owner undecidable", |ledger| ledger.undecidable),
    ("  not selected", |ledger| ledger.not_selected),
    ("  after the limit", |ledger| ledger.after_limit),
    ("  could not be written", |ledger| ledger.queue_full + ledger.sink_failed),
    ("  written", |ledger| ledger.written),
    ("    of these sliced", |ledger| ledger.sliced),
];

const COLUMN_WIDTH: usize = 13;
const MOST_COLUMNS: usize = 4;

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }

    #[test]
    fn the_rows_between_seen_and_sliced_add_up_to_seen() {
        let ledger = Ledger {
            received: 36,
            kernel_dropped: 1,
            not_selected: 2,
            other_tenant: 3,
            undecidable: 4,
            after_limit: 5,
            queue_full: 6,
            sink_failed: 7,
            written: 8,
            written_bytes: 99,
            sliced: 8,
        };
        let values: Vec<u64> = ROWS.iter().map(|(_, value)| value(&ledger)).collect();
        assert_eq!(values[0], values[1..8].iter().sum::<u64>());
    }
}
