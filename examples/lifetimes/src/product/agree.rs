//! Generated sequences of steps on a real machine beside the model: after each step both must show the same.
//!
//! Half of the sequences are ways to states that a [`Search`] has met, evenly spread: a search that went so deep that it met many more than are taken, and so most
//! of the ways are as long as it is deep. Half are longer random walks, some of whose steps are refused.
//! Each is then wound up as the search winds up ([`crate::search::ending()`]), and nothing may be left. Compared after each step: whether it
//! was done, or by which refusal it was not; who is withdrawn and who is finalized; what each address space shows; which handles
//! are open. The order of finalizers is compared as far as it is determined: regions before owners, and by the step after which they run.
//!
//! The executor lags in the real machine and in the model alike: finalizers run where the sequence has a finalizer or a grace period, and then all that
//! wait. What the product needs a view for leaves the region retired, as readers may have been at the view; the model is told of that.

use super::look::Seen;
use super::stage::{Happened, Stage};
use super::world::World;
use crate::checker::Checked;
use crate::policy::{Policy, Rules};
use crate::run::Run;
use crate::scenario::run_executor;
use crate::search::{Breadth, D0, D1, Found, Search, Size, WIND_UP, is_enabled, menu};
use crate::severity::grouped;
use crate::show::trace;
use crate::state::{Id, Mapping, Release, State, flag};
use crate::step::{Outcome, Refusal, Step, apply};
use std::collections::BTreeMap;
use std::ops::Range;

/// What the comparison came to.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// How many sequences were played on both.
    pub sequences: u64,
    /// Their steps, those of winding up left out.
    pub steps: u64,
    /// How many of these were refused, by both.
    pub refused: u64,
    /// The same by what they were refused for.
    pub refusals: BTreeMap<Refusal, u64>,
    /// How many steps the searches went whose ways were taken: the least and the most of them.
    pub depths: (u8, u8),
    /// How many states these searches met.
    pub states: u64,
    /// Mappings that were closed by their holder's code while the holder stayed as it was.
    pub unmaps: u64,
    /// Finalizers that ran in the real machine.
    pub finalized: u64,
    /// The orders of ends in the real machine that were looked at and found right.
    pub checked: Checked,
    /// Where the two differed: one for each sequence that did.
    pub disagreements: Vec<Disagreement>,
}

/// Where the product and the model differ.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// The steps up to there.
    pub trace: String,
    /// How they differ.
    pub what: String,
}

/// So many disagreements end the comparison: each costs a machine.
const ENOUGH: usize = 20;

/// A search goes on until it has met so many states for each of which the way is taken: with 2,500 ways, seven or more steps of the core menu and five or more
/// of the wide one.
const STATES_PER_WAY: u64 = 40;
/// More steps than any search takes to meet those, or all that there are.
const FAR: u8 = 60;

/// How many steps a walk has.
const WALKS: Range<u64> = 6..36;

/// Plays `count` sequences on a real machine and in the model, fewer where they go on disagreeing. `progress` is told the number of sequences after each.
///
/// ```
/// let agreement = holdfast_lifetimes::product::agree(40, 1, |_| {});
/// assert_eq!(agreement.sequences, 40);
/// assert!(agreement.disagreements.is_empty(), "{:#?}", agreement.disagreements);
/// ```
pub fn agree(count: u64, seed: u64, progress: impl FnMut(u64)) -> Agreement {
    agree_under(Policy::Withdrawal.rules(), count, seed, ENOUGH, progress)
}

