//! From these VMs to these observation points with these filters.
