//! The checker of a log: who ended before whom, of owners, regions and address spaces.
//!
//! It is told each [`Event`] of a model's log or of the crates', in order, and holds them against what Holdfast promises:
//!
//! * a finalizer runs once;
//! * an owner is finalized after each of its regions;
//! * a region is finalized when no address space shows it and no mapping leads to it, and a grace period has ended since the last one did, be it that the region
//!   left or that space or mapping were closed: before that a reader may be at it;
//! * nobody is finalized while an address space is open in his name; and one that is closed shows nothing.
//!
//! What it has looked at is counted ([`Checked`]), so that a log in which nothing happens is told from one that is in order.

use crate::run::{Event, members};
use crate::severity::grouped;
use crate::state::{Id, MAPS, OBJECTS, SPACES, State};

/// How often an order was looked at and found right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Regions that were finalized before their owner.
    pub regions: u64,
    /// Regions that an address space had shown or a mapping had led to, finalized after that and a grace period.
    pub shown: u64,
    /// Address spaces that were closed before their holder was finalized.
    pub spaces: u64,
}

impl Checked {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.regions += other.regions;
        self.shown += other.shown;
        self.spaces += other.spaces;
    }

    /// In words.
    ///
    /// ```
    /// let checked = holdfast_lifetimes::checker::Checked { regions: 7, shown: 5, spaces: 3 };
    /// assert!(checked.sentence().starts_with("7 regions were finalized before their owners"));
    /// ```
    pub fn sentence(self) -> String {
        let Self {
            regions,
            shown,
            spaces,
        } = self;
        format!(
            "{} regions were finalized before their owners; {} that an address space had shown or a mapping had led to, a grace period after the last one did; \
             {} address spaces were closed before their holders were finalized",
            grouped(regions),
            grouped(shown),
            grouped(spaces),
        )
    }
}

/// Which promise a log breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// A finalizer ran again.
    Twice(Id),
    /// An owner went before a region of his.
    OwnerFirst {
        /// He.
        owner: Id,
        /// It.
        region: Id,
    },
    /// A region went while a reader could be at it, by an address space or a mapping.
    InReach(Id),
    /// Somebody went in whose name an address space is open.
    HolderFirst {
        /// The space.
        space: u8,
        /// He.
        holder: Id,
    },
    /// An address space that is closed shows something.
    ShownByClosed {
        /// The space.
        space: u8,
        /// What it shows.
        region: Id,
    },
}

impl Broken {
    /// In a sentence, with names.
    pub fn show(self, name: impl Fn(Id) -> String) -> String {
        match self {
            Self::Twice(id) => format!("{} is finalized twice", name(id)),
            Self::OwnerFirst { owner, region } => {
                format!(
                    "{} is finalized before its region {}",
                    name(owner),
                    name(region)
                )
            }
            Self::InReach(region) => format!(
                "{} is finalized while an address space shows it or a mapping leads to it, or before a grace period after that",
                name(region)
            ),
            Self::HolderFirst { space, holder } => format!(
                "{} is finalized while space {space} is open in its name",
                name(holder)
            ),
            Self::ShownByClosed { space, region } => {
                format!("space {space} is closed and shows {}", name(region))
            }
        }
    }
}

/// What it knows after some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checker {
    finalized: u16,
    /// By space: in whose name it is open.
    holders: [Option<Id>; SPACES],
    /// By space: the leaves that it shows.
    shown: [u16; SPACES],
    /// By mapping: the region, where it is open.
    mapped: [Option<Id>; MAPS],
    /// Were within reach and are no more, with no grace period since.
    leaving: u16,
    /// Were within reach.
    known: u16,
    checked: Checked,
    broken: Option<Broken>,
}

impl Checker {
    /// The next event. `owners`: who owns each region that there is at that time.
    pub fn tell(&mut self, event: Event, owners: &[Option<Id>; OBJECTS]) {
        match event {
            Event::Opened { space, holder } => {
                self.holders[usize::from(space)] = Some(holder);
            }
            Event::Shown { space, region } => {
                if self.holders[usize::from(space)].is_none() {
                    self.breaks(Broken::ShownByClosed { space, region });
                }
                self.shown[usize::from(space)] |= region.bit();
                self.known |= region.bit();
            }
            Event::Hidden { space, region } => {
                self.shown[usize::from(space)] &= !region.bit();
                self.leaving |= region.bit();
            }
            Event::Closed(space) => {
                let left = members(self.shown[usize::from(space)]).next();
                if let Some(region) = left {
                    self.breaks(Broken::ShownByClosed { space, region });
                }
                let holder = self.holders[usize::from(space)].take();
                if holder.is_some_and(Id::is_object) {
                    self.checked.spaces += 1;
                }
            }
            Event::Mapped { map, region } => {
                self.mapped[usize::from(map)] = Some(region);
                self.known |= region.bit();
            }
            Event::Unmapped(map) => {
                let region = self.mapped[usize::from(map)].take();
                self.leaving |= region.map_or(0, Id::bit);
            }
            Event::Grace => self.leaving = 0,
            Event::Finalized(id) => self.ends(id, owners),
            _ => {}
        }
    }

