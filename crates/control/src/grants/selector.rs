//! Which machines: the words that grants and growing selections name them with.

use std::fmt;
use std::str::FromStr;

use inventory::MachineId;
use serde::{Deserialize, Serialize};

use crate::grants::MachineFacts;

/// Some machines, whether they exist already or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Selector {
    /// `all`: every machine of every tenant and of none.
    All,
    /// `tenant:acme`: every machine that belongs to this tenant.
    Tenant(String),
    /// `vm:web-*`, `vm:acme/web-*`, `vm:*/web-*`: by name.
    Name {
        /// Whose. A name alone never crosses tenants: whoever may name machines in one tenant
        /// would choose what a grant for another means.
        owner: Owner,
        /// What it is called now.
        name: Glob,
    },
    /// `id:uuid:3f2a…`: this one machine, whatever its name and whoever owns it.
    Id(MachineId),
}

impl Selector {
    /// Whether `machine` is one of them.
    pub fn matches(&self, machine: &MachineFacts) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(tenant) => machine.tenant.as_ref() == Some(tenant),
            Self::Name { owner, name } => {
                owner.matches(machine.tenant.as_deref()) && name.matches(&machine.name)
            }
            Self::Id(id) => *id == machine.id,
        }
    }

    /// Whether a machine of which only tenant and name are known is one of them. One that is
    /// selected by its id never is.
    pub fn matches_name(&self, tenant: Option<&str>, machine: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tenant(own) => tenant == Some(own),
            Self::Name { owner, name } => owner.matches(tenant) && name.matches(machine),
            Self::Id(_) => false,
        }
    }

    /// Whether every machine that `other` can ever select is one of them. Cautious: for some
    /// pairs of globs of which that is true it says no.
    pub fn includes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Tenant(own), Self::Tenant(theirs)) => own == theirs,
            (Self::Tenant(own), Self::Name { owner: Owner::Tenant(theirs), .. }) => own == theirs,
            (Self::Name { owner, name }, Self::Name { owner: theirs, name: narrower }) => {
                (*owner == Owner::Anyone || owner == theirs) && name.includes(narrower)
            }
            (Self::Name { owner, name }, Self::Tenant(tenant)) => {
                owner.matches(Some(tenant)) && name.is_everything()
            }
            (Self::Name { owner: Owner::Anyone, name }, Self::All) => name.is_everything(),
            (Self::Id(own), Self::Id(theirs)) => own == theirs,
            _ => false,
        }
    }
}

/// Whose a machine must be for its name to count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// No tenant's.
    Nobody,
    /// This tenant's.
    Tenant(String),
    /// Any tenant's or none's.
    Anyone,
}

impl Owner {
    fn matches(&self, tenant: Option<&str>) -> bool {
        match self {
            Self::Nobody => tenant.is_none(),
            Self::Tenant(own) => tenant == Some(own),
            Self::Anyone => true,
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Tenant(tenant) => write!(f, "tenant:{tenant}"),
            Self::Name { owner: Owner::Nobody, name } => write!(f, "vm:{}", name.0),
            Self::Name { owner: Owner::Anyone, name } => write!(f, "vm:*/{}", name.0),
            Self::Name { owner: Owner::Tenant(tenant), name } => {
                write!(f, "vm:{tenant}/{}", name.0)
            }
            Self::Id(id) => write!(f, "id:{id}"),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(|| SelectorError::kind(text))?;
        match kind {
            _ if rest.is_empty() || rest.len() > MOST_BYTES => Err(SelectorError::Length),
            "tenant" if rest.contains(['*', '?']) => Err(SelectorError::Tenant),
            "tenant" => Ok(Self::Tenant(rest.to_owned())),
            "id" => rest.parse().map(Self::Id).map_err(|_| SelectorError::Id),
            "vm" => {
                let (owner, name) = match rest.split_once('/') {
                    None => (Owner::Nobody, rest),
                    Some(("*", name)) => (Owner::Anyone, name),
                    Some((tenant, _)) if tenant.is_empty() || tenant.contains(['*', '?']) => {
                        return Err(SelectorError::Tenant);
                    }
                    Some((tenant, name)) => (Owner::Tenant(tenant.to_owned()), name),
                };
                Ok(Self::Name { owner, name: Glob::new(name).ok_or(SelectorError::Length)? })
            }
            _ => Err(SelectorError::kind(text)),
        }
    }
}

/// A name in which `*` stands for any letters and `?` for any one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(String);

impl Glob {
    /// Returns `None` if `text` is empty or longer than 256 bytes.
    pub fn new(text: &str) -> Option<Self> {
        matches!(text.len(), 1..=MOST_BYTES).then(|| Self(text.to_owned()))
    }

    /// Whether `name` fits, all of it.
    pub fn matches(&self, name: &str) -> bool {
        self.fits(name, |own, theirs| own == '?' || own == theirs)
    }

    /// Whether every name that fits `other` fits this too. Cautious: `a*?` and `a?*` fit the same
    /// names and are told apart.
    fn includes(&self, other: &Self) -> bool {
        // Their star fits only into ours: nothing else takes as many letters as it may stand for.
        self.fits(&other.0, |own, theirs| theirs != '*' && (own == '?' || own == theirs))
    }

    fn is_everything(&self) -> bool {
        self.0.chars().all(|c| c == '*')
    }

