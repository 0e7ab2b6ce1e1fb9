//! Tests that span the crates: oracles, properties, threads.
//!
//! The library holds what several tests share: [`oracle`], which also is the program `oracle`, and [`rig`], a machine under observation.

pub mod oracle;
pub mod rig;


/// The README's device, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
