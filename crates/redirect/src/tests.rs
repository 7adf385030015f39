//! Both back ends: what they write, and what the kernel then does.

mod golden;
mod live;
