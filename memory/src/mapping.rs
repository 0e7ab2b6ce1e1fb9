//! Mappings, which are closed with their holder or their region; and pins, which last as long as one I/O.
//!
//! A mapping gives bytes only in a read section or through a pin. Closing it unlinks it now and lets the region and the bytes go after a
//! grace period, so an idle mapping delays nobody's finalization for longer. A pin keeps region and bytes until the I/O is done.

mod block;
mod bounce;
mod error;
mod found;
mod lent;
mod pin;

pub use error::{Intent, MapError};
pub use pin::Pin;

pub(crate) use found::Request;

use crate::access::MemTx;
use crate::addr::Gpa;
use crate::attrs::Attrs;
use crate::host::VolatileBytes;
use crate::space::{AddressSpace, SpaceGuard};
use block::{Block, Pair};
use bounce::bounce;
use lent::{Keeper, Lent};
use qom::layer::{self, End, Entry, HandleOn, Holder, Pointer, Reason, Target};
use qom::{Object, TreeError};
use std::borrow::Cow;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// A mapping holds a region.
pub(crate) const MAPPING: Reason = Reason("mapping");
/// A pin holds a region.
pub(crate) const PIN: Reason = Reason("pin (I/O in flight)");

pub(crate) struct MappingInner {
    /// Where it stands, and what it maps.
    lent: Lent,
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
    /// Called once, by whoever has ended it.
    #[inline]
    fn uncount(&self) {
        if self.bounced {
            let used = &self.space.inner.bounce_bytes;
            used.fetch_sub(self.lent.len(), Ordering::Relaxed);
        }
    }

    /// Closes it for whoever has it, while nobody borrows its bytes. None: somebody was faster, or it has been closed.
    #[inline]
    fn close_unread(&self) -> Option<Arc<dyn HandleOn>> {
        let closed = self.lent.entry.close_unread(self.space.machine())?;
        self.uncount();
        Some(closed)
    }

    fn write_back(&self, unwritten: &[u8]) -> MemTx {
        if unwritten.is_empty() {
            return MemTx::OK;
        }
        self.space.write(self.addr, unwritten, Attrs::default())
    }

    /// What is mapped, and who mapped it, by the names of now, or those of its end. Takes the tree lock.
    fn parties(&self) -> [String; 2] {
        self.parties
            .get()
            .map_or_else(|| self.look_up(), |parties| (**parties).clone())
    }

    /// It is about to end under its user's hands: the names stay what they are now.
    fn remember_parties(&self) {
        let _ = self.parties.get_or_init(|| Box::new(self.look_up()));
    }

    fn look_up(&self) -> [String; 2] {
        let region = self.region();
        let holder = self.lent.entry.holder(self.space.machine());
        let name = |object: Option<Pointer>, other: &str| match object {
            Some(object) => object.describe(),
            None => format!("{other} at {} of `{}`", self.addr, self.space.name()),
        };
        [
            name(region, "what answers"),
            name(holder, "a holder that is gone, of what was"),
        ]
    }

    /// The region that the bytes belong to or are a copy of, as long as they are kept.
    fn region(&self) -> Option<Pointer> {
        let section = self.space.machine().domain().enter();
        match self.lent.keeper(&section)? {
            Keeper::Region(kept) => kept.object().pointer().ok(),
            Keeper::Copy(_, region) => region.upgrade(),
        }
    }

    fn by(&self) -> Cow<'static, str> {
        let [what, holder] = self.parties();
        format!("the mapping of {what} by {holder}").into()
    }

    /// It has not been opened.
    #[cold]
    fn refused(&self, error: TreeError) -> MapError {
        self.uncount();
        match error {
            TreeError::ChildWithdrawn { .. } => self.ended(End::Withdrawn),
            error => error.into(),
        }
    }

    /// What is said to whoever uses it after its end.
    #[cold]
    fn ended(&self, how: End) -> MapError {
        let [what, holder] = self.parties();
        match how {
            End::NotYet | End::Closed => MapError::Unmapped { what, holder },
            End::Withdrawn => MapError::Withdrawn { what, holder },
        }
    }
}

impl HandleOn for Block {
    fn entry(&self) -> &Entry {
        &self.lent.entry
    }

