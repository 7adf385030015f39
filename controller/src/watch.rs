//! Objects as they are written → the trimmed objects that the index joins.
//!
//! [`Directory`] follows a directory of YAML, [`Kubernetes`] a cluster. Both hand out [`Change`]s and [`Report`]s, and
//! both read an object by the same functions of [`kinds`]: nothing behind this module knows where one came from.

mod directory;
mod document;
mod entries;
mod files;
mod inotify;
mod kind;
pub mod kinds;
mod kubernetes;
mod object;
mod origin;
mod problem;
mod standing;

pub use directory::{Directory, DirectoryError};
pub use entries::{Detail, Entries, Entry, Held};
pub use files::{Change, Files, Location, Report, Update};
pub(crate) use inotify::DirWatch;
pub use kind::Kind;
pub(crate) use kubernetes::{Backoff, api_error, resource, watch_error};
pub use kubernetes::{Kubernetes, Pace, SourceErrors};
pub use object::{Key, Meta, Object, Selector};
pub use origin::Origin;
pub use problem::Problem;
pub(crate) use problem::one_line;
pub use standing::{Condition, ConditionType, Present, Standing, Wanted};
