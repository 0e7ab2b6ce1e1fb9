//! A scenario over and over again in one real machine: what each time leaves behind, which is nothing.

use super::ends_something;
use super::world::World;
use crate::scenario::{Scenario, Script};
use crate::severity::Took;
use crate::step::Step;
use std::time::{Duration, Instant};

/// A machine after some cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// How many cycles have been played.
    pub cycle: u32,
    /// Objects of the scenario that are not finalized: of this cycle and of all before.
    pub live_objects: u64,
    /// Bytes behind regions that have not been given back.
    pub bytes: u64,
}

/// What came of all cycles.
#[derive(Clone, Debug)]
pub struct Cycles {
    /// The machine meanwhile.
    pub samples: Vec<Sample>,
    /// What the middle one of all cycles took; none where a cycle ends nothing.
    pub took: Option<Took>,
}

/// Plays a scenario `n` times in one machine, and looks before the first, after every `every`th and after the last.
///
/// ```
/// use holdfast_lifetimes::{product::severity::cycles, scenario::rows::ROWS};
///
/// let row = ROWS.iter().find(|row| row.row == "3c").unwrap();
/// let samples = cycles(row, 20, 10).samples;
/// assert_eq!(samples.len(), 3);
/// assert!(samples.iter().all(|sample| (sample.live_objects, sample.bytes) == (0, 0)));
/// ```
pub fn cycles(scenario: &Scenario, n: u32, every: u32) -> Cycles {
    let mut script = Script::default();
    (scenario.steps)(&mut script);
    let mut world = World::new("severity");
    let mut samples = vec![world.sample(0)];
    let mut took: Vec<Took> = Vec::new();
    for cycle in 1..=n {
        world.cast(script.cast, &script.steps);
        world.leave_alone(&script.gone);
        took.extend(play(&mut world, &script.steps));
        if cycle % every.max(1) == 0 || cycle == n {
            samples.push(world.sample(cycle));
        }
        world.move_on();
    }
    world.end();
    let median = |part: fn(&Took) -> Duration| {
        let mut all: Vec<Duration> = took.iter().map(part).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    };
    let took = median(|took| took.returned).zip(median(|took| took.finalized));
    Cycles {
        samples,
        took: took.map(|(returned, finalized)| Took {
            returned,
            finalized,
        }),
    }
}

/// Plays it once; how long it took from the first step that ends something on.
fn play(world: &mut World, steps: &[Step]) -> Option<Took> {
    let mut rest = steps;
    let mut ended: Option<(Instant, Duration)> = None;
    while let [step, after @ ..] = rest {
        let begin = Instant::now();
        world.take(*step, rest);
        if ended.is_none() && ends_something(*step) {
            ended = Some((begin, begin.elapsed()));
        }
        world.run_executor();
        rest = match step {
            // The rest of its init has been taken inside it.
            Step::Init(id, _) => {
                let end = after.iter().position(|step| *step == Step::InitDone(*id));
                after
                    .get(end.map_or(0, |end| end + 1)..)
                    .unwrap_or_default()
            }
            _ => after,
        };
    }
    for _ in 0..2 {
        world.grace();
    }
    let (begin, returned) = ended?;
    let last = world.stage.set().last_finalized?;
    Some(Took {
        returned,
        finalized: last.saturating_duration_since(begin),
    })
}

impl World {
    fn sample(&self, cycle: u32) -> Sample {
        Sample {
            cycle,
            live_objects: self.live_objects(),
            bytes: self.bytes.bytes(),
        }
    }
}
