//! What of the rows may be shown to somebody who may not see all machines.
//!
//! A flow is shown if a machine that they may see takes part in it. Of the other end they see what
//! its packets would show, addresses and ports, and nothing that only the inventory knows: not its
//! name, tenant, host or port group, nor on whose port the flow was seen, nor whether both ends are
//! on one host. Filters are asked after that, so that nobody learns a name by guessing it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, BooleanArray, DictionaryArray, RecordBatch, StringArray};
use arrow_buffer::BooleanBuffer;
use arrow_schema::ArrowError;
use flows::Split;

use crate::scan::{Words, texts};

/// Says of machines what may be shown of their flows.
pub trait Sight: fmt::Debug + Send + Sync {
    /// Of the machine that is called so and belongs to this tenant. `vm` is as the store has it,
    /// with the tenant before it.
    fn of(&self, tenant: Option<&str>, vm: &str) -> Shown;
}

/// What may be shown of the flows of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// What the headers of its packets say, but not the name that was asked for.
    Headers,
    /// All of it.
    Whole,
}

/// The columns that say whose a flow is.
pub(crate) const COLUMNS: [&str; 4] = ["client_vm", "client_tenant", "server_vm", "server_tenant"];

/// Which of the rows may be shown at all.
pub(crate) fn rows_shown(
    sight: &dyn Sight,
    rows: &RecordBatch,
) -> Result<BooleanArray, ArrowError> {
    let mut ends = ends(rows)?;
    let is_shown = |row| {
        let of_ends = ends.iter_mut().map(|end| end.shown(sight, row));
        of_ends.max().is_some_and(|most| most > Shown::Nothing)
    };
    let shown: BooleanBuffer = (0..rows.num_rows()).map(is_shown).collect();
    Ok(BooleanArray::new(shown, None))
}

/// Rows that may be shown, without what may not be shown of them.
pub(crate) fn hide(sight: &dyn Sight, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let count = rows.num_rows();
    let mut hidden = [vec![false; count], vec![false; count]];
    let (mut is_any, mut is_name) = (vec![false; count], vec![false; count]);
    let mut ends = ends(rows)?;
    for row in 0..count {
        let mut most = Shown::Nothing;
        for (end, hidden) in ends.iter_mut().zip(&mut hidden) {
            let shown = end.shown(sight, row);
            most = most.max(shown);
            let is_hidden = shown == Shown::Nothing && end.vms.key(row).is_some();
            set(hidden, row, is_hidden);
            if is_hidden {
                set(&mut is_any, row, true);
            }
        }
        set(&mut is_name, row, most < Shown::Whole);
    }
    let [client, server] = &hidden;
    let unknown = Some(Split::Unknown.name());
    let columns: [(&str, &[bool], Option<&str>); 12] = [
        ("client_vm", client, None),
        ("client_tenant", client, None),
        ("client_host", client, None),
        ("client_port_group", client, None),
        ("server_vm", server, None),
        ("server_tenant", server, None),
        ("server_host", server, None),
        ("server_port_group", server, None),
        ("split", &is_any, unknown),
        ("point", &is_any, Some(HIDDEN)),
        ("client_copy_of", &is_any, None),
        ("server_copy_of", &is_any, None),
    ];
    let more = [("asked_for", is_name.as_slice(), None)];
    let mut arrays = rows.columns().to_vec();
    for (name, hidden, instead) in columns.into_iter().chain(more) {
        let place = rows.schema_ref().index_of(name).ok();
        if let Some(array) = place.and_then(|place| arrays.get_mut(place))
            && hidden.contains(&true)
        {
            *array = without(texts(rows, name)?, hidden, instead)?;
        }
    }
    RecordBatch::try_new(rows.schema(), arrays)
}

/// Texts, those of some rows replaced or gone. What no row has any more is not in it.
fn without(
    words: Words<'_>,
    hidden: &[bool],
    instead: Option<&str>,
) -> Result<ArrayRef, ArrowError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut numbers: HashMap<&str, i32> = HashMap::new();
    let mut keys: Vec<Option<i32>> = Vec::with_capacity(hidden.len());
    for (row, is_hidden) in hidden.iter().enumerate() {
        let word = if *is_hidden { instead } else { words.at(row) };
        keys.push(word.map(|word| {
            *numbers.entry(word).or_insert_with(|| {
                kept.push(word);
                i32::try_from(kept.len() - 1).unwrap_or(i32::MAX)
            })
        }));
    }
    let keys = arrow_array::PrimitiveArray::<Int32Type>::from(keys);
    let words = Arc::new(StringArray::from(kept));
    Ok(Arc::new(DictionaryArray::try_new(keys, words)?))
}

/// The two ends of rows.
fn ends(rows: &RecordBatch) -> Result<[Ends<'_>; 2], ArrowError> {
    let end = |vm, tenant| {
        Ok::<_, ArrowError>(Ends {
            vms: texts(rows, vm)?,
            tenants: texts(rows, tenant)?,
            known: HashMap::new(),
        })
    };
    let [client_vm, client_tenant, server_vm, server_tenant] = COLUMNS;
    Ok([end(client_vm, client_tenant)?, end(server_vm, server_tenant)?])
}

/// One end of rows, and what was found of its machines: each is asked about once.
struct Ends<'b> {
    vms: Words<'b>,
    tenants: Words<'b>,
    known: HashMap<(usize, Option<usize>), Shown>,
}

impl Ends<'_> {
    fn shown(&mut self, sight: &dyn Sight, row: usize) -> Shown {
        let Some(vm) = self.vms.key(row) else { return Shown::Nothing };
        let tenant = self.tenants.key(row);
        *self.known.entry((vm, tenant)).or_insert_with(|| {
            sight.of(tenant.map(|tenant| self.tenants.word(tenant)), self.vms.word(vm))
        })
    }
}

fn set(flags: &mut [bool], row: usize, to: bool) {
    if let Some(flag) = flags.get_mut(row) {
        *flag = to;
    }
}

/// Stands for a point that may not be shown: the column is never empty.
const HIDDEN: &str = "-";
