//! Lines for people: plain in files and pipes, with a little colour on a terminal.

use std::io::{IsTerminal, Write};

/// Writes lines to standard output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    colour: bool,
}

/// How a line stands out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Style {
    /// It does not.
    Plain,
    /// A heading.
    Title,
    /// Something the user could type.
    Command,
    /// Good.
    Good,
    /// Bad.
    Bad,
    /// Unimportant.
    Faint,
}

// === impl Terminal ===

impl Terminal {
    /// Standard output, with colour where it is a terminal and `NO_COLOR` is not set.
    pub(crate) fn standard() -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { colour }
    }

    /// Writes one line.
    pub(crate) fn line(self, style: Style, text: &str) {
        let code = match style {
            Style::Plain => "",
            Style::Title => "\x1b[1m",
            Style::Command => "\x1b[36m",
            Style::Good => "\x1b[32m",
            Style::Bad => "\x1b[31m",
            Style::Faint => "\x1b[2m",
        };
        let mut out = std::io::stdout().lock();
        // Nobody reads any more: that is not worth ending for.
        let _ = match (self.colour, code) {
            (false, _) | (_, "") => writeln!(out, "{text}"),
            (true, code) => writeln!(out, "{code}{text}\x1b[0m"),
        };
    }
}
