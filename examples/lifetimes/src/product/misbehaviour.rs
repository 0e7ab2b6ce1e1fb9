//! Devices that misbehave on purpose, on the real crates: each keeps in a field of its own what only its finalizer would let go of. That is the one way
//! left to leak, and the ledger says who holds, why, and which line took it.
//!
//! Address spaces, mappings, links and aliases cannot be kept so: the withdrawal closes them. What can are user handles, which are for users, and
//! transfers, which are for as long as an I/O.

use super::PATIENCE;
use memory::{AddressSpace, Backing, Gpa, Intent, Pin, Region, RegionTarget, Size};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::layer::Target;
use qom::{Child, Init, Machine, ObjectImpl, ObjectOps, Ref, RootObject};
use std::sync::{Arc, Mutex, PoisonError};

/// A leak that was provoked, and what the ledger says about it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The row of the scenario that it is like.
    pub row: &'static str,
    /// What misbehaves, and how.
    pub title: &'static str,
    /// The ledger's explanation of everybody who is left.
    pub text: String,
    /// The holder that is at the bottom of it: part of the text.
    pub holder: String,
    /// The reason: part of the text.
    pub reason: &'static str,
    /// File and line that took what is kept: part of the text.
    pub place: String,
    /// How many objects were left, and how many still were once the fields had been emptied.
    pub left: (usize, usize),
}

/// What somebody keeps in a field until his finalizer.
#[derive(Clone, Default)]
struct Hoard(Arc<Mutex<Vec<Box<dyn Send>>>>);

impl Hoard {
    fn keep(&self, what: impl Send + 'static) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(Box::new(what));
    }

    fn empty(&self) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
    }
}

/// A device that hoards.
struct Hoarder {
    device: Device,
    hoard: Hoard,
}

qdev::device_type! { Hoarder("lifetimes-hoarder") { device: Device } }

impl ObjectImpl for Hoarder {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            device: cx.parent(),
            hoard: Hoard::default(),
        }
    }
    fn finalize(&self) {
        self.hoard.empty();
    }
}

impl DeviceImpl for Hoarder {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// An object that is no device, and hoards.
struct Heap {
    object: RootObject,
    hoard: Hoard,
}

qom::object_type! { Heap("lifetimes-heap") { object: RootObject } }

impl ObjectImpl for Heap {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            hoard: Hoard::default(),
        }
    }
    fn finalize(&self) {
        self.hoard.empty();
    }
}

/// What a misbehaviour tells of itself.
struct Deed {
    holder: String,
    reason: &'static str,
    place: String,
    /// From outside, so that the machine can end.
    hoards: Vec<Hoard>,
}

/// Who holds a user handle is code, which the ledger knows by its line.
const OUTSIDE: &str = "handles outside (1)";
const HANDLE: &str = "user handle";
const TRANSFER: &str = "pin (I/O in flight)";

type Case = (&'static str, &'static str, fn(&Machine) -> Deed);

const CASES: &[Case] = &[
    (
        "1b",
        "a device keeps a counted handle to its own region",
        own_region,
    ),
    (
        "2b",
        "a device keeps a counted handle to the root of its own address space",
        own_root,
    ),
    (
        "3c",
        "a device has a transfer in its own memory that only its finalizer completes",
        own_transfer,
    ),
    (
        "7",
        "an object that is no device keeps a counted handle to its own region",
        plain_owner,
    ),
    (
        "12b",
        "two devices have transfers in each other's memory until their finalizers",
        ring_of_transfers,
    ),
    (
        "12b",
        "two devices keep counted handles to each other, instead of links",
        ring_of_handles,
    ),
    (
        "C15",
        "a parent and its child keep counted handles to each other",
        family,
    ),
    ("7c", "a device keeps a counted handle to itself", itself),
];

/// Provokes each leak in a machine of its own, has the ledger explain it, and undoes it.
///
/// ```
/// for leak in holdfast_lifetimes::product::misbehaviour::all() {
///     assert!(leak.text.contains(&leak.place), "{}", leak.text);
/// }
/// ```
pub fn all() -> Vec<Explained> {
    CASES.iter().map(|case| provoke(*case)).collect()
}

fn provoke((row, title, misbehave): Case) -> Explained {
    let machine = Machine::builder("misbehaviour").recording(true).build();
    let deed = misbehave(&machine);
    for (_, child) in machine.root().children() {
        child
            .unparent()
            .expect("what has a parent can be unplugged");
    }
    machine
        .quiesce(PATIENCE)
        .expect("what is kept does not keep the machine busy");
    let leftovers = machine.leftovers();
    let text: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
    for hoard in &deed.hoards {
        hoard.empty();
    }
    machine.quiesce(PATIENCE).expect("nothing is kept any more");
    let left = (leftovers.len(), machine.leftovers().len());
    if let Err((_, error)) = machine.close(PATIENCE) {
        panic!("{title}: {error}");
    }
    Explained {
        row,
        title,
        text: text.join("\n"),
        holder: deed.holder,
        reason: deed.reason,
        place: deed.place,
        left,
    }
}

