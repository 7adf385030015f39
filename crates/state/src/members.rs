//! The workloads of one service, ordered by uid.

use std::slice;
use std::sync::Arc;

use imbl::OrdSet;
use imbl::shared_ptr::DefaultSharedPtr;

use crate::record::Record;
use crate::uid::ByUid;

/// Some workloads. Most services have few, and those are kept side by side.
#[derive(Clone, Debug)]
pub(crate) enum Members {
    Small(Arc<[Arc<Record>]>),
    Large(OrdSet<ByUid>),
}

/// Walks through [`Members`]. A balancer does so for each connection.
#[derive(Clone)]
pub(crate) enum Iter<'a> {
    Small(slice::Iter<'a, Arc<Record>>),
    Large(imbl::ordset::Iter<'a, ByUid, DefaultSharedPtr>),
}

/// Above this, copying all of them for each change would be the larger price.
const SMALL: usize = 128;

// === impl Members ===

impl Members {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(records) => records.len(),
            Self::Large(records) => records.len(),
        }
    }

    pub(crate) fn iter(&self) -> Iter<'_> {
        match self {
            Self::Small(records) => Iter::Small(records.iter()),
            Self::Large(records) => Iter::Large(records.iter()),
        }
    }

    pub(crate) fn insert(&mut self, record: &Arc<Record>) {
        match self {
            Self::Large(records) => {
                records.insert(ByUid(record.clone()));
            }
            Self::Small(records) if records.len() < SMALL => {
                let at = records.partition_point(|other| other.uid_parts() < record.uid_parts());
                let (before, after) = records.split_at(at);
                *records = [before, slice::from_ref(record), after].concat().into();
            }
            Self::Small(records) => {
                let all = records.iter().chain([record]).cloned();
                *self = Self::Large(all.map(ByUid).collect());
            }
        }
    }

    pub(crate) fn remove(&mut self, record: &Arc<Record>) {
        match self {
            Self::Small(records) => {
                let rest = records.iter().filter(|other| !Arc::ptr_eq(other, record));
                *records = rest.cloned().collect();
            }
            Self::Large(records) => {
                records.remove(&ByUid(record.clone()));
                if records.len() < SMALL / 2 {
                    *self = Self::Small(records.iter().map(|entry| entry.0.clone()).collect());
                }
            }
        }
    }
}

impl Default for Members {
    fn default() -> Self {
        Self::Small(Arc::default())
    }
}

// === impl Iter ===

impl Default for Iter<'_> {
    fn default() -> Self {
        Self::Small([].iter())
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Small(records) => records.next(),
            Self::Large(records) => records.next().map(|entry| &entry.0),
        }
    }
}
