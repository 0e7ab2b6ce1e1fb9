//! Backing memory: the bytes behind RAM regions, apart from the regions, and the only code that touches them.
//!
//! A RAM region has an identity, a place and an owner; its *bytes* are a [`Backing`], which can be shared by several regions,
//! shown in part ([`Backing::slice`]), taken over from a renderer or a file, and outlive the region for as long as an I/O
//! is in flight. Whoever holds a clone of the backing holds the bytes; they go when the last clone is dropped.
//!
//! # Three ways to name the same bytes
//!
//! | type | what it is | keeps the bytes | can be sent | access |
//! |---|---|---|---|---|
//! | [`Backing`] | shared ownership | yes | yes | through [`Backing::bytes`] |
//! | [`HostMemory`] | an address and a length | no | yes | none; an `unsafe` step leads to `VolatileBytes` |
//! | [`VolatileBytes`] | a borrow | its lender does | no | safe, bounds-checked |
//!
//! # Guest memory is never a Rust reference
//!
//! The guest, a device thread, the kernel and other processes write these bytes while we look at them. A `&[u8]` would promise
//! the compiler that they stay put, so none is ever made; [`VolatileBytes`] holds a raw pointer and offers copies and single loads
//! and stores. Why those are sound is argued in `host/copy.rs`.
//!
//! # What the guest cannot do
//!
//! All offsets are checked without overflow, and a store into a read-only backing is a typed error and not a fault. What remains
//! is the file: one that somebody else *truncates* after it was mapped raises `SIGBUS` on access, as everywhere on Unix. Memory
//! from [`Backing::memfd`] is sealed against that; whoever maps a file by [`Backing::file`] answers for its length.
//!
//! # `fork`
//!
//! [`Backing::anonymous`] is a private mapping: after a `fork` parent and child see the same bytes until either writes, and then each
//! its own. A child that goes on running devices would serve another memory than the guest's, and pages pinned for a device
//! (vfio, `io_uring`'s registered buffers) may stay with either side. [`Backing::memfd`] and [`Backing::file`] are shared
//! mappings: both sides go on seeing one memory. `fork` followed by `exec` is safe with each of them.
//!
//! # Reading order
//!
//! `mapping` (the `mmap` calls), `copy` (the primitives and their soundness), [`HostMemory`], [`VolatileBytes`], `at_once` (its quickest accesses), [`Backing`],
//! [`BackingCounter`].

mod mapping;

mod copy;

mod address;
mod at_once;
mod bytes;

mod backing;
mod counter;

pub use address::HostMemory;
pub use backing::{Backing, BackingError};
pub use bytes::{BytesError, VolatileBytes};
pub use counter::{BackingCounter, live_backing_bytes, live_backings};

// INVARIANT: a length that fits a mapping fits `u64` and the reverse, and a `u64` is loaded and stored as one unit.
const _: () = assert!(usize::BITS == 64, "host memory needs a 64-bit host");

#[cfg(test)]
mod tests;
