//! A machine under observation: who was made for whom, in which order all were finalized, and whether anybody was called after its end.

use memory::{
    Access, AddressSpace, Attrs, Backing, BackingCounter, Gpa, MemTxError, Offset, Priority,
    Region, RegionApi, RegionBuilder, RegionError, RegionOps, RegionTarget, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, RealizeContext};
use qom::layer::{self, Target};
use qom::{
    Child, Init, Machine, MachineBuilder, MachineEvent, MachineHandle, ObjectId, ObjectImpl,
    ObjectOps, Ref, RootObject, Subscription,
};
use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// Longer than anything takes that works.
pub const LONG: Duration = Duration::from_secs(30);

/// How the text of a panic begins that a test asked for.
const PLANNED: &str = "planned panic";

/// Keeps planned panics off the terminal.
pub fn hush_planned_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload_as_str().unwrap_or_default();
            if !text.starts_with(PLANNED) {
                before(info);
            }
        }));
    });
}

/// What has been seen of one machine's objects. Any thread.
#[derive(Default)]
pub struct Watch {
    seen: Mutex<Seen>,
    bytes: BackingCounter,
}

#[derive(Default)]
struct Seen {
    /// Region and owner.
    owners: Vec<(ObjectId, ObjectId)>,
    /// Objects whose own finalizer has begun.
    ended: HashSet<ObjectId>,
    /// In order.
    finalized: Vec<(ObjectId, String)>,
    panics: Vec<String>,
    /// Observed objects whose fields were dropped.
    dropped: usize,
    wrong: Vec<String>,
}

impl Watch {
    /// The watch of a machine.
    pub fn of(machine: &MachineHandle) -> Arc<Self> {
        machine.extension(Self::default)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the bytes of all backings made through [`ram`].
    pub fn bytes(&self) -> &BackingCounter {
        &self.bytes
    }

    /// A region was made for an owner, which is to be finalized after it.
    pub fn made(&self, region: ObjectId, owner: ObjectId) {
        self.seen().owners.push((region, owner));
    }

    /// Something that must not happen did.
    pub fn wrong(&self, what: String) {
        self.seen().wrong.push(what);
    }

    /// Whether the finalizer of an observed object has begun.
    pub fn has_ended(&self, object: ObjectId) -> bool {
        self.seen().ended.contains(&object)
    }

    /// Observed objects whose finalizer has begun, and those whose fields have been dropped: as many, once nobody has as much as a pointer to them.
    pub fn ended_and_dropped(&self) -> (usize, usize) {
        let seen = self.seen();
        (seen.ended.len(), seen.dropped)
    }

    /// The paths of finalized objects, in order.
    pub fn finalized(&self) -> Vec<String> {
        self.seen()
            .finalized
            .iter()
            .map(|(_, p)| p.clone())
            .collect()
    }

    /// Panics that the machine reported: who, and where.
    pub fn panics(&self) -> Vec<String> {
        self.seen().panics.clone()
    }

    fn note(&self, event: &MachineEvent) {
        match event {
            MachineEvent::Finalized { id, path, .. } => {
                self.seen().finalized.push((*id, path.clone()));
            }
            MachineEvent::Panicked {
                object,
                what,
                message,
            } => {
                self.seen()
                    .panics
                    .push(format!("{object}: {what}: {message}"));
            }
            _ => {}
        }
    }

    /// What is wrong with what has been seen so far, in words: an object finalized twice, an owner before its region, a call after the end.
    pub fn complaints(&self) -> Vec<String> {
        let seen = self.seen();
        let mut complaints = seen.wrong.clone();
        let mut at: HashMap<ObjectId, usize> = HashMap::new();
        for (i, (id, path)) in seen.finalized.iter().enumerate() {
            if at.insert(*id, i).is_some() {
                complaints.push(format!("{path} was finalized twice"));
            }
        }
        let name = |id: &ObjectId| at.get(id).map(|i| seen.finalized[*i].1.clone());
        for (region, owner) in &seen.owners {
            match (at.get(region), at.get(owner)) {
                (Some(r), Some(o)) if r > o => complaints.push(format!(
                    "{:?} was finalized before its region {:?}",
                    name(owner),
                    name(region)
                )),
                (None, Some(_)) => complaints.push(format!(
                    "{:?} was finalized, and its region {region:?} was not",
                    name(owner)
                )),
                _ => {}
            }
        }
        complaints
    }
}

/// A station of an observed object, at which a test can have something happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// A device is being realized.
    Realize,
    /// A device is being unrealized.
    Unrealize,
    /// The unparent hook.
    Unparent,
    /// The finalizer.
    Finalize,
    /// A callback for a read.
    Read,
    /// A callback for a write.
    Write,
    /// The object's own fields are being dropped.
    Drop,
    /// A handle opened in the object's name is being closed.
    Close,
    /// Such a handle is being dropped, after its close.
    CloseDrop,
    /// The callbacks of a region of the object's are being dropped.
    OpsDrop,
    /// The keeper of bytes that were lent to a region of the object's is being dropped.
    Keeper,
    /// Somebody who asked for it is told that such bytes are gone.
    BytesGone,
}

