//! The policies: for each, what a reference is counted on, what unparenting does, and when things end.
//!
//! A policy is a [`Rules`] value; one file each, with where it comes from. The mechanics read the rules
//! (`counted`, `collect`, `withdraw`), and know no policy by its name.

pub mod count_subregion;
pub mod mutual;
pub mod own_count;
pub mod piggyback;
pub mod skip_same_owner;
pub mod tracing;
pub mod withdrawal;

/// What a reference to a region is counted on: by a container, an address space, a view, a mapping, a listener, a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The region's owner; nothing where it has none.
    Owner,
    /// The region itself; nothing where it has no owner, and so nobody who would end it.
    Region,
    /// Nothing: references are found by tracing.
    Nothing,
}

/// What a container counts for a subregion of its own owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameOwner {
    /// What it counts for any other.
    AsAnyOther,
    /// Nothing.
    Nothing,
    /// The subregion.
    Subregion,
}

/// When a region holds a count on its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerEdge {
    /// Never: it points to it.
    Pointer,
    /// From the moment it is unparented until it is free.
    FromUnparent,
    /// As long as it exists.
    Always,
    /// From the mark phase of its withdrawal until it is finalized.
    FromWithdrawal,
}

/// What ends objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The count: the one who drops the last runs the finalizer.
    Count,
    /// A collector that traces from the roots.
    Collector,
    /// Withdrawal, then the count.
    Withdrawal(Withdrawal),
}

/// The rules of a withdrawal, each of which can be switched off to see what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// Which rules hold.
    pub rules: u16,
}

/// One rule of a withdrawal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Rule {
    /// Step 0: a region's pointer to its owner becomes strong.
    OwnerBecomesStrong = 1,
    /// Step 1: regions leave containers and drop their own subregions.
    RetractContainers = 1 << 1,
    /// Step 1: aliases to them are cut, and read as holes.
    RetractAliases = 1 << 2,
    /// Step 1: address spaces rooted at them are emptied.
    RetractSpaces = 1 << 3,
    /// Step 1: mappings of them are closed.
    RetractMappings = 1 << 4,
    /// Step 2: what was opened in the object's name is closed.
    CloseOpened = 1 << 5,
    /// Step 2: its strong links are cut.
    CutLinks = 1 << 6,
    /// A panic in a hook stops that hook only.
    CatchPanics = 1 << 7,
    /// What readers may still be at is let go after a grace period.
    GraceBeforeLettingGo = 1 << 8,
    /// An object without a parent is withdrawn when its last user handle goes.
    WithdrawUnparented = 1 << 9,
    /// Until init is over nothing of the object reaches outside it.
    RefuseDuringInit = 1 << 10,
    /// What is withdrawn takes no new edge, and nothing is opened in its name.
    RefuseWithdrawn = 1 << 11,
}

impl Rule {
    /// All rules.
    pub const ALL: [Self; 12] = [
        Self::OwnerBecomesStrong,
        Self::RetractContainers,
        Self::RetractAliases,
        Self::RetractSpaces,
        Self::RetractMappings,
        Self::CloseOpened,
        Self::CutLinks,
        Self::CatchPanics,
        Self::GraceBeforeLettingGo,
        Self::WithdrawUnparented,
        Self::RefuseDuringInit,
        Self::RefuseWithdrawn,
    ];
}

impl Withdrawal {
    /// Every rule holds.
    pub const WHOLE: Self = Self {
        rules: (1 << Rule::ALL.len()) - 1,
    };

    /// Whether a rule holds.
    pub const fn has(self, rule: Rule) -> bool {
        self.rules & rule as u16 != 0
    }
}

/// A policy's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The name.
    pub name: &'static str,
    /// The head of its column.
    pub short: &'static str,
    /// What a reference is counted on.
    pub counted: Counted,
    /// What a container counts for a subregion of its own owner.
    pub same_owner: SameOwner,
    /// When a region holds its owner.
    pub owner_edge: OwnerEdge,
    /// Unparenting a device unparents the regions that are its direct children.
    pub unparents_regions: bool,
    /// A finalizer that is entered again returns.
    pub finalizes_once: bool,
    /// A region that is finalized in a container of its own owner leaves it; elsewhere that is an assertion.
    pub detaches_itself: bool,
    /// What ends objects.
    pub end: End,
}

impl Rules {
    /// The rules of the withdrawal, where that is what ends objects.
    pub const fn withdrawal(&self) -> Option<Withdrawal> {
        match self.end {
            End::Withdrawal(withdrawal) => Some(withdrawal),
            End::Count | End::Collector => None,
        }
    }

    /// Whether a rule of withdrawal holds; false for all other policies.
    pub const fn has(&self, rule: Rule) -> bool {
        match self.end {
            End::Withdrawal(withdrawal) => withdrawal.has(rule),
            End::Count | End::Collector => false,
        }
    }

    /// The same policy with a seeded defect: one rule of its withdrawal is switched off.
    pub const fn without(mut self, rule: Rule) -> Self {
        if let End::Withdrawal(withdrawal) = self.end {
            self.end = End::Withdrawal(Withdrawal {
                rules: withdrawal.rules & !(rule as u16),
            });
        }
        self
    }
}

/// The policies, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// [`piggyback`].
    Piggyback,
    /// [`skip_same_owner`].
    SkipSameOwner,
    /// [`count_subregion`].
    CountSubregion,
    /// [`own_count`], without the finalize-once guard.
    OwnCountUnguarded,
    /// [`own_count`].
    OwnCount,
    /// [`mutual`].
    Mutual,
    /// [`tracing`].
    Tracing,
    /// [`withdrawal`].
    Withdrawal,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 8] = [
        Self::Piggyback,
        Self::SkipSameOwner,
        Self::CountSubregion,
        Self::OwnCountUnguarded,
        Self::OwnCount,
        Self::Mutual,
        Self::Tracing,
        Self::Withdrawal,
    ];

    /// The heads of the columns in which something is the same, in order, and what it is there.
    pub(crate) fn alike<T: PartialEq>(of: impl Fn(&Rules) -> T) -> Vec<(Vec<&'static str>, T)> {
        let mut groups: Vec<(Vec<&'static str>, T)> = Vec::new();
        for policy in Self::ALL {
            let rules = policy.rules();
            let what = of(rules);
            match groups.iter_mut().find(|(_, known)| *known == what) {
                Some((names, _)) => names.push(rules.short),
                None => groups.push((vec![rules.short], what)),
            }
        }
        groups
    }

    /// Its rules.
    pub const fn rules(self) -> &'static Rules {
        match self {
            Self::Piggyback => &piggyback::RULES,
            Self::SkipSameOwner => &skip_same_owner::RULES,
            Self::CountSubregion => &count_subregion::RULES,
            Self::OwnCountUnguarded => &own_count::UNGUARDED,
            Self::OwnCount => &own_count::RULES,
            Self::Mutual => &mutual::RULES,
            Self::Tracing => &tracing::RULES,
            Self::Withdrawal => &withdrawal::RULES,
        }
    }
}
