//! Guest memory: regions, address spaces, flat views, listeners, accesses and mappings.

pub mod attrs;

pub mod access;

pub mod host;

pub use access::{Access, AccessError, AccessRules, MemTx, MemTxError};
pub use attrs::Attrs;
pub use host::{Backing, BackingCounter, BackingError, HostMemory, VolatileBytes};
