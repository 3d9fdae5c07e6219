//! Packets of a job on their way to tools: the same broker and the same outlets as live.
//!
//! What differs is patience. A file does not run away, so a tool that is slow is waited for, within
//! bounds, before its packets are dropped and counted.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use broker::{Broker, Mtu, Outlet, Ready, Tool};
use deliver::{Relay, ToolOutlets, ToolReport, ToolSocket, ToolSocketKind};
use select::{Claim, Exports, Filter, Ownership, ToolSet};
use wire::file::{InterfaceHeader, SectionHeader};
use wire::{LinkType, Packet, PointId, Timestamp, TunnelPorts};

/// Tools that get the packets of a job.
#[derive(Debug)]
pub struct ToolFeed {
    broker: Broker,
    claims: Vec<Claim>,
    outlets: ToolOutlets,
    tools: Vec<Tool>,
    /// Sockets of tools, until the first observation point is known.
    sockets: Vec<(ToolSocketKind, Option<OwnedFd>)>,
    /// What speaks TLS for them.
    relays: Vec<Option<Relay>>,
    /// The numbers of observation points, by those they have in files of a link type.
    points: HashMap<(LinkType, u32), PointId>,
    /// Bytes given to tools since it was last looked at who is slow.
    unlooked: usize,
    /// Whether some tool has kept us waiting for nothing.
    is_given_up: bool,
}

/// A tool that gets packets of a job, and its selection, understood.
#[derive(Debug)]
pub struct FeedTool {
    /// The tool. Its grant was asked by whoever knows whose packets the job is about.
    pub tool: Tool,
    /// Its selection; `None` wants everything.
    pub filter: Option<Filter>,
}

