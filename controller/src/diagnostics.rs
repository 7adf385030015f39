//! What is wrong with the objects now: said once in the log, and listed.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use crate::index::Index;
use crate::watch::{Location, Origin, Report};

/// The list.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics(Arc<Mutex<BTreeSet<Remark>>>);

/// Something that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remark {
    /// Its file; absent where it comes from no file, or has just gone.
    pub file: Option<Arc<Path>>,
    /// The line on which the object's document begins, from 1; 0 for the file as a whole.
    pub line: usize,
    /// The object.
    pub object: String,
    /// The field; empty for the object as a whole.
    pub field: String,
    /// What is wrong, and what to do about it.
    pub reason: String,
}

// === impl Diagnostics ===

impl Diagnostics {
    /// Replaces the list by what is wrong now. What is new is logged, and what has been put right.
    pub fn replace(&self, remarks: BTreeSet<Remark>) {
        let old = std::mem::replace(&mut *self.0.lock(), remarks.clone());
        for new in remarks.difference(&old) {
            tracing::warn!("{new}");
        }
        for gone in old.difference(&remarks) {
            tracing::info!("no longer: {gone}");
        }
    }

    /// The list.
    pub fn list(&self) -> Vec<Remark> {
        self.0.lock().iter().cloned().collect()
    }
}

/// Everything that is wrong: with what was read, and with objects beside others.
pub(crate) fn remarks(reports: &[Report], origin: &Origin, index: &Index) -> BTreeSet<Remark> {
    let of_origin = reports.iter().map(|report| Remark {
        file: report.location.as_ref().map(|l| l.file.clone()),
        line: report.location.as_ref().map_or(0, |l| l.line),
        object: report.subject.clone(),
        field: report.problem.field.clone(),
        reason: report.problem.message.clone(),
    });
    let of_index = index.problems().map(|(key, problem)| {
        let location = origin.location(key);
        Remark {
            file: location.map(|l| l.file.clone()),
            line: location.map_or(0, |l| l.line),
            object: key.to_string(),
            field: problem.field.clone(),
            reason: problem.message.clone(),
        }
    });
    of_origin.chain(of_index).collect()
}

// === impl Remark ===

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            let location = Location { file: file.clone(), object: 0, line: self.line };
            write!(f, "{location}: ")?;
        }
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}
