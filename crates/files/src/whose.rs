//! Whose packets they are: groups of vNICs with names, such as VMs or tenants.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use select::{Groups, Member};
use wire::{Layers, Packet, PointId};

/// Groups of vNICs that packets are told apart by.
#[derive(Clone)]
pub struct Whose {
    names: Arc<[String]>,
    shared: Groups,
    by_interface: Arc<ByInterface>,
    own: HashMap<(usize, PointId), (Option<u32>, Groups)>,
    asked: usize,
    found: Vec<u32>,
}

/// One group: its name, and the vNICs as a wire shows them that others share.
pub type NamedGroup = (String, Vec<Member>);

/// What is different at an interface that shows one machine's packets only.
#[derive(Debug, Clone, Default)]
pub struct OwnPoint {
    /// The group every packet there is of.
    pub owner: Option<usize>,
    /// The members of each group there.
    pub members: Vec<Vec<Member>>,
}

type ByInterface = dyn Fn(&str) -> Option<OwnPoint> + Send + Sync;

impl Whose {
    /// These groups; `by_interface` is asked for each interface by its name.
    pub fn new(
        groups: Vec<NamedGroup>,
        by_interface: impl Fn(&str) -> Option<OwnPoint> + Send + Sync + 'static,
    ) -> Self {
        let (names, members): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
        Self {
            names: names.into(),
            shared: Groups::new(members.iter().map(Vec::as_slice)),
            by_interface: Arc::new(by_interface),
            own: HashMap::new(),
            asked: 0,
            found: Vec::new(),
        }
    }

    /// The names of the groups, by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// An interface of input number `input`.
    pub(crate) fn add_point(&mut self, input: usize, point: PointId, name: &str) {
        self.asked += 1;
        if self.asked <= MAX_ASKED
            && let Some(OwnPoint { owner, members }) = (self.by_interface)(name)
        {
            let owner = owner.and_then(|owner| u32::try_from(owner).ok());
            let groups = Groups::new(members.iter().map(Vec::as_slice));
            self.own.insert((input, point), (owner, groups));
        }
    }

    /// The numbers of all groups that a packet of input number `input` is of, the sender's first.
    /// `layers` must come from the same bytes.
    pub(crate) fn find(&mut self, input: usize, packet: &Packet<'_>, layers: &Layers) -> &[u32] {
        self.found.clear();
        let own = if self.own.is_empty() { None } else { self.own.get(&(input, packet.point)) };
        match own {
            Some((owner, groups)) => {
                self.found.extend(owner);
                groups.find(packet, layers, &mut self.found);
            }
            None => self.shared.find(packet, layers, &mut self.found),
        }
        &self.found
    }
}

impl fmt::Debug for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whose").field("names", &self.names).finish_non_exhaustive()
    }
}

/// No capture has more interfaces; those of a file made to be slow have no names.
const MAX_ASKED: usize = 1024;
