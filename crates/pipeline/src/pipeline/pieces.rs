//! The way of fragments through the pipeline.
//!
//! A later fragment shows neither ports nor the frame in a tunnel. Whose it is, and whether it was
//! asked for, is what was decided about the first fragment of its packet. What shows its owner
//! itself, as all that a VM's own port sees, needs the first for the expression only.

#[cfg(test)]
mod tests;

use select::{DropReason, Filter, Grant, Piece};
use wire::{KeptPacket, Packet, PointId, StopReason, Timestamp};

use super::{Pipeline, Point, Sink, Verdict};
use crate::{Bounds, Fragments, Known};

/// What is remembered of packets in pieces.
#[derive(Debug)]
pub(super) struct Pieces {
    fragments: Fragments<Judged, KeptPacket>,
    written_late: u64,
}

/// Whether a piece may still wait for the first of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Some,
    Over,
}

/// What was decided about the first piece of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judged {
    /// How often what is the VM's had changed by then.
    changes: u32,
    owner: Result<Grant, DropReason>,
    /// Whether the expression wants it, and why not.
    wanted: Result<(), DropReason>,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self { fragments: Fragments::new(Bounds::CAPTURE), written_late: 0 }
    }

    /// When [`Pipeline::settle`] has something to do.
    #[inline]
    pub(super) const fn deadline(&self) -> Timestamp {
        self.fragments.deadline()
    }
}

impl Pipeline {
    /// Gives up waiting for the first pieces of packets that should have come by `time`.
    #[cold]
    pub fn settle(&mut self, time: Timestamp, sink: &mut impl Sink) {
        while let Some(held) = self.pieces.fragments.expired(time) {
            self.offer_again(&held, Patience::Over, sink);
        }
    }

    /// Gives up waiting, as nothing will come any more.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        while let Some(held) = self.pieces.fragments.unresolved() {
            self.offer_again(&held, Patience::Over, sink);
        }
    }

    /// Before which time nothing will be written any more, if nothing seen before `time` comes: a
    /// piece that waits is written with its own time.
    pub fn settled(&self, time: Timestamp) -> Timestamp {
        time.min(self.pieces.deadline().saturating_sub(Bounds::CAPTURE.held))
    }

    /// Packets written behind younger ones, because they waited for the first of their pieces.
    pub const fn written_late(&self) -> u64 {
        self.pieces.written_late
    }

    /// Packets of a point were lost, perhaps the first piece of one that has the same name as
    /// another: nothing is taken for granted any more.
    #[cold]
    pub(super) fn distrust(&mut self, point: PointId, sink: &mut impl Sink) {
        while let Some(held) = self.pieces.fragments.lose(point) {
            self.offer_again(&held, Patience::Over, sink);
        }
    }

    /// Offers a packet of which some level is a fragment; `self.layers` are its headers.
    #[cold]
    pub(super) fn offer_piece(
        &mut self,
        packet: Packet<'_>,
        patience: Patience,
        sink: &mut impl Sink,
    ) -> Verdict {
        let Some(Point { rules, changes, .. }) = self.points.get(packet.point.0 as usize) else {
            return Verdict::Dropped(DropReason::OtherTenant);
        };
        let seen = packet;
        let mut packet = packet;
        let (guard, is_later) = rules.at(seen.time);
        let changes = changes + u32::from(is_later);
        let filter = self.filter.as_ref();
        let pieces: Vec<Piece> = Piece::of(&seen, &self.layers).collect();
        let later = pieces.last().filter(|piece| !piece.is_first());
        let known = later.map_or(Known::Nothing, |piece| {
            match self.pieces.fragments.ask(piece, seen.data, seen.time) {
                // Whose the packet was when it began is not whose it is now.
                Known::As(first) if first.changes != changes => Known::Ambiguous,
                known => known,
            }
        });

        let own = guard.clear(&mut packet, &self.layers);
        let depends = match &own {
            Ok(_) => filter.is_some_and(|filter| !filter.is_about_pieces()),
            Err(reason) => *reason == DropReason::Undecidable,
        };
        if let Some(piece) = later.filter(|_| depends)
            && known == Known::Nothing
            && patience == Patience::Some
        {
            let held = KeptPacket::new(&seen);
            let fragments = &mut self.pieces.fragments;
            if fragments.hold(piece.datagram, seen.time, seen.data.len(), held).is_ok() {
                return Verdict::Held;
            }
        }
        let cleared = match (own, known) {
            (Err(DropReason::Undecidable), Known::As(first)) => {
                first.owner.and_then(|grant| guard.clear_piece(&mut packet, &self.layers, &grant))
            }
            (own, _) => own,
        };
        let wanted = match &cleared {
            Err(reason) => Err(*reason),
            Ok(cleared) => filter.map_or(Ok(()), |filter| {
                let is_wanted = filter.matches(cleared.packet(), &self.layers);
                let stop = self.layers.stop();
                let is_cut = stop.is_some_and(|stop| stop.reason == StopReason::Fragment);
                wanted(filter, is_wanted, known, is_cut)
            }),
        };

        let grants = cleared.as_ref().map(|cleared| cleared.grants(&self.layers));
        let grants = grants.map_err(|reason| *reason);
        let mut released = Vec::new();
        for (number, piece) in pieces.iter().filter(|piece| piece.is_first()).enumerate() {
            let owner = match &grants {
                Ok(grants) => grants.get(number).copied().ok_or(DropReason::Undecidable),
                Err(reason) => Err(*reason),
            };
            let fragments = &mut self.pieces.fragments;
            fragments.begin(piece, seen.data, seen.time, Judged { changes, owner, wanted });
            while let Some(held) = fragments.release(&piece.datagram) {
                released.push(held);
            }
        }
        // They were seen before.
        for held in &released {
            self.offer_again(held, Patience::Some, sink);
        }
        let Some(Point { ledger, .. }) = self.points.get_mut(seen.point.0 as usize) else {
            return Verdict::Dropped(DropReason::OtherTenant);
        };
        let cleared = cleared.and_then(|cleared| wanted.map(|()| cleared));
        self.delivery.take(cleared, ledger, sink)
    }

    /// Offers a packet that has waited.
    fn offer_again(&mut self, held: &KeptPacket, patience: Patience, sink: &mut impl Sink) {
        let packet = held.packet();
        self.layers.fill(packet.link, packet.data, &self.ports);
        let newest = self.delivery.newest;
        let verdict = self.offer_piece(packet, patience, sink);
        let is_late = verdict == Verdict::Written && packet.time < newest;
        self.pieces.written_late += u64::from(is_late);
    }
}

/// Whether the expression wants a piece that `is_wanted` if it is asked for itself. `known` is what
/// is known of the first one, if this is a later one; `is_cut` says that headers are missing.
fn wanted(
    filter: &Filter,
    is_wanted: bool,
    known: Known<Judged>,
    is_cut: bool,
) -> Result<(), DropReason> {
    match known {
        Known::As(first) if !filter.is_about_pieces() => first.wanted,
        _ if is_wanted => Ok(()),
        // What it does not show may be what was asked for.
        _ if is_cut && !filter.is_about_pieces() => Err(DropReason::Undecidable),
        _ => Err(DropReason::NotSelected),
    }
}
