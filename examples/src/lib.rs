//! Demonstrations: trace replay, lifetimes, small devices.
