//! Mappings, which are closed with their holder or their region; and pins, which last as long as one I/O.
//!
//! A mapping gives bytes only in a read section or through a pin. Closing it unlinks it now and lets the region and the bytes go after a
//! grace period, so an idle mapping delays nobody's finalization for longer. A pin keeps region and bytes until the I/O is done.

mod bounce;
mod error;
mod found;
mod listed;
mod pin;

pub use error::{Intent, MapError};
pub use pin::Pin;

pub(crate) use found::Request;
pub(crate) use listed::Listed;

use crate::access::MemTx;
use crate::addr::Gpa;
use crate::attrs::Attrs;
use crate::host::VolatileBytes;
use crate::kept::{Keeper, Lending, Lent};
use crate::space::{AddressSpace, SpaceGuard};
use bounce::bounce;
use qom::Handle;
use qom::layer::{self, Entry, Holder, Pointer, Reason};
use std::borrow::Cow;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// A mapping holds a region.
pub(crate) const MAPPING: Reason = Reason("mapping");
/// A pin holds a region.
pub(crate) const PIN: Reason = Reason("pin (I/O in flight)");

pub(crate) struct MappingInner {
    lent: Lent,
    /// Where it stands on its holder's list.
    entry: Entry,
    /// What it maps, and who mapped it: looked up when it is ended under its user's hands, as the two may not be there later. At other times
    /// it is looked up where it is asked for, as most mappings come and go unasked.
    parties: OnceLock<Box<[String; 2]>>,
    /// Which code opened it.
    place: &'static Location<'static>,
    space: AddressSpace,
    addr: Gpa,
    intent: Intent,
    bounced: bool,
}

impl MappingInner {
    /// Ends the mapping once; true: this call did it.
    fn end(&self, how: Lending) -> bool {
        let _ = self.parties();
        let ended = self.lent.end(how, self.space.machine());
        if ended {
            self.uncount();
        }
        ended
    }

    /// Ends it once, where nobody borrows its bytes: what keeps them goes with the last pointer to this.
    fn end_unlent(&self) -> bool {
        let ended = self.lent.end_with_self();
        if ended {
            self.uncount();
        }
        ended
    }

    /// Called once, by whoever has ended it.
    fn uncount(&self) {
        let counters = &self.space.state().counters;
        counters.mappings.fetch_sub(1, Ordering::Relaxed);
        if self.bounced {
            let used = &self.space.inner.bounce_bytes;
            used.fetch_sub(self.lent.len(), Ordering::Relaxed);
        }
    }

    /// Takes it off its holder's list.
    fn leave_holder(&self) {
        self.entry.forget(self.space.machine());
    }

    /// What is mapped, and who mapped it. Takes the tree lock.
    fn parties(&self) -> [String; 2] {
        let parties = self.parties.get_or_init(|| {
            let region = self.lent.object();
            let holder = self.entry.holder(self.space.machine());
            let name = |object: Option<Pointer>, other: &str| match object {
                Some(object) => object.describe(),
                None => format!("{other} at {} of `{}`", self.addr, self.space.name()),
            };
            Box::new([
                name(region, "what answers"),
                name(holder, "a holder that is gone, of what was"),
            ])
        });
        (**parties).clone()
    }

    /// Who holds the region by it, and from where; none when it has ended.
    pub(crate) fn edge(&self) -> Option<(Holder, &'static Location<'static>)> {
        let holder = self.entry.holder(self.space.machine());
        let holder = holder.map_or(Holder::Outside, |h| Holder::object(&h));
        self.lent.has_keeper().then_some((holder, self.place))
    }

    /// The region is withdrawn.
    pub(crate) fn withdraw(&self) {
        if self.end(Lending::Withdrawn) {
            self.leave_holder();
        }
    }

    fn by(&self) -> Cow<'static, str> {
        let [what, holder] = self.parties();
        format!("the mapping of {what} by {holder}").into()
    }

    /// What is said to whoever uses it after its end.
    #[cold]
    fn ended(&self, how: Lending) -> MapError {
        let [what, holder] = self.parties();
        match how {
            Lending::Open | Lending::Unmapped => MapError::Unmapped { what, holder },
            Lending::Withdrawn => MapError::Withdrawn { what, holder },
        }
    }
}

