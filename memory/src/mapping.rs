//! Mappings, which are closed with their holder or their region; and pins, which last as long as one I/O.
//!
//! A mapping gives bytes only in a read section or through a pin. Closing it unlinks it now and lets the region and the bytes go after a
//! grace period, so an idle mapping delays nobody's finalization for longer. A pin keeps region and bytes until the I/O is done.

mod bounce;
mod error;
mod found;
mod pin;

pub use error::{Intent, MapError};
pub use pin::Pin;

use crate::access::MemTx;
use crate::addr::Gpa;
use crate::attrs::Attrs;
use crate::host::{Backing, VolatileBytes};
use crate::space::{AddressSpace, SpaceGuard};
use bounce::bounce;
use found::Request;
use parking_lot::Mutex;
use qom::grace::Published;
use qom::layer::{self, Hold, Holder, Pointer, Reason};
use qom::{Handle, HandleId, Object};
use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A mapping holds a region.
pub(crate) const MAPPING: Reason = Reason("mapping");
/// A pin holds a region.
pub(crate) const PIN: Reason = Reason("pin (I/O in flight)");

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
    /// Held while the mapping ends: who finds it ended finds its bytes gone, too.
    ending: Mutex<()>,
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
        let _ending = self.ending.lock();
        // ORDERING: AcqRel: pairs with the Acquire of those who ask without the lock.
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

    fn by(&self) -> Cow<'static, str> {
        format!("the mapping of {} by {}", self.what, self.holder_name).into()
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

impl Mapping {
    #[track_caller]
    pub(crate) fn open(
        space: &AddressSpace,
        holder: &Pointer,
        addr: Gpa,
        len: u64,
        intent: Intent,
    ) -> Result<Self, MapError> {
        let request = Request {
            space,
            holder,
            addr,
            len,
            intent,
        };
        request.check()?;
        let guard = space.enter();
        let found = guard.view().find(addr);
        let (span, leaf) = found.ok_or_else(|| request.not_ram())?;
        let offset = addr.0 - span.first();
        let region = leaf.pointer().ok_or_else(|| request.not_ram())?;
        let what = region.describe();
        let is_io = leaf.bytes().is_none() && leaf.core().ops.is_some();
        let (mapped, len, bounced) = if is_io {
            let left = (span.last() - addr.0).saturating_add(1);
            let backing = bounce(&request, &guard, len.min(left))?;
            let len = backing.len();
            (Mapped::Bounce { backing }, len, true)
        } else {
            let found = request.find_ram(leaf, offset)?;
            let len = found.backing.len();
            let hold =
                Hold::new(found.object, MAPPING, Holder::object(holder)).ok_or_else(|| {
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
            ending: Mutex::new(()),
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
        // ORDERING: Acquire pairs with the swap in `end`: who sees it ended sees nothing newer than that end.
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
            return Err(MapError::Empty { by: inner.by(), at });
        }
        let guard = inner.space.machine().domain().enter();
        match inner.mapped.load(&guard) {
            Mapped::Direct { backing, hold } => {
                let backing = backing.slice(offset, len).map_err(|_| MapError::TooShort {
                    by: inner.by(),
                    at,
                    wanted: len,
                })?;
                let holder = || {
                    inner
                        .holder
                        .upgrade()
                        .map_or(Holder::Outside, |h| Pin::holder(&h))
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
            // Somebody was faster; the mapping says what came of it.
            let ended = self.bytes(&inner.space.enter()).err();
            return Err(ended.unwrap_or_else(|| inner.unmapped()));
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
