//! What the kernel decides about packets before they take room in a ring: one program for each
//! interface of a capture, made from whose packets there are the VM's and from the expression.

use plan::Point;
use select::bpf::{InKernel, MAX_INSTRUCTIONS, PointProgram, Program, TagPlace};
use select::{Filter, Ownership};
use wire::TunnelPorts;

/// What the programs of one capture are made from.
#[derive(Debug, Clone)]
pub struct KernelRules {
    filter: Option<Filter>,
    /// As the engine decodes with: those of all interfaces together.
    ports: TunnelPorts,
}

impl KernelRules {
    /// For a capture of these packets; nothing is known of interfaces yet.
    pub fn new(filter: Option<&Filter>) -> Self {
        Self { filter: filter.cloned(), ports: TunnelPorts::default() }
    }

    /// For a capture of these packets at `point`.
    pub fn at(point: &Point, filter: Option<&Filter>) -> Self {
        let mut rules = Self::new(filter);
        for interface in &point.interfaces {
            rules.add(&interface.ownership);
        }
        rules
    }

    /// Counts an interface in: an expression sees the tunnels of all of them at each.
    pub fn add(&mut self, ownership: &Ownership) {
        ownership.add_tunnel_ports(&mut self.ports);
    }

    /// Where tunnels are looked for.
    pub const fn ports(&self) -> &TunnelPorts {
        &self.ports
    }

    /// The program of an interface, of whose packets the first `kept` bytes are kept.
    pub fn program(&self, ownership: &Ownership, kept: u32) -> PointProgram {
        self.within(ownership, kept, MAX_INSTRUCTIONS)
    }

    /// Has the best program attached that the kernel takes; `attach` says when it takes one.
    ///
    /// How long a program may be depends on the kernel's translation and on
    /// `net.core.optmem_max`, so it is tried.
    pub(crate) fn attach<T, E>(
        &self,
        ownership: &Ownership,
        kept: u32,
        is_too_long: impl Fn(&E) -> bool,
        mut attach: impl FnMut(&Program) -> Result<T, E>,
    ) -> Result<(T, InKernel), E> {
        let mut shorter = SHORTER.iter();
        let mut best = self.program(ownership, kept);
        loop {
            let error = match attach(&best.program) {
                Ok(attached) => return Ok((attached, best.expression)),
                Err(error) => error,
            };
            let len = best.program.len();
            let Some(limit) = shorter.find(|limit| **limit < len).filter(|_| is_too_long(&error))
            else {
                return Err(error);
            };
            best = self.within(ownership, kept, *limit);
        }
    }

    fn within(&self, ownership: &Ownership, kept: u32, limit: usize) -> PointProgram {
        let (filter, place) = (self.filter.as_ref(), TagPlace::MetadataOrBytes);
        PointProgram::new(ownership, filter, &self.ports, kept, place, limit)
    }
}

/// The lengths that are tried when the kernel refuses a longer program.
const SHORTER: [usize; 8] = [2048, 1024, 512, 384, 256, 192, 128, 64];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_takes_only_short_programs_gets_a_shorter_one() {
        let filter = Filter::parse("tcp port 443").unwrap();
        let rules = KernelRules::new(Some(&filter));
        for most in [10, 100, 200, 300, 400, 500] {
            let attach = |program: &Program| match program.len() {
                len if len <= most => Ok(len),
                len => Err(len),
            };
            let (len, in_kernel) = rules.attach(&Ownership::Whole, 0, |_| true, attach).unwrap();
            let is_left = in_kernel == InKernel::Left([select::bpf::Passed::TooLong].into());
            assert_eq!((len == 0, is_left), (most < 113, most < 113), "{most}: {len}");
        }
        let refused = rules.attach(&Ownership::Whole, 0, |_| false, |_| Err::<(), _>("no right"));
        assert_eq!(refused, Err("no right"), "whatever else is wrong is not tried again");
    }
}
