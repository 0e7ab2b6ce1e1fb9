//! Threads that map memory in the names of holders, pin it, take snapshots, and let holders be withdrawn; and the worker that completes pins.

use std::hint::black_box;

use memory::{Gpa, Intent, MapError, Mapping};
use qom::{Container, ObjectOps, Ref};

use super::board::{Board, InFlight};
use super::tally::Op;
use super::words::{generation_at, rekinded};
use crate::random::Random;

/// How many mappings a thread has open at most.
const OPEN: usize = 12;
/// How many I/Os may wait for the worker.
const WAITING: usize = 64;

struct Open {
    mapping: Mapping,
    /// The generation it showed first.
    generation: Option<u32>,
    holder: u64,
}

struct Thread<'b> {
    board: &'b Board,
    random: Random,
    name: u64,
    holder: Option<Ref<Container>>,
    holders: u64,
    open: Vec<Open>,
}

/// Runs until the board stops.
pub fn run(board: &Board, seed: u64, name: u64) {
    let mut thread = Thread {
        board,
        random: Random::new(seed),
        name,
        holder: None,
        holders: 0,
        open: Vec::new(),
    };
    while !board.is_stopping() {
        match thread.random.below(1000) {
            0..300 => thread.map(),
            300..600 => thread.use_one(),
            600..750 => thread.pin(),
            750..900 => thread.unmap(),
            900..997 => thread.snapshot(),
            _ => thread.withdraw_holder(),
        }
    }
}

/// The worker: completes I/Os until the board stops and none is left.
pub fn complete(board: &Board, seed: u64) {
    let mut random = Random::new(seed);
    while let Some(InFlight { pin, addr }) = board.next_io() {
        let bytes = pin.bytes();
        let kind = random.byte();
        for at in (0..bytes.len()).step_by(8) {
            let Some(found) = bytes.load_u64(at) else {
                break;
            };
            board.world.check_word(addr + at, found, 0);
            if bytes.is_writable() {
                let _ = bytes.store_u64(at, rekinded(found, kind));
            }
        }
        let kept = pin.region().map(|r| r.backing().is_some());
        board.tally().check(kept == Some(true), || {
            format!("the region of a pin at {addr:#x} is without its bytes")
        });
        if random.chance(10) {
            std::thread::yield_now();
        }
        drop(pin);
        board.tally().did(Op::PinDone);
    }
}

