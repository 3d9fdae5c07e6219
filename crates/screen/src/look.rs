//! How things stand out. Colour only repeats what a word, a mark or bold type says already.

use ratatui::style::{Color, Modifier, Style};

/// With colours or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// The terminal's own sixteen colours, so that its theme holds.
    #[default]
    Coloured,
    /// Bold, dim and reversed alone: for `NO_COLOR` (no-color.org).
    Plain,
}

impl Look {
    /// What a pane or a column is called.
    pub(crate) fn title(self) -> Style {
        self.with(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is less important.
    pub(crate) fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// What somebody must see; its words say why.
    pub(crate) fn alarm(self) -> Style {
        self.with(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is well.
    pub(crate) fn good(self) -> Style {
        self.with(Color::Green)
    }

    /// The row that the cursor is on.
    pub(crate) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What counts most in a line.
    pub(crate) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn with(self, color: Color) -> Style {
        match self {
            Self::Coloured => Style::new().fg(color),
            Self::Plain => Style::new(),
        }
    }
}
