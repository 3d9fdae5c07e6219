//! Classic BPF and `mirred` on a `clsact` qdisc: linux/rtnetlink.h, pkt_cls.h, tc_act/tc_mirred.h.
//!
//! Such a filter outlives us. It is named by device, hook, priority and handle, and told from
//! another's by the cookie of its action.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use super::super::register::{Counts, Handle};
use super::super::underlay::{Underlay, attribute};
use super::super::{Instruction, MirrorError, network_namespace, random_hex};
use super::{WriteDown, refused};
use crate::netlink::message::{Attributes, Message, NLM_F_ACK, Request, read_text, read_u32};

/// A filter of ours, as it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterHandle {
    /// The network namespace, as `BOOT:INODE`: another boot or namespace has none of ours.
    pub namespace: String,
    /// Index of the device.
    pub ifindex: u32,
    /// Its name.
    pub device: String,
    /// `ingress` is from the VM, `egress` to it.
    pub hook: Hook,
    /// Where among other filters it is asked.
    pub priority: u16,
    /// Its number there.
    pub handle: u32,
    /// 16 bytes in the filter's action, in hexadecimal.
    pub cookie: String,
    /// Whether the `clsact` qdisc came with it; it goes when nobody uses it.
    pub is_qdisc_ours: bool,
}

/// A side of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// What the VM sends.
    Ingress,
    /// What it receives.
    Egress,
}

/// The filters of one mirror.
#[derive(Debug)]
pub(super) struct Filters {
    program: Vec<Instruction>,
    there: BTreeMap<u32, Vec<FilterHandle>>,
}

impl Filters {
    /// None yet; each will copy what the program wants.
    pub(super) fn new(program: Option<&[Instruction]>) -> Result<Self, MirrorError> {
        let all = [(RET_K, 0, 0, u32::MAX)];
        let program = program.filter(|program| !program.is_empty()).unwrap_or(&all).to_vec();
        if program.len() > MAX_INSTRUCTIONS {
            return Err(MirrorError::Refused("the expression is too long for the kernel".into()));
        }
        Ok(Self { program, there: BTreeMap::new() })
    }

    /// Copies what passes a port, in both directions, to the device `target`.
    pub(super) fn add(
        &mut self,
        underlay: &mut Underlay,
        ifindex: u32,
        device: &str,
        target: u32,
        write_down: WriteDown<'_>,
    ) -> Result<(), MirrorError> {
        let namespace = network_namespace().map_err(|error| refused("its namespace", &error))?;
        let is_qdisc_ours =
            !has_qdisc(underlay, ifindex).map_err(|error| refused(device, &error))?;
        for hook in [Hook::Ingress, Hook::Egress] {
            let handle = FilterHandle {
                namespace: namespace.clone(),
                ifindex,
                device: device.to_owned(),
                hook,
                priority: 0,
                handle: 1,
                cookie: random_hex(COOKIE_LEN).map_err(|error| refused("a cookie", &error))?,
                is_qdisc_ours,
            };
            let priority = match is_qdisc_ours {
                true => Ok(FIRST_PRIORITY),
                false => free_priority(underlay, &handle),
            };
            let handle = FilterHandle {
                priority: priority.map_err(|error| refused(device, &error))?,
                ..handle
            };
            write_down(Handle::Filter(handle.clone()))?;
            if is_qdisc_ours && hook == Hook::Ingress {
                make_qdisc(underlay, ifindex).map_err(|error| failed(device, &error))?;
            }
            self.there.entry(ifindex).or_default().push(handle.clone());
            let result = make_filter(underlay, &handle, &self.program, target);
            result.map_err(|error| failed(device, &error))?;
        }
        Ok(())
    }

    /// Ends the copies of a port.
    pub(super) fn remove(&mut self, ifindex: u32) -> Result<(), MirrorError> {
        for handle in self.there.remove(&ifindex).unwrap_or_default() {
            remove(&handle).map_err(MirrorError::Failed)?;
        }
        Ok(())
    }

