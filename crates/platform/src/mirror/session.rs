//! One mirror from its making to its end: it follows its VMs on this host, and is looked at.

use std::time::{Duration, Instant};

use inventory::Machine;
use plan::mirror::{Destination, Means, Source, Way};

use super::ovs::{Address, Health, Networks, OvnMirror, OvsHandle, OvsMirror};
use super::register::{Counts, Handle, Slot, State};
use super::tap::TapMirror;
use super::{Instruction, MirrorError};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where to.
    pub destination: Destination,
    /// What makes the copies.
    pub means: Means,
    /// Where OVN's northbound database is, for mirrors of OVN.
    pub ovn: Option<Address>,
    /// What becomes of frames that are too long for the way.
    pub oversize: Oversize,
    /// For a virtual tap: copies only what this program of the kernel wants; `None` copies all.
    pub program: Option<Vec<Instruction>>,
}

/// What becomes of frames that, with what is put around them, are too long for the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oversize {
    /// No mirror is made where there may be such frames.
    Refuse,
    /// They are lost; the means does not count them.
    Drop,
}

/// A mirror and what it follows.
#[derive(Debug)]
pub struct Mirroring {
    order: Order,
    slot: Slot,
    active: Option<Active>,
    sources: Vec<Source>,
    /// Where its vNICs were when they were first mirrored.
    networks: Networks,
    /// Of what this mirror was before its ports changed.
    earlier: Counts,
    next_look: Instant,
    /// The last complaint, so that it is said once.
    complaint: Option<String>,
    again_at: Option<Instant>,
}

/// What came of looking at the site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Followed {
    /// A sentence for each thing that changed.
    pub sentences: Vec<String>,
    /// Why the mirror has ended; `None` while it goes on.
    pub ended: Option<String>,
}

/// How a mirror ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// What it copied, as its means counted last.
    pub counts: Counts,
    /// Why something of it is still there; `None` if all is gone.
    pub problem: Option<String>,
}

/// What makes the copies now.
#[derive(Debug)]
enum Active {
    OpenVSwitch(OvsMirror),
    Ovn(OvnMirror),
    Tap(TapMirror),
}

impl Active {
    fn counts(&self) -> Counts {
        match self {
            Self::OpenVSwitch(mirror) => mirror.counts(),
            Self::Ovn(mirror) => mirror.counts(),
            Self::Tap(mirror) => mirror.counts(),
        }
    }

    fn look(&mut self) -> Result<Health, String> {
        match self {
            Self::OpenVSwitch(mirror) => mirror.look().map_err(|failure| failure.to_string()),
            Self::Ovn(mirror) => mirror.look().map_err(|failure| failure.to_string()),
            Self::Tap(mirror) => Ok(mirror.look().map_or_else(Health::Ill, |()| Health::Well)),
        }
    }

    fn remove(&mut self) -> Result<(), String> {
        match self {
            Self::OpenVSwitch(mirror) => mirror.remove().map_err(|failure| failure.to_string()),
            Self::Ovn(mirror) => mirror.remove().map_err(|failure| failure.to_string()),
            Self::Tap(mirror) => mirror.remove(),
        }
    }
}

impl Mirroring {
    /// Makes the mirror that is ordered, written down in `slot`. If its VMs have no port here yet,
    /// it waits for them.
    ///
    /// # Errors
    /// When it cannot be made; then nothing is left of it.
    pub fn start(order: Order, slot: Slot, way: &Way) -> Result<Self, MirrorError> {
        let mut mirroring = Self {
            order,
            slot,
            active: None,
            sources: Vec::new(),
            networks: Networks::new(),
            earlier: Counts::default(),
            next_look: Instant::now() + LOOK_EVERY,
            complaint: None,
            again_at: None,
        };
        match mirroring.place(&way.sources) {
            Ok(()) => Ok(mirroring),
            Err(error) => {
                let problem = mirroring.clear().err();
                match problem {
                    None => {
                        mirroring.slot.forget();
                        Err(error)
                    }
                    Some(problem) => Err(MirrorError::Failed(format!("{error}; and {problem}"))),
                }
            }
        }
    }

