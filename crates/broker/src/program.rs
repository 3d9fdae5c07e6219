//! What is done for one tool with each packet that it gets.

use std::num::NonZeroU32;

use pipeline::dedup::Sighting;
use pipeline::{Dedup, Tenants};
use select::Entitled;
use wire::{Layers, LinkType, Packet, Strip, TunnelPorts};

use crate::bucket::Bucket;
use crate::segment::Cut;
use crate::shape::Shape;
use crate::wrap::{Facts, Wrap};
use crate::{Mask, Mtu, Outlets, Oversized, Slice, Tool, ToolAccount, ToolDrop};

/// A tool's policy, made ready to run.
#[derive(Debug)]
pub(crate) struct Program {
    /// `None` for a stream of pcapng.
    wrap: Option<Wrap>,
    dedup: Option<Box<Dedup>>,
    sample: Option<Sample>,
    strip: Strip,
    mask: Mask,
    slice: Option<Slice>,
    oversized: Oversized,
    bucket: Option<Bucket>,
    pub(crate) account: ToolAccount,
    /// Where a frame is put together whose bytes are changed.
    stripping: Vec<u8>,
    masking: Vec<u8>,
    layers: Box<Layers>,
    /// Packets given to the outlet.
    packets: u64,
}

#[derive(Debug)]
struct Sample {
    of: u32,
    left_out: u32,
}

impl Program {
    pub(crate) fn new(tool: &Tool, mtu: Mtu) -> Self {
        let policy = &tool.policy;
        let dedup = || Box::new(Dedup::new(Dedup::WINDOW, Tenants::default()));
        Self {
            wrap: Wrap::new(&tool.outlet, tool.mtu.unwrap_or(mtu)),
            dedup: policy.dedup.then(dedup),
            sample: policy.sample.map(Sample::new),
            strip: policy.strip.unwrap_or_default(),
            mask: policy.mask.unwrap_or_default(),
            slice: policy.slice,
            oversized: policy.oversized,
            bucket: policy.rate_bps.map(Bucket::new),
            account: ToolAccount::default(),
            stripping: Vec::new(),
            masking: Vec::new(),
            layers: Box::new(Layers::empty()),
            packets: 0,
        }
    }

    /// Delivers a packet that the tool wants, or counts why not. `layers` are its headers.
    #[inline]
    pub(crate) fn deliver(
        &mut self,
        entitled: Entitled<'_, '_>,
        layers: &Layers,
        ports: &TunnelPorts,
        outlets: &mut impl Outlets,
    ) {
        if let Err(reason) = self.treat(entitled, layers, ports, outlets) {
            self.account.drop(reason);
        }
    }

    #[inline]
    fn treat(
        &mut self,
        entitled: Entitled<'_, '_>,
        layers: &Layers,
        ports: &TunnelPorts,
        outlets: &mut impl Outlets,
    ) -> Result<(), ToolDrop> {
        let (number, packet) = (entitled.number(), entitled.packet());
        if let Some(dedup) = &mut self.dedup
            && let Sighting::Copy { .. } = dedup.offer(&packet, layers)
        {
            return Err(ToolDrop::Duplicate);
        }
        if self.sample.as_mut().is_some_and(Sample::leaves_out) {
            return Err(ToolDrop::NotSampled);
        }
        let mut stripping = std::mem::take(&mut self.stripping);
        let stripped = self.strip.apply(packet, layers, &mut stripping);
        let is_stripped = stripped.removed > 0;
        let result = if is_stripped && self.needs_shape(&stripped.packet) {
            let mut own = std::mem::replace(&mut *self.layers, Layers::empty());
            own.fill(stripped.packet.link, stripped.packet.data, ports);
            let result = self.fit(number, stripped.packet, &own, outlets);
            *self.layers = own;
            result
        } else {
            self.fit(number, stripped.packet, layers, outlets)
        };
        self.stripping = stripping;
        self.account.stripped += u64::from(is_stripped && result.is_ok());
        result
    }

    /// Whether more must be known of a frame than its bytes.
    fn needs_shape(&self, packet: &Packet<'_>) -> bool {
        let is_oversized = self.wrap.as_ref().is_some_and(|wrap| packet.data.len() > wrap.room());
        !self.mask.is_nothing()
            || matches!(self.slice, Some(Slice::AfterHeaders(_)))
            || is_oversized && self.oversized == Oversized::Segment
    }

    /// Masks, slices and fits a frame into what the way takes. `layers` are those of the frame if
    /// [`needs_shape`](Self::needs_shape).
    #[inline]
    fn fit(
        &mut self,
        number: usize,
        packet: Packet<'_>,
        layers: &Layers,
        outlets: &mut impl Outlets,
    ) -> Result<(), ToolDrop> {
        if packet.link != LinkType::ETHERNET {
            return Err(ToolDrop::NotEthernet);
        }
        let kept = match self.slice {
            None => packet.data.len(),
            Some(Slice::Bytes(bytes)) => packet.data.len().min(bytes.get() as usize),
            Some(Slice::AfterHeaders(more)) => {
                packet.data.len().min(layers.payload_offset() + more as usize)
            }
        };
        let shape = (!self.mask.is_nothing()).then(|| Shape::of(packet.data, layers));
        let Some(wrap) = &self.wrap else {
            return self.write(number, packet, kept, shape.as_ref(), outlets);
        };
        let (room, least) = (wrap.room(), wrap.least());
        if kept < least {
            return Err(ToolDrop::NotEthernet);
        }
        if kept > room && self.oversized == Oversized::Refuse {
            return Err(ToolDrop::TooLarge);
        }
        if kept > room && kept == packet.data.len() && self.oversized == Oversized::Segment {
            let shape = shape.unwrap_or_else(|| Shape::of(packet.data, layers));
            if let Some(cut) = Cut::of(packet.data, packet.wire_len, &shape, room) {
                return self.send_segments(number, packet, &shape, cut, outlets);
            }
        }
        self.send(number, packet, kept.min(room), shape.as_ref(), outlets)
    }

