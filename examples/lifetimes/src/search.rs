//! Every sequence of steps up to a size, under a policy: how many states, and how many of them end badly.
//!
//! # What is searched
//!
//! The start ([`Search::start`]) is a machine with system memory and a space on it, two devices that were made and have no parent yet, and a plain child of the
//! first that owns a region: `D0` with a container `C` and a leaf `M`, its child `V` with a leaf `B`, `D1` with a leaf `N` that can become an
//! alias. The [`menu`] is everything that may happen next: plug, unplug, drop; nest and detach; alias; open and close an address space; map in a
//! name, and unmap; a transfer; a strong link; a panic in a hook; a grace period; a finalizer or a collection. The search is breadth first, one
//! state at a time by its fingerprint, so that the first trace to an ending is a shortest one.
//!
//! # What a leak is
//!
//! [`ending`] winds a state up: transfers complete, grace periods pass, finalizers run; the user takes out, closes and unplugs whatever has a name, and
//! drops every handle; and once more everything passes that passes by itself. If then an object is not finalized, or a handle
//! is open whose holder is gone, the state is a **leak**: nobody is left who could do anything about it. The user undoes first and drops last, since what
//! is dropped has no name any more. Within that, the order cannot matter to *what* is left: each action only takes edges away, none makes one or takes
//! another's name, and an object goes when its last edge has gone, whichever that was. (A test winds up in another order and compares.) It can matter to
//! faults on the way; they are counted as what they are, and the other orders are sequences of steps of their own.
//!
//! For withdrawal there is a stronger demand, which no other policy makes: whatever was withdrawn is finalized as soon as transfers have
//! completed, links to it are cleared, handles that the user kept are dropped and a grace period has passed, while everybody else is still plugged. A state that fails it is **late**.
//!
//! A state in which everything goes, but somebody's owner was or is finalized before his region, is counted as a wrong **order**: the way to it and its
//! winding up both count. Like a leak it is followed further, as something worse may come. In what order finalizers run that nothing orders is part of the rules: the
//! collector takes those of one collection as they were made, and withdrawal takes any that waits, in the search each as a step of its own.
//!
//! # Why one state stands for many
//!
//! * Mappings are kept sorted: no step, rule or check asks for a mapping's number but to name it, so exchanging two numbers is a symmetry of the whole
//!   relation of steps. Handles of one holder are closed one by one without anything between; their order shows only in the log.
//! * Of an object that is finalized little is told apart: its hooks have run, what would still show it is a fault, and how it came to its end is past.
//! * A region is retired once, not once for each view that it left ([`crate::state::State::retired`]).
//! * Nothing is done twice that has no effect: a step that is refused, or finds nothing to do, leads back to the same state.
//! * The phase of init is left out: what init may do may be done after it as well, and withdrawal refuses less then, not more.
//!
//! The `stateright` crate does this and much more, with a web server, random walks and 43 crates behind it; what is needed here are these few hundred lines,
//! fingerprints of 128 bits instead of 64, and endings by winding up, so they are written out and held against a plain enumeration.
//!
//! States are told apart by a fingerprint of 128 bits. Two of n states collide with a probability below n²/2^129: for ten million, 1 in 10^24.

use crate::policy::Rules;
use crate::scenario::{Cast, Script, Verdict};
use crate::state::{Id, Release, State, flag};
use crate::step::{Outcome, Step, apply};
use seen::Seen;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub mod campaign;
mod ending;
mod fingerprint;
mod menu;
mod seen;

pub(crate) use ending::WIND_UP;
pub use ending::{Ending, ending};
pub use fingerprint::fingerprint;
pub use menu::{is_enabled, menu};

/// `D0`: owns `C` and `M`; `V` is its child.
pub const D0: Id = Id(0);
/// `D1`: owns `N`.
pub const D1: Id = Id(1);
/// A plain child of `D0` that owns `B`.
pub const V: Id = Id(2);
/// The container of `D0`.
pub const C: Id = Id(3);
/// The leaf of `D0`.
pub const M: Id = Id(4);
/// The leaf of `D1`, which can become an alias.
pub const N: Id = Id(5);
/// The leaf of `V`.
pub const B: Id = Id(6);
/// System memory.
pub const S: Id = Id(7);
/// The number of the address space that is opened in a name; 0 is the system's.
pub const NAMED: u8 = 1;

/// How far a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Steps from the start.
    pub steps: u8,
    /// When the devices' own code closes what they have opened.
    pub habit: Release,
    /// What may happen.
    pub breadth: Breadth,
}

/// How much may happen: two menus over the same cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breadth {
    /// One container for each region, one alias, the mappings, transfers and links that close a cycle in one way each.
    Core,
    /// Every region in every container, every root, every holder, and a handle that the user keeps while its device is unplugged.
    Wide,
}

