//! Address spaces: a root, a published view, listeners.

mod guard;

pub use guard::{SpaceGuard, SpaceReader};

use crate::access::{Endian, MemTx, MemTxError};
use crate::addr::Gpa;
use crate::attrs::Attrs;
use crate::dispatch::{self, AtOnce, Scalar, StoreAtOnce};
use crate::flat::{FlatRange, render_full};
use crate::listener::{self, Listener, ListenerEntry, ListenerHandle};
use crate::mapping::{Intent, MapError, Mapping, Pin, Request};
use crate::region::{RegionError, RegionTarget};
use crate::snapshot::Snapshot;
use crate::state::MemoryState;
use crate::topology::SpaceKey;
use crate::transaction::{self, ROOT, Session};
use crate::view::{View, ViewCell};
use arc_swap::ArcSwap;
use qom::grace::{Domain, Published};
use qom::layer::{self, Hold, Holder, Place, Target, machine_of};
use qom::{Handle, HandleId, MachineHandle};
use std::hint::cold_path;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// How many bytes of bounce buffers a space may have at once, unless it is told otherwise. QEMU's default.
pub const DEFAULT_BOUNCE_BYTES: u64 = 4096;

pub(crate) struct SpaceInner {
    pub(crate) name: String,
    pub(crate) key: SpaceKey,
    pub(crate) machine: MachineHandle,
    /// The machine's, at hand.
    domain: Domain,
    pub(crate) listeners: ArcSwap<Vec<Arc<ListenerEntry>>>,
    pub(crate) bounce_bytes: AtomicU64,
    pub(crate) bounce_limit: AtomicU64,
    state: Arc<MemoryState>,
    pub(super) published: Published<ViewCell>,
    closed: AtomicBool,
    holder: Weak<qom::Object>,
    handle: OnceLock<HandleId>,
}

impl SpaceInner {
    pub(crate) fn is_closed(&self) -> bool {
        // ORDERING: Acquire pairs with the swap in `close`.
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn current(&self) -> View {
        let guard = self.machine.domain().enter();
        self.published.load(&guard).view.clone()
    }

    /// Publishes a view and retires the one before. Under the topology lock.
    pub(crate) fn publish(&self, view: View, bytes: u64) {
        let old = self
            .published
            .swap_inert(Arc::new(ViewCell::new(view)), bytes);
        let _ = old.retired.set(self.machine.pending());
    }
}

impl Handle for SpaceInner {
    fn close(&self) {
        // ORDERING: AcqRel: whoever sees the flag sees a space that takes nothing new.
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let session = Session::open(&self.state);
        session.with(|topo| {
            if let Err(error) = topo.topology.detach_root(self.key) {
                tracing::error!(space = %self.name, %error, "an open space was not attached");
            }
            let hold = topo.root_holds.remove(&self.key);
            topo.garbage.extend(hold);
            topo.closing.push(self.key);
        });
    }

