//! Objects as they are written → the trimmed objects that the index joins.
//!
//! [`Directory`] follows a directory of YAML; what it hands out are [`Change`]s and [`Report`]s, which a Kubernetes
//! source can hand out just as well: nothing behind this module knows where an object came from.

mod directory;
mod document;
mod files;
mod inotify;
pub mod kinds;
mod object;
mod problem;

pub use directory::{Directory, DirectoryError};
pub use files::{Change, Files, Location, Report, Update};
pub(crate) use inotify::DirWatch;
pub use object::{Key, Kind, Meta, Object, Selector};
pub use problem::Problem;
pub(crate) use problem::one_line;
