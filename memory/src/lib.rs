//! Guest memory: regions, address spaces, flat views, listeners, accesses and mappings.

pub mod addr;
pub mod attrs;

pub mod access;

pub mod host;

pub mod topology;

pub mod flat;

pub mod span_map;

pub use access::{Access, AccessError, AccessRules, MemTx, MemTxError};
pub use addr::{Gpa, Offset, Size, Span};
pub use attrs::Attrs;
pub use host::{Backing, BackingCounter, BackingError, HostMemory, VolatileBytes};
