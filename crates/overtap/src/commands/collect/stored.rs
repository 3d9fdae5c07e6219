//! Flows of replayed exports on their way into a store.

use flows::{Counted, Exports, Flow, Gathering, Places, Point, Row, RowSink, Timeouts};
use wire::TunnelPorts;
use wire::export::Event;

use super::Args;
use crate::commands::extract::whose::Inventory;
use crate::commands::store::Writing;
use crate::exit::Exit;

/// What is made of exports, joined and counted once, for a store.
pub(super) struct Storing {
    places: Places,
    exports: Exports,
    gathering: Gathering,
    made: Vec<Flow>,
    store: Writing,
    failure: Option<anyhow::Error>,
}

impl Storing {
    /// If a store is named.
    pub(super) fn open(args: &Args, ports: &TunnelPorts) -> anyhow::Result<Option<Self>> {
        let inventory = Inventory::new(&args.inventory);
        let places = if args.inventory.is_empty() {
            Places::default()
        } else {
            Places::new(inventory.history().map_err(|error| anyhow::anyhow!(error.to_owned()))?)
        };
        let Some(store) = args.keeping.open()? else { return Ok(None) };
        let exports = Exports::new(Timeouts::default(), places.nvgre(), ports.clone());
        let (gathering, made, failure) = (Gathering::default(), Vec::new(), None);
        Ok(Some(Self { places, exports, gathering, made, store, failure }))
    }

    /// Takes what a collector shows.
    pub(super) fn take(&mut self, event: Event<'_>) {
        let made = &mut self.made;
        self.exports.take(event, |flow| made.push(flow));
        self.gather();
    }

    /// Stores all that is left.
    pub(super) fn finish(mut self) -> anyhow::Result<Exit> {
        let made = &mut self.made;
        self.exports.finish(|flow| made.push(flow));
        self.gather();
        let Self { places, exports, gathering, store, failure, .. } = &mut self;
        gathering.settle(exports.points(), places, &mut |flow, counted| {
            keep(store, failure, flow, *counted, (places, exports.points()));
        });
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.store.finish()?;
        Ok(self.store.exit())
    }

    fn gather(&mut self) {
        let Self { places, exports, gathering, made, store, failure } = self;
        for flow in made.drain(..) {
            gathering.add(flow, exports.points(), places, &mut |flow, counted| {
                keep(store, failure, flow, *counted, (places, exports.points()));
            });
        }
    }
}

fn keep(
    store: &mut Writing,
    failure: &mut Option<anyhow::Error>,
    flow: &Flow,
    counted: [Counted; 2],
    (places, points): (&Places, &[Point]),
) {
    if failure.is_none() {
        *failure = store.take(&Row::new(flow, counted, places, points)).err();
    }
}
