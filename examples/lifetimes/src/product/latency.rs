//! How long the answer to an unmap takes while a reader stays in its read section: a guest’s command, and the same blob taken out without a hurry.
//!
//! *In a hurry* is `VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB`: the driver puts it into the ring of the bundled virtio-gpu with a fence and notifies; the time
//! ends when the interrupt line goes high for the reply. The device answers when nobody can be at the blob’s bytes any more. For it unmapping is a
//! withdrawal, and a withdrawal is a hurry until its last object is finalized: grace periods begin at once, and what they held up is dropped at once.
//!
//! There is no command that is answered *without a hurry*: the device withdraws, always. So that column is no answer of the device: the blob’s region
//! is taken out of the window by hand, nothing is withdrawn and nobody waits in the library; it ends when no view holds the region any more, and the views may lie
//! for [`RESTS`]. It is the same blob, reader and machine, and shows what a device would be late by that unmapped without a withdrawal.
//!
//! In both a reader that stays is looked after in ever longer sleeps ([`asleep`]). [`meanwhile`] shows who goes on while one stays.
//!
//! Each figure stands beside a bound that is fixed, and is the middle one of unmaps about which the machine was calm (`calm`).
//!
//! Reading order: `reader`, `bound`, `calm`, `meanwhile`; the machine and its driver are `board`, beside this.

mod bound;
mod calm;
mod meanwhile;
mod reader;

pub use bound::{MET, RESTS, WAKES, asleep};
pub use calm::QUEUED;
pub use meanwhile::{Meanwhile, meanwhile};

use super::PATIENCE;
use super::board::Board;
use calm::{Probe, Try};
use hw_virtio_gpu::wire::{Command, Response};
use memory::RegionApi;
use qom::Machine;
use qom::layer::Target;
use reader::Reader;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How long readers stay.
const STAYS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(20),
];

/// So long nothing happens before each unmap: by then the machine’s threads are asleep, which is the slowest that they can be.
const PAUSE: Duration = Duration::from_millis(2);

/// All that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// An unmap for each stay of a reader.
    pub unmaps: Vec<Unmap>,
    /// How late a thread of this machine was that was woken, or whose sleep was over, before the unmaps or after them.
    pub waking: Duration,
    /// What went on while a reader stayed.
    pub meanwhile: Meanwhile,
}

/// An unmap with a reader of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmap {
    /// How long the reader stays in its section after the unmap has begun; zero where there is none.
    pub stays: Duration,
    /// In a hurry: the guest’s command.
    pub hurried: Answer,
    /// Without: the region taken out by hand.
    pub unhurried: Answer,
}

/// When the answer came: the middle one of those about which the machine was calm; of all, where too few were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// From the command on.
    pub after: Duration,
    /// From when the reader had left, who may oversleep; from the command on where there is none.
    pub beyond: Duration,
    /// How many came while the reader still was there, or before the mapping had ended. Not one may.
    pub early: usize,
    /// About how many of them the machine was calm.
    pub calm: usize,
    /// How many there were.
    pub tries: usize,
    /// Enough were calm for a figure that can be held against a bound.
    pub is_judged: bool,
}

impl Answer {
    /// Whether it came later than it may, in a calm machine.
    pub fn is_above(&self, bound: Duration) -> bool {
        self.is_judged && self.beyond > bound
    }

    /// What is to be said beside the bound: that it is above, or that nobody can tell; else nothing.
    pub fn remark(&self, bound: Duration) -> String {
        match (self.is_judged, self.is_above(bound)) {
            (true, false) => String::new(),
            (true, true) => "ABOVE".into(),
            (false, _) => format!("not judged: calm in {} of {}", self.calm, self.tries),
        }
    }
}

impl Measured {
    /// Each figure beside its bound, in the order of the stays: the stay, the answer, the latest that it may come after the reader has left; in a
    /// hurry first.
    pub fn bounded(&self) -> impl Iterator<Item = (Duration, [(Answer, Duration); 2])> {
        self.unmaps.iter().map(|unmap| {
            let stays = unmap.stays;
            let bounds = [
                (unmap.hurried, bound::hurried(stays)),
                (unmap.unhurried, bound::unhurried(stays)),
            ];
            (stays, bounds)
        })
    }

    /// Whether any answer came while the reader still was there, or any other thing did not go as it must. That one is late is no such thing: the
    /// scheduler may be at fault.
    pub fn is_wrong(&self) -> bool {
        self.early() > 0 || !self.meanwhile.is_as_it_must_be()
    }

    /// How many answers came while the reader still was there.
    pub fn early(&self) -> usize {
        let early = |unmap: &Unmap| unmap.hurried.early + unmap.unhurried.early;
        self.unmaps.iter().map(early).sum()
    }
}

/// Measures each kind, `times` times.
///
/// ```
/// let measured = holdfast_lifetimes::product::latency::measure(1);
/// assert!(!measured.is_wrong(), "nobody is answered while the reader is there");
/// assert!(measured.unmaps.iter().all(|unmap| unmap.hurried.after >= unmap.stays));
/// ```
///
/// # Panics
///
/// Where a machine refuses what it cannot refuse, or an unmap does not end.
pub fn measure(times: usize) -> Measured {
    let mut board = Board::new(silent());
    let meanwhile = meanwhile::on(&mut board);
    let probe = Probe::new();
    let waking = probe.look();
    let unmaps = STAYS.map(|stays| Unmap {
        stays,
        hurried: calm::measure(&probe, times, || answer(&mut board, stays, by_command)),
        unhurried: calm::measure(&probe, times, || answer(&mut board, stays, by_hand)),
    });
    let measured = Measured {
        unmaps: unmaps.to_vec(),
        waking: waking.max(probe.look()),
        meanwhile,
    };
    board.close();
    measured
}

