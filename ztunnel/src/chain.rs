//! Errors with what lies behind them, on one line.

use std::error::Error;
use std::fmt;

/// An error followed by its causes.
pub(crate) struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn causes_follow() {
        assert_eq!(Chain(&Outer(io::Error::other("inner"))).to_string(), "outer: inner");
        assert_eq!(Chain(&io::Error::other("alone")).to_string(), "alone");
    }
}
