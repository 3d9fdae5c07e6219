//! The sessions of mirrors: frames taken out of packets, each session a point of its own.

use std::collections::HashMap;

use capture::{MirrorReceiver, MirrorRule};
use pipeline::PointRules;
use select::Guard;
use wire::file::InterfaceHeader;
use wire::mirror::SessionNumber;
use wire::{KeptPacket, PointId};

use super::intake::Intake;
use super::{Engine, now};
use crate::orders::{GapReport, MirrorOrder, StreamOrder};

/// What takes frames out of the packets of a ring.
pub(super) struct Receiver {
    pub(super) mirror: MirrorReceiver,
    /// The place of each session's point in `Engine::sessions`, by its number.
    pub(super) points: HashMap<usize, usize>,
    /// What the mirror is called, and host and interface where it ends.
    pub(super) label: String,
    pub(super) place: String,
    /// Whether there is nothing around the frames, and so no sessions.
    pub(super) is_plain: bool,
    /// How its connection is read, if it comes over one.
    pub(super) stream: Option<StreamOrder>,
}

/// A mirror session and its point.
pub(super) struct SessionPoint {
    /// The intake its packets come by.
    pub(super) intake: usize,
    /// Its number there.
    pub(super) place: usize,
    pub(super) point: PointId,
    pub(super) label: String,
    /// Frames taken out of its packets.
    pub(super) received: u64,
}

impl Receiver {
    pub(super) fn new(order: &MirrorOrder, label: &str) -> Self {
        let MirrorOrder { form, address, session, udp_port, stream } = *order;
        let rule = MirrorRule { form, address, session, udp_port };
        Self {
            mirror: MirrorReceiver::new(rule),
            points: HashMap::new(),
            // What the mirror is called is in the name of its session.
            place: label.rsplit_once(" @ ").map_or(label, |(_, place)| place).to_owned(),
            label: label.to_owned(),
            is_plain: form.is_none(),
            stream,
        }
    }
}

/// Packets lost of each row of a mirror's numbers, by the first session that is in it; of a
/// stream those that its sender says.
fn lost_of_mirror(intake: &Intake) -> HashMap<usize, u64> {
    if let Some(stream) = intake.inlet.stream() {
        return stream.lost().collect();
    }
    let rows = intake.receiver.iter().flat_map(|receiver| receiver.mirror.sessions().numbering());
    rows.filter_map(|row| Some((row.sessions.first()?.0, row.counts.lost))).collect()
}

impl Engine {
    /// Makes a point of a mirror session, and passes on its first frame.
    #[cold]
    pub(super) fn add_session(&mut self, number: usize, place: usize, first: &KeptPacket) {
        let Some(intake) = self.intakes.get_mut(number) else { return };
        let Intake { inlet, receiver: Some(receiver), owned, .. } = intake else { return };
        let session = receiver.mirror.session(SessionNumber(place));
        let stream = inlet.stream();
        let key = match (session, stream) {
            (Some(session), _) => format!("{} @ {}", session.key, receiver.place),
            (None, Some(stream)) => match stream.name(place) {
                Some(name) => format!("{name} of {}", receiver.label),
                None => format!("other interfaces of {}", receiver.label),
            },
            (None, None) if receiver.is_plain => receiver.label.clone(),
            (None, None) => format!("other sessions @ {}", receiver.label),
        };
        let point = u32::try_from(self.pipeline.ledgers().count()).unwrap_or(u32::MAX);
        self.pipeline.add_point(PointRules { guard: Guard::new(owned), later: None });
        let header = InterfaceHeader { name: key.clone(), ..self.session_header.clone() };
        self.sink.add_point(header, now());
        receiver.points.insert(place, self.sessions.len());
        let point = PointId(point);
        self.sessions.push(SessionPoint { intake: number, place, point, label: key, received: 1 });
        let packet = wire::Packet { point, ..first.packet() };
        self.written_until = self.written_until.max(packet.time);
        self.pipeline.offer(packet, &mut self.sink);
    }

    /// Counts what came of each mirror session, and what did not. Of sessions that share their
    /// numbers the first has the losses of all.
    pub(super) fn count_sessions(&mut self) {
        let lost: Vec<_> = self.intakes.iter().map(lost_of_mirror).collect();
        for session in &self.sessions {
            let lost = lost.get(session.intake).and_then(|lost| lost.get(&session.place));
            let lost = lost.copied().unwrap_or(0);
            let number = session.point.0 as usize;
            self.pipeline.count_kernel(number, session.received, 0);
            self.pipeline.count_lost_of_mirror(number, lost);
            self.sink.count_session(session.point, session.received, lost);
        }
    }

    /// The times without a connection to a sender.
    pub(super) fn gaps(&self) -> Vec<GapReport> {
        let all = self.intakes.iter();
        all.filter_map(|Intake { inlet, receiver, .. }| {
            let (gaps, receiver) = (inlet.stream()?.gaps(), receiver.as_ref()?);
            // What ends with its first connection has nothing missing behind it.
            let is_over = receiver.stream.is_some_and(|order| order.ends);
            (gaps.count > 0 && !is_over).then(|| GapReport {
                mirror: receiver.label.clone(),
                count: gaps.count,
                total_ms: u64::try_from(gaps.total.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect()
    }
}
