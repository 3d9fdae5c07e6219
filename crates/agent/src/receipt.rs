//! The receipt of a capture: every packet from the interface to the file, in numbers that add up.

use std::fmt;

use broker::ToolDrop;
use deliver::ToolReport;
use inventory::Machine;
use jiff::Timestamp;
use pipeline::Ledger;
use plan::Interface;
use select::Ownership;
use select::bpf::InKernel;
use serde::Serialize;

use crate::orders::{FileReport, GapReport, Outcome};
use crate::sandbox::Sandbox;
use crate::session::Request;

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
    /// Packets of mirrors that did not come, by their sequence numbers: an estimate.
    pub lost_of_mirrors: u64,
    /// Packets written out of the order of time.
    pub out_of_order: u64,
    /// The files written.
    pub files: Vec<FileReport>,
    /// Files that the ring has deleted again.
    pub deleted_files: u64,
    /// What each tool got.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolReport>,
    /// Times in which nothing could come from a sender.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<GapReport>,
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
    /// What of the expression the kernel's filter decides.
    pub expression_in_kernel: InKernel,
    /// What became of those that reached the socket.
    #[serde(flatten)]
    pub ledger: Ledger,
}

/// All that a receipt is made of.
#[derive(Debug)]
pub struct Story<'a> {
    /// What was asked for.
    pub request: &'a Request<'a>,
    /// The VM as it was when the capture began.
    pub machine: &'a Machine,
    /// The host.
    pub host: &'a str,
    /// When the capture began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// How it went.
    pub outcome: &'a Outcome,
    /// Packets each interface itself has counted meanwhile; see [`crate::OwnCounts`].
    pub interface_packets: Vec<Option<u64>>,
    /// For each interface, what of the expression its kernel program decides.
    pub in_kernel: Vec<InKernel>,
    /// What happened meanwhile, one sentence each.
    pub events: Vec<String>,
    /// The fences around the engine.
    pub sandbox: Sandbox,
}

impl Receipt {
    /// Makes the receipt of a capture that has ended.
    pub fn new(story: Story<'_>) -> Self {
        let Story { request, machine, outcome, began, ended, .. } = story;
        let total = outcome.ledgers.iter().fold(Ledger::default(), Ledger::plus);
        let interfaces = request
            .point
            .interfaces
            .iter()
            .zip(&outcome.ledgers)
            .zip(&story.interface_packets)
            .zip(story.in_kernel)
            .map(|(((interface, ledger), packets), in_kernel)| {
                InterfaceReceipt::new(interface, *ledger, *packets, in_kernel)
            })
            .chain(recorded(outcome))
            .chain(sessions(outcome))
            .collect();
        Self {
            overtap: env!("CARGO_PKG_VERSION"),
            vm: machine.name.clone(),
            vm_id: machine.id.to_string(),
            host: story.host.to_owned(),
            point: request.point.kind.to_string(),
            filter: request.filter.map(|(_, filter)| filter.to_string()),
            snaplen: request.snaplen,
            began: began.to_string(),
            ended: ended.to_string(),
            seconds: ended.duration_since(began).as_secs_f64(),
            end: outcome.end.to_string(),
            interfaces,
            unaccounted: outcome.ledgers.iter().map(Ledger::unread).sum::<i64>()
                + outcome.tools.iter().map(|tool| tool.account.unaccounted()).sum::<i64>(),
            lost: total.lost() + outcome.tools.iter().map(|tool| tool.account.lost()).sum::<u64>(),
            lost_of_mirrors: total.lost_of_mirror,
            total,
            out_of_order: outcome.out_of_order,
            files: outcome.files.clone(),
            deleted_files: outcome.deleted_files,
            tools: outcome.tools.clone(),
            gaps: outcome.gaps.clone(),
            events: story.events,
            sandbox: story.sandbox,
        }
    }

    /// Whether everything that was asked for is in the file.
    pub const fn is_complete(&self) -> bool {
        self.lost == 0 && self.lost_of_mirrors == 0 && self.gaps.is_empty()
    }
}

/// The accounts of recorded points, which come behind those of the live ones.
fn recorded(outcome: &Outcome) -> impl Iterator<Item = InterfaceReceipt> {
    let live = outcome.ledgers.len().saturating_sub(outcome.recorded.len());
    let ledgers = outcome.ledgers.iter().skip(live);
    outcome.recorded.iter().zip(ledgers).map(|(label, ledger)| InterfaceReceipt {
        label: label.clone(),
        interface: "recorder".to_owned(),
        interface_packets: None,
        passed_over: None,
        expression_in_kernel: InKernel::Nothing,
        ledger: *ledger,
    })
}

