//! Threads that access memory in every way there is, and check each word.

use std::hint::black_box;

use memory::{Attrs, Gpa, SpaceGuard, SpaceReader};

use super::board::Board;
use super::card::register;
use super::tally::Op;
use super::words::{
    BASE_BYTES, Place, SLOTS, generation_at, is_register, rekinded, slot_at, tag, word,
};
use crate::random::Random;

const ATTRS: Attrs = Attrs::UNSPECIFIED;

struct Thread<'b> {
    board: &'b Board,
    /// None: the thread's slot is found anew at each access.
    reader: Option<SpaceReader>,
    random: Random,
}

/// Runs until the board stops.
pub fn run(board: &Board, seed: u64, through_reader: bool) {
    let mut thread = Thread {
        board,
        reader: through_reader.then(|| board.space.reader()),
        random: Random::new(seed),
    };
    while !board.is_stopping() {
        thread.step();
    }
}

impl Thread<'_> {
    fn step(&mut self) {
        let (addr, left) = Board::somewhere(&mut self.random);
        match self.random.below(100) {
            0..40 => self.load(addr),
            40..50 => self.store(addr),
            50..60 => self.bulk(addr, left),
            60..70 => self.slice(addr, left),
            70..80 => self.section(),
            80..85 => self.walk(),
            85..92 => self.base_write(),
            92..95 => self.exchange(addr),
            _ => self.command(),
        }
    }

    fn did(&self, op: Op) {
        self.board.tally().did(op);
    }

    /// When the next access begins. Not always looked up: the look orders this thread behind the one that
    /// unplugged, and a race detector is to see accesses that nothing orders.
    fn begins(&mut self) -> u32 {
        if self.random.chance(50) {
            self.board.world.now()
        } else {
            0
        }
    }

    fn with_guard<R>(&self, f: impl FnOnce(&SpaceGuard<'_>) -> R) -> R {
        match &self.reader {
            Some(reader) => f(&reader.enter()),
            None => f(&self.board.space.enter()),
        }
    }

    fn load(&mut self, addr: u64) {
        let began = self.begins();
        let world = &self.board.world;
        self.did(Op::Load);
        if self.random.chance(70) {
            let found = match &self.reader {
                Some(reader) => reader.enter().load::<u64>(Gpa(addr), ATTRS),
                None => self.board.space.load::<u64>(Gpa(addr), ATTRS),
            };
            match found {
                Ok(found) => world.check_word(addr, found, began),
                Err(_) => self.did(Op::Hole),
            }
            return;
        }
        // Parts of a word: the topmost bytes say enough.
        let space = &self.board.space;
        let top = match self.random.below(3) {
            0 => space
                .load::<u8>(Gpa(addr + 7), ATTRS)
                .map(|b| u64::from(b) << 8),
            1 => space.load::<u16>(Gpa(addr + 6), ATTRS).map(u64::from),
            _ => space
                .load::<u32>(Gpa(addr + 4), ATTRS)
                .map(|w| u64::from(w >> 16)),
        };
        match top {
            Ok(top) => self.board.tally().check(top >> 12 == 0xa, || {
                format!("{top:#x} is the top of a word at {addr:#x}")
            }),
            Err(_) => self.did(Op::Hole),
        }
    }

    /// Changes what may change in a word of anybody's RAM. (A whole word may be stored only where it is certain whose it is.)
    fn store(&mut self, addr: u64) {
        // Registers take commands.
        if is_register(addr) {
            return;
        }
        let byte = tag(self.random.byte());
        let _ = self.board.space.store::<u8>(Gpa(addr + 7), byte, ATTRS);
        self.did(Op::Store);
    }

    fn exchange(&mut self, addr: u64) {
        let kind = self.random.byte();
        self.with_guard(|guard| {
            let Ok(found) = guard.load::<u64>(Gpa(addr), ATTRS) else {
                return;
            };
            let new = rekinded(found, kind);
            if let Ok(Err(other)) = guard.compare_exchange(Gpa(addr), found, new, ATTRS) {
                self.board.world.check_word(addr, other, 0);
            }
        });
        self.did(Op::Exchange);
    }

    fn bulk(&mut self, addr: u64, left: u64) {
        let began = self.begins();
        let words = (1 + self.random.below(200)).min(left / 8);
        let mut buf = vec![0; usize::try_from(words * 8).unwrap_or(0)];
        let result = match &self.reader {
            Some(reader) => reader.enter().read(Gpa(addr), &mut buf, ATTRS),
            None => self.board.space.read(Gpa(addr), &mut buf, ATTRS),
        };
        self.did(Op::BulkRead);
        let (chunks, _) = buf.as_chunks::<8>();
        if result.is_ok() {
            self.check_words(addr, chunks, began);
        } else {
            self.did(Op::Hole);
            let holes = chunks.iter().filter(|c| **c == [0; 8]).count();
            self.board.tally().check(holes > 0, || {
                format!("a read at {addr:#x} came to {result} and left no hole")
            });
        }
    }

    fn check_words(&self, addr: u64, words: &[[u8; 8]], began: u32) {
        for (at, bytes) in (addr..).step_by(8).zip(words) {
            self.board
                .world
                .check_word(at, u64::from_le_bytes(*bytes), began);
        }
    }

    /// Borrowed bytes stay those of one device for as long as they are borrowed.
    fn slice(&mut self, addr: u64, left: u64) {
        let began = self.begins();
        let words = (1 + self.random.below(64)).min(left / 8);
        let (turns, kind, writes) = (
            self.random.below(200),
            self.random.byte(),
            self.random.chance(30),
        );
        let board = self.board;
        self.with_guard(|guard| {
            let view = guard.view();
            let Ok(bytes) = view.slice(Gpa(addr), words * 8) else {
                return;
            };
            board.tally().did(Op::Slice);
            let Some(first) = bytes.load_u64(0) else {
                return board.tally().violation("a slice without its first word");
            };
            board.world.check_word(addr, first, began);
            let generation = generation_at(addr, first);
            for turn in 0..turns {
                black_box(turn);
                std::hint::spin_loop();
            }
            for at in 0..words {
                let here = addr + at * 8;
                let found = bytes.load_u64(at * 8).map(|w| generation_at(here, w));
                if addr >= BASE_BYTES && found != Some(generation.clone()) {
                    board.tally().violation(format_args!(
                        "a slice at {addr:#x} of {generation:?} has {found:?} at {here:#x}"
                    ));
                }
            }
            if writes && addr >= BASE_BYTES && bytes.is_writable() {
                let _ = bytes.store_u64(0, rekinded(first, kind));
            }
        });
    }

    /// Several accesses in one section, and a fixed view beside them.
    fn section(&mut self) {
        let addrs: Vec<u64> = (0..8)
            .map(|_| Board::somewhere(&mut self.random).0)
            .collect();
        let board = self.board;
        self.with_guard(|guard| {
            let fixed = guard.view();
            board.tally().did(Op::FixedView);
            for addr in addrs {
                let began = board.world.now();
                if let Ok(found) = guard.load::<u64>(Gpa(addr), ATTRS) {
                    board.world.check_word(addr, found, began);
                }
                // The view of before may show what has been withdrawn since; the bytes are there all the same.
                if let Some((span, leaf)) = fixed.find(Gpa(addr))
                    && let Some(bytes) = leaf.bytes()
                    && let Some(found) = bytes.load_u64(addr - span.first())
                {
                    board.world.check_word(addr, found, 0);
                }
            }
        });
    }

    fn walk(&mut self) {
        let board = self.board;
        self.with_guard(|guard| {
            let mut next = 0;
            for (range, leaf) in guard.view().ranges() {
                let sorted = range.span.first() >= next;
                board
                    .tally()
                    .check(sorted, || format!("{range:?} lies before {next:#x}"));
                next = range.span.last();
                black_box(leaf.region().map(qom::Object::id));
            }
        });
        self.did(Op::ViewWalk);
    }

    /// The RAM that is always there takes whole words and long runs of them.
    fn base_write(&mut self) {
        let kind = self.random.byte();
        let first = self.random.below(BASE_BYTES / 8 - 64);
        let len = 1 + self.random.below(63);
        let data: Vec<u8> = (first..first + len)
            .flat_map(|i| word(Place::BASE, 0, i, kind).to_le_bytes())
            .collect();
        let result = match &self.reader {
            Some(reader) => reader.enter().write(Gpa(first * 8), &data, ATTRS),
            None => self.board.space.write(Gpa(first * 8), &data, ATTRS),
        };
        if !result.is_ok() {
            self.board.world.failed("writing the base RAM", result);
        }
        self.did(Op::BulkWrite);
    }

    /// Registers that act.
    fn command(&mut self) {
        let slot = u8::try_from(self.random.below(SLOTS.into())).unwrap_or(0);
        let at = slot_at(slot, self.random.below(2));
        let register = match self.random.below(100) {
            0..15 => register::MOVE,
            15..30 => register::HIDE,
            30..33 => register::UNPLUG,
            33..40 => register::UNBLOB,
            40..42 => register::PANIC,
            42..70 => register::REENTER,
            _ => register::DMA,
        };
        let value = self.random.next();
        let _ = self
            .board
            .space
            .store::<u64>(Gpa(at + register), value, ATTRS);
    }
}
