//! Writes an expression's questions for the shapes of packets that classic BPF can tell apart.
//!
//! Two rules keep the program from refusing what user space takes. A load behind the end of a
//! packet refuses it, so nothing is loaded that user space would not ask for in the same order,
//! unless the packet is known to be long enough. And a question that cannot be asked is left out
//! only where everything around it has to be true as well.

mod calculation;
mod shape;

use std::collections::BTreeSet;

use wire::TunnelPorts;

use super::assembler::{Assembler, Label, To};
use super::kernel::Passed;
use super::{ANCILLARY_VLAN_TAG, TagPlace, code};
use crate::filter::arithmetic::{Accessor, Arithmetic, Compare, Operator, Width};
use crate::filter::expression::{Carrier, Scope};
use crate::filter::lower::Node;
use crate::filter::members::Members;
use crate::filter::numbers::{Numbers, Range};
use crate::filter::test::{Base, Bytes, End, GROUP_BIT, LAST_LENGTH, Test, WHOLE_MAC};

/// Which shapes are told apart, besides untagged frames without a tunnel; the fewer, the shorter
/// the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Detail {
    /// Also behind one VLAN tag in the bytes.
    has_tags: bool,
    /// Also in VXLAN and GENEVE.
    has_tunnels: bool,
}

impl Detail {
    /// All of them, from the longest program to the shortest.
    pub(super) const ALL: [Self; 4] = [
        Self { has_tags: true, has_tunnels: true },
        Self { has_tags: false, has_tunnels: true },
        Self { has_tags: true, has_tunnels: false },
        Self { has_tags: false, has_tunnels: false },
    ];
}

/// Where the level is whose questions are asked.
#[derive(Clone, Copy)]
struct Where {
    start: Start,
    /// What the frame carries, counted from its first byte.
    payload: u32,
    /// The same for the outermost frame.
    outer_payload: u32,
    /// The tag of the outermost frame.
    tag: Tag,
}

/// The first byte of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The packet's.
    Zero,
    /// As [`SLOT_START`] says.
    Slot,
}

/// Where the only VLAN tag is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tag {
    None,
    Metadata,
    Bytes,
    /// There is one or none, and no question is about it.
    Whichever,
}

/// Which level a question is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// The innermost; words for tunnels and names look at all.
    Unscoped,
    /// The outermost only.
    Outer,
    /// The only one there is.
    Only,
}

