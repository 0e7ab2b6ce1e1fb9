//! Explores the reader protocol on a machine with store buffers and a `membarrier`, exhaustively.
//!
//! Loom cannot express an asymmetric barrier, so this model has its own little machine: total store order, as on x86. Each
//! thread has a buffer of stores that the others do not see yet; a load looks into the thread's own buffer first; a locked instruction
//! waits until the buffer is empty; a buffer may write its oldest store to memory at any time. `membarrier` is what the kernel makes of
//! it: between its begin and its end every other thread is interrupted once, at a moment of its own, and its buffer is
//! emptied then. Nothing else orders the reader.
//!
//! The programs are those of the header of `src/protocol.rs`, R1 to R4 and W0 to W3. Every reachable state is visited. A
//! read of a freed value is a use after free. Each flawed twin must be found out.
#![cfg(not(loom))]

use std::collections::HashSet;

const READERS: usize = 2;
const SECTIONS: u8 = 2;
const ROUNDS: u8 = 2;

/// One thing done wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flaw {
    None,
    /// No `membarrier` at all.
    NoBarrier,
    /// A fence of the reclaimer's own in its place.
    OwnFenceOnly,
    /// `membarrier` first, then the swap.
    BarrierBeforeSwap,
    /// The clock moves before the swap.
    ClockBeforeSwap,
    /// The reader loads the pointer before it announces itself.
    AnnounceAfterLoad,
    /// The reader leaves before its last use.
    LeaveBeforeUse,
    /// The reclaimer waits for nobody.
    NoWait,
    /// The reclaimer looks at the first reader only.
    LooksAtOne,
    /// The clock does not move, and whoever shows the present value counts as new.
    ClockStands,
}

