//! The end of a device with four regions: what its whole life costs, and how long it takes from its withdrawal to its finalizer.
//!
//! Three situations: *back to back*, as fast as one thread can with the defaults; *spinning*, where the reclaimer is told to look for work without
//! sleeping for longer than a round takes, so that it is awake for certain; *slept*, where nothing has happened for a while, so that everybody
//! sleeps. The time ends in the finalizer itself: whoever waits for it is not waited for. Reported beside it: what an idle machine costs.

use crate::background::Background;
use crate::contest::{Contest, Effort, Outcome, wall};
use crate::idle::{self, Idle};
use crate::ours::{Board, LONG, PAGE};
use crate::report::{Report, Unit, Work};
use crate::statistics::{Samples, Summary};
use memory::{Access, MemTxError, Offset, Priority, Region, RegionApi, RegionOps, Size};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::{Child, Init, Machine, ObjectImpl, ObjectOps, Ref};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The group's name.
pub(super) const NAME: &str = "withdraw";
const REGIONS: usize = 4;
/// So long nothing happens before a withdrawal of those that have slept. The reclaimer's default is to look for 50 µs.
const PAUSE: Duration = Duration::from_millis(3);
/// Longer than a round takes.
const LONG_SPIN: Duration = Duration::from_millis(2);

/// A device with four regions that says when it is finalized.
struct Quad {
    device: Device,
    regions: [Child<Region>; REGIONS],
    ended: OnceLock<Arc<OnceLock<Instant>>>,
}

qdev::device_type! { Quad("bench-quad") { device: Device } }

impl ObjectImpl for Quad {
    fn init(cx: &mut Init<'_>) -> Self {
        let region = |_| {
            let region = Region::io("regs", Size::new(PAGE), Regs);
            region.create(cx.object()).expect("a region of its own")
        };
        let regions = std::array::from_fn(region);
        Self {
            device: cx.parent(),
            regions,
            ended: OnceLock::new(),
        }
    }

    fn finalize(&self) {
        if let Some(ended) = self.ended.get() {
            let _ = ended.set(Instant::now());
        }
    }
}