fn plugged(machine: &Machine, name: &str) -> Ref<Hoarder> {
    let device = machine.create::<Hoarder>().expect("a new device");
    machine
        .root()
        .add_child(name, &device)
        .expect("a free name");
    device.realize().expect("nothing can fail");
    device
}

fn ram(owner: &impl Target) -> Child<Region> {
    let bytes = Backing::anonymous(0x1000).expect("a page of memory");
    Region::ram("memory", bytes)
        .create(owner)
        .expect("a region of one's own")
}

/// A handle to a region, and the line that took it.
fn taken(region: &Child<Region>) -> (Ref<Region>, String) {
    let handle = region.get();
    let place = line_before(line!());
    (handle.expect("it lives"), place)
}

/// A transfer to a region in somebody's name, and the line that began it.
fn begun(
    machine: &Machine,
    holder: &Ref<Hoarder>,
    region: &(impl RegionTarget + ?Sized),
) -> (Pin, String) {
    let space = AddressSpace::open(machine.root(), "memory", region).expect("it lives");
    let pin = space.pin(holder, Gpa(0), 8, Intent::Write);
    let place = line_before(line!());
    space.close();
    (pin.expect("RAM"), place)
}

fn line_before(line: u32) -> String {
    format!("{}:{}", file!(), line - 1)
}

fn by_handle(place: String, hoards: Vec<Hoard>) -> Deed {
    Deed {
        holder: OUTSIDE.into(),
        reason: HANDLE,
        place,
        hoards,
    }
}

fn own_region(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (handle, place) = taken(&ram(&device));
    device.hoard.keep(handle);
    by_handle(place, vec![device.hoard.clone()])
}

fn own_root(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let bar = Region::container("bar", Size::new(0x1000))
        .create(&device)
        .expect("a region of one's own");
    let space = AddressSpace::open(&device, "dma", &bar).expect("a space of one's own");
    let (handle, place) = taken(&bar);
    // The space is closed by the withdrawal, the handle by nobody.
    device.hoard.keep((handle, space));
    by_handle(place, vec![device.hoard.clone()])
}

fn own_transfer(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let (pin, place) = begun(machine, &device, &ram(&device));
    device.hoard.keep(pin);
    Deed {
        holder: "I/O of /machine/card".into(),
        reason: TRANSFER,
        place,
        hoards: vec![device.hoard.clone()],
    }
}

fn plain_owner(machine: &Machine) -> Deed {
    let heap = machine.create::<Heap>().expect("a new object");
    machine
        .root()
        .add_child("heap", &heap)
        .expect("a free name");
    let (handle, place) = taken(&ram(&heap));
    heap.hoard.keep(handle);
    by_handle(place, vec![heap.hoard.clone()])
}

fn ring_of_transfers(machine: &Machine) -> Deed {
    let (a, b) = (plugged(machine, "a"), plugged(machine, "b"));
    let (to_b, _) = begun(machine, &a, &ram(&b));
    let (to_a, place) = begun(machine, &b, &ram(&a));
    a.hoard.keep(to_b);
    b.hoard.keep(to_a);
    Deed {
        holder: "I/O of /machine/b".into(),
        reason: TRANSFER,
        place,
        hoards: vec![a.hoard.clone(), b.hoard.clone()],
    }
}

fn ring_of_handles(machine: &Machine) -> Deed {
    let (a, b) = (plugged(machine, "a"), plugged(machine, "b"));
    a.hoard.keep(b.clone());
    let again = a.clone();
    let place = line_before(line!());
    b.hoard.keep(again);
    by_handle(place, vec![a.hoard.clone(), b.hoard.clone()])
}

/// By itself the child's handle would not matter: nothing counts on a child that is withdrawn, so its finalizer runs and lets go.
fn family(machine: &Machine) -> Deed {
    let parent = plugged(machine, "parent");
    let child = machine.create::<Heap>().expect("a new object");
    parent.add_child("child", &child).expect("a free name");
    parent.hoard.keep(child.clone());
    let again = parent.clone();
    let place = line_before(line!());
    child.hoard.keep(again);
    by_handle(place, vec![parent.hoard.clone(), child.hoard.clone()])
}

fn itself(machine: &Machine) -> Deed {
    let device = plugged(machine, "card");
    let again = device.clone();
    let place = line_before(line!());
    device.hoard.keep(again);
    by_handle(place, vec![device.hoard.clone()])
}
