//! A packet that is kept while its source goes on.

use crate::Packet;

/// A [`Packet`] with bytes of its own.
#[derive(Debug, Clone)]
pub struct KeptPacket {
    /// All but the bytes.
    rest: Packet<'static>,
    data: Vec<u8>,
}

impl KeptPacket {
    /// Copies the bytes that a packet borrows.
    pub fn new(packet: &Packet<'_>) -> Self {
        let Packet { time, point, link, data, wire_len, direction, checksum, lost_before } =
            *packet;
        let rest =
            Packet { time, point, link, data: &[], wire_len, direction, checksum, lost_before };
        Self { rest, data: data.to_vec() }
    }

    /// What was copied.
    pub fn packet(&self) -> Packet<'_> {
        Packet { data: &self.data, ..self.rest }
    }
}
