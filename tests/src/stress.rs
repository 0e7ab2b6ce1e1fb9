//! Readers, mappers and pluggers at once, on several machines one after another, with the invariants checked at each step.
//!
//! What is checked: every word that is read is one that belongs there ([`words`]); an access that begins after an unparent has returned does
//! not find what was withdrawn ([`world`]); objects are finalized once, regions before their owner, bytes before both ([`card`]); listeners
//! are told exactly what comes and goes ([`spaces`]); when a machine ends nothing is left.
//!
//! The threads lock with `parking_lot` and are joined one by one: `ThreadSanitizer` does not see into the standard library's locks and
//! scopes. Counters are relaxed, so that counting orders nothing that is under test.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memory::counters;
use memory::host::{live_backing_bytes, live_backings};
use qom::Machine;

pub mod board;
pub mod card;
pub mod mappers;
pub mod pluggers;
pub mod readers;
pub mod spaces;
pub mod tally;
pub mod words;
pub mod world;

use board::{Board, LONG};
use tally::{Op, Tally};
use world::World;

use crate::random::Random;

/// How long a machine is used.
const ROUND: Duration = Duration::from_millis(1500);

/// Runs for about `time`; what was found is in the tally.
pub fn run(time: Duration, seed: u64) -> Arc<Tally> {
    let tally = Arc::new(Tally::default());
    let mut random = Random::new(seed);
    let end = Instant::now() + time;
    let mut round = 0;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        let drop_in_use = round % 3 == 2;
        if let Err(error) = one_machine(&tally, &mut random, ROUND.min(left), drop_in_use) {
            tally.violation(format_args!("machine {round}: {error}"));
        }
        round += 1;
    }
    let left = (live_backings(), live_backing_bytes());
    tally.check(left == (0, 0), || {
        format!("{} backings with {} bytes are left", left.0, left.1)
    });
    tally
}

fn one_machine(
    tally: &Arc<Tally>,
    random: &mut Random,
    time: Duration,
    drop_in_use: bool,
) -> Result<(), Box<dyn Error>> {
    let machine = Machine::builder("stress")
        .recording(random.chance(30))
        .build();
    let handle = machine.handle().clone();
    let world = Arc::new(World::new(tally));
    let heard = world.clone();
    let subscription = machine.subscribe(move |event| heard.heard(event));
    let board = Arc::new(Board::new(&machine, world.clone())?);
    let mut threads = start(&board, random)?;
    tally.did(Op::Machine);

    let end = Instant::now() + time;
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50).min(time));
        if random.chance(30) {
            if let Err(error) = handle.quiesce(LONG) {
                tally.violation(format_args!("quiesce: {error}"));
            }
            tally.did(Op::Quiesce);
        }
    }

    let mut machine = Some(machine);
    if drop_in_use {
        world.closing.store(true, Ordering::Release);
        drop(machine.take());
        tally.did(Op::MachineDropped);
        std::thread::sleep(Duration::from_millis(20));
    }
    board.stop();
    for (name, thread) in threads.drain(..) {
        join(tally, name, thread);
    }
    drop(board);
    let open = counters(&handle);
    let idle = (open.live_pins, open.live_snapshots, open.open_mappings);
    // A device that is left plugged keeps its mapping until the machine ends.
    tally.check(idle.0 == 0 && idle.1 == 0, || {
        format!("{open:?} when all threads have ended")
    });
    if let Some(machine) = machine {
        if let Err(error) = machine.quiesce(LONG) {
            tally.violation(format_args!("the last quiesce: {error}"));
        }
        if let Err((machine, error)) = machine.close(LONG) {
            tally.violation(format_args!("close: {error}"));
            for why in machine.leftovers().iter().take(4) {
                eprintln!("{why}");
            }
        }
    } else {
        let end = Instant::now() + LONG;
        while handle.counters().live_objects > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    let left = handle.counters();
    tally.check(left.live_objects == 0, || {
        format!("{} objects are left: {left:?}", left.live_objects)
    });
    if !drop_in_use {
        let heard = world.finalized() as u64;
        tally.check(left.finalized == heard, || {
            format!(
                "{} objects were finalized, and {heard} were told of",
                left.finalized
            )
        });
    }
    drop(subscription);
    await_empty(tally, &handle);
    Ok(())
}

/// The last backings of a machine that was dropped go with its last thread.
fn await_empty(tally: &Tally, handle: &qom::MachineHandle) {
    let end = Instant::now() + LONG;
    while live_backings() > 0 && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    let left = live_backing_bytes();
    tally.check(left == 0, || {
        format!(
            "{left} bytes of backings are left behind machine {}",
            handle.name()
        )
    });
}

type Threads = Vec<(&'static str, JoinHandle<()>)>;

fn start(board: &Arc<Board>, random: &mut Random) -> Result<Threads, Box<dyn Error>> {
    let mut threads = Threads::new();
    let mut spawn = |name: &'static str, run: Box<dyn FnOnce(&Board) + Send>| {
        let board = board.clone();
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || run(&board))?;
        threads.push((name, thread));
        Ok::<(), std::io::Error>(())
    };
    let mut seed = || random.next();
    for through_reader in [false, true, false] {
        let seed = seed();
        spawn(
            "reader",
            Box::new(move |b| readers::run(b, seed, through_reader)),
        )?;
    }
    for name in 0..2 {
        let seed = seed();
        spawn("mapper", Box::new(move |b| mappers::run(b, seed, name)))?;
    }
    for first in 0..2 {
        let seed = seed();
        spawn(
            "plugger",
            Box::new(move |b| pluggers::run(b, seed, first, 2)),
        )?;
    }
    let s = seed();
    spawn("spaces", Box::new(move |b| spaces::run(b, s)))?;
    let s = seed();
    spawn("worker", Box::new(move |b| mappers::complete(b, s)))?;
    Ok(threads)
}

/// Waits for the end of a thread; one that hangs ends the program.
fn join(tally: &Tally, name: &str, thread: JoinHandle<()>) {
    let end = Instant::now() + LONG;
    while !thread.is_finished() {
        if Instant::now() > end {
            eprintln!("VIOLATION: thread `{name}` does not end\n{tally}");
            std::process::exit(1);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if thread.join().is_err() {
        tally.violation(format_args!("thread `{name}` panicked"));
    }
}