/// As [`agree`], under other rules of the model's, and until so many disagreements.
fn agree_under(
    rules: &Rules,
    count: u64,
    seed: u64,
    limit: usize,
    mut progress: impl FnMut(u64),
) -> Agreement {
    let mut agreement = Agreement::default();
    let mut dice = Dice(seed);
    let mut world = fresh();
    for (at, (breadth, habit)) in KINDS.into_iter().enumerate() {
        let size = Size {
            steps: FAR,
            habit,
            breadth,
        };
        // The first kinds get what does not go evenly.
        let share = share(count, at);
        let (ways, walks) = (share / 2, share - share / 2);
        let search = deep_enough(rules, size, ways);
        agreement.searched(at, search.found());
        for trace in spread(&search, ways) {
            if agreement.disagreements.len() >= limit {
                break;
            }
            let given = trace.into_iter();
            world = agreement.play(world, rules, Source::Given(given));
            progress(agreement.sequences);
        }
        let menu = menu(rules, size);
        for _ in 0..walks {
            if agreement.disagreements.len() >= limit {
                break;
            }
            let length = WALKS.start + dice.below(WALKS.end - WALKS.start);
            let source = Source::Walk {
                menu: &menu,
                dice: &mut dice,
                left: length,
            };
            world = agreement.play(world, rules, source);
            progress(agreement.sequences);
        }
    }
    world.end();
    agreement
}

const KINDS: [(Breadth, Release); 4] = [
    (Breadth::Core, Release::Finalize),
    (Breadth::Core, Release::Unrealize),
    (Breadth::Wide, Release::Finalize),
    (Breadth::Wide, Release::Unrealize),
];

fn share(count: u64, at: usize) -> u64 {
    let kinds = KINDS.len() as u64;
    count / kinds + u64::from((at as u64) < count % kinds)
}

/// A search that has gone as deep as it takes for so many ways.
fn deep_enough(rules: &Rules, size: Size, ways: u64) -> Search<'_> {
    let mut search = Search::new(rules, size);
    while search.found().states < ways * STATES_PER_WAY && search.deepen() {}
    search
}

/// So many of the ways that a search has found, evenly spread; again from the begin where it has found fewer.
fn spread<'a>(search: &'a Search<'_>, ways: u64) -> impl Iterator<Item = Vec<Step>> + 'a {
    let all = search.found().states;
    (0..ways).map(move |at| {
        let at = if ways <= all {
            at * all / ways
        } else {
            at % all
        };
        search.trace_to(u32::try_from(at).unwrap_or(0))
    })
}

fn fresh() -> World {
    let mut world = World::new("agree");
    world.leaves_no_trace = false;
    world
}

/// Where the steps of a sequence come from.
enum Source<'a> {
    Given(std::vec::IntoIter<Step>),
    Walk {
        menu: &'a [Step],
        dice: &'a mut Dice,
        left: u64,
    },
}

impl Source<'_> {
    fn next(&mut self, state: &State, rules: &Rules) -> Option<Step> {
        match self {
            Self::Given(steps) => steps.next(),
            Self::Walk { menu, dice, left } => {
                *left = left.checked_sub(1)?;
                dice.step(menu, &canonical(state), rules)
            }
        }
    }
}

/// `SplitMix64`: the same walks for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn pick(&mut self, from: &[Step]) -> Option<Step> {
        let len = u64::try_from(from.len()).ok().filter(|len| *len > 0)?;
        usize::try_from(self.below(len))
            .ok()
            .and_then(|at| from.get(at).copied())
    }

    /// A step that may be taken; now and then one that is refused.
    fn step(&mut self, menu: &[Step], state: &State, rules: &Rules) -> Option<Step> {
        let wants_refusal = self.below(6) == 0;
        let is_refused = |step: &&Step| {
            let mut after = state.clone();
            matches!(apply(&mut after, **step, rules), Outcome::Refused(_)) && after.faults.none()
        };
        let refused: Vec<Step> = if wants_refusal {
            menu.iter().filter(is_refused).copied().collect()
        } else {
            Vec::new()
        };
        if let Some(step) = self.pick(&refused) {
            return Some(step);
        }
        let enabled: Vec<Step> = menu
            .iter()
            .filter(|step| is_enabled(state, **step, rules))
            .copied()
            .collect();
        self.pick(&enabled)
    }
}

