//! What bounds the answer to an unmap: the sleeps of the crates, which are constants, and the scheduler’s share, which is measured.

use super::super::middle;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// What is retired and runs nobody’s code rests for so long at most where nobody is in a hurry: half a millisecond with whoever retires the next
/// (`qom/src/executor/inert.rs`), and the pace of grace periods (`DomainConfig::pace`, 100 µs).
pub const RESTS: Duration = Duration::from_micros(500 + 100);
/// A short section of somebody else that is met by chance: looked at for 50 µs without a pause (`DomainConfig::spin`), then one of the shortest sleeps.
pub const MET: Duration = Duration::from_micros(50 + 50);
/// How often who measures without a hurry looks whether it is over.
pub(super) const LOOKS: Duration = Duration::from_micros(20);

/// How long the reclaimer may be asleep when a reader leaves who has stayed for so long: a quarter of the time that it has waited, 50 µs at least
/// and 20 ms at most (`qom/grace/src/reclaimer.rs`). Who waits behind a reader is late by no more than that, and by what the scheduler takes.
pub fn asleep(stays: Duration) -> Duration {
    match stays {
        Duration::ZERO => Duration::ZERO,
        _ => (stays / 4).clamp(Duration::from_micros(50), Duration::from_millis(20)),
    }
}

/// How many threads one after the other are woken between the reader’s leave, or the command where there is no reader, and the answer: the executor
/// for the command, the reclaimer, and the executor for what the reclaimer hands on. A parked reader leaves when the first is over.
fn woken(stays: Duration) -> u32 {
    if stays.is_zero() { 3 } else { 2 }
}

/// The latest answer in a hurry, from the reader’s leave on, or from the command on where there is no reader: the crates’ own sleeps, and for each
/// thread that is woken `waking`: how late such a thread is ([`Measured`](super::Measured)).
pub(super) fn hurried(stays: Duration, waking: Duration) -> Duration {
    let sleeps = if stays.is_zero() { MET } else { asleep(stays) };
    sleeps + waking * woken(stays)
}

/// The same without a hurry: what was replaced may rest, and who measures looks now and then.
pub(super) fn unhurried(stays: Duration, waking: Duration) -> Duration {
    hurried(stays, waking) + RESTS + LOOKS + waking
}

/// How late a thread runs on this machine at this moment that was woken, or whose sleep is over: the middle one of all, as of the answers.
pub(super) fn waking() -> Duration {
    const TIMES: u32 = 50;
    const PAUSE: Duration = Duration::from_micros(500);
    let slept = (0..TIMES).map(|_| {
        let begin = Instant::now();
        std::thread::sleep(PAUSE);
        begin.elapsed().saturating_sub(PAUSE)
    });
    let slept = middle(slept.collect());
    let woken = std::thread::scope(|scope| {
        let (call, called) = channel::<Instant>();
        let sleeper = scope.spawn(move || middle(called.iter().map(|at| at.elapsed()).collect()));
        for _ in 0..TIMES {
            // By then it sleeps again.
            std::thread::sleep(PAUSE);
            call.send(Instant::now()).expect("the sleeper listens");
        }
        drop(call);
        sleeper
            .join()
            .expect("a sleeper has nothing to panic about")
    });
    slept.max(woken).unwrap_or_default()
}
