//! The embedded store of flows: hourly Parquet files, sums beside them, and the answers these give.
//!
//! A [`Store`] takes [`Row`]s and keeps them in files that any engine reads; the schema is
//! `docs/reference/flow-store.md`. A [`Reader`] answers the questions of the product by itself,
//! from sums or by looking through columns. It is no SQL engine and becomes none: whoever wants
//! SQL points one at the files.

mod adder;
mod batch;
mod column;
mod error;
mod file;
mod filter;
mod keeper;
mod largest;
mod ledger;
mod name;
mod named;
mod query;
mod rollup;
mod row;
mod scan;
mod series;
mod settings;
mod sight;
mod store;
mod stored;
mod subject;
mod table;
mod texts;
mod totals;

pub use column::{Column, FLOW_COLUMNS, SCHEMA_VERSION, SUM_COLUMNS, Shape, flow_column};
pub use error::StoreError;
pub use filter::{Condition, Filter};
pub use keeper::Report;
pub use largest::Rank;
pub use query::{Answer, Ask, Reader, Source};
pub use rollup::{Grain, Rollup};
pub use row::{CountedWay, End, Row};
pub use series::{Moment, Series};
pub use settings::{Keep, Kept};
pub use sight::{Shown, Sight};
pub use store::Store;
pub use stored::{StoredRow, Value};
pub use subject::{Kind, Subject};
pub use table::{RowWriter, TableColumn, write_table};
