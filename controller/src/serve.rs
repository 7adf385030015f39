//! The index over the wire: delta xDS and certificates on one port.
//!
//! `subscriber` decides what a stream sends, as a pure machine; `stream` and `body` carry it out, and
//! `grpc` and `listener` bring the streams. Every subscriber reads the same snapshot and sends the same bytes.

mod authority;
mod blocks;
mod body;
mod certificates;
mod grpc;
mod listener;
mod metrics;
mod propagation;
mod published;
mod stream;
mod subscriber;
mod tokens;

pub use authority::{Authority, AuthorityError, AuthorityFiles, FilesError};
pub(crate) use authority::{RENEWAL, RETRY};
pub(crate) use blocks::Wholes;
pub use certificates::Certificates;
pub use grpc::Services;
pub use listener::{ListenError, Listener, Security};
pub use metrics::Metrics;
pub use published::{Published, Publisher, Subscription};
pub use stream::{Client, Clients, Discovery};
pub use tokens::{
    Account, Caller, FileTokens, Pods, ReviewSettings, Reviews, Tokens, TokensError, Unknown,
};
