//! Readers beside each other, and readers beside a writer.
//!
//! Two threads are to get twice as much done as one, as far as the machine gives it: raw loads show how far that is. And a reader is to
//! notice little of a map that changes all the time. All by the clock of the reading thread, as readers, writer and reclaimer may have to
//! share processors.

use crate::contest::{Contest, Effort, thread};
use crate::layout::Layout;
use crate::ours::{Board, PAGE, Plain, RAM};
use crate::peers::{vm_device, vm_memory};
use crate::random::{Pool, Random};
use crate::report::{Report, Unit, Work};
use crate::statistics::{Samples, Summary};
use crate::threads::{Together, together};
use ::vm_device::bus::{MmioAddress, MmioRange};
use ::vm_device::device_manager::{IoManager, MmioManager};
use ::vm_memory::{Bytes, GuestAddress, GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use memory::{Attrs, Gpa, Offset, Priority, Region, RegionApi};
use qom::Child;
use std::cell::RefCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

/// The group's name.
pub(super) const NAME: &str = "threads";
/// How the RAM is shown.
fn layout() -> Layout {
    Layout::compact(256)
}

/// As many callbacks are there.
const CARDS: u64 = 64;
/// A sample of two threads is longer, so that their start counts for little.
const LONGER: u64 = 8;
/// Threads that were together for less than this part of the time are sampled again,
const ENOUGH: f64 = 0.8;
/// so often at most.
const ATTEMPTS: usize = 3;
/// Accesses of a batch, beside a writer.
const BATCH: u64 = 1000;

/// What threads do: a way to the bytes or to a callback.
type Job<'a> = Box<dyn Fn(u64, u64) + Sync + 'a>;

/// What there is to read.
struct Scene {
    ram: Board,
    cards: Board,
    /// What the writer adds and removes.
    extra: Child<Region>,
    plain: GuestMemoryMmap,
    atomic: GuestMemoryAtomic<GuestMemoryMmap>,
    manager: RwLock<IoManager>,
    addresses: Pool,
    registers: Pool,
}

impl Scene {
    fn new() -> Self {
        let mut random = Random::new(CARDS);
        let ram = Board::with_ram(layout());
        let page = RAM.slice(0, PAGE).expect("a part of the RAM");
        let extra = Region::ram("extra", page).create(ram.machine.root());
        Self {
            extra: extra.expect("a region"),
            ram,
            cards: Board::with_cards::<Plain>(CARDS, true),
            plain: vm_memory::memory(layout()),
            atomic: GuestMemoryAtomic::new(vm_memory::memory(layout())),
            manager: RwLock::new(vm_device::manager(CARDS, true, vm_device::plain)),
            addresses: Pool::below(layout().bytes(), 4),
            registers: Pool::of(move || random.below(CARDS) * PAGE + 8),
        }
    }

    /// The ways: each goes over so many addresses, from a place in the pool on.
    fn jobs(&self) -> Vec<(&'static str, Job<'_>)> {
        let (space, cards) = (&self.ram.space, &self.cards.space);
        let (addresses, registers) = (&self.addresses, &self.registers);
        let load = move |addr| space.load::<u32>(Gpa(addr), Attrs::default()).expect("RAM");
        let peer = |addr| self.atomic.memory().read_obj::<u32>(GuestAddress(addr));
        vec![
            (
                "raw",
                Box::new(move |from, n| {
                    let (raw, layout) = (RAM.bytes(), layout());
                    addresses.each(from, n, |a| {
                        black_box(raw.load_u32(layout.offset(a)));
                    });
                }),
            ),
            (
                "ours, guard each",
                Box::new(move |from, n| {
                    addresses.each(from, n, |a| {
                        black_box(load(a));
                    });
                }),
            ),
            (
                "ours, guard held",
                Box::new(move |from, n| {
                    let guard = space.enter();
                    addresses.each(from, n, |a| {
                        let loaded = guard.load::<u32>(Gpa(a), Attrs::default());
                        black_box(loaded.expect("RAM"));
                    });
                }),
            ),
            (
                "ours, mmio",
                Box::new(move |from, n| {
                    registers.each(from, n, |a| {
                        let read = cards.load::<u32>(Gpa(a), Attrs::default());
                        black_box(read.expect("somebody is there"));
                    });
                }),
            ),
            (
                "vm-memory",
                Box::new(|from, n| {
                    self.addresses.each(from, n, |a| {
                        black_box(self.plain.read_obj::<u32>(GuestAddress(a)).expect("RAM"));
                    });
                }),
            ),
            (
                "vm-memory atomic",
                Box::new(move |from, n| {
                    addresses.each(from, n, |a| {
                        black_box(peer(a).expect("RAM"));
                    });
                }),
            ),
            (
                "vm-device in RwLock",
                Box::new(|from, n| {
                    self.registers.each(from, n, |a| {
                        let mut data = [0; 4];
                        let manager = self.manager.read().expect("nobody panics under it");
                        manager
                            .mmio_read(MmioAddress(a), &mut data)
                            .expect("somebody is there");
                        black_box(data);
                    });
                }),
            ),
        ]
    }
}

pub(super) fn run(effort: Effort, report: &mut Report) {
    let scene = Scene::new();
    side_by_side(effort, report, &scene);
    beside_a_writer(effort, report, &scene);
    scene.ram.close();
    scene.cards.close();
}

/// One thread and two, for each way.
fn side_by_side(effort: Effort, report: &mut Report, scene: &Scene) {
    let jobs = scene.jobs();
    let overlaps = RefCell::new(Vec::new());
    let mut contest = Contest::new();
    for (who, job) in &jobs {
        for threads in [1, 2] {
            let overlaps = &overlaps;
            contest.add(who, move |rounds| {
                let sample = sampled_together(effort, threads, job, rounds * LONGER);
                if threads > 1 {
                    overlaps.borrow_mut().push(sample.overlap);
                }
                sample.used / u32::try_from(LONGER).expect("small")
            });
        }
    }
    let mut outcomes = contest.run(effort).into_iter();
    drop(contest);
    while let (Some(one), Some(two)) = (outcomes.next(), outcomes.next()) {
        for (threads, outcome) in [(1, one), (2, two)] {
            let work = work("an access, by threads", threads, Unit::Nanos);
            report.outcomes(&work, &[], vec![outcome]);
        }
    }
    for (who, _) in &jobs {
        let nanos = |threads| report.median(NAME, "an access, by threads", threads, who);
        if let (Some(one), Some(two)) = (nanos(1), nanos(2)) {
            let gain = Summary::exact(2.0 * one / two);
            report.figure(&work("two threads by one", 2, Unit::Number), who, gain);
        }
    }
    let overlap = Samples::new(overlaps.into_inner()).quantile(0.1);
    report.note(
        NAME,
        format!(
            "nine of ten samples of two threads: both running for {:.0} % of the time or more",
            overlap * 100.0
        ),
    );
}

/// A sample; two threads that were not together long enough are sampled again, a few times, and the best of that counts.
fn sampled_together(effort: Effort, threads: usize, job: &Job<'_>, rounds: u64) -> Together {
    let sample = || together(threads, |nth| job(nth as u64 * 1000, rounds));
    let mut best = sample();
    for _ in 1..ATTEMPTS {
        if threads == 1 || best.overlap >= ENOUGH || effort == Effort::Smoke {
            break;
        }
        let again = sample();
        if again.overlap > best.overlap {
            best = again;
        }
    }
    best
}

fn work(work: &str, n: u64, unit: Unit) -> Work<'_> {
    Work {
        group: NAME,
        work,
        n,
        unit,
    }
}

