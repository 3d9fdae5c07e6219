//! GENEVE: a frame or packet in UDP, with options between the header and what it carries.

use crate::{Cursor, Layer, Stop, StopReason, Vni};

/// A GENEVE header (RFC 8926, section 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geneve<'a> {
    /// The overlay network of the inner frame.
    pub vni: Vni,
    /// EtherType of what it carries; 0x6558 is Ethernet.
    pub protocol: u16,
    /// Whether this is a control packet (O bit).
    pub is_control: bool,
    /// Whether an end point that does not know an option must drop the packet (C bit).
    pub has_critical_options: bool,
    /// The options as they are, a multiple of 4 bytes up to 252.
    pub options: &'a [u8],
}

impl<'a> Geneve<'a> {
    /// Reads the header at `cursor` and leaves `cursor` behind its options.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [first, flags, p0, p1, high, middle, low, _] = *cursor.take::<8>(Layer::Geneve)?;
            if first >> 6 != 0 {
                return Err(cursor.stop(Layer::Geneve, StopReason::Unsupported));
            }
            let options = cursor.take_slice(Layer::Geneve, usize::from(first & 0x3f) * 4)?;
            Ok(Self {
                vni: Vni::from_be_bytes([high, middle, low]),
                protocol: u16::from_be_bytes([p0, p1]),
                is_control: flags & 0x80 != 0,
                has_critical_options: flags & 0x40 != 0,
                options,
            })
        })
    }

    /// The options one by one; ends at the first that reaches beyond the options.
    pub fn options(&self) -> impl Iterator<Item = GeneveOption<'a>> + use<'a> {
        let mut cursor = Cursor::new(self.options);
        std::iter::from_fn(move || GeneveOption::decode(&mut cursor).ok())
    }
}

/// One option of a GENEVE header (RFC 8926, section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeneveOption<'a> {
    /// Who numbered the option; 0x0102 is Open Virtual Network.
    pub class: u16,
    /// Number of the option, 0 to 127.
    pub kind: u8,
    /// Whether an end point that does not know it must drop the packet.
    pub is_critical: bool,
    /// What it says, a multiple of 4 bytes up to 124.
    pub value: &'a [u8],
}

impl<'a> GeneveOption<'a> {
    /// Reads the option at `cursor` and leaves `cursor` behind it.
    #[inline]
    pub fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Stop> {
        cursor.whole(|cursor| {
            let [c0, c1, kind, words] = *cursor.take::<4>(Layer::Geneve)?;
            let value = cursor.take_slice(Layer::Geneve, usize::from(words & 0x1f) * 4)?;
            Ok(Self {
                class: u16::from_be_bytes([c0, c1]),
                kind: kind & 0x7f,
                is_critical: kind & 0x80 != 0,
                value,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geneve_of_another_version_stops() {
        let bytes = [0x40, 0, 0x65, 0x58, 0, 0, 42, 0];
        let stop = Stop { layer: Layer::Geneve, offset: 0, reason: StopReason::Unsupported };
        assert_eq!(Geneve::decode(&mut Cursor::new(&bytes)), Err(stop));
    }

    #[test]
    fn geneve_whose_options_are_cut_stops_at_its_first_byte() {
        let bytes = [0x02, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 2, 0, 1];
        let stop = Stop { layer: Layer::Geneve, offset: 0, reason: StopReason::Truncated };
        let mut cursor = Cursor::new(&bytes);
        assert_eq!(Geneve::decode(&mut cursor), Err(stop));
        assert_eq!(cursor.offset(), 0);
    }

    #[test]
    fn options_end_at_the_first_that_reaches_too_far() {
        let bytes = [
            0x04, 0x80, 0x08, 0x00, 0, 0, 42, 0, // 4 words of options, O flag, IPv4
            0x01, 0x02, 0x80, 0x01, 0, 1, 0, 2, // class 0x0102, critical, 4 bytes
            0xff, 0xff, 0x01, 0x1f, 0, 0, 0, 0, // claims 124 bytes
        ];
        let geneve = Geneve::decode(&mut Cursor::new(&bytes)).unwrap();
        assert!(geneve.is_control && !geneve.has_critical_options);
        let options: Vec<_> = geneve.options().collect();
        let first =
            GeneveOption { class: 0x0102, kind: 0, is_critical: true, value: &[0, 1, 0, 2] };
        assert_eq!(options, [first]);
    }
}
