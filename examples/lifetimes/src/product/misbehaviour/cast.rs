//! Who misbehaves: a device and an object that is none, with a field for what they should not keep, and code of their own that fills it.

use memory::{Access, AddressSpace, Gpa, Intent, MemTxError, RegionOps, RegionTarget};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::layer::{Target, create_with, machine_of};
use qom::{Child, Init, MachineHandle, ObjectImpl, Ref, RootObject};
use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// What somebody keeps in a field until his finalizer, and who took each and where.
#[derive(Clone, Default)]
pub(super) struct Hoard(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    things: Vec<Box<dyn Send>>,
    taken: Vec<Taken>,
}

/// That somebody's code took a count, at a line of it.
#[derive(Clone)]
pub(super) struct Taken {
    by: Weak<qom::Object>,
    named: String,
    pub(super) what: What,
    pub(super) place: &'static Location<'static>,
}

impl Taken {
    /// The path that whoever took it has or had. Of who is gone it is the one from when he took it.
    pub(super) fn by(&self) -> String {
        let named = self.by.upgrade().map(|by| by.describe());
        let named = named.unwrap_or_else(|| self.named.clone());
        named.trim_end_matches(" (withdrawn)").to_owned()
    }
}

/// What kind of count somebody took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A user handle.
    Handle,
    /// A transfer in flight.
    Transfer,
}

impl Hoard {
    /// Something that counts on nobody.
    pub(super) fn keep(&self, what: impl Send + 'static) {
        self.lock().things.push(Box::new(what));
    }

    /// A counted handle, which the caller's code takes in its caller's line.
    #[track_caller]
    pub(super) fn keep_handle<T: ObjectImpl>(&self, by: &impl Target, of: &Child<T>) {
        let handle = of.get().expect("it lives");
        self.taken(by, What::Handle);
        self.keep(handle);
    }

    /// A transfer in the caller's name to what a space shows at an address, begun in its caller's line.
    #[track_caller]
    pub(super) fn keep_transfer(&self, by: &impl Target, space: &AddressSpace, at: Gpa) {
        let pin = space.pin(by, at, 8, Intent::Write).expect("RAM");
        self.taken(by, What::Transfer);
        self.keep(pin);
    }

    /// The same to a region, through a space of the caller's own.
    #[track_caller]
    pub(super) fn keep_transfer_to(&self, by: &impl Target, region: &impl RegionTarget) {
        let space = AddressSpace::open(by, "its own", region).expect("it lives");
        self.keep_transfer(by, &space, Gpa(0));
        space.close();
    }

    #[track_caller]
    fn taken(&self, by: &impl Target, what: What) {
        let by = by.pointer().expect("its code runs");
        let place = Location::caller();
        self.lock().taken.push(Taken {
            by: qom::layer::weak(&by),
            named: by.describe(),
            what,
            place,
        });
    }

    pub(super) fn told(&self) -> Vec<Taken> {
        self.lock().taken.clone()
    }

    pub(super) fn empty(&self) {
        let things = std::mem::take(&mut self.lock().things);
        drop(things);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What somebody does in his own code, once.
struct Act<T>(Mutex<Option<Doing<T>>>);

type Doing<T> = Box<dyn FnOnce(&T) + Send>;

impl<T> Default for Act<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Act<T> {
    fn of(act: impl FnOnce(&T) + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(act))))
    }

    fn set(&self, act: impl FnOnce(&T) + Send + 'static) {
        *self.lock() = Some(Box::new(act));
    }

    fn run(&self, who: &T) {
        let act = self.lock().take();
        if let Some(act) = act {
            act(who);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Doing<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A device that hoards.
pub(super) struct Hoarder {
    device: Device,
    pub(super) hoard: Hoard,
    /// What its unrealize would let go of.
    pub(super) until_unrealize: Hoard,
    /// Its unrealize panics before it comes to that.
    pub(super) panics: AtomicBool,
    in_post_init: Act<Self>,
    in_realize: Act<Self>,
}

qdev::device_type! { Hoarder("lifetimes-hoarder") { device: Device } }

impl Hoarder {
    /// A device that does something before anybody else can have a handle to it.
    pub(super) fn made_to(
        machine: &MachineHandle,
        act: impl FnOnce(&Self) + Send + 'static,
    ) -> Ref<Self> {
        let made = create_with(machine, None, |cx| Self {
            in_post_init: Act::of(act),
            ..Self::init(cx)
        });
        made.expect("a new device")
    }

    pub(super) fn machine(&self) -> MachineHandle {
        machine_of(&self.pointer().expect("its code runs"))
    }

    /// Has a device that is there do something, which is what its realize is.
    pub(super) fn realize_to(device: &Ref<Self>, act: impl FnOnce(&Self) + Send + 'static) {
        device.in_realize.set(act);
        DeviceOps::realize(device).expect("nothing can fail");
    }
}

impl ObjectImpl for Hoarder {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            device: cx.parent(),
            hoard: Hoard::default(),
            until_unrealize: Hoard::default(),
            panics: AtomicBool::new(false),
            in_post_init: Act::default(),
            in_realize: Act::default(),
        }
    }
    fn post_init(&self) {
        self.in_post_init.run(self);
    }
    fn finalize(&self) {
        self.hoard.empty();
    }
}

impl DeviceImpl for Hoarder {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        self.in_realize.run(self);
        Ok(())
    }
    fn unrealize(&self) {
        // ORDERING: Relaxed: set before the device is unplugged, by who unplugs it.
        if self.panics.load(Ordering::Relaxed) {
            // Without the panic hook, which would print it.
            std::panic::resume_unwind(Box::new("before it lets go"));
        }
        self.until_unrealize.empty();
    }
}

/// A register into which the guest writes where a descriptor is: the device has a transfer there until its finalizer.
pub(super) struct Doorbell(pub(super) AddressSpace);

impl RegionOps for Doorbell {
    type Owner = Hoarder;
    fn read(&self, _: &Hoarder, _: Access) -> Result<u64, MemTxError> {
        Ok(0)
    }
    fn write(&self, device: &Hoarder, _: Access, descriptor: u64) -> Result<(), MemTxError> {
        device.hoard.keep_transfer(device, &self.0, Gpa(descriptor));
        Ok(())
    }
}

/// An object that is no device, and hoards.
pub(super) struct Heap {
    object: RootObject,
    pub(super) hoard: Hoard,
    in_post_init: Act<Self>,
}

qom::object_type! { Heap("lifetimes-heap") { object: RootObject } }

impl Heap {
    /// An object that does something before anybody else can have a handle to it.
    pub(super) fn made_to(
        machine: &MachineHandle,
        act: impl FnOnce(&Self) + Send + 'static,
    ) -> Ref<Self> {
        let made = create_with(machine, None, |cx| Self {
            in_post_init: Act::of(act),
            ..Self::init(cx)
        });
        made.expect("a new object")
    }
}

impl ObjectImpl for Heap {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            hoard: Hoard::default(),
            in_post_init: Act::default(),
        }
    }
    fn post_init(&self) {
        self.in_post_init.run(self);
    }
    fn finalize(&self) {
        self.hoard.empty();
    }
}