/// Writes a program.
pub(super) struct Writer<'a> {
    asm: &'a mut Assembler,
    ports: &'a TunnelPorts,
    place: TagPlace,
    detail: Detail,
    accept: Label,
    reject: Label,
    /// What passes too much, as far as it was written.
    pub(super) passed: BTreeSet<Passed>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        asm: &'a mut Assembler,
        ports: &'a TunnelPorts,
        place: TagPlace,
        detail: Detail,
        accept: Label,
        reject: Label,
    ) -> Self {
        Self { asm, ports, place, detail, accept, reject, passed: BTreeSet::new() }
    }

    /// Writes all of it; false if every packet passes and nothing needs to be written.
    pub(super) fn write(&mut self, node: &Node) -> bool {
        // A first look says whether anything is left of it anywhere.
        let place = Where::outermost(14, Tag::None);
        if self.known(node, place).is_empty() {
            return false;
        }
        self.shapes(node);
        true
    }

    /// Asks in one shape what can be asked of it, and ends in a verdict.
    fn verdict(&mut self, node: &Node, place: Where) {
        let parts = self.known(node, place);
        for part in parts {
            let next = self.asm.label();
            let reject = self.reject;
            self.node(part, place, Look::Unscoped, next, reject);
            self.asm.here(next);
        }
        let accept = self.accept;
        self.asm.goto(accept);
    }

    /// The parts that all have to be true and can be asked.
    fn known<'n>(&mut self, node: &'n Node, place: Where) -> Vec<&'n Node> {
        match node {
            Node::All(parts) => parts.iter().flat_map(|part| self.known(part, place)).collect(),
            Node::Within(Scope::Any, part) if place.start == Start::Zero => {
                if self.is_known(part, place, false) { vec![node] } else { Vec::new() }
            }
            _ if self.is_known(node, place, false) => vec![node],
            _ => Vec::new(),
        }
    }

    fn is_known(&mut self, node: &Node, place: Where, is_negated: bool) -> bool {
        let reason = match node {
            Node::All(parts) | Node::Any(parts) => {
                // Every part is looked at, so that every reason is found.
                let unknown = parts.iter().filter(|part| !self.is_known(part, place, is_negated));
                return unknown.count() == 0;
            }
            Node::Not(part) => return self.is_known(part, place, !is_negated),
            Node::Within(Scope::Outer, part) => {
                return self.is_known(part, place.outer(), is_negated);
            }
            // A byte that is missing makes one level false there, but would refuse the packet here.
            Node::Within(Scope::Any, _) => Some(Passed::AnyLevel),
            Node::Test(test) => self.unknown(test, place, is_negated),
        };
        self.passed.extend(reason);
        reason.is_none()
    }

    /// Why a question cannot be asked.
    fn unknown(&mut self, test: &Test, place: Where, is_negated: bool) -> Option<Passed> {
        match test {
            Test::Bytes(bytes) => {
                let is_known = place.has(bytes.base, bytes.offset, bytes.width);
                (!is_known).then_some(Passed::Calculation)
            }
            Test::Relation(relation) => {
                let (left, _, right) = &**relation;
                let is_known =
                    calculation::is_known(left, place, 0) && calculation::is_known(right, place, 0);
                (!is_known).then_some(Passed::Calculation)
            }
            Test::Names(_) if place.tag == Tag::Metadata => Some(Passed::Tagged),
            Test::Chain { .. } => Some(Passed::Chain),
            Test::Goes(_) => Some(Passed::Direction),
            Test::Member { .. } if is_negated => Some(Passed::Names),
            Test::Member { .. } => {
                self.passed.insert(Passed::Names);
                None
            }
            _ => None,
        }
    }

    fn node(&mut self, node: &Node, place: Where, look: Look, yes: Label, no: Label) {
        match node {
            Node::All(parts) => self.chain(parts, place, look, yes, no, yes),
            Node::Any(parts) => self.chain(parts, place, look, yes, no, no),
            Node::Not(part) => self.node(part, place, look, no, yes),
            Node::Within(Scope::Outer, part) => {
                self.node(part, place.outer(), Look::Outer, yes, no);
            }
            Node::Within(Scope::Any, part) => self.node(part, place, Look::Only, yes, no),
            Node::Test(test) => self.test(test, place, look, yes, no),
        }
    }

    /// Parts one after the other; those before the last go on with the next instead of `end`.
    fn chain(
        &mut self,
        parts: &[Node],
        place: Where,
        look: Look,
        yes: Label,
        no: Label,
        end: Label,
    ) {
        let Some((last, before)) = parts.split_last() else { return self.asm.goto(end) };
        for part in before {
            let next = self.asm.label();
            let (yes, no) = if end == yes { (next, no) } else { (yes, next) };
            self.node(part, place, look, yes, no);
            self.asm.here(next);
        }
        self.node(last, place, look, yes, no);
    }

    fn test(&mut self, test: &Test, place: Where, look: Look, yes: Label, no: Label) {
        match test {
            Test::Carries(number) => self.carries(*number, place, yes, no),
            Test::Names(number) => {
                if place.tag == Tag::Bytes && place.start == Start::Zero {
                    self.asm.step(code::LD_H_ABS, 12);
                    self.asm.test(code::JEQ_K, u32::from(*number), yes, To::Next);
                }
                self.carries(*number, place, yes, no);
            }
            Test::HasLength => {
                self.load(place, Base::Frame, place.payload - 2, Width::Two);
                self.asm.test(code::JGT_K, u32::from(LAST_LENGTH), no, yes);
            }
            Test::Bytes(bytes) => self.bytes(*bytes, place, yes, no),
            Test::Length { compare, value } => {
                self.calculate(&Arithmetic::Length, place, 0);
                self.compare(*compare, *value, yes, no);
            }
            Test::Relation(relation) => {
                let (left, compare, right) = &**relation;
                self.relation(left, *compare, right, place, yes, no);
            }
            Test::Mac { end, mask, value } => self.mac(*end, *mask, *value, place, yes, no),
            Test::Carrier(carrier) => self.carrier(carrier, place, look, yes, no),
            Test::Member { end, members } => self.member(*end, members, place, look, yes, no),
            // Never asked: see `unknown`.
            Test::Chain { .. } | Test::Goes(_) => {
                let accept = self.accept;
                self.asm.goto(accept);
            }
        }
    }

    fn carries(&mut self, number: u16, place: Where, yes: Label, no: Label) {
        self.load(place, Base::Frame, place.payload - 2, Width::Two);
        self.asm.test(code::JEQ_K, u32::from(number), yes, no);
    }

    fn bytes(&mut self, bytes: Bytes, place: Where, yes: Label, no: Label) {
        let Bytes { base, offset, width, mask, compare, value } = bytes;
        // The bytes of the frame itself are counted with its tag.
        let offset = match (base, place.tag, place.start) {
            (Base::Frame, Tag::Metadata, Start::Zero) if offset >= 16 => offset - 4,
            _ => offset,
        };
        self.load(place, base, offset, width);
        let whole = u32::MAX >> (32 - 8 * width.bytes());
        if mask & whole != whole {
            match (compare, value) {
                (Compare::Equal, 0) => return self.asm.test(code::JSET_K, mask, no, yes),
                (Compare::Unequal, 0) => return self.asm.test(code::JSET_K, mask, yes, no),
                _ => self.asm.step(code::AND_K, mask),
            }
        }
        self.compare(compare, value, yes, no);
    }

    /// Loads bytes into A; `offset` counts in the bytes that the kernel has.
    fn load(&mut self, place: Where, base: Base, offset: u32, width: Width) {
        let (absolute, indirect) = match width {
            Width::One => (code::LD_B_ABS, code::LD_B_IND),
            Width::Two => (code::LD_H_ABS, code::LD_H_IND),
            Width::Four => (code::LD_W_ABS, code::LD_W_IND),
        };
        match (base, place.start) {
            (Base::Frame, Start::Zero) => self.asm.step(absolute, offset),
            (Base::Payload, Start::Zero) => self.asm.step(absolute, place.payload + offset),
            (Base::Transport, Start::Zero) => {
                self.asm.step(code::LDX_MSH, place.payload);
                self.asm.step(indirect, place.payload + offset);
            }
            (Base::Frame, Start::Slot) => {
                self.asm.step(code::LDX_MEM, SLOT_START);
                self.asm.step(indirect, offset);
            }
            (Base::Payload, Start::Slot) => {
                self.asm.step(code::LDX_MEM, SLOT_START);
                self.asm.step(indirect, place.payload + offset);
            }
            (Base::Transport, Start::Slot) => {
                self.asm.step(code::LDX_MEM, SLOT_START);
                self.asm.step(code::LD_B_IND, place.payload);
                self.asm.step(code::AND_K, 0x0f);
                self.asm.step(code::LSH_K, 2);
                self.asm.step(code::ADD_X, 0);
                self.asm.step(code::TAX, 0);
                self.asm.step(indirect, place.payload + offset);
            }
        }
    }

    /// Compares A.
    fn compare(&mut self, compare: Compare, value: u32, yes: Label, no: Label) {
        match compare {
            Compare::Equal => self.asm.test(code::JEQ_K, value, yes, no),
            Compare::Unequal => self.asm.test(code::JEQ_K, value, no, yes),
            Compare::Above => self.asm.test(code::JGT_K, value, yes, no),
            Compare::AtLeast => self.asm.test(code::JGE_K, value, yes, no),
            Compare::Below => self.asm.test(code::JGE_K, value, no, yes),
            Compare::AtMost => self.asm.test(code::JGT_K, value, no, yes),
        }
    }

    fn mac(&mut self, end: End, mask: u64, value: u64, place: Where, yes: Label, no: Label) {
        let at = if end == End::Source { 6 } else { 0 };
        let [_, _, a, b, tail @ ..] = value.to_be_bytes();
        if mask == GROUP_BIT {
            self.load(place, Base::Frame, at, Width::One);
            return self.asm.test(code::JSET_K, 1, yes, no);
        }
        debug_assert_eq!(mask, WHOLE_MAC, "no word has another mask");
        self.load(place, Base::Frame, at + 2, Width::Four);
        self.asm.test(code::JEQ_K, u32::from_be_bytes(tail), To::Next, no);
        self.load(place, Base::Frame, at, Width::Two);
        self.asm.test(code::JEQ_K, u32::from(u16::from_be_bytes([a, b])), yes, no);
    }

    fn carrier(&mut self, carrier: &Carrier, place: Where, look: Look, yes: Label, no: Label) {
        let is_outer = look == Look::Outer || place.start == Start::Zero;
        match carrier {
            // A tag of the inner frame is another shape.
            Carrier::Vlan(ids) if look != Look::Only || place.start == Start::Zero => {
                match place.tag {
                    Tag::Metadata => self.asm.step(code::LD_H_ABS, ANCILLARY_VLAN_TAG),
                    Tag::Bytes => self.asm.step(code::LD_H_ABS, 14),
                    Tag::None | Tag::Whichever => return self.asm.goto(no),
                }
                self.asm.step(code::AND_K, 0x0fff);
                self.numbers(ids, yes, no);
            }
            Carrier::PppoeDiscovery => self.carries(0x8863, place, yes, no),
            Carrier::Vni(numbers) if !is_outer => self.vni(numbers, yes, no),
            Carrier::Vxlan(numbers) if !is_outer => self.tunnel_is(TUNNEL_VXLAN, numbers, yes, no),
            Carrier::Geneve(numbers) if !is_outer => {
                self.tunnel_is(TUNNEL_GENEVE, numbers, yes, no);
            }
            // Whatever has these has another shape.
            _ => self.asm.goto(no),
        }
    }

    fn tunnel_is(&mut self, tunnel: u32, numbers: &Numbers, yes: Label, no: Label) {
        self.asm.step(code::LD_MEM, SLOT_TUNNEL);
        self.asm.test(code::JEQ_K, tunnel, To::Next, no);
        self.vni(numbers, yes, no);
    }

    fn vni(&mut self, numbers: &Numbers, yes: Label, no: Label) {
        self.asm.step(code::LD_MEM, SLOT_VNI);
        self.numbers(numbers, yes, no);
    }

    /// Whether the number in A is meant.
    fn numbers(&mut self, numbers: &Numbers, yes: Label, no: Label) {
        if numbers.is_any() {
            return self.asm.goto(yes);
        }
        for Range { first, last } in numbers.ranges() {
            if first == last {
                self.asm.test(code::JEQ_K, *first, yes, To::Next);
            } else {
                // Ascending: below the first of one means in none of the later ones.
                self.asm.test(code::JGE_K, *first, To::Next, no);
                let next = self.asm.label();
                self.asm.test(code::JGT_K, *last, next, yes);
                self.asm.here(next);
            }
        }
        self.asm.goto(no);
    }

    /// Whether a MAC is one of many, by its last four octets and in whatever network.
    fn member(
        &mut self,
        end: End,
        members: &Members,
        place: Where,
        look: Look,
        yes: Label,
        no: Label,
    ) {
        let tails: BTreeSet<u32> = members
            .macs()
            .into_iter()
            .map(|mac| {
                let [_, _, tail @ ..] = mac.0;
                u32::from_be_bytes(tail)
            })
            .collect();
        let keys: Vec<(u32, Label)> = tails.into_iter().map(|tail| (tail, yes)).collect();
        let at = if end == End::Source { 8 } else { 2 };
        if look == Look::Unscoped && place.start == Start::Slot {
            let inner = self.asm.label();
            self.load(place.outer(), Base::Frame, at, Width::Four);
            self.asm.search(&keys, inner);
            self.asm.here(inner);
        }
        self.load(place, Base::Frame, at, Width::Four);
        self.asm.search(&keys, no);
    }
}

