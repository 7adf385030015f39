//! Conditions on paths, and the index that finds the entries whose condition holds.
//!
//! Where a host has thousands of rules, nearly all of them name an exact path or a prefix. These are found by looking
//! up the path and each of its prefixes that some rule has; only regular expressions and prefixes in either case are
//! tried one by one.

use std::collections::{BTreeSet, HashMap};

use ambit_proto::ambit as proto;
use proto::path_match::Kind;
use regex::bytes::Regex;

use super::Invalid;
use super::matching::whole_regex;

/// A condition on a path.
#[derive(Clone, Debug)]
pub(crate) enum PathMatch {
    Any,
    Exact(Box<str>),
    /// Of whole segments; without a trailing slash.
    Segments(Box<str>),
    Prefix(Box<str>),
    Regex(Regex),
    /// One of the others, in either case: the text is in lower case.
    ExactIgnoreCase(Box<str>),
    PrefixIgnoreCase(Box<str>),
    SegmentsIgnoreCase(Box<str>),
}

/// Entries of a table, which are numbers, by their conditions on the path. Lower numbers go first.
#[derive(Debug, Default)]
pub(crate) struct PathIndex {
    exact: HashMap<Box<str>, Vec<u32>>,
    segments: HashMap<Box<str>, Vec<u32>>,
    prefixes: HashMap<Box<str>, Vec<u32>>,
    /// The lengths that prefixes have.
    lengths: BTreeSet<usize>,
    others: Vec<(PathMatch, u32)>,
}

// === impl PathMatch ===

impl PathMatch {
    pub(crate) fn compile(message: Option<proto::PathMatch>) -> Result<Self, Invalid> {
        let Some(proto::PathMatch { kind, ignore_case }) = message else { return Ok(Self::Any) };
        let Some(kind) = kind else { return Ok(Self::Any) };
        let lower = |text: String| text.to_ascii_lowercase().into_boxed_str();
        Ok(match kind {
            Kind::Exact(text) if ignore_case => Self::ExactIgnoreCase(lower(text)),
            Kind::Exact(text) => Self::Exact(text.into()),
            Kind::Prefix(text) if ignore_case => Self::PrefixIgnoreCase(lower(text)),
            Kind::Prefix(text) => Self::Prefix(text.into()),
            Kind::SegmentPrefix(text) => {
                let text = text.strip_suffix('/').unwrap_or(&text).to_owned();
                match (text.is_empty(), ignore_case) {
                    (true, _) => Self::Any,
                    (false, true) => Self::SegmentsIgnoreCase(lower(text)),
                    (false, false) => Self::Segments(text.into()),
                }
            }
            Kind::Regex(text) => Self::Regex(whole_regex(&text, ignore_case)?),
        })
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => **text == *path,
            Self::Prefix(text) => path.starts_with(&**text),
            Self::Segments(text) => {
                path.strip_prefix(&**text).is_some_and(|r| r.is_empty() || r.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
            Self::ExactIgnoreCase(text) => path.eq_ignore_ascii_case(text),
            Self::PrefixIgnoreCase(text) => starts_with_ignore_case(path, text),
            Self::SegmentsIgnoreCase(text) => {
                starts_with_ignore_case(path, text)
                    && matches!(path.as_bytes().get(text.len()), None | Some(b'/'))
            }
        }
    }

    /// How much of a path that matches is the prefix that a rewrite replaces; all of it where there is no prefix.
    pub(crate) fn matched(&self, path: &str) -> usize {
        match self {
            Self::Any => 0,
            Self::Prefix(text)
            | Self::Segments(text)
            | Self::PrefixIgnoreCase(text)
            | Self::SegmentsIgnoreCase(text) => text.len(),
            Self::Exact(_) | Self::ExactIgnoreCase(_) | Self::Regex(_) => path.len(),
        }
    }
}

fn starts_with_ignore_case(path: &str, prefix: &str) -> bool {
    let head = path.as_bytes().get(..prefix.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(prefix.as_bytes()))
}

// === impl PathIndex ===

impl PathIndex {
    /// Adds an entry; `number` is greater than all before.
    pub(crate) fn insert(&mut self, condition: &PathMatch, number: u32) {
        let (map, text) = match condition {
            PathMatch::Exact(text) => (&mut self.exact, text),
            PathMatch::Segments(text) => (&mut self.segments, text),
            PathMatch::Prefix(text) => {
                self.lengths.insert(text.len());
                (&mut self.prefixes, text)
            }
            other => return self.others.push((other.clone(), number)),
        };
        map.entry(text.clone()).or_default().push(number);
    }

