//! Tests of backings and of the accesses to their bytes.
