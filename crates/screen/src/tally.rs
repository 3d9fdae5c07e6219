//! Who talks to whom, as far as it was seen until now: sums, and rates of the last seconds.
//!
//! Fed with flows that are cut at every tick, so that what a row says is never older than one.
//! Bounded: of more talks than [`Tally::MOST`] those that are silent make room, and if there are none
//! new ones are summed without a name.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use flows::{Application, Network, Row, Split};

use crate::amount::float;

/// Sums of talks and machines. See the module.
#[derive(Debug, Default)]
pub struct Tally {
    talks: HashMap<TalkKey, Talk>,
    machines: HashMap<String, MachineSums>,
    splits: [Traffic; Split::ALL.len()],
    total: Traffic,
    others: Traffic,
}

/// What makes packets one talk: who, in which network, by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TalkKey {
    /// The two addresses, the lower one first.
    pub addresses: [IpAddr; 2],
    /// The network they are of.
    pub network: Network,
    /// The IP protocol.
    pub protocol: u8,
    /// The server's port; 0 where the protocol has none.
    pub port: u16,
}

/// Two that talk, by one protocol and one port of the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Talk {
    /// What names it.
    pub key: TalkKey,
    /// Who they are, in the order of the key.
    pub ends: [End; 2],
    /// What it is used for.
    pub application: String,
    /// Whether it stays within the host.
    pub split: Split,
    /// What the first sends, and what the second does.
    pub ways: [Traffic; 2],
    /// Both together.
    pub both: Traffic,
    is_application_seen: bool,
}

/// One of two that talk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// The machine of the inventory, where it is one.
    pub machine: Option<String>,
    /// Its address.
    pub address: IpAddr,
}

/// What a machine sends and receives.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MachineSums {
    /// What it is called.
    pub name: String,
    /// What it sends.
    pub sent: Traffic,
    /// What it receives.
    pub received: Traffic,
    /// Both together.
    pub both: Traffic,
}

/// Packets and bytes since the beginning, and for each second of the last few.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub octets: u64,
    /// Packets for each second.
    pub packets_per_s: f64,
    /// Bytes for each second.
    pub octets_per_s: f64,
    /// What came since the last tick, and in the ticks before.
    recent: [Slice; WINDOW],
}

/// What came in one tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Slice {
    packets: u64,
    octets: u64,
    seconds: f64,
}

/// All of it at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Who talks to whom.
    pub talks: Vec<Talk>,
    /// Machines of the inventory, by name.
    pub machines: Vec<MachineSums>,
    /// By where the two ends are, in the order of [`Split::ALL`].
    pub splits: [Traffic; Split::ALL.len()],
    /// Everything.
    pub total: Traffic,
    /// Of `total` what found no place among the talks.
    pub others: Traffic,
}

impl Tally {
    /// The most talks that are told apart.
    pub const MOST: usize = 1 << 14;

    /// Adds what counts of a flow.
    pub fn add(&mut self, row: &Row<'_>) {
        let flow = row.flow;
        let counts = row.counted.map(|way| (way.packets, way.octets));
        let [(there, there_octets), (back, back_octets)] = counts;
        let (packets, octets) = (there + back, there_octets + back_octets);
        if packets == 0 {
            return;
        }
        self.total.add(packets, octets);
        if let Some(split) = self.splits.get_mut(row.split as usize) {
            split.add(packets, octets);
        }
        let names = row.machines().map(|found| found.map(|(machine, _)| machine.label.clone()));
        let [sender, receiver] = &names;
        for (name, sent, received) in
            [(sender, counts[0], counts[1]), (receiver, counts[1], counts[0])]
        {
            if let Some(name) = name {
                self.add_machine(name, sent, received);
            }
        }
        let [one, other] = flow.ends.addresses;
        let is_swapped = other < one;
        let mut addresses = [one, other];
        let (mut names, mut counts) = (names, counts);
        if is_swapped {
            addresses.reverse();
            names.reverse();
            counts.reverse();
        }
        let key = TalkKey {
            addresses,
            network: flow.network,
            protocol: flow.ends.protocol,
            port: flow.server_port(),
        };
        if self.talks.len() >= Self::MOST && !self.talks.contains_key(&key) {
            self.others.add(packets, octets);
            return;
        }
        let talk = self.talks.entry(key).or_insert_with(|| Talk::of(key));
        for ((end, name), address) in talk.ends.iter_mut().zip(names).zip(addresses) {
            *end = End { machine: name, address };
        }
        talk.name(flow.application);
        talk.split = row.split;
        talk.both.add(packets, octets);
        for (way, (packets, octets)) in talk.ways.iter_mut().zip(counts) {
            way.add(packets, octets);
        }
    }

