//! NetFlow version 9 and IPFIX: messages of sets, of which some are templates for the others.
//!
//! RFC 3954 and RFC 7011 differ in their headers, in how a field is written and in how long things
//! say they are. Everything else is one.

use std::sync::Arc;

use super::account::Fault;
use super::collector::{Collector, Datagram, Event, key};
use super::exporter::ExporterKey;
use super::protocol::Protocol;
use super::record::{MessageHeader, Record};
use super::sequence::Units;
use super::template::{Field, Template};
use crate::{Cursor, Timestamp};

/// Takes a datagram; `false` if it is not to be believed to be `protocol`.
pub(super) fn take(
    collector: &mut Collector,
    datagram: &Datagram<'_>,
    protocol: Protocol,
    each: &mut impl FnMut(Event<'_>),
) -> bool {
    let mut rest = datagram.payload;
    let mut is_first = true;
    loop {
        let message = Message::read(rest, protocol, datagram.time);
        let domain = message.as_ref().map_or(0, |message| message.header.domain);
        let key = key(datagram, protocol, domain);
        let Some(number) = collector.exporter(key, datagram) else { return !is_first };
        let Some(exporter) = collector.exporter_mut(number) else { return !is_first };
        if is_first {
            exporter.account.datagrams += 1;
            exporter.account.bytes += datagram.payload.len() as u64;
        }
        let Some(message) = message else {
            exporter.account.fault(Fault::HeaderCut);
            return true;
        };
        if message.is_cut {
            exporter.account.fault(Fault::MessageBeyondDatagram);
        }
        exporter.see(&message.header, datagram.time);
        let mut walk = Walk { collector: &mut *collector, number, key, header: message.header };
        let held = walk.sets(message.sets, datagram.time, each);
        if let Some(exporter) = collector.exporter_mut(number) {
            held.account(exporter, &message);
        }
        // Several messages may follow one another (RFC 7011, section 10.3.3 says one; files and
        // some exporters have more).
        rest = rest.get(message.len..).unwrap_or_default();
        if protocol == Protocol::NetflowV9 || Protocol::of(rest) != Some(Protocol::Ipfix) {
            return true;
        }
        is_first = false;
    }
}

/// A message, with what its header says.
struct Message<'a> {
    header: MessageHeader,
    sets: &'a [u8],
    /// Bytes of all of it.
    len: usize,
    /// Whether it says that it is longer than what is there.
    is_cut: bool,
    /// Records and templates as the header counts them, in NetFlow version 9.
    count: Option<u16>,
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8], protocol: Protocol, now: Timestamp) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let word = u32::from_be_bytes;
        if protocol == Protocol::NetflowV9 {
            // version | count | uptime | seconds | sequence | source id
            let [_, _, c0, c1] = *cursor.pass::<4>()?;
            let uptime = word(*cursor.pass::<4>()?);
            let header = MessageHeader {
                protocol,
                export_time: seconds(*cursor.pass::<4>()?, now),
                uptime_ms: Some(uptime),
                sequence: word(*cursor.pass::<4>()?),
                domain: word(*cursor.pass::<4>()?),
                rate: None,
            };
            let count = Some(u16::from_be_bytes([c0, c1]));
            return Some(Self {
                header,
                sets: cursor.ahead(),
                len: bytes.len(),
                is_cut: false,
                count,
            });
        }
        // version | length | seconds | sequence | domain
        let [_, _, l0, l1] = *cursor.pass::<4>()?;
        let header = MessageHeader {
            protocol,
            export_time: seconds(*cursor.pass::<4>()?, now),
            uptime_ms: None,
            sequence: word(*cursor.pass::<4>()?),
            domain: word(*cursor.pass::<4>()?),
            rate: None,
        };
        let len = usize::from(u16::from_be_bytes([l0, l1])).max(cursor.offset());
        let is_cut = len > bytes.len();
        let len = len.min(bytes.len());
        let sets = bytes.get(cursor.offset()..len)?;
        Some(Self { header, sets, len, is_cut, count: None })
    }
}

/// A time in whole seconds; exporters without a clock send 0.
fn seconds(bytes: [u8; 4], now: Timestamp) -> Timestamp {
    match u32::from_be_bytes(bytes) {
        0 => now,
        seconds => Timestamp::from_parts(u64::from(seconds), 0),
    }
}

