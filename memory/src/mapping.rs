//! Mappings, which are closed with their holder or their region; and pins, which last as long as one I/O.
//!
//! A mapping gives bytes only in a read section or through a pin. Closing it unlinks it now and lets the region and the bytes go after a
//! grace period, so an idle mapping delays nobody's finalization for longer. A pin keeps region and bytes until the I/O is done.

use crate::access::MemTx;
use crate::addr::Gpa;
use crate::attrs::Attrs;
use crate::host::{Backing, BackingError, VolatileBytes};
use crate::leaf::Leaf;
use crate::region::Region;
use crate::space::{AddressSpace, SpaceGuard};
use crate::state::MemoryState;
use qom::grace::Published;
use qom::layer::{self, Hold, Holder, Pointer, Reason};
use qom::{Handle, HandleId, Object, TreeError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A mapping holds a region.
pub(crate) const MAPPING: Reason = Reason("mapping");
/// A pin holds a region.
pub(crate) const PIN: Reason = Reason("pin (I/O in flight)");

/// What a mapping or a pin is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Reading guest memory.
    Read,
    /// Writing guest memory.
    Write,
    /// Both.
    ReadWrite,
}

impl Intent {
    fn writes(self) -> bool {
        self != Self::Read
    }
    fn reads(self) -> bool {
        self != Self::Write
    }
}

