//! What the crate promises its users, under both engines.

mod engines;
mod pace;
mod periods;
mod stress;
mod threads;
