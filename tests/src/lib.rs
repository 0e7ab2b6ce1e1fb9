//! Tests that span the crates: oracles, properties, threads.