type Action = Arc<dyn Fn(u64) + Send + Sync>;

/// The part of an observed object that observes.
pub struct Part {
    watch: Arc<Watch>,
    me: ObjectId,
    actions: Mutex<HashMap<Point, Action>>,
}

impl Part {
    fn new(cx: &Init<'_>) -> Self {
        Self {
            watch: Watch::of(&layer::machine_of(cx.object())),
            me: cx.object().id(),
            actions: Mutex::default(),
        }
    }

    /// Has `action` called at each visit of `point`, in the place of the one before; it is given the value that is written. It must keep
    /// no counted handle.
    pub fn on(&self, point: Point, action: impl Fn(u64) + Send + Sync + 'static) {
        let old = self
            .actions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(point, Arc::new(action));
        drop(old);
    }

    /// Has each visit of `point` panic.
    ///
    /// # Panics
    /// Not this call; the visits.
    pub fn panic_at(&self, point: Point) {
        self.on(point, move |_| panic!("{PLANNED} at {point:?}"));
    }

    fn visit(&self, point: Point, value: u64) {
        let action = self
            .actions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&point)
            .cloned();
        if let Some(action) = action {
            action(value);
        }
    }

    /// The identity of the object.
    pub fn id(&self) -> ObjectId {
        self.me
    }

    fn check_alive(&self, where_: &str) {
        let mut seen = self.watch.seen();
        if seen.ended.contains(&self.me) {
            seen.wrong
                .push(format!("{:?} {where_} after its finalizer", self.me));
        }
    }

    fn finalize(&self) {
        let again = {
            let mut seen = self.watch.seen();
            let fresh = seen.ended.insert(self.me);
            if !fresh {
                seen.wrong
                    .push(format!("the finalizer of {:?} ran twice", self.me));
            }
            !fresh
        };
        if !again {
            self.visit(Point::Finalize, 0);
        }
    }
}

impl Drop for Part {
    /// A field of the device's own goes with it, after its finalizer.
    fn drop(&mut self) {
        let ended = self.watch.has_ended(self.me);
        if !ended {
            self.watch
                .wrong(format!("{:?} is dropped and was not finalized", self.me));
        }
        self.watch.seen().dropped += 1;
        self.visit(Point::Drop, 0);
    }
}

/// An object with a [`Part`].
pub trait Observed: ObjectImpl {
    /// The part.
    fn part(&self) -> &Part;
}

/// An observed device.
pub struct Dev {
    device: Device,
    part: Part,
}

qdev::device_type! { Dev("rig-device") { device: Device } }

impl ObjectImpl for Dev {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            device: cx.parent(),
            part: Part::new(cx),
        }
    }
    fn unparent(&self) {
        self.part.visit(Point::Unparent, 0);
    }
    fn finalize(&self) {
        self.part.finalize();
    }
}

impl DeviceImpl for Dev {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        self.part.visit(Point::Realize, 0);
        Ok(())
    }
    fn unrealize(&self) {
        self.part.check_alive("unrealized");
        self.part.visit(Point::Unrealize, 0);
    }
}

impl Observed for Dev {
    fn part(&self) -> &Part {
        &self.part
    }
}

