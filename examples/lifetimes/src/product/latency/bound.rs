//! What bounds the answer to an unmap: the sleeps of the crates and what a scheduler at rest takes to run a thread, both of them constants.

use std::time::Duration;

/// What is retired and runs nobody’s code rests for so long at most where nobody is in a hurry: half a millisecond with whoever retires the next
/// (`qom/src/executor/inert.rs`), and the pace of grace periods (`DomainConfig::pace`, 100 µs).
pub const RESTS: Duration = Duration::from_micros(500 + 100);
/// A short section of somebody else that is met by chance: looked at for 50 µs without a pause (`DomainConfig::spin`), then one of the shortest sleeps.
pub const MET: Duration = Duration::from_micros(50 + 50);
/// How late a thread may run that was woken, or whose sleep is over, for the machine to count as calm: Linux lets a sleep lie for 50 µs (`prctl`'s timer slack), and
/// a core that sleeps has to wake up.
pub const WAKES: Duration = Duration::from_micros(100);
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
/// thread that is woken what that may take ([`WAKES`]).
pub(super) fn hurried(stays: Duration) -> Duration {
    let sleeps = if stays.is_zero() { MET } else { asleep(stays) };
    sleeps + WAKES * woken(stays)
}

/// The same without a hurry: what was replaced may rest, and who measures looks now and then.
pub(super) fn unhurried(stays: Duration) -> Duration {
    hurried(stays) + RESTS + LOOKS + WAKES
}
