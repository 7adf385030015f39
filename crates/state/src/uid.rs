//! Uids in two parts: what siblings share, and what tells them apart.

use std::cmp::Ordering;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};

use crate::record::Record;
use crate::shape::split_uid;

/// A record in a set that is ordered and looked up by uid.
#[derive(Clone, Debug)]
pub(crate) struct ByUid(pub(crate) Arc<Record>);

/// A uid to look up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uid<'a>(&'a str, &'a str);

impl<'a> From<&'a str> for Uid<'a> {
    fn from(uid: &'a str) -> Self {
        let (prefix, tail) = split_uid(uid);
        Self(prefix, tail)
    }
}

impl Equivalent<ByUid> for Uid<'_> {
    fn equivalent(&self, entry: &ByUid) -> bool {
        (self.0, self.1) == entry.0.uid_parts()
    }
}

impl Comparable<ByUid> for Uid<'_> {
    fn compare(&self, entry: &ByUid) -> Ordering {
        (self.0, self.1).cmp(&entry.0.uid_parts())
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid_parts() == other.0.uid_parts()
    }
}

impl Eq for ByUid {}

impl PartialOrd for ByUid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByUid {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.uid_parts().cmp(&other.0.uid_parts())
    }
}
