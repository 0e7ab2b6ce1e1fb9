//! What others leave behind: a poisoned device lock, a thread that ended inside a section, late destructors; and both engines of the
//! read sections under a whole machine.
//!
//! Forks, and a kernel that denies `membarrier`, are tested where the engines live (`qom/grace/tests/fork.rs`,
//! `qom/grace/tests/denied.rs`).

use holdfast_tests::rig::{Dev, LONG, Observed, PAGE, Plain, Point, Rig, io, ram};
use memory::{
    Access, AddressSpace, Attrs, Gpa, Intent, MemTxError, Region, RegionApi, RegionOps, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::grace::EngineKind;
use qom::{Init, Machine, ObjectImpl, ObjectOps};
use std::cell::RefCell;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A device whose every station takes its lock and takes for granted that nobody ever panicked with it.
struct Trusting {
    device: Device,
    count: Mutex<u64>,
}

qdev::device_type! { Trusting("poisoned-trusting") { device: Device } }

impl ObjectImpl for Trusting {
    fn init(cx: &mut Init<'_>) -> Self {
        Region::io("regs", Size::new(PAGE), Count)
            .create(cx.object())
            .unwrap();
        Self {
            device: cx.parent(),
            count: Mutex::new(0),
        }
    }
    fn unparent(&self) {
        *self.count.lock().unwrap() += 1;
    }
    fn finalize(&self) {
        *self.count.lock().unwrap() += 1;
    }
}

impl DeviceImpl for Trusting {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
    fn unrealize(&self) {
        *self.count.lock().unwrap() += 1;
    }
}

struct Count;
impl RegionOps for Count {
    type Owner = Trusting;
    fn read(&self, owner: &Trusting, _: Access) -> Result<u64, MemTxError> {
        Ok(*owner.count.lock().unwrap())
    }
    fn write(&self, owner: &Trusting, _: Access, value: u64) -> Result<(), MemTxError> {
        let mut count = owner.count.lock().unwrap();
        assert!(value != 13, "planned panic with the lock held");
        *count += value;
        Ok(())
    }
}

#[test]
fn a_poisoned_device_lock_is_the_devices_trouble_alone() {
    let rig = Rig::new("poisoned");
    let card = rig.machine.create::<Trusting>().unwrap();
    rig.machine.root().add_child("card", &card).unwrap();
    card.realize().unwrap();
    rig.show(&qdev::regions_of(&card)[0], 0);
    let other = rig.plug::<Dev>("other");
    rig.show(&ram(&other, 5).unwrap(), 1);
    rig.show(&io::<Dev>(&other, 6).unwrap(), 2);
    let mapping = rig.space.map(&card, Gpa(PAGE), 8, Intent::Read).unwrap();

    rig.store(0, 2).unwrap();
    assert_eq!(rig.load(0), Ok(2));
    assert_eq!(rig.store(0, 13), Err(MemTxError::DEVICE));
    // From here on each callback finds the lock poisoned and panics in its turn; the guest is told so, again and again.
    for _ in 0..3 {
        assert_eq!(rig.load(0), Err(MemTxError::DEVICE));
        assert_eq!(rig.store(0, 1), Err(MemTxError::DEVICE));
    }
    assert!(card.count.is_poisoned());
    // Everybody else goes on.
    assert_eq!((rig.load(1), rig.load(2)), (Ok(5), Ok(6)));
    let late = ram(&other, 7).unwrap();
    rig.show(&late, 3);
    assert_eq!(rig.load(3), Ok(7));

    // Unrealize, the unparent hook and the finalizer panic as well; the unplug is complete all the same.
    let weak = card.downgrade();
    assert!(card.unparent().unwrap().is_done());
    assert_eq!(rig.load(0), Err(MemTxError::DECODE));
    assert!(!mapping.is_open());
    assert_eq!(
        *card.count.lock().unwrap_or_else(PoisonError::into_inner),
        2
    );
    drop(card);
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    let panics = rig.watch.panics();
    for station in ["unrealize", "unparent hook", "finalizer"] {
        assert!(
            panics.iter().any(|p| p.contains(station)),
            "{station}: {panics:?}"
        );
    }
    other.unparent().unwrap();
    drop(other);
    rig.finish();
}

/// Somewhere there may be a reference that was borrowed from a guard that was forgotten: its section lasts for ever, and says whose it is.
#[test]
fn a_thread_that_ends_inside_a_section_is_named() {
    let rig = Rig::new("leaked");
    let card = rig.plug::<Plain>("card");
    rig.show(&ram(&card, 1).unwrap(), 0);
    let space = rig.space.clone();
    let thread = std::thread::Builder::new().name("forgetful".into());
    let leaks = move || std::mem::forget(space.enter());
    thread.spawn(leaks).unwrap().join().unwrap();

    // An unplug takes effect; only memory is not given back.
    assert_eq!(rig.load(0), Ok(1));
    let weak = card.downgrade();
    assert!(card.unparent().unwrap().is_done());
    drop(card);
    assert_eq!(rig.load(0), Err(MemTxError::DECODE));
    let named = |text: String| {
        assert!(
            text.contains("forgetful") && text.contains("without dropping its guard"),
            "{text}"
        );
    };
    let short = Duration::from_millis(50);
    named(rig.machine.quiesce(short).unwrap_err().to_string());
    let kept = rig.machine.wait_finalized(&weak, short).unwrap_err();
    assert!(kept.to_string().contains("shown by a view"), "{kept}");
    named(rig.machine.domain().slowest_reader().unwrap().to_string());
    // New things come and go as far as they can.
    let next = rig.plug::<Plain>("card");
    rig.show(&ram(&next, 2).unwrap(), 0);
    assert_eq!(rig.load(0), Ok(2));
    next.unparent().unwrap();
    assert_eq!(rig.load(0), Err(MemTxError::DECODE));
    drop(next);
    // The close gives the machine back, and says why.
    let live = rig.watch.bytes().bytes();
    assert_eq!(live, 2 * PAGE);
    let Rig { machine, .. } = rig;
    let (machine, error) = machine.close(short).unwrap_err();
    assert!(error.to_string().contains("shown by a view"), "{error}");
    drop(machine);
}

#[test]
fn threads_come_and_go_with_readers_of_their_own() {
    let rig = Rig::new("threads");
    let card = rig.plug::<Dev>("card");
    rig.show(&io::<Dev>(&card, 3).unwrap(), 0);
    rig.show(&ram(&card, 4).unwrap(), 1);
    for round in 0..50 {
        let space = rig.space.clone();
        let forget = round % 2 == 0;
        std::thread::spawn(move || {
            let reader = space.reader();
            let guard = reader.enter();
            assert_eq!(guard.load::<u32>(Gpa(0), Attrs::default()), Ok(3));
            drop(guard);
            if forget {
                // A handle without a section is in nobody's way.
                std::mem::forget(reader);
            }
        })
        .join()
        .unwrap();
        rig.machine.quiesce(LONG).unwrap();
    }
    card.unparent().unwrap();
    drop(card);
    rig.finish();
}

/// Reads and unplugs in a destructor of its thread, when the library's own records of the thread may be gone.
struct Late(AddressSpace, Option<qom::Ref<Dev>>);

static SEEN_LATE: AtomicU64 = AtomicU64::new(0);

impl Drop for Late {
    fn drop(&mut self) {
        let seen = self.0.load::<u32>(Gpa(0), Attrs::default());
        SEEN_LATE.store(u64::from(seen.unwrap_or(99)), Ordering::SeqCst);
        let card = self.1.take().unwrap();
        card.unparent().unwrap();
        assert_eq!(
            self.0.load::<u32>(Gpa(0), Attrs::default()),
            Err(MemTxError::DECODE)
        );
    }
}

thread_local! {
    static LATE: RefCell<Option<Late>> = const { RefCell::new(None) };
}

#[test]
fn a_threads_late_destructors_use_the_machine() {
    for order in [false, true] {
        let rig = Rig::new("late");
        let card = rig.plug::<Dev>("card");
        rig.show(&io::<Dev>(&card, 8).unwrap(), 0);
        card.realize().unwrap();
        let weak = card.downgrade();
        let space = rig.space.clone();
        SEEN_LATE.store(0, Ordering::SeqCst);
        std::thread::spawn(move || {
            // Which of the two destructors runs first depends on which was registered first.
            if order {
                space.load::<u32>(Gpa(0), Attrs::default()).unwrap();
            }
            LATE.with_borrow_mut(|late| *late = Some(Late(space.clone(), Some(card))));
            if !order {
                space.load::<u32>(Gpa(0), Attrs::default()).unwrap();
            }
        })
        .join()
        .unwrap();
        assert_eq!(SEEN_LATE.load(Ordering::SeqCst), 8);
        rig.machine.wait_finalized(&weak, LONG).unwrap();
        rig.finish();
    }
}

/// Readers, toggles, plugs and unplugs, at once.
fn churn(engine: Option<EngineKind>) {
    let rig = Rig::with(Machine::builder("churn").grace(|g| g.engine = engine));
    if let Some(engine) = engine {
        assert_eq!(rig.machine.domain().engine(), engine);
    }
    let stays = rig.plug::<Dev>("stays");
    let toggled = ram(&stays, 100).unwrap();
    rig.show(&toggled, 0);
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let reader = rig.space.reader();
                while !stop.load(Ordering::Relaxed) {
                    let guard = reader.enter();
                    if let Ok(bytes) = guard.view().slice(Gpa(PAGE), 8) {
                        // Bytes of a card that may be unplugged at this moment.
                        let tag = bytes.load_u32(0).unwrap();
                        assert!((1..60).contains(&tag), "{tag}");
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    let toggled = guard.load::<u32>(Gpa(0), Attrs::default());
                    assert!(matches!(toggled, Ok(100) | Err(MemTxError::DECODE)));
                    let called = guard.load::<u32>(Gpa(2 * PAGE), Attrs::default());
                    assert!(matches!(called, Ok(1..60) | Err(MemTxError::DECODE)));
                }
            });
        }
        for round in 1..60 {
            let card = rig.plug::<Dev>("card");
            rig.show(&ram(&card, round).unwrap(), 1);
            rig.show(&io::<Dev>(&card, round).unwrap(), 2);
            card.realize().unwrap();
            card.part()
                .on(Point::Unrealize, |_| std::thread::yield_now());
            toggled.set_enabled(round % 2 == 0).unwrap();
            assert_eq!((rig.load(1), rig.load(2)), (Ok(round), Ok(round)));
            let before = reads.load(Ordering::Relaxed);
            // So that each round is looked at, on a busy machine as well.
            while reads.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
            card.unparent().unwrap();
            assert_eq!(
                (rig.load(1), rig.load(2)),
                (Err(MemTxError::DECODE), Err(MemTxError::DECODE))
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    stays.unparent().unwrap();
    drop(stays);
    rig.finish();
}

#[test]
fn churn_under_membarriers() {
    if qom::grace::engine() == EngineKind::Membarrier {
        churn(Some(EngineKind::Membarrier));
    }
}

#[test]
fn churn_under_epochs() {
    churn(Some(EngineKind::Epoch));
}

const CHILD: &str = "HOLDFAST_TEST_OTHER_ENGINE";

/// Not a test of its own: what [`a_process_without_membarrier`] starts.
#[test]
fn other_engine() {
    if std::env::var(CHILD).is_err() {
        return;
    }
    assert_eq!(qom::grace::engine(), EngineKind::Epoch);
    churn(None);
    println!("ran to its end");
}

/// A whole process that is told to do without.
#[test]
fn a_process_without_membarrier() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "other_engine"])
        .env(CHILD, "1")
        .env("HOLDFAST_GRACE", "epoch")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("ran to its end"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
