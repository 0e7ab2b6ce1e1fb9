//! Tests that span the crates: oracles, properties, threads.
//!
//! The library holds what several tests share: [`oracle`], which also is the program `oracle`; [`rig`], a machine under observation; [`lent`], bytes with a keeper;
//! [`stress`], which is the program `stress`; [`gpu_wire`], which is the program `fuzz_gpu_wire`; [`bytewise`], memory as a guest sees it; [`access_case`], which is the program `fuzz_memory`; [`random`] and [`bounded`], which programs with a seed and a time limit have in common.

pub mod oracle;
pub mod rig;

pub mod lent;

pub mod bounded;
pub mod random;

pub mod bytewise;

pub mod access_case;
pub mod gpu_wire;
pub mod stress;

/// The README's device, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// ARCHITECTURE's device and machine, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../ARCHITECTURE.md")]
pub struct Architecture;
