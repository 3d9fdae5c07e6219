//! Templates: the layout of the records that follow, compiled once into a plan for reading them.
//!
//! Where every field has a fixed length the plan knows the offset of each that is wanted, and the
//! rest is never looked at. With a field of variable length (RFC 7011, section 7) each record is
//! stepped through.

use crate::Cursor;

use super::column::{Column, Columns, WideColumn};
use super::element::{Element, Target};

/// One field of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// What it is.
    pub element: Element,
    /// Its length in bytes; [`VARIABLE`](Self::VARIABLE) if each record says.
    pub len: u16,
}

impl Field {
    /// The length of a field that says its length in each record.
    pub const VARIABLE: u16 = u16::MAX;

    /// Reads a field as IPFIX writes it: the top bit says that an enterprise follows (RFC 7011,
    /// section 3.2).
    pub(super) fn ipfix(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [n0, n1, l0, l1] = *cursor.pass::<4>()?;
        let number = u16::from_be_bytes([n0 & 0x7f, n1]);
        let enterprise = if n0 & 0x80 == 0 { 0 } else { u32::from_be_bytes(*cursor.pass::<4>()?) };
        let mut element = Element { enterprise, number };
        // A vendor's way back is marked within its own numbers (RFC 5103, section 6.2), which says
        // nothing to us but that it is another element: the number stays as it is.
        if element.enterprise == Element::REVERSE {
            element.number &= 0x7fff;
        }
        Some(Self { element, len: u16::from_be_bytes([l0, l1]) })
    }

    /// Reads a field as NetFlow version 9 writes it: all 16 bits are the number.
    pub(super) fn netflow9(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [n0, n1, l0, l1] = *cursor.pass::<4>()?;
        let element = Element::iana(u16::from_be_bytes([n0, n1]));
        Some(Self { element, len: u16::from_be_bytes([l0, l1]) })
    }

    /// Reads a scope of an options template of NetFlow version 9, whose types are no elements.
    pub(super) fn netflow9_scope(cursor: &mut Cursor<'_>) -> Option<Self> {
        let field = Self::netflow9(cursor)?;
        let number = field.element.number;
        let is_type = (1..=5).contains(&number);
        let enterprise = if is_type { Element::V9_SCOPE } else { 0 };
        Some(Self { element: Element { enterprise, number }, ..field })
    }
}

/// The layout of records, ready to read them.
#[derive(Debug, Clone)]
pub struct Template {
    id: u16,
    /// How many fields are scopes; `None` if its records are flows.
    scopes: Option<usize>,
    fields: Box<[Field]>,
    plan: Plan,
    /// Length of a record, or the least one if it varies.
    len: usize,
}

#[derive(Debug, Clone)]
enum Plan {
    /// Where the values of columns are.
    Fixed { loads: Box<[Load]>, wide: Box<[WideLoad]>, has: u128 },
    /// Where the value of each field goes.
    Stepping(Box<[Target]>),
}

#[derive(Debug, Clone, Copy)]
struct Load {
    offset: u16,
    /// How far 8 bytes that begin at `offset` are shifted to leave the value.
    shift: u8,
    column: Column,
}

#[derive(Debug, Clone, Copy)]
struct WideLoad {
    offset: u16,
    column: WideColumn,
}

impl Template {
    /// From its fields; of options, the first `scopes` of them say what a record is about.
    ///
    /// `None` if its records would have no bytes, or more than a message can hold.
    pub(super) fn new(id: u16, scopes: Option<usize>, fields: Vec<Field>) -> Option<Self> {
        let least = |field: &Field| usize::from(if field.len == u16::MAX { 1 } else { field.len });
        let len: usize = fields.iter().map(least).sum();
        if len == 0 || len > usize::from(u16::MAX) {
            return None;
        }
        // Where an element stands twice, the column has the first.
        let mut targets: Vec<Target> = Vec::with_capacity(fields.len());
        for field in &fields {
            let target = fitting(field);
            let is_taken =
                matches!(target, Target::Number(_) | Target::Wide(_)) && targets.contains(&target);
            targets.push(if is_taken { Target::Nowhere } else { target });
        }
        let is_variable = fields.iter().any(|field| field.len == Field::VARIABLE);
        let plan = if is_variable {
            Plan::Stepping(targets.into())
        } else {
            Plan::fixed(&fields, &targets)
        };
        Some(Self { id, scopes, fields: fields.into(), plan, len })
    }