/// An observed object that is no device.
pub struct Plain {
    object: RootObject,
    part: Part,
}

qom::object_type! { Plain("rig-plain") { object: RootObject } }

impl ObjectImpl for Plain {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            part: Part::new(cx),
        }
    }
    fn unparent(&self) {
        self.part.visit(Point::Unparent, 0);
    }
    fn finalize(&self) {
        self.part.finalize();
    }
}

impl Observed for Plain {
    fn part(&self) -> &Part {
        &self.part
    }
}

/// Callbacks that answer reads with a tag, and watch that nobody is called after its end.
pub struct Regs<T> {
    tag: u32,
    _owner: PhantomData<fn() -> T>,
}

impl<T> Regs<T> {
    /// Callbacks with this tag.
    pub fn new(tag: u32) -> Self {
        Self {
            tag,
            _owner: PhantomData,
        }
    }
}

impl<T: Observed> RegionOps for Regs<T> {
    type Owner = T;
    fn read(&self, owner: &T, _access: Access) -> Result<u64, MemTxError> {
        owner.part().check_alive("was read");
        owner.part().visit(Point::Read, 0);
        owner.part().check_alive("was still being read");
        Ok(u64::from(self.tag))
    }
    fn write(&self, owner: &T, _access: Access, value: u64) -> Result<(), MemTxError> {
        owner.part().check_alive("was written");
        owner.part().visit(Point::Write, value);
        owner.part().check_alive("was still being written");
        Ok(())
    }
}

/// Makes a region for `owner`, under the machine's watch.
///
/// # Errors
/// As [`RegionBuilder::create`].
pub fn make(
    builder: RegionBuilder,
    owner: &(impl Target + ?Sized),
) -> Result<Child<Region>, RegionError> {
    let region = builder.create(owner)?;
    let (Ok(object), Ok(owner)) = (Target::pointer(&region), owner.pointer()) else {
        // Withdrawn and gone already.
        return Ok(region);
    };
    Watch::of(&layer::machine_of(&owner)).made(object.id(), owner.id());
    Ok(region)
}

/// The size of a region of callbacks or of RAM.
pub const PAGE: u64 = 0x1000;

/// A page of callbacks that answer with `tag`.
///
/// # Errors
/// As [`RegionBuilder::create`].
pub fn io<T: Observed>(
    owner: &(impl Target + ?Sized),
    tag: u32,
) -> Result<Child<Region>, RegionError> {
    make(
        Region::io("io", Size::new(PAGE), Regs::<T>::new(tag)),
        owner,
    )
}

/// A page of RAM whose first word is `tag`, and whose bytes the watch counts.
///
/// # Errors
/// As [`RegionBuilder::create`].
///
/// # Panics
/// If the host has no memory.
pub fn ram(owner: &(impl Target + ?Sized), tag: u32) -> Result<Child<Region>, RegionError> {
    make(Region::ram("ram", tagged(owner, tag)?), owner)
}

/// A page of bytes whose first word is `tag`, counted by the watch of the owner's machine.
///
/// # Errors
/// The owner is gone.
///
/// # Panics
/// If the host has no memory.
pub fn tagged(owner: &(impl Target + ?Sized), tag: u32) -> Result<Backing, RegionError> {
    let watch = Watch::of(&layer::machine_of(&*owner.pointer()?));
    let backing = Backing::anonymous_in(PAGE, watch.bytes()).expect("a page of memory");
    backing
        .bytes()
        .write(0, &tag.to_le_bytes())
        .expect("inside the page");
    Ok(backing)
}

/// A container of `pages` pages.
///
/// # Errors
/// As [`RegionBuilder::create`].
pub fn container(owner: &(impl Target + ?Sized), pages: u64) -> Result<Child<Region>, RegionError> {
    make(Region::container("box", Size::new(pages * PAGE)), owner)
}

/// A window of `pages` pages on `target`.
///
/// # Errors
/// As [`RegionBuilder::create`].
pub fn alias(
    owner: &(impl Target + ?Sized),
    target: &(impl RegionTarget + ?Sized),
    pages: u64,
) -> Result<Child<Region>, RegionError> {
    make(
        Region::alias("alias", target, Offset(0), Size::new(pages * PAGE)),
        owner,
    )
}

