//! Fields that a tool does not get to see: zeroed, with checksums that stay as right or wrong as
//! they were.

use std::fmt;
use std::str::FromStr;

/// Fields of the innermost frame that are zeroed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mask {
    names: u8,
}

/// A field that can be masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum MaskField {
    /// Everything behind the transport header, or behind the last header there is.
    Payload,
    /// Both MACs.
    Macs,
    /// The source MAC.
    SourceMac,
    /// The destination MAC.
    DestinationMac,
    /// Both IP addresses.
    Ips,
    /// The source IP address.
    SourceIp,
    /// The destination IP address.
    DestinationIp,
    /// Both ports.
    Ports,
}

impl MaskField {
    /// All of them with the words that name them.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("payload", Self::Payload),
        ("macs", Self::Macs),
        ("source-mac", Self::SourceMac),
        ("destination-mac", Self::DestinationMac),
        ("ips", Self::Ips),
        ("source-ip", Self::SourceIp),
        ("destination-ip", Self::DestinationIp),
        ("ports", Self::Ports),
    ];
}

impl Mask {
    /// This, and `field` as well.
    #[must_use]
    pub const fn and(self, field: MaskField) -> Self {
        Self { names: self.names | 1 << field as u8 }
    }

    /// Whether nothing is masked.
    pub const fn is_nothing(self) -> bool {
        self.names == 0
    }

    pub(crate) const fn has(self, field: MaskField) -> bool {
        self.names & 1 << field as u8 != 0
    }
}

impl FromStr for Mask {
    type Err = UnknownField;

    /// Reads names with commas between them.
    fn from_str(text: &str) -> Result<Self, UnknownField> {
        text.split(',').map(str::trim).try_fold(Self::default(), |mask, word| {
            let found = MaskField::NAMES.iter().find(|(name, _)| *name == word);
            let (_, field) = found.ok_or_else(|| UnknownField(word.to_owned()))?;
            Ok(mask.and(*field))
        })
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = MaskField::NAMES.iter().filter(|(_, field)| self.has(*field));
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        f.write_str(&names.join(","))
    }
}

/// A word that names no field that can be masked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownField(pub String);

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = MaskField::NAMES.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        write!(f, "`{}` is no field that can be masked; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownField {}
