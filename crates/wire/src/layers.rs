//! What one forward pass over a frame finds: which headers it holds and where they are.
//!
//! Nothing is allocated and nothing is copied but kinds and offsets; what a header says is read
//! when somebody asks, through a [`Level`]. The pass itself is in `walk`.

use crate::walk::Walk;
use crate::{Key, Layer, Level, LinkType, Stop, StopReason, TunnelPorts};

/// One header found in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub layer: Layer,
    /// Its first byte, counted from the start of the frame.
    pub offset: u32,
}

impl Header {
    #[inline]
    pub(crate) const fn new(layer: Layer, offset: u32) -> Self {
        Self { layer, offset }
    }
}

/// The headers of one frame, outermost first, and where understanding them ended.
#[derive(Debug, Clone, Copy)]
pub struct Layers {
    len: usize,
    payload: u32,
    payload_end: u32,
    stop: Option<Stop>,
    list: List,
}

impl Layers {
    /// How many headers of one frame are kept; a frame with more stops there.
    pub const MAX_HEADERS: usize = 40;

    /// How many tunnels in each other are followed; a frame with more stops there.
    pub const MAX_TUNNELS: u8 = 16;

    /// No headers: what [`fill`](Self::fill) is for.
    #[inline]
    pub const fn empty() -> Self {
        Self { len: 0, payload: 0, payload_end: 0, stop: None, list: List::new() }
    }

    /// Finds the headers of `data`, a frame that begins as `link` says.
    ///
    /// Never fails: what could not be understood is told by [`stop`](Self::stop). Takes time
    /// linear in the number of headers, which is bounded.
    #[inline]
    pub fn decode(link: LinkType, data: &[u8], ports: &TunnelPorts) -> Self {
        let mut layers = Self::empty();
        layers.fill(link, data, ports);
        layers
    }

    /// The same as [`decode`](Self::decode), in place of what was found in another frame: for a
    /// loop over many frames, where making room anew is a third of the work.
    pub fn fill(&mut self, link: LinkType, data: &[u8], ports: &TunnelPorts) {
        // Offsets are kept in 32 bits; no frame is that long.
        let data = data.get(..u32::MAX as usize).unwrap_or(data);
        let (Walk { cursor, len, .. }, stop) = Walk::new(&mut self.list, data, ports).run(link);
        self.len = len;
        // Of a header that had no room any more the cursor is behind, the stop before.
        let payload = stop.map_or(cursor.offset(), |stop| stop.offset.min(cursor.offset()));
        self.payload = offset_32(payload);
        self.payload_end = offset_32(cursor.offset() + cursor.ahead().len());
        self.stop = stop;
    }

    /// The headers, outermost first. All of each header but the last of a stopped walk is there.
    #[inline]
    pub fn headers(&self) -> &[Header] {
        self.list.headers.get(..self.len).unwrap_or(&self.list.headers)
    }

    /// The headers that begin a frame and have its MACs, outermost first: Ethernet and Wi-Fi.
    #[inline]
    pub fn frames(&self) -> impl Iterator<Item = &Header> {
        // Each begins a level.
        let mut ahead = self.list.starts;
        let starts = std::iter::from_fn(move || {
            let next = ahead.trailing_zeros() as usize;
            ahead &= ahead.wrapping_sub(1);
            self.headers().get(next)
        });
        starts.filter(|header| header.layer.has_macs())
    }

    /// Where and why the rest was not understood; `None` if all headers were.
    #[inline]
    pub const fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// Whether a level is a fragment of an IP packet: its first piece, or a later one, with which
    /// the headers end.
    #[inline]
    pub const fn has_fragment(&self) -> bool {
        self.list.has_fragment
    }

    /// The levels of encapsulation, outermost first: one if there is no tunnel.
    #[inline]
    pub fn levels<'a>(&'a self, data: &'a [u8]) -> Levels<'a> {
        Levels { layers: self, data, starts: self.list.starts }
    }

    /// The last level: the frame as its sender sent it, the only one if there is no tunnel.
    ///
    /// It is empty if a tunnel was found but nothing in it could be read; see
    /// [`is_innermost_hidden`](Self::is_innermost_hidden).
    #[inline]
    pub fn innermost<'a>(&'a self, data: &'a [u8]) -> Level<'a> {
        self.level(data, self.list.starts.checked_ilog2().unwrap_or_default())
    }

    /// Who talks to whom in the innermost level, read at once.
    #[inline]
    pub fn key(&self, data: &[u8]) -> Key {
        Key::new(self, data)
    }

    /// The headers before the innermost level, and those from its first header on.
    #[inline]
    pub(crate) fn around_innermost(&self) -> (&[Header], &[Header]) {
        let start = self.list.starts.checked_ilog2().unwrap_or_default() as usize;
        self.headers().split_at_checked(start).unwrap_or_default()
    }