impl ToolFeed {
    /// Opens the way to each tool. For one that calls us its first call is waited for, until `stop`.
    ///
    /// # Errors
    /// A sentence that names the tool.
    pub fn open(
        tools: Vec<FeedTool>,
        section: SectionHeader,
        ports: TunnelPorts,
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, String> {
        let (mut ready, mut named, mut sockets) = (Vec::new(), Vec::new(), Vec::new());
        let (mut claims, mut relays, mut exports) = (Vec::new(), Vec::new(), Exports::default());
        for (number, FeedTool { tool, filter }) in tools.into_iter().enumerate() {
            let opened = open(&tool.outlet, stop);
            let opened =
                opened.map_err(|error| format!("cannot send to {}: {error}", tool.name))?;
            let ToolSocket { fd, kind, mtu, export, relay, .. } = opened;
            claims.extend(ToolSet::one(number).map(|tools| Claim {
                tools,
                ownership: Ownership::Whole,
                from: Timestamp::ZERO,
                until: tool.grant.until_ns,
            }));
            export.into_iter().for_each(|export| exports.add(export));
            sockets.push((kind, Some(fd)));
            relays.push(relay);
            named.push(tool.clone());
            ready.push(Ready { tool, filter, mtu });
        }
        let mut broker = Broker::new(ready, ports);
        broker.exclude(exports);
        let outlets = ToolOutlets::new(section, Vec::new());
        Ok(Self {
            broker,
            claims,
            outlets,
            tools: named,
            sockets,
            relays,
            points: HashMap::new(),
            unlooked: 0,
            is_given_up: false,
        })
    }

    /// Offers a packet to all tools: one of the point that has `number` in files of its link type
    /// and is called `name`.
    ///
    /// # Errors
    /// A sentence, when a stream cannot be begun.
    pub(crate) fn offer(
        &mut self,
        packet: &Packet<'_>,
        number: u32,
        name: &str,
    ) -> Result<(), String> {
        let key = (packet.link, number);
        let point = match self.points.get(&key) {
            Some(point) => *point,
            None => self.add_point(key, name, packet.time)?,
        };
        self.broker.offer(&Packet { point, ..*packet }, &mut self.outlets);
        self.unlooked += packet.data.len() + HEAD_BYTES;
        if self.unlooked >= LOOK_EVERY_BYTES {
            self.unlooked = 0;
            self.outlets.flush();
            self.wait();
        }
        Ok(())
    }

    /// Closes everything; what each tool got.
    pub(crate) fn finish(mut self) -> Vec<ToolReport> {
        let now = Timestamp::ZERO;
        if self.points.is_empty() {
            // A stream without a packet is one all the same. If even that fails, nobody misses any.
            let _ = self.add_point((LinkType::ETHERNET, 0), "nothing", now);
        }
        let account = |number| self.broker.account(number).unwrap_or_default();
        let tools = self.tools.iter().enumerate();
        let reports = tools.map(|(number, tool)| ToolReport::new(tool, account(number))).collect();
        self.outlets.flush();
        self.wait();
        let mut reports = self.outlets.finish(now, reports);
        for (report, relay) in reports.iter_mut().zip(self.relays) {
            let trouble = relay.as_ref().and_then(Relay::trouble);
            report.trouble = trouble.or(report.trouble.take());
        }
        reports
    }

    fn add_point(
        &mut self,
        key: (LinkType, u32),
        name: &str,
        now: Timestamp,
    ) -> Result<PointId, String> {
        let number = u32::try_from(self.points.len()).unwrap_or(u32::MAX);
        // All that tools take is Ethernet.
        let header = InterfaceHeader::ethernet(name);
        self.outlets.add_interface(&header, now);
        for (kind, fd) in std::mem::take(&mut self.sockets) {
            self.outlets.add(kind, fd, now)?;
        }
        self.broker.add_point(&self.claims);
        self.points.insert(key, PointId(number));
        Ok(PointId(number))
    }

    /// Waits until all tools have room again. One that takes nothing is waited for once.
    fn wait(&mut self) {
        let until = Instant::now() + PATIENCE;
        while !self.is_given_up && self.outlets.is_crowded() {
            if Instant::now() > until {
                self.is_given_up = true;
            }
            std::thread::sleep(REST);
            self.outlets.flush();
        }
    }
}

fn open(outlet: &Outlet, stop: &Arc<AtomicBool>) -> io::Result<ToolSocket> {
    if let Outlet::Rspan { interface, vlan } = outlet {
        let (fd, mtu) = capture::frame_sender(interface)?;
        let mtu =
            Mtu::try_from(u16::try_from(mtu).unwrap_or(u16::MAX)).map_err(io::Error::other)?;
        return Ok(ToolSocket::datagrams(fd, mtu, select::Export::Vlan(vlan.value())));
    }
    let opened = deliver::open_tool(outlet)?;
    if opened.kind != ToolSocketKind::Listener {
        // Who has gone in the middle of a file would get the rest of it, without the beginning.
        let is_stream = opened.kind == ToolSocketKind::Caller;
        let kind = if is_stream { ToolSocketKind::Stream } else { opened.kind };
        return Ok(ToolSocket { kind, ..opened });
    }
    while !stop.load(Ordering::Relaxed) {
        if let Some(connection) = deliver::accept(&opened.fd)? {
            // Who is not believed has had their chance; another may call.
            if let Ok(reader) = deliver::reader(connection, opened.tls.as_ref()) {
                return Ok(reader);
            }
        }
        std::thread::sleep(CALL_EVERY);
    }
    Err(io::Error::new(io::ErrorKind::Interrupted, "stopped before anybody called"))
}

/// Bytes between two looks at who is slow: less than what the queues have room for beyond the mark
/// at which they are waited for.
const LOOK_EVERY_BYTES: usize = 128 * 1024;
/// What is around a packet on its way, about.
const HEAD_BYTES: usize = 64;
/// How long a tool is waited for that takes nothing.
const PATIENCE: Duration = Duration::from_secs(10);
const REST: Duration = Duration::from_millis(1);
const CALL_EVERY: Duration = Duration::from_millis(20);
