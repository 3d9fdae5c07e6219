//! What some link types put in front of the frame: notes of the device that captured it.
//!
//! Only as much as is needed to find the frame. The formats are described at
//! <https://www.tcpdump.org/linktypes.html>.

use crate::{Cursor, Layer, LinkType, Stop, StopReason};

/// Notes in front of a frame, and what the frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// The link type of what follows the notes.
    pub link: LinkType,
}

impl Prefix {
    /// Reads the notes that frames of type `link` begin with, and leaves `cursor` behind them;
    /// `None` if frames of this type have none that are known here.
    pub fn decode(cursor: &mut Cursor<'_>, link: LinkType) -> Option<Result<Self, Stop>> {
        let read = match link {
            LinkType::RADIOTAP => Self::radiotap,
            LinkType::PPI => Self::ppi,
            LinkType::PKTAP => Self::pktap,
            LinkType::NFLOG => Self::nflog,
            LinkType::IPNET => Self::ipnet,
            LinkType::PPP_WITH_DIRECTION => Self::ppp_with_direction,
            LinkType::BROADCOM_TAG_IN_FRONT => Self::broadcom_tag,
            LinkType::PRISM | LinkType::AVS => Self::prism,
            LinkType::PFLOG => Self::pflog,
            LinkType::ENC => Self::enc,
            LinkType::JUNIPER_ETHERNET => Self::juniper,
            _ => return None,
        };
        Some(cursor.whole(read))
    }

    fn radiotap(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let mut notes = *cursor;
        let [_, _, l0, l1] = *notes.take::<4>(Layer::Capture)?;
        let len = usize::from(u16::from_le_bytes([l0, l1]));
        let flags = Self::radiotap_flags(&mut notes).unwrap_or_default();
        cursor.take_slice(Layer::Capture, len.max(8))?;
        if flags & RADIOTAP_HAS_FCS != 0 {
            let len = cursor.ahead().len().saturating_sub(4);
            cursor.limit(len, StopReason::BeyondLength);
        }
        Ok(Self { link: LinkType::IEEE802_11 })
    }

    /// The flags field stands behind the words that say which fields are present, and behind a
    /// time stamp if that is present.
    fn radiotap_flags(notes: &mut Cursor<'_>) -> Result<u8, Stop> {
        let present = u32::from_le_bytes(*notes.take::<4>(Layer::Capture)?);
        let mut word = present;
        while word & 1 << 31 != 0 {
            word = u32::from_le_bytes(*notes.take::<4>(Layer::Capture)?);
        }
        if present & 1 != 0 {
            // Aligned to 8 bytes from the start of the notes, which are in steps of 4 here.
            if !notes.offset().is_multiple_of(8) {
                notes.take::<4>(Layer::Capture)?;
            }
            notes.take::<8>(Layer::Capture)?;
        }
        if present & 2 == 0 { Ok(0) } else { notes.peek(Layer::Capture) }
    }

    fn ppi(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [_, _, l0, l1, t0, t1, _, _] = *cursor.take::<8>(Layer::Capture)?;
        let len = usize::from(u16::from_le_bytes([l0, l1]));
        cursor.take_slice(Layer::Capture, len.saturating_sub(8))?;
        Ok(Self { link: LinkType(u16::from_le_bytes([t0, t1])) })
    }

    fn pktap(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [l0, l1, l2, l3, _, _, _, _, t0, t1, _, _] = *cursor.take::<12>(Layer::Capture)?;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        cursor.take_slice(Layer::Capture, len.saturating_sub(12))?;
        Ok(Self { link: LinkType(u16::from_le_bytes([t0, t1])) })
    }

    /// Fields of length, type and value, in the byte order of the machine that wrote them.
    fn nflog(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [family, _version, _, _] = *cursor.take::<4>(Layer::Capture)?;
        loop {
            let [l0, l1, t0, t1] = *cursor.take::<4>(Layer::Capture)?;
            let (little, big) = (u16::from_le_bytes([l0, l1]), u16::from_be_bytes([l0, l1]));
            // Types are small numbers, so their zero byte tells the order.
            let (len, kind) = if t1 == 0 {
                (little, u16::from_le_bytes([t0, t1]))
            } else {
                (big, u16::from_be_bytes([t0, t1]))
            };
            let Some(len) = usize::from(len).checked_sub(4) else {
                return Err(cursor.stop(Layer::Capture, StopReason::Malformed));
            };
            if kind == NFLOG_PAYLOAD {
                cursor.limit(len, StopReason::BeyondLength);
                let link = match family {
                    2 => LinkType::IPV4,
                    10 => LinkType::IPV6,
                    _ => return Err(cursor.stop(Layer::Capture, StopReason::Unsupported)),
                };
                return Ok(Self { link });
            }
            cursor.take_slice(Layer::Capture, len.next_multiple_of(4))?;
        }
    }

    fn ipnet(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.take::<24>(Layer::Capture)?;
        Ok(Self { link: LinkType::RAW })
    }

    fn ppp_with_direction(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.take::<1>(Layer::Capture)?;
        Ok(Self { link: LinkType::PPP })
    }

    /// A Prism header has 144 bytes; that of AVS has its magic number in place of a kind of message,
    /// and its length behind it. Both occur under the number of Prism.
    fn prism(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [m0, m1, m2, _, l0, l1, l2, l3] = *cursor.take::<8>(Layer::Capture)?;
        let len = match [m0, m1, m2] {
            AVS_MAGIC => u32::from_be_bytes([l0, l1, l2, l3]) as usize,
            _ => PRISM_LEN,
        };
        cursor.take_slice(Layer::Capture, len.saturating_sub(8))?;
        Ok(Self { link: LinkType::IEEE802_11 })
    }

    /// The first byte is the length without the padding to a multiple of 4, the second the family.
    fn pflog(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [len, _] = *cursor.take::<2>(Layer::Capture)?;
        let len = usize::from(len).next_multiple_of(4).saturating_sub(2);
        cursor.take_slice(Layer::Capture, len)?;
        Ok(Self { link: LinkType::RAW })
    }

    /// Family, security parameters index, flags.
    fn enc(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.take::<12>(Layer::Capture)?;
        Ok(Self { link: LinkType::RAW })
    }

    /// A number, flags, and fields of their own length where a flag says so.
    fn juniper(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        let [j0, j1, j2, flags] = *cursor.take::<4>(Layer::Capture)?;
        if [j0, j1, j2] != *b"MGC" {
            return Err(cursor.stop(Layer::Capture, StopReason::Malformed));
        }
        if flags & JUNIPER_HAS_FIELDS != 0 {
            let len = u16::from_be_bytes(*cursor.take::<2>(Layer::Capture)?);
            cursor.take_slice(Layer::Capture, usize::from(len))?;
        }
        if flags & JUNIPER_HAS_NO_LINK != 0 {
            return Err(cursor.stop(Layer::Capture, StopReason::Unsupported));
        }
        Ok(Self { link: LinkType::ETHERNET })
    }

    fn broadcom_tag(cursor: &mut Cursor<'_>) -> Result<Self, Stop> {
        cursor.take::<4>(Layer::Capture)?;
        Ok(Self { link: LinkType::ETHERNET })
    }
}

const RADIOTAP_HAS_FCS: u8 = 0x10;
const NFLOG_PAYLOAD: u16 = 9;
const AVS_MAGIC: [u8; 3] = [0x80, 0x21, 0x10];
const PRISM_LEN: usize = 144;
const JUNIPER_HAS_FIELDS: u8 = 0x80;
const JUNIPER_HAS_NO_LINK: u8 = 0x02;
