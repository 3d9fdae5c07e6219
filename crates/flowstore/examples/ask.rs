//! Asks a store that `fill` has filled, and says how long each answer took: `ask DIR`.
//!
//! Somebody who may see everything, then somebody who may see one tenant of forty.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use flowstore::{Ask, Kind, Reader, Shown, Sight, Source, StoreError, Subject};

#[derive(Debug)]
struct Only(&'static str);

impl Sight for Only {
    fn of(&self, tenant: Option<&str>, _: &str) -> Shown {
        if tenant == Some(self.0) { Shown::Whole } else { Shown::Nothing }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: ask DIR")?;
    let reader = Reader::open(folder.as_ref())?;
    let rows = || Ask { source: Source::Rows, ..Ask::everything() };
    let own = || Ask { sight: Some(Arc::new(Only("tenant-07"))), ..Ask::everything() };
    let vms = Kind::One(Subject::Vms);
    let hour = Duration::from_secs(3600);
    timed("top vms, from sums", || reader.sums(vms, &Ask::everything()).map(drop))?;
    timed("top vms, from rows", || reader.sums(vms, &rows()).map(drop))?;
    timed("top vms of one tenant", || reader.sums(vms, &own()).map(drop))?;
    timed("pairs of one tenant", || reader.sums(Kind::Pair(Subject::Vms), &own()).map(drop))?;
    timed("series, from sums", || reader.series(&Ask::everything(), hour).map(drop))?;
    timed("series of one tenant", || reader.series(&own(), hour).map(drop))?;
    let largest = |ask: &Ask| reader.largest(ask, 50, None, |row| row.fields().len()).map(drop);
    timed("largest flows", || largest(&Ask::everything()))?;
    timed("largest flows of one tenant", || largest(&own()))?;
    Ok(())
}

fn timed(what: &str, act: impl FnOnce() -> Result<(), StoreError>) -> Result<(), StoreError> {
    let began = Instant::now();
    act()?;
    println!("{what:30} {:>8.3} s", began.elapsed().as_secs_f64());
    Ok(())
}