/// A machine that keeps no record of its references, as that takes time.
fn silent() -> Machine {
    Machine::builder("unmaps").recording(false).build()
}

/// When an unmap ended.
struct Ended {
    /// When it was answered.
    answered: Instant,
    /// Since when nobody reached the bytes, as far as somebody was told; none where the mapping had not ended.
    free: Option<Instant>,
}

/// One unmap of a fresh blob, from its begin to the answer.
fn answer(
    board: &mut Board,
    stays: Duration,
    unmap: fn(&mut Board, u32, &dyn Fn(Instant)) -> Ended,
) -> Try {
    let (resource, word) = board.map();
    std::thread::sleep(PAUSE);
    let reader = (!stays.is_zero()).then(|| Reader::enter(&board.memory, Board::place(), word));
    let begin = std::cell::Cell::new(Instant::now());
    let queued = calm::queued();
    let ended = unmap(board, resource, &|at| {
        begin.set(at);
        if let Some(reader) = &reader {
            reader.leave_at(at + stays);
        }
    });
    let queued = calm::queued()
        .zip(queued)
        .map(|(now, then)| now.saturating_sub(then));
    let begin = begin.get();
    let left = reader.map_or(begin, Reader::left);
    let gone = board.ask(Command::ResourceUnref { resource }).response;
    assert_eq!(gone, Response::Ok, "no mapping is left");
    Try {
        after: ended.answered - begin,
        beyond: ended.answered.saturating_duration_since(left),
        is_early: ended.answered < left || ended.free.is_none_or(|free| free < left),
        queued: queued.unwrap_or_default(),
        waking: Duration::ZERO,
    }
}

/// As the guest does it: the command in the ring, and the interrupt for its reply.
fn by_command(board: &mut Board, resource: u32, begins: &dyn Fn(Instant)) -> Ended {
    begins(Instant::now());
    let reply = board.ask(Command::ResourceUnmapBlob { resource });
    assert_eq!(reply.response, Response::Ok);
    // The mapping has ended when the reply is there: what the renderer knows, its object, what a new access finds.
    let is_over = board.is_free() && board.word().is_none();
    Ended {
        answered: reply.at,
        free: board.told().filter(|_| is_over),
    }
}

/// The region goes from the window, and the answer is when no view holds it any more. Nobody waits in the library meanwhile: that would be a hurry.
fn by_hand(board: &mut Board, resource: u32, begins: &dyn Fn(Instant)) -> Ended {
    let blob = board.blob();
    let region = qdev::regions_of(&blob).pop().expect("it has a region");
    let object = region.pointer().expect("it lives");
    drop(blob);
    let begin = Instant::now();
    begins(begin);
    let taken = board.gpu.window().del_subregion(&region);
    taken.expect("it is in the window");
    // The tree’s count is the last one.
    while object.counts().storage() > 1 && begin.elapsed() < PATIENCE {
        std::thread::sleep(bound::LOOKS);
    }
    let answered = Instant::now();
    drop(object);
    // The device still has it for a blob in the window.
    let reply = board.ask(Command::ResourceUnmapBlob { resource });
    assert_eq!(reply.response, Response::Ok);
    Ended {
        answered,
        free: Some(answered),
    }
}

/// What was measured, as text.
pub fn text(measured: &Measured) -> String {
    let mut text = format!(
        "the answer to an unmap with a reader in its section. In a hurry: VIRTIO_GPU_CMD_RESOURCE_UNMAP_BLOB through the ring of a virtio-gpu, to the interrupt for its fenced reply.\n\
         Without: no command does that; the blob's region is taken out by hand, and it ends when no view holds it, which may rest for {} µs.\n\
         All figures are the middle ones of unmaps before and after which a woken thread was no more than {} µs late, and during which all waited for a core for no more than {} µs in all; the bounds are fixed, and have those for each thread that is woken. Now it is {} µs:\n",
        RESTS.as_micros(),
        WAKES.as_micros(),
        QUEUED.as_micros(),
        measured.waking.as_micros()
    );
    for (stays, answers) in measured.bounded() {
        let since = if stays.is_zero() {
            text += "  no reader:            ";
            "from the command on"
        } else {
            let _ = write!(text, "  reader stays {:>5} µs:", stays.as_micros());
            "after it has left"
        };
        for (way, (answer, bound)) in ["in a hurry", "without"].into_iter().zip(answers) {
            let _ = write!(
                text,
                " {way} {:>5} µs, {:>4} µs {since}, bound {:>4}{};",
                answer.after.as_micros(),
                answer.beyond.as_micros(),
                bound.as_micros(),
                match answer.remark(bound) {
                    remark if remark.is_empty() => remark,
                    remark => format!(" {remark}"),
                }
            );
        }
        text.pop();
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "  answered while the reader was there: {}\n  {}",
        measured.early(),
        measured.meanwhile.sentence()
    );
    text
}
