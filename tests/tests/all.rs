//! All integration tests: one binary, one link step.

mod cluster;
mod examples;
mod faults;
mod fuzz;
mod house;
mod policy;
mod programs;
mod resilience;
mod tunnel;
mod waypoint;
mod whole;
mod wire;
