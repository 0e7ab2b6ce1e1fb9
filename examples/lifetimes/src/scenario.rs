//! Scenarios: lists of named steps, and what becomes of them under each policy.
//!
//! [`rows`] are the known ways to leak, to abort or to touch what is gone, numbered as in the discussion of September 2025 on qemu-devel; [`demonstrations`] are
//! what its reviewers asked to see. Each is a function over a [`Script`], whose methods are steps. A scenario ends with the machine still
//! up: grace periods pass, the executor and the collector run until they find nothing to do, and what the scenario [`Script::expect_gone`] is looked at.

/// Scenarios: of each its number, its steps and what happens in it.
macro_rules! scenarios {
    ($($row:literal, $steps:expr, $title:literal;)*) => {
        &[$(Scenario { row: $row, title: $title, steps: $steps }),*]
    };
}

pub mod demonstrations;
pub mod rows;
mod script;
mod verdict;

pub use script::{At, Cast, Script, Stretch};
pub use verdict::{Report, Verdict, or_nobody, play, play_script, settle};
pub(crate) use verdict::{advance, has_orphans, run_executor};

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its number, as in the table.
    pub row: &'static str,
    /// What happens in it.
    pub title: &'static str,
    /// Its steps.
    pub steps: fn(&mut Script),
}
