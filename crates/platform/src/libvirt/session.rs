//! A conversation with one libvirt daemon: its domains, kept up to date by its events.
//!
//! An event only says which domain to ask about again; what is believed is what the daemon then
//! answers. The one exception is which side of a migration a paused domain is on: no call says
//! that, so the events are remembered, and where we came too late, what it was before.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use inventory::facts::{Domain, DomainState, LibvirtFacts, Uuid};

use super::domain::{Description, Side, has_migrated, side_of_event, state_of};
use super::rpc::{Failure, Packet, Rpc, STRING_MAX};
use super::xdr::{Reader, Writer};

/// A connection that was opened and subscribed, and what it has told so far.
#[derive(Debug)]
pub(super) struct Session {
    rpc: Rpc,
    hostname: String,
    domains: BTreeMap<[u8; 16], Known>,
    stale: Stale,
    /// Domains that have migrated away, and when. One that is undefined with that (`virsh migrate
    /// --undefinesource`, Nova) is so a moment after the last event about it.
    left: BTreeMap<[u8; 16], Instant>,
}

/// Which domains to ask about again.
#[derive(Debug, Default)]
struct Stale {
    /// Which domains there are.
    list: bool,
    domains: BTreeSet<[u8; 16]>,
}

#[derive(Debug)]
struct Known {
    handle: Handle,
    state: DomainState,
    side: Option<Side>,
    description: Description,
}

/// A domain as calls and events name it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Handle {
    name: String,
    uuid: [u8; 16],
    /// -1 while it does not run.
    id: i32,
}

impl Session {
    /// Connects, opens `uri` for reading and subscribes; no domain is read yet.
    pub(super) fn open(
        path: &Path,
        uri: &str,
        stop: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let mut rpc = Rpc::connect(path)?;
        authenticate(&mut rpc, stop, deadline)?;
        let open = Writer::default().u32(1).string(uri).u32(READ_ONLY);
        rpc.call(CONNECT_OPEN, open, stop, deadline)?;
        let hostname = rpc.call(CONNECT_GET_HOSTNAME, Writer::default(), stop, deadline)?;
        let hostname = Reader::new(&hostname).string(STRING_MAX).ok_or(Failure::Garbled)?;
        for event in EVENTS {
            let register = Writer::default().i32(event).u32(0);
            match rpc.call(REGISTER_ANY, register, stop, deadline) {
                // An older daemon has fewer kinds; without the first it is of no use.
                Err(Failure::Refused { .. }) if event != LIFECYCLE => {}
                result => drop(result?),
            }
        }
        let stale = Stale { list: true, domains: BTreeSet::new() };
        Ok(Self { rpc, hostname, domains: BTreeMap::new(), stale, left: BTreeMap::new() })
    }

