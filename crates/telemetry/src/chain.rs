//! Errors with what lies behind them, on one line.

use std::error::Error;
use std::fmt;

/// Shows an error followed by its causes, without those that the text has named already.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let inner = error.to_string();
            if !text.contains(&inner) {
                text = format!("{text}: {inner}");
            }
            cause = error.source();
        }
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug)]
    struct Outer(&'static str, io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.1)
        }
    }

    #[test]
    fn causes_follow_once() {
        let inner = || io::Error::other("inner");
        assert_eq!(Chain(&Outer("outer", inner())).to_string(), "outer: inner");
        assert_eq!(Chain(&Outer("inner; do this", inner())).to_string(), "inner; do this");
        assert_eq!(Chain(&inner()).to_string(), "inner");
    }
}
