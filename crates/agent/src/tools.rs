//! Tools that a capture sends to: opened by the session, written to by the engine.

use std::os::fd::OwnedFd;

use broker::{Broker, Grant, Mtu, Outlet, Owner, Ready, Tool};
use deliver::{ToolOutlets, ToolReport, ToolSocket, ToolSocketKind, open_tool};
use select::{Claim, Cleared, Export, Exports, Filter, Ownership, Resolved, ToolSet};
use serde::{Deserialize, Serialize};
use wire::file::{InterfaceHeader, SectionHeader};
use wire::{Timestamp, TunnelPorts};

use crate::session::SessionError;

/// A tool that a capture is to send to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolWanted {
    /// The tool.
    pub tool: Tool,
    /// What the names in its selection mean.
    pub explained: Resolved,
}

/// A tool as the engine needs it; its socket comes with it, unless it is one that listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ToolOrder {
    pub(crate) tool: Tool,
    pub(crate) explained: Resolved,
    pub(crate) kind: ToolSocketKind,
    pub(crate) mtu: Mtu,
    pub(crate) export: Option<Export>,
    /// Whether its grant allows the VM's packets as the capture begins.
    pub(crate) is_allowed: bool,
}

/// Opens the way to each tool.
pub(crate) fn open_all(
    tools: &[ToolWanted],
    owner: &Owner,
) -> Result<Vec<(ToolOrder, ToolSocket)>, SessionError> {
    let open = |wanted: &ToolWanted| {
        let name = wanted.tool.name.to_string();
        let opened = open(&wanted.tool.outlet)
            .map_err(|source| SessionError::Tool { name: name.clone(), source })?;
        let order = ToolOrder {
            tool: wanted.tool.clone(),
            explained: wanted.explained.clone(),
            kind: opened.kind,
            mtu: opened.mtu,
            export: opened.export,
            is_allowed: owner.is_allowed_by(&wanted.tool.grant),
        };
        Ok((order, opened))
    };
    tools.iter().map(open).collect()
}

fn open(outlet: &Outlet) -> std::io::Result<ToolSocket> {
    let Outlet::Rspan { interface, vlan } = outlet else { return open_tool(outlet) };
    let (fd, mtu) = capture::frame_sender(interface)?;
    let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
    let mtu = Mtu::try_from(mtu).map_err(std::io::Error::other)?;
    Ok(ToolSocket::datagrams(fd, mtu, Export::Vlan(vlan.value())))
}

/// The tools of a running capture, in the engine.
#[derive(Debug)]
pub(crate) struct ToolSink {
    broker: Broker,
    outlets: ToolOutlets,
    tools: Vec<Tool>,
    claims: Vec<Claim>,
    points: usize,
    exports: Exports,
}

impl ToolSink {
    /// For a capture at points with these descriptions.
    pub(crate) fn open(
        orders: Vec<(ToolOrder, Option<OwnedFd>)>,
        section: SectionHeader,
        interfaces: Vec<InterfaceHeader>,
        ports: TunnelPorts,
        now: Timestamp,
    ) -> Result<Self, String> {
        let points = interfaces.len();
        let mut outlets = ToolOutlets::new(section, interfaces);
        let (mut ready, mut tools, mut claims) = (Vec::new(), Vec::new(), Vec::new());
        let mut exports = Exports::default();
        for (number, (order, fd)) in orders.into_iter().enumerate() {
            let name = &order.tool.name;
            let sentence = |error: String| format!("tool {name}: {error}");
            let parsed = order.tool.policy.select.as_deref().map(|text| {
                Filter::parse_with(text, &order.explained)
                    .map_err(|error| sentence(error.to_string()))
            });
            let filter = parsed.transpose()?;
            outlets.add(order.kind, fd, now).map_err(sentence)?;
            if order.is_allowed {
                claims.extend(claim(number, &order.tool.grant, Timestamp::ZERO));
            }
            if let Some(export) = order.export {
                exports.add(export);
            }
            tools.push(order.tool.clone());
            ready.push(Ready { tool: order.tool, filter, mtu: order.mtu });
        }
        let mut broker = Broker::new(ready, ports);
        for _ in 0..points {
            broker.add_point(&claims);
        }
        broker.exclude(exports.clone());
        Ok(Self { broker, outlets, tools, claims, points, exports })
    }

    /// Packets come from another point as well, whose number is the next one.
    pub(crate) fn add_point(&mut self, header: &InterfaceHeader, now: Timestamp) {
        self.points += 1;
        self.broker.add_point(&self.claims);
        self.outlets.add_interface(header, now);
    }

    /// Offers a packet of the VM to all tools.
    #[inline]
    pub(crate) fn take(&mut self, packet: &Cleared<'_, '_>) {
        self.broker.offer(packet.packet(), &mut self.outlets);
    }

    /// Adds a reader to a tool that is called.
    pub(crate) fn add_reader(
        &mut self,
        number: usize,
        fd: OwnedFd,
        export: Option<Export>,
        now: Timestamp,
    ) -> Result<(), String> {
        if let Some(export) = export {
            self.exports.add(export);
            self.broker.exclude(self.exports.clone());
        }
        self.outlets.add_reader(number, fd, now)
    }

    /// From `at` on, these are the tools that may have the VM's packets; `None` for those that may
    /// not.
    pub(crate) fn entitle(&mut self, grants: &[Option<Grant>], at: Timestamp) {
        for claim in &mut self.claims {
            // What was allowed at a time stays so for packets of that time.
            claim.until = Some(claim.until.map_or(at, |until| until.min(at)));
        }
        self.claims.retain(|claim| claim.until.is_none_or(|until| claim.from < until));
        for (number, grant) in grants.iter().enumerate() {
            if let Some(grant) = grant {
                self.claims.extend(claim(number, grant, at));
            }
        }
        for point in 0..self.points {
            self.broker.claim(point, &self.claims);
        }
    }

    /// Whether a tool has nobody to write to, and is one that is called again.
    pub(crate) fn is_lost(&self, number: usize) -> bool {
        self.outlets.is_lost(number)
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.tools.len()
    }

    /// Packets that overtap itself sends.
    pub(crate) const fn exports(&self) -> &Exports {
        &self.exports
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self) {
        self.outlets.flush();
    }

    /// Closes everything; what each tool got.
    pub(crate) fn finish(self, now: Timestamp) -> Vec<ToolReport> {
        let account = |number| self.broker.account(number).unwrap_or_default();
        let tools = self.tools.iter().enumerate();
        let reports = tools.map(|(number, tool)| ToolReport::new(tool, account(number)));
        self.outlets.finish(now, reports.collect())
    }
}

/// What a grant allows of a VM that it is for.
fn claim(number: usize, grant: &Grant, from: Timestamp) -> Option<Claim> {
    let tools = ToolSet::one(number)?;
    Some(Claim { tools, ownership: Ownership::Whole, from, until: grant.until_ns })
}