impl Where {
    /// A packet's outermost level.
    const fn outermost(payload: u32, tag: Tag) -> Self {
        Self { start: Start::Zero, payload, outer_payload: payload, tag }
    }

    /// The outermost level of the same packet.
    const fn outer(self) -> Self {
        Self::outermost(self.outer_payload, self.tag)
    }

    /// Whether these bytes can be loaded from here.
    fn has(self, base: Base, offset: u32, width: Width) -> bool {
        // Beyond lie the kernel's own notes, and no header.
        if offset > FARTHEST {
            return false;
        }
        let end = offset + width.bytes();
        // User space counts with the tag, the kernel has the frame without it.
        base != Base::Frame
            || self.tag != Tag::Metadata
            || self.start == Start::Slot
            || end <= 12
            || offset >= 16
    }
}

/// Whether it is asked for nothing but the MACs and the length of the outermost frame, which every
/// frame has in the same place.
fn is_about_any_frame(node: &Node) -> bool {
    fn is_plain(node: &Node) -> bool {
        match node {
            Node::All(parts) | Node::Any(parts) => parts.iter().all(is_plain),
            Node::Not(part) | Node::Within(Scope::Outer, part) => is_plain(part),
            Node::Within(Scope::Any, _) => false,
            Node::Test(test) => matches!(test, Test::Mac { .. } | Test::Length { .. }),
        }
    }
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().all(is_about_any_frame),
        Node::Not(part) => is_about_any_frame(part),
        Node::Within(Scope::Outer, part) => is_plain(part),
        Node::Within(Scope::Any, _) | Node::Test(_) => false,
    }
}

