//! Virtual taps: a kernel program at the VM's own port copies its frames to another interface.
//!
//! Two kinds, both at the hooks of traffic control, before and behind whatever else is there:
//!
//! - `tcx`, where the kernel has it (6.6): eBPF with a map of ports, in links that this process
//!   holds. They are gone with the process, whatever ends it.
//! - `filter`, for an expression and for older kernels: classic BPF and `mirred` on a `clsact` qdisc.
//!   These stay when the process dies, so each is written down before it is made, and found again by
//!   device, hook, priority, handle and a cookie that only we know.
//!
//! Neither takes a frame or judges it: whoever stands behind sees it as if we were not there.

mod device;
mod filter;
mod tcx;

use std::collections::BTreeMap;

use plan::mirror::{Destination, Source};

pub use self::device::DeviceHandle;
pub(in crate::mirror) use self::device::remove as remove_device;
pub use self::filter::FilterHandle;
use self::filter::Filters;
pub(in crate::mirror) use self::filter::remove as remove_filter;
use self::tcx::Taps;
use super::register::{Counts, Handle};
use super::session::Oversize;
use super::underlay::{Device, Underlay};
use super::{Instruction, MirrorError};

/// A virtual tap on any number of ports, to one destination.
#[derive(Debug)]
pub(super) struct TapMirror {
    underlay: Underlay,
    target: Device,
    /// A device that was made for this mirror.
    made: Option<DeviceHandle>,
    /// The device by which a tunnel leaves.
    way: Option<u32>,
    ports: BTreeMap<u32, Port>,
    kind: Kind,
    /// Of ports that are mirrored no more.
    earlier: Counts,
}

/// A port that is tapped.
#[derive(Debug)]
struct Port {
    name: String,
    /// As of the last look.
    counts: Counts,
}

#[derive(Debug)]
enum Kind {
    Tcx(Box<Taps>),
    Filter(Filters),
}

/// How a handle is written down before what it names is made.
pub(super) type WriteDown<'a> = &'a mut dyn FnMut(Handle) -> Result<(), MirrorError>;

impl TapMirror {
    /// Looks whether the destination can be reached, makes what leads to it, and taps nothing yet.
    pub(super) fn make(
        destination: &Destination,
        program: Option<&[Instruction]>,
        write_down: WriteDown<'_>,
    ) -> Result<Self, MirrorError> {
        let mut underlay = Underlay::open().map_err(|error| refused("the network", &error))?;
        let (target, made, way) = match destination {
            Destination::Port(name) => (device::port(&mut underlay, name)?, None, None),
            Destination::Tunnel(tunnel) => {
                let (device, handle, way) = device::make_tunnel(&mut underlay, tunnel, write_down)?;
                (device, Some(handle), Some(way.ifindex))
            }
            Destination::Vlan(_) => {
                return Err(MirrorError::Refused("a virtual tap has no VLAN of a switch".into()));
            }
        };
        let kind = match program {
            None if tcx::is_there() => Kind::Tcx(Box::new(Taps::load()?)),
            program => Kind::Filter(Filters::new(program)?),
        };
        Ok(Self {
            underlay,
            target,
            made,
            way,
            ports: BTreeMap::new(),
            kind,
            earlier: Counts::default(),
        })
    }