    fn describe(&self) -> String {
        format!("address space `{}`", self.name)
    }
}

/// An address space: what is seen from one root. A cheap handle; the space closes with the object in whose name it was opened.
///
/// Source: QEMU's `AddressSpace`.
///
/// ```
/// use memory::{AddressSpace, Attrs, Backing, Endian, Gpa, Offset, Priority, Region, RegionApi, Size};
///
/// let machine = qom::Machine::new("doc");
/// let system = Region::container("system", Size::MAX).create(machine.root())?;
/// let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// system.add_subregion(Offset(0x4000), &ram, Priority(0))?;
/// let space = AddressSpace::open(machine.root(), "memory", &system)?;
///
/// space.store::<u32>(Gpa(0x4000), 1, Attrs::default())?;           // each access by itself,
/// let guard = space.enter();                                        // or several in one read section
/// assert_eq!(guard.load_as::<u32>(Gpa(0x4000), Endian::Big, Attrs::default())?, 0x0100_0000);
/// assert_eq!(guard.compare_exchange::<u32>(Gpa(0x4000), 1, 2, Attrs::default())?, Ok(1));
/// drop(guard);
/// assert!(space.load::<u8>(Gpa(0), Attrs::default()).is_err());     // nothing is there
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct AddressSpace {
    pub(crate) inner: Arc<SpaceInner>,
}

impl AddressSpace {
    /// Opens an address space on `root` in the name of `holder`.
    ///
    /// # Errors
    /// Either is withdrawn, gone or still in init, the machines differ, or this is a listener.
    pub fn open(
        holder: &(impl Target + ?Sized),
        name: &str,
        root: &(impl RegionTarget + ?Sized),
    ) -> Result<Self, RegionError> {
        let (holder, root) = (holder.pointer()?, root.region()?);
        transaction::same_machine(&root, &holder)?;
        let region = transaction::region_of(&root)?;
        if !region.owner().is_complete() {
            return Err(RegionError::DuringInit {
                region: root.describe(),
                other: format!("address space `{name}`"),
                owner: region.owner().describe(),
            });
        }
        if layer::depth(Place::Listener) > 0 {
            return Err(RegionError::Forbidden {
                region: name.into(),
                place: Place::Listener,
            });
        }
        let machine = machine_of(&holder);
        let state = MemoryState::of(&machine);
        let key = transaction::key_of(&root)?;
        let session = Session::open(&state);
        if root.is_withdrawn() {
            let space = format!("`{name}` of {}", holder.describe());
            return Err(transaction::withdrawn(&root, "an address space", &space));
        }
        let space_key = session.with(|topo| {
            topo.next_space += 1;
            SpaceKey(topo.next_space)
        });
        let inner = Arc::new(SpaceInner {
            name: name.into(),
            key: space_key,
            domain: machine.domain().clone(),
            published: Published::new(machine.domain(), Arc::new(ViewCell::default())),
            listeners: ArcSwap::default(),
            bounce_bytes: AtomicU64::new(0),
            bounce_limit: AtomicU64::new(DEFAULT_BOUNCE_BYTES),
            closed: AtomicBool::new(false),
            holder: Arc::downgrade(&holder),
            handle: OnceLock::new(),
            state: state.clone(),
            machine,
        });
        // The holder's mark is tested in here; were it set later, its withdrawal finds the space in its list.
        let handle = layer::open(&holder, inner.clone())?;
        let _ = inner.handle.set(handle);
        session.with(|topo| {
            topo.topology
                .attach_root(space_key, key)
                .map_err(|error| topo.explain(error))?;
            if let Some(hold) = Hold::new(
                &root,
                ROOT,
                Holder::named(format!("address space `{name}`")),
            ) {
                topo.root_holds.insert(space_key, hold);
            }
            topo.spaces.insert(space_key, inner.clone());
            Ok::<(), RegionError>(())
        })?;
        drop(session);
        Ok(Self { inner })
    }

    /// Closes it: its listeners are told that everything is gone, and it shows nothing from now on. Again is a no-op.
    ///
    /// Inside a listener, where topology does not change, it is left to the machine's executor.
    pub fn close(&self) {
        if layer::depth(Place::Listener) > 0 {
            let this = self.clone();
            self.inner.machine.defer(move || this.close());
            return;
        }
        Handle::close(&*self.inner);
        if let (Some(holder), Some(id)) = (self.inner.holder.upgrade(), self.inner.handle.get()) {
            layer::forget_opened(&holder, *id);
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its machine.
    pub fn machine(&self) -> &MachineHandle {
        &self.inner.machine
    }

    /// How many bytes of bounce buffers it may have at once.
    pub fn set_bounce_limit(&self, bytes: u64) {
        self.inner.bounce_limit.store(bytes, Ordering::Relaxed);
    }

    /// Enters a read section: for several accesses, fixed views and borrowed bytes. Finds this thread's slot by itself.
    #[inline]
    pub fn enter(&self) -> SpaceGuard<'_> {
        SpaceGuard::new(self.inner.domain.enter(), &self.inner)
    }

    /// This thread's way into the space, for hot loops.
    pub fn reader(&self) -> SpaceReader {
        SpaceReader::new(self.clone())
    }

    /// Loads a number of 1, 2, 4 or 8 bytes, in the target's byte order. An aligned load from RAM is single-copy atomic.
    ///
    /// # Errors
    /// What the transaction came to: nothing there, the device's error, access denied.
    #[expect(
        clippy::inline_always,
        reason = "a call costs a quarter of a load: the registers that it saves are for the thread's slot, which a loop finds once"
    )]
    #[inline(always)]
    pub fn load<T: Scalar>(&self, addr: Gpa, attrs: Attrs) -> Result<T, MemTxError> {
        // Each way out ends with a call or with none at all, so that the usual one saves no registers.
        let Some(glance) = self.inner.domain.glance() else {
            return self.load_otherwise(addr, attrs);
        };
        let Some(shown) = self.inner.published.try_load(glance.guard()) else {
            return glance.end(self).load_otherwise(addr, attrs);
        };
        match dispatch::load_at_once(&shown.view, addr.0, Endian::Native) {
            AtOnce::Value(value) => glance.end(Ok(value)),
            AtOnce::Calls(at, offset) => match dispatch::loaded(at.load(offset, T::SIZE, attrs)) {
                Ok(value) => glance.end(Ok(value)),
                Err(error) => {
                    cold_path();
                    glance.end(Err(error))
                }
            },
            AtOnce::Other => glance.end(self).load_otherwise(addr, attrs),
        }
    }