/// Places in memory.
const POINTER: usize = 0;
const CLOCK: usize = 1;
const WORDS: usize = 2;
const FREED: usize = WORDS + READERS;
const PLACES: usize = FREED + ROUNDS as usize + 1;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Reader {
    ReadClock,
    Announce,
    Follow,
    Use,
    UseAgain,
    Leave,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Writer {
    Swap,
    MoveClock,
    Barrier,
    /// A bit for each reader that was not interrupted yet.
    InBarrier(u8),
    Look(usize),
    Free,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Thread<P> {
    at: P,
    /// How many sections, or rounds, are left.
    left: u8,
    /// The clock value in a register.
    clock: u8,
    /// The pointer in a register.
    pointer: u8,
    buffer: Vec<(usize, u8)>,
}

impl<P> Thread<P> {
    fn load(&self, memory: [u8; PLACES], place: usize) -> u8 {
        self.buffer
            .iter()
            .rev()
            .find(|(at, _)| *at == place)
            .map_or(memory[place], |(_, value)| *value)
    }

    fn store(&mut self, place: usize, value: u8) {
        self.buffer.push((place, value));
    }

    /// Writes the oldest store to memory.
    fn drain_one(&mut self, memory: &mut [u8; PLACES]) {
        let (place, value) = self.buffer.remove(0);
        memory[place] = value;
    }

    fn drain(&mut self, memory: &mut [u8; PLACES]) {
        while !self.buffer.is_empty() {
            self.drain_one(memory);
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    memory: [u8; PLACES],
    readers: [Thread<Reader>; READERS],
    writer: Thread<Writer>,
}

#[derive(PartialEq, Eq, Debug)]
struct UseAfterFree;

impl State {
    fn first(flaw: Flaw) -> Self {
        let mut memory = [0; PLACES];
        memory[CLOCK] = 1;
        let start = match flaw {
            Flaw::AnnounceAfterLoad => Reader::Follow,
            _ => Reader::ReadClock,
        };
        let reader = Thread {
            at: start,
            left: SECTIONS,
            clock: 0,
            pointer: 0,
            buffer: Vec::new(),
        };
        let writer = Thread {
            at: first_step(flaw),
            left: ROUNDS,
            clock: 0,
            pointer: 0,
            buffer: Vec::new(),
        };
        Self {
            memory,
            readers: std::array::from_fn(|_| reader.clone()),
            writer,
        }
    }

    /// Everything that can happen next.
    fn next(&self, flaw: Flaw) -> Result<Vec<Self>, UseAfterFree> {
        let mut all = Vec::new();
        for reader in 0..READERS {
            if !self.readers[reader].buffer.is_empty() {
                let mut next = self.clone();
                next.readers[reader].drain_one(&mut next.memory);
                all.push(next);
            }
            if self.readers[reader].left > 0 {
                let mut next = self.clone();
                next.read(reader, flaw)?;
                all.push(next);
            }
        }
        if !self.writer.buffer.is_empty() {
            let mut next = self.clone();
            next.writer.drain_one(&mut next.memory);
            all.push(next);
        }
        if self.writer.left > 0 {
            self.write(flaw, &mut all);
        }
        Ok(all)
    }

    fn read(&mut self, number: usize, flaw: Flaw) -> Result<(), UseAfterFree> {
        let reader = &mut self.readers[number];
        let late = flaw == Flaw::AnnounceAfterLoad;
        reader.at = match reader.at {
            Reader::ReadClock => {
                reader.clock = reader.load(self.memory, CLOCK);
                Reader::Announce
            }
            Reader::Announce => {
                reader.store(WORDS + number, reader.clock);
                if late { Reader::Use } else { Reader::Follow }
            }
            Reader::Follow => {
                reader.pointer = reader.load(self.memory, POINTER);
                if late { Reader::ReadClock } else { Reader::Use }
            }
            at @ (Reader::Use | Reader::UseAgain) => {
                if reader.load(self.memory, FREED + usize::from(reader.pointer)) != 0 {
                    return Err(UseAfterFree);
                }
                match (at, flaw) {
                    (Reader::Use, Flaw::LeaveBeforeUse) => Reader::Leave,
                    (Reader::Use, _) => Reader::UseAgain,
                    (_, Flaw::LeaveBeforeUse) => {
                        reader.left -= 1;
                        Reader::ReadClock
                    }
                    _ => Reader::Leave,
                }
            }
            Reader::Leave => {
                reader.store(WORDS + number, 0);
                if flaw == Flaw::LeaveBeforeUse {
                    Reader::UseAgain
                } else {
                    reader.left -= 1;
                    if late {
                        Reader::Follow
                    } else {
                        Reader::ReadClock
                    }
                }
            }
        };
        Ok(())
    }

    fn write(&self, flaw: Flaw, all: &mut Vec<Self>) {
        let mut next = self.clone();
        let State {
            memory,
            writer,
            readers,
        } = &mut next;
        match writer.at {
            // Locked instructions: the buffer is empty before them and stays so.
            Writer::Swap => {
                writer.drain(memory);
                writer.pointer = memory[POINTER];
                memory[POINTER] += 1;
                writer.at = step_after(Writer::Swap, flaw);
            }
            Writer::MoveClock => {
                writer.drain(memory);
                if flaw != Flaw::ClockStands {
                    memory[CLOCK] += 1;
                }
                writer.clock = memory[CLOCK];
                writer.at = step_after(Writer::MoveClock, flaw);
            }
            Writer::Barrier => {
                writer.drain(memory);
                writer.at = match flaw {
                    Flaw::NoBarrier | Flaw::OwnFenceOnly => step_after(Writer::Barrier, flaw),
                    _ => Writer::InBarrier((1 << READERS) - 1),
                };
            }
            Writer::InBarrier(0) => writer.at = step_after(Writer::Barrier, flaw),
            Writer::InBarrier(left) => {
                // One interrupt now; which reader is next, and what happens in between, is open.
                for (number, _) in readers
                    .iter()
                    .enumerate()
                    .filter(|(number, _)| left & (1 << number) != 0)
                {
                    let mut next = self.clone();
                    next.readers[number].drain(&mut next.memory);
                    next.writer.at = Writer::InBarrier(left & !(1 << number));
                    all.push(next);
                }
                return;
            }
            Writer::Look(number) => {
                let word = writer.load(*memory, WORDS + number);
                if word != 0 && word < writer.clock && flaw != Flaw::NoWait {
                    // It waits: looking again changes nothing until somebody else moves.
                    return;
                }
                let last = flaw == Flaw::LooksAtOne || number + 1 == READERS;
                writer.at = if last {
                    Writer::Free
                } else {
                    Writer::Look(number + 1)
                };
            }
            Writer::Free => {
                let freed = FREED + usize::from(writer.pointer);
                writer.store(freed, 1);
                writer.left -= 1;
                writer.at = first_step(flaw);
            }
        }
        all.push(next);
    }
}

/// The writer's first step of a round.
fn first_step(flaw: Flaw) -> Writer {
    match flaw {
        Flaw::BarrierBeforeSwap => Writer::Barrier,
        Flaw::ClockBeforeSwap => Writer::MoveClock,
        _ => Writer::Swap,
    }
}

/// The order of the writer's steps up to its first look.
fn step_after(step: Writer, flaw: Flaw) -> Writer {
    let order = match flaw {
        Flaw::BarrierBeforeSwap => [Writer::Barrier, Writer::Swap, Writer::MoveClock],
        Flaw::ClockBeforeSwap => [Writer::MoveClock, Writer::Swap, Writer::Barrier],
        Flaw::NoBarrier => [Writer::Swap, Writer::MoveClock, Writer::MoveClock],
        _ => [Writer::Swap, Writer::MoveClock, Writer::Barrier],
    };
    let at = order.iter().position(|one| *one == step);
    at.and_then(|at| order.get(at + 1))
        .filter(|next| **next != step)
        .copied()
        .unwrap_or(Writer::Look(0))
}

/// Visits every state. How many there are, and how many of them are ends.
fn explore(flaw: Flaw) -> Result<(usize, usize), UseAfterFree> {
    let first = State::first(flaw);
    let mut seen = HashSet::from([first.clone()]);
    let mut open = vec![first];
    let mut ends = 0;
    while let Some(state) = open.pop() {
        let next = state.next(flaw)?;
        if next.is_empty() {
            let done =
                state.writer.left == 0 && state.readers.iter().all(|reader| reader.left == 0);
            assert!(done, "stuck: {state:?}");
            ends += 1;
        }
        for state in next {
            if !seen.contains(&state) {
                seen.insert(state.clone());
                open.push(state);
            }
        }
    }
    Ok((seen.len(), ends))
}

#[test]
fn the_protocol_frees_nothing_that_is_in_use_and_always_ends() {
    let (states, ends) = explore(Flaw::None).expect("a use after free");
    assert!(
        states > 100_000,
        "{states} states are too few to mean anything"
    );
    assert!(ends > 0);
}

macro_rules! found {
    ($($name:ident: $flaw:ident,)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(explore(Flaw::$flaw), Err(UseAfterFree));
        }
    )*};
}

found! {
    no_barrier_is_found: NoBarrier,
    a_fence_of_the_reclaimer_alone_is_found: OwnFenceOnly,
    a_barrier_before_the_swap_is_found: BarrierBeforeSwap,
    a_clock_that_moves_before_the_swap_is_found: ClockBeforeSwap,
    announcing_after_the_load_is_found: AnnounceAfterLoad,
    leaving_before_the_last_use_is_found: LeaveBeforeUse,
    not_waiting_is_found: NoWait,
    looking_at_one_reader_is_found: LooksAtOne,
    a_clock_that_stands_is_found: ClockStands,
}
