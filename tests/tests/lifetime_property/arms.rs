//! What the stations of an owner do: nothing, panic, or unparent somebody; and the things of an owner's that have such stations.

use super::{PARK, Told};
use holdfast_tests::lent::lend;
use holdfast_tests::rig::{Observed, PAGE, Part, Point, Regs, Watch, make, tagged};
use memory::{Access, Commit, Listener, MemTxError, Region, RegionError, RegionOps, Section, Size};
use qom::{Child, Handle, ObjectId, ObjectOps, Ref, RootObject, TreeError, WeakRef};
use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A payload that is not harmless.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // Where one is dropped by a panic, a second one would end the process, whoever dropped it.
        assert!(std::thread::panicking(), "planned panic of a payload");
    }
}

/// Where a handle that was opened is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Opening,
    Open,
    Closed,
    Dropped,
}

/// What the stations of one owner do, and what is open in its name.
pub(crate) struct Arms {
    watch: Arc<Watch>,
    owner: ObjectId,
    panics: Mutex<HashMap<Point, bool>>,
    victims: Mutex<HashMap<Point, WeakRef>>,
    opened: Mutex<Vec<Stage>>,
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arms {
    /// For the owner that has this part.
    pub(crate) fn new(watch: &Arc<Watch>, part: &Part) -> Arc<Self> {
        let this = Arc::new(Self {
            watch: watch.clone(),
            owner: part.id(),
            panics: Mutex::default(),
            victims: Mutex::default(),
            opened: Mutex::default(),
        });
        for point in [
            Point::Realize,
            Point::Unrealize,
            Point::Unparent,
            Point::Finalize,
            Point::Read,
            Point::Write,
            Point::Drop,
        ] {
            let this = this.clone();
            part.on(point, move |_| this.visit(point));
        }
        this
    }

    pub(crate) fn panic_at(&self, point: Point, bomb: bool) {
        lock(&self.panics).insert(point, bomb);
    }

    pub(crate) fn aim(&self, point: Point, victim: WeakRef) {
        lock(&self.victims).insert(point, victim);
    }

    fn visit(&self, point: Point) {
        if point == Point::Read
            && let Some((tell, until)) = PARK.take()
        {
            let _ = tell.send(Told::Inside);
            let _ = until.recv();
        }
        if point == Point::Unparent && lock(&self.opened).contains(&Stage::Open) {
            self.wrong("its unparent hook finds something open");
        }
        let victim = lock(&self.victims).remove(&point);
        if let Some(victim) = victim.and_then(|v| v.get().ok()) {
            match victim.unparent() {
                Ok(_) => {}
                // What a listener drops may be dropped in it.
                Err(TreeError::Forbidden { .. })
                    if matches!(point, Point::Keeper | Point::BytesGone | Point::OpsDrop) => {}
                Err(error) => self.wrong(&format!("{point:?} may not unparent: {error}")),
            }
        }
        let panics = lock(&self.panics).get(&point).copied();
        match panics {
            Some(true) => resume_unwind(Box::new(Bomb)),
            Some(false) => panic!("planned panic at {point:?}"),
            None => {}
        }
    }

    fn wrong(&self, what: &str) {
        self.watch.wrong(format!("{:?}: {what}", self.owner));
    }

    /// A handle to be opened in the owner's name. The next is called when that has been tried.
    pub(crate) fn handle(self: &Arc<Self>) -> Arc<Opened> {
        let mut opened = lock(&self.opened);
        opened.push(Stage::Opening);
        Arc::new(Opened {
            arms: self.clone(),
            at: opened.len() - 1,
        })
    }

    /// It is open, or may be closed already.
    pub(crate) fn is_open(&self, at: usize) {
        let mut opened = lock(&self.opened);
        if opened[at] == Stage::Opening {
            opened[at] = Stage::Open;
        }
    }

    /// Where everything is that was opened.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        lock(&self.opened).clone()
    }
}

/// Something opened in an owner's name: closed once, after what was opened later and before the owner's end; then dropped.
pub(crate) struct Opened {
    arms: Arc<Arms>,
    pub(crate) at: usize,
}

impl Handle for Opened {
    fn close(&self) {
        let arms = &self.arms;
        let mut opened = lock(&arms.opened);
        if matches!(opened[self.at], Stage::Closed | Stage::Dropped) {
            arms.wrong("something is closed twice");
        }
        opened[self.at] = Stage::Closed;
        if opened[self.at..].contains(&Stage::Open) {
            arms.wrong("something is closed before what was opened later");
        }
        drop(opened);
        if arms.watch.has_ended(arms.owner) {
            arms.wrong("something is closed after its finalizer");
        }
        arms.visit(Point::Close);
    }