    /// An unwritten bounce buffer is discarded, as writing it back would run foreign callbacks.
    fn end(self: Arc<Self>) {
        self.remember_parties();
        self.uncount();
        let machine = self.space.machine().clone();
        Lent::let_go(self, &machine);
    }

    fn describe(&self) -> String {
        let [what, _] = self.parties();
        format!("mapping of {what}")
    }

    fn edge(&self) -> (Reason, &'static Location<'static>) {
        (MAPPING, self.place)
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
    /// Until it is dropped.
    block: Option<Arc<Block>>,
}

impl Mapping {
    /// The usual case: RAM, all of it in one range.
    #[inline]
    pub(crate) fn at_once(request: &Request<'_>) -> Option<Self> {
        let Request { space, holder, .. } = *request;
        if !layer::belongs_to(holder, space.machine()) || request.len == 0 {
            return None;
        }
        let guard = space.enter();
        let (span, leaf) = guard.view().near_at_once(request.addr)?;
        let part = leaf.part()?;
        if request.intent.writes() && !leaf.writes_directly() {
            return None;
        }
        // Before the range this is past all that there is in it.
        let offset = request.addr.0.wrapping_sub(span.first());
        let kept = part.within(offset, request.len)?.keep_listed()?;
        let region = leaf.region()?;
        Self::list(request, Keeper::Region(kept), Some(region)).ok()
    }

    /// Any other case, and what stands in the way.
    ///
    /// # Errors
    /// As [`AddressSpace::map`](crate::AddressSpace::map).
    #[cold]
    pub(crate) fn or_error(request: &Request<'_>) -> Result<Self, MapError> {
        request.check()?;
        let (addr, guard) = (request.addr, request.space.enter());
        let found = guard.view().find(addr);
        let (span, leaf) = found.ok_or_else(|| request.not_ram())?;
        let region = leaf.region().ok_or_else(|| request.not_ram())?;
        if leaf.bytes().is_none() && leaf.core().ops.is_some() {
            let left = (span.last() - addr.0).saturating_add(1);
            let copy = bounce(request, &guard, request.len.min(left))?;
            let keeper = Keeper::Copy(copy, layer::weak(region));
            return Self::list(request, keeper, None).map_err(|refused| *refused);
        }
        let part = request.find_ram(leaf, addr.0 - span.first())?;
        let kept = part.keep_listed();
        let kept = kept.ok_or_else(|| request.withdrawn(Some(part)))?;
        Self::list(request, Keeper::Region(kept), Some(region)).map_err(|refused| *refused)
    }

    /// Puts it on the list of its holder, and on that of the region that it is on.
    #[inline]
    fn list(
        request: &Request<'_>,
        keeper: Keeper,
        on: Option<&Object>,
    ) -> Result<Self, Box<MapError>> {
        let spare = Pair::spare();
        let Request { space, intent, .. } = *request;
        let entry = Entry::of(request.holder, on);
        let (block, listed) = spare.fill(MappingInner {
            lent: Lent::new(entry, keeper, !intent.writes(), space.machine()),
            parties: OnceLock::new(),
            place: request.place,
            space: space.clone(),
            addr: request.addr,
            intent,
            bounced: on.is_none(),
        });
        match layer::open_on(request.holder, on, &*block, listed) {
            Ok(()) => Ok(Self { block: Some(block) }),
            Err(error) => Err(Box::new(block.refused(error))),
        }
    }

    #[inline]
    fn inner(&self) -> &MappingInner {
        self.block.as_ref().expect("it is taken out at the drop")
    }

    /// How many bytes were mapped: 1 or more, perhaps fewer than asked for.
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    pub fn len(&self) -> u64 {
        self.inner().lent.len()
    }

    /// Where.
    pub fn addr(&self) -> Gpa {
        self.inner().addr
    }

    /// Whether the bytes are a copy that is written back when it is unmapped.
    pub fn is_bounced(&self) -> bool {
        self.inner().bounced
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.inner().lent.entry.standing() == End::NotYet
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
        let inner = self.inner();
        let lent = inner.lent.bytes(guard.section());
        lent.map_err(|how| inner.ended(how))
    }