    /// Walks both texts once, going back to the last star only: at worst the product of their
    /// lengths, never more.
    fn fits(&self, text: &str, fits: impl Fn(char, char) -> bool) -> bool {
        let mut pattern = self.0.chars();
        let mut rest = text.chars();
        let mut last_star = None;
        loop {
            let before = rest.clone();
            match (pattern.next(), rest.next()) {
                (Some('*'), _) => {
                    rest = before.clone();
                    last_star = Some((pattern.clone(), before));
                }
                (Some(own), Some(theirs)) if fits(own, theirs) => {}
                (None, None) => return true,
                _ => {
                    let Some((after_star, mut left)) = last_star else { return false };
                    // The star takes one letter more.
                    if left.next().is_none() {
                        return false;
                    }
                    (pattern, rest) = (after_star.clone(), left.clone());
                    last_star = Some((after_star, left));
                }
            }
        }
    }
}

/// A text that names no machines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// None of the words.
    #[error(
        "`{0}` selects no machines; write all, tenant:NAME, vm:NAME, vm:TENANT/NAME or id:ID \
         (`*` and `?` may stand in a vm's name; vm:*/NAME for any tenant)"
    )]
    Kind(String),
    /// A pattern where a tenant is named.
    #[error("a tenant is named exactly; only vm:*/NAME and `all` reach across tenants")]
    Tenant,
    /// Not the id of a machine.
    #[error("not the id of a machine; `overtap find --output json` shows it, as in id:uuid:3f2a…")]
    Id,
    /// Nothing, or too much.
    #[error("a name has 1 to {MOST_BYTES} bytes")]
    Length,
}

impl SelectorError {
    fn kind(text: &str) -> Self {
        Self::Kind(text.chars().take(64).collect())
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> String {
        selector.to_string()
    }
}

const MOST_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine(id: &str, name: &str, tenant: Option<&str>) -> MachineFacts {
        let id = format!("written:{id}").parse().unwrap();
        MachineFacts { id, name: name.to_owned(), tenant: tenant.map(str::to_owned) }
    }

    fn glob(text: &str) -> Glob {
        Glob::new(text).unwrap()
    }

    #[test]
    fn each_word_selects_what_it_says() {
        let acme = machine("1", "web-01", Some("acme"));
        let other = machine("2", "web-01", Some("other"));
        let own = machine("3", "web-01", None);
        let cases = [
            ("all", [true, true, true]),
            ("tenant:acme", [true, false, false]),
            ("tenant:web-01", [false, false, false]),
            ("vm:web-*", [false, false, true]),
            ("vm:acme/web-??", [true, false, false]),
            ("vm:acme/web-?", [false, false, false]),
            ("vm:*/web-*", [true, true, true]),
            ("id:written:2", [false, true, false]),
        ];
        for (text, expected) in cases {
            let selector: Selector = text.parse().unwrap();
            assert_eq!(selector.to_string(), text);
            assert_eq!([&acme, &other, &own].map(|m| selector.matches(m)), expected, "{text}");
        }
    }

    #[test]
    fn what_selects_nothing_is_said() {
        let cases = [
            ("web-01", SelectorError::Kind("web-01".into())),
            ("ip:10.0.0.1", SelectorError::Kind("ip:10.0.0.1".into())),
            ("tenant:*", SelectorError::Tenant),
            ("vm:ac*/web", SelectorError::Tenant),
            ("vm:/web", SelectorError::Tenant),
            ("vm:acme/", SelectorError::Length),
            ("tenant:", SelectorError::Length),
            ("id:web-01", SelectorError::Id),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Selector>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_selector_includes_what_lies_within_it() {
        let within = [
            ("all", "vm:*/x"),
            ("tenant:acme", "vm:acme/web-*"),
            ("tenant:acme", "tenant:acme"),
            ("vm:acme/*", "tenant:acme"),
            ("vm:*/*", "all"),
            ("vm:acme/web-*", "vm:acme/web-1*"),
            ("vm:*/web-*", "vm:web-0?"),
            ("id:written:1", "id:written:1"),
        ];
        let outside = [
            ("tenant:acme", "all"),
            ("tenant:acme", "tenant:other"),
            ("tenant:acme", "vm:*/web"),
            ("tenant:acme", "vm:web"),
            ("tenant:acme", "id:written:1"),
            ("vm:acme/web-*", "tenant:acme"),
            ("vm:acme/web-?", "vm:acme/web-*"),
            ("vm:web-*", "vm:acme/web-*"),
            ("vm:*", "all"),
            ("id:written:1", "all"),
        ];
        let includes = |(wide, narrow): (&str, &str)| {
            wide.parse::<Selector>().unwrap().includes(&narrow.parse().unwrap())
        };
        for pair in within {
            assert!(includes(pair), "{pair:?}");
        }
        for pair in outside {
            assert!(!includes(pair), "{pair:?}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern = glob(&("a*".repeat(127) + "c"));
        let began = std::time::Instant::now();
        assert!(!pattern.matches(&("a".repeat(10_000) + "b")));
        assert!(began.elapsed().as_secs() < 2);
    }

    /// The plain definition, exponential and right.
    fn slow(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', pattern @ ..], _) => (0..=text.len()).any(|taken| slow(pattern, &text[taken..])),
            (['?', pattern @ ..], [_, text @ ..]) => slow(pattern, text),
            ([p, pattern @ ..], [t, text @ ..]) => p == t && slow(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_glob_matches_as_its_definition_says(pattern in "[ab*?]{1,6}", text in "[ab]{0,7}") {
            let chars = |t: &str| t.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern).matches(&text), slow(&chars(&pattern), &chars(&text)));
        }

        #[test]
        fn what_is_included_matches_nothing_more(
            wide in "[ab*?]{1,5}", narrow in "[ab*?]{1,5}", text in "[ab]{0,6}"
        ) {
            if glob(&wide).includes(&glob(&narrow)) && glob(&narrow).matches(&text) {
                prop_assert!(glob(&wide).matches(&text));
            }
        }
    }
}
