//! The tools that a capture sends to, and whether they still may have its packets.

use std::time::SystemTime;

use agent::{Capture, Happened, ToolWanted};
use inventory::{Machine, Site};
use wire::Timestamp;

use super::explained;
use crate::exit::WrongUsage;
use crate::tools;

/// The tools that were named, each with a grant for the VM and a selection that is understood.
/// Without a VM the packets may be anybody's, and a tool must be allowed everybody's.
pub(super) fn wanted(
    names: Option<&str>,
    site: &Site,
    machine: Option<&Machine>,
) -> anyhow::Result<Vec<ToolWanted>> {
    let Some(names) = names else { return Ok(Vec::new()) };
    let named = tools::named(names)?;
    if named.len() > select::ToolSet::MOST {
        let most = select::ToolSet::MOST;
        return Err(WrongUsage(format!("a capture sends to {most} tools at most")).into());
    }
    let understood = |tool: broker::Tool| {
        let Some(machine) = machine else {
            if !tool.grant.everyone {
                anyhow::bail!(
                    "tool {} may not have every frame of a mirror, whosever it is: its grant is for \
                     {}; name a VM, or give the tool --all-tenants",
                    tool.name,
                    tool.grant
                );
            }
            let expression = tool.policy.select.as_deref().unwrap_or_default();
            let explained = explained(expression, site, &agent::every_machine())?;
            return Ok(ToolWanted { tool, explained });
        };
        let tenant = machine.tenant.as_deref();
        if !tool.grant.allows(tenant) {
            let owner = match tenant {
                Some(tenant) => format!("belongs to tenant {tenant}"),
                None => "belongs to no tenant".to_owned(),
            };
            anyhow::bail!(
                "tool {} may not have the packets of {}, which {owner}: its grant is for {}",
                tool.name,
                machine.name,
                tool.grant
            );
        }
        let expression = tool.policy.select.as_deref().unwrap_or_default();
        let explained = explained(expression, site, machine)?;
        Ok(ToolWanted { tool, explained })
    };
    named.into_iter().map(understood).collect()
}

/// Takes note of tools that were removed or whose grants have changed. A registry that cannot be
/// read allows nothing: nobody knows what it says.
pub(super) fn regranted(capture: &mut Capture) -> anyhow::Result<Vec<Happened>> {
    if capture.wanted().tools.is_empty() {
        return Ok(Vec::new());
    }
    let registry = tools::read().unwrap_or_default();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX));
    let grant =
        |name: &broker::ToolName| registry.one(name.as_str()).ok().map(|tool| tool.grant.clone());
    Ok(capture.regrant(grant, now)?)
}