/// A mapping, a pin or a slice was refused, or has ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// No bytes were asked for.
    #[error("nothing to map at {at}: zero bytes")]
    Empty {
        /// Where.
        at: Gpa,
    },
    /// There is no RAM, or no RAM that may be written.
    #[error("no RAM for this at {at}")]
    NotRam {
        /// Where.
        at: Gpa,
    },
    /// There is RAM, but not that much of it in one piece.
    #[error("fewer than {wanted:#x} bytes of RAM in one piece at {at}")]
    TooShort {
        /// Where.
        at: Gpa,
        /// How many bytes.
        wanted: u64,
    },
    /// The space has no bounce buffer left.
    #[error(
        "bounce buffers of address space `{space}` are used up: {used} of {limit} bytes, {wanted} wanted by {holder}"
    )]
    BounceExhausted {
        /// The space.
        space: String,
        /// Who asked.
        holder: String,
        /// Bytes in use.
        used: u64,
        /// Bytes allowed.
        limit: u64,
        /// Bytes asked for.
        wanted: u64,
    },
    /// What was to be bounced could not be read.
    #[error("reading {at} into a bounce buffer for {holder}: {result}")]
    BounceRead {
        /// Where.
        at: Gpa,
        /// Who asked.
        holder: String,
        /// What the read came to.
        result: MemTx,
    },
    /// A bounce buffer is a copy, and cannot be pinned.
    #[error("the mapping of {what} by {holder} is a bounce buffer and cannot be pinned")]
    Bounced {
        /// What is mapped.
        what: String,
        /// Who mapped it.
        holder: String,
    },
    /// The mapping has been unmapped.
    #[error("the mapping of {what} by {holder} has been unmapped")]
    Unmapped {
        /// What was mapped.
        what: String,
        /// Who mapped it.
        holder: String,
    },
    /// The region or the holder has been withdrawn.
    #[error("{what}, mapped by {holder}, is withdrawn")]
    Withdrawn {
        /// What was mapped.
        what: String,
        /// Who mapped it.
        holder: String,
    },
    /// Holder and region are in two machines.
    #[error("{holder} of machine `{holder_machine}` cannot map {what} of machine `{machine}`")]
    OtherMachine {
        /// What was to be mapped.
        what: String,
        /// Its machine.
        machine: String,
        /// Who asked.
        holder: String,
        /// The holder's machine.
        holder_machine: String,
    },
    /// The holder is withdrawn, gone, or in init.
    #[error(transparent)]
    Holder(#[from] TreeError),
    /// The holder is gone.
    #[error(transparent)]
    Gone(#[from] qom::Gone),
    /// No memory for a bounce buffer.
    #[error("a bounce buffer for {holder}")]
    Backing {
        /// Who asked.
        holder: String,
        /// Why not.
        #[source]
        source: BackingError,
    },
}

enum Mapped {
    /// Bytes of a region.
    Direct {
        backing: Backing,
        hold: Hold,
    },
    /// A copy.
    Bounce {
        backing: Backing,
    },
    Unmapped,
    Withdrawn,
}

pub(crate) struct MappingInner {
    mapped: Published<Mapped>,
    ended: AtomicBool,
    what: String,
    holder: Weak<Object>,
    holder_name: String,
    handle: OnceLock<HandleId>,
    space: AddressSpace,
    addr: Gpa,
    len: u64,
    intent: Intent,
    bounced: bool,
    read_only: bool,
}

impl MappingInner {
    /// Ends the mapping once; true: this call did it.
    fn end(&self, as_what: Mapped) -> bool {
        // ORDERING: AcqRel: one of several closers wins, and its store below is the last.
        if self.ended.swap(true, Ordering::AcqRel) {
            return false;
        }
        let counters = &self.space.state().counters;
        counters.mappings.fetch_sub(1, Ordering::Relaxed);
        if self.bounced {
            self.space
                .inner
                .bounce_bytes
                .fetch_sub(self.len, Ordering::Relaxed);
        }
        let pending = self.space.machine().pending();
        let old = self.mapped.swap(Arc::new(as_what), 128);
        // The quiescence waits for the hold's end: it goes with the second count, after the grace period.
        self.space.machine().retire(
            0,
            "closed mapping",
            Ended {
                _pending: pending,
                _old: old,
            },
        );
        true
    }

    /// The region is withdrawn.
    pub(crate) fn withdraw(&self) {
        if self.end(Mapped::Withdrawn)
            && let (Some(holder), Some(id)) = (self.holder.upgrade(), self.handle.get())
        {
            layer::forget_opened(&holder, *id);
        }
    }

    fn unmapped(&self) -> MapError {
        MapError::Unmapped {
            what: self.what.clone(),
            holder: self.holder_name.clone(),
        }
    }

    fn withdrawn(&self) -> MapError {
        MapError::Withdrawn {
            what: self.what.clone(),
            holder: self.holder_name.clone(),
        }
    }
}

/// What a closed mapping held; dropped on the executor.
struct Ended {
    _old: Arc<Mapped>,
    _pending: qom::Pending,
}

impl Handle for MappingInner {
    /// At withdrawal: an unwritten bounce buffer is discarded, as writing it back would run foreign callbacks.
    fn close(&self) {
        self.end(Mapped::Withdrawn);
    }

    fn describe(&self) -> String {
        format!("mapping of {}", self.what)
    }
}

/// Guest memory mapped in an object's name, until it is unmapped, or its holder or its region is withdrawn.
///
/// ```
/// use memory::{AddressSpace, Backing, Gpa, Intent, Offset, Priority, Region, RegionApi, Size};
/// let machine = qom::Machine::new("doc");
/// let system = Region::container("system", Size::new(0x1000)).create(machine.root())?;
/// let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// system.add_subregion(Offset(0), &ram, Priority(0))?;
/// let space = AddressSpace::open(machine.root(), "memory", &system)?;
///
/// let mapping = space.map(machine.root(), Gpa(0x100), 64, Intent::ReadWrite)?;
/// mapping.bytes(&space.enter())?.write(0, b"hello")?;
/// let pin = mapping.pin(0, 5)?;                       // an I/O in flight: owned, Send
/// std::thread::spawn(move || {
///     let mut text = [0; 5];
///     pin.bytes().read(0, &mut text).unwrap();
///     assert_eq!(&text, b"hello");
/// }).join().unwrap();
/// mapping.unmap(5)?;
/// assert!(mapping.unmap(0).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: QEMU's `address_space_map`, with the holder said.
pub struct Mapping {
    inner: Arc<MappingInner>,
}

/// What a mapping or a pin found.
struct Found {
    object: Pointer,
    backing: Backing,
}

/// RAM at `addr` for this intent, up to `len` bytes.
fn find_ram(
    leaf: &Leaf,
    offset: u64,
    len: u64,
    addr: Gpa,
    intent: Intent,
) -> Result<Found, MapError> {
    let bytes = leaf.bytes().ok_or(MapError::NotRam { at: addr })?;
    if intent.writes() && !leaf.writes_directly() {
        return Err(MapError::NotRam { at: addr });
    }
    let len = len.min(bytes.len().saturating_sub(offset));
    let object = leaf.pointer().ok_or(MapError::NotRam { at: addr })?;
    let backing = leaf.core().backing().ok_or(MapError::NotRam { at: addr })?;
    // The range was cut to its backing when the view was made, so this fails only at its very end.
    let backing = backing
        .slice(leaf.range().offset.0 + offset, len)
        .map_err(|_| MapError::NotRam { at: addr })?;
    Ok(Found {
        object: object.clone(),
        backing,
    })
}

fn check_machines(holder: &Pointer, space: &AddressSpace, addr: Gpa) -> Result<(), MapError> {
    if layer::machine_of(holder).is_same(space.machine()) {
        return Ok(());
    }
    Err(MapError::OtherMachine {
        what: format!("{addr} of `{}`", space.name()),
        machine: space.machine().name().into(),
        holder: holder.describe(),
        holder_machine: holder.machine_name().into(),
    })
}

impl Mapping {
    #[track_caller]
    pub(crate) fn open(
        space: &AddressSpace,
        holder: &Pointer,
        addr: Gpa,
        len: u64,
        intent: Intent,
    ) -> Result<Self, MapError> {
        if len == 0 {
            return Err(MapError::Empty { at: addr });
        }
        check_machines(holder, space, addr)?;
        let guard = space.enter();
        let (span, leaf) = guard
            .view()
            .find(addr)
            .ok_or(MapError::NotRam { at: addr })?;
        let offset = addr.0 - span.first();
        let region = leaf.pointer().ok_or(MapError::NotRam { at: addr })?;
        let what = region.describe();
        let is_io = leaf.bytes().is_none() && leaf.core().ops.is_some();
        let (mapped, len, bounced) = if is_io {
            let left = (span.last() - addr.0).saturating_add(1);
            let backing = bounce(space, &guard, holder, addr, len.min(left), intent)?;
            let len = backing.len();
            (Mapped::Bounce { backing }, len, true)
        } else {
            let found = find_ram(leaf, offset, len, addr, intent)?;
            let len = found.backing.len();
            let hold =
                Hold::new(&found.object, MAPPING, Holder::object(holder)).ok_or_else(|| {
                    MapError::Withdrawn {
                        what: what.clone(),
                        holder: holder.describe(),
                    }
                })?;
            (
                Mapped::Direct {
                    backing: found.backing,
                    hold,
                },
                len,
                false,
            )
        };
        let inner = Arc::new(MappingInner {
            mapped: Published::new(space.machine().domain(), Arc::new(mapped)),
            ended: AtomicBool::new(false),
            what,
            holder: Arc::downgrade(holder),
            holder_name: holder.describe(),
            handle: OnceLock::new(),
            space: space.clone(),
            addr,
            len,
            intent,
            bounced,
            read_only: !intent.writes(),
        });
        space
            .state()
            .counters
            .mappings
            .fetch_add(1, Ordering::Relaxed);
        let this = Self { inner };
        let handle = layer::open(holder, this.inner.clone())?;
        let _ = this.inner.handle.set(handle);
        if !bounced {
            leaf.core().add_mapping(Arc::downgrade(&this.inner));
            // The region's mark is set before its mappings are taken from the list: either the list had this one, or the mark is
            // seen here.
            if region.is_withdrawn() {
                this.inner.withdraw();
                return Err(this.inner.withdrawn());
            }
        }
        Ok(this)
    }

    /// How many bytes were mapped: 1 or more, perhaps fewer than asked for.
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> u64 {
        self.inner.len
    }

    /// Where.
    pub fn addr(&self) -> Gpa {
        self.inner.addr
    }

    /// Whether the bytes are a copy that is written back when it is unmapped.
    pub fn is_bounced(&self) -> bool {
        self.inner.bounced
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        !self.inner.ended.load(Ordering::Acquire)
    }

    /// The bytes, borrowed for as long as the guard lives.
    ///
    /// # Errors
    /// The mapping has been unmapped, or its region or its holder has been withdrawn.
    ///
    /// # Panics
    /// If the guard is of another machine.
    #[inline]
    pub fn bytes<'g>(&'g self, guard: &'g SpaceGuard<'_>) -> Result<VolatileBytes<'g>, MapError> {
        match self.inner.mapped.load(guard.section()) {
            Mapped::Direct { backing, .. } | Mapped::Bounce { backing } => {
                let bytes = backing.bytes();
                Ok(if self.inner.read_only {
                    bytes.read_only()
                } else {
                    bytes
                })
            }
            Mapped::Unmapped => Err(self.inner.unmapped()),
            Mapped::Withdrawn => Err(self.inner.withdrawn()),
        }
    }

    /// Pins `len` of its bytes from `offset` on, for an I/O in flight.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); `len` is zero, the bytes are not all inside, or they are a bounce buffer.
    #[track_caller]
    pub fn pin(&self, offset: u64, len: u64) -> Result<Pin, MapError> {
        let inner = &self.inner;
        let at = Gpa(inner.addr.0.saturating_add(offset));
        if len == 0 {
            return Err(MapError::Empty { at });
        }
        let guard = inner.space.machine().domain().enter();
        match inner.mapped.load(&guard) {
            Mapped::Direct { backing, hold } => {
                let backing = backing
                    .slice(offset, len)
                    .map_err(|_| MapError::TooShort { at, wanted: len })?;
                let holder = || {
                    inner
                        .holder
                        .upgrade()
                        .map_or(Holder::Outside, |h| Holder::object(&h))
                };
                Pin::new(
                    hold.object(),
                    backing,
                    holder,
                    inner.space.state(),
                    inner.read_only,
                )
                .ok_or_else(|| inner.withdrawn())
            }
            Mapped::Bounce { .. } => Err(MapError::Bounced {
                what: inner.what.clone(),
                holder: inner.holder_name.clone(),
            }),
            Mapped::Unmapped => Err(inner.unmapped()),
            Mapped::Withdrawn => Err(inner.withdrawn()),
        }
    }

    /// Unmaps. `written` bytes from the begin of a bounce buffer for writing go back to where they belong: to whatever is there now.
    ///
    /// # Errors
    /// It has been unmapped before, or its region or its holder has been withdrawn.
    pub fn unmap(&self, written: u64) -> Result<MemTx, MapError> {
        let inner = &self.inner;
        let unwritten = {
            let guard = inner.space.enter();
            let bytes = self.bytes(&guard)?;
            if inner.bounced && inner.intent.writes() {
                let mut data = vec![0; usize::try_from(written.min(inner.len)).unwrap_or(0)];
                let read = bytes.read(0, &mut data);
                debug_assert!(read.is_ok(), "the length was cut to the buffer's");
                data
            } else {
                Vec::new()
            }
        };
        if !inner.end(Mapped::Unmapped) {
            return Err(inner.unmapped());
        }
        if let (Some(holder), Some(id)) = (inner.holder.upgrade(), inner.handle.get()) {
            layer::forget_opened(&holder, *id);
        }
        if unwritten.is_empty() {
            return Ok(MemTx::OK);
        }
        Ok(inner.space.write(inner.addr, &unwritten, Attrs::default()))
    }
}

