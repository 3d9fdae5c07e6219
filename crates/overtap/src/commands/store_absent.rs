//! A program built without the store of flows: its words are not there, and nothing is kept.

use std::convert::Infallible;

use flows::{By, Matrix, RowSink, Summary};
use serde_json::{Map, Value};
use wire::Timestamp;

use super::flows::Form;
use crate::exit::{Exit, WrongUsage};

/// No store that flows go to.
#[derive(clap::Args)]
pub(crate) struct Keeping {}

/// No store that is asked.
#[derive(clap::Args)]
pub(crate) struct Stored {
    #[command(flatten)]
    keeping: Keeping,
}

impl Keeping {
    pub(crate) const fn is_named(&self) -> bool {
        false
    }

    pub(crate) fn open(&self) -> anyhow::Result<Option<Writing>> {
        Ok(None)
    }
}

impl Stored {
    pub(crate) const fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    pub(crate) fn asked(
        &self,
        _since: Option<Timestamp>,
        _until: Option<Timestamp>,
    ) -> anyhow::Result<Option<Asked<'_>>> {
        Ok(None)
    }

    pub(crate) fn check_unasked(&self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// There is no question.
pub(crate) struct Asked<'a>(Infallible, std::marker::PhantomData<&'a ()>);

impl Asked<'_> {
    pub(crate) fn summary(&self, _by: By) -> anyhow::Result<Summary> {
        match self.0 {}
    }

    pub(crate) fn matrix(&self, _by: By) -> anyhow::Result<Matrix> {
        match self.0 {}
    }

    pub(crate) fn rows(&self, _is_once: bool, _form: Form) -> anyhow::Result<Exit> {
        match self.0 {}
    }
}

/// There is no store.
pub(crate) struct Writing(Infallible);

impl Writing {
    pub(crate) const fn exit(&self) -> Exit {
        match self.0 {}
    }
}

impl RowSink for Writing {
    type Error = anyhow::Error;

    fn take(&mut self, _row: &flows::Row<'_>) -> anyhow::Result<()> {
        match self.0 {}
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        match self.0 {}
    }
}

/// There are no Parquet files.
pub(crate) struct RowFile(Infallible);

impl RowFile {
    pub(crate) fn to_stdout() -> anyhow::Result<Self> {
        Err(absent())
    }

    pub(crate) fn take(&mut self, _row: &flows::Row<'_>) -> anyhow::Result<()> {
        match self.0 {}
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self.0 {}
    }
}

/// There are no Parquet files.
pub(crate) fn table_file(_rows: &[Map<String, Value>]) -> anyhow::Result<Vec<u8>> {
    Err(absent())
}

fn absent() -> anyhow::Error {
    WrongUsage("this overtap was built without Parquet (the feature `flow-store`)".into()).into()
}
