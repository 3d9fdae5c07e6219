//! The eBPF program of `tap.bpf.c`, attached by TCX links: they end with whoever holds them.

use std::collections::BTreeMap;
use std::fmt;

use aya::Ebpf;
use aya::maps::{HashMap, MapData};
use aya::programs::links::LinkOrder;
use aya::programs::tc::{SchedClassifierLinkId, TcAttachOptions};
use aya::programs::{SchedClassifier, TcAttachType};

use super::super::MirrorError;
use super::super::register::Counts;

/// The program in the kernel, and where it is attached.
pub(super) struct Taps {
    ebpf: Ebpf,
    /// Its id in the kernel.
    program: u32,
    links: BTreeMap<u32, Vec<SchedClassifierLinkId>>,
}

/// Whether the kernel is new enough.
pub(super) fn is_there() -> bool {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 6)
}

impl Taps {
    /// Loads the program; it is attached nowhere.
    pub(super) fn load() -> Result<Self, MirrorError> {
        let mut ebpf = Ebpf::load(&OBJECT.0).map_err(refused)?;
        let program = classifier(&mut ebpf)?;
        program.load().map_err(refused)?;
        let id = program.info().map_err(refused)?.id();
        Ok(Self { ebpf, program: id, links: BTreeMap::new() })
    }

    /// Copies what passes a port, in both directions, to the device `target`.
    pub(super) fn add(&mut self, port: u32, name: &str, target: u32) -> Result<(), MirrorError> {
        let mut tap = [0; TAP_LEN];
        tap.iter_mut().zip(u64::from(target).to_ne_bytes()).for_each(|(to, from)| *to = from);
        self.map()?.insert(port, tap, 0).map_err(refused)?;
        let mut links = Vec::new();
        for hook in HOOKS {
            // First: what others drop was there all the same.
            let order = TcAttachOptions::TcxOrder(LinkOrder::first());
            let program = classifier(&mut self.ebpf)?;
            match program.attach_with_options(name, hook, order) {
                Ok(link) => links.push(link),
                Err(error) => {
                    self.links.insert(port, links);
                    self.remove(port)?;
                    return Err(refused(error));
                }
            }
        }
        self.links.insert(port, links);
        Ok(())
    }

    /// Ends the copies of a port.
    pub(super) fn remove(&mut self, port: u32) -> Result<(), MirrorError> {
        // Out of the map nothing is copied any more, even if a link could not be ended.
        let _ = self.map()?.remove(&port);
        for link in self.links.remove(&port).unwrap_or_default() {
            classifier(&mut self.ebpf)?.detach(link).map_err(refused)?;
        }
        Ok(())
    }

    /// What was copied at a port, if the program is still there in both directions.
    pub(super) fn counts(&mut self, port: u32, name: &str) -> Result<Counts, String> {
        for hook in HOOKS {
            let (_, programs) =
                SchedClassifier::query_tcx(name, hook).map_err(|e| e.to_string())?;
            if !programs.iter().any(|program| program.id() == self.program) {
                return Err("the program is not there any more".into());
            }
        }
        let tap = self.map().map_err(|error| error.to_string())?.get(&port, 0);
        let tap = tap.map_err(|error| error.to_string())?;
        let mut numbers = tap.chunks_exact(8).filter_map(|bytes| bytes.first_chunk().copied());
        let mut number = || numbers.next().map_or(0, u64::from_ne_bytes);
        let (_target, packets, bytes, failed) = (number(), number(), number(), number());
        Ok(Counts { packets, bytes, failed: Some(failed), at_ms: 0 })
    }

    fn map(&mut self) -> Result<HashMap<&mut MapData, u32, [u8; TAP_LEN]>, MirrorError> {
        let map = self.ebpf.map_mut("taps").ok_or_else(damaged)?;
        HashMap::try_from(map).map_err(refused)
    }
}

impl fmt::Debug for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taps").field("program", &self.program).field("links", &self.links).finish()
    }
}

fn classifier(ebpf: &mut Ebpf) -> Result<&mut SchedClassifier, MirrorError> {
    let program = ebpf.program_mut("overtap_tap").ok_or_else(damaged)?;
    program.try_into().map_err(refused)
}

fn damaged() -> MirrorError {
    MirrorError::Failed("the program of the virtual tap is not in its object".into())
}

fn refused(error: impl std::error::Error) -> MirrorError {
    // The errors of this library say their causes only when asked.
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    MirrorError::Failed(format!("the kernel does not take the virtual tap: {text}"))
}

/// Aligned as the reader of the object wants it.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!("tap.bpf.o"));

/// Bytes of `struct tap`.
const TAP_LEN: usize = 40;
const HOOKS: [TcAttachType; 2] = [TcAttachType::Ingress, TcAttachType::Egress];
