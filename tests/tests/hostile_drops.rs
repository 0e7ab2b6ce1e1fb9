//! User code that panics while it is dropped, or panics with what panics: in whose hands it goes, and who hears of it.

use holdfast_tests::rig::{Dev, LONG, PAGE, Point, Rig, io, make, ram};
use holdfast_tests::rig::{Observed, Regs};
use memory::{
    Access, Commit, Listener, MemTxError, Offset, Priority, Region, RegionApi, RegionOps, Section,
    Size,
};
use qdev::{DeviceOps, RealizeError};
use qom::{Handle, ObjectOps, RootObject};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

/// Counts how often it is called and dropped; panics when it is dropped.
struct Fragile {
    calls: Arc<AtomicU32>,
    drops: Arc<AtomicU32>,
}

impl Listener for Fragile {
    type Owner = RootObject;
    fn region_add(&self, _owner: &RootObject, _cx: &Commit<'_>, _section: Section<'_>) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::SeqCst);
        panic!("planned panic of a listener's drop");
    }
}

#[test]
fn listeners_whose_drop_panics_end_alone() {
    let rig = Rig::new("listeners");
    let card = rig.plug::<Dev>("card");
    rig.show(&ram(&card, 1).unwrap(), 0);
    let (calls, drops) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
    let own = memory::AddressSpace::open(&card, "own", &rig.system).unwrap();
    let fragile = || Fragile {
        calls: calls.clone(),
        drops: drops.clone(),
    };
    // One that the test lets go of, and two that go together with their space, in a commit.
    let kept = rig.space.listen(&card, fragile()).unwrap();
    drop(own.listen(rig.machine.root(), fragile()).unwrap());
    drop(own.listen(rig.machine.root(), fragile()).unwrap());
    assert_eq!(calls.load(Ordering::SeqCst), 3);
    card.unparent().unwrap();
    assert!(own.is_closed());
    drop((kept, own));
    // The rest of what they knew of is forgotten by those in whose name they were.
    rig.machine.quiesce(LONG).unwrap();
    rig.show(&ram(rig.machine.root(), 2).unwrap(), 1);
    assert_eq!(rig.load(1), Ok(2), "commits go on");
    drop(card);
    rig.machine.quiesce(LONG).unwrap();
    let watch = rig.watch.clone();
    rig.close();
    assert_eq!(drops.load(Ordering::SeqCst), 3);
    let told = watch.panics();
    let dropped = told.iter().filter(|p| p.contains("dropping a listener"));
    assert!(dropped.count() > 0, "{told:?}");
}

/// Notes which thread drops it, and panics there.
struct Noted {
    regs: Regs<Dev>,
    dropper: Arc<Mutex<Option<ThreadId>>>,
}

impl RegionOps for Noted {
    type Owner = Dev;
    fn read(&self, owner: &Dev, access: Access) -> Result<u64, MemTxError> {
        self.regs.read(owner, access)
    }
    fn write(&self, owner: &Dev, access: Access, value: u64) -> Result<(), MemTxError> {
        self.regs.write(owner, access, value)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        *self.dropper.lock().unwrap() = Some(std::thread::current().id());
        panic!("planned panic of a region's callbacks");
    }
}

#[test]
fn whoever_drops_a_snapshot_drops_no_callbacks() {
    let rig = Rig::new("callbacks");
    for round in 0..300 {
        let card = rig.plug::<Dev>("card");
        let dropper = Arc::<Mutex<Option<ThreadId>>>::default();
        let ops = Noted {
            regs: Regs::new(1),
            dropper: dropper.clone(),
        };
        let regs = make(Region::io("io", Size::new(PAGE), ops), &card).unwrap();
        rig.show(&regs, 0);
        // More leaves to drop than one, so that the finalizer has the time to overtake.
        for page in 1..20 {
            rig.show(&ram(&card, 2).unwrap(), page);
        }
        let snapshot = rig.space.snapshot(rig.machine.root()).unwrap();
        card.unparent().unwrap();
        drop(card);
        rig.machine.quiesce(LONG).unwrap();
        assert!(dropper.lock().unwrap().is_none(), "the snapshot shows them");
        drop(snapshot);
        rig.machine.quiesce(LONG).unwrap();
        let dropper = *dropper.lock().unwrap();
        let elsewhere = dropper.is_some_and(|thread| thread != std::thread::current().id());
        assert!(elsewhere, "round {round}: dropped by {dropper:?}");
    }
    rig.finish();
}

/// A payload that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "planned panic of a payload");
    }
}

/// Opened in somebody's name; panics when it is closed and when it is dropped.
struct Thing(Arc<AtomicU32>);

impl Handle for Thing {
    fn close(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
        resume_unwind(Box::new(Bomb));
    }
    fn describe(&self) -> String {
        "a thing".into()
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.0.fetch_add(100, Ordering::SeqCst);
        panic!("planned panic of a handle's drop");
    }
}

/// Nothing comes out of `f`; the test's harness would not survive a [`Bomb`].
fn contained<T>(f: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        panic!("a panic came out")
    })
}

#[test]
fn what_a_panic_carries_may_panic_too() {
    let rig = Rig::new("payloads");
    let card = rig.plug::<Dev>("card");
    let regs = io::<Dev>(&card, 1).unwrap();
    rig.show(&regs, 0);
    let explode = |point| card.part().on(point, |_| resume_unwind(Box::new(Bomb)));
    explode(Point::Realize);
    let refused = contained(|| card.realize());
    assert!(
        matches!(refused, Err(RealizeError::Panicked { .. })),
        "{refused:?}"
    );
    explode(Point::Read);
    explode(Point::Write);
    assert_eq!(contained(|| rig.load(0)), Err(MemTxError::DEVICE));
    assert_eq!(contained(|| rig.store(0, 1)), Err(MemTxError::DEVICE));
    card.part().on(Point::Realize, |_| {});
    card.realize().unwrap();
    let ended = Arc::<AtomicU32>::default();
    for _ in 0..2 {
        card.open(Arc::new(Thing(ended.clone()))).unwrap();
    }
    for point in [
        Point::Unrealize,
        Point::Unparent,
        Point::Finalize,
        Point::Drop,
    ] {
        explode(point);
    }
    assert!(contained(|| card.unparent().unwrap().is_done()));
    assert_eq!(
        ended.load(Ordering::SeqCst),
        202,
        "closed and dropped once each"
    );
    drop(card);
    rig.finish();
}

#[test]
fn a_regions_place_is_free_after_its_callbacks_panicked() {
    let rig = Rig::new("place");
    let card = rig.plug::<Dev>("card");
    let dropper = Arc::<Mutex<Option<ThreadId>>>::default();
    let ops = Noted {
        regs: Regs::new(1),
        dropper: dropper.clone(),
    };
    let regs = make(Region::io("io", Size::new(PAGE), ops), &card).unwrap();
    rig.system
        .add_subregion(Offset(0), &regs, Priority(0))
        .unwrap();
    regs.unparent().unwrap();
    rig.machine.quiesce(LONG).unwrap();
    assert!(dropper.lock().unwrap().is_some());
    rig.show(&ram(&card, 9).unwrap(), 0);
    assert_eq!(rig.load(0), Ok(9));
    card.unparent().unwrap();
    drop(card);
    rig.finish();
}