/// A machine with a container `system`, an address space on it, and a watch.
pub struct Rig {
    /// The machine.
    pub machine: Machine,
    /// What the address space shows.
    pub system: Child<Region>,
    /// The address space `memory`.
    pub space: AddressSpace,
    /// What is seen.
    pub watch: Arc<Watch>,
    base: u64,
    _events: Subscription,
}

impl Rig {
    /// A rig with the defaults.
    pub fn new(name: &str) -> Self {
        Self::with(Machine::builder(name))
    }

    /// A rig with a machine of the test's own making.
    ///
    /// # Panics
    /// If a new machine refuses its first region or address space.
    pub fn with(builder: MachineBuilder) -> Self {
        hush_planned_panics();
        let machine = builder.build();
        let watch = Watch::of(&machine);
        let sink = watch.clone();
        let events = machine.subscribe(move |event| sink.note(event));
        let system = make(Region::container("system", Size::MAX), machine.root())
            .expect("a container for a new machine");
        let space = AddressSpace::open(machine.root(), "memory", &system)
            .expect("a space for a new machine");
        let base = machine.counters().live_objects;
        Self {
            machine,
            system,
            space,
            watch,
            base,
            _events: events,
        }
    }

    /// A new object under the root.
    ///
    /// # Panics
    /// If the machine refuses it.
    pub fn plug<T: ObjectImpl>(&self, name: &str) -> Ref<T> {
        let object = self.machine.create::<T>().expect("a new object");
        self.machine
            .root()
            .add_child(name, &object)
            .expect("a free name");
        object
    }

    /// Puts `region` at page `page` of the system.
    ///
    /// # Panics
    /// If it is refused.
    pub fn show(&self, region: &(impl RegionTarget + ?Sized), page: u64) {
        self.system
            .add_subregion(Offset(page * PAGE), region, Priority(0))
            .expect("a region that is nowhere else");
    }

    /// Loads the first word of page `page`.
    ///
    /// # Errors
    /// As [`AddressSpace::load`].
    pub fn load(&self, page: u64) -> Result<u32, MemTxError> {
        self.space.load(Gpa(page * PAGE), Attrs::default())
    }

    /// Stores a word at the begin of page `page`.
    ///
    /// # Errors
    /// As [`AddressSpace::store`].
    pub fn store(&self, page: u64, value: u32) -> Result<(), MemTxError> {
        self.space.store(Gpa(page * PAGE), value, Attrs::default())
    }

    /// Objects beyond the rig's own.
    pub fn extra_objects(&self) -> u64 {
        self.machine.counters().live_objects - self.base
    }

    /// Everything that the test made is unplugged and dropped: checks that nothing of it is left, and closes the machine.
    ///
    /// # Panics
    /// Where anything is left, came in the wrong order, or happened twice; or where the machine does not close.
    pub fn finish(self) {
        self.machine.quiesce(LONG).expect("quiet");
        assert_eq!(
            self.extra_objects(),
            0,
            "left over: {:#?}",
            self.machine
                .leftovers()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        );
        assert_eq!(self.watch.bytes().bytes(), 0, "bytes are left");
        self.close();
    }

    /// Closes the machine with whatever is still plugged, and checks that all of it ended well.
    ///
    /// # Panics
    /// As [`finish`](Self::finish).
    pub fn close(self) {
        let live = self.machine.counters().live_objects;
        let before = self.machine.counters().finalized;
        let Self {
            machine,
            space,
            watch,
            ..
        } = self;
        let handle = machine.handle().clone();
        if let Err((_, error)) = machine.close(LONG) {
            panic!("{error}");
        }
        let counters = handle.counters();
        assert_eq!(counters.live_objects, 0, "objects outlive the machine");
        assert_eq!(
            counters.finalized,
            before + live,
            "each object is finalized once"
        );
        assert_eq!(watch.bytes().bytes(), 0, "bytes outlive the machine");
        assert!(space.is_closed(), "the root's address space is closed");
        let complaints = watch.complaints();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}
