//! Where somebody asked to look, and which observation point of a plan that is.

use std::fmt;

use plan::{Interface, Plan, Point, PointKind};

/// Where to look, as a person says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The best place there is.
    Best,
    /// The best place of one kind.
    Kind(PointKind),
    /// One interface, by its name.
    Interface(String),
}

/// Why nothing can be captured at a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPoint {
    /// The VM has such a place, and it cannot be used; or it has none.
    #[error("cannot capture {vm} at {place}: {reason}; see every place: overtap plan {vm}")]
    Refused {
        /// The VM.
        vm: String,
        /// What was asked for.
        place: Place,
        /// Why not.
        reason: String,
    },
    /// The VM's packets do not pass the interface.
    #[error("{vm} cannot be seen at {interface}; it can be seen at: {}", or_none(others))]
    NotThere {
        /// The VM.
        vm: String,
        /// What was asked for.
        interface: String,
        /// Interfaces where the VM can be seen.
        others: Vec<String>,
    },
}

impl Place {
    /// Reads `auto`, `tap` (or `port`), `uplink`, `inside`; anything else names an interface.
    pub fn parse(word: &str) -> Self {
        match word {
            "auto" => Self::Best,
            "tap" | "port" => Self::Kind(PointKind::Port),
            "uplink" => Self::Kind(PointKind::Uplink),
            "inside" => Self::Kind(PointKind::Inside),
            name => Self::Interface(name.to_owned()),
        }
    }

    /// The usable point of the plan for `vm` that is meant.
    ///
    /// # Errors
    /// When there is none, with the reason and what there is instead.
    pub fn choose(&self, plan: &Plan, vm: &str) -> Result<Point, NoPoint> {
        if let Self::Interface(name) = self {
            return at_interface(&plan.points, vm, name);
        }
        let meant = || plan.points.iter().filter(|point| self.is_kind(point.kind));
        if let Some(point) = meant().find(|point| point.is_usable()) {
            return Ok(point.clone());
        }
        let reason = meant().find_map(|point| point.refusal.clone());
        Err(NoPoint::Refused {
            vm: vm.to_owned(),
            place: self.clone(),
            reason: reason.unwrap_or_else(|| self.absence().to_owned()),
        })
    }

    fn is_kind(&self, kind: PointKind) -> bool {
        match self {
            Self::Best => true,
            Self::Kind(asked) => *asked == kind,
            Self::Interface(_) => false,
        }
    }

    /// Why a plan does not even mention such a place.
    const fn absence(&self) -> &'static str {
        match self {
            Self::Kind(PointKind::Inside) => "it has no network namespace that overtap can enter",
            _ => "there is no such place on this host",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Best => f.write_str("any place"),
            Self::Kind(kind) => write!(f, "`{}`", kind.word()),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

/// The part of the best point that is the interface `name`.
fn at_interface(points: &[Point], vm: &str, name: &str) -> Result<Point, NoPoint> {
    let usable = || points.iter().filter(|point| point.is_usable());
    for point in usable() {
        let named: Vec<Interface> =
            point.interfaces.iter().filter(|i| i.name == name).cloned().collect();
        if !named.is_empty() {
            return Ok(Point { interfaces: named, ..point.clone() });
        }
    }
    let others = usable().flat_map(|point| &point.interfaces).map(|i| i.name.clone());
    Err(NoPoint::NotThere {
        vm: vm.to_owned(),
        interface: name.to_owned(),
        others: others.collect(),
    })
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "no interface".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{point, refused};

    fn plan_of(points: Vec<Point>) -> Plan {
        Plan { points }
    }

    #[test]
    fn the_best_place_is_the_first_that_can_be_used() {
        let plan = plan_of(vec![
            refused(PointKind::Port, "vhost-user"),
            point(PointKind::Uplink, &["up0", "up1"]),
        ]);
        assert_eq!(Place::parse("auto").choose(&plan, "web").unwrap(), plan.points[1]);
        assert_eq!(
            Place::parse("tap").choose(&plan, "web").unwrap_err().to_string(),
            "cannot capture web at `tap`: vhost-user; see every place: overtap plan web"
        );
        assert_eq!(
            Place::parse("inside").choose(&plan, "web").unwrap_err().to_string(),
            "cannot capture web at `inside`: it has no network namespace that overtap can enter; \
             see every place: overtap plan web"
        );
    }

    #[test]
    fn an_interface_is_one_part_of_its_point() {
        let plan = plan_of(vec![
            point(PointKind::Port, &["vnet3"]),
            point(PointKind::Uplink, &["up0", "up1"]),
        ]);
        let chosen = Place::parse("up1").choose(&plan, "web").unwrap();
        assert_eq!((chosen.kind, chosen.interfaces.len()), (PointKind::Uplink, 1));
        assert_eq!(chosen.interfaces[0].name, "up1");
        assert_eq!(
            Place::parse("eth9").choose(&plan, "web").unwrap_err().to_string(),
            "web cannot be seen at eth9; it can be seen at: vnet3, up0, up1"
        );
        assert_eq!(
            Place::parse("eth9").choose(&plan_of(Vec::new()), "web").unwrap_err().to_string(),
            "web cannot be seen at eth9; it can be seen at: no interface"
        );
    }
}
