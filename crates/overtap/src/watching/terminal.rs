//! The terminal: taken over, drawn on, asked for keys, and given back whatever happens.

use std::io::{self, IsTerminal, Stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use ratatui::Frame;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};
use screen::{Key, Look};

use crate::exit::WrongUsage;

/// A terminal that was taken over; dropped, it is as it was before.
pub(crate) struct Terminal {
    inner: ratatui::Terminal<CrosstermBackend<Stdout>>,
}

/// What came from whoever sits there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// A key of the view.
    Key(Key),
    /// Ctrl-C: out of here.
    Interrupt,
    /// The size has changed, or a key means nothing: to be drawn anew.
    Other,
}

impl Terminal {
    /// Takes the terminal over.
    pub(crate) fn take() -> anyhow::Result<Self> {
        give_back_on_panic();
        // Made first: whatever fails from here on, dropping it gives the terminal back.
        let inner = ratatui::Terminal::new(CrosstermBackend::new(io::stdout()));
        let terminal = Self { inner: inner.context("the terminal has no size")? };
        enable_raw_mode().context("cannot read single keys from the terminal")?;
        execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)?;
        Ok(terminal)
    }

    /// Draws what is different from what was drawn before.
    pub(crate) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.inner.draw(view).map(drop)
    }

    /// What comes within `longest`, if anything does.
    ///
    /// # Errors
    /// The terminal's; and when another thread has failed, which has given the terminal back.
    pub(crate) fn next(&self, longest: Duration) -> io::Result<Option<Input>> {
        if HAS_PANICKED.load(Ordering::Relaxed) {
            return Err(io::Error::other("a part of it has failed"));
        }
        let is_there = match event::poll(longest) {
            // A signal: whoever asks looks for those.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
            is_there => is_there?,
        };
        Ok(if is_there { Some(input(&event::read()?)) } else { None })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// How views look here: `NO_COLOR`, not empty, means without colours (no-color.org).
pub(crate) fn look() -> Look {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if is_plain { Look::Plain } else { Look::Coloured }
}

/// Refuses to draw where nobody could see it; `instead` is what can be had there.
pub(crate) fn needs_terminal(what: &str, instead: &str) -> Result<(), WrongUsage> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    if io::stdout().is_terminal() && io::stdin().is_terminal() && !is_dumb {
        return Ok(());
    }
    Err(WrongUsage(format!("{what} fills a terminal, and this is none; without: {instead}")))
}

fn input(event: &Event) -> Input {
    let Event::Key(pressed) = event else { return Input::Other };
    if pressed.kind == KeyEventKind::Release {
        return Input::Other;
    }
    if pressed.modifiers.contains(KeyModifiers::CONTROL) {
        let is_interrupt = matches!(pressed.code, KeyCode::Char('c'));
        return if is_interrupt { Input::Interrupt } else { Input::Other };
    }
    Input::Key(match pressed.code {
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return Input::Other,
    })
}

/// A panic is told on the terminal as it was, not in the middle of a picture that goes away.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            give_back();
            tell(info);
            HAS_PANICKED.store(true, Ordering::Relaxed);
        }));
    });
}

/// Whether any thread has panicked: nothing is drawn from then on.
static HAS_PANICKED: AtomicBool = AtomicBool::new(false);

fn give_back() {
    // A terminal that is gone needs nothing.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    let _ = disable_raw_mode();
}
