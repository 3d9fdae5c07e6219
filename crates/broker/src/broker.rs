//! One pass that decides about each packet for all tools.
//!
//! The headers are read once, one look-up gives the tools that may have the packet, expressions
//! that several tools share are asked once. Only for a tool that gets the packet anything more is
//! done: the treatment its policy asks for, and its encapsulation.

use select::{Admitted, Claim, Exports, Filter, Gate, Interest, ToolSet};
use wire::{Layers, Packet, TunnelPorts};

use crate::census::Census;
use crate::program::Program;
use crate::{Mtu, Tool, ToolAccount, ToolDrop};

/// Where a broker's tools are reached.
pub trait Outlets {
    /// Room for the next datagram to tool `number`, to be appended to what is in it.
    ///
    /// # Errors
    /// Why there is none.
    fn begin(&mut self, number: usize) -> Result<&mut Vec<u8>, ToolDrop>;

    /// What was appended since [`begin`](Self::begin) is one datagram of packet `packet`, counted
    /// from 0 for each tool.
    fn end(&mut self, number: usize, packet: u64);

    /// Writes a packet into the pcapng stream to tool `number`.
    ///
    /// # Errors
    /// Why it could not.
    fn write(&mut self, number: usize, packet: &Packet<'_>) -> Result<(), ToolDrop>;
}

/// Decides about each packet for each of its tools, and keeps their accounts.
#[derive(Debug)]
pub struct Broker {
    ports: TunnelPorts,
    points: Vec<Gate>,
    exports: Exports,
    programs: Vec<Program>,
    /// Tools that want all they may have.
    undemanding: ToolSet,
    /// Each expression once, with the tools that asked it.
    questions: Vec<(Filter, ToolSet)>,
    /// Which of the questions a packet may be an answer to.
    interest: Interest,
    census: Census,
    /// The headers of the packet in hand.
    layers: Layers,
}

/// A tool as a broker takes it: its expression understood, the way to it known.
#[derive(Debug)]
pub struct Ready {
    /// The tool.
    pub tool: Tool,
    /// Its selection; `None` wants everything.
    pub filter: Option<Filter>,
    /// What the way to it takes.
    pub mtu: Mtu,
}

impl Broker {
    /// A broker for these tools, numbered from 0 in their order; what is beyond
    /// [`ToolSet::MOST`] gets nothing.
    pub fn new(tools: Vec<Ready>, ports: TunnelPorts) -> Self {
        let mut undemanding = ToolSet::default();
        let mut questions: Vec<(Filter, ToolSet)> = Vec::new();
        let mut programs = Vec::new();
        for (number, Ready { tool, filter, mtu }) in tools.into_iter().enumerate() {
            let Some(one) = ToolSet::one(number) else { break };
            match filter.filter(|filter| !filter.wants_everything()) {
                None => undemanding = undemanding.and(one),
                Some(filter) => match questions.iter_mut().find(|(known, _)| *known == filter) {
                    Some((_, asking)) => *asking = asking.and(one),
                    None => questions.push((filter, one)),
                },
            }
            programs.push(Program::new(&tool, mtu));
        }
        Self {
            ports,
            points: Vec::new(),
            exports: Exports::default(),
            programs,
            undemanding,
            interest: Interest::new(questions.iter().map(|(filter, _)| filter)),
            questions,
            census: Census::default(),
            layers: Layers::empty(),
        }
    }

    /// Adds the observation point with the next free number, from 0. Nobody gets anything of it
    /// but by a claim.
    pub fn add_point(&mut self, claims: &[Claim]) {
        self.points.push(Gate::default());
        self.claim(self.points.len() - 1, claims);
    }

    /// From now on these are all the claims to what point `number` shows, before and after.
    pub fn claim(&mut self, number: usize, claims: &[Claim]) {
        claims.iter().for_each(|claim| claim.ownership.add_tunnel_ports(&mut self.ports));
        if let Some(gate) = self.points.get_mut(number) {
            *gate = Gate::new(claims);
        }
    }

    /// Never sends on what these exports carry.
    pub fn exclude(&mut self, exports: Exports) {
        self.exports = exports;
    }

    /// Offers one packet to all tools.
    #[inline]
    pub fn offer(&mut self, packet: &Packet<'_>, outlets: &mut impl Outlets) {
        self.census.offered += 1;
        self.layers.fill(packet.link, packet.data, &self.ports);
        let Some(gate) = self.points.get(packet.point.0 as usize) else {
            // Nobody has a claim to what a point shows that is not known.
            self.census.asked.add(ToolSet::ALL);
            return;
        };
        if self.exports.has(packet, &self.layers) {
            self.census.own_exports += 1;
            return;
        }
        // What nobody can have asked for need not be compared with grants. That is the cheaper
        // question; nothing goes out but by both.
        let mut asked = self.undemanding;
        let mut questions = ToolSet::default();
        if !self.questions.is_empty() {
            questions = self.interest.of(packet, &self.layers);
            for number in questions.iter() {
                if let Some((_, asking)) = self.questions.get(number) {
                    asked = asked.and(*asking);
                }
            }
        }
        if asked.is_empty() {
            return;
        }
        self.census.asked.add(asked);
        let admitted = gate.admit(packet, &self.layers);
        let allowed = admitted.tools().within(asked);
        if admitted.is_undecidable() {
            self.census.hidden.add(asked.without(allowed));
        }
        if allowed.is_empty() {
            return;
        }
        self.census.allowed.add(allowed);
        let mut wanted = allowed.within(self.undemanding);
        for number in questions.iter() {
            if let Some((filter, asking)) = self.questions.get(number) {
                let asking = asking.within(allowed);
                wanted = wanted.and(wanting(filter, asking, &admitted, packet, &self.layers));
            }
        }
        if wanted.is_empty() {
            return;
        }
        self.census.wanted.add(wanted);
        for number in wanted.iter() {
            if let (Some(program), Some(entitled)) =
                (self.programs.get_mut(number), admitted.to(number))
            {
                program.deliver(entitled, &self.layers, &self.ports, outlets);
            }
        }
    }

    /// How many tools there are.
    pub const fn len(&self) -> usize {
        self.programs.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// The account of tool `number`, as far as it is known here: what an outlet could not send
    /// after all is in its own account.
    pub fn account(&self, number: usize) -> Option<ToolAccount> {
        let program = self.programs.get(number)?;
        let mut account = program.account;
        self.census.complete(number, &mut account);
        Some(account)
    }
}

/// Those of the tools asking `filter` that want the packet.
#[inline]
fn wanting(
    filter: &Filter,
    mut asking: ToolSet,
    admitted: &Admitted<'_, '_>,
    packet: &Packet<'_>,
    layers: &Layers,
) -> ToolSet {
    let mut wanting = ToolSet::default();
    // A word of the language asks which way a packet goes, and that is not the same for all.
    while let Some(entitled) = asking.iter().next().and_then(|first| admitted.to(first)) {
        let alike = admitted.alike(entitled.number()).within(asking);
        let seen = Packet { direction: entitled.packet().direction, ..*packet };
        if filter.matches(&seen, layers) {
            wanting = wanting.and(alike);
        }
        asking = asking.without(alike);
    }
    wanting
}