    /// Sends a frame in one datagram.
    #[inline]
    fn send(
        &mut self,
        number: usize,
        packet: Packet<'_>,
        kept: usize,
        shape: Option<&Shape>,
        outlets: &mut impl Outlets,
    ) -> Result<(), ToolDrop> {
        let mut masking = std::mem::take(&mut self.masking);
        let frame = masked(packet.data, self.mask, shape, &mut masking);
        let frame = frame.get(..kept).unwrap_or(frame);
        let is_cut = kept < packet.wire_len as usize;
        let result = self.put(number, frame, &Facts::of(&packet, is_cut), outlets);
        self.masking = masking;
        result?;
        self.packets += 1;
        self.account.sent += 1;
        self.account.sliced += u64::from(is_cut);
        Ok(())
    }

    /// Sends a super-frame in segments. If not all can be sent, none more is and it counts as not
    /// sent.
    #[cold]
    fn send_segments(
        &mut self,
        number: usize,
        packet: Packet<'_>,
        shape: &Shape,
        cut: Cut,
        outlets: &mut impl Outlets,
    ) -> Result<(), ToolDrop> {
        let mut segment = std::mem::take(&mut self.masking);
        let result = cut.pieces().try_for_each(|piece| {
            cut.put(packet.data, &piece, &mut segment);
            let own = Shape { payload_end: segment.len(), ..*shape };
            if !self.mask.is_nothing() {
                self.mask.apply(&mut segment, &own);
            }
            let wire_len = u32::try_from(segment.len()).unwrap_or(u32::MAX);
            let facts = Facts { wire_len, ..Facts::of(&packet, false) };
            self.put(number, &segment, &facts, outlets)
        });
        self.masking = segment;
        self.packets += 1;
        result?;
        self.account.sent += 1;
        self.account.segmented += 1;
        Ok(())
    }

    /// Encapsulates one frame and hands it to the outlet.
    #[inline]
    fn put(
        &mut self,
        number: usize,
        frame: &[u8],
        facts: &Facts,
        outlets: &mut impl Outlets,
    ) -> Result<(), ToolDrop> {
        let Some(wrap) = &mut self.wrap else { return Err(ToolDrop::SinkFailed) };
        if let Some(bucket) = &mut self.bucket
            && !bucket.take(wire::Timestamp::from_nanos(facts.time_ns), frame.len() + wrap.around())
        {
            // As of a full queue: the tool sees that something is missing.
            wrap.skip();
            return Err(ToolDrop::OverRate);
        }
        let out = match outlets.begin(number) {
            Ok(out) => out,
            Err(reason) => {
                wrap.skip();
                return Err(reason);
            }
        };
        let before = out.len();
        wrap.put(frame, facts, out);
        self.account.sent_bytes += (out.len() - before) as u64;
        self.account.datagrams += 1;
        outlets.end(number, self.packets);
        Ok(())
    }

    /// Writes a packet into a stream, which says itself how long it was.
    fn write(
        &mut self,
        number: usize,
        packet: Packet<'_>,
        kept: usize,
        shape: Option<&Shape>,
        outlets: &mut impl Outlets,
    ) -> Result<(), ToolDrop> {
        if let Some(bucket) = &mut self.bucket
            && !bucket.take(packet.time, kept)
        {
            return Err(ToolDrop::OverRate);
        }
        let mut masking = std::mem::take(&mut self.masking);
        let data = masked(packet.data, self.mask, shape, &mut masking);
        let data = data.get(..kept).unwrap_or(data);
        let result = outlets.write(number, &Packet { data, ..packet });
        self.masking = masking;
        result?;
        self.packets += 1;
        self.account.sent += 1;
        self.account.datagrams += 1;
        self.account.sent_bytes += kept as u64;
        self.account.sliced += u64::from(kept < packet.wire_len as usize);
        Ok(())
    }
}

/// The frame with its fields zeroed, put together in `scratch` if any are.
#[inline]
fn masked<'a>(
    data: &'a [u8],
    mask: Mask,
    shape: Option<&Shape>,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    let Some(shape) = shape.filter(|_| !mask.is_nothing()) else { return data };
    scratch.clear();
    scratch.extend_from_slice(data);
    mask.apply(scratch, shape);
    scratch
}

impl Sample {
    const fn new(of: NonZeroU32) -> Self {
        Self { of: of.get(), left_out: 0 }
    }

    /// Whether the next packet is left out; the first never is.
    const fn leaves_out(&mut self) -> bool {
        let is_left_out = self.left_out != 0;
        self.left_out = (self.left_out + 1) % self.of;
        is_left_out
    }
}