    /// Says that so much time has passed since the last tick: rates are known anew.
    pub fn tick(&mut self, elapsed: Duration) {
        for talk in self.talks.values_mut() {
            talk.ways.iter_mut().for_each(|way| way.tick(elapsed));
            talk.both.tick(elapsed);
        }
        for machine in self.machines.values_mut() {
            for sums in [&mut machine.sent, &mut machine.received, &mut machine.both] {
                sums.tick(elapsed);
            }
        }
        self.splits.iter_mut().for_each(|split| split.tick(elapsed));
        self.total.tick(elapsed);
        self.others.tick(elapsed);
        if self.talks.len() >= Self::MOST {
            self.forget_silent();
        }
    }

    /// Makes room: what is silent is in no row any more.
    fn forget_silent(&mut self) {
        let others = &mut self.others;
        self.talks.retain(|_, talk| {
            let is_heard = talk.both.packets_per_s > 0.0;
            if !is_heard {
                others.merge(&talk.both);
            }
            is_heard
        });
    }

    /// How it stands, without what nobody asked for: the order is the view's.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            talks: self.talks.values().cloned().collect(),
            machines: self.machines.values().cloned().collect(),
            splits: self.splits,
            total: self.total,
            others: self.others,
        }
    }

    fn add_machine(&mut self, name: &str, sent: (u64, u64), received: (u64, u64)) {
        if self.machines.len() >= Self::MOST && !self.machines.contains_key(name) {
            return;
        }
        let sums = self.machines.entry(name.to_owned()).or_default();
        sums.name.clear();
        sums.name.push_str(name);
        sums.sent.add(sent.0, sent.1);
        sums.received.add(received.0, received.1);
        sums.both.add(sent.0 + received.0, sent.1 + received.1);
    }
}

impl Talk {
    /// One without packets yet.
    pub fn of(key: TalkKey) -> Self {
        Self {
            key,
            ends: key.addresses.map(|address| End { machine: None, address }),
            application: Application::of_port(key.protocol, key.port)
                .name(key.protocol, key.port)
                .into_owned(),
            split: Split::Unknown,
            ways: Default::default(),
            both: Traffic::default(),
            is_application_seen: false,
        }
    }

    /// The first bytes of a connection name it better than its port, and only its first flow has
    /// them.
    fn name(&mut self, application: Application) {
        if let Application::Seen(name) = application
            && !self.is_application_seen
        {
            self.is_application_seen = true;
            name.clone_into(&mut self.application);
        }
    }

    /// An expression that takes its packets and no others of these two.
    pub fn expression(&self) -> String {
        let [one, other] = self.key.addresses;
        let hosts = format!("host {one} and host {other}");
        match (self.key.protocol, self.key.port) {
            (6, port) => format!("{hosts} and tcp port {port}"),
            (17, port) => format!("{hosts} and udp port {port}"),
            (1, _) => format!("{hosts} and icmp"),
            (58, _) => format!("{hosts} and icmp6"),
            _ => hosts,
        }
    }
}

impl End {
    /// The machine's name, or the address where it is none.
    pub fn label(&self) -> String {
        self.machine.clone().unwrap_or_else(|| self.address.to_string())
    }
}

impl Traffic {
    /// Counts packets.
    pub fn add(&mut self, packets: u64, octets: u64) {
        self.packets += packets;
        self.octets += octets;
        let [now, ..] = &mut self.recent;
        now.packets += packets;
        now.octets += octets;
    }

    /// Adds what others did.
    pub fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.octets += other.octets;
        self.packets_per_s += other.packets_per_s;
        self.octets_per_s += other.octets_per_s;
    }

    /// Says that so much time has passed since the last tick.
    pub fn tick(&mut self, elapsed: Duration) {
        let [now, ..] = &mut self.recent;
        now.seconds = elapsed.as_secs_f64();
        let seconds: f64 = self.recent.iter().map(|slice| slice.seconds).sum();
        let packets: u64 = self.recent.iter().map(|slice| slice.packets).sum();
        let octets: u64 = self.recent.iter().map(|slice| slice.octets).sum();
        if seconds > 0.0 {
            self.packets_per_s = float(packets) / seconds;
            self.octets_per_s = float(octets) / seconds;
        }
        self.recent.rotate_right(1);
        let [now, ..] = &mut self.recent;
        *now = Slice::default();
    }
}

