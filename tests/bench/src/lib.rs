//! How fast the crates are, beside their peers from crates.io, on the same work in the same run.
//!
//! A [`contest`](contest::Contest) samples several ways to do one work in turns; [`statistics`] says what came of it, [`report`] keeps and prints
//! it. Each of the [`groups`] measures one subject on machines from [`ours`] and on [`peers`]. [`targets`] says which of the figures are to be
//! reached, [`chart`] draws them. Places are drawn beforehand ([`random`]); what a thread has used is told by [`cpu`].
//!
//! Instructions of single [`operations`] are counted and compared with those of before by [`instructions`].
//!
//! Run it with `cargo xtask bench`.

#![expect(
    clippy::missing_panics_doc,
    reason = "whatever cannot be set up ends the run, in every function here"
)]

pub mod background;
pub mod contest;
pub mod cpu;
pub mod heap;
pub mod idle;
pub mod random;
pub mod report;
pub mod statistics;
pub mod threads;

pub mod guest;
pub mod layout;
pub mod ours;
pub mod peers;

pub mod groups;
pub mod targets;

pub mod chart;

pub mod instructions;
pub mod machine_code;
pub mod operations;