    /// What was copied at a port, if its filters are there as they were made.
    pub(super) fn counts(
        &self,
        underlay: &mut Underlay,
        ifindex: u32,
        target: u32,
    ) -> Result<Counts, String> {
        let mut counts = Counts { failed: Some(0), ..Counts::default() };
        for handle in self.there.get(&ifindex).into_iter().flatten() {
            let found = find(underlay, handle).map_err(|error| error.to_string())?;
            match found {
                // The kernel acknowledges actions that it leaves out: what counts is what is there.
                Some(found) if found.target == Some(target) => {
                    counts = super::super::session::sum(counts, found.counts);
                }
                Some(_) => return Err("the filter does not lead to the destination".into()),
                None => return Err("the filter was removed".into()),
            }
        }
        Ok(counts)
    }
}

/// Removes a filter, if it is there and ours.
pub(in crate::mirror) fn remove(handle: &FilterHandle) -> Result<(), String> {
    let sentence = |error: io::Error| format!("{}: {error}", handle.device);
    let namespace = network_namespace().map_err(sentence)?;
    if namespace != handle.namespace {
        return match namespace.split(':').next() == handle.namespace.split(':').next() {
            true => Err(format!("{} is in another network namespace", handle.device)),
            // Nothing of traffic control outlives a boot.
            false => Ok(()),
        };
    }
    let mut underlay = Underlay::open().map_err(sentence)?;
    if find(&mut underlay, handle).map_err(sentence)?.is_some() {
        let fixed = handle.fixed();
        let nothing = Request::attributes().with_text(TCA_KIND, "bpf");
        let result = underlay.asking().send(RTM_DELTFILTER, NLM_F_ACK, &fixed, &nothing, |_| {});
        result.map_err(sentence)?;
        if find(&mut underlay, handle).map_err(sentence)?.is_some() {
            return Err(format!("{}: the kernel keeps the filter", handle.device));
        }
    }
    if handle.is_qdisc_ours {
        remove_unused_qdisc(&mut underlay, handle).map_err(sentence)?;
    }
    Ok(())
}

impl FilterHandle {
    /// `struct tcmsg`.
    fn fixed(&self) -> [u8; TCMSG_LEN] {
        // The protocol is in network byte order.
        let info = u32::from(self.priority) << 16 | u32::from(ETH_P_ALL.to_be());
        tcmsg(self.ifindex, self.handle, self.hook.parent(), info)
    }
}

impl Hook {
    const fn parent(self) -> u32 {
        match self {
            Self::Ingress => 0xffff_fff2,
            Self::Egress => 0xffff_fff3,
        }
    }
}

/// What is found of a filter.
struct Found {
    target: Option<u32>,
    counts: Counts,
}

/// The filter of a handle, if its cookie is ours.
fn find(underlay: &mut Underlay, handle: &FilterHandle) -> io::Result<Option<Found>> {
    let mut found = None;
    let kind = Request::attributes().with_text(TCA_KIND, "bpf");
    let result = underlay.asking().send(RTM_GETTFILTER, 0, &handle.fixed(), &kind, |message| {
        found = read(message, &handle.cookie);
    });
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // The device is gone, or the qdisc.
        Err(error) if matches!(error.raw_os_error(), Some(ENODEV | EINVAL)) => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(found),
    }
}

