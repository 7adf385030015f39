//! What is in a namespace, compared with what should be.

use std::collections::HashMap;
use std::fmt;

/// How many differences are reported.
const LIMIT: usize = 64;

/// One difference between what is in a namespace and what should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Where: the program's table and chain, or `ip`.
    pub place: String,
    /// What.
    pub change: Change,
}

/// What is different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This should be there and is not.
    Missing(String),
    /// This should not be there.
    Unexpected(String),
    /// All is there, but not in the right order; the first rule that is out of it.
    Order(String),
}

/// A listing: places and what is there, in order.
pub(crate) type Listing = Vec<(String, String)>;

/// The differences between two listings.
pub(crate) fn compare(wanted: &Listing, found: &Listing) -> Vec<Drift> {
    let mut counts: HashMap<&(String, String), i64> = HashMap::new();
    for entry in found {
        *counts.entry(entry).or_default() += 1;
    }
    let mut drifts = Vec::new();
    for entry in wanted {
        let count = counts.entry(entry).or_default();
        *count -= 1;
        if *count < 0 {
            drifts.push(Drift::missing(&entry.0, &entry.1));
        }
    }
    for entry in found {
        let count = counts.entry(entry).or_default();
        if *count > 0 {
            *count -= 1;
            drifts.push(Drift::unexpected(&entry.0, &entry.1));
        }
    }
    if drifts.is_empty()
        && let Some((entry, _)) = found.iter().zip(wanted).find(|(found, wanted)| found != wanted)
    {
        drifts.push(Drift { place: entry.0.clone(), change: Change::Order(entry.1.clone()) });
    }
    drifts.truncate(LIMIT);
    drifts
}

// === impl Drift ===

impl Drift {
    pub(crate) fn missing(place: &str, what: &str) -> Self {
        Self { place: place.to_owned(), change: Change::Missing(what.to_owned()) }
    }

    pub(crate) fn unexpected(place: &str, what: &str) -> Self {
        Self { place: place.to_owned(), change: Change::Unexpected(what.to_owned()) }
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, what) = match &self.change {
            Change::Missing(what) => ("missing", what),
            Change::Unexpected(what) => ("unexpected", what),
            Change::Order(what) => ("out of order", what),
        };
        write!(f, "{}: {word}: {what}", self.place)
    }
}