    fn describe(&self) -> String {
        format!("thing {} of {:?}", self.at, self.arms.owner)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let mut opened = lock(&self.arms.opened);
        let before = std::mem::replace(&mut opened[self.at], Stage::Dropped);
        drop(opened);
        match before {
            // It was refused.
            Stage::Opening => {}
            Stage::Closed => self.arms.visit(Point::CloseDrop),
            Stage::Open | Stage::Dropped => self.arms.wrong("something is dropped and not closed"),
        }
    }
}

/// Callbacks with a drop of their own.
struct ArmedRegs<T> {
    regs: Regs<T>,
    arms: Arc<Arms>,
    /// Taken by a region: what was refused goes in the hands of the caller, whose own affair it is.
    taken: Arc<AtomicBool>,
}

impl<T: Observed> RegionOps for ArmedRegs<T> {
    type Owner = T;
    fn read(&self, owner: &T, access: Access) -> Result<u64, MemTxError> {
        self.regs.read(owner, access)
    }
    fn write(&self, owner: &T, access: Access, value: u64) -> Result<(), MemTxError> {
        self.regs.write(owner, access, value)
    }
}

impl<T> Drop for ArmedRegs<T> {
    fn drop(&mut self) {
        if self.taken.load(Ordering::SeqCst) {
            self.arms.visit(Point::OpsDrop);
        }
    }
}

/// A page of callbacks of an owner, whose drop is a station of it.
pub(crate) fn armed_io<T: Observed>(
    owner: &WeakRef,
    arms: &Arc<Arms>,
    tag: u32,
) -> Result<Child<Region>, RegionError> {
    let taken = Arc::<AtomicBool>::default();
    let ops = ArmedRegs::<T> {
        regs: Regs::new(tag),
        arms: arms.clone(),
        taken: taken.clone(),
    };
    let made = make(Region::io("io", Size::new(PAGE), ops), owner);
    taken.store(made.is_ok(), Ordering::SeqCst);
    made
}

/// The station of a keeper.
struct Kept(Arc<Arms>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.visit(Point::Keeper);
    }
}

/// A page of RAM whose bytes are lent, with a keeper and with somebody who is told of its end.
pub(crate) fn lent_ram(
    owner: &WeakRef,
    arms: &Arc<Arms>,
    tag: u32,
) -> Result<Child<Region>, RegionError> {
    let lent = lend(tagged(owner, tag)?, Kept(arms.clone())).expect("a page of memory");
    let told = arms.clone();
    lent.on_drop(move || told.visit(Point::BytesGone));
    make(Region::ram("lent", lent), owner)
}

/// A listener that panics, when it is called and when it is dropped, or asks for what is refused in listeners.
pub(crate) struct Meddler {
    panics: bool,
    victim: WeakRef,
    /// It was taken: a refused one goes in the hands of the caller.
    called: AtomicBool,
}

impl Meddler {
    pub(crate) fn new(panics: bool, victim: WeakRef) -> Self {
        Self {
            panics,
            victim,
            called: AtomicBool::new(false),
        }
    }
}

impl Listener for Meddler {
    type Owner = RootObject;
    fn begin(&self, _owner: &RootObject) {
        self.called.store(true, Ordering::SeqCst);
    }
    fn region_add(&self, _owner: &RootObject, _cx: &Commit<'_>, _section: Section<'_>) {
        assert!(!self.panics, "planned panic in a listener");
        if let Ok(victim) = self.victim.get() {
            assert!(matches!(
                victim.unparent(),
                Err(TreeError::Forbidden { .. })
            ));
        }
    }
    fn region_del(&self, _owner: &RootObject, _cx: &Commit<'_>, _section: Section<'_>) {
        assert!(!self.panics, "planned panic in a listener");
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        let panics = self.panics && self.called.load(Ordering::SeqCst);
        assert!(!panics, "planned panic in a listener's drop");
    }
}

/// A listener that drops somebody's handle, at its first call or at its last.
pub(crate) struct Dropper {
    handle: Mutex<Option<Ref>>,
    late: bool,
}

impl Dropper {
    pub(crate) fn new(handle: Ref, late: bool) -> Self {
        Self {
            handle: Mutex::new(Some(handle)),
            late,
        }
    }
}

impl Listener for Dropper {
    type Owner = RootObject;
    fn begin(&self, _owner: &RootObject) {
        if !self.late {
            let handle = lock(&self.handle).take();
            drop(handle);
        }
    }
    fn commit(&self, _owner: &RootObject) {
        let handle = lock(&self.handle).take();
        drop(handle);
    }
}