    #[inline(never)]
    fn load_otherwise<T: Scalar>(&self, addr: Gpa, attrs: Attrs) -> Result<T, MemTxError> {
        self.enter().load_otherwise(addr, attrs)
    }

    /// Stores a number; see [`load`](Self::load).
    ///
    /// # Errors
    /// As [`load`](Self::load).
    #[expect(clippy::inline_always, reason = "as for `load`")]
    #[inline(always)]
    pub fn store<T: Scalar>(&self, addr: Gpa, value: T, attrs: Attrs) -> Result<(), MemTxError> {
        let Some(glance) = self.inner.domain.glance() else {
            return self.store_otherwise(addr, value, attrs);
        };
        let Some(shown) = self.inner.published.try_load(glance.guard()) else {
            return glance.end(self).store_otherwise(addr, value, attrs);
        };
        match dispatch::store_at_once(&shown.view, addr.0, value) {
            StoreAtOnce::Done => glance.end(Ok(())),
            StoreAtOnce::Calls(at, offset) => {
                let stored = at.store(offset, T::SIZE, attrs, value.to_u64());
                glance.end(stored.ok())
            }
            StoreAtOnce::Other => glance.end(self).store_otherwise(addr, value, attrs),
        }
    }

    #[inline(never)]
    fn store_otherwise<T: Scalar>(
        &self,
        addr: Gpa,
        value: T,
        attrs: Attrs,
    ) -> Result<(), MemTxError> {
        self.enter().store_otherwise(addr, value, attrs)
    }

    /// Reads `buf.len()` bytes, in accesses as the regions take them. Goes on after errors and unites their results; what
    /// could not be read is 0.
    pub fn read(&self, addr: Gpa, buf: &mut [u8], attrs: Attrs) -> MemTx {
        self.enter().read(addr, buf, attrs)
    }

    /// Writes `data`; see [`read`](Self::read).
    pub fn write(&self, addr: Gpa, data: &[u8], attrs: Attrs) -> MemTx {
        self.enter().write(addr, data, attrs)
    }

    /// Compares and exchanges a number in RAM, atomically: what was there, as `Ok` where it was `current`.
    ///
    /// # Errors
    /// No writable RAM there, or not aligned.
    pub fn compare_exchange<T: Scalar>(
        &self,
        addr: Gpa,
        current: T,
        new: T,
        attrs: Attrs,
    ) -> Result<Result<T, T>, MemTxError> {
        self.enter().compare_exchange(addr, current, new, attrs)
    }

    /// A loader's write: reaches RAM, ROM and the bytes of ROM devices; skips devices.
    pub fn write_rom(&self, addr: Gpa, data: &[u8]) -> MemTx {
        let guard = self.enter();
        dispatch::write_rom(guard.view(), addr.0, data)
    }

