//! Checks flat views against recordings of what QEMU made of the same regions.
//!
//! A recording ([`line`](mod@line), [`script`]) is a topology, a series of transactions, and the views
//! and listener calls that came of them. [`check`] plays it to an [`Engine`] and compares each view and each
//! call; where QEMU leaves its own rules (its root shortcut loses flags and place) the rules decide, as
//! [`plain`] reads them: address by address, with nothing of the code under test. [`Topologies`] is
//! the engine that drives `memory`'s topology and views directly, [`Machines`] the one that goes through
//! objects, an address space and a listener.

pub mod check;
pub mod engine;
pub mod file;
pub mod line;
pub mod machines;
pub mod plain;
pub mod script;
pub mod topologies;

pub use check::{Difference, Report, check_file, check_files, check_line};
pub use engine::{Commit, Engine};
pub use line::{Event, EventKind, Kind, Line, Op, Range, ReadError, Region, Transaction};
pub use machines::Machines;
pub use topologies::Topologies;
