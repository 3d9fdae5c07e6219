//! `--to ids-1`: a tool of the registry as the destination of a mirror, within its grant.
//!
//! A switch copies whole frames of whole ports. A tool that wants anything done to its packets, or
//! another encapsulation, gets them by `overtap capture --to`, which looks at each.

use broker::{Grant, Outlet, Policy, Tool};
use inventory::Machine;
use plan::mirror::{Destination, Encapsulation, Tunnel};
use wire::Timestamp;

use crate::exit::WrongUsage;
use crate::tools;

/// Where a mirror goes, and whose packets may go there.
pub(super) struct Addressee {
    /// Where to.
    pub(super) destination: Destination,
    /// What it was called.
    pub(super) name: String,
    /// Whose packets it may have; `None` for an address that a person gave, who answers for it.
    grant: Option<Grant>,
}

impl Addressee {
    /// Reads a destination or a tool's name.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let written = text.parse::<Destination>();
        if text.contains(':') {
            let destination = written.map_err(|error| WrongUsage(error.to_string()))?;
            return Ok(Self { name: destination.to_string(), destination, grant: None });
        }
        let registry = tools::read()?;
        let tool = registry.one(text).map_err(|error| {
            WrongUsage(match written {
                Err(forms) => format!("{error}; {forms}"),
                Ok(_) => error.to_string(),
            })
        })?;
        let destination = destination(tool).map_err(|reason| {
            WrongUsage(format!(
                "no mirror can serve {text}: {reason}; it can have them by overtap capture VM --to \
                 {text}"
            ))
        })?;
        let name = format!("{text} ({destination})");
        Ok(Self { destination, name, grant: Some(tool.grant.clone()) })
    }

    /// Those of the machines whose packets may go there, and a sentence for each whose may not.
    pub(super) fn permitted<'a>(
        &self,
        machines: Vec<&'a Machine>,
    ) -> (Vec<&'a Machine>, Vec<String>) {
        let Some(grant) = &self.grant else { return (machines, Vec::new()) };
        let (allowed, refused): (Vec<_>, Vec<_>) =
            machines.into_iter().partition(|machine| grant.allows(machine.tenant.as_deref()));
        let sentence = |machine: &&Machine| {
            let tenant = machine.tenant.as_deref().unwrap_or("no tenant");
            format!("{} of {tenant} is not mirrored: its grant is for {grant}", machine.name)
        };
        (allowed, refused.iter().map(sentence).collect())
    }

    /// When the permission ends.
    pub(super) fn until(&self) -> Option<Timestamp> {
        self.grant.as_ref().and_then(|grant| grant.until_ns)
    }
}

/// How a switch can reach a tool, or why it cannot.
fn destination(tool: &Tool) -> Result<Destination, String> {
    // What becomes of copies that are too long is said by the mirror's own words.
    let plain = Policy { oversized: tool.policy.oversized, ..Policy::default() };
    if tool.policy != plain {
        return Err("its policy wants something done to each packet".into());
    }
    let tunnel = |encapsulation, remote, udp_port, number| {
        Ok(Destination::Tunnel(Tunnel { encapsulation, remote, udp_port, number }))
    };
    let other_than = |port: u16, own: u16| (port != own).then_some(port);
    match &tool.outlet {
        Outlet::Vxlan { target, port, vni } => {
            tunnel(Encapsulation::Vxlan, *target, other_than(*port, 4789), vni.value())
        }
        Outlet::Geneve { target, port, vni } => {
            tunnel(Encapsulation::Geneve, *target, other_than(*port, 6081), vni.value())
        }
        Outlet::Gre { target, key: Some(key) } => tunnel(Encapsulation::Gre, *target, None, *key),
        Outlet::Gre { key: None, .. } => Err("a switch's GRE needs a key".into()),
        Outlet::Erspan2 { target, session } => {
            tunnel(Encapsulation::ErspanII { index: 0 }, *target, None, session.value().into())
        }
        Outlet::Erspan3 { target, session } => {
            tunnel(Encapsulation::ErspanIII { hardware: 0 }, *target, None, session.value().into())
        }
        Outlet::Rspan { interface, .. } => Err(format!(
            "a switch's RSPAN leaves by every port that carries the VLAN, not by {interface} alone; \
             if that is meant: --to vlan:N"
        )),
        other => Err(format!("a switch cannot make {}", other.encapsulation())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(outlet: &str, policy: &str) -> Tool {
        let text = format!(
            "[[tool]]\nname = \"ids\"\n[tool.grant]\ntenants = [\"acme\"]\n[tool.outlet]\n{outlet}\n[tool.policy]\n{policy}"
        );
        broker::Registry::parse(&text).unwrap().one("ids").unwrap().clone()
    }

    #[test]
    fn what_a_switch_can_make_is_made_as_the_tool_wants_it() {
        for (outlet, wanted) in [
            ("encapsulation='vxlan'\ntarget='10.0.0.9'\nvni=7", "vxlan://10.0.0.9?vni=7"),
            (
                "encapsulation='geneve'\ntarget='10.0.0.9'\nport=7\nvni=7",
                "geneve://10.0.0.9:7?vni=7",
            ),
            ("encapsulation='gre'\ntarget='10.0.0.9'\nkey=9", "gre://10.0.0.9?key=9"),
            (
                "encapsulation='erspan-2'\ntarget='10.0.0.9'\nsession=5",
                "erspan://10.0.0.9?session=5",
            ),
            (
                "encapsulation='erspan-3'\ntarget='10.0.0.9'\nsession=5",
                "erspan://10.0.0.9?session=5&type=3",
            ),
        ] {
            assert_eq!(destination(&tool(outlet, "")).unwrap().to_string(), wanted);
        }
    }

    #[test]
    fn what_only_a_look_at_each_packet_can_give_is_refused() {
        let vxlan = "encapsulation='vxlan'\ntarget='10.0.0.9'\nvni=7";
        for (outlet, policy, reason) in [
            (vxlan, "slice='128'", "policy"),
            (vxlan, "select='tcp'", "policy"),
            ("encapsulation='gre'\ntarget='10.0.0.9'", "", "needs a key"),
            ("encapsulation='tzsp'\ntarget='10.0.0.9'", "", "cannot make tzsp"),
            ("encapsulation='rspan'\ninterface='up0'\nvlan=9", "", "by every port"),
        ] {
            let error = destination(&tool(outlet, policy)).unwrap_err();
            assert!(error.contains(reason), "{outlet}: {error}");
        }
    }
}