/// What a message held.
#[derive(Default)]
struct Held {
    flows: u32,
    options: u32,
    templates: u32,
    /// Whether a part of it could not be read, so that nobody knows how much it held.
    is_partly_unknown: bool,
}

impl Held {
    fn account(&self, exporter: &mut super::exporter::Exporter, message: &Message<'_>) {
        let Self { flows, options, templates, is_partly_unknown } = *self;
        let units = match message.header.protocol {
            Protocol::NetflowV9 => Some(Units::Messages),
            _ => (!is_partly_unknown).then_some(Units::Records { flows, options }),
        };
        exporter.count(&message.header, units);
        let is_wrong = |count: u16| u32::from(count) != flows + options + templates;
        if message.count.is_some_and(is_wrong) && !is_partly_unknown {
            exporter.account.wrong_counts += 1;
        }
    }
}

/// Goes through the sets of one message.
struct Walk<'c> {
    collector: &'c mut Collector,
    number: usize,
    key: ExporterKey,
    header: MessageHeader,
}

impl Walk<'_> {
    fn sets(&mut self, sets: &[u8], now: Timestamp, each: &mut impl FnMut(Event<'_>)) -> Held {
        let mut held = Held::default();
        let mut cursor = Cursor::new(sets);
        // What is shorter than the header of a set is padding.
        while let Some([i0, i1, l0, l1]) = cursor.pass::<4>() {
            let id = u16::from_be_bytes([*i0, *i1]);
            let len = usize::from(u16::from_be_bytes([*l0, *l1]));
            let Some(body) = len.checked_sub(4) else {
                // Zeros at the end of a message are padding that nobody announced.
                let is_padding = id == 0 && len == 0 && cursor.ahead().iter().all(|b| *b == 0);
                if !is_padding {
                    held.is_partly_unknown = true;
                    self.fault(Fault::SetTooShort);
                }
                break;
            };
            let Some(body) = cursor.pass_slice(body) else {
                held.is_partly_unknown = true;
                self.fault(Fault::SetBeyondMessage);
                break;
            };
            match (self.header.protocol, id) {
                (Protocol::NetflowV9, 0) | (Protocol::Ipfix, 2) => {
                    self.templates(body, false, &mut held, each);
                }
                (Protocol::NetflowV9, 1) | (Protocol::Ipfix, 3) => {
                    self.templates(body, true, &mut held, each);
                }
                (_, 256..) => self.data(id, body, now, &mut held, each),
                _ => {
                    held.is_partly_unknown = true;
                    self.fault(Fault::UnknownSet);
                }
            }
        }
        held
    }

    fn templates(
        &mut self,
        body: &[u8],
        is_options: bool,
        held: &mut Held,
        each: &mut impl FnMut(Event<'_>),
    ) {
        let mut cursor = Cursor::new(body);
        while cursor.ahead().len() >= 4 {
            match self.template(&mut cursor, is_options) {
                Parsed::Padding => break,
                Parsed::Withdrawn => {}
                Parsed::Bad(fault) => {
                    // Where the next one begins is not known any more.
                    self.fault(fault);
                    break;
                }
                Parsed::Unusable => self.fault(Fault::BadTemplate),
                Parsed::Template(template) => {
                    held.templates += 1;
                    let id = template.id();
                    if self.collector.define(self.number, template) {
                        self.decode_late(id, each);
                    }
                }
            }
        }
    }

    /// Reads one template, or takes one back.
    fn template(&mut self, cursor: &mut Cursor<'_>, is_options: bool) -> Parsed {
        let Some([i0, i1, n0, n1]) = cursor.pass::<4>().copied() else { return Parsed::Padding };
        let (id, first) = (u16::from_be_bytes([i0, i1]), u16::from_be_bytes([n0, n1]));
        let is_ipfix = self.header.protocol == Protocol::Ipfix;
        if id < 256 {
            // Zeros are padding; numbers of template sets take all templates back.
            let is_all = is_ipfix && first == 0 && id == if is_options { 3 } else { 2 };
            if is_all {
                self.collector.change_templates(self.number, |e| e.withdraw_all(is_options));
                return Parsed::Withdrawn;
            }
            return if id == 0 { Parsed::Padding } else { Parsed::Bad(Fault::BadTemplate) };
        }
        if is_ipfix && first == 0 {
            self.collector.change_templates(self.number, |exporter| exporter.withdraw(id));
            return Parsed::Withdrawn;
        }
        let second = if is_options {
            let Some(second) = cursor.pass::<2>() else { return Parsed::Bad(Fault::BadTemplate) };
            Some(u16::from_be_bytes(*second))
        } else {
            None
        };
        // Scopes come first. IPFIX counts all fields, then the scopes; version 9 says the bytes of
        // scopes, then those of the other fields.
        let (scopes, count) = match second {
            None => (None, usize::from(first)),
            Some(scopes) if is_ipfix => (Some(usize::from(scopes)), usize::from(first)),
            Some(others) => {
                let scopes = usize::from(first / 4);
                (Some(scopes), scopes + usize::from(others / 4))
            }
        };
        let most = self.collector.limits().templates.fields;
        let mut fields = Vec::with_capacity(count.min(most).min(cursor.ahead().len() / 4));
        for number in 0..count {
            let field = if is_ipfix {
                Field::ipfix(cursor)
            } else if scopes.is_some_and(|scopes| number < scopes) {
                Field::netflow9_scope(cursor)
            } else {
                Field::netflow9(cursor)
            };
            let Some(field) = field else { return Parsed::Bad(Fault::BadTemplate) };
            if number < most {
                fields.push(field);
            }
        }
        if count > most {
            return Parsed::Bad(Fault::TooManyTemplates);
        }
        Template::new(id, scopes, fields).map_or(Parsed::Unusable, Parsed::Template)
    }

    fn data(
        &mut self,
        id: u16,
        body: &[u8],
        now: Timestamp,
        held: &mut Held,
        each: &mut impl FnMut(Event<'_>),
    ) {
        let known = self.collector.exporter_mut(self.number).and_then(|e| e.templates.get(&id));
        let Some(template) = known.cloned() else {
            held.is_partly_unknown = true;
            let is_kept = self.collector.keep(self.key, id, &self.header, now, body);
            if let Some(exporter) = self.collector.exporter_mut(self.number) {
                exporter.miss(id);
                exporter.account.sets_given_up += u64::from(!is_kept);
            }
            return;
        };
        let records = self.records(&template, body, self.header, each);
        if template.is_options() {
            held.options += records;
        } else {
            held.flows += records;
        }
    }

    /// Decodes the sets that waited for a template.
    fn decode_late(&mut self, id: u16, each: &mut impl FnMut(Event<'_>)) {
        for (header, body) in self.collector.released(self.key, id) {
            let exporter = self.collector.exporter_mut(self.number);
            let Some(exporter) = exporter else { return };
            let Some(template) = exporter.templates.get(&id).cloned() else { return };
            exporter.account.sets_decoded_late += 1;
            self.records(&template, &body, header, each);
        }
    }

    /// Shows the records of a set and says how many there are.
    fn records(
        &mut self,
        template: &Arc<Template>,
        body: &[u8],
        header: MessageHeader,
        each: &mut impl FnMut(Event<'_>),
    ) -> u32 {
        let Some((exporter, columns)) = self.collector.parts(self.number) else { return 0 };
        let (mut rest, mut count) = (body, 0);
        let is_options = template.is_options();
        while let Some(len) = template.read(rest, columns) {
            let Some((bytes, behind)) = rest.split_at_checked(len) else { break };
            rest = behind;
            count += 1;
            if is_options {
                exporter.learn(columns);
            }
            let record = Record {
                header: &header,
                template,
                bytes,
                columns,
                samplers: &exporter.samplers,
                system_init_ms: exporter.system_init_ms,
            };
            each(if is_options {
                Event::Options(exporter, record)
            } else {
                Event::Flow(exporter, record)
            });
        }
        // Padding is shorter than any record (RFC 7011, section 3.3.1). With fields of variable
        // length what is left may be long enough for one and still not hold it.
        if rest.len() >= template.least_len() && rest.iter().any(|byte| *byte != 0) {
            exporter.account.fault(Fault::RecordBeyondSet);
        }
        if is_options {
            exporter.account.option_records += u64::from(count);
        } else {
            exporter.account.records += u64::from(count);
        }
        count
    }

    fn fault(&mut self, fault: Fault) {
        if let Some(exporter) = self.collector.exporter_mut(self.number) {
            exporter.account.fault(fault);
        }
    }
}

/// What stood in a set of templates.
enum Parsed {
    /// A template.
    Template(Template),
    /// One that was taken back, or all.
    Withdrawn,
    /// One whose records would have no bytes.
    Unusable,
    /// Nothing more.
    Padding,
    /// Something that cannot be.
    Bad(Fault),
}