/// The first action of a filter: where it mirrors to, and what it counts.
fn read(message: &Message<'_>, cookie: &str) -> Option<Found> {
    let options = attribute(message.attributes(TCMSG_LEN), TCA_OPTIONS)?;
    let actions = attribute(Attributes::new(options), TCA_BPF_ACT)?;
    let (_, action) = Attributes::new(actions).next()?;
    let part = |kind| attribute(Attributes::new(action), kind);
    let hex: String = part(TCA_ACT_COOKIE)?.iter().map(|byte| format!("{byte:02x}")).collect();
    if hex != cookie {
        return None;
    }
    let is_mirred = part(TCA_ACT_KIND).is_some_and(|kind| read_text(kind) == "mirred");
    let parameters = part(TCA_ACT_OPTIONS)
        .and_then(|options| attribute(Attributes::new(options), TCA_MIRRED_PARMS));
    let target = parameters.filter(|_| is_mirred).and_then(|parms| read_u32(parms.get(24..28)?));
    let mut counts = Counts { failed: Some(0), ..Counts::default() };
    let mut has_all_bits = false;
    for (kind, value) in Attributes::new(part(TCA_ACT_STATS).unwrap_or_default()) {
        match kind {
            TCA_STATS_BASIC => {
                let bytes = value.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
                counts.bytes = bytes.unwrap_or(0);
                // Behind TCA_STATS_PKT64 it is what is left of that in 32 bits.
                if !has_all_bits {
                    counts.packets = value.get(8..).and_then(read_u32).map_or(0, u64::from);
                }
            }
            // The kernel adds it once 32 bits are too few (net/core/gen_stats.c).
            TCA_STATS_PKT64 => {
                if let Some(packets) = value.first_chunk() {
                    counts.packets = u64::from_ne_bytes(*packets);
                    has_all_bits = true;
                }
            }
            // struct gnet_stats_queue: qlen, backlog, drops, requeues, overlimits. What `mirred`
            // cannot send it counts as over its limits.
            TCA_STATS_QUEUE => {
                counts.failed = value.get(16..).and_then(read_u32).map(u64::from);
            }
            _ => {}
        }
    }
    Some(Found { target, counts })
}

fn has_qdisc(underlay: &mut Underlay, ifindex: u32) -> io::Result<bool> {
    let mut is_there = false;
    let fixed = tcmsg(ifindex, 0, 0, 0);
    underlay.asking().dump(RTM_GETQDISC, &fixed, None, |message| {
        let parent = read_u32(message.body.get(12..16)?)?;
        let at = read_u32(message.body.get(4..8)?)?;
        is_there |= at == ifindex && parent == TC_H_CLSACT;
        Some(())
    })?;
    Ok(is_there)
}

fn make_qdisc(underlay: &mut Underlay, ifindex: u32) -> io::Result<()> {
    let fixed = tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0);
    let kind = Request::attributes().with_text(TCA_KIND, "clsact");
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    match underlay.asking().send(RTM_NEWQDISC, flags, &fixed, &kind, |_| {}) {
        // Somebody else was faster; it is theirs then, and stays as long as they use it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map(|_| ()),
    }
}

/// Removes the qdisc that came with our filters, unless others have put theirs there.
fn remove_unused_qdisc(underlay: &mut Underlay, handle: &FilterHandle) -> io::Result<()> {
    for hook in [Hook::Ingress, Hook::Egress] {
        if !priorities(underlay, handle.ifindex, hook)?.is_empty() {
            return Ok(());
        }
    }
    if !has_qdisc(underlay, handle.ifindex)? {
        return Ok(());
    }
    let fixed = tcmsg(handle.ifindex, CLSACT_HANDLE, TC_H_CLSACT, 0);
    let kind = Request::attributes().with_text(TCA_KIND, "clsact");
    underlay.asking().send(RTM_DELQDISC, NLM_F_ACK, &fixed, &kind, |_| {}).map(|_| ())
}

/// A priority before those of all other filters, so that what they drop is copied, too; or, where
/// there is none, the next free one.
fn free_priority(underlay: &mut Underlay, handle: &FilterHandle) -> io::Result<u16> {
    let taken = priorities(underlay, handle.ifindex, handle.hook)?;
    let first = taken.iter().min().copied().unwrap_or(FIRST_PRIORITY + 1);
    if first > 1 {
        return Ok((first - 1).min(FIRST_PRIORITY));
    }
    Ok((1..u16::MAX).find(|priority| !taken.contains(priority)).unwrap_or(FIRST_PRIORITY))
}

fn priorities(underlay: &mut Underlay, ifindex: u32, hook: Hook) -> io::Result<Vec<u16>> {
    let fixed = tcmsg(ifindex, 0, hook.parent(), 0);
    let found = underlay.asking().dump(RTM_GETTFILTER, &fixed, None, |message| {
        let info = read_u32(message.body.get(16..20)?)?;
        u16::try_from(info >> 16).ok()
    });
    match found {
        Err(error) if matches!(error.raw_os_error(), Some(ENODEV | EINVAL)) => Ok(Vec::new()),
        found => found,
    }
}