impl Breadth {
    /// How far a search of the menu goes where so many steps are asked for: of the wide one four less, which is about as many states.
    pub const fn within(self, steps: u8) -> u8 {
        match self {
            Self::Core => steps,
            Self::Wide => steps.saturating_sub(4),
        }
    }
}

/// Takes one step of the search: what [`apply`] does, in the form that stands for all that are equal by symmetry.
pub fn step(state: &State, step: Step, rules: &Rules) -> Option<State> {
    if !is_enabled(state, step, rules) {
        return None;
    }
    let mut next = state.clone();
    if apply(&mut next, step, rules) != Outcome::Done {
        return None;
    }
    make_canonical(&mut next);
    Some(next)
}

/// The state that stands for all that no step tells from this one.
fn make_canonical(state: &mut State) {
    state.maps.sort_unstable();
    for object in &mut state.objects {
        if object.is(flag::FINALIZED) {
            object.alias = Id::NONE;
            object.flags &= flag::FINALIZING | flag::FINALIZED | flag::FREED;
        } else if object.users == 0 && object.parent == Id::NONE {
            // Nobody can plug it, or take a handle of it, any more.
            object.flags &= !flag::PLUGGED;
        }
    }
    for armed in &mut state.hooks {
        *armed = armed.filter(|armed| state.objects[armed.object.index()].is_alive());
    }
}

/// What one kind of ending came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many states end so.
    pub states: u64,
    /// A shortest sequence of steps to such a state.
    pub trace: Vec<Step>,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Different states.
    pub states: u64,
    /// Steps taken between them.
    pub steps: u64,
    /// The last step met nothing new: these are all states, however many steps are taken.
    pub is_whole: bool,
    /// All states that are so many steps away have been met, and none that is further.
    pub depth: u8,
    /// The search met as many states as it may, and stopped within the step after [`Self::depth`].
    pub is_cut: bool,
    /// By kind of ending, those that are clean left out; each kind once.
    pub endings: Vec<(Ending, Tally)>,
}

impl Found {
    /// How far the search went, in words.
    pub fn far(&self) -> String {
        match self.depth {
            depth if self.is_whole => format!("nothing new after {depth} steps"),
            depth if self.is_cut => format!("stopped after {depth} steps"),
            depth => format!("{depth} steps"),
        }
    }

    /// How many states end in one of these ways.
    pub fn count(&self, which: impl Fn(Ending) -> bool) -> u64 {
        self.endings
            .iter()
            .filter(|(ending, _)| which(*ending))
            .map(|(_, tally)| tally.states)
            .sum()
    }

    /// A shortest trace to one of these endings.
    pub fn trace(&self, which: impl Fn(Ending) -> bool) -> Option<&[Step]> {
        let traces = self
            .endings
            .iter()
            .filter(|(ending, _)| which(*ending))
            .map(|(_, tally)| &tally.trace[..]);
        traces.min_by_key(|trace| trace.len())
    }

    /// Leaks, and what is kept too long.
    pub const fn is_leak(ending: Ending) -> bool {
        matches!(ending, Ending::Leak | Ending::Late)
    }

    /// Uses after finalize, of freed storage as well.
    pub const fn is_use(ending: Ending) -> bool {
        matches!(
            ending,
            Ending::Fault(
                Verdict::UseAfterFinalize | Verdict::UseAfterFree | Verdict::DoubleFinalize
            )
        )
    }

    /// An owner that goes before its region, and nothing worse.
    pub const fn is_order(ending: Ending) -> bool {
        matches!(ending, Ending::Order)
    }

    /// Aborts.
    pub const fn is_abort(ending: Ending) -> bool {
        matches!(ending, Ending::Fault(Verdict::Abort))
    }
}

/// Fingerprints are spread already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = u64::try_from(value >> 64).unwrap_or(0);
    }
}

/// A search in progress.
pub struct Search<'a> {
    rules: &'a Rules,
    menu: Vec<Step>,
    size: Size,
    /// How many states it may meet.
    most: u64,
    seen: Seen,
    /// How states end in which nothing is outside any more.
    endings: HashMap<u128, Ending, BuildHasherDefault<AsItIs>>,
    /// Of each state: from which, by which step of the menu.
    origins: Vec<(u32, u8)>,
    frontier: Vec<(u32, State)>,
    depth: u8,
    found: Found,
}

impl<'a> Search<'a> {
    /// The cast of the start, and the steps that make it.
    pub fn start() -> Script {
        let mut s = Script::default();
        let d0 = s.device("D0");
        let d1 = s.device("D1");
        let v = s.plain("V", d0);
        let c = s.container("C", d0);
        let m = s.leaf("M", d0);
        let n = s.leaf("N", d1);
        let b = s.leaf("B", v);
        let sys = s.system("S");
        debug_assert_eq!([d0, d1, v, c, m, n, b, sys], [D0, D1, V, C, M, N, B, S]);
        s.open(sys, Id::MACHINE, Release::Finalize);
        s
    }