    /// Waits for an event or until one of `others` has something to read.
    pub(super) fn wait(
        &mut self,
        others: &[BorrowedFd<'_>],
        deadline: Option<Instant>,
    ) -> Result<(), Failure> {
        self.rpc.wait(others, deadline)?;
        self.take_events();
        Ok(())
    }

    /// Whether a domain has to be asked about again.
    pub(super) fn is_stale(&self) -> bool {
        self.stale.list || !self.stale.domains.is_empty()
    }

    /// When to look which domains there are though no event says so, if at all.
    pub(super) fn looks_again(&self) -> Option<Instant> {
        (!self.left.is_empty()).then(|| Instant::now() + LOOK_AGAIN)
    }

    /// Asks about what is stale.
    pub(super) fn refresh(
        &mut self,
        stop: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let stale = std::mem::take(&mut self.stale);
        let handles = self.list(stop, deadline)?;
        let uuids: BTreeSet<[u8; 16]> = handles.iter().map(|handle| handle.uuid).collect();
        self.domains.retain(|uuid, _| uuids.contains(uuid));
        self.left.retain(|uuid, since| uuids.contains(uuid) && since.elapsed() < LEAVING);
        for handle in handles {
            let is_known = self.domains.get(&handle.uuid).is_some_and(|k| k.handle == handle);
            if is_known && !stale.domains.contains(&handle.uuid) {
                continue;
            }
            match self.ask(handle.clone(), stop, deadline) {
                Ok(known) => drop(self.domains.insert(handle.uuid, known)),
                // Gone between the list and the question.
                Err(Failure::Refused { .. }) => drop(self.domains.remove(&handle.uuid)),
                Err(failure) => return Err(failure),
            }
        }
        // Events between a call and its reply.
        self.take_events();
        Ok(())
    }

    /// All that is known.
    pub(super) fn facts(&self) -> LibvirtFacts {
        let domains = self.domains.values().map(|known| Domain {
            name: known.handle.name.clone(),
            uuid: Uuid(known.handle.uuid),
            id: Some(known.handle.id).filter(|id| *id >= 0),
            state: known.state,
            title: known.description.title.clone(),
            tenant: known.description.tenant.clone(),
            nics: known.description.nics.clone(),
        });
        LibvirtFacts { hostname: Some(self.hostname.clone()), domains: domains.collect() }
    }

    fn list(&mut self, stop: BorrowedFd<'_>, deadline: Instant) -> Result<Vec<Handle>, Failure> {
        let arguments = Writer::default().i32(1).u32(ACTIVE | INACTIVE);
        let reply = self.rpc.call(LIST_ALL_DOMAINS, arguments, stop, deadline)?;
        Reader::new(&reply).list(DOMAINS_MAX, Handle::read).ok_or(Failure::Garbled)
    }

    /// State and description of a domain.
    fn ask(
        &mut self,
        handle: Handle,
        stop: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<Known, Failure> {
        let reply = self.rpc.call(DOMAIN_GET_STATE, handle.write().u32(0), stop, deadline)?;
        let mut reader = Reader::new(&reply);
        let state = reader.i32().ok_or(Failure::Garbled)?;
        let reason = reader.i32().ok_or(Failure::Garbled)?;
        let reply = self.rpc.call(DOMAIN_GET_XML_DESC, handle.write().u32(0), stop, deadline)?;
        let xml = Reader::new(&reply).string(STRING_MAX).ok_or(Failure::Garbled)?;
        let description = Description::parse(&xml).map_err(|_| Failure::Garbled)?;
        self.take_events();
        let side = self.domains.get(&handle.uuid).and_then(|before| {
            // What ran here and is paused for a migration is leaving, event or not.
            let was_here = before.state == DomainState::Running && before.handle.id == handle.id;
            before.side.or(was_here.then_some(Side::Source))
        });
        let state = state_of(state, reason, side);
        let is_migrating = matches!(state, DomainState::Incoming | DomainState::Outgoing);
        Ok(Known { state, side: side.filter(|_| is_migrating), handle, description })
    }

    fn take_events(&mut self) {
        while let Some(packet) = self.rpc.next_event() {
            self.take_event(&packet);
        }
    }

    fn take_event(&mut self, packet: &Packet) {
        let mut reader = Reader::new(&packet.body);
        let _callback = reader.i32();
        let Some(handle) = Handle::read(&mut reader) else { return };
        // The kinds we subscribed to all begin with the domain; others are not ours.
        if !EVENT_PROCEDURES.contains(&packet.procedure) {
            return;
        }
        self.stale.domains.insert(handle.uuid);
        if packet.procedure != EVENT_LIFECYCLE {
            return;
        }
        self.stale.list = true;
        let (Some(event), Some(detail)) = (reader.i32(), reader.i32()) else { return };
        if has_migrated(event, detail) {
            self.left.insert(handle.uuid, Instant::now());
        }
        let Some(side) = side_of_event(event, detail) else { return };
        let known = self.domains.entry(handle.uuid).or_insert_with(|| Known {
            handle: handle.clone(),
            state: DomainState::Shutoff,
            side: None,
            description: Description::default(),
        });
        known.side = side;
        // Over with it: what it was before says nothing about the next pause.
        if side.is_none() && known.handle != handle {
            known.state = DomainState::Shutoff;
        }
    }
}

impl Handle {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self { name: reader.string(STRING_MAX)?, uuid: reader.fixed()?, id: reader.i32()? })
    }

    fn write(&self) -> Writer {
        Writer::default().string(&self.name).fixed(&self.uuid).i32(self.id)
    }
}

/// Tells the daemon who we are, as far as it wants to know.
fn authenticate(rpc: &mut Rpc, stop: BorrowedFd<'_>, deadline: Instant) -> Result<(), Failure> {
    let reply = rpc.call(AUTH_LIST, Writer::default(), stop, deadline)?;
    let kinds = Reader::new(&reply).list(AUTH_KINDS_MAX, Reader::i32).ok_or(Failure::Garbled)?;
    if kinds.is_empty() || kinds.contains(&AUTH_NONE) {
        return Ok(());
    }
    if kinds.contains(&AUTH_POLKIT) {
        rpc.call(POLKIT, Writer::default(), stop, deadline)?;
        return Ok(());
    }
    let message = "it wants a user name and password (SASL); run as root".to_owned();
    Err(Failure::Refused { code: 0, message })
}

/// How often it is looked whether a domain that has migrated away is still defined, and for how long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const LEAVING: Duration = Duration::from_secs(15);

/// How long the daemon may take for all the answers of one refresh.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

// remote_protocol.x
const CONNECT_OPEN: u32 = 1;
const DOMAIN_GET_XML_DESC: u32 = 14;
const CONNECT_GET_HOSTNAME: u32 = 59;
const AUTH_LIST: u32 = 66;
const POLKIT: u32 = 70;
const DOMAIN_GET_STATE: u32 = 212;
const LIST_ALL_DOMAINS: u32 = 273;
const REGISTER_ANY: u32 = 316;
const EVENT_LIFECYCLE: u32 = 318;
const EVENT_PROCEDURES: [u32; 6] = [EVENT_LIFECYCLE, 333, 354, 359, 363, 379];
/// `VIR_CONNECT_RO`.
const READ_ONLY: u32 = 1;
const ACTIVE: u32 = 1;
const INACTIVE: u32 = 2;
const AUTH_NONE: i32 = 0;
const AUTH_POLKIT: i32 = 2;
const AUTH_KINDS_MAX: usize = 20;
/// `REMOTE_DOMAIN_LIST_MAX`.
const DOMAINS_MAX: usize = 16_384;
const LIFECYCLE: i32 = 0;
/// Lifecycle, device removed, device added, migration iteration, job completed, metadata changed
/// (which is where Nova says whose a domain is).
const EVENTS: [i32; 6] = [LIFECYCLE, 15, 19, 20, 21, 23];
