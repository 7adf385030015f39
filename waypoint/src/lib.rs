//! The layer 7 proxy: waypoint in front of services, and gateway at the edge.
//!
//! A request's way: `downstream` (tunnels) → `serve` (which protocol) → `request` (phases in order: head, route, fault,
//! filters, mirror, tries, response) → `upstream` (connections). `rules` is what the controller said, compiled;
//! `destination` what is known of endpoints: who takes a request, and who fails. `feed` writes both. `app` puts it all
//! together.

mod access;
mod app;
mod body;
mod config;
mod connection;
mod context;
mod destination;
mod detect;
mod downstream;
mod dump;
mod endpoints;
mod feed;
mod front;
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod head_timer;
mod io;
mod labels;
mod metrics;
mod request;
mod rules;
mod series;
mod serve;
mod sni;
mod spans;
mod target;
mod tcp;
mod upstream;

pub use app::run;
pub use config::{Config, Limits};
