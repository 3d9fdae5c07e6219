//! The tools that packets of files are sent to, and whether they may have them.

use std::collections::BTreeSet;

use broker::Owner;
use files::{FeedTool, Request, ToolFeed};
use inventory::Wording;

use super::whose::Inventory;
use super::words;
use crate::exit::WrongUsage;
use crate::tools;

/// The tools that were named, each with a grant for all VMs that were. What was asked for without a
/// VM may be anybody's, and a tool must be allowed everybody's.
pub(super) fn wanted(
    names: &str,
    vms: &[String],
    inventory: &Inventory,
) -> anyhow::Result<Vec<FeedTool>> {
    let named = tools::named(names)?;
    if named.len() > select::ToolSet::MOST {
        let most = select::ToolSet::MOST;
        return Err(WrongUsage(format!("packets are sent to {most} tools at most")).into());
    }
    let owners = owners(vms, inventory)?;
    let understood = |tool: broker::Tool| {
        if let Some((vm, owner)) = owners.iter().find(|(_, o)| !o.is_allowed_by(&tool.grant)) {
            let why = match owner {
                Owner::Anybody => "of files, whosever they are".to_owned(),
                Owner::Tenant(Some(tenant)) => format!("of {vm}, which belongs to {tenant}"),
                Owner::Tenant(None) => format!("of {vm}, which belongs to no tenant"),
            };
            let hint = match owner {
                Owner::Anybody => "; name a VM (--vm), or give the tool --all-tenants",
                Owner::Tenant(_) => "",
            };
            anyhow::bail!(
                "tool {} may not have the packets {why}: its grant is for {}{hint}",
                tool.name,
                tool.grant
            );
        }
        let expression = tool.policy.select.clone().unwrap_or_default();
        let filter = words::parse_filter(&expression, inventory)?;
        Ok(FeedTool { tool, filter })
    };
    named.into_iter().map(understood).collect()
}

/// Opens the ways to the tools, if there are any.
pub(super) fn feed(tools: Vec<FeedTool>, request: &Request) -> anyhow::Result<Option<ToolFeed>> {
    if tools.is_empty() {
        return Ok(None);
    }
    let (section, ports) = (request.target.section.clone(), request.selection.ports.clone());
    let feed = ToolFeed::open(tools, section, ports, &request.stop);
    feed.map(Some).map_err(anyhow::Error::msg)
}

/// Whose packets those of these VMs are, or ever were: a tenant that a VM had for an hour owns the
/// packets of that hour.
fn owners(vms: &[String], inventory: &Inventory) -> anyhow::Result<Vec<(String, Owner)>> {
    if vms.is_empty() {
        return Ok(vec![(String::new(), Owner::Anybody)]);
    }
    let history = inventory.history().map_err(|error| anyhow::anyhow!(error.to_owned()))?;
    let mut owners = Vec::new();
    for vm in vms {
        // What is wrong with a name is said where it is asked for packets.
        let Ok(meaning) = history.meaning(Wording::Vm, vm) else { continue };
        let tenants: BTreeSet<Option<String>> =
            meaning.cards.iter().map(|card| card.episode.machine.tenant.clone()).collect();
        owners.extend(tenants.into_iter().map(|tenant| (vm.clone(), Owner::Tenant(tenant))));
    }
    Ok(owners)
}