    /// One without records.
    pub(super) fn nothing() -> Self {
        let plan = Plan::Stepping(Box::default());
        Self { id: 0, scopes: None, fields: Box::default(), plan, len: usize::MAX }
    }

    /// The length of its shortest record, in bytes; never 0.
    pub(super) const fn least_len(&self) -> usize {
        self.len
    }

    /// The number by which sets of data name it, 256 or more.
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// Whether its records are options: facts about the exporter, not flows.
    pub const fn is_options(&self) -> bool {
        self.scopes.is_some()
    }

    /// The fields in their order.
    pub const fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// How many of the fields, from the first on, say what an options record is about.
    pub fn scopes(&self) -> usize {
        self.scopes.unwrap_or_default()
    }

    /// Whether both lay out records alike.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.scopes == other.scopes && self.fields == other.fields
    }

    /// Memory it takes, about, in bytes.
    pub(super) fn memory(&self) -> usize {
        // A field, its target or load, and the box around them.
        256 + self.fields.len() * (size_of::<Field>() + size_of::<Load>())
    }

    /// Fills `columns` from the record at the beginning of `bytes` and says how long it is; `None`
    /// if what is left is shorter than a record.
    #[inline]
    pub(super) fn read(&self, bytes: &[u8], columns: &mut Columns) -> Option<usize> {
        if bytes.len() < self.len {
            return None;
        }
        columns.clear();
        match &self.plan {
            Plan::Fixed { loads, wide, has } => {
                for load in loads {
                    let number = number_at(bytes, usize::from(load.offset), load.shift);
                    columns.store(load.column, number);
                }
                columns.mark(*has);
                for load in wide {
                    let value = bytes.get(usize::from(load.offset)..)?.first_chunk()?;
                    columns.set_wide(load.column, *value);
                }
                Some(self.len)
            }
            Plan::Stepping(targets) => {
                let mut cursor = Cursor::new(bytes);
                for (field, target) in self.fields.iter().zip(targets) {
                    let value = value_of(field, &mut cursor)?;
                    match target {
                        Target::Number(column) if (1..=8).contains(&value.len()) => {
                            columns.set(*column, number(value));
                        }
                        Target::Wide(column) => {
                            if let Ok(value) = value.try_into() {
                                columns.set_wide(*column, value);
                            }
                        }
                        _ => {}
                    }
                }
                Some(cursor.offset())
            }
        }
    }

    /// The fields of a record with their values.
    pub(super) fn values<'a>(
        &'a self,
        record: &'a [u8],
    ) -> impl Iterator<Item = (Element, &'a [u8])> + use<'a> {
        let mut cursor = Cursor::new(record);
        self.fields
            .iter()
            .map_while(move |field| Some((field.element, value_of(field, &mut cursor)?)))
    }
}

impl Plan {
    fn fixed(fields: &[Field], targets: &[Target]) -> Self {
        let (mut loads, mut wide, mut has) = (Vec::new(), Vec::new(), 0);
        let mut offset = 0_u16;
        for (field, target) in fields.iter().zip(targets) {
            match *target {
                Target::Number(column) => {
                    let shift = u8::try_from(64 - 8 * field.len.min(8)).unwrap_or_default();
                    loads.push(Load { offset, shift, column });
                    has |= 1 << column as u8;
                }
                Target::Wide(column) => wide.push(WideLoad { offset, column }),
                Target::Text | Target::Nowhere => {}
            }
            // The sum of all was checked to fit.
            offset = offset.saturating_add(field.len);
        }
        Self::Fixed { loads: loads.into(), wide: wide.into(), has }
    }
}

