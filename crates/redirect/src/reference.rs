//! What a namespace should list, in the words of the program that lists it.
//!
//! Programs print rules in their own words, which change from version to version. So the reference is what the same
//! program prints for the same rules in an empty namespace of its own, and no listing has to be understood.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use crate::backend::Backend;
use crate::capture::Capture;
use crate::drift::Listing;
use crate::error::Error;
use crate::rules::rules;
use crate::run::Netns;

/// How many references are kept. Few differ; pods with interfaces of their own to reroute have their own.
const KEPT: usize = 32;

/// The listing that applying `capture` should lead to.
pub(crate) fn of(capture: &Capture, backend: Backend) -> Result<Arc<Listing>, Error> {
    type References = HashMap<(Capture, Backend), Arc<Listing>>;
    static REFERENCES: LazyLock<Mutex<References>> = LazyLock::new(Mutex::default);
    let key = (capture.clone(), backend);
    if let Some(known) = REFERENCES.lock().get(&key) {
        return Ok(known.clone());
    }
    let rules = rules(capture);
    let listing = Arc::new(Netns::scratch(|netns| {
        backend.apply(netns, &rules)?;
        backend.list(netns)
    })?);
    let mut references = REFERENCES.lock();
    if references.len() >= KEPT {
        references.clear();
    }
    references.insert(key, listing.clone());
    Ok(listing)
}
