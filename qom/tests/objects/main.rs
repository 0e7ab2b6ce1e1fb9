//! What objects, their tree and their machine promise, seen from outside.

mod closing;
mod creation;
mod driven;
mod executor;
mod ledger;
mod opened_on;
mod panics;
mod probe;
mod properties;
mod stale;
mod tickets;
mod tree;
mod types;
mod waiting;
mod weak;
mod withdrawal;
