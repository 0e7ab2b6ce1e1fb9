//! The peers: crates that other monitors are built of, and a bus of the kind that some of them have written for themselves.

pub mod bus;
pub mod memcpy;
pub mod vm_device;
pub mod vm_memory;
