//! All integration tests: one binary, one link step.

mod policy;
mod programs;
mod resilience;
mod tunnel;
mod wire;
