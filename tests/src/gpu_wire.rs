//! A virtio-gpu's parsers and command core under guests that send anything: what the program `fuzz_gpu_wire` runs.
//!
//! A [`case`] is one device and one guest, both fixed by a seed. Three observers judge what they see, each by its own reading of the
//! specification: `replies` whether each command gets one legal answer, `surroundings` what is placed in the window and taken out, and `behind`
//! whether the renderer is told things that make sense. The session compares their numbers with the core's own after each step.

mod commands;
mod replies;

mod behind;
mod session;
mod surroundings;

use crate::random::Random;
use hw_virtio_gpu::limits::Limits;
use hw_virtio_gpu::wire::{Header, Request, Response};

/// Bytes of guest RAM, from address 0.
const RAM: u64 = 0x4_0000;
/// Bytes of the window.
const WINDOW: u64 = 64 * 4096;

/// Small enough to be reached.
const LIMITS: Limits = Limits {
    resources: 24,
    contexts: 6,
    attachments: 16,
    backing_entries: 256,
    pixel_bytes: 4 << 20,
    blob_bytes: 1 << 19,
    held_commands: 12,
    held_bytes: 16 << 10,
    request_bytes: 8 << 10,
};

/// What was wrong, for people.
pub type Outcome<T = ()> = Result<T, String>;

fn check(right: bool, what: impl FnOnce() -> String) -> Outcome {
    if right { Ok(()) } else { Err(what()) }
}

/// What a case has done: a fuzzer that does nothing finds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Commands sent.
    pub sent: u64,
    /// Of these, answered with something else than an error.
    pub obeyed: u64,
    /// Blobs placed in the window.
    pub placed: u64,
    /// Commands that were suspended, that waited, or that waited for a fence.
    pub held: u64,
    /// Commands that a reset dropped.
    pub dropped: u64,
    /// Commands refused because a limit was reached.
    pub out_of_room: u64,
}

impl Tally {
    /// Adds what another case has done.
    pub fn merge(&mut self, other: Self) {
        self.sent += other.sent;
        self.obeyed += other.obeyed;
        self.placed += other.placed;
        self.held += other.held;
        self.dropped += other.dropped;
        self.out_of_room += other.out_of_room;
    }
}

/// Runs the case of a seed.
///
/// # Errors
/// What was wrong.
///
/// # Panics
/// Where the code under test does; that is a finding, too.
///
/// ```
/// let tally = holdfast_tests::gpu_wire::case(7)?;
/// assert!(tally.sent > 0);
/// # Ok::<(), String>(())
/// ```
pub fn case(seed: u64) -> Outcome<Tally> {
    let mut random = Random::new(seed);
    for _ in 0..32 {
        parse(&mut random)?;
    }
    session::run(random)
}

/// The parsers are total, and what they give goes round.
fn parse(random: &mut Random) -> Outcome {
    let mut bytes = commands::guest_bytes(random, 4096);
    if let Ok(request) = Request::parse(&bytes) {
        let again = request.encode();
        check(Request::parse(&again).as_ref() == Ok(&request), || {
            format!("{request:?} does not go round")
        })?;
        check(again.len() <= bytes.len(), || {
            format!("{request:?} is longer than what it was read from")
        })?;
        check(!replies::must_be_refused(&bytes), || {
            format!("{request:?} was read from too few bytes: {bytes:?}")
        })?;
    }
    if random.chance(50) && bytes.len() >= 4 {
        let kind = 0x1100 + random.half() % 10 + (random.half() % 2) * 0x100;
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
    }
    if let Ok((header, response)) = Response::parse(&bytes) {
        let again = Response::parse(&response.encode(&header));
        check(again.as_ref().map(|(_, r)| r) == Ok(&response), || {
            format!("{response:?} does not go round: {again:?}")
        })?;
    }
    if let Ok(header) = Header::parse(&bytes) {
        check(Header::parse(&header.encode()) == Ok(header), || {
            format!("{header:?} does not go round")
        })?;
    }
    Ok(())
}