    /// Pins `len` of its bytes from `offset` on, for an I/O in flight.
    ///
    /// # Errors
    /// As [`bytes`](Self::bytes); `len` is zero, the bytes are not all inside, or they are a bounce buffer.
    #[track_caller]
    pub fn pin(&self, offset: u64, len: u64) -> Result<Pin, MapError> {
        let inner = self.inner();
        let at = Gpa(inner.addr.0.saturating_add(offset));
        if len == 0 {
            return Err(MapError::Empty { by: inner.by(), at });
        }
        let place = Location::caller();
        let machine = inner.space.machine();
        let section = machine.domain().enter();
        match inner.lent.entry.standing() {
            End::NotYet => {}
            ended => return Err(inner.ended(ended)),
        }
        let Some(Keeper::Region(kept)) = inner.lent.keeper(&section) else {
            let [what, holder] = inner.parties();
            return Err(if inner.bounced {
                MapError::Bounced { what, holder }
            } else {
                MapError::Withdrawn { what, holder }
            });
        };
        let part = kept.part().within(offset, len);
        let part = part.ok_or_else(|| MapError::TooShort {
            by: inner.by(),
            at,
            wanted: len,
        })?;
        let part = if inner.intent.writes() {
            part
        } else {
            part.read_only()
        };
        // Looked up only where it is written down.
        let holder = || {
            let holder = inner.lent.entry.holder(machine);
            holder.map_or(Holder::Outside, |h| Pin::holder(&h))
        };
        Pin::of(part, holder, place).ok_or_else(|| inner.ended(End::Withdrawn))
    }

    /// Unmaps. `written` bytes from the begin of a bounce buffer for writing go back to where they belong: to whatever is there now.
    ///
    /// # Errors
    /// Its region or its holder has been withdrawn, or it has been unmapped by [`unmap_shared`](Self::unmap_shared).
    pub fn unmap(mut self, written: u64) -> Result<MemTx, MapError> {
        let unwritten = self.unwritten(written)?;
        let inner = self.inner();
        let Some(listed) = inner.close_unread() else {
            // Nobody but a withdrawal can be faster than whoever has it.
            return Err(inner.ended(match inner.lent.entry.standing() {
                End::NotYet => End::Withdrawn,
                ended => ended,
            }));
        };
        let written = inner.write_back(&unwritten);
        if let Some(block) = self.block.take() {
            Block::part(block, listed);
        }
        Ok(written)
    }

    /// As [`unmap`](Self::unmap), of a mapping that other threads may be reading: they may read on in the read sections they are in.
    ///
    /// # Errors
    /// As [`unmap`](Self::unmap).
    pub fn unmap_shared(&self, written: u64) -> Result<MemTx, MapError> {
        let unwritten = self.unwritten(written)?;
        let inner = self.inner();
        // While the two are there.
        inner.remember_parties();
        let machine = inner.space.machine();
        if inner.lent.entry.close(machine).is_none() {
            // Somebody was faster; the entry says what came of it.
            return Err(inner.ended(inner.lent.entry.standing()));
        }
        inner.uncount();
        if let Some(block) = &self.block {
            Lent::let_go(block.clone(), machine);
        }
        Ok(inner.write_back(&unwritten))
    }

    /// What goes back to where it belongs.
    fn unwritten(&self, written: u64) -> Result<Vec<u8>, MapError> {
        let inner = self.inner();
        if !(inner.bounced && inner.intent.writes()) {
            return Ok(Vec::new());
        }
        let mut data = vec![0; usize::try_from(written.min(inner.lent.len())).unwrap_or(0)];
        let read = self.bytes(&inner.space.enter())?.read(0, &mut data);
        debug_assert!(read.is_ok(), "the length was cut to the buffer's");
        Ok(data)
    }
}

impl Drop for Mapping {
    /// Unmaps; what a bounce buffer holds is discarded.
    ///
    /// Whoever drops the mapping lends its bytes to nobody, so there is nobody to wait for: region and bytes are let go of with the last
    /// pointer, which is this one or that of somebody who is just looking at the mapping.
    fn drop(&mut self) {
        let Some(block) = self.block.take() else {
            return;
        };
        if let Some(listed) = block.close_unread() {
            Block::part(block, listed);
        }
    }
}

impl std::fmt::Debug for Mapping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.inner();
        let [what, holder] = inner.parties();
        write!(f, "Mapping({what} at {} by {holder})", inner.addr)
    }
}