fn make_filter(
    underlay: &mut Underlay,
    handle: &FilterHandle,
    program: &[Instruction],
    target: u32,
) -> io::Result<()> {
    let code: Vec<u8> = program
        .iter()
        .flat_map(|(code, jt, jf, k)| {
            let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), k.to_ne_bytes());
            [a, b, *jt, *jf, c, d, e, f]
        })
        .collect();
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    // struct tc_mirred: index, capabilities, action, references, bindings, kind, device. The action
    // TC_ACT_UNSPEC lets the filters behind judge the frame; TC_ACT_PIPE would not.
    let mirred: Vec<u8> = [0, 0, TC_ACT_UNSPEC, 0, 0, TCA_EGRESS_MIRROR, target]
        .iter()
        .flat_map(|number| number.to_ne_bytes())
        .collect();
    let action = Request::attributes()
        .with_text(TCA_ACT_KIND, "mirred")
        .with_nest(TCA_ACT_OPTIONS, &Request::attributes().with(TCA_MIRRED_PARMS, &mirred))
        .with(TCA_ACT_COOKIE, &from_hex(&handle.cookie));
    let options = Request::attributes()
        // Actions are numbered from 1.
        .with_nest(TCA_BPF_ACT, &Request::attributes().with_nest(1, &action))
        .with(TCA_BPF_OPS_LEN, &len.to_ne_bytes())
        .with(TCA_BPF_OPS, &code);
    let attributes =
        Request::attributes().with_text(TCA_KIND, "bpf").with_nest(TCA_OPTIONS, &options);
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    underlay.asking().send(RTM_NEWTFILTER, flags, &handle.fixed(), &attributes, |_| {}).map(|_| ())
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|c| c.to_digit(16)).filter_map(|d| u8::try_from(d).ok()).collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

fn tcmsg(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; TCMSG_LEN] {
    let mut fixed = [0; TCMSG_LEN];
    let numbers = [0, ifindex, handle, parent, info];
    let bytes = numbers.iter().flat_map(|number| number.to_ne_bytes());
    fixed.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    fixed
}

fn failed(device: &str, error: &io::Error) -> MirrorError {
    MirrorError::Failed(format!("the kernel does not take the virtual tap at {device}: {error}"))
}

