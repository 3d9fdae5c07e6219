//! STT: Ethernet frames in what looks like TCP, so that network cards cut and mend them
//! (draft-davie-stt-08).
//!
//! A frame may be larger than a packet; its pieces follow each other as segments do, and only the
//! first has the STT header. Sequence and acknowledgement number are taken for other things: length
//! of the frame and offset of the piece, and a number of the frame (section 3.1).

use crate::header::{Stt, Tcp};
use crate::{Cursor, Layer, Stop, StopReason};

use super::{Next, Walk};

impl Walk<'_, '_> {
    /// Whether the TCP header at `offset`, which was just passed, is that of an STT segment.
    ///
    /// The port alone does not say: a connection may have it too. Its handshake and its end show,
    /// and so do options and numbers that make no piece of a frame.
    pub(super) fn is_stt(&self, offset: usize) -> bool {
        let Ok(tcp) = Tcp::decode(&mut Cursor::at(self.frame, offset)) else { return false };
        if tcp.ports.destination != self.ports.stt() || tcp.header_len != 20 {
            return false;
        }
        let (frame_len, piece) = Self::frame_and_piece(tcp.sequence);
        let ends = piece + self.cursor.ahead().len();
        tcp.flags & FLAGS_OF_CONNECTIONS == 0 && frame_len > Stt::LEN && ends <= frame_len
    }

    pub(super) fn stt(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let before = offset.saturating_sub(TCP_LEN);
        let tcp = Tcp::decode(&mut Cursor::at(self.frame, before))?;
        let (frame_len, piece) = Self::frame_and_piece(tcp.sequence);
        if piece != 0 {
            // Whose frame this is a piece of only the first segment says.
            self.enter_tunnel(Layer::Stt)?;
            return Err(self.cursor.stop(Layer::Stt, StopReason::Fragment));
        }
        // A whole packet that ends before the frame does is a piece of it; a cut one may be all.
        let is_whole = self.cursor.stop_at_end(Layer::Stt).reason == StopReason::BeyondLength;
        if is_whole && self.cursor.ahead().len() < frame_len {
            self.cursor.limit(self.cursor.ahead().len(), StopReason::Fragment);
        }
        Stt::decode(&mut self.cursor)?;
        self.push(Layer::Stt, offset)?;
        self.enter_tunnel(Layer::Stt)?;
        Ok(Next::Ethernet)
    }

    /// Bytes of the whole frame with its header, and where this piece of it belongs.
    const fn frame_and_piece(sequence: u32) -> (usize, usize) {
        ((sequence >> 16) as usize, (sequence & 0xffff) as usize)
    }
}

const TCP_LEN: usize = 20;

/// URG, RST, SYN and FIN.
const FLAGS_OF_CONNECTIONS: u8 = 0x27;
