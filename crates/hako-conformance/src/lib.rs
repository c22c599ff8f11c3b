//! Testers that take a program as it is, from outside, and tell whether it does
//! what the specifications say.
//!
//! A [`Check`] stands for one normative sentence. It knows where the sentence
//! is, how strong it is ([`Level`]) and how to try it; its [`Verdict`] is told in
//! one of the forms of [`report`].
//!
//! [`bundle`] looks at a bundle, or makes its `config.json`, without running
//! anything.
//! [`runtime`] tries OCI runtimes. What happens inside a container is told by
//! the [`probe`], which is this same program under a second name, so that a
//! tester needs nothing but itself.

pub mod bundle;
mod check;
pub mod probe;
pub mod report;
pub mod runtime;
mod schedule;

pub use check::{Check, Level, Outcome, Stop, Verdict};
pub use schedule::{Plan, Progress, Tried};