impl Handle for MappingInner {
    /// At withdrawal: an unwritten bounce buffer is discarded, as writing it back would run foreign callbacks.
    fn close(&self) {
        self.end(Lending::Withdrawn);
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
/// mapping.unmap(5)?;                                  // or dropped
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Source: QEMU's `address_space_map`, with the holder said.
pub struct Mapping {
    inner: Arc<MappingInner>,
}

impl Mapping {
    pub(crate) fn open(request: &Request<'_>) -> Result<Self, MapError> {
        request.check()?;
        let Request {
            space,
            holder,
            addr,
            len,
            intent,
            ..
        } = *request;
        let guard = space.enter();
        let found = guard.view().find(addr);
        let (span, leaf) = found.ok_or_else(|| request.not_ram())?;
        let region = leaf.region().ok_or_else(|| request.not_ram())?;
        let bounced = leaf.bytes().is_none() && leaf.core().ops.is_some();
        let keeper = if bounced {
            let left = (span.last() - addr.0).saturating_add(1);
            Keeper::Copy(bounce(request, &guard, len.min(left))?, layer::weak(region))
        } else {
            let part = request.find_ram(leaf, addr.0 - span.first())?;
            let kept = part.keep_listed();
            Keeper::Region(kept.ok_or_else(|| request.withdrawn(Some(part)))?)
        };
        let inner = Arc::new(MappingInner {
            lent: Lent::new(keeper, !intent.writes(), space.machine()),
            entry: Entry::of(holder),
            parties: OnceLock::new(),
            place: request.place,
            space: space.clone(),
            addr,
            intent,
            bounced,
        });
        let counters = &space.state().counters;
        counters.mappings.fetch_add(1, Ordering::Relaxed);
        let this = Self { inner };
        layer::open_at(holder, &this.inner, |inner| &inner.entry)?;
        if !bounced {
            leaf.core().add_mapping(Arc::downgrade(&this.inner));
            // The region's mark is set before its mappings are taken from the list: either the list had this one, or the mark is
            // seen here.
            if region.is_withdrawn() {
                this.inner.withdraw();
                return Err(this.inner.ended(Lending::Withdrawn));
            }
        }
        Ok(this)
    }

    /// How many bytes were mapped: 1 or more, perhaps fewer than asked for.
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> u64 {
        self.inner.lent.len()
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
        self.inner.lent.state() == Lending::Open
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
        let lent = self.inner.lent.bytes(guard.section());
        lent.map_err(|how| self.inner.ended(how))
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
        let place = Location::caller();
        // Looked up before the lock, and only where it is written down.
        let machine = inner.space.machine();
        let holder = machine.is_recording().then(|| inner.entry.holder(machine));
        let holder = holder.flatten();
        let name = || holder.as_ref().map_or(Holder::Outside, |h| Pin::holder(h));
        let found = inner.lent.with_keeper(|keeper| match keeper {
            Keeper::Region(kept) => {
                let part = kept.part().within(offset, len);
                let part = part.ok_or(NoPin::TooShort)?;
                let part = if inner.intent.writes() {
                    part
                } else {
                    part.read_only()
                };
                Pin::of(part, name, place).ok_or(NoPin::TooMany)
            }
            Keeper::Copy(..) => Err(NoPin::Copy),
        });
        // Names are looked up outside the lock.
        match found {
            Ok(Ok(pin)) => Ok(pin),
            Ok(Err(NoPin::TooShort)) => Err(MapError::TooShort {
                by: inner.by(),
                at,
                wanted: len,
            }),
            Ok(Err(NoPin::Copy)) => {
                let [what, holder] = inner.parties();
                Err(MapError::Bounced { what, holder })
            }
            Ok(Err(NoPin::TooMany)) => Err(inner.ended(Lending::Withdrawn)),
            Err(how) => Err(inner.ended(how)),
        }
    }

    /// Unmaps. `written` bytes from the begin of a bounce buffer for writing go back to where they belong: to whatever is there now.
    ///
    /// # Errors
    /// Its region or its holder has been withdrawn, or it has been unmapped by [`unmap_shared`](Self::unmap_shared).
    pub fn unmap(self, written: u64) -> Result<MemTx, MapError> {
        // Nobody borrows its bytes, so nobody is waited for.
        self.unmap_by(written, MappingInner::end_unlent)
    }

    /// As [`unmap`](Self::unmap), of a mapping that other threads may be reading: they may read on in the read sections they are in.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    pub fn unmap_shared(&self, written: u64) -> Result<MemTx, MapError> {
        self.unmap_by(written, |inner| inner.end(Lending::Unmapped))
    }

    fn unmap_by(
        &self,
        written: u64,
        end: impl FnOnce(&MappingInner) -> bool,
    ) -> Result<MemTx, MapError> {
        let inner = &self.inner;
        let unwritten = if inner.bounced && inner.intent.writes() {
            let mut data = vec![0; usize::try_from(written.min(inner.lent.len())).unwrap_or(0)];
            let read = self.bytes(&inner.space.enter())?.read(0, &mut data);
            debug_assert!(read.is_ok(), "the length was cut to the buffer's");
            data
        } else {
            Vec::new()
        };
        if !end(inner) {
            // Somebody was faster; the mapping says what came of it.
            return Err(inner.ended(inner.lent.state()));
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
        if self.inner.end_unlent() {
            self.inner.leave_holder();
        }
    }
}

/// Why there is no pin of a mapping.
enum NoPin {
    TooShort,
    TooMany,
    Copy,
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [what, holder] = self.inner.parties();
        write!(f, "Mapping({what} at {} by {holder})", self.inner.addr)
    }
}