    /// What is written down of it.
    pub const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Whether something could not be done and should be tried again: see [`follow`](Self::follow).
    pub fn is_to_be_tried(&self) -> bool {
        self.again_at.is_some_and(|at| at <= Instant::now())
    }

    /// The ports that are mirrored now.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// What makes the copies, in words, where the means has several ways.
    pub fn kind(&self) -> Option<&'static str> {
        match &self.active {
            Some(Active::Tap(mirror)) => Some(mirror.kind()),
            _ => None,
        }
    }

    /// What it has copied, as its means counted last.
    pub fn counts(&self) -> Counts {
        sum(self.earlier, self.active.as_ref().map(Active::counts).unwrap_or_default())
    }

    /// Compares the VMs as they are now with what is mirrored, and makes it so. What is not a VM's
    /// any more is not mirrored from then on; a VM that changed its owner or its network ends the
    /// mirror, as whoever asked for it asked for another's packets.
    pub fn follow(&mut self, machines: &[&Machine]) -> Followed {
        let ways = plan::mirror::ways(machines, &self.order.destination);
        let way = ways.into_iter().find(|way| way.means == self.order.means);
        // A refusal of ports that are there is said when they are placed; without any it only says
        // that nobody is here.
        let refusal = way.as_ref().filter(|way| !way.sources.is_empty());
        let refusal = refusal.and_then(|way| way.refusal.clone());
        let sources = way.map(|way| way.sources).unwrap_or_default();
        if let Some(reason) = self.owner_changed(&sources) {
            return self.end_because(reason);
        }
        let is_same = self.sources.iter().map(Source::place).eq(sources.iter().map(Source::place));
        if is_same && !self.is_to_be_tried() {
            return Followed::default();
        }
        // What was removed or is another's by now must not be taken for what is replaced.
        let mut followed = self.look_now();
        if followed.ended.is_some() {
            return followed;
        }
        let (before, after) = (labels(&self.sources), labels(&sources));
        let placed = match refusal {
            None => self.place(&sources),
            Some(refusal) => Err(MirrorError::Refused(refusal)),
        };
        match placed {
            Ok(()) if before != after => followed.sentences.push(match after.as_slice() {
                [] => "none of its VMs is here now; nothing is mirrored until one comes".into(),
                after => format!("mirrors {} now", after.join(", ")),
            }),
            Ok(()) => {}
            Err(MirrorError::OtherNetwork(reason)) => return self.end_because(reason),
            Err(error) => {
                // Whatever was mirrored is not what should be: nothing rather than that.
                let sentence = format!("nothing is mirrored: {error}");
                if let Err(error) = self.clear() {
                    return self.end_because(error);
                }
                if self.complaint.as_ref() != Some(&sentence) {
                    followed.sentences.push(sentence.clone());
                    self.complaint = Some(sentence);
                }
                self.again_at = Some(Instant::now() + TRY_AGAIN);
            }
        }
        followed
    }

    /// Looks at the mirror itself, now and then: what it has copied, whether it is there.
    pub fn look(&mut self) -> Followed {
        match self.next_look > Instant::now() {
            true => Followed::default(),
            false => self.look_now(),
        }
    }

    fn look_now(&mut self) -> Followed {
        self.next_look = Instant::now() + LOOK_EVERY;
        let before = self.counts();
        let health = match &mut self.active {
            None => return Followed::default(),
            Some(active) => active.look(),
        };
        let mut followed = Followed::default();
        let complaint = match health {
            Ok(Health::Well) => None,
            Ok(Health::Ill(problem)) => Some(problem),
            Ok(Health::Removed) => {
                return self.end_because("somebody else removed the mirror".into());
            }
            Ok(Health::OtherNetwork(reason)) => return self.end_because(reason),
            Ok(Health::Moved) => {
                // Its port is not the VM's as it was: first nothing, then what the inventory says.
                self.again_at = Some(Instant::now());
                if let Err(error) = self.clear() {
                    return self.end_because(error);
                }
                Some("a port it mirrors was changed; looking for it anew".into())
            }
            Err(failure) => Some(failure),
        };
        if complaint != self.complaint {
            followed.sentences.extend(complaint.clone());
            if complaint.is_none() && self.complaint.is_some() {
                followed.sentences.push("it mirrors again".into());
            }
            self.complaint = complaint;
        }
        if self.counts() != before {
            self.slot.record.counts = self.counts();
            // A figure for `mirror list`; the next one comes in a second.
            let _ = self.slot.save();
        }
        followed
    }

    /// Removes it.
    pub fn end(mut self) -> Removal {
        let problem = self.clear().err();
        let counts = self.counts();
        if problem.is_none() && self.slot.record.handles.is_empty() {
            self.slot.forget();
        }
        Removal { counts, problem }
    }

    /// Mirrors these ports and no others.
    fn place(&mut self, sources: &[Source]) -> Result<(), MirrorError> {
        self.again_at = None;
        if sources.is_empty() {
            self.clear().map_err(MirrorError::Failed)?;
        } else {
            match self.order.means {
                Means::TrafficControl => self.tap(sources)?,
                Means::OpenVSwitch => self.replace(sources)?,
                Means::Ovn => self.wish(sources)?,
            }
        }
        self.sources = sources.to_vec();
        self.complaint = None;
        let record = &mut self.slot.record;
        record.sources = labels(sources);
        record.state = if sources.is_empty() { State::Waiting } else { State::Mirroring };
        self.save()
    }

    fn replace(&mut self, sources: &[Source]) -> Result<(), MirrorError> {
        let old = self.active.take();
        let old_handle = match &old {
            Some(Active::OpenVSwitch(mirror)) => Some(mirror.handle().clone()),
            _ => None,
        };
        let old_counts = old.as_ref().map(Active::counts).unwrap_or_default();
        let made = match self.make(sources, old_handle.as_ref()) {
            // The switch may refuse a tunnel while it still has its like: then one after the other.
            Err(MirrorError::Failed(_)) if old_handle.is_some() => {
                self.slot.remove_handles().map_err(MirrorError::Failed)?;
                self.make(sources, None)
            }
            made => made,
        };
        match made {
            Ok(mirror) => {
                self.earlier = sum(self.earlier, old_counts);
                self.networks.extend(mirror.networks(sources));
                self.active = Some(Active::OpenVSwitch(mirror));
                if let Some(old) = old_handle {
                    // It went in the same transaction; on another switch it did not.
                    super::ovs::remove(&old)
                        .map_err(|failure| MirrorError::Failed(failure.to_string()))?;
                    let _ = self.slot.remove_handle(&Handle::OpenVSwitch(old));
                }
                Ok(())
            }
            Err(error) => {
                self.active = old;
                Err(error)
            }
        }
    }

    /// Taps these ports and no others; the destination stays.
    fn tap(&mut self, sources: &[Source]) -> Result<(), MirrorError> {
        let Order { destination, oversize, program, .. } = &self.order;
        let slot = &mut self.slot;
        let mut write_down = |handle| write_down(slot, handle);
        let mut taps = match self.active.take() {
            Some(Active::Tap(taps)) => taps,
            _ => TapMirror::make(destination, program.as_deref(), &mut write_down)?,
        };
        let result = taps.set(sources, *oversize, &mut write_down);
        self.active = Some(Active::Tap(taps));
        result
    }

    /// Has OVN mirror these ports and no others: first nothing, then these.
    fn wish(&mut self, sources: &[Source]) -> Result<(), MirrorError> {
        self.clear().map_err(MirrorError::Failed)?;
        let Order { destination, oversize, ovn, .. } = &self.order;
        let address = ovn.as_ref().ok_or_else(|| {
            MirrorError::Refused("where is OVN's northbound database? give --ovn-nb".into())
        })?;
        let slot = &mut self.slot;
        let write_down = |handle: &_| write_down(slot, Handle::Ovn(Clone::clone(handle)));
        let networks = &self.networks;
        let mirror =
            OvnMirror::make(address, sources, destination, *oversize, networks, write_down)?;
        self.networks.extend(mirror.networks(sources));
        self.active = Some(Active::Ovn(mirror));
        Ok(())
    }

    fn make(
        &mut self,
        sources: &[Source],
        replaced: Option<&OvsHandle>,
    ) -> Result<OvsMirror, MirrorError> {
        let slot = &mut self.slot;
        let write_down = |handle: &OvsHandle| write_down(slot, Handle::OpenVSwitch(handle.clone()));
        let Order { destination, oversize, .. } = &self.order;
        OvsMirror::make(sources, destination, *oversize, replaced, &self.networks, write_down)
    }

    /// Mirrors nothing.
    fn clear(&mut self) -> Result<(), String> {
        let before = self.earlier;
        self.sources.clear();
        self.slot.record.sources.clear();
        self.slot.record.state = State::Waiting;
        let removed = self.active.take().map_or(Ok(()), |mut active| {
            let removed = active.remove();
            // What has gone by since it was looked at last.
            self.earlier = sum(before, active.counts());
            removed
        });
        // Also what an attempt has left that did not come to its end.
        self.slot.remove_handles().and(removed)
    }

    fn end_because(&mut self, reason: String) -> Followed {
        let ended = match self.clear() {
            Ok(()) => reason,
            Err(problem) => format!("{reason}; and {problem}"),
        };
        Followed { sentences: Vec::new(), ended: Some(ended) }
    }

    /// Whether a vNIC that is mirrored is of another tenant or in another network now.
    fn owner_changed(&self, sources: &[Source]) -> Option<String> {
        self.sources.iter().find_map(|old| {
            let new =
                sources.iter().find(|new| (&new.machine, new.mac) == (&old.machine, old.mac))?;
            if new.tenant != old.tenant {
                let name = |tenant: &Option<String>| tenant.clone().unwrap_or("nobody".into());
                let (from, to) = (name(&old.tenant), name(&new.tenant));
                return Some(format!("{} belongs to {to} now, not to {from}", new.label));
            }
            let is_known = !new.networks.is_empty() && !old.networks.is_empty();
            (is_known && new.networks != old.networks)
                .then(|| format!("{} is in another network now", new.label))
        })
    }

    fn save(&mut self) -> Result<(), MirrorError> {
        let directory = self.slot.directory().display().to_string();
        self.slot.save().map_err(|error| MirrorError::State { directory, error })
    }
}

fn write_down(slot: &mut Slot, handle: Handle) -> Result<(), MirrorError> {
    slot.add_handle(handle).map_err(|error| MirrorError::State {
        directory: slot.directory().display().to_string(),
        error,
    })
}

/// Ports as people read them: `web/net0 @ tap-web`.
fn labels(sources: &[Source]) -> Vec<String> {
    sources.iter().map(|source| format!("{} @ {}", source.label, source.device)).collect()
}

/// Both together, as of the later one.
pub(super) fn sum(a: Counts, b: Counts) -> Counts {
    Counts {
        packets: a.packets.saturating_add(b.packets),
        bytes: a.bytes.saturating_add(b.bytes),
        failed: a.failed.map_or(b.failed, |a| Some(a.saturating_add(b.failed.unwrap_or(0)))),
        at_ms: a.at_ms.max(b.at_ms),
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long after a failure the same ports are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(2);
