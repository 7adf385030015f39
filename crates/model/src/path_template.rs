//! Path templates, `/users/{*}/files/{**}`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Str;

/// A path in which `{*}` stands for one segment and `{**}` for any number of them. The shape is that of Istio's
/// AuthorizationPolicy: an operator is a whole segment, and `{**}` is the last one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathTemplate(Str);

/// A segment of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateSegment<'a> {
    /// This text.
    Literal(&'a str),
    /// `{*}`: anything but nothing, up to the next slash.
    One,
    /// `{**}`: anything, slashes included.
    Any,
}

/// A text that is no template.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{template:?} is no path template: {reason}")]
pub struct ParseTemplateError {
    /// What was read.
    pub template: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

// === impl PathTemplate ===

impl PathTemplate {
    /// Whether `path` is written as a template, well or not.
    pub fn is_template(path: &str) -> bool {
        path.contains("{*}") || path.contains("{**}")
    }

    /// The text between the slashes after the first one.
    pub fn segments(&self) -> impl Iterator<Item = TemplateSegment<'_>> {
        self.0.split('/').skip(1).map(TemplateSegment::of)
    }

    /// The template as it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathTemplate {
    type Err = ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| Err(ParseTemplateError { template: text.to_owned(), reason });
        let template = Self(text.into());
        let mut seen_any = false;
        if !text.starts_with('/') {
            return invalid("it has to begin with a slash");
        }
        for segment in template.segments() {
            match segment {
                TemplateSegment::Literal(literal) if literal.contains(['*', '{', '}']) => {
                    return invalid("{*} and {**} have to stand alone between slashes");
                }
                TemplateSegment::Literal(_) => {}
                _ if seen_any => return invalid("{**} has to be the last operator"),
                TemplateSegment::One => {}
                TemplateSegment::Any => seen_any = true,
            }
        }
        Ok(template)
    }
}

impl TryFrom<String> for PathTemplate {
    type Error = ParseTemplateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PathTemplate> for String {
    fn from(template: PathTemplate) -> Self {
        template.0.as_ref().to_owned()
    }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl TemplateSegment ===

impl<'a> TemplateSegment<'a> {
    fn of(text: &'a str) -> Self {
        match text {
            "{*}" => Self::One,
            "{**}" => Self::Any,
            literal => Self::Literal(literal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::TemplateSegment::{Any, Literal, One};
    use super::*;

    #[test]
    fn a_template_is_taken_apart_at_its_slashes() {
        let template: PathTemplate = "/a/{*}/b/{**}/c".parse().unwrap();
        let segments: Vec<_> = template.segments().collect();
        assert_eq!(segments, [Literal("a"), One, Literal("b"), Any, Literal("c")]);
        assert_eq!("/{**}/".parse::<PathTemplate>().unwrap().segments().count(), 2);
    }

    #[test]
    fn operators_stand_alone_and_the_long_one_is_last() {
        let table = [
            ("a/{*}", "it has to begin with a slash"),
            ("", "it has to begin with a slash"),
            ("/*/{*}", "{*} and {**} have to stand alone between slashes"),
            ("/**/{*}", "{*} and {**} have to stand alone between slashes"),
            ("/{*}.txt", "{*} and {**} have to stand alone between slashes"),
            ("/{x}/{*}", "{*} and {**} have to stand alone between slashes"),
            ("/{**}/a/{*}", "{**} has to be the last operator"),
            ("/{**}/{**}", "{**} has to be the last operator"),
        ];
        for (text, reason) in table {
            let error = text.parse::<PathTemplate>().unwrap_err();
            assert_eq!(error.reason, reason, "{text}");
        }
    }

    #[test]
    fn what_looks_like_one_has_an_operator() {
        assert!(PathTemplate::is_template("/{*}.txt") && PathTemplate::is_template("/{**}"));
        assert!(!PathTemplate::is_template("/a/*") && !PathTemplate::is_template("/{x}"));
    }
}
