//! The state of a modelled machine: objects, counted edges and what is in flight, as small plain values.
//!
//! A state is a value: cloned, compared and hashed as a whole. Everything in it is a small integer in a fixed array, so that a
//! search can keep millions. Counts are kept as the modelled program keeps them, beside the edges that they count; the
//! tests hold the two against each other ([`crate::edges::edges`]).

/// How many objects a state has room for.
pub const OBJECTS: usize = 10;
/// How many address spaces.
pub const SPACES: usize = 4;
/// How many mappings.
pub const MAPS: usize = 3;
/// How many transfers in flight.
pub const PINS: usize = 2;
/// How many strong links.
pub const LINKS: usize = 2;
/// How many pieces of hook code.
pub const HOOKS: usize = 4;

/// An object by its place in the state, or one of three that are no object of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u8);

impl Id {
    /// Nobody.
    pub const NONE: Self = Self(255);
    /// The machine and its user: the root of the tree, holder of what no object holds. It stays, and is never counted.
    pub const MACHINE: Self = Self(254);
    /// What an alias shows whose target was withdrawn: nothing.
    pub const HOLE: Self = Self(253);

    /// Whether this is an object of the model.
    pub const fn is_object(self) -> bool {
        (self.0 as usize) < OBJECTS
    }

    /// The object's bit in a mask.
    ///
    /// # Panics
    ///
    /// Where it is no object.
    pub fn bit(self) -> u16 {
        assert!(self.is_object(), "{self:?} has no bit");
        1 << self.0
    }

    /// The object's place in the array.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The place is empty.
    #[default]
    Empty,
    /// A device: it is realized and unrealized, and its unparent callback knows its regions.
    Device,
    /// An object that is no device: the memory behind a blob, for instance.
    Plain,
    /// A region that shows its subregions only.
    Container,
    /// A region with bytes or callbacks of its own.
    Leaf,
}

impl Kind {
    /// Whether it is a memory region.
    pub const fn is_region(self) -> bool {
        matches!(self, Self::Container | Self::Leaf)
    }
}

/// The flags of an object.
pub mod flag {
    /// `instance_init` is still running.
    pub const IN_INIT: u8 = 1;
    /// Realized (devices).
    pub const REALIZED: u8 = 1 << 1;
    /// Marked by a withdrawal.
    pub const WITHDRAWN: u8 = 1 << 2;
    /// The finalizer has begun.
    pub const FINALIZING: u8 = 1 << 3;
    /// The finalizer has ended.
    pub const FINALIZED: u8 = 1 << 4;
    /// The storage is free.
    pub const FREED: u8 = 1 << 5;
    /// A region that holds a count on its owner.
    pub const HOLDS_OWNER: u8 = 1 << 6;
    /// Was in the tree, or is.
    pub const PLUGGED: u8 = 1 << 7;
}

/// One object. In this order, so that its first eight bytes are a word of a search's fingerprints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Object {
    /// See [`flag`].
    pub flags: u8,
    /// The tree parent.
    pub parent: Id,
    /// The container of a region.
    pub container: Id,
    /// The target of an alias.
    pub alias: Id,
    /// The count that keeps it.
    pub count: u8,
    /// How many of these are user handles.
    pub users: u8,
    /// What it is.
    pub kind: Kind,
    /// The owner of a region.
    pub owner: Id,
    /// The object in whose allocation this one lies.
    pub storage: Id,
}

impl Object {
    /// An empty place.
    pub const EMPTY: Self = Self {
        kind: Kind::Empty,
        flags: 0,
        owner: Id::NONE,
        parent: Id::NONE,
        storage: Id::NONE,
        container: Id::NONE,
        alias: Id::NONE,
        count: 0,
        users: 0,
    };

    /// Whether all flags of `which` are set.
    pub const fn is(&self, which: u8) -> bool {
        self.flags & which == which
    }

    /// Whether the object was made and its finalizer has not ended.
    pub const fn is_alive(&self) -> bool {
        !matches!(self.kind, Kind::Empty) && self.flags & flag::FINALIZED == 0
    }
}

/// When the code of a holder closes what it opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// The user, or a completion that comes by itself, closes it.
    #[default]
    Completion,
    /// The holder's `unrealize` does.
    Unrealize,
    /// The holder's `instance_finalize` does.
    Finalize,
}

/// An address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Space {
    /// Opened and not yet closed.
    pub open: bool,
    /// A listener is registered that refers to each section that it was told of (vhost, vfio, KVM).
    pub listens: bool,
    /// Its destruction waits for a grace period.
    pub dying: bool,
    /// The root region; nobody where it was emptied.
    pub root: Id,
    /// In whose name it is open.
    pub holder: Id,
    /// Who closes it.
    pub release: Release,
    /// The leaves of the published view.
    pub view: u16,
}

