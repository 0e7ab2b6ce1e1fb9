//! A virtio-gpu whose host-visible blobs come and go under running readers.
//!
//! The crate is built from the bytes upwards. [`wire`] parses and prints every command of the specification.
//! [`limits`] says what a guest may make the host spend. [`guest`] reads guest memory, [`edid`] describes a display, [`scanout`]
//! holds what a viewer sees. A [`renderer`] owns the memory of host blobs; the one here keeps it in memfds. [`gpu`] is the
//! command state machine: what each command does, when it is answered, which commands wait for which, and what a reset leaves.

pub mod wire;

pub mod limits;

pub mod guest;

pub mod edid;

pub mod scanout;

mod context;
mod resource;

pub mod renderer;

pub mod gpu;

mod device;

pub use device::{BuildError, HostBlob, Stats, VirtioGpu, VirtioGpuBuilder};