/// Whether the fragments of one IP packet could get different answers.
fn tells_fragments_apart(node: &Node) -> bool {
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().any(tells_fragments_apart),
        Node::Not(part) | Node::Within(_, part) => tells_fragments_apart(part),
        Node::Test(test) => match test {
            Test::Bytes(bytes) => {
                bytes.base != Base::Frame
                    || bytes.offset.saturating_add(bytes.width.bytes()) > MACS_LEN
            }
            Test::Length { .. } | Test::Relation(_) | Test::Chain { .. } => true,
            Test::Carries(_)
            | Test::Names(_)
            | Test::HasLength
            | Test::Mac { .. }
            | Test::Goes(_)
            | Test::Carrier(_)
            | Test::Member { .. } => false,
        },
    }
}

/// Whether an answer depends on the levels within the outermost.
fn looks_inside(node: &Node) -> bool {
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().any(looks_inside),
        Node::Not(part) => looks_inside(part),
        Node::Within(Scope::Outer, _) => false,
        Node::Within(Scope::Any, _) => true,
        Node::Test(test) => !matches!(test, Test::Goes(_)),
    }
}

/// Whether an answer depends on the tag of the outermost frame or on bytes behind it.
fn asks_for_tag(node: &Node) -> bool {
    fn reads_frame(arithmetic: &Arithmetic) -> bool {
        match arithmetic {
            Arithmetic::Number(_) => false,
            Arithmetic::Length => true,
            Arithmetic::Bytes { header, offset, .. } => {
                header.base().0 == Base::Frame || reads_frame(offset)
            }
            Arithmetic::Negative(of) => reads_frame(of),
            Arithmetic::Calculated { left, right, .. } => reads_frame(left) || reads_frame(right),
        }
    }
    match node {
        Node::All(parts) | Node::Any(parts) => parts.iter().any(asks_for_tag),
        Node::Not(part) | Node::Within(_, part) => asks_for_tag(part),
        Node::Test(test) => match test {
            Test::Names(_) | Test::Length { .. } => true,
            Test::Bytes(bytes) => bytes.base == Base::Frame,
            Test::Relation(relation) => reads_frame(&relation.0) || reads_frame(&relation.2),
            Test::Carrier(carrier) => matches!(**carrier, Carrier::Vlan(_) | Carrier::QinQ),
            _ => false,
        },
    }
}

impl Operator {
    /// The code of the calculation with a number.
    const fn code(self) -> u16 {
        match self {
            Self::Add => code::ADD_K,
            Self::Subtract => code::SUB_K,
            Self::Multiply => code::MUL_K,
            Self::Divide => code::DIV_K,
            Self::Remainder => code::MOD_K,
            Self::And => code::AND_K,
            Self::Or => code::OR_K,
            Self::Xor => code::XOR_K,
            Self::ShiftLeft => code::LSH_K,
            Self::ShiftRight => code::RSH_K,
        }
    }
}

/// Where the first byte of the inner frame is kept.
const SLOT_START: u32 = 0;
/// Where the number of the overlay is kept.
const SLOT_VNI: u32 = 1;
/// Where it is kept which tunnel it is.
const SLOT_TUNNEL: u32 = 4;
const TUNNEL_VXLAN: u32 = 1;
const TUNNEL_GENEVE: u32 = 2;
/// The first of the slots for what is not finished.
const SLOT_FREE: u32 = 5;
/// The two MACs at the beginning of a frame.
const MACS_LEN: u32 = 12;
/// The largest offset that is asked for: longer than any header.
const FARTHEST: u32 = 0xffff;
