//! Datagrams: what UDP carried in the packets of capture files.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

use wire::header::Udp;
use wire::{Layer, Layers, Timestamp, TunnelPorts};

use crate::sources::turn;
use crate::{InputAccount, OpenInputs};

/// A UDP datagram of a capture file.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// When it was captured.
    pub time: Timestamp,
    /// Who sent it.
    pub source: SocketAddr,
    /// Who it is for.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: &'a [u8],
}

/// What was read, and which packets could hold a datagram that was not shown.
#[derive(Debug, Clone)]
pub struct DatagramReport {
    /// What was read, and what was wrong with it.
    pub inputs: Vec<InputAccount>,
    /// Datagrams that were shown.
    pub datagrams: u64,
    /// Fragments of UDP, of which the datagram is not put together.
    pub fragments: u64,
    /// Datagrams that lost bytes at their end when they were captured.
    pub truncated: u64,
}

/// Shows the UDP datagrams of `inputs` to `each`, in the order of time: those of innermost frames.
pub fn datagrams(
    inputs: OpenInputs,
    ports: &TunnelPorts,
    stop: &AtomicBool,
    mut each: impl FnMut(&Datagram<'_>),
) -> DatagramReport {
    let mut sources = inputs.into_sources();
    let mut report =
        DatagramReport { inputs: Vec::new(), datagrams: 0, fragments: 0, truncated: 0 };
    let mut layers = Layers::empty();
    sources.iter_mut().for_each(|source| source.advance(|_| {}));
    while let Some((number, bound)) = turn(&sources)
        && !stop.load(Ordering::Relaxed)
    {
        let Some(source) = sources.get_mut(number) else { break };
        let shown = source.each(bound, |record| {
            let packet = &record.packet;
            layers.fill(packet.link, packet.data, ports);
            if let Some(datagram) = find(packet.time, packet.data, &layers, &mut report) {
                report.datagrams += 1;
                report.truncated += u64::from(packet.is_sliced());
                each(&datagram);
            }
            ControlFlow::<Infallible>::Continue(())
        });
        if shown == ControlFlow::Continue(true) {
            source.advance(|_| {});
        }
    }
    report.inputs = sources.into_iter().map(|source| source.account).collect();
    report
}

fn find<'a>(
    time: Timestamp,
    data: &'a [u8],
    layers: &Layers,
    report: &mut DatagramReport,
) -> Option<Datagram<'a>> {
    let level = layers.innermost(data);
    let ip = level.ip()?;
    if ip.fragment.is_some() && ip.protocol == UDP {
        report.fragments += 1;
        return None;
    }
    let udp = level.transport().filter(|transport| transport.layer == Layer::Udp)?;
    let ports = udp.ports?;
    let payload = data.get(udp.offset + usize::from(Udp::LEN)..layers.payload_end())?;
    Some(Datagram {
        time,
        source: SocketAddr::new(ip.source, ports.source),
        destination: SocketAddr::new(ip.destination, ports.destination),
        payload,
    })
}

/// The protocol number of UDP.
const UDP: u8 = 17;
