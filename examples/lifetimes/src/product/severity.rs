//! A scenario over and over again in one real machine: what each time leaves behind, which is nothing.

use super::middle;
use super::stage::Set;
use super::world::{World, turns};
use crate::scenario::{Scenario, Script, Stretch};
use crate::severity::{Course, Events, POINTS, Point, Sizes, Took};
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
    /// Address spaces and mappings that are open in the name of somebody who is finalized.
    pub handles: u64,
}

impl Sample {
    const fn is_empty(&self) -> bool {
        self.live_objects == 0 && self.bytes == 0 && self.handles == 0
    }
}

/// What came of all cycles.
#[derive(Clone, Debug)]
pub struct Cycles {
    /// The machine meanwhile.
    pub samples: Vec<Sample>,
    /// What the middle one of all cycles took; none where a cycle ends nothing.
    pub took: Option<Took>,
    /// The unplug events; none where no device is unplugged or dropped.
    pub events: Option<Events>,
}

/// Plays a scenario `n` times in one machine that nobody reads, so that grace periods end by themselves, and looks before the first, after every `every`th and after the last. Where the scenario has several cycles
/// ([`Script::cycle`]), each counts as one.
///
/// ```
/// use holdfast_lifetimes::{product::severity::cycles, scenario::rows::ROWS};
///
/// let row = ROWS.iter().find(|row| row.row == "3c").unwrap();
/// let cycles = cycles(row, 20, 10);
/// assert_eq!(cycles.samples.len(), 3);
/// assert!(cycles.samples.iter().all(|sample| (sample.live_objects, sample.bytes, sample.handles) == (0, 0, 0)));
/// let events = cycles.events.unwrap();
/// assert_eq!((events.cycles, events.least, events.most), (20, 1, 1));
/// ```
pub fn cycles(scenario: &Scenario, n: u32, every: u32) -> Cycles {
    let script = Script::of(scenario);
    let stretches = script.cycles();
    // To have a reader leave and come back takes most of a cycle.
    let mut world = World::unread("severity");
    let mut samples = vec![world.sample(0)];
    let mut took: Vec<Took> = Vec::new();
    let mut events: Option<Events> = None;
    for cycle in 1..=n {
        world.cast(script.cast, &script.steps);
        world.leave_alone(&script.gone);
        for (began, stretch) in play(&mut world, &script.steps, &stretches)
            .into_iter()
            .zip(&stretches)
        {
            let set = world.stage.set();
            took.extend(began.and_then(|began| began.until_the_last(&set, stretch)));
            let times = stretch
                .unplugged
                .iter()
                .map(|id| set.ends[id.index()].len());
            Events::add(&mut events, times);
        }
        if cycle.is_multiple_of(every.max(1)) || cycle == n {
            samples.push(world.sample(cycle));
        }
        world.move_on();
    }
    world.end();
    let middle = |part: fn(&Took) -> Duration| middle(took.iter().map(part).collect());
    let took = middle(|took| took.returned).zip(middle(|took| took.finalized));
    Cycles {
        samples,
        took: took.map(|(returned, finalized)| Took {
            returned,
            finalized,
        }),
        events,
    }
}

/// The course of a scenario that is played `n` times in one machine, as the model's are.
pub fn course(scenario: &Scenario, n: u32) -> Course {
    let repeated = cycles(scenario, n, (n / POINTS).max(1));
    // As the model has it.
    let of_handles = Sizes::default().handle;
    let points = repeated.samples.into_iter().map(|sample| Point {
        cycle: sample.cycle,
        objects: sample.live_objects,
        bytes: sample.bytes + sample.handles * of_handles,
    });
    Course {
        name: "the crates",
        points: points.collect(),
        is_aborted: false,
        took: repeated.took,
        events: repeated.events,
    }
}

/// The first step of a cycle that ended somebody.
#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    returned: Duration,
}

impl Began {
    fn until_the_last(self, set: &Set, stretch: &Stretch) -> Option<Took> {
        let ends = stretch.made.iter().flat_map(|id| &set.ends[id.index()]);
        Some(Took {
            returned: self.returned,
            finalized: ends.max()?.saturating_duration_since(self.at),
        })
    }
}

/// Plays it once; of each of its cycles, when somebody was ended first.
fn play(world: &mut World, steps: &[Step], stretches: &[Stretch]) -> Vec<Option<Began>> {
    let mut began = vec![None; stretches.len()];
    for (number, step, rest) in turns(steps) {
        let at = Instant::now();
        world.take(step, rest);
        if step.ends_somebody() {
            let returned = at.elapsed();
            let mut cycles = began.iter_mut().zip(stretches);
            if let Some((first, _)) = cycles.find(|(_, known)| known.steps.contains(&number)) {
                first.get_or_insert(Began { at, returned });
            }
        }
        world.run_executor();
    }
    for _ in 0..2 {
        // A grace period is most of a cycle's time.
        if world.sample(0).is_empty() {
            break;
        }
        world.grace();
    }
    began
}

impl World {
    fn sample(&self, cycle: u32) -> Sample {
        Sample {
            cycle,
            live_objects: self.live_objects(),
            bytes: self.bytes.bytes(),
            handles: self.left_open(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::rows::ROWS;

    #[test]
    fn what_is_open_in_the_name_of_somebody_gone_is_left() {
        let row = ROWS.iter().find(|row| row.row == "15''").unwrap();
        let script = Script::of(row);
        let mut world = World::unread("left");
        world.cast(script.cast, &script.steps);
        let holder = turns(&script.steps)
            .find_map(|(_, step, rest)| {
                world.take(step, rest);
                let set = world.stage.set();
                set.spaces
                    .iter()
                    .flatten()
                    .last()
                    .map(|opened| opened.holder)
            })
            .expect("somebody opens a space");
        assert_eq!(world.sample(0).handles, 0);
        let mark = |world: &World, gone| {
            let mut set = world.stage.set();
            let actor = set.actors[holder.index()].as_mut();
            actor.expect("there is a holder").finalized = gone;
        };
        mark(&world, true);
        let sample = world.sample(0);
        assert!(sample.handles == 1 && !sample.is_empty(), "{sample:?}");
        let space = world
            .stage
            .set()
            .spaces
            .iter()
            .flatten()
            .last()
            .map(|it| it.space.clone());
        space.expect("it is there").close();
        assert_eq!(world.sample(0).handles, 0);
        mark(&world, false);
        world.end();
    }
}