impl Drop for Mapping {
    /// Unmaps; what a bounce buffer holds is discarded.
    fn drop(&mut self) {
        if self.inner.end(Mapped::Unmapped)
            && let (Some(holder), Some(id)) = (self.inner.holder.upgrade(), self.inner.handle.get())
        {
            layer::forget_opened(&holder, *id);
        }
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Mapping({} at {} by {})",
            self.inner.what, self.inner.addr, self.inner.holder_name
        )
    }
}

/// A bounce buffer of up to `len` bytes, filled where it is to be read.
fn bounce(
    space: &AddressSpace,
    guard: &SpaceGuard<'_>,
    holder: &Pointer,
    addr: Gpa,
    len: u64,
    intent: Intent,
) -> Result<Backing, MapError> {
    let (used, limit) = (
        &space.inner.bounce_bytes,
        space.inner.bounce_limit.load(Ordering::Relaxed),
    );
    let take = |now: u64| {
        let len = len.min(limit.saturating_sub(now));
        (len > 0).then_some(now + len)
    };
    let before = used
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .map_err(|now| MapError::BounceExhausted {
            space: space.name().into(),
            holder: holder.describe(),
            used: now,
            limit,
            wanted: len,
        })?;
    let len = len.min(limit.saturating_sub(before));
    let filled = Backing::anonymous(len)
        .map_err(|source| MapError::Backing {
            holder: holder.describe(),
            source,
        })
        .and_then(|backing| {
            if intent.reads() {
                let mut data = vec![0; usize::try_from(len).unwrap_or(0)];
                let result = guard.read(addr, &mut data, Attrs::default());
                let copied = backing.bytes().write(0, &data);
                if !result.is_ok() || copied.is_err() {
                    return Err(MapError::BounceRead {
                        at: addr,
                        holder: holder.describe(),
                        result,
                    });
                }
            }
            Ok(backing)
        });
    if filled.is_err() {
        used.fetch_sub(len, Ordering::Relaxed);
    }
    filled
}

