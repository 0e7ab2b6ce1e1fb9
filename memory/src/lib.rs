//! Guest memory: regions, address spaces, flat views, listeners, accesses and mappings.
//!
//! A [`Region`] is an object: a container, RAM, ROM, a ROM device, callbacks ([`RegionOps`]), a reservation or an alias. Regions
//! overlap by priority inside containers. An [`AddressSpace`] is what is seen from one of them. Every change is a [`transaction()`]: at its
//! commit only what is damaged is rendered, [`Listener`]s are told the difference, and the new view is published without a lock.
//!
//! Readers enter a section ([`AddressSpace::enter`]) and load, store, call back and borrow bytes; they take no lock and write nothing that they
//! share. What shall last longer is a [`Mapping`], closed with its holder or its region; or a [`Pin`], which lasts as long as an I/O.
//!
//! Who keeps whom alive is the subject of this crate. A region's owner is its tree parent. When the owner is unparented, its regions leave
//! every container, alias and address space in one transaction; from then on they keep their owner, and go when the last view, mapping or pin does.
//!
//! Reading order: `addr`, `topology`, `flat`, `span_map` (plain data); `access`, `attrs`, `host` (bytes and calls); `region`,
//! `transaction`, `commit`, `listener` (changes); `space`, `view`, `leaf`, `dispatch` (reading); `mapping`, `snapshot` (keeping); `mtree`.

pub mod addr;
pub mod flat;
pub mod span_map;
pub mod topology;

pub mod access;
pub mod attrs;
pub mod host;

mod commit;
mod listener;
mod region;
mod state;
mod sync;
mod transaction;

mod dispatch;
mod kept;
mod leaf;
pub mod reentrancy;
mod space;
mod view;

mod mapping;
mod mtree;
mod snapshot;

pub use access::{
    Access, AccessError, AccessRules, ByteOrder, Endian, MemTx, MemTxError, SizeRange,
};
pub use addr::{Gpa, Offset, Size, Span};
pub use attrs::Attrs;
pub use dispatch::Scalar;
pub use flat::FlatRange;
pub use host::{Backing, BackingCounter, BackingError, HostMemory, VolatileBytes};
pub use leaf::Leaf;
pub use listener::{Commit, Listener, ListenerHandle, Section};
pub use mapping::{Intent, MapError, Mapping, Pin};
pub use mtree::{mtree, mtree_flat};
pub use region::{
    FnOps, Region, RegionApi, RegionBuilder, RegionError, RegionInfo, RegionKind, RegionOps,
    RegionTarget,
};
pub use snapshot::Snapshot;
pub use space::{AddressSpace, DEFAULT_BOUNCE_BYTES, SpaceGuard, SpaceReader};
pub use state::{MemoryCounters, counters};
pub use topology::Priority;
pub use transaction::{Transaction, transaction};
pub use view::View;
