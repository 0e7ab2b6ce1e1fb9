//! What the crate promises its users, under both engines.

mod engines;
mod periods;
mod stress;
mod threads;