/// The accounts of mirror sessions, which come behind those of the interfaces they came by.
fn sessions(outcome: &Outcome) -> impl Iterator<Item = InterfaceReceipt> {
    let first = outcome.ledgers.len().saturating_sub(outcome.sessions.len());
    let ledgers = outcome.ledgers.iter().skip(first);
    outcome.sessions.iter().zip(ledgers).map(|(label, ledger)| InterfaceReceipt {
        label: label.clone(),
        interface: "mirror".to_owned(),
        interface_packets: None,
        passed_over: None,
        expression_in_kernel: InKernel::Nothing,
        ledger: *ledger,
    })
}

impl InterfaceReceipt {
    fn new(
        interface: &Interface,
        ledger: Ledger,
        interface_packets: Option<u64>,
        in_kernel: InKernel,
    ) -> Self {
        let is_filtered = matches!(interface.ownership, Ownership::Shared(_))
            || matches!(in_kernel, InKernel::Attached(_));
        Self {
            label: interface.label.clone(),
            interface: interface.name.clone(),
            interface_packets,
            passed_over: interface_packets
                .filter(|_| is_filtered)
                .map(|packets| packets.saturating_sub(ledger.received)),
            expression_in_kernel: in_kernel,
            ledger,
        }
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
            // Only at the end of a mirror, or where tools are sent to, there is any.
            if matches!(name, NOT_MIRRORED | OWN_EXPORTS) && value(&self.total) == 0 {
                continue;
            }
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
                let (name, packets) = (&interface.interface, grouped(packets));
                write!(f, "  {name} itself counted {packets}, a moment before and after included")?;
                match interface.passed_over {
                    Some(0) | None => writeln!(f)?,
                    Some(over) => {
                        writeln!(f, "; the kernel's filter passed over {}", grouped(over))?;
                    }
                }
            }
        }
        let mut told = None;
        for interface in &self.interfaces {
            let in_kernel = &interface.expression_in_kernel;
            if *in_kernel != InKernel::Nothing && told != Some(in_kernel) {
                writeln!(f, "  {in_kernel}")?;
            }
            told = Some(in_kernel);
        }
        for event in &self.events {
            writeln!(f, "  {event}")?;
        }
        for session in self.interfaces.iter().filter(|i| i.ledger.lost_of_mirror > 0) {
            let lost = packets(session.ledger.lost_of_mirror);
            writeln!(f, "  {}: {lost} did not come, by their sequence numbers", session.label)?;
        }
        for GapReport { mirror, count, total_ms } in &self.gaps {
            let times = if *count == 1 { "once".to_owned() } else { format!("{count} times") };
            let seconds = std::time::Duration::from_millis(*total_ms).as_secs_f64();
            writeln!(
                f,
                "  {mirror}: the connection was lost {times}; of {seconds:.1} s nothing is known"
            )?;
        }
        if self.out_of_order > 0 {
            writeln!(f, "  out of the order of time: {}", packets(self.out_of_order))?;
        }
        for tool in &self.tools {
            f.write_str(&tool_text(tool))?;
        }
        for file in &self.files {
            let name = match file.path.to_str() {
                Some("-") => "standard output".into(),
                _ => file.path.to_string_lossy(),
            };
            let (packets, bytes) = (packets(file.packets), grouped(file.bytes));
            writeln!(f, "  {name}: {packets}, {bytes} bytes")?;
        }
        if self.deleted_files > 0 {
            writeln!(f, "  {} older files of the ring were deleted", self.deleted_files)?;
        }
        match (self.unaccounted, self.lost) {
            (0, 0) if self.lost_of_mirrors > 0 => writeln!(
                f,
                "  Every packet is accounted for; none was lost here, {} on the way.",
                grouped(self.lost_of_mirrors)
            ),
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

/// What a tool got, in a few lines: only what happened.
pub fn tool_text(tool: &ToolReport) -> String {
    let ToolReport { name, outlet, account, trouble } = tool;
    let (sent, offered) = (packets(account.sent), packets(account.offered));
    let mut text = format!("  {name} ({outlet}): sent {sent}");
    if account.datagrams != account.sent {
        text += &format!(" in {}", grouped(account.datagrams));
    }
    text += &format!(", {} bytes, of {offered} offered\n", grouped(account.sent_bytes));
    let dropped = ToolDrop::ALL.map(|reason| (reason.to_string(), account.dropped(reason)));
    let treated = [
        ("of those sent, stripped", account.stripped),
        ("of those sent, sliced", account.sliced),
        ("of those sent, segmented", account.segmented),
    ];
    let treated = treated.map(|(what, count)| (what.to_owned(), count));
    for (what, count) in dropped.into_iter().chain(treated).filter(|(_, count)| *count > 0) {
        text += &format!("    {what}: {}\n", grouped(count));
    }
    if let Some(trouble) = trouble {
        text += &format!("    trouble: {trouble}\n");
    }
    text
}

struct Column {
    head: String,
    label: String,
    ledger: Ledger,
}

type Row = (&'static str, fn(&Ledger) -> u64);

/// From the interface to the file; the first is the sum of all but the last.
const ROWS: [Row; 11] = [
    ("seen", |ledger| ledger.received),
    ("  dropped by the kernel", |ledger| ledger.kernel_dropped),
    (NOT_MIRRORED, |ledger| ledger.not_mirrored),
    ("  other tenant", |ledger| ledger.other_tenant),
    ("  owner undecidable", |ledger| ledger.undecidable),
    (OWN_EXPORTS, |ledger| ledger.own_export),
    ("  not selected", |ledger| ledger.not_selected),
    ("  after the limit", |ledger| ledger.after_limit),
    ("  could not be written", |ledger| ledger.queue_full + ledger.sink_failed),
    ("  written", |ledger| ledger.written),
    ("    of these sliced", |ledger| ledger.sliced),
];

/// A row that only the end of a mirror can have.
const NOT_MIRRORED: &str = "  of no mirror";
const OWN_EXPORTS: &str = "  sent by overtap itself";
const COLUMN_WIDTH: usize = 13;
const MOST_COLUMNS: usize = 4;

/// `1 packet`, `2 000 packets`.
pub fn packets(count: u64) -> String {
    format!("{} packet{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
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
    use plan::PointKind;

    use super::*;
    use crate::fixture::{machine, point, request};

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1 234 567");
    }

    #[test]
    fn only_where_the_kernel_filters_it_passes_packets_over() {
        let machine = machine("web", "vnet3", 3);
        let mut point = point(PointKind::Uplink, &["up0", "up1", "up2"]);
        for interface in point.interfaces.iter_mut().skip(1) {
            interface.ownership = Ownership::Shared(Vec::new());
        }
        let written = |count| Ledger { received: count, written: count, ..Ledger::default() };
        let outcome = Outcome {
            ledgers: vec![written(5), written(6), Ledger { kernel_dropped: 1, ..written(7) }],
            ..Outcome::default()
        };
        let receipt = Receipt::new(Story {
            request: &request(&point),
            machine: &machine,
            host: "hv-1",
            began: Timestamp::UNIX_EPOCH,
            ended: Timestamp::from_millisecond(1500).unwrap(),
            outcome: &outcome,
            interface_packets: vec![Some(8), Some(10), None],
            in_kernel: vec![InKernel::Nothing; 3],
            events: Vec::new(),
            sandbox: Sandbox::default(),
        });
        let passed_over: Vec<_> = receipt.interfaces.iter().map(|i| i.passed_over).collect();
        assert_eq!(passed_over, [None, Some(4), None]);
        assert_eq!((receipt.total.written, receipt.lost), (18, 1));
        let with_expression = InterfaceReceipt::new(
            &point.interfaces[0],
            written(5),
            Some(8),
            InKernel::Attached([select::bpf::Passed::Fragments].into()),
        );
        assert_eq!(with_expression.passed_over, Some(3), "the VM's own port, and an expression");
        assert_eq!(receipt.unaccounted, -1, "one packet is counted twice in this story");
        assert_eq!((receipt.began.as_str(), receipt.seconds), ("1970-01-01T00:00:00Z", 1.5));
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([packets(0), packets(1), packets(2)], ["0 packets", "1 packet", "2 packets"]);
    }

    #[test]
    fn the_rows_between_seen_and_sliced_add_up_to_seen() {
        let ledger = Ledger {
            received: 54,
            kernel_dropped: 1,
            not_selected: 2,
            not_mirrored: 9,
            other_tenant: 3,
            undecidable: 4,
            own_export: 9,
            after_limit: 5,
            queue_full: 6,
            sink_failed: 7,
            written: 8,
            written_bytes: 99,
            sliced: 8,
            lost_of_mirror: 10,
        };
        let values: Vec<u64> = ROWS.iter().map(|(_, value)| value(&ledger)).collect();
        assert_eq!(values[0], values[1..10].iter().sum::<u64>());
    }
}