    /// Maps up to `len` bytes at `addr` in the name of `holder`. What is given may be shorter. Callbacks are mapped through a bounce buffer.
    ///
    /// # Errors
    /// `len` is zero, nothing is there, RAM that may not be written, no bounce buffer is left, or the holder is withdrawn, gone or in init.
    #[track_caller]
    pub fn map(
        &self,
        holder: &(impl Target + ?Sized),
        addr: Gpa,
        len: u64,
        intent: Intent,
    ) -> Result<Mapping, MapError> {
        let (here, range) = (Location::caller(), (addr, len));
        if let Some(object) = holder.at_hand()
            && let Some(mapping) =
                Mapping::at_once(&Request::new(self, object, range, intent, here))
        {
            return Ok(mapping);
        }
        self.map_otherwise(holder, range, intent, here)
    }

    /// Apart, as a result with an error in it goes through memory.
    #[inline(never)]
    fn map_otherwise(
        &self,
        holder: &(impl Target + ?Sized),
        range: (Gpa, u64),
        intent: Intent,
        here: &'static Location<'static>,
    ) -> Result<Mapping, MapError> {
        holder.with(|holder| {
            let request = Request::new(self, holder, range, intent, here);
            Mapping::at_once(&request).map_or_else(|| Mapping::or_error(&request), Ok)
        })?
    }

    /// Pins exactly `len` bytes of RAM at `addr` for an I/O in flight of `holder`.
    ///
    /// # Errors
    /// As [`map`](Self::map); and not all bytes are in one range of RAM.
    #[track_caller]
    #[expect(
        clippy::inline_always,
        reason = "a call would take the pin through memory, which costs as much as pinning"
    )]
    #[inline(always)]
    pub fn pin(
        &self,
        holder: &(impl Target + ?Sized),
        addr: Gpa,
        len: u64,
        intent: Intent,
    ) -> Result<Pin, MapError> {
        let (here, range) = (Location::caller(), (addr, len));
        if let Some(object) = holder.at_hand()
            && let Some(pin) = Pin::at_once(&Request::new(self, object, range, intent, here))
        {
            return Ok(pin);
        }
        self.pin_otherwise(holder, range, intent, here)
    }

    /// Apart, as a result with an error in it goes through memory.
    #[inline(never)]
    fn pin_otherwise(
        &self,
        holder: &(impl Target + ?Sized),
        range: (Gpa, u64),
        intent: Intent,
        here: &'static Location<'static>,
    ) -> Result<Pin, MapError> {
        holder.with(|holder| {
            let request = Request::new(self, holder, range, intent, here);
            Pin::at_once(&request).map_or_else(|| Pin::or_error(&request), Ok)
        })?
    }

    /// An owned copy of the present view, in the name of `holder`; never to be kept across a return to the event loop.
    ///
    /// # Errors
    /// The holder is withdrawn, gone, or of another machine.
    #[track_caller]
    pub fn snapshot(&self, holder: &(impl Target + ?Sized)) -> Result<Snapshot, RegionError> {
        let holder = holder.pointer()?;
        if !layer::belongs_to(&holder, self.machine()) {
            return Err(RegionError::OtherMachine {
                region: format!("address space `{}`", self.name()).into(),
                machine: self.machine().name().into(),
                other: holder.describe().into(),
                other_machine: holder.machine_name().into(),
            });
        }
        if holder.is_withdrawn() {
            let space = format!("address space `{}`", self.name());
            return Err(transaction::withdrawn(&holder, "a snapshot", &space));
        }
        Ok(Snapshot::take(self, &holder))
    }

    /// What the space shows, rendered from nothing by the slow renderer: for checks. Takes the topology lock; what an open transaction of
    /// this thread has changed is in it.
    pub fn render_anew(&self) -> Vec<FlatRange> {
        let lock = self.inner.state.lock.lock();
        let topo = lock.borrow();
        render_full(&topo.topology, topo.topology.root_of(self.inner.key))
    }

    /// Registers a listener in the name of `owner`: it is told of all that is there, and then of each change.
    ///
    /// # Errors
    /// The owner has another type, is withdrawn, gone or in init; the space is closed; or this is a listener.
    pub fn listen<L: Listener>(
        &self,
        owner: &(impl Target + ?Sized),
        listener: L,
    ) -> Result<ListenerHandle, RegionError> {
        listener::register(&self.inner, &self.inner.state, owner, listener)
    }

    pub(crate) fn state(&self) -> &Arc<MemoryState> {
        &self.inner.state
    }
}

impl std::fmt::Debug for AddressSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AddressSpace({})", self.inner.name)
    }
}
