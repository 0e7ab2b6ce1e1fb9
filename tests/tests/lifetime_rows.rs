//! The known ways to leak, to abort or to touch what is gone, one after another: here each finalizes everything, owner after regions,
//! or is refused with a typed error.
//!
//! Numbers are those of the rows that the qemu-devel thread of September 2025 was about: own containers (1), address spaces (2), own
//! memory mapped (3), a peer's transfer (4), aliases (5), nesting (6), memory of a plain object (7), re-parenting (9), detaching in the
//! finalizer (10), objects that never had a parent (11), rings (12), traces of introspection (13).

use holdfast_tests::rig::{
    Dev, LONG, Observed, PAGE, Plain, Point, Rig, alias, container, io, ram,
};
use memory::{
    AddressSpace, Attrs, Gpa, Intent, MapError, Mapping, MemTxError, Offset, Priority, Region,
    RegionApi, RegionError, RegionOps, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::{Child, Init, ObjectImpl, ObjectOps, Ref, TreeError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Unplugs a device and lets go of it; it is gone when this returns.
fn unplug<T: ObjectImpl>(rig: &Rig, object: Ref<T>) {
    let weak = object.downgrade();
    assert!(object.unparent().unwrap().is_done());
    drop(object);
    rig.machine.wait_finalized(&weak, LONG).unwrap();
}

/// A device with a container of its own, and a page of callbacks and one of RAM in it.
fn with_bar<T: Observed>(device: &Ref<T>) -> (Child<Region>, Child<Region>, Child<Region>) {
    let bar = container(device, 4).unwrap();
    let regs = io::<T>(device, 1).unwrap();
    let bytes = ram(device, 2).unwrap();
    bar.add_subregion(Offset(0), &regs, Priority(0)).unwrap();
    bar.add_subregion(Offset(PAGE), &bytes, Priority(0))
        .unwrap();
    (bar, regs, bytes)
}

#[test]
fn row_1a_own_container_and_introspection() {
    let rig = Rig::new("1a");
    let device = rig.machine.create::<Dev>().unwrap();
    with_bar(&device);
    assert_eq!(rig.extra_objects(), 4);
    drop(device);
    rig.finish();
}

#[test]
fn row_1b_own_container_plugged_and_unplugged_and_plugged_again() {
    let rig = Rig::new("1b");
    for _ in 0..3 {
        let device = rig.plug::<Dev>("card");
        let (bar, ..) = with_bar(&device);
        // An alias on a region of its own as well: the device could once not be plugged again under its name.
        let window = alias(&device, &bar, 4).unwrap();
        rig.show(&bar, 0);
        rig.show(&window, 8);
        device.realize().unwrap();
        assert_eq!((rig.load(0), rig.load(9)), (Ok(1), Ok(2)));
        unplug(&rig, device);
        assert_eq!(
            (rig.load(0), rig.load(9)),
            (Err(MemTxError::DECODE), Err(MemTxError::DECODE))
        );
    }
    rig.finish();
}

/// Opens an address space on `root` when the device is realized, in the device's name.
fn space_at_realize(device: &Ref<Dev>, root: Child<Region>) -> Arc<Mutex<Option<AddressSpace>>> {
    let opened = Arc::new(Mutex::new(None));
    let (slot, me) = (opened.clone(), device.downgrade());
    device.part().on(Point::Realize, move |_| {
        let me = me.get().unwrap();
        *slot.lock().unwrap() = Some(AddressSpace::open(&me, "dma", &root).unwrap());
    });
    opened
}

#[test]
fn row_2a_address_space_on_a_plain_root_closed_at_unrealize() {
    let rig = Rig::new("2a");
    let device = rig.plug::<Dev>("card");
    let root = ram(&device, 7).unwrap();
    let space = space_at_realize(&device, root);
    device.realize().unwrap();
    let space = space.lock().unwrap().clone().unwrap();
    assert_eq!(space.load::<u32>(Gpa(0), Attrs::default()), Ok(7));
    device.unrealize().unwrap();
    assert!(space.is_closed(), "opened since realize");
    assert_eq!(
        space.load::<u32>(Gpa(0), Attrs::default()),
        Err(MemTxError::DECODE)
    );
    unplug(&rig, device);
    rig.finish();
}

#[test]
fn row_2a2_address_space_on_an_own_container_closed_at_unrealize() {
    let rig = Rig::new("2a'");
    let device = rig.plug::<Dev>("card");
    let (bar, ..) = with_bar(&device);
    let space = space_at_realize(&device, bar);
    device.realize().unwrap();
    let space = space.lock().unwrap().clone().unwrap();
    assert_eq!(space.load::<u32>(Gpa(PAGE), Attrs::default()), Ok(2));
    unplug(&rig, device);
    assert!(space.is_closed());
    rig.finish();
}

#[test]
fn row_2b_address_space_closed_in_the_finalizer() {
    let rig = Rig::new("2b");
    let device = rig.plug::<Dev>("card");
    let (bar, ..) = with_bar(&device);
    let space = AddressSpace::open(&device, "dma", &bar).unwrap();
    let (kept, in_time) = (space.clone(), Arc::new(Mutex::new(None)));
    let closed = in_time.clone();
    device.part().on(Point::Finalize, move |_| {
        *closed.lock().unwrap() = Some(kept.is_closed());
        kept.close();
    });
    device.realize().unwrap();
    unplug(&rig, device);
    assert_eq!(
        *in_time.lock().unwrap(),
        Some(true),
        "the withdrawal has closed it, the finalizer finds it so"
    );
    rig.finish();
}

/// A device whose init does what init must not do, and notes the answers.
struct Early {
    device: Device,
    refused: Vec<String>,
}

qdev::device_type! { Early("rows-early") { device: Device } }

impl ObjectImpl for Early {
    fn init(cx: &mut Init<'_>) -> Self {
        let machine = qom::layer::machine_of(cx.object());
        let own = Region::container("own", Size::new(PAGE))
            .create(cx.object())
            .unwrap();
        let foreign = machine
            .resolve("/machine/system[0]")
            .unwrap()
            .cast::<Region>()
            .unwrap();
        let mut refused = Vec::new();
        let space = AddressSpace::open(cx.object(), "early", &own).unwrap_err();
        assert!(matches!(space, RegionError::DuringInit { .. }), "{space:?}");
        refused.push(space.to_string());
        let space = AddressSpace::open(cx.object(), "early", &foreign).unwrap_err();
        assert!(
            matches!(space, RegionError::Tree(TreeError::DuringInit { .. })),
            "{space:?}"
        );
        refused.push(space.to_string());
        let shown = foreign
            .add_subregion(Offset(0), &own, Priority(0))
            .unwrap_err();
        assert!(matches!(shown, RegionError::DuringInit { .. }), "{shown:?}");
        refused.push(shown.to_string());
        Self {
            device: cx.parent(),
            refused,
        }
    }
}

impl DeviceImpl for Early {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

#[test]
fn rows_2c_and_13_what_init_may_not_do_is_refused_and_leaves_no_trace() {
    let rig = Rig::new("2c");
    let device = rig.machine.create::<Early>().unwrap();
    assert_eq!(device.refused.len(), 3);
    for text in &device.refused {
        assert!(
            text.contains("rows-early#"),
            "names the one in init: {text}"
        );
    }
    assert!(device.refused[2].contains("/machine/system[0]"));
    assert!(rig.system.children().is_empty());
    assert!(device.opened().is_empty());
    drop(device);
    rig.finish();
}

/// Shows a page of the device's RAM and maps it in the device's own name.
fn map_itself(rig: &Rig, device: &Ref<Dev>, page: u64) -> Mapping {
    let bytes = ram(device, 3).unwrap();
    rig.show(&bytes, page);
    let mapping = rig
        .space
        .map(device, Gpa(page * PAGE), 64, Intent::ReadWrite)
        .unwrap();
    assert_eq!(mapping.len(), 64);
    mapping
}

/// Has the device keep the mapping in a field, and drop it at `point`.
fn keep_until(device: &Ref<Dev>, point: Point, mapping: Mapping) {
    let field = Mutex::new(Some(mapping));
    device
        .part()
        .on(point, move |_| drop(field.lock().unwrap().take()));
}

#[test]
fn row_3a_own_memory_mapped_until_unrealize() {
    let rig = Rig::new("3a");
    let device = rig.plug::<Dev>("card");
    device.realize().unwrap();
    let mapping = map_itself(&rig, &device, 0);
    keep_until(&device, Point::Unrealize, mapping);
    unplug(&rig, device);
    rig.finish();
}

#[test]
fn row_3b_own_memory_in_flight_until_a_completion_after_the_unplug() {
    let rig = Rig::new("3b");
    let device = rig.plug::<Dev>("card");
    let mapping = map_itself(&rig, &device, 0);
    let pin = mapping.pin(0, 8).unwrap();
    keep_until(&device, Point::Unrealize, mapping);
    let weak = device.downgrade();
    device.unparent().unwrap();
    drop(device);
    let early = rig
        .machine
        .wait_finalized(&weak, Duration::from_millis(50))
        .unwrap_err();
    assert!(
        early.to_string().contains("withdrawn region → owner"),
        "{early}"
    );
    let done = std::thread::spawn(move || {
        assert!(pin.bytes().store_u64(0, 5).is_ok());
    });
    done.join().unwrap();
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    rig.finish();
}

#[test]
fn row_3c_own_memory_mapped_until_the_finalizer() {
    let rig = Rig::new("3c");
    let device = rig.plug::<Dev>("card");
    let mapping = map_itself(&rig, &device, 0);
    keep_until(&device, Point::Finalize, mapping);
    unplug(&rig, device);
    // And one that nobody ever drops.
    let device = rig.plug::<Dev>("card");
    std::mem::forget(map_itself(&rig, &device, 0));
    unplug(&rig, device);
    rig.finish();
}

#[test]
fn row_4_unplug_with_a_peers_transfer_outstanding() {
    let rig = Rig::new("4");
    let (target, peer) = (rig.plug::<Dev>("target"), rig.plug::<Dev>("peer"));
    let bytes = ram(&target, 3).unwrap();
    rig.show(&bytes, 0);
    let idle = rig.space.map(&peer, Gpa(0), 64, Intent::Write).unwrap();
    let busy = rig.space.pin(&peer, Gpa(0), 64, Intent::Write).unwrap();
    let weak = target.downgrade();
    target.unparent().unwrap();
    drop(target);
    assert!(matches!(
        idle.bytes(&rig.space.enter()),
        Err(MapError::Withdrawn { .. })
    ));
    assert!(
        rig.machine
            .wait_finalized(&weak, Duration::from_millis(50))
            .is_err()
    );
    assert!(busy.bytes().write(0, b"late").is_ok());
    assert_eq!(rig.watch.bytes().bytes(), PAGE);
    drop(busy);
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    // The peer still has its idle mapping, and can be unplugged with it.
    unplug(&rig, peer);
    assert!(matches!(
        idle.unmap_shared(0),
        Err(MapError::Withdrawn { .. })
    ));
    rig.finish();
}

#[test]
fn row_5_alias_to_another_owner_rendered_during_the_unplug() {
    let rig = Rig::new("5");
    let (owner, target) = (rig.plug::<Plain>("owner"), rig.plug::<Plain>("target"));
    let bytes = ram(&target, 4).unwrap();
    let window = alias(&owner, &bytes, 1).unwrap();
    rig.show(&window, 3);
    let guard = rig.space.enter();
    let slice = guard.view().slice(Gpa(3 * PAGE), 8).unwrap();
    let weak = target.downgrade();
    target.unparent().unwrap();
    drop(target);
    assert_eq!(
        guard.load::<u32>(Gpa(3 * PAGE), Attrs::default()),
        Err(MemTxError::DECODE)
    );
    assert_eq!(slice.load_u32(0), Some(4), "what was borrowed stays");
    drop(guard);
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    assert!(window.get().is_ok(), "the alias lives on, as a hole");
    unplug(&rig, owner);
    rig.finish();
}

#[test]
fn row_5b_hidden_alias_shown_after_its_target_is_gone() {
    let rig = Rig::new("5b");
    let (owner, target) = (rig.plug::<Plain>("owner"), rig.plug::<Plain>("target"));
    let bytes = ram(&target, 4).unwrap();
    let window = alias(&owner, &bytes, 1).unwrap();
    rig.show(&window, 3);
    window.set_enabled(false).unwrap();
    unplug(&rig, target);
    window.set_enabled(true).unwrap();
    assert_eq!(rig.load(3), Err(MemTxError::DECODE));
    window.set_alias_offset(Offset(8)).unwrap();
    assert_eq!(rig.load(3), Err(MemTxError::DECODE));
    unplug(&rig, owner);
    rig.finish();
}

#[test]
fn row_6_a_childs_region_in_its_parents_container() {
    let rig = Rig::new("6");
    let parent = rig.plug::<Dev>("parent");
    let bar = container(&parent, 4).unwrap();
    let child = rig.machine.create::<Dev>().unwrap();
    parent.add_child("child", &child).unwrap();
    let regs = io::<Dev>(&child, 6).unwrap();
    bar.add_subregion(Offset(0), &regs, Priority(0)).unwrap();
    // And the child sees the parent's container.
    let space = AddressSpace::open(&child, "dma", &bar).unwrap();
    rig.show(&bar, 0);
    parent.realize().unwrap();
    child.realize().unwrap();
    assert_eq!(rig.load(0), Ok(6));
    drop(child);
    unplug(&rig, parent);
    assert!(space.is_closed());
    rig.finish();
}

#[test]
fn row_7_memory_of_a_plain_object_that_a_peer_still_maps() {
    let rig = Rig::new("7");
    let (gpu, peer) = (rig.plug::<Dev>("gpu"), rig.plug::<Dev>("peer"));
    let host = rig.machine.create::<Plain>().unwrap();
    gpu.add_child("host-memory", &host).unwrap();
    let blob = ram(&host, 9).unwrap();
    let bar = container(&gpu, 4).unwrap();
    bar.add_subregion(Offset(0), &blob, Priority(0)).unwrap();
    rig.show(&bar, 0);
    let mapping = rig.space.map(&peer, Gpa(0), 16, Intent::Read).unwrap();
    let pin = mapping.pin(0, 16).unwrap();
    let weak = host.downgrade();
    host.unparent().unwrap();
    drop(host);
    assert_eq!(rig.load(0), Err(MemTxError::DECODE), "only a hole is left");
    assert!(
        rig.machine
            .wait_finalized(&weak, Duration::from_millis(50))
            .is_err()
    );
    assert_eq!(pin.bytes().load_u32(0), Some(9));
    drop(pin);
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    assert!(gpu.path().is_some());
    unplug(&rig, gpu);
    unplug(&rig, peer);
    rig.finish();
}

#[test]
fn row_7b_a_region_unparented_by_itself_while_it_is_mapped() {
    let rig = Rig::new("7b");
    let (gpu, peer) = (rig.plug::<Dev>("gpu"), rig.plug::<Dev>("peer"));
    let blob = ram(&gpu, 9).unwrap();
    rig.show(&blob, 0);
    let mapping = rig.space.map(&peer, Gpa(0), 16, Intent::Read).unwrap();
    let pin = mapping.pin(0, 16).unwrap();
    let weak = blob.downgrade();
    blob.unparent().unwrap();
    assert_eq!(rig.load(0), Err(MemTxError::DECODE));
    assert_eq!(pin.bytes().load_u32(0), Some(9));
    // Its owner may go first by name; it is kept until the region is finalized.
    let owner = gpu.downgrade();
    gpu.unparent().unwrap();
    drop(gpu);
    assert!(
        rig.machine
            .wait_finalized(&owner, Duration::from_millis(50))
            .is_err()
    );
    drop((pin, mapping));
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    rig.machine.wait_finalized(&owner, LONG).unwrap();
    unplug(&rig, peer);
    rig.finish();
}

#[test]
fn row_7c_a_region_made_by_its_types_name_alone() {
    let rig = Rig::new("7c");
    drop(rig.machine.create::<Region>().unwrap());
    drop(rig.machine.create_named("memory-region").unwrap());
    let region = rig.plug::<Region>("bare");
    unplug(&rig, region);
    rig.finish();
}

#[test]
fn row_9_a_region_gets_no_second_parent() {
    let rig = Rig::new("9");
    let (first, second) = (rig.plug::<Plain>("first"), rig.plug::<Plain>("second"));
    let bytes = ram(&first, 1).unwrap();
    rig.show(&bytes, 0);
    let mapping = rig
        .space
        .map(&second, Gpa(0), 8, Intent::ReadWrite)
        .unwrap();
    let error = second.add_child("ram", &bytes).unwrap_err();
    assert!(matches!(error, TreeError::HasParent { .. }), "{error}");
    let kept = bytes.get().unwrap();
    bytes.unparent().unwrap();
    let error = second.add_child("ram", &kept).unwrap_err();
    assert!(matches!(error, TreeError::ChildWithdrawn { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("/machine/second") && text.contains("/machine/first/ram[0]"),
        "{text}"
    );
    drop((kept, mapping));
    unplug(&rig, first);
    unplug(&rig, second);
    rig.finish();
}

#[test]
fn row_10_the_finalizer_takes_its_own_region_out() {
    let rig = Rig::new("10");
    let device = rig.plug::<Dev>("card");
    let (bar, regs, _) = with_bar(&device);
    rig.show(&bar, 0);
    let answers = Arc::new(Mutex::new(Vec::new()));
    let (system, log) = (rig.system.clone(), answers.clone());
    device.part().on(Point::Finalize, move |_| {
        let mut log = log.lock().unwrap();
        log.push(system.del_subregion(&bar));
        log.push(bar.del_subregion(&regs));
        log.push(bar.set_enabled(false));
    });
    unplug(&rig, device);
    for answer in answers.lock().unwrap().iter() {
        assert!(
            matches!(answer, Err(RegionError::Gone(_)) | Ok(())),
            "{answer:?}"
        );
    }
    assert_eq!(answers.lock().unwrap().len(), 3);
    rig.finish();
}

#[test]
fn row_11_never_parented_shown_hidden_and_dropped_within_a_grace_period() {
    let rig = Rig::new("11");
    for late in [false, true] {
        let device = rig.machine.create::<Dev>().unwrap();
        let bytes = ram(&device, 5).unwrap();
        rig.show(&bytes, 2);
        let guard = rig.space.enter();
        assert_eq!(guard.load::<u32>(Gpa(2 * PAGE), Attrs::default()), Ok(5));
        let slice = guard.view().slice(Gpa(2 * PAGE), 4).unwrap();
        if late {
            // Still shown when the last handle goes.
            drop(device);
        } else {
            rig.system.del_subregion(&bytes).unwrap();
            drop(device);
        }
        assert_eq!(
            guard.load::<u32>(Gpa(2 * PAGE), Attrs::default()),
            Err(MemTxError::DECODE)
        );
        assert_eq!(slice.load_u32(0), Some(5));
        drop(guard);
        rig.machine.quiesce(LONG).unwrap();
        assert_eq!(rig.extra_objects(), 0);
    }
    rig.finish();
}

/// Devices in a ring, each of which maps the next one's memory until `point`, or for ever.
fn ring(name: &str, size: u64, point: Option<Point>) {
    let rig = Rig::new(name);
    let devices: Vec<Ref<Dev>> = (0..size)
        .map(|i| {
            let device = rig.plug::<Dev>(&format!("card{i}"));
            let bytes = ram(&device, 0).unwrap();
            rig.show(&bytes, i);
            device.realize().unwrap();
            device
        })
        .collect();
    for (i, device) in devices.iter().enumerate() {
        let next = (i as u64 + 1) % size;
        let mapping = rig
            .space
            .map(device, Gpa(next * PAGE), 64, Intent::ReadWrite)
            .unwrap();
        match point {
            Some(point) => keep_until(device, point, mapping),
            None => std::mem::forget(mapping),
        }
    }
    for device in devices {
        unplug(&rig, device);
    }
    rig.finish();
}

#[test]
fn row_12a_devices_map_each_other_until_unrealize() {
    ring("12a", 2, Some(Point::Unrealize));
}

#[test]
fn row_12b_devices_map_each_other_until_the_finalizer() {
    ring("12b", 2, Some(Point::Finalize));
    ring("12b of three", 3, Some(Point::Finalize));
    ring("12b for ever", 3, None);
}

/// Rows 1 to 12 once more with everything still plugged when the machine closes.
#[test]
fn a_machine_closes_over_every_row_at_once() {
    let rig = Rig::new("all");
    let first = rig.plug::<Dev>("first");
    let (bar, ..) = with_bar(&first);
    rig.show(&bar, 0);
    let own = AddressSpace::open(&first, "own", &bar).unwrap();
    let second = rig.plug::<Dev>("second");
    let bytes = ram(&second, 2).unwrap();
    rig.show(&bytes, 8);
    let window = alias(&first, &bytes, 1).unwrap();
    rig.show(&window, 9);
    std::mem::forget(
        rig.space
            .map(&first, Gpa(8 * PAGE), 8, Intent::Read)
            .unwrap(),
    );
    std::mem::forget(own.map(&second, Gpa(PAGE), 8, Intent::Write).unwrap());
    first.set_link("peer", &second).unwrap();
    second.set_link("peer", &first).unwrap();
    first.realize().unwrap();
    second.realize().unwrap();
    drop((first, second, own));
    rig.close();
}

/// A region's callbacks want the owner they were written for.
#[test]
fn row_8_callbacks_have_an_owner_of_their_own_type() {
    struct ForEarly;
    impl RegionOps for ForEarly {
        type Owner = Early;
        fn read(&self, _: &Early, _: memory::Access) -> Result<u64, MemTxError> {
            Ok(0)
        }
        fn write(&self, _: &Early, _: memory::Access, _: u64) -> Result<(), MemTxError> {
            Ok(())
        }
    }
    let rig = Rig::new("8");
    let error = Region::io("regs", Size::new(4), ForEarly)
        .create(rig.machine.root())
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("/machine") && text.contains("rows-early"),
        "{text}"
    );
    let home = Region::container("ownerless", Size::new(4))
        .create_unattached(&rig.machine)
        .unwrap();
    assert!(
        home.path()
            .is_some_and(|p| p.starts_with("/machine/unattached/")),
        "an ownerless region has a home"
    );
    rig.close();
}