    fn ends(&mut self, id: Id, owners: &[Option<Id>; OBJECTS]) {
        if self.finalized & id.bit() != 0 {
            self.breaks(Broken::Twice(id));
        }
        for region in State::ids().filter(|region| owners[region.index()] == Some(id)) {
            if self.finalized & region.bit() != 0 {
                self.checked.regions += 1;
            } else if region != id {
                self.breaks(Broken::OwnerFirst { owner: id, region });
            }
        }
        let shown = self.shown.into_iter().fold(0, |all, one| all | one);
        let is_mapped = self.mapped.contains(&Some(id));
        if is_mapped || (shown | self.leaving) & id.bit() != 0 {
            self.breaks(Broken::InReach(id));
        } else if self.known & id.bit() != 0 {
            self.checked.shown += 1;
        }
        let open = (0..).zip(self.holders);
        if let Some((space, _)) = open.into_iter().find(|(_, holder)| *holder == Some(id)) {
            self.breaks(Broken::HolderFirst { space, holder: id });
        }
        self.finalized |= id.bit();
    }

    fn breaks(&mut self, broken: Broken) {
        self.broken.get_or_insert(broken);
    }

    /// Which promise was broken first.
    pub const fn broken(&self) -> Option<Broken> {
        self.broken
    }

    /// What was looked at and found right.
    pub const fn checked(&self) -> Checked {
        self.checked
    }

    /// Whether something that was shown waits for a grace period.
    pub(crate) const fn is_waiting(&self) -> bool {
        self.leaving != 0
    }

    /// Whether a space is open, as far as it was told.
    pub(crate) fn is_open(&self, space: usize) -> bool {
        self.holders[space].is_some()
    }

    /// Whether a mapping is open, as far as it was told.
    pub(crate) const fn is_mapped(&self, map: usize) -> bool {
        self.mapped[map].is_some()
    }

    /// What a space shows, as far as it was told.
    pub(crate) const fn shown_by(&self, space: usize) -> u16 {
        self.shown[space]
    }
}

/// Checks a whole log.
///
/// # Errors
///
/// The first promise that it breaks.
pub fn check(
    log: impl IntoIterator<Item = Event>,
    owners: &[Option<Id>; OBJECTS],
) -> Result<Checked, Broken> {
    let mut checker = Checker::default();
    for event in log {
        checker.tell(event, owners);
    }
    checker.broken().map_or(Ok(checker.checked()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: Id = Id(0);
    const REGION: Id = Id(1);

    fn owners() -> [Option<Id>; OBJECTS] {
        let mut owners = [None; OBJECTS];
        owners[REGION.index()] = Some(OWNER);
        owners
    }

    /// Everything in order: shown, closed, a grace period, the region, its owner.
    fn good() -> Vec<Event> {
        let (space, region) = (1, REGION);
        vec![
            Event::Opened {
                space,
                holder: OWNER,
            },
            Event::Shown { space, region },
            Event::Hidden { space, region },
            Event::Closed(space),
            Event::Grace,
            Event::Finalized(region),
            Event::Finalized(OWNER),
        ]
    }

    #[test]
    fn a_log_in_order_is_counted() {
        let checked = check(good(), &owners()).unwrap();
        let one = Checked {
            regions: 1,
            shown: 1,
            spaces: 1,
        };
        assert_eq!(checked, one);
    }

    #[test]
    fn each_wrong_order_is_told() {
        let told = |log: &[Event]| check(log.iter().copied(), &owners()).unwrap_err();
        let swapped = |a: usize, b: usize| {
            let mut log = good();
            log.swap(a, b);
            told(&log)
        };
        let (space, region, owner) = (1, REGION, OWNER);
        // The owner before its region; also where that never comes.
        assert_eq!(swapped(5, 6), Broken::OwnerFirst { owner, region });
        let mut log = good();
        log.remove(5);
        assert_eq!(told(&log), Broken::OwnerFirst { owner, region });
        // The region before the grace period; while it is shown.
        assert_eq!(swapped(4, 5), Broken::InReach(region));
        let mut log = good();
        log.drain(2..5);
        assert_eq!(told(&log), Broken::InReach(region));
        // A space that is closed and shows it.
        assert_eq!(swapped(2, 3), Broken::ShownByClosed { space, region });
        assert_eq!(swapped(0, 1), Broken::ShownByClosed { space, region });
        // The holder before the end of his space.
        let mut log = good();
        log.remove(3);
        let holder = owner;
        assert_eq!(told(&log), Broken::HolderFirst { space, holder });
        // A mapping that is open, or was a moment ago.
        let (map, known) = (0, good());
        let mapped = |end: &[Event]| {
            let begin = [Event::Mapped { map, region }];
            [&begin[..], &known[..5], end, &known[5..]].concat()
        };
        assert_eq!(told(&mapped(&[])), Broken::InReach(region));
        let unmapped = Event::Unmapped(map);
        assert_eq!(told(&mapped(&[unmapped])), Broken::InReach(region));
        let later = mapped(&[unmapped, Event::Grace]);
        assert!(check(later, &owners()).is_ok());
        // Twice.
        let mut log = good();
        log.push(Event::Finalized(region));
        assert_eq!(told(&log), Broken::Twice(region));
        assert_eq!(
            told(&log).show(|id| format!("{}", id.0)),
            "1 is finalized twice"
        );
    }
}
