//! `Namespace`.

use super::Meta;

/// A Namespace; only its labels and annotations matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// Its metadata.
    pub meta: Meta,
}
