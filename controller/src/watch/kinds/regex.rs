//! Regular expressions in objects.

use super::Problem;

/// No expression may be longer, or need more memory than this when it is compiled.
const MAX_LENGTH: usize = 4096;
const MAX_SIZE: usize = 1024 * 1024;

/// Checks that proxies can compile an expression.
pub(super) fn check(field: &str, text: &str) -> Result<(), Problem> {
    if text.len() > MAX_LENGTH {
        let message = format!("is longer than {MAX_LENGTH} bytes");
        return Err(Problem::new(field, message));
    }
    match regex::RegexBuilder::new(text).size_limit(MAX_SIZE).build() {
        Ok(_) => Ok(()),
        // The library draws a picture over several lines, of which the last says it.
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            Err(Problem::new(field, format!("is no regular expression: {last}")))
        }
    }
}

/// An expression that matches `text` alone.
pub(super) fn literal(text: &str) -> String {
    regex::escape(text)
}
