//! What was received of one exporter and what became of it: every way for something to disappear
//! has a counter.

/// Why bytes of an export could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Fault {
    /// The datagram ends within the header of its message, or the header cannot be read.
    HeaderCut,
    /// The message says that it is longer than the datagram.
    MessageBeyondDatagram,
    /// A set says that it is shorter than its own header.
    SetTooShort,
    /// A set says that it is longer than what is left of its message.
    SetBeyondMessage,
    /// A set has a number that is neither data nor templates.
    UnknownSet,
    /// A template ends in the middle, has no fields or records without bytes.
    BadTemplate,
    /// A template was refused because the exporter has too many, or too large ones.
    TooManyTemplates,
    /// A record of variable length goes beyond its set.
    RecordBeyondSet,
    /// The header counts more records than there are.
    CountBeyondDatagram,
    /// A sample or a record in it goes beyond what holds it.
    SampleCut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::HeaderCut,
        Self::MessageBeyondDatagram,
        Self::SetTooShort,
        Self::SetBeyondMessage,
        Self::UnknownSet,
        Self::BadTemplate,
        Self::TooManyTemplates,
        Self::RecordBeyondSet,
        Self::CountBeyondDatagram,
        Self::SampleCut,
    ];

    /// Its name in counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HeaderCut => "header_cut",
            Self::MessageBeyondDatagram => "message_beyond_datagram",
            Self::SetTooShort => "set_too_short",
            Self::SetBeyondMessage => "set_beyond_message",
            Self::UnknownSet => "unknown_set",
            Self::BadTemplate => "bad_template",
            Self::TooManyTemplates => "too_many_templates",
            Self::RecordBeyondSet => "record_beyond_set",
            Self::CountBeyondDatagram => "count_beyond_datagram",
            Self::SampleCut => "sample_cut",
        }
    }
}

/// Counters of one exporter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// Datagrams.
    pub datagrams: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Messages in them; only IPFIX may have several in one.
    pub messages: u64,
    /// Records of flows.
    pub records: u64,
    /// Records of options: facts about the exporter.
    pub option_records: u64,
    /// Templates that were new or changed.
    pub templates: u64,
    /// Templates that said again what was known.
    pub templates_repeated: u64,
    /// Templates that replaced another layout.
    pub templates_replaced: u64,
    /// Templates taken back (RFC 7011, section 8.1), which over UDP is not allowed but happens.
    pub withdrawals: u64,
    /// Templates taken over from the same exporter at another port.
    pub templates_adopted: u64,
    /// Sets of data whose template was not known when they came.
    pub sets_without_template: u64,
    /// Of these, sets decoded when their template came.
    pub sets_decoded_late: u64,
    /// Of these, sets for which there was no room to wait, or that waited for ever.
    pub sets_given_up: u64,
    /// Samples of packets.
    pub flow_samples: u64,
    /// Samples of counters.
    pub counter_samples: u64,
    /// Samples of packets that a switch dropped.
    pub discard_samples: u64,
    /// Samples of a format that is not known.
    pub unknown_samples: u64,
    /// Messages whose header counts other than what is there.
    pub wrong_counts: u64,
    /// What the exporter says it did not send, in its own unit: the last it said of packets.
    pub not_sent_packets: Option<u64>,
    /// The same of flows.
    pub not_sent_flows: Option<u64>,
    /// What it says it did not look at.
    pub ignored_packets: Option<u64>,
    faults: [u64; Fault::ALL.len()],
}

impl Account {
    /// How often something could not be used for this reason.
    pub fn faults(&self, fault: Fault) -> u64 {
        self.faults.get(fault as usize).copied().unwrap_or_default()
    }

    /// How often something could not be used because it was malformed.
    pub fn malformed(&self) -> u64 {
        self.faults.iter().sum()
    }

    /// All counters that only grow, by name, faults among them.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        let mut copy = self.clone();
        let counters = copy.by_name().map(|(name, count)| (name, *count));
        let faults = Fault::ALL.map(|fault| (fault.name(), self.faults(fault)));
        counters.into_iter().chain(faults)
    }

    /// Sets a counter by the name it has in [`named`](Self::named); another name changes nothing.
    pub(super) fn restore(&mut self, name: &str, value: u64) {
        if let Some((_, count)) = self.by_name().into_iter().find(|(known, _)| *known == name) {
            *count = value;
        } else if let Some(fault) = Fault::ALL.into_iter().find(|fault| fault.name() == name)
            && let Some(count) = self.faults.get_mut(fault as usize)
        {
            *count = value;
        }
    }

    fn by_name(&mut self) -> [(&'static str, &mut u64); 18] {
        [
            ("datagrams", &mut self.datagrams),
            ("bytes", &mut self.bytes),
            ("messages", &mut self.messages),
            ("records", &mut self.records),
            ("option_records", &mut self.option_records),
            ("templates", &mut self.templates),
            ("templates_repeated", &mut self.templates_repeated),
            ("templates_replaced", &mut self.templates_replaced),
            ("withdrawals", &mut self.withdrawals),
            ("templates_adopted", &mut self.templates_adopted),
            ("sets_without_template", &mut self.sets_without_template),
            ("sets_decoded_late", &mut self.sets_decoded_late),
            ("sets_given_up", &mut self.sets_given_up),
            ("flow_samples", &mut self.flow_samples),
            ("counter_samples", &mut self.counter_samples),
            ("discard_samples", &mut self.discard_samples),
            ("unknown_samples", &mut self.unknown_samples),
            ("wrong_counts", &mut self.wrong_counts),
        ]
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if let Some(count) = self.faults.get_mut(fault as usize) {
            *count += 1;
        }
    }
}