impl Agreement {
    /// The search of the kind that is number `at`.
    fn searched(&mut self, at: usize, found: &Found) {
        let (least, most) = self.depths;
        let depth = found.depth;
        self.depths = if at == 0 {
            (depth, depth)
        } else {
            (least.min(depth), most.max(depth))
        };
        self.states += found.states;
    }

    /// Where its sequences come from, in words.
    pub fn source(&self) -> String {
        let (least, most) = self.depths;
        format!(
            "half of them ways to states that searches of {least} to {most} steps have met, spread evenly over {}, and half random walks of {} to {} steps",
            grouped(self.states),
            WALKS.start,
            WALKS.end - 1
        )
    }

    fn play(&mut self, mut world: World, rules: &Rules, mut source: Source<'_>) -> World {
        self.sequences += 1;
        let mut duel = Duel::new(&mut world, rules);
        let mut played = duel.start();
        while let (Ok(()), Some(step)) = (&played, source.next(&duel.state, rules)) {
            self.steps += 1;
            played = duel.step(step).map(|outcome| {
                let is_unmap = matches!(step, Step::Unmap(_)) && outcome == Outcome::Done;
                self.unmaps += u64::from(is_unmap);
                if let Outcome::Refused(refusal) = outcome {
                    self.refused += 1;
                    *self.refusals.entry(refusal).or_default() += 1;
                }
            });
        }
        let done = played.and_then(|()| duel.wind_up());
        let steps = std::mem::take(&mut duel.taken);
        self.finalized += u64::from(Seen::of_world(&world).finalized.count_ones());
        self.checked.add(world.stage.set().checker.checked());
        let outlived = world.clear();
        let what = match done {
            Ok(()) if outlived > 0 => format!("{outlived} objects outlive the sequence"),
            Ok(()) => return world,
            Err(what) => what,
        };
        let trace = trace(&steps, &Search::cast());
        self.disagreements.push(Disagreement { trace, what });
        world.end();
        fresh()
    }
}

/// A real machine and a modelled one, in step.
struct Duel<'a> {
    world: &'a mut World,
    state: State,
    rules: &'a Rules,
    taken: Vec<Step>,
}

impl<'a> Duel<'a> {
    fn new(world: &'a mut World, rules: &'a Rules) -> Self {
        Self {
            world,
            state: State::default(),
            rules,
            taken: Vec::new(),
        }
    }

    fn start(&mut self) -> Result<(), String> {
        let script = Search::start();
        self.world.cast(script.cast, &[]);
        for step in script.steps {
            self.step(step)?;
        }
        self.taken.clear();
        Ok(())
    }

    /// Takes a step on both; `Err` says how they differ after it.
    fn step(&mut self, step: Step) -> Result<Outcome, String> {
        let step = self.renumbered(step);
        self.taken.push(step);
        self.world.looked_at = None;
        let real = self.world.take(step, &[]);
        let model = match step {
            // Both have the executor run below.
            Step::Finalize(_) => real,
            _ => apply(&mut self.state, step, self.rules),
        };
        if let Some(region) = self.world.looked_at.take() {
            let mut run = Run {
                s: &mut self.state,
                r: self.rules,
                log: None,
            };
            run.show(region);
            run.retire(region);
        }
        if matches!(step, Step::Grace | Step::Finalize(_)) {
            run_executor(&mut self.state, self.rules, &mut Vec::new());
        } else if real != model {
            return Err(format!("the product: {real:?}; the model: {model:?}"));
        }
        self.compare()?;
        Ok(model)
    }

