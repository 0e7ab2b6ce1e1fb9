//! What a flat view keeps of each of its ranges: the region, alive, and where its bytes are.
#![expect(
    unsafe_code,
    reason = "a view's bytes are borrowed for as long as the view is"
)]
// Soundness: the one unsafe step is `Leaf::bytes`, which turns a host address into bytes borrowed for as long as the leaf is
// borrowed. The leaf owns a `Hold` on its region; a region gives its backing up in its finalizer and nowhere else; and an object is
// not finalized while a `Hold` on it exists. So the bytes stay mapped for as long as the leaf exists, and a borrow of the leaf
// ends before it does. Who keeps the leaf: a guard (through the published view), or an owned snapshot.

use crate::access::{AccessRules, ByteOrder, MemTx};
use crate::attrs::Attrs;
use crate::flat::{FlatRange, RangeValue};
use crate::host::{HostMemory, VolatileBytes};
use crate::kept::Part;
use crate::reentrancy::Here;
use crate::region::bound::{self, Bound};
use crate::region::{ErasedOps, RegionCore, RegionKind};
use crate::state::Entered;
use qom::Object;
use qom::layer::{Hold, Holder, Pointer, Reason};
use std::sync::Arc;

/// A view shows a region.
pub(crate) const VIEW: Reason = Reason("shown by a view");

/// The value of one range of a view. Cloned when nodes of views are copied.
#[derive(Clone)]
pub struct Leaf {
    /// The bytes at the begin of the range, as far as they may be reached without a callback; writable where writes go to them, too.
    direct: Option<HostMemory>,
    inner: Arc<LeafInner>,
}

const _: () = assert!(
    size_of::<Leaf>() == 32,
    "sixteen of them, each with its span, fit into a block of those that a thread keeps for nodes"
);

impl RangeValue for Leaf {
    fn range(&self) -> &FlatRange {
        &self.inner.range
    }

    fn count(&self) -> usize {
        Arc::strong_count(&self.inner)
    }
}

/// In this order, so that what an access to a device needs is behind the counts of the pointers to it, and near its begin.
#[repr(C)]
struct LeafInner {
    /// INVARIANT: this goes before the hold does, so that the region's own pointers to what it has are always the last: what the
    /// device's callbacks do when they are dropped is no business of whoever lets go of a snapshot.
    shown: Shown,
    /// The direct bytes as the host has them mapped.
    host: Option<HostMemory>,
    range: FlatRange,
    /// Dropped with the last view that shows the range, a grace period after it was replaced: by whoever retires the next view, or on the executor.
    hold: Option<Hold>,
}

/// What a range shows: a region with callbacks, or one without.
enum Shown {
    Calls(Calls),
    Bytes(Arc<RegionCore>),
}

/// What an access that goes to callbacks needs, in one place: in a map of thousands of devices each place more is a miss of the caches. (Not aligned
/// to a line of them, as blocks with an alignment are slow to be had from the system's allocator, and each range of a view has one.)
#[repr(C)]
pub(crate) struct Calls {
    pub(crate) bound: Bound,
    /// Where in the region the range begins.
    offset: u64,
    /// The sizes (as bits 1, 2, 4, 8) of which an aligned access is one call with nothing to be shifted; and what else is said by a bit.
    flags: u8,
    pub(crate) rules: AccessRules,
    core: Arc<RegionCore>,
}

const _: () = assert!(
    size_of::<Shown>() == 56,
    "what is there is told by a pointer that is none"
);

/// Reads go to the callbacks; of a ROM device in direct mode they do not.
const READS: u8 = 0x10;
/// The owner's callbacks may be entered while they run in the same thread.
const REENTRANT: u8 = 0x20;
/// Values are in the byte order of the target, and the owner's callbacks are not entered again: nearly all.
const USUAL: u8 = 0x40;

impl Calls {
    fn new(core: &Arc<RegionCore>, range: &FlatRange) -> Option<Self> {
        let ops = core.ops.clone()?;
        Some(Self {
            bound: ops.bind(&core.owner),
            offset: range.offset.0,
            rules: core.rules,
            flags: core.rules.plain_sizes()
                | if range.romd { 0 } else { READS }
                | if core.reentrant { REENTRANT } else { 0 }
                | if !core.reentrant && core.rules.endian.order() == ByteOrder::TARGET {
                    USUAL
                } else {
                    0
                },
            core: core.clone(),
        })
    }

    /// On whom is called.
    #[inline]
    pub(crate) fn owner(&self) -> &Pointer {
        self.bound.owner()
    }

    /// What takes accesses of several calls.
    pub(crate) fn ops(&self) -> &dyn ErasedOps {
        let ops = self.core.ops.as_deref();
        ops.expect("made of a region with callbacks")
    }

    #[inline]
    pub(crate) fn is_reentrant(&self) -> bool {
        self.flags & REENTRANT != 0
    }

    /// Whether an access in the target's byte order is one call, as it is, of callbacks that are not entered again. Implies [`is_plain`](Self::is_plain).
    #[inline]
    pub(crate) fn is_usual(&self, offset: u64, size: u8) -> bool {
        let needed = USUAL | size;
        self.flags & needed == needed && offset & u64::from(size - 1) == 0
    }

    /// Whether an access is one call, as it is.
    #[inline]
    pub(crate) fn is_plain(&self, offset: u64, size: u8) -> bool {
        self.flags & size != 0 && offset & u64::from(size - 1) == 0
    }
}

