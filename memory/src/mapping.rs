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
    region: Weak<Object>,
    holder: Weak<Object>,
    /// What it maps, and who mapped it: looked up when it is taken away from its holder, as the two may not be there later. At other times
    /// it is looked up where it is asked for, as most mappings come and go unasked.
    parties: OnceLock<[String; 2]>,
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
        if matches!(as_what, Mapped::Withdrawn) {
            let _ = self.parties.set(self.look_up());
        }
        let _ending = self.ending.lock();
        if !self.mark_ended() {
            return false;
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

    /// Says that it has ended, once; true: this call did it, and what it holds is the caller's to let go of.
    fn mark_ended(&self) -> bool {
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
        true
    }

    /// Takes it off its holder's list.
    fn leave_holder(&self) {
        if let (Some(holder), Some(id)) = (self.holder.upgrade(), self.handle.get()) {
            layer::forget_opened(&holder, *id);
        }
    }

    fn look_up(&self) -> [String; 2] {
        let name = |object: &Weak<Object>, other: &str| match object.upgrade() {
            Some(object) => object.describe(),
            None => format!("{other} at {} of `{}`", self.addr, self.space.name()),
        };
        [
            name(&self.region, "a region that is gone"),
            name(&self.holder, "a holder that is gone, of what was"),
        ]
    }

    /// What is mapped, and who mapped it. Takes the tree lock.
    fn parties(&self) -> [String; 2] {
        self.parties
            .get()
            .cloned()
            .unwrap_or_else(|| self.look_up())
    }

    /// The region is withdrawn.
    pub(crate) fn withdraw(&self) {
        if self.end(Mapped::Withdrawn) {
            self.leave_holder();
        }
    }

    fn by(&self) -> Cow<'static, str> {
        let [what, holder] = self.parties();
        format!("the mapping of {what} by {holder}").into()
    }

    fn unmapped(&self) -> MapError {
        let [what, holder] = self.parties();
        MapError::Unmapped { what, holder }
    }

    fn withdrawn(&self) -> MapError {
        let [what, holder] = self.parties();
        MapError::Withdrawn { what, holder }
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
        let [what, _] = self.parties();
        format!("mapping of {what}")
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
                        what: found.object.describe(),
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
            region: Arc::downgrade(region),
            holder: Arc::downgrade(holder),
            parties: OnceLock::new(),
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
            Mapped::Bounce { .. } => {
                let [what, holder] = inner.parties();
                Err(MapError::Bounced { what, holder })
            }
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
        inner.leave_holder();
        if unwritten.is_empty() {
            return Ok(MemTx::OK);
        }
        Ok(inner.space.write(inner.addr, &unwritten, Attrs::default()))
    }
}

impl Drop for Mapping {
    /// Unmaps; what a bounce buffer holds is discarded.
    ///
    /// Whoever drops the mapping lends its bytes to nobody, so there is nobody to wait for: region and bytes are let go of with the last
    /// pointer, which is this one or that of somebody who is just finding the mapping ended.
    fn drop(&mut self) {
        let ended_here = {
            let _ending = self.inner.ending.lock();
            self.inner.mark_ended()
        };
        if ended_here {
            self.inner.leave_holder();
        }
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [what, holder] = self.inner.parties();
        write!(f, "Mapping({what} at {} by {holder})", self.inner.addr)
    }
}