/// Ticks that a rate is of: one alone jumps between 0 and 2 where one packet a second comes.
const WINDOW: usize = 3;

#[cfg(test)]
mod tests {
    use flows::{ClientBasis, Counted, EndReason, Ends, Flow, Places, Way};
    use wire::{Mac, PointId};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A flow of `packets` from one to the other and half as many back, 100 bytes each.
    fn flow(from: &str, to: &str, port: u16, packets: u64) -> Flow {
        let way = |packets| Way { packets, octets: packets * 100, ..Way::default() };
        Flow {
            point: PointId(0),
            network: Network::NONE,
            ends: Ends {
                addresses: [from.parse().unwrap(), to.parse().unwrap()],
                ports: [40_000, port],
                protocol: 6,
            },
            macs: [Mac::default(); 2],
            there: way(packets),
            back: way(packets / 2),
            client_basis: ClientBasis::Port,
            tcp: None,
            server_rtt: None,
            client_rtt: None,
            application: Application::Unknown,
            asked_for: None,
            rate: Flow::EVERY_PACKET,
            is_carrier: false,
            end: EndReason::Active,
        }
    }

    fn add(tally: &mut Tally, flow: &Flow) {
        let places = Places::default();
        let counted = flow.ways().map(|way| Counted {
            octets: way.octets,
            packets: way.packets,
            copy_of: None,
        });
        tally.add(&Row::new(flow, counted, &places, &[]));
    }

    #[test]
    fn both_directions_and_all_clients_ports_are_one_talk() {
        let mut tally = Tally::default();
        add(&mut tally, &flow("10.0.0.9", "10.0.0.1", 443, 10));
        add(&mut tally, &flow("10.0.0.9", "10.0.0.1", 443, 4));
        add(&mut tally, &flow("10.0.0.9", "10.0.0.1", 22, 2));
        tally.tick(SECOND);
        let mut talks = tally.snapshot().talks;
        talks.sort_by_key(|talk| talk.key.port);
        let [ssh, https] = talks.as_slice() else { panic!("{talks:?}") };
        assert_eq!(https.ends[0].label(), "10.0.0.1");
        assert_eq!(https.ways.map(|way| way.packets), [7, 14]);
        assert_eq!((https.both.packets, https.both.octets), (21, 2100));
        assert_eq!(https.both.packets_per_s, 21.0);
        assert_eq!(ssh.application, "ssh");
        assert_eq!(https.expression(), "host 10.0.0.1 and host 10.0.0.9 and tcp port 443");
        assert_eq!(tally.snapshot().total.packets, 24);
    }

    #[test]
    fn a_rate_is_of_the_last_seconds_and_falls_to_nothing() {
        let mut traffic = Traffic::default();
        traffic.add(9, 900);
        traffic.tick(SECOND);
        assert_eq!(traffic.packets_per_s, 9.0);
        traffic.tick(SECOND);
        traffic.tick(SECOND);
        assert_eq!(traffic.packets_per_s, 3.0);
        traffic.tick(SECOND);
        assert_eq!((traffic.packets_per_s, traffic.packets), (0.0, 9));
    }

    #[test]
    fn of_too_many_talks_the_rest_is_counted_without_names() {
        let mut tally = Tally::default();
        for number in 0..=Tally::MOST {
            let port = u16::try_from(number).unwrap();
            add(&mut tally, &flow("10.0.0.1", "10.0.0.2", port, 2));
        }
        let snapshot = tally.snapshot();
        assert_eq!(snapshot.talks.len(), Tally::MOST);
        assert_eq!(snapshot.others.packets, 3);
        for _ in 0..=WINDOW {
            tally.tick(SECOND);
        }
        let snapshot = tally.snapshot();
        assert_eq!(snapshot.talks.len(), 0, "silent ones make room");
        assert_eq!(snapshot.others.packets, 3 * (Tally::MOST as u64 + 1));
    }
}
