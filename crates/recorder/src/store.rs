//! A store as its readers see it: which machines, from when to when, and their packets.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use wire::Timestamp;

use crate::Budget;
use crate::body::Losses;
use crate::coverage::{Gap, Span, gaps, joined};
use crate::directory::{Directory, SEGMENT};
use crate::error::{Damage, DamageReason, StoreError};
use crate::key::{KeyId, KeyRing};
use crate::point::{MachineRef, PointInfo};
use crate::reading::Reading;
use crate::segment::{Infos, Segment};

/// The recorded packets of one host, opened for reading.
#[derive(Debug)]
pub struct Store {
    directory: Arc<Directory>,
    keys: KeyRing,
    segments: Vec<Segment>,
    /// Segments that cannot be read at all.
    unreadable: Vec<Damage>,
    infos: Infos,
    /// Segments last written to before are left out.
    since: Timestamp,
}

/// What is recorded of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The machine, with its latest name.
    pub machine: MachineRef,
    /// The points it was seen at.
    pub labels: Vec<String>,
    /// When it was recorded, oldest first.
    pub spans: Vec<Span>,
    /// Packets.
    pub packets: u64,
    /// Bytes of them in the store.
    pub bytes: u64,
    /// What should be there and is not.
    pub lost: Lost,
}

/// Packets that should be in a recording and are not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// The kernel's ring had no room.
    pub kernel_dropped: u64,
    /// They could not be written.
    pub unwritten: u64,
}

/// A machine that was looked for by a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Nothing,
    /// One machine.
    One(MachineRef),
    /// Several.
    Several(Vec<MachineRef>),
}

/// What a change of the host's key did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Segments that only the first key opens now.
    pub changed: u64,
    /// Keys that segments still need, because they are being written or could not be changed.
    pub needed: Vec<KeyId>,
}

impl Store {
    /// Reads what is in the directory, without the packets.
    ///
    /// # Errors
    /// When the directory cannot be read. What of it cannot is in [`Store::damages`].
    pub fn open(path: &Path, keys: KeyRing) -> Result<Self, StoreError> {
        Self::open_since(path, keys, Timestamp::ZERO)
    }

    /// As [`Store::open`], without what was written before a time, which takes no time then.
    ///
    /// # Errors
    /// When the directory cannot be read. What of it cannot is in [`Store::damages`].
    pub fn open_since(path: &Path, keys: KeyRing, since: Timestamp) -> Result<Self, StoreError> {
        let directory = Arc::new(Directory::open(path)?);
        let mut store = Self {
            directory,
            keys,
            segments: Vec::new(),
            unreadable: Vec::new(),
            infos: Infos::new(),
            since,
        };
        store.refresh()?;
        Ok(store)
    }

    /// Reads what was added since, and forgets what was removed.
    ///
    /// # Errors
    /// When the directory cannot be read any more.
    pub fn refresh(&mut self) -> Result<(), StoreError> {
        let failed = |source| StoreError::Directory { path: self.directory.path.clone(), source };
        let stems = self.directory.stems().map_err(failed)?;
        self.segments.retain(|segment| stems.binary_search(&segment.stem).is_ok());
        let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
        for (recording, number) in stems.iter().filter_map(|stem| parts(stem)) {
            let known = newest.entry(recording).or_default();
            *known = number.max(known);
        }
        self.unreadable.clear();
        for stem in &stems {
            // A recorder that has begun another segment adds nothing to this one.
            let is_over = parts(stem).is_some_and(|(recording, number)| {
                newest.get(recording).is_some_and(|newest| *newest > number)
            });
            // Both are in the order of time.
            match self.segments.binary_search_by(|segment| segment.stem.cmp(stem)) {
                Ok(number) => {
                    let Some(segment) = self.segments.get_mut(number) else { continue };
                    let is_read = segment.update(&self.directory, &mut self.infos);
                    segment.is_complete |= is_over;
                    if is_read.is_err() {
                        // Removed in this moment.
                        self.segments.remove(number);
                    }
                }
                Err(_) if self.directory.last_written(stem) < self.since => {}
                Err(number) => {
                    match Segment::read(&self.directory, &self.keys, stem, &mut self.infos) {
                        Ok(segment) => self.segments.insert(number, segment),
                        Err(Damage { reason: DamageReason::Removed, .. }) => {}
                        Err(damage) => self.unreadable.push(damage),
                    }
                }
            }
        }
        Ok(())
    }

