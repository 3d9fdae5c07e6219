//! The line in which an expression is typed, and what is wrong with it as one types.

use crate::Key;

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, in characters from 1.
    pub column: usize,
    /// How many characters are wrong, at least 1.
    pub width: usize,
    /// What is wrong there.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

/// The expression that holds, and the one that is being typed.
#[derive(Debug)]
pub(super) struct FilterLine {
    /// What holds.
    pub(super) applied: String,
    /// What is typed, while it is.
    pub(super) typed: Option<String>,
    /// What is wrong with that.
    pub(super) fault: Option<Fault>,
}

impl FilterLine {
    pub(super) const fn new(applied: String) -> Self {
        Self { applied, typed: None, fault: None }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.typed.is_some()
    }

    /// Begins to type, with what holds.
    pub(super) fn open(&mut self) {
        self.typed = Some(self.applied.clone());
    }

    /// Takes a key; gives back the expression once it is whole and right.
    pub(super) fn press(
        &mut self,
        key: Key,
        check: &dyn Fn(&str) -> Option<Fault>,
    ) -> Option<String> {
        let typed = self.typed.as_mut()?;
        match key {
            Key::Char(character) => typed.push(character),
            Key::Backspace => drop(typed.pop()),
            Key::Escape => {
                (self.typed, self.fault) = (None, None);
                return None;
            }
            Key::Enter if self.fault.is_none() => {
                self.applied = self.typed.take().unwrap_or_default();
                return Some(self.applied.clone());
            }
            _ => return None,
        }
        self.fault = if typed.trim().is_empty() { None } else { check(typed) };
        None
    }
}
