//! What is measured, subject by subject.

mod blob;
mod build;
mod bulk;
mod commit;
mod footprint;
mod load_store;
mod map;
mod mmio;
mod threads;
mod withdraw;

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
        name: bulk::NAME,
        about: "64 bytes, 4 KiB, 64 KiB read and written",
        run: bulk::run,
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
    Group {
        name: threads::NAME,
        about: "two readers by one; a reader beside a writer that commits all the time",
        run: threads::run,
    },
    Group {
        name: withdraw::NAME,
        about: "a device's life, its withdrawal to its finalizer, an idle machine",
        run: withdraw::run,
    },
    Group {
        name: blob::NAME,
        about: "a blob of a virtio-gpu, mapped and unmapped through the ring",
        run: blob::run,
    },
    Group {
        name: footprint::NAME,
        about: "bytes of the heap for a region, a place, a range",
        run: footprint::run,
    },
];
