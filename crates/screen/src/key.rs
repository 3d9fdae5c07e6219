//! What a person presses, as far as a view knows it.

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// One up in a list.
    Up,
    /// One down in a list.
    Down,
    /// The pane before.
    Left,
    /// The next pane.
    Right,
    /// A page up in a list.
    PageUp,
    /// A page down in a list.
    PageDown,
    /// The first row.
    Home,
    /// The last row.
    End,
    /// The next pane.
    Tab,
    /// The pane before.
    BackTab,
    /// Yes, that one.
    Enter,
    /// No, back.
    Escape,
    /// The last character away.
    Backspace,
}

impl Key {
    /// How far it moves in a list, in rows.
    pub(crate) const fn step(self) -> Option<isize> {
        Some(match self {
            Self::Up | Self::Char('k') => -1,
            Self::Down | Self::Char('j') => 1,
            Self::PageUp => -PAGE,
            Self::PageDown => PAGE,
            Self::Home => -FAR,
            Self::End => FAR,
            _ => return None,
        })
    }
}

const PAGE: isize = 10;
/// Further than any list is long.
const FAR: isize = 1 << 20;