impl Space {
    /// No address space.
    pub const EMPTY: Self = Self {
        open: false,
        listens: false,
        dying: false,
        root: Id::NONE,
        holder: Id::NONE,
        release: Release::Completion,
        view: 0,
    };
}

/// A mapping (`address_space_map`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mapping {
    /// The region; nobody where the mapping is closed.
    pub region: Id,
    /// In whose name it is open.
    pub holder: Id,
    /// Who closes it.
    pub release: Release,
}

impl Mapping {
    /// No mapping.
    pub const EMPTY: Self = Self {
        region: Id::NONE,
        holder: Id::NONE,
        release: Release::Completion,
    };

    /// Whether it is open.
    pub const fn is_open(&self) -> bool {
        self.region.is_object()
    }
}

/// A strong link property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Whose property it is.
    pub from: Id,
    /// What it holds; nobody where there is none.
    pub to: Id,
}

/// The places where a device's own code runs at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// `unrealize`.
    Unrealize,
    /// `instance_finalize`.
    Finalize,
}

/// What a hook does beyond closing handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Takes a region out of a container.
    Detach {
        /// The container.
        container: Id,
        /// The region.
        sub: Id,
    },
    /// Unparents an object.
    Unparent(Id),
    /// Panics; in C, returns early: the rest of this hook does not run.
    Panic,
}

/// A piece of hook code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Armed {
    /// Whose hook.
    pub object: Id,
    /// Which.
    pub hook: Hook,
    /// What it does.
    pub action: Action,
}

/// What has gone wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults(pub u8);

impl Faults {
    /// A finalized object was used, or could be by a reader, a transfer or a mapping.
    pub const USE_AFTER_FINALIZE: Self = Self(1);
    /// The storage of an object that still lives was freed, or freed storage was used.
    pub const USE_AFTER_FREE: Self = Self(1 << 1);
    /// An assertion failed: the process is gone.
    pub const ABORT: Self = Self(1 << 2);
    /// A finalizer was entered twice.
    pub const DOUBLE_FINALIZE: Self = Self(1 << 3);

    /// Whether nothing has.
    pub const fn none(self) -> bool {
        self.0 == 0
    }

    /// Whether `other` is among them.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A modelled machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The objects.
    pub objects: [Object; OBJECTS],
    /// The address spaces.
    pub spaces: [Space; SPACES],
    /// The mappings.
    pub maps: [Mapping; MAPS],
    /// The regions that transfers in flight go to.
    pub pins: [Id; PINS],
    /// In whose name each of them is; nobody where there is none. It completes by itself, whatever becomes of its holder.
    pub pin_holders: [Id; PINS],
    /// The strong links.
    pub links: [Link; LINKS],
    /// Code in hooks.
    pub hooks: [Option<Armed>; HOOKS],
    /// Regions that readers may still be at: they left a view, a root or a mapping since the last grace period.
    ///
    /// One count for each is held until then, however often it left: the counts of one grace period are dropped together, so
    /// a second one on the same region changes nothing. A region that comes back into view takes its count with it.
    pub retired: u16,
    /// Regions whose owner was finalized before them.
    pub outlived: u16,
    /// What has gone wrong.
    pub faults: Faults,
}

impl Default for State {
    fn default() -> Self {
        Self {
            objects: [Object::EMPTY; OBJECTS],
            spaces: [Space::EMPTY; SPACES],
            maps: [Mapping::EMPTY; MAPS],
            pins: [Id::NONE; PINS],
            pin_holders: [Id::NONE; PINS],
            links: [Link {
                from: Id::NONE,
                to: Id::NONE,
            }; LINKS],
            hooks: [None; HOOKS],
            retired: 0,
            outlived: 0,
            faults: Faults::default(),
        }
    }
}

impl State {
    /// The object with this id.
    ///
    /// # Panics
    ///
    /// Where the id is no object's.
    pub fn object(&self, id: Id) -> &Object {
        &self.objects[id.index()]
    }

    /// All ids.
    pub fn ids() -> impl DoubleEndedIterator<Item = Id> + Clone {
        (0..OBJECTS).map(|index| Id(u8::try_from(index).unwrap_or(255)))
    }

    /// The objects that were made and not finalized.
    pub fn alive(&self) -> impl Iterator<Item = Id> + '_ {
        Self::ids().filter(|id| self.object(*id).is_alive())
    }

    /// Whether the object is `top` or below it in the tree.
    pub fn is_below(&self, id: Id, top: Id) -> bool {
        let mut at = id;
        while at.is_object() {
            if at == top {
                return true;
            }
            at = self.object(at).parent;
        }
        false
    }

    /// Whether the user has a name for it: a handle, or a path from the machine.
    pub fn is_named(&self, id: Id) -> bool {
        let mut at = id;
        while at.is_object() {
            let object = self.object(at);
            if !object.is_alive() {
                return false;
            }
            if object.users > 0 {
                return true;
            }
            at = object.parent;
        }
        at == Id::MACHINE
    }
}
