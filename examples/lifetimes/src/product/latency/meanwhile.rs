//! A reader that stays until it is told, an unmap that is not answered for as long as it does, and everybody else, who goes on.

use super::super::board::{Board, Reply};
use super::reader::Reader;
use super::silent;
use hw_virtio_gpu::wire::{Command, Response, UpdateCursor};
use std::time::{Duration, Instant};

/// How often others are asked while the reader stays.
const ROUNDS: usize = 20;
/// From one round to the next.
const APART: Duration = Duration::from_millis(1);

/// What went on while a reader stayed in a blob whose unmap had been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meanwhile {
    /// How long the reader stayed.
    pub stayed: Duration,
    /// How often it read the blob’s bytes, as they were, after a new access found nothing there any more.
    pub reads: u64,
    /// Whether the unmap was answered while the reader was there, or before the mapping had ended.
    pub early: bool,
    /// Whether the renderer had been told that the bytes are free, or the blob was finalized, while the reader was there.
    pub freed_early: bool,
    /// Commands of the same ring that were answered.
    pub control: usize,
    /// Commands of the cursor’s ring that were done.
    pub cursor: usize,
    /// Two commits and accesses in another address space of the machine, each.
    pub aside: usize,
    /// How long after the reader’s leave the answer came.
    pub beyond: Duration,
}

impl Meanwhile {
    /// Nobody was early, and all others went on.
    pub fn is_as_it_must_be(&self) -> bool {
        !self.early
            && !self.freed_early
            && self.reads > 0
            && [self.control, self.cursor, self.aside] == [ROUNDS; 3]
    }

    /// All of it in a sentence.
    pub fn sentence(&self) -> String {
        format!(
            "While a reader stayed for {} µs in a blob that was unmapped, it read its bytes {} times where a new access found a hole; the unmap {}; {} commands of the same \
             ring and {} of the cursor’s were answered, and in another address space of the machine a region came and went {} times. The answer came {} µs after it had left.",
            self.stayed.as_micros(),
            self.reads,
            match (self.early, self.freed_early) {
                (false, false) => "was not answered, and the renderer was told nothing",
                (true, _) => "was answered, which must not be",
                (false, true) =>
                    "was not answered, but the renderer was told that the bytes are free, which must not be",
            },
            self.control,
            self.cursor,
            self.aside,
            self.beyond.as_micros()
        )
    }
}

/// Has a reader stay on a machine of its own, and looks who goes on.
///
/// ```
/// let meanwhile = holdfast_lifetimes::product::latency::meanwhile();
/// assert!(meanwhile.is_as_it_must_be(), "{}", meanwhile.sentence());
/// ```
///
/// # Panics
///
/// Where a machine refuses what it cannot refuse, or the unmap does not end.
pub fn meanwhile() -> Meanwhile {
    let mut board = Board::new(silent());
    let seen = on(&mut board);
    board.close();
    seen
}

/// The same on a machine that is there.
pub(super) fn on(board: &mut Board) -> Meanwhile {
    let mut seen = Meanwhile::default();
    let (resource, word) = board.map();
    let reader = Reader::enter(&board.memory, Board::place(), word);
    let begin = Instant::now();
    let (unmap, fence) = board.send(Command::ResourceUnmapBlob { resource });
    let mut answered = None;
    for _ in 0..ROUNDS {
        let info = ask_beside(board, unmap, &mut answered, Command::GetDisplayInfo);
        seen.control += usize::from(matches!(info.response, Response::DisplayInfo(_)));
        let moved = Command::MoveCursor(UpdateCursor::default());
        let moved = ask_beside(board, unmap, &mut answered, moved);
        seen.cursor += usize::from(moved.response == Response::Ok);
        seen.aside += usize::from(board.other.goes_on());
        if board.word().is_none() {
            // From the first time on: what was read before may have been read while the blob still was in the window.
            let before = reader.reads();
            std::thread::sleep(APART);
            seen.reads += reader.reads() - before;
        }
    }
    seen.early = answered.is_some();
    seen.freed_early = board.told().is_some() || board.is_free();
    reader.leave_at(Instant::now());
    let left = reader.left();
    seen.stayed = left - begin;
    let reply = answered.unwrap_or_else(|| board.wait(unmap));
    assert_eq!((reply.fence, &reply.response), (fence, &Response::Ok));
    seen.early |= !board.is_free() || board.word().is_some();
    seen.beyond = reply.at.saturating_duration_since(left);
    let gone = board.ask(Command::ResourceUnref { resource }).response;
    assert_eq!(gone, Response::Ok, "no mapping is left");
    seen
}

/// Sends a command while an unmap is with the device, and waits for its reply. Notes the answer to the unmap where that comes first.
fn ask_beside(
    board: &mut Board,
    unmap: u64,
    answered: &mut Option<Reply>,
    command: Command,
) -> Reply {
    let (sent, _) = board.send(command);
    let mut done = None;
    loop {
        for (number, reply) in board.collect() {
            if number == sent {
                done = Some(reply);
            } else if number == unmap {
                *answered = Some(reply);
            }
        }
        if let Some(reply) = done {
            return reply;
        }
    }
}
