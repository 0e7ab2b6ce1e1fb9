//! A flat view's RAM behind vm-memory 0.18's traits, so that rust-vmm's queues, loaders and devices run on an address space.
//!
//! vm-memory knows memory as a set of RAM regions that lie in host memory. An address space shows more: callbacks, holes, ROM, ranges that
//! are longer than their bytes. What is offered here is *its RAM*:
//!
//! | | read | write |
//! |---|---|---|
//! | RAM | yes | yes |
//! | RAM that is read-only on its path, ROM, ROM devices in direct mode | yes | an error ([`PermissionDenied`](std::io::ErrorKind::PermissionDenied)) |
//! | bytes that the *host* has mapped for reading only | an error, see below | an error |
//! | callbacks, reservations, holes, ranges behind the end of their backing | an error ([`InvalidGuestAddress`](vm_memory::GuestMemoryError::InvalidGuestAddress)) | the same |
//!
//! A transfer that may hit callbacks is made with [`memory::SpaceGuard::read`] and its like, not through vm-memory.
//!
//! A [`VolatileSlice`](vm_memory::VolatileSlice) can always be written by safe code, so bytes whose pages would fault are not handed out as one at all.
//! Whoever asks for slices to read and then writes to them changes a ROM's contents: vm-memory has no type against it.
//!
//! # Which type to use
//!
//! - [`RamView`] is a [`GuestMemory`](vm_memory::GuestMemory): what virtio-queue and most consumers take. Over a guard's view it costs nothing
//!   and lives as long as the guard; over a [`Snapshot`](memory::Snapshot) it is owned.
//! - [`SpaceMemory`] is a [`GuestAddressSpace`](vm_memory::GuestAddressSpace), for code that keeps "the memory" for good and asks for the
//!   present one at each use. Each use takes a snapshot; the topology may change between two.
//! - [`RamRegions`] is a [`GuestMemoryBackend`](vm_memory::GuestMemoryBackend), a list of regions, for code that wants physical memory
//!   (linux-loader, vhost): the writable RAM only, listed once.
//!
//! # Reading order
//!
//! `slice` (the one unsafe step), `view`, `space`, `regions`.

mod slice;

mod view;

mod space;

mod regions;

pub use regions::{RamRegion, RamRegions};
pub use space::{OwnedView, SpaceMemory};
pub use view::RamView;
