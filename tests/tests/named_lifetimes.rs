//! Situations with a name: a panic in unrealize, a race with a withdrawal, a device that ejects itself, a slow reader, DMA to oneself.

use holdfast_tests::rig::{
    Dev, LONG, Observed, PAGE, Plain, Point, Rig, alias, container, io, ram,
};
use memory::{
    Access, AddressSpace, Attrs, FnOps, Gpa, Intent, MapError, MemTxError, Offset, Priority,
    Region, RegionApi, RegionError, RegionOps, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::layer::Target;
use qom::{Init, Machine, ObjectImpl, ObjectOps, ObjectType, Ref, Ticket, TreeError};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

/// Lets go of an object and waits for its end.
fn gone<T: ObjectImpl>(rig: &Rig, object: Ref<T>) {
    let weak = object.downgrade();
    object.unparent().unwrap();
    drop(object);
    rig.machine.wait_finalized(&weak, LONG).unwrap();
}

#[test]
fn a_panic_in_unrealize_keeps_nothing_else_from_ending() {
    let rig = Rig::new("unrealize");
    let card = rig.plug::<Dev>("card");
    let (bar, regs) = (container(&card, 4).unwrap(), io::<Dev>(&card, 1).unwrap());
    bar.add_subregion(Offset(0), &regs, Priority(0)).unwrap();
    rig.show(&bar, 0);
    rig.show(&ram(&card, 2).unwrap(), 8);
    card.realize().unwrap();
    let own = AddressSpace::open(&card, "dma", &bar).unwrap();
    let mapping = rig
        .space
        .map(&card, Gpa(8 * PAGE), 64, Intent::Write)
        .unwrap();
    let unparented = Arc::new(AtomicBool::new(false));
    let flag = unparented.clone();
    card.part().panic_at(Point::Unrealize);
    card.part()
        .on(Point::Unparent, move |_| flag.store(true, Ordering::SeqCst));
    assert!(card.unparent().unwrap().is_done());
    assert!(unparented.load(Ordering::SeqCst), "the next hook ran");
    assert!(own.is_closed() && !mapping.is_open());
    assert!(!card.is_realized());
    let panics = rig.watch.panics();
    assert_eq!(panics.len(), 1, "{panics:?}");
    assert!(
        panics[0].contains("/machine/card") && panics[0].contains("unrealize"),
        "{panics:?}"
    );
    gone(&rig, card);
    rig.finish();
}

#[test]
fn a_panic_at_every_station_keeps_nothing_from_ending() {
    let rig = Rig::new("stations");
    for point in [
        Point::Realize,
        Point::Unrealize,
        Point::Unparent,
        Point::Finalize,
        Point::Read,
        Point::Write,
    ] {
        let card = rig.plug::<Dev>("card");
        rig.show(&io::<Dev>(&card, 1).unwrap(), 0);
        card.part().panic_at(point);
        assert_eq!(card.realize().is_err(), point == Point::Realize);
        let (read, written) = (rig.load(0), rig.store(0, 1));
        if point == Point::Read {
            assert_eq!(read, Err(MemTxError::DEVICE));
        }
        if point == Point::Write {
            assert_eq!(written, Err(MemTxError::DEVICE));
        }
        gone(&rig, card);
    }
    assert_eq!(rig.watch.panics().len(), 5, "realize has its own error");
    rig.finish();
}

#[test]
fn a_worker_that_adds_regions_loses_against_the_withdrawal() {
    let rig = Rig::new("worker");
    for round in 0..40 {
        let card = rig.plug::<Dev>("card");
        let started = Barrier::new(2);
        let (worker, made) = std::thread::scope(|s| {
            let worker = s.spawn(|| {
                started.wait();
                let mut made = 0;
                loop {
                    let region = match ram(&card, 7) {
                        Ok(region) => region,
                        Err(error) => return (error, made),
                    };
                    made += 1;
                    match rig
                        .system
                        .add_subregion(Offset(made * PAGE), &region, Priority(0))
                    {
                        Ok(()) => {}
                        Err(error) => return (error, made),
                    }
                    match rig.space.map(&card, Gpa(made * PAGE), 8, Intent::Read) {
                        Ok(mapping) => std::mem::forget(mapping),
                        // Shown by a view that is not published any more, or in a withdrawn name.
                        Err(
                            MapError::NotRam { .. }
                            | MapError::Withdrawn { .. }
                            | MapError::Holder(TreeError::ParentWithdrawn { .. }),
                        ) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            started.wait();
            std::thread::sleep(Duration::from_micros(50 * (round % 8)));
            card.unparent().unwrap();
            worker.join().unwrap()
        });
        assert!(
            matches!(
                worker,
                RegionError::Withdrawn { .. }
                    | RegionError::Gone(_)
                    | RegionError::Tree(TreeError::ParentWithdrawn { .. })
            ),
            "{worker:?}"
        );
        for page in 1..=made {
            assert_eq!(rig.load(page), Err(MemTxError::DECODE), "page {page}");
        }
        gone(&rig, card);
        rig.machine.quiesce(LONG).unwrap();
        assert_eq!((rig.extra_objects(), rig.watch.bytes().bytes()), (0, 0));
    }
    rig.finish();
}

#[test]
fn a_plain_child_maps_its_grandparents_memory() {
    let rig = Rig::new("grandchild");
    let grandparent = rig.plug::<Dev>("grandparent");
    let bytes = ram(&grandparent, 5).unwrap();
    rig.show(&bytes, 0);
    let (parent, child) = (
        rig.machine.create::<Plain>().unwrap(),
        rig.machine.create::<Plain>().unwrap(),
    );
    grandparent.add_child("parent", &parent).unwrap();
    parent.add_child("child", &child).unwrap();
    let mapping = rig
        .space
        .map(&child, Gpa(0), 64, Intent::ReadWrite)
        .unwrap();
    let kept = Mutex::new(Some(mapping));
    child
        .part()
        .on(Point::Finalize, move |_| drop(kept.lock().unwrap().take()));
    assert_eq!(child.opened().len(), 1);
    drop((parent, child));
    gone(&rig, grandparent);
    let order = rig.watch.finalized();
    let at = |path: &str| order.iter().position(|p| p == path).unwrap();
    assert!(at("/machine/grandparent/ram[0]") < at("/machine/grandparent"));
    rig.finish();
}

/// What must not be written: a command that is suspended and keeps a snapshot of memory holds what it waits for. The ledger says so.
#[test]
fn a_snapshot_kept_by_a_suspended_command_is_named() {
    let rig = Rig::with(Machine::builder("snapshot").recording(true));
    let (gpu, card) = (rig.plug::<Dev>("gpu"), rig.plug::<Dev>("card"));
    let blob = ram(&card, 3).unwrap();
    rig.show(&blob, 0);
    let (suspended, line) = (rig.space.snapshot(&gpu).unwrap(), line!());
    assert_eq!(memory::counters(&rig.machine).live_snapshots, 1);
    let weak = blob.downgrade();
    blob.unparent().unwrap();
    let error = rig
        .machine
        .wait_finalized(&weak, Duration::from_millis(50))
        .unwrap_err();
    let object = weak.pointer().unwrap();
    for text in [
        error.to_string(),
        rig.machine.why_alive(&object).to_string(),
    ] {
        for part in [
            "/machine/card/ram[0]",
            "snapshot by /machine/gpu",
            "snapshot of a view",
            &format!("named_lifetimes.rs:{line}"),
        ] {
            assert!(text.contains(part), "no {part} in: {text}");
        }
    }
    drop(object);
    // In the owner's own name it is no different.
    let own = rig.space.snapshot(&card).unwrap();
    drop((suspended, own));
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    gone(&rig, gpu);
    gone(&rig, card);
    rig.finish();
}

/// A device with a lock that it holds over everything, and that its unrealize takes.
struct Ejector {
    device: Device,
    lock: Mutex<Option<Ticket>>,
    waits: AtomicBool,
    unrealized: AtomicBool,
}

qdev::device_type! { Ejector("named-ejector") { device: Device } }

impl ObjectImpl for Ejector {
    fn init(cx: &mut Init<'_>) -> Self {
        Region::io("eject", Size::new(PAGE), Eject)
            .create(cx.object())
            .unwrap();
        Self {
            device: cx.parent(),
            lock: Mutex::new(None),
            waits: AtomicBool::new(false),
            unrealized: AtomicBool::new(false),
        }
    }
}

impl DeviceImpl for Ejector {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
    fn unrealize(&self) {
        let ticket = self.lock.lock().unwrap();
        assert!(ticket.is_some(), "the callback had the lock first");
        self.unrealized.store(true, Ordering::SeqCst);
    }
}

struct Eject;
impl RegionOps for Eject {
    type Owner = Ejector;
    fn read(&self, _: &Ejector, _: Access) -> Result<u64, MemTxError> {
        Ok(0)
    }
    fn write(&self, ejector: &Ejector, _: Access, _: u64) -> Result<(), MemTxError> {
        let mut lock = ejector.lock.lock().unwrap();
        let ticket = if ejector.waits.load(Ordering::SeqCst) {
            ejector.this().unparent()
        } else {
            ejector.this().unparent_async()
        };
        *lock = Some(ticket.unwrap());
        // Unrealize cannot be through: it needs the lock.
        assert!(!ejector.unrealized.load(Ordering::SeqCst));
        Ok(())
    }
}

#[test]
fn a_device_ejects_itself_from_its_own_callback_with_its_lock_held() {
    let rig = Rig::new("eject");
    for waits in [false, true] {
        let card = rig.plug::<Ejector>("card");
        card.waits.store(waits, Ordering::SeqCst);
        card.realize().unwrap();
        let eject = qdev::regions_of(&card).remove(0);
        rig.show(&eject, 0);
        rig.store(0, 1).unwrap();
        // The step that takes it off the map was done in the callback.
        assert_eq!(rig.store(0, 1), Err(MemTxError::DECODE));
        let ticket = card.lock.lock().unwrap().clone().unwrap();
        ticket.wait(LONG).unwrap();
        assert!(card.unrealized.load(Ordering::SeqCst));
        assert!(rig.watch.panics().is_empty(), "{:?}", rig.watch.panics());
        gone(&rig, card);
    }
    rig.finish();
}

#[test]
fn a_slow_reader_bounds_what_others_may_change_and_is_named() {
    const LIMIT: u64 = 64 << 10;
    let wait = Duration::from_millis(20);
    let rig = Rig::with(Machine::builder("slow").grace(|g| {
        g.retired_bytes_limit = LIMIT;
        g.limit_wait = wait;
    }));
    let (slow, other) = (rig.plug::<Dev>("slow"), rig.plug::<Dev>("other"));
    rig.show(&io::<Dev>(&slow, 1).unwrap(), 0);
    let toggled = ram(&other, 2).unwrap();
    rig.show(&toggled, 1);
    let (inside, entered) = channel();
    let (leave, left) = sync_channel::<()>(0);
    let left = Mutex::new(left);
    slow.part().on(Point::Read, move |_| {
        inside.send(()).unwrap();
        let _ = left.lock().unwrap().recv();
    });
    let space = rig.space.clone();
    let reader = std::thread::Builder::new()
        .name("vcpu-7".into())
        .spawn(move || space.load::<u32>(Gpa(0), Attrs::default()))
        .unwrap();
    entered.recv().unwrap();

    let mut on = false;
    let mut toggle = || {
        let done = toggled.set_enabled(on);
        on ^= done.is_ok();
        done
    };
    let refused = (0..10_000).find_map(|_| toggle().err());
    let error = refused.expect("the bound is reached");
    assert!(matches!(error, RegionError::Overloaded { .. }), "{error:?}");
    assert!(error.to_string().contains("/machine/other/ram[0]"));
    let source = error.source().unwrap().to_string();
    assert!(
        source.contains("vcpu-7") && source.contains(&LIMIT.to_string()),
        "{source}"
    );
    // It stays so, for a bounded time each, and nothing piles up.
    let start = Instant::now();
    let retired = || rig.machine.counters().grace.retired_bytes;
    let before = retired();
    assert!(before <= 2 * LIMIT, "{before}");
    for _ in 0..3 {
        assert!(toggle().is_err());
    }
    assert!(start.elapsed() >= 2 * wait && start.elapsed() < LONG);
    assert_eq!(retired(), before, "what is refused retires nothing");
    assert!(rig.load(1).is_ok() || rig.load(1) == Err(MemTxError::DECODE));

    drop(leave);
    assert_eq!(reader.join().unwrap(), Ok(1));
    rig.machine.quiesce(LONG).unwrap();
    assert_eq!(retired(), 0);
    for _ in 0..100 {
        toggle().unwrap();
    }
    // An unplug is never refused, however much is retired.
    gone(&rig, slow);
    gone(&rig, other);
    rig.finish();
}

#[test]
fn an_unplug_is_not_refused_for_want_of_room() {
    let rig = Rig::with(Machine::builder("full").grace(|g| {
        g.retired_bytes_limit = 1;
        g.limit_wait = Duration::from_millis(5);
    }));
    let card = rig.plug::<Plain>("card");
    rig.show(&ram(&card, 2).unwrap(), 1);
    rig.machine.quiesce(LONG).unwrap();
    let (inside, entered) = channel();
    let (leave, left) = channel::<()>();
    let space = rig.space.clone();
    let reader = std::thread::spawn(move || {
        let guard = space.enter();
        inside.send(()).unwrap();
        let _ = left.recv();
        drop(guard);
    });
    entered.recv().unwrap();
    let more = ram(&card, 3).unwrap();
    let shown = (0..4).map(|i| {
        rig.system
            .add_subregion(Offset((4 + i) * PAGE), &more, Priority(0))
    });
    let _ = shown.collect::<Vec<_>>();
    assert!(matches!(
        more.set_enabled(false),
        Err(RegionError::Overloaded { .. })
    ));
    let weak = card.downgrade();
    card.unparent().unwrap();
    drop(card);
    assert_eq!(rig.load(1), Err(MemTxError::DECODE));
    drop(leave);
    reader.join().unwrap();
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    rig.finish();
}

#[test]
fn two_readers_in_one_device_at_once() {
    let rig = Rig::new("two");
    let card = rig.plug::<Dev>("card");
    rig.show(&io::<Dev>(&card, 6).unwrap(), 0);
    // Each waits for the other inside the callback.
    let both = Arc::new(Barrier::new(2));
    card.part().on(Point::Read, move |_| {
        both.wait();
    });
    std::thread::scope(|s| {
        let readers = [s.spawn(|| rig.load(0)), s.spawn(|| rig.load(0))];
        for reader in readers {
            assert_eq!(reader.join().unwrap(), Ok(6));
        }
    });
    gone(&rig, card);
    rig.finish();
}

/// What a device's transfer came to: one for each access of its write callback.
#[derive(Default)]
struct Transfers(Mutex<Vec<Result<u32, MemTxError>>>);

#[test]
fn a_device_does_not_reach_its_own_registers() {
    let rig = Rig::new("reentrancy");
    let (card, other) = (rig.plug::<Dev>("card"), rig.plug::<Dev>("other"));
    rig.show(&io::<Dev>(&card, 1).unwrap(), 0);
    // Another region of the same device, one that is exempt, another device, and the device's memory.
    rig.show(&io::<Dev>(&card, 2).unwrap(), 1);
    let exempt = Region::io(
        "exempt",
        Size::new(PAGE),
        holdfast_tests::rig::Regs::<Dev>::new(3),
    )
    .allow_reentrancy()
    .create(&card)
    .unwrap();
    rig.show(&exempt, 2);
    rig.show(&io::<Dev>(&other, 4).unwrap(), 3);
    rig.show(&ram(&card, 5).unwrap(), 4);
    // And the device's registers once more, through a window of somebody else.
    let window = alias(&other, &exempt, 1).unwrap();
    rig.show(&window, 5);
    let transfers = Arc::new(Transfers::default());
    let (space, log) = (rig.space.clone(), transfers.clone());
    card.part().on(Point::Write, move |value| {
        let target = Gpa(value * PAGE);
        let result = space.load::<u32>(target, Attrs::default());
        log.0.lock().unwrap().push(result);
    });
    for page in 0..6 {
        rig.store(0, page).unwrap();
    }
    assert_eq!(
        *transfers.0.lock().unwrap(),
        [
            Err(MemTxError::ACCESS),
            Err(MemTxError::ACCESS),
            Ok(3),
            Ok(4),
            Ok(5),
            Ok(3),
        ]
    );
    // An exempt access inside a guarded one leaves the guard as it was, and the guard ends with the callback, also where that panics.
    transfers.0.lock().unwrap().clear();
    card.part().panic_at(Point::Write);
    assert_eq!(rig.store(0, 0), Err(MemTxError::DEVICE));
    assert_eq!(rig.load(0), Ok(1));
    // A ring: card → other → card. The second visit of the first is refused, and the answer comes back.
    let (space, log) = (rig.space.clone(), transfers.clone());
    card.part().on(Point::Write, move |_| {
        let result = space.store(Gpa(3 * PAGE), 0u32, Attrs::default());
        log.0.lock().unwrap().push(result.map(|()| 0));
    });
    let (space, log) = (rig.space.clone(), transfers.clone());
    other.part().on(Point::Write, move |_| {
        let result = space.store(Gpa(0), 0u32, Attrs::default());
        log.0.lock().unwrap().push(result.map(|()| 0));
    });
    rig.store(0, 0).unwrap();
    assert_eq!(
        *transfers.0.lock().unwrap(),
        [Err(MemTxError::ACCESS), Ok(0)]
    );
    // A bottom half enters the device's name by itself.
    let object = card.pointer().unwrap();
    let inside = memory::reentrancy::enter(&object).unwrap();
    assert_eq!(rig.load(0), Err(MemTxError::ACCESS));
    assert_eq!(rig.load(3), Ok(4));
    drop((inside, object));
    assert_eq!(rig.load(0), Ok(1));
    gone(&rig, card);
    gone(&rig, other);
    rig.finish();
}

/// Each device's callback stores to the next one: the guest builds the chain, the library bounds it.
#[test]
fn a_chain_of_callbacks_has_an_end() {
    let rig = Rig::new("chain");
    let reached = Arc::new(Mutex::new(Vec::new()));
    let cards: Vec<Ref<Dev>> = (0..40)
        .map(|i| {
            let card = rig.plug::<Dev>(&format!("card{i}"));
            rig.show(&io::<Dev>(&card, i).unwrap(), u64::from(i));
            let (space, log) = (rig.space.clone(), reached.clone());
            card.part().on(Point::Write, move |_| {
                let next = space.store(Gpa(u64::from(i + 1) * PAGE), 0u32, Attrs::default());
                log.lock().unwrap().push((i, next));
            });
            card
        })
        .collect();
    for _ in 0..2 {
        rig.store(0, 0).unwrap();
        let mut reached = std::mem::take(&mut *reached.lock().unwrap());
        reached.reverse();
        assert_eq!(reached.len(), 32, "{reached:?}");
        assert_eq!(reached.pop(), Some((31, Err(MemTxError::ACCESS))));
        assert!(reached.iter().all(|(_, next)| next.is_ok()));
    }
    for card in cards {
        gone(&rig, card);
    }
    rig.finish();
}

#[test]
fn a_machine_is_dropped_under_live_readers() {
    let rig = Rig::new("dropped");
    let card = rig.plug::<Dev>("card");
    rig.show(&io::<Dev>(&card, 1).unwrap(), 0);
    rig.show(&ram(&card, 2).unwrap(), 1);
    card.realize().unwrap();
    let (inside, entered) = channel();
    let (leave, left) = sync_channel::<()>(0);
    let left = Mutex::new(left);
    let told = inside.clone();
    card.part().on(Point::Read, move |_| {
        told.send("in the callback").unwrap();
        let _ = left.lock().unwrap().recv();
    });
    let space = rig.space.clone();
    let in_callback = std::thread::spawn(move || space.load::<u32>(Gpa(0), Attrs::default()));
    let (leave_section, section_left) = channel::<()>();
    let space = rig.space.clone();
    let in_section = std::thread::spawn(move || {
        let guard = space.enter();
        let bytes = guard.view().slice(Gpa(PAGE), 8).unwrap();
        inside.send("in the section").unwrap();
        let _ = section_left.recv();
        assert_eq!(bytes.load_u32(0), Some(2), "borrowed bytes stay");
        assert_eq!(
            guard.load::<u32>(Gpa(PAGE), Attrs::default()),
            Err(MemTxError::DECODE)
        );
    });
    entered.recv().unwrap();
    entered.recv().unwrap();
    let handle = rig.machine.handle().clone();
    let (watch, space) = (rig.watch.clone(), rig.space.clone());
    drop((card, rig));
    // It goes on ending in the background, and the dead device is not entered any more.
    assert_eq!(
        space.load::<u32>(Gpa(0), Attrs::default()),
        Err(MemTxError::DECODE)
    );
    assert!(watch.bytes().bytes() > 0);
    drop(leave_section);
    in_section.join().unwrap();
    assert!(
        handle.counters().live_objects > 0,
        "the callback's device lives"
    );
    drop(leave);
    assert_eq!(in_callback.join().unwrap(), Ok(1));
    let start = Instant::now();
    while handle.counters().live_objects > 0 || watch.bytes().bytes() > 0 {
        assert!(start.elapsed() < LONG, "{}", handle.counters().live_objects);
        std::thread::sleep(Duration::from_millis(1));
    }
    let complaints = watch.complaints();
    assert!(complaints.is_empty(), "{complaints:?}");
    // Nothing is left that the machine's own handles could use.
    assert!(handle.create::<Plain>().is_err());
    assert!(handle.resolve("/machine").is_none());
}

/// A second withdrawal of the same object returns only once nothing reaches it, also where the first one, of another thread, has got no
/// further than its mark.
#[test]
fn a_second_withdrawal_returns_when_nothing_reaches_the_object() {
    let rig = Rig::new("second");
    for above in [false, true] {
        let parent = rig.plug::<Plain>("parent");
        let card = rig.machine.create::<Plain>().unwrap();
        parent.add_child("card", &card).unwrap();
        rig.show(&ram(&card, 9).unwrap(), 0);
        std::thread::scope(|s| {
            let guard = rig.space.enter();
            memory::transaction(&rig.machine, |_| {
                // It marks, and then waits for the topology lock that this thread has.
                s.spawn(|| card.unparent().unwrap());
                while !card.object().is_withdrawn() {
                    std::thread::yield_now();
                }
                // The card again, or all that it is part of.
                let second = if above {
                    parent.unparent()
                } else {
                    card.unparent()
                };
                second.unwrap();
            })
            .unwrap();
            assert_eq!(
                guard.load::<u32>(Gpa(0), Attrs::default()),
                Err(MemTxError::DECODE),
                "above: {above}"
            );
        });
        drop(card);
        gone(&rig, parent);
    }
    rig.finish();
}

/// The mark alone stops callbacks: a transaction that is open shows the old view until its end.
#[test]
fn a_withdrawn_device_that_is_still_shown_is_not_called() {
    let rig = Rig::new("marked");
    let card = rig.plug::<Dev>("card");
    rig.show(&io::<Dev>(&card, 1).unwrap(), 0);
    let calls = Arc::new(AtomicU32::new(0));
    let count = calls.clone();
    card.part().on(Point::Read, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    memory::transaction(&rig.machine, |_| {
        assert_eq!(rig.load(0), Ok(1));
        card.unparent().unwrap();
        let view = rig.space.enter();
        assert!(view.view().find(Gpa(0)).is_some(), "it is shown");
        assert_eq!(rig.load(0), Err(MemTxError::DECODE));
    })
    .unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    gone(&rig, card);
    rig.finish();
}

#[test]
fn hooks_of_a_dying_object_get_no_handle_to_it() {
    let rig = Rig::new("dying");
    let card = rig.plug::<Dev>("card");
    let (weak, answers) = (card.downgrade(), Arc::new(AtomicU32::new(0)));
    for point in [Point::Unrealize, Point::Unparent, Point::Finalize] {
        let (weak, answers) = (weak.clone(), answers.clone());
        card.part().on(point, move |_| {
            assert!(weak.get().is_err());
            answers.fetch_add(1, Ordering::SeqCst);
        });
    }
    card.realize().unwrap();
    gone(&rig, card);
    assert_eq!(answers.load(Ordering::SeqCst), 3);
    assert!(rig.watch.panics().is_empty());
    rig.finish();
}

/// Row 9 of the catalogue: a window that is resized by being made again, a thousand times.
#[test]
fn a_window_made_again_a_thousand_times_leaves_nothing() {
    let rig = Rig::new("again");
    let card = rig.plug::<Plain>("card");
    let bytes = ram(&card, 8).unwrap();
    let ops = || FnOps::<Plain> {
        read: |_, _| Ok(1),
        write: |_, _, _| Ok(()),
    };
    rig.show(
        &Region::io("behind", Size::new(PAGE), ops())
            .create(&card)
            .unwrap(),
        0,
    );
    let mut window = alias(&card, &bytes, 1).unwrap();
    rig.system
        .add_subregion(Offset(0), &window, Priority(1))
        .unwrap();
    let space = rig.space.clone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let reader = s.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let seen = space.load::<u32>(Gpa(0), Attrs::default());
                assert_eq!(seen, Ok(8), "half a change is never seen");
            }
        });
        for round in 0..1000 {
            window = memory::transaction(&rig.machine, |_| {
                window.unparent().unwrap();
                let next = Region::alias(
                    "alias",
                    &bytes,
                    Offset(0),
                    Size::new(PAGE - 8 * (round % 4)),
                )
                .create(&card)
                .unwrap();
                rig.system
                    .add_subregion(Offset(0), &next, Priority(1))
                    .unwrap();
                next
            })
            .unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    rig.machine.quiesce(LONG).unwrap();
    assert_eq!(rig.extra_objects(), 4, "card, ram, what is behind, window");
    assert!(window.path().is_some());
    gone(&rig, card);
    rig.finish();
}

#[test]
fn a_transaction_that_panics_commits_and_the_next_one_begins() {
    let rig = Rig::new("transaction");
    let card = rig.plug::<Dev>("card");
    let (first, second) = (ram(&card, 1).unwrap(), ram(&card, 2).unwrap());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        memory::transaction(&rig.machine, |_| {
            rig.show(&first, 0);
            panic!("planned panic in a transaction");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(rig.load(0), Ok(1), "what it did before is published");
    std::thread::scope(|s| {
        s.spawn(|| rig.show(&second, 1));
    });
    assert_eq!(rig.load(1), Ok(2), "another thread's change is, too");
    assert!(card.unparent().unwrap().is_done(), "nothing is left open");
    assert_eq!(rig.load(0), Err(MemTxError::DECODE));
    drop(card);
    rig.finish();
}

#[test]
fn what_is_held_is_counted() {
    let rig = Rig::new("counted");
    let card = rig.plug::<Dev>("card");
    rig.show(&ram(&card, 1).unwrap(), 0);
    let open = || {
        let now = memory::counters(&rig.machine);
        (now.live_pins, now.live_snapshots, now.open_mappings)
    };
    assert_eq!(open(), (0, 0, 0));
    let mapping = rig.space.map(&card, Gpa(0), 64, Intent::Read).unwrap();
    let pins = [
        mapping.pin(0, 4).unwrap(),
        rig.space.pin(&card, Gpa(0), 8, Intent::Read).unwrap(),
    ];
    let snapshot = rig.space.snapshot(&card).unwrap();
    assert_eq!(open(), (2, 1, 1));
    card.unparent().unwrap();
    assert_eq!(open(), (2, 1, 0), "a mapping ends with its holder");
    drop((pins, snapshot, mapping));
    assert_eq!(open(), (0, 0, 0));
    drop(card);
    rig.finish();
}
