//! NetFlow version 5: records of one fixed layout behind a header of 24 bytes.
//!
//! The layout is written down as a template and read like any other.

use std::sync::LazyLock;

use super::account::Fault;
use super::collector::{Collector, Datagram, Event, key};
use super::element::Element;
use super::protocol::Protocol;
use super::record::{MessageHeader, Record};
use super::sampling::Ratio;
use super::sequence::Units;
use super::template::{Field, Template};
use crate::{Cursor, Timestamp};

/// Takes a datagram; `false` if it is not to be believed to be NetFlow.
pub(super) fn take(
    collector: &mut Collector,
    datagram: &Datagram<'_>,
    each: &mut impl FnMut(Event<'_>),
) -> bool {
    let mut cursor = Cursor::new(datagram.payload);
    let header = cursor.pass::<HEADER_LEN>();
    let domain = header.map_or(0, |header| {
        let [.., engine_type, engine_id, _, _] = *header;
        u32::from(u16::from_be_bytes([engine_type, engine_id]))
    });
    let Some(number) = collector.exporter(key(datagram, Protocol::NetflowV5, domain), datagram)
    else {
        return false;
    };
    let Some((exporter, columns)) = collector.parts(number) else { return false };
    exporter.account.datagrams += 1;
    exporter.account.bytes += datagram.payload.len() as u64;
    let Some(header) = header else {
        exporter.account.fault(Fault::HeaderCut);
        return true;
    };
    let (count, header) = read_header(header, domain);
    exporter.see(&header, datagram.time);
    // Neither the count nor the length of the datagram is believed alone.
    let there = cursor.ahead().len() / RECORD_LEN;
    let records = usize::from(count).min(there);
    if usize::from(count) > there {
        exporter.account.fault(Fault::CountBeyondDatagram);
    } else if cursor.ahead().len() != records * RECORD_LEN {
        exporter.account.wrong_counts += 1;
    }
    for bytes in cursor.ahead().chunks_exact(RECORD_LEN).take(records) {
        if LAYOUT.read(bytes, columns).is_some() {
            let record = Record {
                header: &header,
                template: &LAYOUT,
                bytes,
                columns,
                samplers: &exporter.samplers,
                system_init_ms: None,
            };
            each(Event::Flow(exporter, record));
        }
    }
    exporter.account.records += records as u64;
    let flows = u32::try_from(records).unwrap_or_default();
    let is_whole = records == usize::from(count);
    exporter.count(&header, is_whole.then_some(Units::Records { flows, options: 0 }));
    true
}

/// version | count | uptime | seconds | nanoseconds | sequence | engine type, id | sampling
fn read_header(bytes: &[u8; HEADER_LEN], domain: u32) -> (u16, MessageHeader) {
    let [
        _,
        _,
        c0,
        c1,
        u0,
        u1,
        u2,
        u3,
        s0,
        s1,
        s2,
        s3,
        n0,
        n1,
        n2,
        n3,
        q0,
        q1,
        q2,
        q3,
        _,
        _,
        r0,
        r1,
    ] = *bytes;
    let word = u32::from_be_bytes;
    // The two top bits are the mode.
    let interval = u16::from_be_bytes([r0 & 0x3f, r1]);
    let header = MessageHeader {
        protocol: Protocol::NetflowV5,
        export_time: Timestamp::from_parts(
            u64::from(word([s0, s1, s2, s3])),
            word([n0, n1, n2, n3]).min(999_999_999),
        ),
        uptime_ms: Some(word([u0, u1, u2, u3])),
        sequence: word([q0, q1, q2, q3]),
        domain,
        rate: Ratio::one_in(u64::from(interval)),
    };
    (u16::from_be_bytes([c0, c1]), header)
}

const HEADER_LEN: usize = 24;
const RECORD_LEN: usize = 48;

/// The record, in the numbers of the elements that mean the same (RFC 3954, section 8).
static LAYOUT: LazyLock<Template> = LazyLock::new(|| {
    let fields = [
        (8, 4),
        (12, 4),
        (15, 4),
        (10, 2),
        (14, 2),
        (2, 4),
        (1, 4),
        (22, 4),
        (21, 4),
        (7, 2),
        (11, 2),
        (210, 1),
        (6, 1),
        (4, 1),
        (5, 1),
        (16, 2),
        (17, 2),
        (9, 1),
        (13, 1),
        (210, 2),
    ];
    let fields = fields.map(|(number, len)| Field { element: Element::iana(number), len });
    Template::new(0, None, fields.into()).unwrap_or_else(Template::nothing)
});
