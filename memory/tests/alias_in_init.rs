//! A region that comes into a view while its owner is being made, through somebody else's alias, is called once the owner is there.

use memory::{
    Access, AddressSpace, Attrs, Gpa, MemTxError, Offset, Priority, Region, RegionApi, RegionOps,
    Size,
};
use qom::{Child, Container, Init, Machine, ObjectImpl, ObjectOps, Ref, RootObject};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where the device puts its window: a container, and who owns the alias.
static PLACE: Mutex<Option<(Child<Region>, Ref<Container>)>> = Mutex::new(None);

struct Early {
    object: RootObject,
    value: AtomicU64,
}
qom::object_type! { Early("alias-early") { object: RootObject } }

struct Regs;
impl RegionOps for Regs {
    type Owner = Early;
    fn read(&self, early: &Early, _: Access) -> Result<u64, MemTxError> {
        Ok(early.value.load(Relaxed))
    }
    fn write(&self, early: &Early, _: Access, value: u64) -> Result<(), MemTxError> {
        early.value.store(value, Relaxed);
        Ok(())
    }
}

impl ObjectImpl for Early {
    fn init(cx: &mut Init<'_>) -> Self {
        let size = Size::new(0x100);
        let regs = Region::io("regs", size, Regs).create(cx.object()).unwrap();
        let (container, owner) = PLACE.lock().unwrap().take().unwrap();
        let window = Region::alias("window", &regs, Offset(0), size);
        let window = window.create(&owner).unwrap();
        container
            .add_subregion(Offset(0x1000), &window, Priority(0))
            .unwrap();
        Self {
            object: cx.parent(),
            value: AtomicU64::new(7),
        }
    }
}

#[test]
fn a_region_that_was_shown_before_its_owner_was_made_is_called() {
    let machine = Machine::new("early");
    let own = machine.create::<Container>().unwrap();
    machine.root().add_child("own", &own).unwrap();
    let system = Region::container("system", Size::new(0x1_0000));
    let system = system.create(&own).unwrap();
    let space = AddressSpace::open(&own, "memory", &system).unwrap();
    *PLACE.lock().unwrap() = Some((system, own));
    let early = machine.create::<Early>().unwrap();
    machine.root().add_child("early", &early).unwrap();
    let attrs = Attrs::default();
    for value in [7, 8, 9] {
        assert_eq!(space.load::<u32>(Gpa(0x1000), attrs), Ok(value));
        assert_eq!(space.enter().load::<u32>(Gpa(0x1000), attrs), Ok(value));
        assert_eq!(space.store(Gpa(0x1000), value + 1, attrs), Ok(()));
    }
}
