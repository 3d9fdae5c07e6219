//! What was recorded comes first, and live packets wait for it.

use std::time::Duration;

use pipeline::{Readiness, Source};
use wire::KeptPacket;

use super::{BATCH, Engine, now};
use crate::channel::Channel;
use crate::orders::{End, News};
use crate::past::Step;

impl Engine {
    /// Writes some of what was recorded. Says how long there will be nothing more of it.
    pub(super) fn take_past(&mut self, channel: &Channel) -> Result<Duration, End> {
        let Some(past) = &mut self.past else { return Ok(Duration::ZERO) };
        // A session that is gone shows at the next wait.
        let mut say = |text| {
            let _ = channel.send(&News::Said(text), None);
        };
        let has_sockets = past.has_seam();
        let step = past.step(now(), &mut self.pipeline, &mut self.sink, &mut say);
        if has_sockets {
            self.keep_early();
        }
        match step {
            Step::Played => {}
            Step::CaughtUp => {
                let _ = channel.send(&News::CaughtUp, None);
            }
            Step::Wait(duration) => return Ok(duration),
            Step::Over(live_from) => {
                self.live_from = live_from;
                self.written_past = self.past.take();
                if let Some(past) = &self.written_past {
                    self.written_until = self.written_until.max(past.newest());
                    if !past.is_live() {
                        return Err(End::Recorded);
                    }
                }
            }
        }
        Ok(Duration::ZERO)
    }

    /// Takes live packets out of the rings, which may be small, while what was recorded before them
    /// is not complete yet.
    pub(super) fn keep_early(&mut self) {
        let now = now();
        for _ in 0..BATCH {
            let Readiness::Source(number) = self.merge.choose(&mut self.intakes, now, false) else {
                return;
            };
            if self.early_bytes > MOST_EARLY_BYTES {
                return;
            }
            let Some(packet) = self.intakes.get_mut(number).and_then(Source::next) else { return };
            self.early_bytes += packet.data.len() + size_of::<KeptPacket>();
            self.early.push_back(KeptPacket::new(&packet));
        }
    }

    /// Passes on the live packets that have waited, at most a batch.
    pub(super) fn take_early(&mut self) {
        for _ in 0..EARLY_BATCH {
            let Some(kept) = self.early.pop_front() else { break };
            let packet = kept.packet();
            if packet.time < self.live_from {
                if let Some(intake) = self.intakes.get_mut(packet.point.0 as usize) {
                    intake.doubles += 1;
                }
                continue;
            }
            self.written_until = self.written_until.max(packet.time);
            self.pipeline.offer(packet, &mut self.sink);
            if self.pipeline.ended().is_some() {
                break;
            }
        }
    }
}

/// Early packets between two looks at the reader of a pipe.
const EARLY_BATCH: usize = 64;
/// Memory for live packets that wait.
const MOST_EARLY_BYTES: usize = 128 << 20;
