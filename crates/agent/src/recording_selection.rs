//! Which machines of a host are recorded: those named, those whose names fit a pattern, those of a
//! tenant. Asked again whenever the site changes, so machines that come later are among them.

use std::fmt;

use inventory::{Machine, Site, Unfound};

/// Machines, as a person selects them for a flight recorder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    words: Vec<String>,
    tenants: Vec<String>,
}

/// A selection that means nothing, or more than one machine by one name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectionError {
    /// Nothing is selected.
    #[error(
        "nothing is selected: give names like `web` or 'web-*', or --tenant; 'everything' is '*'"
    )]
    Empty,
    /// A word means several machines.
    #[error(transparent)]
    Ambiguous(#[from] Unfound),
}

impl Selection {
    /// Machines called so, with `*` and `?` as in a shell, and all of these tenants.
    ///
    /// # Errors
    /// When it is empty.
    pub fn new(words: &[String], tenants: &[String]) -> Result<Self, SelectionError> {
        if words.is_empty() && tenants.is_empty() {
            return Err(SelectionError::Empty);
        }
        Ok(Self { words: words.to_vec(), tenants: tenants.to_vec() })
    }

    /// The machines it means as the site is.
    ///
    /// # Errors
    /// When a word without a pattern means several.
    pub fn machines<'a>(&self, site: &'a Site) -> Result<Vec<&'a Machine>, SelectionError> {
        let mut named = Vec::new();
        for word in self.words.iter().filter(|word| !is_pattern(word)) {
            match site.one(word) {
                Ok(machine) => named.push(&machine.id),
                // It may come.
                Err(Unfound::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let patterns: Vec<&String> = self.words.iter().filter(|word| is_pattern(word)).collect();
        let is_meant = |machine: &&Machine| {
            let tenant = machine.tenant.as_ref();
            let mut names = std::iter::once(&machine.name).chain(&machine.aliases);
            named.contains(&&machine.id)
                || tenant.is_some_and(|tenant| self.tenants.contains(tenant))
                || names.any(|name| patterns.iter().any(|pattern| fits(pattern, name)))
        };
        Ok(site.machines.iter().filter(is_meant).collect())
    }

    /// Words and tenants that mean no machine as the site is.
    pub fn absent(&self, site: &Site) -> Vec<String> {
        let is_absent = |words: &[String], tenants: &[String]| {
            let one = Self { words: words.to_vec(), tenants: tenants.to_vec() };
            one.machines(site).is_ok_and(|found| found.is_empty())
        };
        let words = self.words.iter().filter(|word| is_absent(std::slice::from_ref(word), &[]));
        let tenants =
            self.tenants.iter().filter(|tenant| is_absent(&[], std::slice::from_ref(tenant)));
        words.cloned().chain(tenants.map(|tenant| format!("tenant {tenant}"))).collect()
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenants = self.tenants.iter().map(|tenant| format!("tenant {tenant}"));
        let all: Vec<String> = self.words.iter().cloned().chain(tenants).collect();
        f.write_str(&all.join(", "))
    }
}

fn is_pattern(word: &str) -> bool {
    word.contains(['*', '?'])
}

/// Whether a text fits a pattern of `*` (anything) and `?` (one character). Goes back to the last
/// `*` only, so it takes no longer than the product of both lengths.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some(wanted), Some(found)) if *wanted == '?' || wanted == found => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, taken)) => {
                    *taken += 1;
                    (p, t) = (*at + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{machine, site};

    fn names(words: &[&str], tenants: &[&str]) -> Vec<String> {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut other = machine("db", "vnet5", 5);
        other.tenant = Some("acme".into());
        let all = vec![machine("web-1", "vnet3", 3), machine("web-10", "vnet4", 4), other];
        let site = site(all);
        let selection = Selection::new(&own(words), &own(tenants)).unwrap();
        selection.machines(&site).unwrap().into_iter().map(|m| m.name.clone()).collect()
    }

    #[test]
    fn a_name_is_whole_a_pattern_is_not_and_a_tenant_has_all_of_its_machines() {
        assert_eq!(names(&["web-1"], &[]), ["web-1"]);
        assert_eq!(names(&["web-*"], &[]), ["web-1", "web-10"]);
        assert_eq!(names(&["web-?"], &[]), ["web-1"]);
        assert_eq!(names(&[], &["acme"]), ["db"]);
        assert_eq!(names(&["web-1"], &["acme"]), ["web-1", "db"]);
        assert_eq!(names(&["nobody"], &["other"]), [""; 0]);
        assert_eq!(names(&["*"], &[]).len(), 3);
        assert_eq!(Selection::new(&[], &[]), Err(SelectionError::Empty));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let selection = Selection::new(&["web".into(), "db-*".into()], &["acme".into()]).unwrap();
        let site = site(vec![machine("web", "vnet3", 3)]);
        assert_eq!(selection.absent(&site), ["db-*", "tenant acme"]);
    }

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, text, is_fit) in [
            ("*", "", true),
            ("a*b*c", "axxbyybzc", true),
            ("a*b*c", "axxbyybz", false),
            ("?", "", false),
            ("*?", "x", true),
            ("web", "web-1", false),
            ("*-1", "web-1-1", true),
        ] {
            assert_eq!(fits(pattern, text), is_fit, "{pattern} {text}");
        }
    }
}
