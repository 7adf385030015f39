//! Matching of texts, headers, query parameters and callers.

use std::sync::Arc;

use ambit_model::{Identity, Str};
use ambit_proto::ambit as proto;
use http::{HeaderMap, HeaderName};
use proto::string_match::Kind;
use regex::bytes::{Regex, RegexBuilder};

use super::{Invalid, Labels};

/// The most memory that one compiled regular expression may take.
const REGEX_BYTES: usize = 1 << 20;

/// A condition on a text.
#[derive(Clone, Debug)]
pub(crate) struct TextMatch {
    kind: Text,
    ignore_case: bool,
}

/// What a text has to be.
#[derive(Clone, Debug)]
pub(crate) enum Text {
    Exact(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Regex(Regex),
    Present,
}

/// A condition on a header.
#[derive(Clone, Debug)]
pub(crate) struct HeaderMatch {
    name: HeaderName,
    value: TextMatch,
    invert: bool,
}

/// A condition on a query parameter.
#[derive(Clone, Debug)]
pub(crate) struct QueryMatch {
    name: Box<str>,
    value: TextMatch,
    invert: bool,
}

/// A condition on who calls.
#[derive(Clone, Debug)]
pub(crate) struct SourceMatch {
    namespace: Option<Str>,
    labels: Labels,
    principals: Vec<TextMatch>,
}

/// Who calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// What its certificate proves.
    pub identity: Option<Identity>,
    /// The namespace of its identity, or of the workload with its address.
    pub namespace: Option<Str>,
    /// Those labels of its workload that are known.
    pub labels: Option<Arc<Labels>>,
}

// === impl TextMatch ===

impl TextMatch {
    pub(crate) fn compile(message: proto::StringMatch) -> Result<Self, Invalid> {
        let ignore_case = message.ignore_case;
        let kind = match message.kind.ok_or(Invalid::Missing("the kind of a match"))? {
            Kind::Exact(text) => Text::Exact(text.into()),
            Kind::Prefix(text) => Text::Prefix(text.into()),
            Kind::Suffix(text) => Text::Suffix(text.into()),
            Kind::Regex(text) => Text::Regex(whole_regex(&text, ignore_case)?),
            Kind::Present(_) => Text::Present,
        };
        Ok(Self { kind, ignore_case })
    }

    pub(crate) fn matches(&self, value: &[u8]) -> bool {
        let same = |a: &[u8], b: &[u8]| {
            if self.ignore_case { a.eq_ignore_ascii_case(b) } else { a == b }
        };
        match &self.kind {
            Text::Exact(text) => same(text.as_bytes(), value),
            Text::Prefix(text) => {
                value.get(..text.len()).is_some_and(|head| same(text.as_bytes(), head))
            }
            Text::Suffix(text) => {
                let start = value.len().checked_sub(text.len());
                start.and_then(|at| value.get(at..)).is_some_and(|end| same(text.as_bytes(), end))
            }
            Text::Regex(regex) => regex.is_match(value),
            Text::Present => true,
        }
    }
}

/// A regular expression that has to match all of a text.
pub(crate) fn whole_regex(pattern: &str, ignore_case: bool) -> Result<Regex, Invalid> {
    regex(&format!("^(?:{pattern})$"), pattern, ignore_case)
}

/// `pattern`, named `shown` in what is said of it. Matching takes time linear in the text.
pub(crate) fn regex(pattern: &str, shown: &str, ignore_case: bool) -> Result<Regex, Invalid> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .case_insensitive(ignore_case)
        .size_limit(REGEX_BYTES)
        .dfa_size_limit(REGEX_BYTES)
        .build()
        .map_err(|error| Invalid::Regex(shown.to_owned(), Box::new(error)))
}

// === impl HeaderMatch ===

impl HeaderMatch {
    pub(crate) fn compile(message: proto::NamedMatch) -> Result<Self, Invalid> {
        let name = HeaderName::try_from(&message.name)
            .map_err(|_| Invalid::HeaderName(message.name.clone()))?;
        let value = message.value.ok_or(Invalid::Missing("the value of a header match"))?;
        Ok(Self { name, value: TextMatch::compile(value)?, invert: message.invert })
    }

    /// A header that is there several times counts as one, its values joined by commas (RFC 9110 5.3).
    pub(crate) fn matches(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        let matched = match (values.next(), values.next()) {
            (None, _) => false,
            (Some(value), None) => self.value.matches(value.as_bytes()),
            (Some(first), Some(second)) => {
                let mut joined = first.as_bytes().to_vec();
                for value in std::iter::once(second).chain(values) {
                    joined.push(b',');
                    joined.extend_from_slice(value.as_bytes());
                }
                self.value.matches(&joined)
            }
        };
        matched != self.invert
    }
}

// === impl QueryMatch ===

impl QueryMatch {
    pub(crate) fn compile(message: proto::NamedMatch) -> Result<Self, Invalid> {
        let value = message.value.ok_or(Invalid::Missing("the value of a query match"))?;
        let name = message.name.into();
        Ok(Self { name, value: TextMatch::compile(value)?, invert: message.invert })
    }

    /// Of a parameter that is there several times the first counts.
    pub(crate) fn matches(&self, query: &str) -> bool {
        let value = form_urlencoded::parse(query.as_bytes())
            .find_map(|(name, value)| (*name == *self.name).then_some(value));
        value.is_some_and(|value| self.value.matches(value.as_bytes())) != self.invert
    }
}

// === impl SourceMatch ===

impl SourceMatch {
    pub(crate) fn compile(message: proto::SourceMatch) -> Result<Self, Invalid> {
        let proto::SourceMatch { namespace, labels, principals } = message;
        Ok(Self {
            namespace: (!namespace.is_empty()).then(|| namespace.into()),
            labels: labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            principals: principals.into_iter().map(TextMatch::compile).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn matches(&self, caller: &Caller) -> bool {
        let namespace =
            self.namespace.as_ref().is_none_or(|n| caller.namespace.as_ref() == Some(n));
        let has =
            |(name, value)| caller.labels.as_ref().is_some_and(|l| l.get(name) == Some(value));
        let principal = || {
            let identity = caller.identity.as_ref().map(Identity::to_string);
            identity.is_some_and(|id| self.principals.iter().any(|p| p.matches(id.as_bytes())))
        };
        namespace && self.labels.iter().all(has) && (self.principals.is_empty() || principal())
    }
}