    /// All machines there are packets of, or were looked at, by name.
    pub fn machines(&self) -> Vec<Recorded> {
        let mut ids: BTreeMap<&str, &MachineRef> = BTreeMap::new();
        for info in self.segments.iter().flat_map(infos_of) {
            ids.insert(&info.machine.id, &info.machine);
        }
        let mut machines: Vec<Recorded> =
            ids.values().map(|machine| self.recorded(machine)).collect();
        machines.sort_by(|a, b| a.machine.name.cmp(&b.machine.name));
        machines
    }

    /// The machine that was called so when it was recorded, or has this identity.
    pub fn find(&self, text: &str) -> Found {
        let mut found: BTreeMap<&str, &MachineRef> = BTreeMap::new();
        for info in self.segments.iter().flat_map(infos_of) {
            if info.machine.id == text || info.machine.name == text {
                found.insert(&info.machine.id, &info.machine);
            }
        }
        let mut machines: Vec<MachineRef> = found.into_values().cloned().collect();
        match machines.len() {
            0 => Found::Nothing,
            1 => machines.pop().map_or(Found::Nothing, Found::One),
            _ => Found::Several(machines),
        }
    }

    /// All machines by all names and owners they had while they were recorded.
    pub fn names(&self) -> BTreeSet<MachineRef> {
        let all = self.segments.iter().flat_map(infos_of).map(|info| &info.machine);
        all.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// The same machines, while they were called otherwise or belonged to somebody else.
    pub fn others(&self, machines: &[MachineRef]) -> Vec<MachineRef> {
        let infos = self.segments.iter().flat_map(infos_of).map(|info| &info.machine);
        let is_same = |own: &&MachineRef| machines.iter().any(|machine| machine.id == own.id);
        let others = infos.filter(is_same).filter(|own| !machines.contains(own));
        others.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// Packets of the machines while they were called so and belonged to these, seen from `from`
    /// on and before `to`, in the order of time. They are read later, as far as they are asked for.
    pub fn read(&self, machines: &[MachineRef], from: Timestamp, to: Timestamp) -> Reading {
        let mut reading = Reading::new(Arc::clone(&self.directory), from, to);
        for segment in &self.segments {
            reading.add(segment, |info| machines.contains(&info.machine));
        }
        reading.begin()
    }

    /// When the machines were not recorded between `from` and `to`.
    pub fn gaps(&self, machines: &[MachineRef], from: Timestamp, to: Timestamp) -> Vec<Gap> {
        gaps(&self.spans(machines), from, to)
    }

    /// When they were recorded, oldest first.
    pub fn spans(&self, machines: &[MachineRef]) -> Vec<Span> {
        let mut spans = Vec::new();
        for segment in &self.segments {
            for known in segment.points.values() {
                if known.info.as_ref().is_some_and(|info| machines.contains(&info.machine)) {
                    let to = known.gone.unwrap_or(segment.settled);
                    spans.push(Span { from: known.since, to });
                }
            }
        }
        joined(spans)
    }

    /// Everything these machines' points saw before is in the store. It moves on while a recorder
    /// runs that looks at them.
    pub fn settled(&self, machines: &[MachineRef]) -> Option<Timestamp> {
        let looks = |segment: &&Segment| {
            segment.points.values().any(|known| {
                let info = known.info.as_ref();
                known.gone.is_none() && info.is_some_and(|info| machines.contains(&info.machine))
            })
        };
        self.segments.iter().filter(looks).map(|segment| segment.settled).max()
    }

    /// What recorders said of the machines from `from` on and before `to`, oldest first.
    pub fn notes(
        &self,
        machines: &[MachineRef],
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<(Timestamp, String)> {
        let mut notes = Vec::new();
        for segment in &self.segments {
            for (time, point, text) in &segment.notes {
                let info = segment.points.get(point).and_then(|known| known.info.as_ref());
                let is_theirs = info.is_some_and(|info| machines.contains(&info.machine));
                if is_theirs && *time >= from && *time < to {
                    notes.push((*time, text.clone()));
                }
            }
        }
        notes.sort();
        notes
    }

    /// Packets lost at a point of a machine, by its label, from `from` on and before `to`, as far as recorders
    /// noticed by then.
    pub fn lost(&self, machine: &MachineRef, label: &str, from: Timestamp, to: Timestamp) -> Lost {
        // Counts go on within a recording, from 0.
        let mut known: BTreeMap<([u8; 16], u32), Losses> = BTreeMap::new();
        let mut lost = Lost::default();
        for segment in &self.segments {
            for (time, point, losses) in &segment.losses {
                let Some(known_point) = segment.points.get(point) else { continue };
                let Some(info) = &known_point.info else { continue };
                if info.machine != *machine || info.label != label {
                    continue;
                }
                let before = known.insert((segment.header.recording, *point), *losses);
                // The first segment left of a recording tells of those before it as well.
                let is_cut = segment.header.number > 0 && known_point.since <= segment.header.begin;
                let before = before.unwrap_or(if is_cut { *losses } else { Losses::default() });
                if *time >= from && *time < to {
                    lost.kernel_dropped +=
                        losses.kernel_dropped.saturating_sub(before.kernel_dropped);
                    lost.unwritten += losses.unwritten.saturating_sub(before.unwritten);
                }
            }
        }
        lost
    }

    /// What is known to be unreadable without reading all packets.
    pub fn damages(&self) -> impl Iterator<Item = &Damage> {
        self.unreadable.iter().chain(self.segments.iter().flat_map(Segment::damages))
    }

    /// Bytes of all segments that can be read.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// How much the latest recorder keeps.
    pub fn budget(&self) -> Option<Budget> {
        let header = &self.segments.last()?.header;
        let age = (header.max_age_s > 0).then(|| Duration::from_secs(header.max_age_s));
        Some(Budget { bytes: header.budget_bytes, age })
    }

    /// How many segments can be read.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The beginning of the oldest segment.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.segments.iter().map(|segment| segment.header.begin).min()
    }

    /// The directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.fd()
    }

    /// Makes every segment that nobody writes to readable with the first key only.
    pub fn rewrap(&mut self) -> Rewrapped {
        let mut done = Rewrapped::default();
        let mut needed = BTreeSet::new();
        let held = self.directory.held().unwrap_or_default();
        for segment in &mut self.segments {
            let is_live = held.iter().any(|held| held.stem == segment.stem && held.is_live);
            if let Some([both, alone]) = segment.header.with_first_key(&self.keys) {
                if !is_live && change_header(&self.directory, &segment.stem, [&both, &alone]) {
                    segment.header = alone;
                    done.changed += 1;
                } else {
                    needed.extend(segment.header.key_ids());
                }
            }
        }
        done.needed = needed.into_iter().collect();
        done
    }

    fn recorded(&self, machine: &MachineRef) -> Recorded {
        let is_its = |info: &PointInfo| info.machine.id == machine.id;
        let mut labels = BTreeSet::new();
        let mut names = BTreeSet::new();
        let (mut packets, mut bytes) = (0, 0);
        for segment in &self.segments {
            for known in segment.points.values() {
                let Some(info) = known.info.as_ref().filter(|info| is_its(info)) else { continue };
                labels.insert(info.label.clone());
                names.insert(&info.machine);
                for chunk in &known.chunks {
                    packets += u64::from(chunk.header.packets);
                    bytes += chunk.header.chunk_len();
                }
            }
        }
        let mut lost = Lost::default();
        for name in &names {
            for label in &labels {
                let more = self.lost(name, label, Timestamp::ZERO, LAST);
                lost.kernel_dropped += more.kernel_dropped;
                lost.unwritten += more.unwritten;
            }
        }
        let names: Vec<MachineRef> = names.into_iter().cloned().collect();
        Recorded {
            machine: machine.clone(),
            labels: labels.into_iter().collect(),
            spans: self.spans(&names),
            packets,
            bytes,
            lost,
        }
    }
}

/// The recording and the number in a segment's name; numbers have as many digits.
fn parts(stem: &str) -> Option<(&str, &str)> {
    let (_, rest) = stem.split_once('-')?;
    rest.split_once('-')
}

fn infos_of(segment: &Segment) -> impl Iterator<Item = &Arc<PointInfo>> {
    segment.points.values().filter_map(|known| known.info.as_ref())
}

/// Writes one header after the other, each on the disk before the next.
fn change_header(directory: &Directory, stem: &str, headers: [&crate::header::Header; 2]) -> bool {
    let Ok(file) = directory.write(stem, SEGMENT) else { return false };
    headers.iter().all(|header| {
        file.write_all_at(&header.encode(), 0).and_then(|()| file.sync_data()).is_ok()
    })
}

const LAST: Timestamp = Timestamp::from_nanos(u64::MAX);
