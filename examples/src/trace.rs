//! Recorded traces of the stock Linux `virtio_gpu` driver: reading them, and comparing a device's replies with the recorded ones.
//!
//! A trace is a gzip file of JSON lines in format 1 (described in `tests/data/virtio-gpu-traces/README.md`). [`TraceReader`]
//! goes through it line by line and gives [`Event`]s; anything that does not fit the format is an error with file and line.
//! [`compare`] tells whether a reply is as good as the recorded one.

mod check;
mod event;
mod reader;

pub use check::{Mismatch, compare};
pub use event::{CommandEvent, Event, GuestPage, Header, Queue, Recorded, Transport};
pub use reader::{TraceError, TraceReader};