    /// What makes the copies, in words.
    pub(super) const fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Tcx(_) => "eBPF by TCX: it ends with this process",
            Kind::Filter(_) => "classic BPF and mirred by clsact",
        }
    }

    /// Taps these ports and no others.
    pub(super) fn set(
        &mut self,
        sources: &[Source],
        oversize: Oversize,
        write_down: WriteDown<'_>,
    ) -> Result<(), MirrorError> {
        let mut wanted = BTreeMap::new();
        for source in sources {
            let device = self.port(source, oversize)?;
            wanted.insert(device.ifindex, device.name);
        }
        let gone: Vec<u32> =
            self.ports.keys().filter(|port| !wanted.contains_key(*port)).copied().collect();
        // Those that go first: their frames are another's by now.
        for port in gone {
            self.remove_port(port)?;
        }
        for (port, name) in wanted {
            if !self.ports.contains_key(&port) {
                match &mut self.kind {
                    Kind::Tcx(taps) => taps.add(port, &name, self.target.ifindex)?,
                    Kind::Filter(filters) => {
                        filters.add(
                            &mut self.underlay,
                            port,
                            &name,
                            self.target.ifindex,
                            write_down,
                        )?;
                    }
                }
                self.ports.insert(port, Port { name, counts: Counts::default() });
            }
        }
        self.look().map_err(MirrorError::Failed)
    }

    /// Reads it back: whether each tap is there, and what it has copied.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub(super) fn look(&mut self) -> Result<(), String> {
        let target = self.underlay.numbered(self.target.ifindex).map_err(|e| e.to_string())?;
        let now_ms = crate::clock::now().as_nanos() / 1_000_000;
        let mut problem = None;
        for (ifindex, port) in &mut self.ports {
            let counted = match &mut self.kind {
                Kind::Tcx(taps) => taps.counts(*ifindex, &port.name),
                Kind::Filter(filters) => {
                    filters.counts(&mut self.underlay, *ifindex, self.target.ifindex)
                }
            };
            match counted {
                Ok(counts) => port.counts = Counts { at_ms: now_ms, ..counts },
                Err(sentence) => problem = Some(format!("at {}: {sentence}", port.name)),
            }
        }
        match (target, problem) {
            (_, Some(problem)) => Err(problem),
            (None, None) => Err(format!("the interface {} is gone", self.target.name)),
            (Some(target), None) if !target.is_up => Err(format!("{} is down", target.name)),
            (Some(_), None) => Ok(()),
        }
    }

    /// What was copied.
    pub(super) fn counts(&self) -> Counts {
        let now = self.ports.values().map(|port| port.counts);
        now.fold(self.earlier, super::session::sum)
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// What is still there, in a sentence.
    pub(super) fn remove(&mut self) -> Result<(), String> {
        let mut problem = None;
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            if let Err(error) = self.remove_port(port) {
                problem = Some(error.to_string());
            }
        }
        if let Some(Err(error)) = self.made.take().map(|made| device::remove(&made)) {
            problem = Some(error);
        }
        problem.map_or(Ok(()), Err)
    }

    fn remove_port(&mut self, port: u32) -> Result<(), MirrorError> {
        // With what has gone by since the last look, if that can still be said.
        let _ = self.look();
        match &mut self.kind {
            Kind::Tcx(taps) => taps.remove(port)?,
            Kind::Filter(filters) => filters.remove(port)?,
        }
        if let Some(port) = self.ports.remove(&port) {
            self.earlier = super::session::sum(self.earlier, port.counts);
        }
        Ok(())
    }

    /// The device of a source, which must be the one the inventory means.
    fn port(&mut self, source: &Source, oversize: Oversize) -> Result<Device, MirrorError> {
        let name = &source.device;
        let device = self.underlay.named(name).map_err(|error| refused(name, &error))?;
        let device = device.filter(|device| source.ifindex.is_none_or(|it| it == device.ifindex));
        let Some(device) = device else {
            return Err(MirrorError::Refused(format!("{} has no port {name} now", source.label)));
        };
        if device.ifindex == self.target.ifindex {
            return Err(MirrorError::Refused(format!(
                "{name} is mirrored and cannot be the destination, too"
            )));
        }
        // Copies of ours that come by again are known by their mark, which only eBPF can set.
        let is_flooded = self.way.is_some() && device.master == self.way;
        if self.way == Some(device.ifindex) || is_flooded && matches!(self.kind, Kind::Filter(_)) {
            return Err(MirrorError::Refused(format!(
                "the copies leave by {name} or its bridge, where they would be copied again; give \
                 another way{}",
                if is_flooded { ", or no expression" } else { "" }
            )));
        }
        let room = self.target.mtu;
        if device.mtu > room && oversize == Oversize::Refuse {
            return Err(MirrorError::Refused(format!(
                "frames of {name} have up to {} bytes and {} takes {room}: longer ones would be \
                 lost; raise its MTU, lower the VM's, or accept it with --oversize drop",
                device.mtu, self.target.name
            )));
        }
        Ok(device)
    }
}

fn refused(what: &str, error: &std::io::Error) -> MirrorError {
    let remedy = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "; run as root or grant cap_net_admin and cap_bpf",
        _ => "",
    };
    MirrorError::Refused(format!("{what}: {error}{remedy}"))
}
