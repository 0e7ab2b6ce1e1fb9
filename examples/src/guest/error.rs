//! What the driver ran into.

use memory::MemTxError;

use super::RingError;

/// What the driver ran into.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A register cannot be reached.
    #[error("register {register:#x}")]
    Register {
        /// Its offset.
        register: u64,
        /// What the access came to.
        #[source]
        source: MemTxError,
    },
    /// A register reads as it must not.
    #[error("{what} is {actual:#x} instead of {expected:#x}")]
    Reads {
        /// Which.
        what: &'static str,
        /// What it reads.
        actual: u64,
        /// What it should.
        expected: u64,
    },
    /// A ring is broken.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// Guest memory cannot be reached.
    #[error("guest memory at {at:#x}")]
    Memory {
        /// Where.
        at: u64,
        /// What the access came to.
        #[source]
        source: MemTxError,
    },
    /// The driver has no room left for a command.
    #[error("{0} bytes do not fit into the driver's memory")]
    NoRoom(u64),
    /// A queue is not set up.
    #[error("the driver uses a queue before it is ready")]
    NoQueue,
}
