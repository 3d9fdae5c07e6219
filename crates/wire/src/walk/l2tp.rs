//! L2TP: the tunnel of access networks; version 3 carries anything.

use crate::header::L2tp;
use crate::{Layer, Stop, StopReason};

use super::guess::{may_be_ethernet, may_be_ip};
use super::{Next, Walk};

impl Walk<'_, '_> {
    /// L2TP over UDP, versions 2 and 3.
    pub(super) fn l2tp(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let l2tp = L2tp::decode(&mut self.cursor)?;
        self.l2tp_payload(&l2tp, offset)
    }

    /// L2TP version 3 over IP.
    pub(super) fn l2tp_in_ip(&mut self) -> Result<Next, Stop> {
        let offset = self.cursor.offset();
        let l2tp = L2tp::decode_in_ip(&mut self.cursor)?;
        self.l2tp_payload(&l2tp, offset)
    }

    fn l2tp_payload(&mut self, l2tp: &L2tp, offset: usize) -> Result<Next, Stop> {
        self.push(Layer::L2tp, offset)?;
        if l2tp.is_control {
            return Ok(Next::Payload);
        }
        self.enter_tunnel(Layer::L2tp)?;
        if l2tp.version == 3 { self.l2tp_3_payload() } else { Ok(Next::Ppp) }
    }

    /// What a session of version 3 carries, and how long a cookie and a sublayer stand before it,
    /// the end points told each other when they began (RFC 3931, sections 4.1 and 5.4.4); in the
    /// packet it is not. What can be read as a frame in one way only is taken for one, and said to
    /// be guessed.
    fn l2tp_3_payload(&mut self) -> Result<Next, Stop> {
        let ahead = self.cursor.ahead();
        // All but the longest cookie, the sublayer and an Ethernet header may be cut off.
        { self.cursor }.take::<LEAST>(Layer::L2tp)?;
        let may_begin = |len: &usize| ahead.get(*len..).is_some_and(may_be_ethernet);
        let frame = {
            let mut lens = SUBLAYERS.into_iter().filter(may_begin);
            lens.next().filter(|_| lens.next().is_none())
        };
        let (len, next) = match frame {
            Some(len) => (len, Next::Ethernet),
            // IP is known by less, so only without anything before it.
            None if may_be_ip(ahead) && !SUBLAYERS.iter().any(may_begin) => (0, Next::Ip),
            None => return Err(self.cursor.stop(Layer::L2tp, StopReason::Unsupported)),
        };
        self.list.guessed |= 1 << self.len;
        self.cursor.take_slice(Layer::L2tp, len)?;
        Ok(next)
    }
}

/// Bytes of cookie and sublayer before a frame: cookies have 0, 4 or 8 (RFC 3931, section 4.1), the
/// default sublayer 4 (section 4.6).
const SUBLAYERS: [usize; 4] = [0, 4, 8, 12];

/// So many bytes there must be to guess.
const LEAST: usize = 18;
