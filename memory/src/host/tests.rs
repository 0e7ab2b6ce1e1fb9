//! Tests of backings and of the accesses to their bytes.

mod backing;
mod bytes;
mod races;