const TCMSG_LEN: usize = 20;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTM_NEWTFILTER: u16 = 44;
const RTM_DELTFILTER: u16 = 45;
const RTM_GETTFILTER: u16 = 46;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_ACT: u16 = 1;
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_ACT_STATS: u16 = 4;
const TCA_ACT_COOKIE: u16 = 6;
const TCA_MIRRED_PARMS: u16 = 2;
const TCA_STATS_BASIC: u16 = 1;
const TCA_STATS_QUEUE: u16 = 3;
const TCA_STATS_PKT64: u16 = 8;
const TCA_EGRESS_MIRROR: u32 = 2;
/// -1: as if this filter had not matched.
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_H_CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const ETH_P_ALL: u16 = 3;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
/// A cookie has at most 16 bytes (`TC_COOKIE_MAX_SIZE`).
const COOKIE_LEN: usize = 16;
/// Where nobody else has put a filter.
const FIRST_PRIORITY: u16 = 100;
/// `BPF_RET | BPF_K`.
const RET_K: u16 = 6;
/// `BPF_MAXINSNS`.
const MAX_INSTRUCTIONS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const COOKIE: &str = "000102030405060708090a0b0c0d0e0f";

    /// A filter as the kernel shows it: `mirred` to the device 7, 300 copies, 2 failed.
    fn shown(action: &str) -> Vec<u8> {
        let mut basic = 30_000_u64.to_ne_bytes().to_vec();
        basic.extend(300_u32.to_ne_bytes());
        let queue: Vec<u8> = [0, 0, 0, 0, 2].iter().flat_map(|n: &u32| n.to_ne_bytes()).collect();
        let stats =
            Request::attributes().with(TCA_STATS_BASIC, &basic).with(TCA_STATS_QUEUE, &queue);
        shown_with(action, &stats)
    }

    fn shown_with(action: &str, stats: &Request) -> Vec<u8> {
        let mirred: Vec<u8> = [1, 0, TC_ACT_UNSPEC, 1, 1, TCA_EGRESS_MIRROR, 7]
            .iter()
            .flat_map(|n: &u32| n.to_ne_bytes())
            .collect();
        let action = Request::attributes()
            .with_text(TCA_ACT_KIND, action)
            .with_nest(TCA_ACT_OPTIONS, &Request::attributes().with(TCA_MIRRED_PARMS, &mirred))
            .with_nest(TCA_ACT_STATS, stats)
            .with(TCA_ACT_COOKIE, &from_hex(COOKIE));
        let options = Request::attributes()
            .with_nest(TCA_BPF_ACT, &Request::attributes().with_nest(1, &action));
        let filter = Request::new(RTM_NEWTFILTER, 0, 1, &tcmsg(3, 1, Hook::Egress.parent(), 0))
            .with_text(TCA_KIND, "bpf")
            .with_nest(TCA_OPTIONS, &options);
        filter.finish()
    }

    fn found(bytes: &[u8], cookie: &str) -> Option<(Option<u32>, Counts)> {
        let message = crate::netlink::message::Messages::new(bytes).next().unwrap();
        read(&message, cookie).map(|found| (found.target, found.counts))
    }

    #[test]
    fn a_filter_is_ours_by_its_cookie_and_leads_where_it_says() {
        let counts = Counts { packets: 300, bytes: 30_000, failed: Some(2), at_ms: 0 };
        assert_eq!(found(&shown("mirred"), COOKIE), Some((Some(7), counts)));
        assert_eq!(found(&shown("mirred"), &COOKIE.replace("0f", "10")), None);
        // L6: what the kernel has acknowledged may be another action.
        assert_eq!(found(&shown("gact"), COOKIE), Some((None, counts)));
    }

    #[test]
    fn more_packets_than_32_bits_hold_are_counted() {
        let packets = u64::from(u32::MAX) + 301;
        let mut basic = (packets * 100).to_ne_bytes().to_vec();
        basic.extend(300_u32.to_ne_bytes());
        let all = packets.to_ne_bytes();
        let basic_first =
            Request::attributes().with(TCA_STATS_BASIC, &basic).with(TCA_STATS_PKT64, &all);
        let all_first =
            Request::attributes().with(TCA_STATS_PKT64, &all).with(TCA_STATS_BASIC, &basic);
        for stats in [basic_first, all_first] {
            let (_, counts) = found(&shown_with("mirred", &stats), COOKIE).unwrap();
            assert_eq!((counts.packets, counts.bytes), (packets, packets * 100));
        }
    }

    #[test]
    fn a_filter_that_is_cut_anywhere_is_no_filter_of_ours_or_read_in_part() {
        let whole = shown("mirred");
        for len in 0..whole.len() {
            let mut cut = whole[..len].to_vec();
            if let Some(field) = cut.get_mut(..4) {
                field.copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
            }
            if let Some(message) = crate::netlink::message::Messages::new(&cut).next() {
                let _ = read(&message, COOKIE);
            }
        }
    }

    #[test]
    fn the_message_names_device_hook_priority_and_protocol() {
        let handle = FilterHandle {
            namespace: "b:1".into(),
            ifindex: 3,
            device: "tap-web".into(),
            hook: Hook::Ingress,
            priority: 100,
            handle: 1,
            cookie: COOKIE.into(),
            is_qdisc_ours: true,
        };
        #[cfg(target_endian = "little")]
        assert_eq!(
            handle.fixed(),
            [
                0, 0, 0, 0, // family
                3, 0, 0, 0, // device
                1, 0, 0, 0, // handle
                0xf2, 0xff, 0xff, 0xff, // clsact, ingress
                0, 3, 100, 0, // ETH_P_ALL in network order, priority
            ]
        );
    }
}