/// Batches of accesses, alone and beside a writer that changes the map all the time.
fn beside_a_writer(effort: Effort, report: &mut Report, scene: &Scene) {
    let writers: [(&str, &[&str], Writer<'_>); 3] = [
        (
            "ours",
            &["ours, guard each", "ours, guard held"],
            &our_writer,
        ),
        ("vm-memory", &["vm-memory atomic"], &memory_writer),
        ("vm-device", &["vm-device in RwLock"], &device_writer),
    ];
    let jobs = scene.jobs();
    let batches = match effort {
        Effort::Smoke => 20,
        Effort::Quick => 1_000,
        Effort::Full => 15_000,
    };
    for (whose, readers, writer) in writers {
        for (who, job) in jobs.iter().filter(|(who, _)| readers.contains(who)) {
            let (mut alone, mut beside, mut commits, mut time) =
                (vec![], vec![], 0, Duration::ZERO);
            // In turns, as everything is.
            for turn in 0..10 {
                alone.extend(sampled(batches / 10, turn, job));
                let (nanos, done, took) =
                    with_writer(scene, writer, || sampled(batches / 10, turn, job));
                beside.extend(nanos);
                commits += done;
                time += took;
            }
            for (work_name, nanos) in [("alone", alone), ("beside a writer", beside)] {
                let nanos = Samples::new(nanos);
                let median = work(work_name, BATCH, Unit::Nanos);
                report.figure(&median, who, nanos.summary());
                let tail = format!("{work_name}, 99.9th percentile");
                let tail = work(&tail, BATCH, Unit::Nanos);
                report.figure(&tail, who, Summary::exact(nanos.quantile(0.999)));
            }
            #[expect(clippy::cast_precision_loss, reason = "a count of changes")]
            let rate = commits as f64 / time.as_secs_f64();
            report.note(
                NAME,
                format!("{who}: the {whose} writer made {rate:.0} changes a second"),
            );
        }
    }
}

/// Nanoseconds an access, batch by batch.
fn sampled(batches: u64, turn: u64, job: &Job<'_>) -> Vec<f64> {
    let batch = |i| {
        let time = thread(|| job((turn + i) * BATCH, BATCH));
        crate::contest::a_round(time, BATCH)
    };
    (0..batches).map(batch).collect()
}

/// Runs `read` while a writer writes: what it came to, how many changes there were, and in what time.
fn with_writer<R>(
    scene: &Scene,
    writer: Writer<'_>,
    read: impl FnOnce() -> R,
) -> (R, u64, Duration) {
    let (stop, started) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            started.store(true, Ordering::Release);
            writer(scene, &stop)
        });
        while !started.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        let start = Instant::now();
        let result = read();
        let time = start.elapsed();
        stop.store(true, Ordering::Release);
        let changes = thread.join().expect("the writer does not panic");
        (result, changes, time)
    })
}