impl Thread<'_> {
    fn did(&self, op: Op) {
        self.board.tally().did(op);
    }

    /// An object in whose name to map.
    fn holder(&mut self) -> Option<Ref<Container>> {
        if self.holder.is_none() {
            let made = self.board.machine.create::<Container>();
            let holder = made
                .map_err(|e| self.board.world.failed("a holder", e))
                .ok()?;
            self.holders += 1;
            let name = format!("holder-{}-{}", self.name, self.holders);
            if let Err(error) = self.board.root.add_child(&name, &holder) {
                self.board.world.failed("a holder's parent", error);
                return None;
            }
            self.holder = Some(holder);
        }
        self.holder.clone()
    }

    fn intent(&mut self) -> Intent {
        self.random
            .pick(&[Intent::Read, Intent::Write, Intent::ReadWrite])
    }

    /// What is refused may be refused; anything but these is a violation.
    fn refused(&self, error: &MapError) {
        let known = matches!(
            error,
            MapError::NotRam { .. }
                | MapError::TooShort { .. }
                | MapError::Withdrawn { .. }
                | MapError::BounceExhausted { .. }
                | MapError::BounceRead { .. }
                | MapError::Bounced { .. }
        );
        if !known {
            self.board.world.failed("a mapping", error);
        }
        self.did(Op::MapRefused);
    }

    fn map(&mut self) {
        if self.open.len() == OPEN {
            self.open.swap_remove(0);
            self.did(Op::MapDropped);
        }
        let Some(holder) = self.holder() else { return };
        let (addr, left) = Board::somewhere(&mut self.random);
        let len = (8 + self.random.below(64) * 8).min(left);
        let intent = self.intent();
        let mapping = match self.board.space.map(&holder, Gpa(addr), len, intent) {
            Ok(mapping) => mapping,
            Err(error) => return self.refused(&error),
        };
        self.did(Op::Map);
        if mapping.is_bounced() {
            self.did(Op::Bounce);
        }
        let generation = {
            let guard = self.board.space.enter();
            match mapping.bytes(&guard) {
                // A bounce buffer for writing has nothing of the device in it.
                Ok(_) if mapping.is_bounced() && intent == Intent::Write => None,
                Ok(bytes) => bytes.load_u64(0).map(|word| {
                    generation_at(addr, word).unwrap_or_else(|what| {
                        self.board.tally().violation(what);
                        0
                    })
                }),
                Err(_) => None,
            }
        };
        let holder = self.holders;
        self.open.push(Open {
            mapping,
            generation,
            holder,
        });
    }

    fn use_one(&mut self) {
        let at = self.random.index(self.open.len());
        let Some(one) = self.open.get(at) else { return };
        let addr = one.mapping.addr().0;
        let began = self.board.world.now();
        let guard = self.board.space.enter();
        match one.mapping.bytes(&guard) {
            Ok(bytes) => {
                let Some(generation) = one.generation else {
                    return;
                };
                let here = bytes.load_u64(0).map(|word| generation_at(addr, word));
                self.board.tally().check(here == Some(Ok(generation)), || {
                    format!("the mapping at {addr:#x} of generation {generation} has {here:?}")
                });
                let gone = self.board.world.withdrawn_at(addr, generation, began);
                let stale = generation != 0 && gone.is_some() && !one.mapping.is_bounced();
                self.board.tally().check(!stale, || {
                    format!("a mapping at {addr:#x} gives bytes of generation {generation}, which was withdrawn before: {gone:?}")
                });
                if bytes.is_writable() && !one.mapping.is_bounced() {
                    let kind = self.random.byte();
                    let _ = bytes
                        .load_u64(0)
                        .map(|word| bytes.store_u64(0, rekinded(word, kind)));
                }
            }
            Err(MapError::Withdrawn { .. }) => {
                self.did(Op::MapWithdrawn);
                drop(guard);
                self.open.swap_remove(at);
            }
            Err(error) => self.board.world.failed("using an open mapping", error),
        }
    }

    fn pin(&mut self) {
        if self.board.ios_waiting() > WAITING {
            return;
        }
        let at = self.random.index(self.open.len());
        if let Some(one) = self.open.get(at)
            && self.random.chance(50)
        {
            let addr = one.mapping.addr().0;
            let len = one.mapping.len() / 8 * 8;
            match one.mapping.pin(0, len) {
                Ok(pin) => self.board.start_io(InFlight { pin, addr }),
                Err(error) => self.refused(&error),
            }
            return;
        }
        let Some(holder) = self.holder() else { return };
        let (addr, left) = Board::somewhere(&mut self.random);
        let intent = self.intent();
        match self
            .board
            .space
            .pin(&holder, Gpa(addr), left.min(64), intent)
        {
            Ok(pin) => self.board.start_io(InFlight { pin, addr }),
            Err(error) => self.refused(&error),
        }
    }

    fn unmap(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let one = self.open.swap_remove(self.random.index(self.open.len()));
        // Writing a bounce buffer back would write registers with what it holds; nothing is written.
        if self.random.chance(50) {
            let ended = one.mapping.unmap(0);
            match ended {
                Ok(_) => self.did(Op::Unmap),
                Err(MapError::Withdrawn { .. }) => self.did(Op::MapWithdrawn),
                Err(error) => self.board.world.failed("unmap", error),
            }
            return;
        }
        match one.mapping.unmap_shared(0) {
            Ok(_) => self.did(Op::Unmap),
            Err(MapError::Withdrawn { .. }) => self.did(Op::MapWithdrawn),
            Err(error) => self.board.world.failed("unmap", error),
        }
        let again = one.mapping.unmap_shared(0).is_err();
        self.board
            .tally()
            .check(again, || "a mapping was unmapped twice".into());
    }

    fn snapshot(&mut self) {
        let Some(holder) = self.holder() else { return };
        let snapshot = match self.board.space.snapshot(&holder) {
            Ok(snapshot) => snapshot,
            Err(error) => return self.board.world.failed("a snapshot", error),
        };
        for (range, leaf) in snapshot.ranges() {
            let first = range.span.first();
            let known = super::words::expected(first).is_some();
            if let Some(word) = leaf.bytes().and_then(|b| b.load_u64(0)).filter(|_| known) {
                self.board.world.check_word(first, word, 0);
            }
            black_box(leaf.region().map(qom::Object::is_withdrawn));
        }
        self.did(Op::Snapshot);
    }

    /// All that was opened in the holder's name is closed when its unparent has returned.
    fn withdraw_holder(&mut self) {
        let Some(holder) = self.holder.take() else {
            return;
        };
        match ObjectOps::unparent(&holder) {
            Ok(ticket) => self.board.tally().check(ticket.is_done(), || {
                "a holder's unparent returned early".into()
            }),
            Err(error) => self.board.world.failed("unparent of a holder", error),
        }
        self.did(Op::Holder);
        let guard = self.board.space.enter();
        for one in self.open.iter().filter(|o| o.holder == self.holders) {
            let ended = matches!(one.mapping.bytes(&guard), Err(MapError::Withdrawn { .. }));
            self.board
                .tally()
                .check(ended, || format!("{:?} survives its holder", one.mapping));
        }
        let refused = self
            .board
            .space
            .map(&holder, Gpa(0), 8, Intent::Read)
            .is_err();
        self.board
            .tally()
            .check(refused, || "a withdrawn holder maps".into());
    }
}
