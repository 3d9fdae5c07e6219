//! Keeping the beginning of each packet.

use wire::Layers;

/// How much of a packet is kept; how long it was stays known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Slice {
    /// At most so many bytes of what is written.
    pub bytes: Option<usize>,
    /// At most so many bytes behind the innermost transport header, or behind the last header
    /// that was understood.
    pub after_headers: Option<usize>,
}

impl Slice {
    /// Whether headers have to be known.
    pub const fn needs_headers(self) -> bool {
        self.after_headers.is_some()
    }

    /// How many bytes are kept of a packet that lost `removed` bytes of headers. `layers` must
    /// come from the packet as it was, or be empty if [`needs_headers`](Self::needs_headers) is
    /// false.
    pub fn kept(self, layers: &Layers, removed: usize) -> usize {
        let after_headers = self.after_headers.map_or(usize::MAX, |bytes| {
            layers.payload_offset().saturating_sub(removed).saturating_add(bytes)
        });
        after_headers.min(self.bytes.unwrap_or(usize::MAX))
    }
}
