//! A machine that is only known by what was recorded of it.

use inventory::{Machine, MachineId, MachineKind, MachineState};
use plan::{Point, PointKind};
use recorder::MachineRef;

/// The machine, and a point at which nothing can be seen any more: for captures of what was
/// recorded and nothing else.
pub fn recorded(machine: &MachineRef) -> (Machine, Point) {
    let id = machine.id.parse().unwrap_or(MachineId::Written(machine.name.clone()));
    (
        Machine {
            id,
            name: machine.name.clone(),
            aliases: Vec::new(),
            kind: MachineKind::Vm,
            state: MachineState::Running,
            tenant: machine.tenant.clone(),
            vnics: Vec::new(),
            pid: None,
            namespace_path: None,
            since: None,
            evidence: Vec::new(),
        },
        Point {
            kind: PointKind::Port,
            refusal: None,
            vnics: Vec::new(),
            interfaces: Vec::new(),
            sees: String::new(),
            misses: Vec::new(),
            costs: String::new(),
            disturbs: String::new(),
        },
    )
}