impl DeviceImpl for Quad {
    fn realize(&self, _: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

struct Regs;

impl RegionOps for Regs {
    type Owner = Quad;
    fn read(&self, _: &Quad, access: Access) -> Result<u64, MemTxError> {
        Ok(access.offset)
    }
    fn write(&self, _: &Quad, _: Access, _: u64) -> Result<(), MemTxError> {
        Ok(())
    }
}

fn plug(board: &Board) -> Ref<Quad> {
    let quad = board.machine.create::<Quad>().expect("a device");
    let added = board.machine.root().add_child("quad", &quad);
    added.expect("a free name");
    quad.realize().expect("it does nothing");
    quad
}

fn map(board: &Board, quad: &Quad) {
    memory::transaction(&board.machine, |_| {
        for (place, region) in (0..).zip(&quad.regions) {
            let added = board
                .system
                .add_subregion(Offset(place * PAGE), region, Priority(0));
            added.expect("it is nowhere");
        }
    })
    .expect("not in a listener");
}

fn unmap(board: &Board, quad: &Quad) {
    memory::transaction(&board.machine, |_| {
        for region in &quad.regions {
            board.system.del_subregion(region).expect("it is there");
        }
    })
    .expect("not in a listener");
}

pub(super) fn run(effort: Effort, report: &mut Report) {
    lives(effort, report);
    let rounds = effort.samples() * if effort == Effort::Smoke { 1 } else { 8 };
    for (who, spin, pause) in [
        ("back to back", None, None),
        ("spinning", Some(LONG_SPIN), None),
        ("slept", None, Some(PAUSE)),
    ] {
        let machine =
            Machine::builder("bench").grace(|grace| grace.spin = spin.unwrap_or(grace.spin));
        let board = Board::of(machine.build());
        let rounds = if pause.is_some() {
            rounds / 2 + 1
        } else {
            rounds
        };
        let seen = latencies(&board, rounds, pause);
        for (what, micros) in [
            ("to unparent returned", &seen.returned),
            ("to finalized", &seen.finalized),
        ] {
            let what = format!("withdrawal {what}");
            report.figure(&work(&what, Unit::Micros), who, micros.summary());
        }
        report.note(
            NAME,
            format!(
                "{who}: the reclaimer was woken {:.2} times a withdrawal",
                seen.wakeups
            ),
        );
        board.close();
    }
    idle_machine(effort, report);
}

fn work(work: &str, unit: Unit) -> Work<'_> {
    Work {
        group: NAME,
        work,
        n: REGIONS as u64,
        unit,
    }
}

/// Whole lives, one after another, until the unparent has returned.
fn lives(effort: Effort, report: &mut Report) {
    let board = Board::new();
    let background = Background::default();
    let mut contest = Contest::new();
    contest
        .add("not mapped", |rounds| {
            let time = wall(|| {
                for _ in 0..rounds {
                    plug(&board).unparent().expect("it is there");
                }
            });
            board.settle();
            time
        })
        .add("mapped and unmapped", |rounds| {
            background.of(rounds, || {
                let time = wall(|| {
                    for _ in 0..rounds {
                        let quad = plug(&board);
                        map(&board, &quad);
                        unmap(&board, &quad);
                        quad.unparent().expect("it is there");
                    }
                });
                board.settle();
                time
            })
        })
        .add("withdrawn while mapped", |rounds| {
            let time = wall(|| {
                for _ in 0..rounds {
                    let quad = plug(&board);
                    map(&board, &quad);
                    quad.unparent().expect("it is there");
                }
            });
            board.settle();
            time
        });
    let mut outcomes = contest.run_alone(effort);
    drop(contest);
    outcomes.push(Outcome {
        who: "background of the second".to_owned(),
        nanos: background.nanos(),
    });
    let work = work("create to unparent returned", Unit::Micros);
    report.outcomes(&work, &[], outcomes);
    board.close();
}

struct Latencies {
    returned: Samples,
    finalized: Samples,
    /// Of the reclaimer, a withdrawal.
    wakeups: f64,
}

fn latencies(board: &Board, rounds: usize, pause: Option<Duration>) -> Latencies {
    let (mut returned, mut finalized) = (Vec::new(), Vec::new());
    let woken = || board.machine.counters().grace.reclaimer_wakeups;
    let mut wakeups = 0;
    for round in 0..=rounds {
        let quad = plug(board);
        map(board, &quad);
        if let Some(pause) = pause {
            board.settle();
            std::thread::sleep(pause);
        }
        let ended = Arc::new(OnceLock::new());
        let set = quad.ended.set(ended.clone());
        assert!(set.is_ok(), "once");
        let (weak, before) = (quad.downgrade(), woken());
        let start = Instant::now();
        quad.unparent().expect("it is there");
        let back = start.elapsed();
        drop(quad);
        let waited = board.machine.wait_finalized(&weak, LONG);
        waited.expect("nobody holds it");
        let end = ended.get().expect("the finalizer has run");
        // The first is the warm-up.
        if round > 0 {
            returned.push(back.as_secs_f64() * 1e6);
            finalized.push((*end - start).as_secs_f64() * 1e6);
            wakeups += woken() - before;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    let wakeups = wakeups as f64 / rounds as f64;
    Latencies {
        returned: Samples::new(returned),
        finalized: Samples::new(finalized),
        wakeups,
    }
}

/// How often the threads of a machine wake up when it has nothing to do.
fn idle_machine(effort: Effort, report: &mut Report) {
    let board = Board::new();
    let quad = plug(&board);
    map(&board, &quad);
    unmap(&board, &quad);
    quad.unparent().expect("it is there");
    drop(quad);
    board.settle();
    let time = match effort {
        Effort::Smoke => Duration::from_millis(20),
        Effort::Quick => Duration::from_millis(500),
        Effort::Full => Duration::from_secs(2),
    };
    // What is under way comes to its end first.
    std::thread::sleep(time / 10);
    let Idle { wakeups, used } = idle::watch(time);
    let seconds = time.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let rate = wakeups as f64 / seconds;
    let counted = work("an idle machine: wake-ups a second", Unit::Number);
    report.figure(&counted, "all other threads", Summary::exact(rate));
    let used = used.as_secs_f64() * 1e6 / seconds;
    let counted = work("an idle machine: processor time a second", Unit::Micros);
    report.figure(&counted, "all other threads", Summary::exact(used));
    board.close();
}