/// Changes a map until it is told to stop; says how often it did.
type Writer<'a> = &'a (dyn Fn(&Scene, &AtomicBool) -> u64 + Sync);

fn until(stop: &AtomicBool, mut change: impl FnMut()) -> u64 {
    let mut changes = 0;
    while !stop.load(Ordering::Acquire) {
        change();
        changes += 2;
    }
    changes
}

fn our_writer(scene: &Scene, stop: &AtomicBool) -> u64 {
    let system = &scene.ram.system;
    until(stop, || {
        let added = system.add_subregion(Offset(layout().bytes()), &scene.extra, Priority(0));
        added.expect("a free region");
        system.del_subregion(&scene.extra).expect("it is there");
    })
}

fn memory_writer(scene: &Scene, stop: &AtomicBool) -> u64 {
    let extra = Arc::new(vm_memory::region(layout().bytes(), 0, PAGE));
    until(stop, || {
        let lock = scene.atomic.lock().expect("nobody panics under it");
        let more = scene.atomic.memory().insert_region(extra.clone());
        lock.replace(more.expect("a free place"));
        let lock = scene.atomic.lock().expect("nobody panics under it");
        let less = scene.atomic.memory();
        let less = less.remove_region(GuestAddress(layout().bytes()), PAGE);
        lock.replace(less.expect("it is there").0);
    })
}

fn device_writer(scene: &Scene, stop: &AtomicBool) -> u64 {
    let base = MmioAddress(CARDS * PAGE);
    let range = MmioRange::new(base, PAGE).expect("a range");
    let device = vm_device::plain();
    until(stop, || {
        let mut manager = scene.manager.write().expect("nobody panics under it");
        let added = manager.register_mmio(range, device.clone());
        added.expect("a free range");
        drop(manager);
        let mut manager = scene.manager.write().expect("nobody panics under it");
        black_box(manager.deregister_mmio(base).expect("it is there"));
    })
}
