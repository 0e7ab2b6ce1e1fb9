//! How bad a leak is: a scenario over and over again, and what each time leaves behind.
//!
//! A modelled machine is small and fixed, so each cycle is a machine of its own, played from its start to its end, and what is left of it is
//! added up; where the first leaves nothing, the others are not played. That cycles add up in one machine too is demonstration C4. The model knows no bytes; [`Sizes`] gives each kind some.
//!
//! ```
//! use holdfast_lifetimes::{Policy, scenario::rows::ROWS, severity::{Sizes, course}};
//!
//! let row = ROWS.iter().find(|row| row.row == "3c").unwrap();
//! let course = course(row, Policy::Piggyback, 1000, &Sizes::default());
//! let last = course.points.last().unwrap();
//! assert_eq!((last.cycle, last.objects), (1000, 2000));
//! ```

pub mod chart;
mod hand;
mod span;

pub use hand::{Hand, hand};
pub use span::{Cycle, Span, in_words, span, unplugs};

use crate::abreast::two_at_a_time;
use crate::policy::Policy;
use crate::scenario::{Report, Scenario, play};
use crate::state::{Id, Kind, State};
use std::fmt::{self, Write as _};
use std::time::Duration;

/// How many cycles of plug and unplug a loop has, where nobody says otherwise.
pub const CYCLES: u32 = 10_000;
/// How many points of a course are kept, beside its first.
pub(crate) const POINTS: u32 = 20;

/// What the kinds of things weigh, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// A device.
    pub device: u64,
    /// An object that is no device.
    pub plain: u64,
    /// A region, its bytes left out.
    pub region: u64,
    /// The bytes behind a region that is no container.
    pub ram: u64,
    /// An address space with its view, or a mapping.
    pub handle: u64,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            device: 4 << 10,
            plain: 512,
            region: 512,
            ram: 16 << 20,
            handle: 512,
        }
    }
}

impl Sizes {
    /// What a chart says about them.
    pub fn sentence(&self) -> String {
        format!(
            "a device {}, another object {}, a region {} and {} of memory behind it (a container: none), an address space or a mapping {}",
            bytes(self.device),
            bytes(self.plain),
            bytes(self.region),
            bytes(self.ram),
            bytes(self.handle)
        )
    }
}

/// What is alive after some cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// How many cycles.
    pub cycle: u32,
    /// Objects.
    pub objects: u64,
    /// Their bytes, and those of what they have open.
    pub bytes: u64,
}

/// What a scenario comes to under one policy, or in the real crates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// Who: the head of a column.
    pub name: &'static str,
    /// From no cycles on.
    pub points: Vec<Point>,
    /// An assertion failed in the first cycle: there is no second one.
    pub is_aborted: bool,
    /// How long it takes in the real crates; the model has no clock.
    pub took: Option<Took>,
    /// How many unplug events there were in the real crates; of the model [`unplugs`] tells.
    pub events: Option<Events>,
}

/// How many unplug events the devices of a loop have sent that were unplugged or dropped in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// In how many cycles.
    pub cycles: u64,
    /// By how many devices, those of all cycles together.
    pub devices: u64,
    /// The fewest of a device's in its cycle.
    pub least: usize,
    /// The most of a device's in its cycle.
    pub most: usize,
}

impl Events {
    /// A cycle more: how many events each of its devices has sent.
    pub(crate) fn add(all: &mut Option<Self>, cycle: impl IntoIterator<Item = usize>) {
        let mut is_counted = false;
        for times in cycle {
            let all = all.get_or_insert(Self {
                cycles: 0,
                devices: 0,
                least: times,
                most: times,
            });
            all.cycles += u64::from(!is_counted);
            is_counted = true;
            all.devices += 1;
            all.least = all.least.min(times);
            all.most = all.most.max(times);
        }
    }

    /// Whether each device has sent the one that it should.
    pub const fn are_right(&self) -> bool {
        self.least == 1 && self.most == 1
    }
}

impl fmt::Display for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cycles,
            devices,
            least,
            most,
        } = *self;
        let cycles = grouped(cycles);
        let devices = grouped(devices);
        match (least == most, least) {
            (true, 1) => write!(f, "one from each of {devices} devices in {cycles} cycles"),
            (true, 0) => write!(f, "none from {devices} devices in {cycles} cycles"),
            _ => write!(
                f,
                "{least} to {most} from each of {devices} devices in {cycles} cycles"
            ),
        }
    }
}

/// What the middle one of all cycles took in the real crates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// From the call that unplugs until it returns: nothing new reaches the device any more.
    pub returned: Duration,
    /// From the begin of that call until the last finalizer has run, which is when the unplug event is sent; with the steps and grace periods of the scenario between.
    pub finalized: Duration,
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            returned,
            finalized,
        } = self;
        write!(
            f,
            "{} µs, the call itself {} µs",
            finalized.as_micros(),
            returned.as_micros()
        )
    }
}

impl Course {
    /// Whether any device in the real crates has sent no unplug event, or more than one.
    pub fn has_wrong_events(&self) -> bool {
        self.events.is_some_and(|events| !events.are_right())
    }

    /// Whether something is left.
    pub fn leaks(&self) -> bool {
        self.points
            .last()
            .is_some_and(|point| point.objects > 0 || point.bytes > 0)
    }
}

