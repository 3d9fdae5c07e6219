//! The columns of stored flows: what each is called, what it holds and how it is packed.
//!
//! Types are those that every reader of Parquet has: no unsigned numbers, no nanoseconds.
//! `docs/reference/flow-store.md` lists the same columns; a test compares the two.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterVersion,
};
use parquet::schema::types::ColumnPath;

/// The version of the schema that this program writes, and the newest that it reads.
pub const SCHEMA_VERSION: u32 = 1;

/// Where a file says which version of the schema it has.
pub(crate) const VERSION_KEY: &str = "overtap.flow_store.version";

/// One column of stored flows or of their sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// What it is called.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Whether it may hold nothing.
    pub is_nullable: bool,
    packing: Packing,
    /// Whether row groups say the least and the most of it, so that others can be passed over.
    has_bounds: bool,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A time: milliseconds since 1970, UTC.
    Time,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// Text.
    Text,
    /// Yes or no.
    Flag,
}

impl Shape {
    /// Its name in the reference, which is that of DuckDB.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "TIMESTAMP",
            Self::Int => "INTEGER",
            Self::Long => "BIGINT",
            Self::Text => "VARCHAR",
            Self::Flag => "BOOLEAN",
        }
    }

    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Time => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Text => DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            Self::Flag => DataType::Boolean,
        }
    }
}

/// How a column's values are laid out before they are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    /// Each different value once, then their numbers.
    Dictionary,
    /// Differences between neighbours, in as few bits as they need.
    Delta,
    /// As they are.
    Plain,
}

const fn column(name: &'static str, shape: Shape, packing: Packing) -> Column {
    Column { name, shape, is_nullable: false, packing, has_bounds: false }
}

const fn text(name: &'static str) -> Column {
    column(name, Shape::Text, Packing::Dictionary)
}

const fn few(name: &'static str) -> Column {
    column(name, Shape::Int, Packing::Dictionary)
}

const fn count(name: &'static str) -> Column {
    column(name, Shape::Long, Packing::Delta)
}

const fn flag(name: &'static str) -> Column {
    column(name, Shape::Flag, Packing::Plain)
}

impl Column {
    const fn or_null(self) -> Self {
        Self { is_nullable: true, ..self }
    }

    const fn bounded(self) -> Self {
        Self { has_bounds: true, ..self }
    }
}

/// The columns of stored flows, in the order in which they are written.
pub const FLOW_COLUMNS: [Column; 54] = [
    column("start", Shape::Time, Packing::Delta).bounded(),
    column("end", Shape::Time, Packing::Delta).bounded(),
    text("point"),
    text("overlay").or_null(),
    column("overlay_number", Shape::Long, Packing::Dictionary).or_null(),
    few("vlan").or_null(),
    few("protocol"),
    text("client_ip").bounded(),
    column("client_port", Shape::Int, Packing::Plain),
    text("client_mac").or_null(),
    text("client_vm").or_null().bounded(),
    text("client_tenant").or_null().bounded(),
    text("client_host").or_null().bounded(),
    text("client_port_group").or_null(),
    flag("is_client_ambiguous"),
    text("server_ip").bounded(),
    few("server_port"),
    text("server_mac").or_null(),
    text("server_vm").or_null().bounded(),
    text("server_tenant").or_null().bounded(),
    text("server_host").or_null().bounded(),
    text("server_port_group").or_null(),
    flag("is_server_ambiguous"),
    text("split").bounded(),
    count("client_packets").or_null(),
    count("client_octets").or_null(),
    few("client_tcp_flags"),
    count("client_retransmitted"),
    count("client_out_of_order"),
    count("client_zero_windows"),
    count("server_packets").or_null(),
    count("server_octets").or_null(),
    few("server_tcp_flags"),
    count("server_retransmitted"),
    count("server_out_of_order"),
    count("server_zero_windows"),
    count("client_counted_packets"),
    count("client_counted_octets"),
    text("client_copy_of").or_null(),
    count("server_counted_packets"),
    count("server_counted_octets"),
    text("server_copy_of").or_null(),
    flag("is_carrier"),
    count("sampling_population"),
    count("sampling_taken"),
    text("sampling_said_by"),
    text("tcp_state").or_null(),
    text("client_known_by"),
    count("server_rtt_us").or_null(),
    count("client_rtt_us").or_null(),
    text("app").bounded(),
    flag("is_app_seen"),
    text("asked_for").or_null(),
    text("end_reason"),
];

/// The columns of sums by minute or hour.
pub const SUM_COLUMNS: [Column; 17] = [
    column("time", Shape::Time, Packing::Dictionary).bounded(),
    text("one").or_null(),
    text("other").or_null(),
    count("flows"),
    count("packets"),
    count("octets_sent"),
    count("octets_received"),
    count("octets_intra_host"),
    count("octets_inter_host"),
    count("octets_vm_to_physical"),
    count("octets_group"),
    count("octets_outside"),
    count("octets_unknown"),
    count("copies"),
    count("octets_copied"),
    count("octets_carried"),
    count("flows_of_unknown_rate"),
];

/// The column of this name.
pub fn flow_column(name: &str) -> Option<&'static Column> {
    FLOW_COLUMNS.iter().find(|column| column.name == name)
}

/// The schema of stored flows as Arrow has it.
pub(crate) fn flow_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| schema(&FLOW_COLUMNS));
    Arc::clone(&SCHEMA)
}

/// The schema of sums as Arrow has it.
pub(crate) fn sum_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| schema(&SUM_COLUMNS));
    Arc::clone(&SCHEMA)
}

fn schema(columns: &[Column]) -> SchemaRef {
    let fields = columns
        .iter()
        .map(|column| Field::new(column.name, column.shape.data_type(), column.is_nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// How files of these columns are written.
pub(crate) fn properties(columns: &[Column], row_group: usize) -> WriterProperties {
    let level = ZstdLevel::try_new(ZSTD_LEVEL).unwrap_or_default();
    let version = KeyValue::new(VERSION_KEY.to_owned(), SCHEMA_VERSION.to_string());
    let properties = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_created_by(concat!("overtap ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_key_value_metadata(Some(vec![version]))
        .set_max_row_group_row_count(Some(row_group))
        // One page of each column and row group: pages are not searched one by one.
        .set_data_page_row_count_limit(row_group)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_dictionary_page_size_limit(PAGE_BYTES)
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::None);
    columns.iter().fold(properties, |properties, column| column.set(properties)).build()
}

impl Column {
    fn set(&self, properties: WriterPropertiesBuilder) -> WriterPropertiesBuilder {
        let path = || ColumnPath::from(self.name);
        let encoding = match self.packing {
            Packing::Delta => Encoding::DELTA_BINARY_PACKED,
            Packing::Dictionary | Packing::Plain => Encoding::PLAIN,
        };
        let bounds =
            if self.has_bounds { EnabledStatistics::Chunk } else { EnabledStatistics::None };
        properties
            .set_column_dictionary_enabled(path(), self.packing == Packing::Dictionary)
            .set_column_encoding(path(), encoding)
            .set_column_statistics_enabled(path(), bounds)
    }
}

/// Rows of a row group: some minutes of a busy hour.
pub(crate) const ROW_GROUP: usize = 1 << 17;
/// Higher levels take more of the processor than of the size: docs/decisions says how much.
const ZSTD_LEVEL: i32 = 1;
/// The most of one page, and of the different values of a column in a row group.
const PAGE_BYTES: usize = 4 << 20;