    /// Whether there is or may be a frame within the innermost level that could not be reached:
    /// the bytes end, a fragment lacks what names its owner, something is encrypted or broken.
    ///
    /// Such a packet must not be attributed by its innermost level.
    pub fn is_innermost_hidden(&self) -> bool {
        let Some(stop) = self.stop else { return false };
        // Those carry nobody's frame; of UDP that can be said only if its ports are no tunnel's.
        let ends_in_transport = matches!(
            stop.layer,
            Layer::Tcp | Layer::UdpLite | Layer::Sctp | Layer::Dccp | Layer::Icmp | Layer::Icmpv6
        ) && self
            .headers()
            .last()
            .is_some_and(|last| last.layer == stop.layer);
        match stop.reason {
            // What cannot be named is the payload of the level that was reached, if one was.
            StopReason::UnknownEtherType(_)
            | StopReason::UnknownProtocol(_)
            | StopReason::UnknownPppProtocol(_)
            | StopReason::Unsupported => {
                stop.layer.is_tunnel() || self.list.starts >> self.len & 1 == 1 || self.len == 0
            }
            _ => !ends_in_transport,
        }
    }

    /// The first byte behind the last header that was understood.
    #[inline]
    pub const fn payload_offset(&self) -> usize {
        self.payload as usize
    }

    /// The first byte that is not payload any more: padding, a trailer, or the end of the bytes.
    ///
    /// At least [`payload_offset`](Self::payload_offset), at most the length of the frame.
    #[inline]
    pub const fn payload_end(&self) -> usize {
        self.payload_end as usize
    }

    /// Whether something in the frame was guessed because no field says what it is: what MPLS
    /// labels carry.
    #[inline]
    pub const fn is_guessed(&self) -> bool {
        self.list.guessed != 0
    }

    /// The level whose first header has number `start`.
    #[inline]
    fn level<'a>(&'a self, data: &'a [u8], start: u32) -> Level<'a> {
        let headers = self.headers();
        // It ends where the next one begins, and before that where the tunnel begins around it.
        let ends = self.list.starts >> start & !1 | self.list.carriers >> start;
        let start = (start as usize).min(headers.len());
        let len = (headers.len() - start).min(ends.trailing_zeros() as usize);
        Level::new(data, headers, start, len, self.list.guessed & ((1 << (start + len)) - 1) != 0)
    }
}

/// The headers of a frame as the walk lists them, and what it notes of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    pub(crate) headers: [Header; Layers::MAX_HEADERS],
    /// Bit i is set where header i begins a level. Behind the last header it is set where a level
    /// begins of which no header could be read, so that what is around it is not taken for the
    /// innermost.
    pub(crate) starts: u64,
    /// Bit i is set where header i was guessed.
    pub(crate) guessed: u64,
    /// Bit i is set where header i is a tunnel's.
    pub(crate) carriers: u64,
    /// Whether an IP header said that it is a fragment's.
    pub(crate) has_fragment: bool,
}

impl List {
    #[inline]
    pub(crate) const fn new() -> Self {
        let headers = [Header::new(Layer::Raw, 0); Layers::MAX_HEADERS];
        Self { headers, starts: 1, guessed: 0, carriers: 0, has_fragment: false }
    }

    /// Begins anew; headers that are there count no more.
    #[inline(always)]
    pub(crate) const fn clear(&mut self) {
        (self.starts, self.guessed, self.carriers, self.has_fragment) = (1, 0, 0, false);
    }
}

/// The levels of encapsulation of a frame, outermost first.
#[derive(Debug, Clone)]
pub struct Levels<'a> {
    layers: &'a Layers,
    data: &'a [u8],
    /// The bits of `layers.starts` still to come.
    starts: u64,
}

impl<'a> Iterator for Levels<'a> {
    type Item = Level<'a>;

    fn next(&mut self) -> Option<Level<'a>> {
        if self.starts == 0 {
            return None;
        }
        let start = self.starts.trailing_zeros();
        self.starts &= !(1 << start);
        Some(self.layers.level(self.data, start))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.starts.count_ones() as usize;
        (len, Some(len))
    }
}

impl DoubleEndedIterator for Levels<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let start = self.starts.checked_ilog2()?;
        self.starts &= !(1 << start);
        Some(self.layers.level(self.data, start))
    }
}

impl ExactSizeIterator for Levels<'_> {}

/// An offset in a frame as it is kept; [`Layers::fill`] cuts frames to what fits.
#[inline]
#[allow(clippy::cast_possible_truncation)]
pub(crate) const fn offset_32(offset: usize) -> u32 {
    offset as u32
}