/// A scenario in a loop, under every policy.
#[derive(Clone, Debug)]
pub struct Loop {
    /// Which.
    pub scenario: Scenario,
    /// In the order of [`Policy::ALL`].
    pub courses: Vec<Course>,
}

impl Loop {
    /// How many unplug events each cycle has and how long it takes until they come, in words: the heads of the columns in which that is the same, and what it
    /// is. Where something else than a leak comes first, the table says so.
    pub fn spans_in_words(&self) -> String {
        let words = Policy::alike(|rules| in_words(&unplugs(&self.scenario, rules)))
            .into_iter()
            .map(|(names, words)| format!("{}: {words}", names.join(", ")));
        words.collect::<Vec<_>>().join("; ")
    }

    /// Whether the scenario leaks under the policy that nobody proposed, and under no other.
    pub fn leaks_only_mutually(&self) -> bool {
        let mut leaking = Policy::ALL
            .iter()
            .zip(&self.courses)
            .filter(|(_, course)| course.leaks());
        leaking.all(|(policy, _)| *policy == Policy::Mutual)
    }
}

/// What one cycle leaves: objects and bytes.
pub fn left(report: &Report, sizes: &Sizes) -> (u64, u64) {
    // After an abort the process is gone, with everything in it.
    if report.is_aborted() {
        return (0, 0);
    }
    let state = &report.state;
    let weigh = |id: &Id| match state.object(*id).kind {
        Kind::Device => sizes.device,
        Kind::Plain => sizes.plain,
        Kind::Container => sizes.region,
        Kind::Leaf => sizes.region + sizes.ram,
        Kind::Empty => 0,
    };
    let objects = u64::try_from(report.leaked.len()).unwrap_or(u64::MAX);
    let of_objects: u64 = report.leaked.iter().map(weigh).sum();
    (objects, of_objects + sizes.handle * open(state))
}

/// How many handles are open in the name of an object.
fn open(state: &State) -> u64 {
    let spaces = state.spaces.iter().filter(|space| space.open);
    let maps = state.maps.iter().filter(|map| map.is_open());
    let holders = spaces
        .map(|space| space.holder)
        .chain(maps.map(|map| map.holder));
    let count = holders.filter(|holder| holder.is_object()).count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Plays a scenario `cycles` times under a policy.
pub fn course(scenario: &Scenario, policy: Policy, cycles: u32, sizes: &Sizes) -> Course {
    let rules = policy.rules();
    let every = (cycles / POINTS).max(1);
    let mut now = Point::default();
    let mut points = vec![now];
    let mut is_aborted = false;
    let mut leaves = (0, 0);
    while now.cycle < cycles && !is_aborted {
        // Each cycle is a machine of its own: where the first leaves nothing, so does each.
        if now.cycle == 0 || leaves != (0, 0) {
            let report = play(scenario, rules);
            leaves = left(&report, sizes);
            is_aborted = report.is_aborted();
        }
        let (objects, bytes) = leaves;
        now = Point {
            cycle: now.cycle + 1,
            objects: now.objects + objects,
            bytes: now.bytes + bytes,
        };
        if now.cycle.is_multiple_of(every) || now.cycle == cycles || is_aborted {
            points.push(now);
        }
    }
    Course {
        name: rules.short,
        points,
        is_aborted,
        took: None,
        events: None,
    }
}

/// Plays each scenario that leaks under some policy in a loop under every policy, two at a time; `tell` hears how many are done of how many.
pub fn loops<'a>(
    scenarios: impl IntoIterator<Item = &'a Scenario>,
    cycles: u32,
    sizes: &Sizes,
    tell: impl Fn(usize, usize) + Sync,
) -> Vec<Loop> {
    let leaks = |scenario: &&Scenario| {
        let reports = Policy::ALL.map(|policy| play(scenario, policy.rules()));
        reports.iter().any(|report| left(report, sizes) != (0, 0))
    };
    let scenarios = scenarios.into_iter().filter(leaks).collect();
    let repeat = |scenario: &Scenario| Loop {
        scenario: *scenario,
        courses: Policy::ALL
            .map(|policy| course(scenario, policy, cycles, sizes))
            .to_vec(),
    };
    two_at_a_time(scenarios, repeat, tell)
}

/// Of a loop, as text: who can bring its leak about, and when its unplug events come; with what the real crates took, where they were asked.
pub fn text(one: &Loop, real: Option<&Course>) -> String {
    let row = one.scenario.row;
    let mut text = String::new();
    if let Some((hand, why)) = hand(row) {
        let _ = writeln!(text, "{row:<5}{}: {why}", hand.word());
    }
    let _ = writeln!(text, "     unplug event: {}", one.spans_in_words());
    if let Some(real) = real {
        if let Some(events) = real.events {
            let _ = writeln!(text, "     on the crates: {events}");
        }
        if let Some(took) = real.took {
            let _ = writeln!(text, "     on the crates: {took}");
        }
    }
    text
}

/// A number of bytes in words.
pub fn bytes(number: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(shift, _)| number >> shift > 0) {
        None => format!("{number} B"),
        Some((shift, unit)) => {
            let tenths = (u128::from(number) * 10) >> shift;
            match (tenths / 10, tenths % 10) {
                (whole, 0) => format!("{whole} {unit}"),
                (whole, _) if whole >= 100 => format!("{whole} {unit}"),
                (whole, tenth) => format!("{whole}.{tenth} {unit}"),
            }
        }
    }
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