/// An I/O in flight: keeps its bytes, their region, and so the region's owner, until it is dropped. Owned and `Send`.
///
/// It survives the withdrawal of everybody concerned; the ledger counts it, and names it while it records.
pub struct Pin {
    backing: Backing,
    read_only: bool,
    /// Behind the backing: the bytes go first.
    hold: Hold,
    state: Arc<MemoryState>,
}

impl Pin {
    #[track_caller]
    pub(crate) fn take(
        space: &AddressSpace,
        holder: &Pointer,
        addr: Gpa,
        len: u64,
        intent: Intent,
    ) -> Result<Self, MapError> {
        if len == 0 {
            return Err(MapError::Empty { at: addr });
        }
        check_machines(holder, space, addr)?;
        if holder.is_withdrawn() {
            return Err(MapError::Withdrawn {
                what: format!("{addr} of `{}`", space.name()),
                holder: holder.describe(),
            });
        }
        let guard = space.enter();
        let (span, leaf) = guard
            .view()
            .find(addr)
            .ok_or(MapError::NotRam { at: addr })?;
        let found = find_ram(leaf, addr.0 - span.first(), len, addr, intent)?;
        if found.backing.len() < len {
            return Err(MapError::TooShort {
                at: addr,
                wanted: len,
            });
        }
        Self::new(
            &found.object,
            found.backing,
            || Holder::object(holder),
            space.state(),
            !intent.writes(),
        )
        .ok_or_else(|| MapError::Withdrawn {
            what: found.object.describe(),
            holder: holder.describe(),
        })
    }

    #[track_caller]
    fn new(
        object: &Pointer,
        backing: Backing,
        holder: impl FnOnce() -> Holder,
        state: &Arc<MemoryState>,
        read_only: bool,
    ) -> Option<Self> {
        let hold = Hold::counted(object, PIN, holder)?;
        let pins: &AtomicU64 = &state.counters.pins;
        pins.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            backing,
            read_only,
            hold,
            state: state.clone(),
        })
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> VolatileBytes<'_> {
        let bytes = self.backing.bytes();
        if self.read_only {
            bytes.read_only()
        } else {
            bytes
        }
    }

    /// The backing slice, for what wants a file descriptor or a host address.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// The region that it keeps.
    pub fn region(&self) -> Option<&Region> {
        self.hold.object().instance()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.state.counters.pins.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Pin({} bytes of {})",
            self.backing.len(),
            self.hold.object().describe()
        )
    }
}
