//! How long the answer to an unmap takes while a reader stays in its read section: with a reclaimer that is in a hurry, and with one that is not.
//!
//! A guest’s `UNMAP_BLOB` is answered when nobody can be at the blob any more. In Holdfast unmapping is a withdrawal, and a withdrawal is a hurry until its last object is
//! finalized: grace periods begin at once, and what they held up is dropped at once. Beside it stands what the same unmapping takes when nobody is in a hurry: the region
//! leaves its container only, and the views that showed it are dropped when the executor comes to it, so that they may lie for [`RESTS`]. In both a reader that stays is looked after in ever longer sleeps ([`asleep`]).

use super::PATIENCE;
use memory::{AddressSpace, Backing, Offset, Priority, Region, RegionApi, Size};
use qom::layer::Target;
use qom::{Child, Container, Machine, ObjectOps, Ref};
use std::fmt::Write as _;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// What is retired and runs nobody’s code rests for so long at most where nobody is in a hurry: half a millisecond with whoever retires the next
/// (`qom/src/executor/inert.rs`), and the pace of grace periods (`DomainConfig::pace`, 100 µs).
pub const RESTS: Duration = Duration::from_micros(500 + 100);

/// How long the reclaimer may be asleep when a reader leaves who has stayed for so long: a quarter of the time that it has waited, 50 µs at least
/// and 20 ms at most (`qom/grace/src/reclaimer.rs`). Who waits behind a reader is late by no more than that, and by what the scheduler takes.
pub fn asleep(stays: Duration) -> Duration {
    match stays {
        Duration::ZERO => Duration::ZERO,
        _ => (stays / 4).clamp(Duration::from_micros(50), Duration::from_millis(20)),
    }
}

/// How long readers stay.
const STAYS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
];

/// An unmap with a reader of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// How long the reader stays in its section after the unmap has begun; zero where there is none.
    pub stays: Duration,
    /// In a hurry.
    pub hurried: Answer,
    /// Without.
    pub unhurried: Answer,
}

/// When the answer came: the middle one of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// From the call on.
    pub after: Duration,
    /// From when the reader had left, who may oversleep; from the call on where there is none.
    pub beyond: Duration,
}

/// Measures each kind, `times` times.
///
/// ```
/// let unmaps = holdfast_lifetimes::product::latency::unmaps(1);
/// // Nobody is answered while the reader is there.
/// assert!(unmaps.iter().all(|unmap| unmap.hurried.after >= unmap.stays && unmap.unhurried.after >= unmap.stays));
/// ```
///
/// # Panics
///
/// Where a machine refuses what it cannot refuse, or an unmap does not end.
pub fn unmaps(times: usize) -> Vec<Unmap> {
    let machine = Machine::builder("unmaps").recording(false).build();
    let window = Region::container("window", Size::MAX)
        .create(machine.root())
        .expect("a region of the machine’s");
    let space = AddressSpace::open(machine.root(), "memory", &window).expect("it lives");
    let median = |stays: Duration, unmap: Way| {
        let all: Vec<Answer> = (0..times.max(1))
            .map(|_| answer(&machine, &window, stays, unmap))
            .collect();
        let middle = |part: fn(&Answer) -> Duration| {
            let mut all: Vec<Duration> = all.iter().map(part).collect();
            all.sort_unstable();
            all[all.len() / 2]
        };
        Answer {
            after: middle(|answer| answer.after),
            beyond: middle(|answer| answer.beyond),
        }
    };
    let measured = STAYS.map(|stays| Unmap {
        stays,
        hurried: median(stays, in_a_hurry),
        unhurried: median(stays, at_leisure),
    });
    space.close();
    // Whoever is left has been told of by a panic above.
    let _ends_by_itself = machine.close(PATIENCE);
    measured.to_vec()
}

/// A way to unmap: how long it takes from a moment to the answer.
type Way = fn(&Machine, &Child<Region>, Ref<Container>, Instant) -> Duration;

/// One unmap, from the call to the answer.
fn answer(machine: &Machine, window: &Child<Region>, stays: Duration, unmap: Way) -> Answer {
    let blob = machine.create::<Container>().expect("a new object");
    machine
        .root()
        .add_child("blob[*]", &blob)
        .expect("a free name");
    let bytes = Backing::anonymous(0x1000).expect("a page of memory");
    let region = Region::ram("blob", bytes)
        .create(&blob)
        .expect("a region of one's own");
    window
        .add_subregion(Offset(0), &region, Priority(0))
        .expect("a region that is in no container");
    machine.quiesce(PATIENCE).expect("nobody reads yet");
    std::thread::scope(|scope| {
        let (entered, is_in) = channel();
        let (begun, begins) = channel::<Instant>();
        let domain = machine.domain().clone();
        let reader = scope.spawn(move || {
            let section = (!stays.is_zero()).then(|| domain.enter());
            tell(&entered, ());
            let begin = begins.recv().expect("the unmap begins");
            std::thread::sleep((begin + stays).saturating_duration_since(Instant::now()));
            let left = section.is_some().then(Instant::now);
            drop(section);
            left.unwrap_or(begin)
        });
        is_in.recv().expect("the reader enters");
        let begin = Instant::now();
        tell(&begun, begin);
        let after = unmap(machine, window, blob, begin);
        let left = reader.join().expect("a reader has nothing to panic about");
        Answer {
            after,
            beyond: (begin + after).saturating_duration_since(left),
        }
    })
}

fn tell<T>(to: &Sender<T>, what: T) {
    to.send(what).expect("somebody listens");
}

fn in_a_hurry(
    machine: &Machine,
    _: &Child<Region>,
    blob: Ref<Container>,
    begin: Instant,
) -> Duration {
    let weak = blob.downgrade();
    blob.unparent().expect("it has a parent");
    drop(blob);
    machine
        .wait_finalized(&weak, PATIENCE)
        .expect("nothing but the reader keeps it");
    begin.elapsed()
}

/// The region goes from the window, and the answer when no view holds it any more. Nobody waits in the library meanwhile: that would be a hurry.
fn at_leisure(
    _: &Machine,
    window: &Child<Region>,
    blob: Ref<Container>,
    begin: Instant,
) -> Duration {
    let region = qdev::regions_of(&blob).pop().expect("it has a region");
    window.del_subregion(&region).expect("it is in the window");
    let object = region.pointer().expect("it lives");
    // The tree’s count is the last one.
    while object.counts().storage() > 1 && begin.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_micros(20));
    }
    let took = begin.elapsed();
    drop(object);
    blob.unparent().expect("it has a parent");
    drop(blob);
    took
}

/// What was measured, as text.
pub fn text(unmaps: &[Unmap]) -> String {
    let mut text = format!(
        "unmap with a reader in its section; without a hurry what it held up may rest for {} µs more:\n",
        RESTS.as_micros()
    );
    for one in unmaps {
        let _ = writeln!(
            text,
            "  reader stays {:>6} µs: answered after {:>6} µs in a hurry, {:>4} µs after it has left (asleep for up to {:>4}); after {:>6} µs without, {:>4} µs after it has left",
            one.stays.as_micros(),
            one.hurried.after.as_micros(),
            one.hurried.beyond.as_micros(),
            asleep(one.stays).as_micros(),
            one.unhurried.after.as_micros(),
            one.unhurried.beyond.as_micros()
        );
    }
    text
}