    /// Of mappings the search keeps the numbers sorted ([`canonical`]): a new one gets the first that is free here, and one that is closed has the number that it
    /// got here.
    fn renumbered(&self, step: Step) -> Step {
        let place = |is_it: &dyn Fn(&Mapping) -> bool| {
            let at = self.state.maps.iter().position(is_it)?;
            u8::try_from(at).ok()
        };
        match step {
            Step::Map {
                map,
                region,
                holder,
                release,
            } => Step::Map {
                map: place(&|map| !map.is_open()).unwrap_or(map),
                region,
                holder,
                release,
            },
            Step::Unmap(map) => {
                let meant = canonical(&self.state).maps[usize::from(map)];
                Step::Unmap(place(&|map| *map == meant).unwrap_or(map))
            }
            step => step,
        }
    }

    fn compare(&self) -> Result<(), String> {
        let (real, model) = (Seen::of_world(self.world), Seen::of_state(&self.state));
        if real != model {
            return Err(format!("the product shows {real:?}; the model {model:?}"));
        }
        if !self.state.faults.none() {
            return Err(format!("the model has gone wrong: {:?}", self.state.faults));
        }
        check_log(&self.world.stage)
    }

    /// As the search winds up: what must end by itself, then whatever the user can still do.
    fn wind_up(&mut self) -> Result<(), String> {
        let mut first = vec![Step::Complete(0), Step::Unlink(0)];
        let withdrawn = |id: &Id| self.state.object(*id).is(flag::WITHDRAWN);
        first.extend([D0, D1].into_iter().filter(withdrawn).map(Step::Drop));
        for step in first {
            // Whoever is withdrawn has at most one handle left.
            if is_enabled(&self.state, step, self.rules) {
                self.step(step)?;
            }
        }
        self.settle()?;
        for step in WIND_UP {
            while is_enabled(&self.state, step, self.rules) {
                self.step(step)?;
            }
        }
        self.settle()?;
        let of_machine = |id: &Id| self.state.object(*id).owner == Id::MACHINE;
        let left: Vec<Id> = self.state.alive().filter(|id| !of_machine(id)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("left by both: {left:?}"))
        }
    }

    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..2 {
            self.step(Step::Grace)?;
        }
        Ok(())
    }
}

/// A state with its mappings numbered as in the states of a search.
fn canonical(state: &State) -> State {
    let mut state = state.clone();
    state.maps.sort_unstable();
    state
}

/// Nothing went wrong in the real machine, and everything ended in the order that is promised.
fn check_log(stage: &Stage) -> Result<(), String> {
    stage.observe();
    let set = stage.set();
    let wrong = set.log.iter().find_map(|happened| match happened {
        Happened::Wrong(_, what) => Some(what.clone()),
        _ => None,
    });
    let broken = || set.broken_order().map(|(_, what)| what);
    wrong
        .or_else(broken)
        .map_or(Ok(()), |what| Err(format!("the product: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Rule;

    /// The sequences of the whole demonstration go further than what is near the start.
    #[test]
    fn searches_go_deeper_for_more_ways() {
        let size = Size {
            steps: FAR,
            habit: Release::Unrealize,
            breadth: Breadth::Core,
        };
        let depth = |ways| {
            let search = deep_enough(Policy::Withdrawal.rules(), size, ways);
            assert!(search.found().states >= ways * STATES_PER_WAY);
            let ways = spread(&search, ways).map(|way| way.len());
            let most = ways.max().unwrap();
            assert_eq!(most, usize::from(search.found().depth));
            most
        };
        assert!(depth(20) < depth(250));
        assert!(depth(1000) >= 7);
    }

    /// A model that lacks a rule is told from the product, which has it.
    #[test]
    fn a_rule_that_only_one_of_the_two_has_is_noticed() {
        // Init is left out of the sequences; the rows have it.
        for rule in Rule::ALL
            .into_iter()
            .filter(|rule| *rule != Rule::RefuseDuringInit)
        {
            let rules = Policy::Withdrawal.rules().without(rule);
            let agreement = agree_under(&rules, 2000, 7, 1, |_| {});
            assert!(!agreement.disagreements.is_empty(), "without {rule:?}");
        }
    }
}