    /// The names in traces.
    pub fn cast() -> Cast {
        Self::start().cast
    }

    /// The first state.
    pub fn first(rules: &Rules) -> State {
        let mut state = State::default();
        for step in Self::start().steps {
            apply(&mut state, step, rules);
        }
        state
    }

    /// A search that has seen the first state only.
    pub fn new(rules: &'a Rules, size: Size) -> Self {
        let first = Self::first(rules);
        let mut search = Self {
            rules,
            menu: menu(rules, size),
            size,
            most: u64::MAX,
            seen: Seen::new(),
            endings: HashMap::default(),
            origins: Vec::new(),
            frontier: Vec::new(),
            depth: 0,
            found: Found::default(),
        };
        search.meet(fingerprint(&first), first, u32::MAX, 0);
        search
    }

    /// The same search, which stops where it has met so many states: it holds all of the last step in memory, some 300 bytes each.
    #[must_use]
    pub const fn at_most(mut self, states: u64) -> Self {
        self.most = states;
        self
    }

    /// Goes one step deeper; false at the end.
    pub fn deepen(&mut self) -> bool {
        if self.depth == self.size.steps || self.frontier.is_empty() || self.found.is_cut {
            return false;
        }
        self.depth += 1;
        let before = self.found.states;
        let mut ahead = Vec::new();
        for (index, state) in std::mem::take(&mut self.frontier) {
            if self.found.states >= self.most {
                self.found.is_cut = true;
                return true;
            }
            for at in 0..self.menu.len() {
                if let Some(next) = step(&state, self.menu[at], self.rules) {
                    self.found.steps += 1;
                    let by = u8::try_from(at).unwrap_or(u8::MAX);
                    ahead.push((fingerprint(&next), next, by));
                }
            }
            self.seen.ahead(ahead.iter().map(|(print, ..)| *print));
            for (print, next, by) in ahead.drain(..) {
                self.meet(print, next, index, by);
            }
        }
        // States of the last depth are not kept, so that only an earlier end is known for one.
        self.found.is_whole = self.frontier.is_empty() && self.depth < self.size.steps;
        if !self.found.is_whole || self.found.states > before {
            self.found.depth = self.depth;
        }
        true
    }

    /// Steps from the start that have been taken.
    pub const fn depth(&self) -> u8 {
        self.depth
    }

    /// What was found so far.
    pub const fn found(&self) -> &Found {
        &self.found
    }

    /// Searches to the end.
    pub fn run(mut self) -> Found {
        while self.deepen() {}
        self.found
    }

    /// As [`ending`]. Many states are the same once everything outside has ended; what the user then undoes is played once for all of them.
    fn ending(&mut self, state: &State) -> Ending {
        let mut quiet = match ending::outside_ends(state, self.rules) {
            Ok(quiet) => quiet,
            Err(ending) => return ending,
        };
        make_canonical(&mut quiet);
        let rules = self.rules;
        *self
            .endings
            .entry(fingerprint(&quiet))
            .or_insert_with(|| ending::ending_of_quiet(quiet, rules))
    }

    fn meet(&mut self, print: u128, state: State, from: u32, by: u8) {
        if !self.seen.insert(print) {
            return;
        }
        let index = u32::try_from(self.origins.len()).unwrap_or(u32::MAX);
        self.origins.push((from, by));
        self.found.states += 1;
        let ending = self.ending(&state);
        if ending != Ending::Clean {
            self.tally(ending, index);
        }
        // What has gone wrong already is not followed further.
        if state.faults.none() && self.depth < self.size.steps {
            self.frontier.push((index, state));
        }
    }

    /// The way by which a state was met first; states are numbered in the order in which they were met.
    pub fn trace_to(&self, index: u32) -> Vec<Step> {
        let mut trace = Vec::new();
        let mut at = index;
        while let Some((from, by)) = self
            .origins
            .get(at as usize)
            .copied()
            .filter(|(from, _)| *from != u32::MAX)
        {
            trace.push(self.menu[usize::from(by)]);
            at = from;
        }
        trace.reverse();
        trace
    }

    fn tally(&mut self, ending: Ending, index: u32) {
        if let Some((_, tally)) = self
            .found
            .endings
            .iter_mut()
            .find(|(known, _)| *known == ending)
        {
            tally.states += 1;
            return;
        }
        let trace = self.trace_to(index);
        self.found
            .endings
            .push((ending, Tally { states: 1, trace }));
    }
}

#[cfg(test)]
mod tests;
