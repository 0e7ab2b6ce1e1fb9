//! Tests that span the crates: oracles, properties, threads.
//!
//! The library holds what several tests share; [`oracle`] also is the program `oracle`.

pub mod oracle;