    /// The first entry whose condition on the path holds and that `accepts` takes.
    pub(crate) fn first(&self, path: &str, accepts: impl Fn(u32) -> bool) -> Option<u32> {
        let mut best: Option<u32> = None;
        let mut consider = |numbers: &[u32]| {
            let lower = numbers.iter().copied().take_while(|n| best.is_none_or(|best| *n < best));
            for number in lower {
                if accepts(number) {
                    best = Some(number);
                    return;
                }
            }
        };
        if let Some(numbers) = self.exact.get(path) {
            consider(numbers);
        }
        if !self.segments.is_empty() {
            for end in segment_ends(path) {
                if let Some(numbers) = path.get(..end).and_then(|head| self.segments.get(head)) {
                    consider(numbers);
                }
            }
        }
        for length in self.lengths.range(..=path.len()) {
            if let Some(numbers) = path.get(..*length).and_then(|head| self.prefixes.get(head)) {
                consider(numbers);
            }
        }
        for (condition, number) in &self.others {
            if best.is_some_and(|best| best < *number) {
                break;
            }
            if condition.matches(path) && accepts(*number) {
                best = Some(*number);
                break;
            }
        }
        best
    }
}

/// The lengths of the prefixes of a path that end where a segment does, longest first.
fn segment_ends(path: &str) -> impl Iterator<Item = usize> {
    let slashes = path.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'/');
    std::iter::once(path.len())
        .chain(slashes.map(|(at, _)| at).collect::<Vec<_>>().into_iter().rev())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(kind: Kind) -> PathMatch {
        PathMatch::compile(Some(proto::PathMatch { kind: Some(kind), ignore_case: false })).unwrap()
    }

    fn either_case(kind: Kind) -> PathMatch {
        PathMatch::compile(Some(proto::PathMatch { kind: Some(kind), ignore_case: true })).unwrap()
    }

    #[test]
    fn conditions_on_paths() {
        let segments = |text: &str| path(Kind::SegmentPrefix(text.into()));
        for (condition, holds, fails) in [
            (segments("/a"), &["/a", "/a/", "/a/b"][..], &["/ab", "/", "/A", "/b/a"][..]),
            (segments("/a/"), &["/a", "/a/", "/a/b"], &["/ab"]),
            (segments("/"), &["/", "/a", "*"], &[]),
            (path(Kind::Prefix("/a".into())), &["/a", "/ab", "/a/b"], &["/", "/b"]),
            (path(Kind::Exact("/a".into())), &["/a"], &["/a/", "/A", "/ab"]),
            (path(Kind::Regex("/a[0-9]+|/b".into())), &["/a12", "/b"], &["/a12/", "/bb", "x/b"]),
            (either_case(Kind::Exact("/Ab".into())), &["/aB"], &["/abc"]),
            (either_case(Kind::Prefix("/Ab".into())), &["/aBc"], &["/a"]),
            (either_case(Kind::SegmentPrefix("/Ab".into())), &["/aB/c", "/AB"], &["/abc"]),
        ] {
            for text in holds {
                assert!(condition.matches(text), "{condition:?} holds for {text}");
            }
            for text in fails {
                assert!(!condition.matches(text), "{condition:?} does not hold for {text}");
            }
        }
    }

    #[test]
    fn a_regular_expression_is_bounded() {
        let huge = proto::PathMatch {
            kind: Some(Kind::Regex("(a{1000}){1000}".into())),
            ignore_case: false,
        };
        assert!(PathMatch::compile(Some(huge)).unwrap_err().to_string().contains("a{1000}"));
    }

    fn condition() -> impl Strategy<Value = Kind> {
        let text = "(/[ab]{0,2}){1,3}";
        prop_oneof![
            text.prop_map(Kind::Exact),
            text.prop_map(Kind::SegmentPrefix),
            text.prop_map(Kind::Prefix),
            text.prop_map(Kind::Regex),
        ]
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_one_by_one_finds(
            kinds in proptest::collection::vec((condition(), any::<bool>()), 0..12),
            accepted: u16,
            text in "(/[ab]{0,2}){1,4}",
        ) {
            let conditions: Vec<PathMatch> = kinds
                .into_iter()
                .map(|(kind, ignore_case)| PathMatch::compile(Some(proto::PathMatch { kind: Some(kind), ignore_case })).unwrap())
                .collect();
            let mut index = PathIndex::default();
            for (number, condition) in (0..).zip(&conditions) {
                index.insert(condition, number);
            }
            let accepts = |number: u32| accepted & (1 << number) != 0;
            let naive = (0..).zip(&conditions).find(|(n, c)| c.matches(&text) && accepts(*n));
            prop_assert_eq!(index.first(&text, accepts), naive.map(|(number, _)| number));
        }
    }
}
