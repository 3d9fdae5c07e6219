//! Mirrored frames taken out of what the mirror has put around them, each session as an interface
//! of its own.
//!
//! What is a mirror's says `wire::mirror`. Sessions are those of one input: two files may hold the
//! same mirror, as two receivers saw it.

use std::collections::HashMap;

use wire::file::{InterfaceHeader, Record, StatisticsBlock};
use wire::mirror::{
    Admitted, MirrorForm, MirrorNumbering, MirrorSession, MirrorSessions, Mirrored, NotMirrored,
    SessionNumber,
};
use wire::{Layers, LinkType, Packet, PointId};

use crate::Fate;
use crate::copies::Copies;
use crate::extract::Rules;
use crate::outputs::Outputs;

/// Opens the packets of mirrors.
pub(crate) struct Mirrors {
    form: MirrorForm,
    inputs: Vec<MirrorSessions>,
    /// The interface of each session, by input, interface of the input, session and link type.
    points: HashMap<(usize, PointId, Option<SessionNumber>, LinkType), PointId>,
    layers: Layers,
    frame: Vec<u8>,
    options: Vec<u8>,
}

impl Mirrors {
    pub(crate) fn new(form: MirrorForm) -> Self {
        Self {
            form,
            inputs: Vec::new(),
            points: HashMap::new(),
            layers: Layers::empty(),
            frame: Vec::new(),
            options: Vec::new(),
        }
    }

    /// The frame in a packet of a mirror, or what becomes of the packet if there is none.
    pub(crate) fn open<'a>(
        &'a mut self,
        input: usize,
        record: &Record<'a>,
        rules: &mut Rules,
        copies: Option<&mut Copies>,
    ) -> Result<Record<'a>, Fate> {
        let packet = record.packet;
        self.layers.fill(packet.link, packet.data, rules.ports());
        let found = match Mirrored::find(&packet, &self.layers, self.form) {
            Ok(found) => found,
            Err(NotMirrored::NoMirror) => return Err(Fate::NoMirror),
            Err(NotMirrored::Fragment | NotMirrored::Unreadable) => return Err(Fate::Unreadable),
        };
        let outer = rules.points.of(input, packet.point).ok_or(Fate::OtherLink)?;
        if self.inputs.len() <= input {
            self.inputs.resize_with(input + 1, MirrorSessions::new);
        }
        let Some(sessions) = self.inputs.get_mut(input) else { return Err(Fate::OtherLink) };
        let admitted = sessions.admit(&found, &packet);
        let key = (input, packet.point, admitted.session, found.link);
        let point = match self.points.get(&key) {
            Some(point) => *point,
            None => {
                let session = admitted.session.and_then(|number| sessions.get(number));
                let header = header(session, &found, rules.points.name(outer));
                let point = rules.points.add_opened(outer, &header);
                if let Some(copies) = copies {
                    copies.add_named(input, point, &header.name);
                }
                self.points.insert(key, point);
                point
            }
        };
        let Admitted { lost, time, .. } = admitted;
        let opened = found.open(packet, &mut self.frame);
        let opened = Packet { point, time, lost_before: packet.lost_before + lost, ..opened };
        Ok(record.opened(opened, &mut self.options))
    }

    /// The counters of every session, for the outputs, and the sessions themselves, by input.
    pub(crate) fn finish(self, rules: &Rules, outputs: &mut Outputs) -> Vec<MirrorReport> {
        let inputs = self.inputs.into_iter().enumerate();
        let reports: Vec<_> = inputs.map(|(n, sessions)| MirrorReport::new(n, sessions)).collect();
        let mut interfaces: Vec<_> = self.points.into_iter().collect();
        interfaces.sort_unstable_by_key(|(_, point)| *point);
        for ((input, _, session, _), point) in interfaces {
            let report = reports.get(input);
            let known = session.and_then(|number| Some((report?, report?.sessions.get(number)?)));
            let (Some((report, session)), Some(point)) = (known, rules.points.of(input, point))
            else {
                continue;
            };
            outputs.add_counters(point, &statistics(report, session));
        }
        reports
    }
}

/// The mirror sessions of one input.
#[derive(Debug, Clone)]
pub struct MirrorReport {
    /// The number of the input.
    pub input: usize,
    /// The sessions.
    pub sessions: MirrorSessions,
    /// The rows of numbers their packets have, where they have any.
    pub numbering: Vec<MirrorNumbering>,
}

impl MirrorReport {
    pub(crate) fn new(input: usize, sessions: MirrorSessions) -> Self {
        Self { input, numbering: sessions.numbering(), sessions }
    }

    /// Packets lost on the way to who captured them, by their numbers.
    pub fn lost(&self) -> u64 {
        self.numbering.iter().map(|row| row.counts.lost).sum()
    }

    /// The row of numbers that a session's packets are in.
    pub fn row_of(&self, number: SessionNumber) -> Option<&MirrorNumbering> {
        self.numbering.iter().find(|row| row.sessions.contains(&number))
    }
}

/// How the interface of a session is described; of sessions that are too many, all together.
fn header(session: Option<&MirrorSession>, found: &Mirrored, outer: &str) -> InterfaceHeader {
    let at = if outer.is_empty() { String::new() } else { format!(" @ {outer}") };
    let name = match session {
        Some(session) => format!("{}{at}", session.key),
        None => format!("other mirror sessions{at}"),
    };
    let mut said = Vec::new();
    if let Some(destination) = found.destination {
        said.push(format!("sent to {destination}"));
    }
    match found.is_egress {
        Some(true) => said.push("leaving the switch's port".to_owned()),
        Some(false) => said.push("entering the switch's port".to_owned()),
        None => {}
    }
    if let Some(vlan) = found.vlan.filter(|vlan| vlan.value() != 0) {
        said.push(format!("first seen in VLAN {vlan}"));
    }
    if found.time.is_some() {
        said.push("times are those of the switch".to_owned());
    }
    let description = match said.is_empty() {
        true => "Mirrored frames.".to_owned(),
        false => format!("Mirrored frames, {}.", said.join(", ")),
    };
    InterfaceHeader { link: found.link, description, ..InterfaceHeader::ethernet(name) }
}

fn statistics(report: &MirrorReport, session: &MirrorSession) -> StatisticsBlock {
    let number = report.sessions.iter().position(|other| other.key == session.key);
    let row = number.and_then(|number| report.row_of(SessionNumber(number)));
    let is_first = row.is_some_and(|row| row.sessions.first().map(|n| n.0) == number);
    let lost = row.filter(|_| is_first).map(|row| row.counts.lost);
    let comment = row.map(|row| match row.sessions.len() {
        1 => "interface drops are estimated from the sequence numbers of the mirror".to_owned(),
        many if is_first => format!(
            "interface drops are estimated from the sequence numbers that {many} sessions share"
        ),
        _ => "losses are counted at another session, with which this one shares its sequence \
              numbers"
            .to_owned(),
    });
    StatisticsBlock {
        time: session.span.1,
        start: Some(session.span.0),
        end: Some(session.span.1),
        received: None,
        interface_dropped: lost,
        accepted: Some(session.packets),
        os_dropped: None,
        delivered: None,
        comments: comment.into_iter().collect(),
    }
}
