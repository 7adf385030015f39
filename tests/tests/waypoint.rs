//! A real waypoint in front of services: real programs through it, endpoints that fail in every way, and clients that
//! mean harm.
//!
//! [`scene::Scene`] is the mesh, shared by the tests that run at the same time. Where an endpoint has to do what no
//! program does on request, an [`endpoint::Endpoint`] does it in a pod, played by this process.

mod edge;
mod endpoint;
mod failures;
mod foreign;
mod hostile;
mod http1;
mod programs;
mod scene;
mod tls;
mod traces;
mod treatment;
mod websockets;
