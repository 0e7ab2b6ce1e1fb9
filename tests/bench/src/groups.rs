//! What is measured, subject by subject.

mod build;
mod commit;
mod load_store;
mod map;
mod mmio;

use crate::contest::Effort;
use crate::report::Report;

/// One subject.
#[derive(Clone, Copy)]
pub struct Group {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What it measures, in a line.
    pub about: &'static str,
    /// Measures it.
    pub run: fn(Effort, &mut Report),
}

/// All of them, in the order in which they run.
pub const GROUPS: &[Group] = &[
    Group {
        name: load_store::NAME,
        about: "u32 loads and stores: hot and over a pool of addresses, a guard each and one held",
        run: load_store::run,
    },
    Group {
        name: mmio::NAME,
        about: "reads that are answered by callbacks, random regions, one owner and an owner each",
        run: mmio::run,
    },
    Group {
        name: map::NAME,
        about: "4 KiB of RAM: borrowed slice, pin, registered mapping; one and two threads",
        run: map::run,
    },
    Group {
        name: commit::NAME,
        about: "one region more or less, shown or hidden, moved, beside many siblings",
        run: commit::run,
    },
    Group {
        name: build::NAME,
        about: "a whole view in one transaction",
        run: build::run,
    },
];
