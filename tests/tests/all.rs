//! All integration tests: one binary, one link step.

mod cluster;
mod examples;
mod faults;
mod fuzz;
mod hostile;
mod house;
mod memory;
mod policy;
mod programs;
mod resilience;
mod tunnel;
mod waypoint;
mod whole;
mod wire;