/// Where the value of a field goes, if its length allows.
fn fitting(field: &Field) -> Target {
    match (field.element.target(), field.len) {
        (target @ Target::Number(_), 1..=8 | Field::VARIABLE) => target,
        (target @ Target::Wide(_), 16 | Field::VARIABLE) => target,
        (Target::Text, _) => Target::Text,
        _ => Target::Nowhere,
    }
}

/// The value of the next field.
#[inline]
fn value_of<'a>(field: &Field, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = if field.len == Field::VARIABLE {
        let [short] = *cursor.pass::<1>()?;
        // RFC 7011, section 7: 255 says that two bytes of length follow.
        if short == 255 { u16::from_be_bytes(*cursor.pass::<2>()?) } else { u16::from(short) }
    } else {
        field.len
    };
    cursor.pass_slice(usize::from(len))
}

/// The number in the bytes from `offset` on, of which `shift` says how many there are. They were
/// found to be there.
#[inline]
fn number_at(bytes: &[u8], offset: usize, shift: u8) -> u64 {
    let Some(ahead) = bytes.get(offset..) else { return 0 };
    match ahead.first_chunk::<8>() {
        Some(chunk) => u64::from_be_bytes(*chunk) >> shift,
        // Only in the last record of a message.
        None => number(ahead.get(..8 - usize::from(shift / 8)).unwrap_or_default()),
    }
}

/// A big-endian number of up to 8 bytes.
#[inline]
pub(super) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u16, len: u16) -> Field {
        Field { element: Element::iana(number), len }
    }

    #[test]
    fn a_fixed_record_is_read_at_its_offsets_whatever_the_lengths() {
        // Protocol in 1 byte, something unknown in 3, bytes in 4, source port in 2.
        let fields = vec![field(4, 1), field(40_000, 3), field(1, 4), field(7, 2)];
        let template = Template::new(256, None, fields).unwrap();
        let mut columns = Columns::new();
        let bytes = [6, 9, 9, 9, 0, 1, 0, 0, 0x01, 0xbb, 0xff];
        assert_eq!(template.read(&bytes, &mut columns), Some(10));
        assert_eq!(columns.get(Column::ProtocolIdentifier), Some(6));
        assert_eq!(columns.get(Column::OctetDeltaCount), Some(65_536));
        assert_eq!(columns.get(Column::SourcePort), Some(443));
        assert_eq!(columns.get(Column::DestinationPort), None);
        assert_eq!(template.read(&bytes[..9], &mut columns), None);
    }

    #[test]
    fn a_variable_length_is_read_in_both_forms_and_may_be_zero() {
        let template =
            Template::new(256, None, vec![field(82, u16::MAX), field(83, u16::MAX), field(7, 2)])
                .unwrap();
        let mut columns = Columns::new();
        let bytes = [255, 0, 3, b'v', b'x', b'1', 0, 0, 80];
        assert_eq!(template.read(&bytes, &mut columns), Some(9));
        assert_eq!(columns.get(Column::SourcePort), Some(80));
        let values: Vec<_> = template.values(&bytes).map(|(_, value)| value).collect();
        assert_eq!(values, [&b"vx1"[..], b"", &[0, 80]]);
    }

    #[test]
    fn of_a_repeated_element_the_column_has_the_first_and_both_are_there() {
        let template = Template::new(256, None, vec![field(7, 2), field(7, 2)]).unwrap();
        let mut columns = Columns::new();
        let bytes = [0, 1, 0, 2];
        template.read(&bytes, &mut columns).unwrap();
        assert_eq!(columns.get(Column::SourcePort), Some(1));
        assert_eq!(template.values(&bytes).count(), 2);
    }

    #[test]
    fn records_without_bytes_are_no_records() {
        assert!(Template::new(256, Some(1), vec![field(1, 0)]).is_none());
        assert!(Template::new(256, None, vec![]).is_none());
        assert!(Template::new(256, None, vec![field(1, 60_000), field(2, 60_000)]).is_none());
    }
}