/// Where an access has found callbacks: one word, as what is called has many arguments already.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a>(&'a Calls);

impl<'a> Place<'a> {
    /// What is called there.
    #[inline]
    pub(crate) fn calls(self) -> &'a Calls {
        self.0
    }

    /// The region's, for messages.
    pub(crate) fn core(self) -> &'a RegionCore {
        &self.0.core
    }

    /// A read in the target's byte order by what is called there, at `offset` in the region.
    #[inline]
    pub(crate) fn load(self, offset: u64, size: u8, attrs: Attrs) -> (u64, MemTx) {
        bound::load(Here::find(), self, offset, size, attrs)
    }

    /// A write of that kind.
    #[inline]
    pub(crate) fn store(self, offset: u64, size: u8, attrs: Attrs, value: u64) -> MemTx {
        bound::store(Here::find(), self, offset, size, attrs, value)
    }
}

impl LeafInner {
    #[inline]
    fn calls(&self) -> Option<&Calls> {
        match &self.shown {
            Shown::Calls(calls) => Some(calls),
            Shown::Bytes(_) => None,
        }
    }
}

impl Leaf {
    pub(crate) fn new(region: &Entered, range: &FlatRange, holder: &Holder) -> Self {
        let hold = Hold::new(&region.object, VIEW, holder.clone());
        let core = &region.core;
        let reads_directly = match core.kind {
            RegionKind::Ram => true,
            RegionKind::RomDevice => range.romd,
            _ => false,
        };
        let host = (hold.is_some() && reads_directly)
            .then(|| core.host())
            .flatten()
            .and_then(|host| {
                // An access past the backing is a decode error: the bytes end where the backing does.
                let size = range.span.size().as_u64().unwrap_or(u64::MAX);
                let len = host.len().checked_sub(range.offset.0)?.min(size);
                host.subrange(range.offset.0, len)
            });
        let writes_directly = core.kind == RegionKind::Ram && !range.readonly;
        let direct = if writes_directly {
            host
        } else {
            host.map(HostMemory::read_only)
        };
        Self {
            direct,
            inner: Arc::new(LeafInner {
                host,
                shown: match Calls::new(core, range) {
                    Some(calls) => Shown::Calls(calls),
                    None => Shown::Bytes(core.clone()),
                },
                range: *range,
                hold,
            }),
        }
    }

    /// The range.
    #[inline]
    pub fn range(&self) -> &FlatRange {
        &self.inner.range
    }

    /// The region's object.
    #[inline]
    pub fn region(&self) -> Option<&Object> {
        self.inner.hold.as_ref().map(Hold::object)
    }

    /// The bytes that can be read without a callback, as a part of their region.
    #[inline]
    pub(crate) fn part(&self) -> Option<Part<'_>> {
        let (hold, host) = (self.inner.hold.as_ref()?, self.direct?);
        // INVARIANT: the direct bytes begin where the range does.
        Some(Part::new(hold, host, self.inner.range.offset.0))
    }

    /// Where a read of byte `offset` of the range calls, and at which place in the region. None: not callbacks.
    #[inline]
    pub(crate) fn calls_for_read(&self, offset: u64) -> Option<(Place<'_>, u64)> {
        let calls = self.inner.calls();
        let calls = calls.filter(|calls| calls.flags & READS != 0)?;
        Some((Place(calls), calls.offset + offset))
    }

    /// The same for a write.
    #[inline]
    pub(crate) fn calls_for_write(&self, offset: u64) -> Option<(Place<'_>, u64)> {
        let calls = self.inner.calls()?;
        Some((Place(calls), calls.offset + offset))
    }

    #[inline]
    pub(crate) fn core(&self) -> &RegionCore {
        match &self.inner.shown {
            Shown::Calls(calls) => &calls.core,
            Shown::Bytes(core) => core,
        }
    }

    /// The bytes of the range that can be read without a callback, from its begin; they may be fewer than the range.
    #[inline]
    pub fn bytes(&self) -> Option<VolatileBytes<'_>> {
        // SAFETY: see the head of the file: `self` is borrowed for the lifetime of the result.
        self.inner.host.map(|host| unsafe { host.bytes() })
    }

    /// The same bytes, writable where writes go to them without a callback: what accesses use.
    #[inline]
    pub(crate) fn direct(&self) -> Option<VolatileBytes<'_>> {
        // SAFETY: see the head of the file: `self` is borrowed for the lifetime of the result.
        self.direct.map(|host| unsafe { host.bytes() })
    }

    /// The same bytes, where they may be written without a callback too.
    #[inline]
    pub fn writable_bytes(&self) -> Option<VolatileBytes<'_>> {
        self.direct().filter(|bytes| bytes.is_writable())
    }

    /// Whether a write goes to the bytes: RAM that is not read-only on its path. (QEMU asks the region's own flag here, so that a write
    /// through a read-only alias of writable RAM goes through; this library refuses it.)
    #[inline]
    pub(crate) fn writes_directly(&self) -> bool {
        self.direct.is_some_and(HostMemory::is_writable)
    }

    /// Where the bytes are in this process, for an accelerator that is told of sections.
    pub fn host(&self) -> Option<HostMemory> {
        self.inner.host
    }
}

impl std::fmt::Debug for Leaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Leaf({:?})", self.inner.range)
    }
}
