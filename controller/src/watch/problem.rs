//! What is wrong with an object, in one line.

use std::fmt;

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// A path such as `spec.ports[0].port`; empty for the object as a whole.
    pub field: String,
    /// What is wrong, and what to do about it.
    pub message: String,
    /// Whether the object is used in spite of it.
    pub remark: bool,
}

/// Files are hostile: no more than this many bytes of one get into a message.
const MAX_MESSAGE: usize = 400;

// === impl Problem ===

impl Problem {
    /// `message` about `field`. Both are cut to a readable length and lose their control characters.
    pub fn new(field: impl AsRef<str>, message: impl fmt::Display) -> Self {
        let message = one_line(&message.to_string());
        Self { field: one_line(field.as_ref()), message, remark: false }
    }

    /// `message` about a `field` without which the object is used.
    pub fn remark(field: impl AsRef<str>, message: impl fmt::Display) -> Self {
        Self { remark: true, ..Self::new(field, message) }
    }

    /// Adds to the last of `problems` what follows from them all, so that it is one line; there is one at least.
    pub(crate) fn conclude(problems: &mut [Self], consequence: &str) {
        if let Some(last) = problems.last_mut() {
            last.message = format!("{}; {consequence}", last.message);
        }
    }

    /// The same problem seen from the object that holds the field's owner at `path`.
    pub(crate) fn within(mut self, path: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => path.to_owned(),
            field if field.starts_with('[') => format!("{path}{field}"),
            field => format!("{path}.{field}"),
        };
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

/// `text` without line breaks and control characters, cut at [`MAX_MESSAGE`] bytes.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_bounded_line() {
        let problem = Problem::new("a\nb", "x\r\n".repeat(1000));
        assert_eq!(problem.field, "a b");
        assert!(!problem.message.contains('\n'));
        assert!(problem.message.chars().count() <= MAX_MESSAGE + 1);
    }

    #[test]
    fn paths_are_joined_as_they_are_read() {
        let problem = |field| Problem::new(field, "x").within("spec.rules").field;
        assert_eq!(problem(""), "spec.rules");
        assert_eq!(problem("[0]"), "spec.rules[0]");
        assert_eq!(problem("from"), "spec.rules.from");
    }
}
