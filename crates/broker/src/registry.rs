//! The tools that are known here, as one document in TOML: a `[[tool]]` for each.
//!
//! Reading and writing the file is the program's.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Tool, ToolName};

/// All tools, each name once, in the order in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    #[serde(default, rename = "tool", skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool>,
}

impl Registry {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it, with line and column; or which name is there twice.
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        let read: Self = toml::from_str(text)
            .map_err(|error| RegistryError::Misread(error.to_string().trim_end().to_owned()))?;
        let mut registry = Self::default();
        for tool in read.tools {
            registry.add(tool)?;
        }
        Ok(registry)
    }

    /// The document.
    ///
    /// # Errors
    /// Never, for what [`parse`](Self::parse) and [`add`](Self::add) let in.
    pub fn text(&self) -> Result<String, RegistryError> {
        toml::to_string(self).map_err(|error| RegistryError::Misread(error.to_string()))
    }

    /// Adds a tool.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn add(&mut self, tool: Tool) -> Result<(), RegistryError> {
        if self.tools.iter().any(|known| known.name == tool.name) {
            return Err(RegistryError::Known(tool.name));
        }
        self.tools.push(tool);
        Ok(())
    }

    /// Takes a tool out.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<Tool, RegistryError> {
        let at = self.tools.iter().position(|tool| tool.name.as_str() == name);
        at.map(|at| self.tools.remove(at)).ok_or_else(|| self.unknown(name))
    }

    /// The tool that is called so.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn one(&self, name: &str) -> Result<&Tool, RegistryError> {
        let found = self.tools.iter().find(|tool| tool.name.as_str() == name);
        found.ok_or_else(|| self.unknown(name))
    }

    /// All of them.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    fn unknown(&self, name: &str) -> RegistryError {
        let known = self.tools.iter().map(|tool| tool.name.clone()).collect();
        RegistryError::Unknown { name: name.to_owned(), known }
    }
}

/// What is wrong with the registry or a name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    /// The document cannot be understood.
    Misread(String),
    /// There is a tool of that name.
    Known(ToolName),
    /// There is none of that name.
    Unknown {
        /// The name.
        name: String,
        /// The tools there are.
        known: Vec<ToolName>,
    },
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misread(what) => f.write_str(what),
            Self::Known(name) => {
                write!(f, "there is a tool {name}; remove it first: overtap tools remove {name}")
            }
            Self::Unknown { name, known } if known.is_empty() => {
                write!(f, "there is no tool {name}, nor any other; see overtap tools add --help")
            }
            Self::Unknown { name, known } => {
                let known: Vec<&str> = known.iter().map(ToolName::as_str).collect();
                write!(f, "there is no tool {name}; there are {}", known.join(", "))
            }
        }
    }
}

impl std::error::Error for RegistryError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grant, Mask, MaskField, Mtu, Outlet, Oversized, Policy, Slice};

    /// A tool with a word in every place.
    const WHOLE: &str = "\
[[tool]]
name = \"ids-1\"
mtu = 1500

[tool.grant]
tenants = [\"acme\"]

[tool.outlet]
encapsulation = \"vxlan\"
target = \"10.0.0.9\"
port = 4789
vni = 42

[tool.policy]
select = \"tcp port 443\"
dedup = true
sample = 10
strip = \"vlan,vntag\"
mask = \"payload\"
slice = \"headers+32\"
oversized = \"segment\"
rate_bps = 100000000
";

    #[test]
    fn a_document_is_read_and_written_again() {
        let registry = Registry::parse(WHOLE).unwrap();
        let [tool] = registry.tools() else { panic!("one tool") };
        let expected = Tool {
            name: "ids-1".parse().unwrap(),
            grant: Grant { tenants: ["acme".to_owned()].into(), ..Grant::default() },
            mtu: Some(Mtu::ETHERNET),
            outlet: Outlet::Vxlan {
                target: [10, 0, 0, 9].into(),
                port: 4789,
                vni: wire::Vni::new(42).unwrap(),
            },
            policy: Policy {
                select: Some("tcp port 443".into()),
                dedup: true,
                sample: 10.try_into().ok(),
                strip: Some("vlan,vntag".parse().unwrap()),
                mask: Some(Mask::default().and(MaskField::Payload)),
                slice: Some(Slice::AfterHeaders(32)),
                oversized: Oversized::Segment,
                rate_bps: 100_000_000.try_into().ok(),
            },
        };
        assert_eq!(*tool, expected);
        assert_eq!(registry.text().unwrap(), WHOLE);
    }

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let text =
            "[[tool]]\nname = \"a\"\noutlet = { encapsulation = \"tzsp\", target = \"::1\" }";
        let registry = Registry::parse(text).unwrap();
        let [tool] = registry.tools() else { panic!("one tool") };
        assert_eq!(tool.outlet.to_string(), "tzsp ::1");
        assert_eq!(tool.policy, Policy::default());
        assert!(tool.grant.allows(None), "VMs without a tenant");
        assert!(!tool.grant.allows(Some("acme")), "and no others");
    }

    #[test]
    fn a_grant_for_one_tenant_is_for_no_other() {
        let grant = Grant { tenants: ["acme".to_owned()].into(), ..Grant::default() };
        assert!(grant.allows(Some("acme")));
        assert!(!grant.allows(Some("globex")));
        assert!(!grant.allows(None));
        let everyone = Grant { everyone: true, ..Grant::default() };
        assert!(everyone.allows(Some("globex")) && everyone.allows(None));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (from, to, told) in [
            ("vni = 42", "vni = 16777216", "VNI 16777216 needs over 24 bits"),
            ("mtu = 1500", "mtu = 100", "an MTU of 100 is too small"),
            ("ids-1", "a b", "not a tool's name"),
            ("payload", "password", "`password` is no field that can be masked"),
            ("sample = 10", "sampel = 10", "unknown field `sampel`"),
            ("sample = 10", "sample = 0", "nonzero"),
        ] {
            let error = Registry::parse(&WHOLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
            assert!(error.contains("line"), "{error}");
        }
        let twice = format!("{WHOLE}{WHOLE}");
        assert_eq!(Registry::parse(&twice), Err(RegistryError::Known("ids-1".parse().unwrap())));
    }
}
