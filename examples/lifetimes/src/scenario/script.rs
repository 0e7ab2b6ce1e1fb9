//! A script: the cast of a scenario by name, and its steps.

use crate::state::{Action, Armed, Hook, Id, Kind, OBJECTS};
use crate::step::Step;
use std::ops::Range;

pub use crate::state::Release as At;

/// The names of a scenario's objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cast {
    names: [&'static str; OBJECTS],
}

impl Cast {
    /// The name of an object.
    pub fn name(&self, id: Id) -> &'static str {
        match id {
            Id::MACHINE => "machine",
            _ => self.names.get(id.index()).copied().unwrap_or("nobody"),
        }
    }
}

/// The steps of a scenario, as they are written.
///
/// ```
/// use holdfast_lifetimes::{Policy, scenario::{Script, Verdict, play_script}};
///
/// let mut script = Script::default();
/// let device = script.plugged("device");
/// let own = script.leaf("memory", device);
/// script.map(own, device, holdfast_lifetimes::state::Release::Finalize);
/// script.unplug(device);
/// assert_eq!(play_script(&script, Policy::Piggyback.rules()).verdict, Verdict::Leak);
/// assert_eq!(play_script(&script, Policy::Withdrawal.rules()).verdict, Verdict::Clean);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Who is in it.
    pub cast: Cast,
    /// What happens.
    pub steps: Vec<Step>,
    /// Who must be gone at the end; every object, where nobody is named.
    pub gone: Vec<Id>,
    objects: u8,
    spaces: u8,
    maps: u8,
    pins: u8,
    links: u8,
    /// The steps with which cycles begin.
    begins: Vec<usize>,
}

/// A part of a script: a cycle of plug and unplug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its steps.
    pub steps: Range<usize>,
    /// Everybody whom they make.
    pub made: Vec<Id>,
    /// The devices that they unplug, or drop.
    pub unplugged: Vec<Id>,
}

impl Script {
    /// The steps of a scenario.
    pub fn of(scenario: &super::Scenario) -> Self {
        let mut script = Self::default();
        (scenario.steps)(&mut script);
        script
    }

    /// Who may be left at the end, in words; the machine's own regions always stay.
    pub fn expected(&self) -> String {
        if self.gone.is_empty() {
            return "nobody".into();
        }
        let gone: Vec<_> = self.gone.iter().map(|id| self.cast.name(*id)).collect();
        format!("nobody of {}", gone.join(", "))
    }

    /// Whether another script has the same steps with the same cast, and expects the same.
    pub fn is_same(&self, other: &Self) -> bool {
        (&self.steps, &self.cast, &self.gone) == (&other.steps, &other.cast, &other.gone)
    }

    /// A cycle of plug and unplug begins, which ends where the next does.
    pub fn cycle(&mut self) {
        self.begins.push(self.steps.len());
    }

    /// The cycles, in order; all of the script is one where it does not say where one begins.
    pub fn cycles(&self) -> Vec<Stretch> {
        let begins = match &self.begins[..] {
            [] => &[0],
            begins => begins,
        };
        let ends = begins.iter().skip(1).copied().chain([self.steps.len()]);
        let ranges = begins.iter().zip(ends);
        ranges
            .map(|(begin, end)| self.stretch(*begin..end))
            .collect()
    }

    fn stretch(&self, range: Range<usize>) -> Stretch {
        let mut stretch = Stretch {
            made: Vec::new(),
            unplugged: Vec::new(),
            steps: range.clone(),
        };
        let mut devices = Vec::new();
        for step in &self.steps[range] {
            match *step {
                Step::Make(id, kind) | Step::Init(id, kind) => {
                    stretch.made.push(id);
                    if kind == Kind::Device {
                        devices.push(id);
                    }
                }
                Step::Region { region, .. } => stretch.made.push(region),
                Step::Unparent(id) | Step::Drop(id)
                    if devices.contains(&id) && !stretch.unplugged.contains(&id) =>
                {
                    stretch.unplugged.push(id);
                }
                _ => {}
            }
        }
        stretch
    }

    /// How many address spaces, mappings and transfers its steps name.
    pub const fn handles(&self) -> (u8, u8, u8) {
        (self.spaces, self.maps, self.pins)
    }

    fn id(&mut self, name: &'static str) -> Id {
        let id = Id(self.objects);
        self.cast.names[id.index()] = name;
        self.objects += 1;
        id
    }

    fn then(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// A device that has no parent yet; the user has a handle.
    pub fn device(&mut self, name: &'static str) -> Id {
        let id = self.id(name);
        self.then(Step::Make(id, Kind::Device));
        id
    }

    /// A device whose init is running until [`Script::init_done`].
    pub fn device_in_init(&mut self, name: &'static str) -> Id {
        let id = self.id(name);
        self.then(Step::Init(id, Kind::Device));
        id
    }

    /// Its init is over.
    pub fn init_done(&mut self, id: Id) {
        self.then(Step::InitDone(id));
    }

    /// A device in the machine's tree, realized.
    pub fn plugged(&mut self, name: &'static str) -> Id {
        let id = self.device(name);
        self.plug(id, Id::MACHINE);
        id
    }

    /// A device below another, realized.
    pub fn plugged_into(&mut self, name: &'static str, parent: Id) -> Id {
        let id = self.device(name);
        self.plug(id, parent);
        id
    }

    /// An object that is no device, as a child.
    pub fn plain(&mut self, name: &'static str, parent: Id) -> Id {
        let id = self.id(name);
        self.then(Step::Make(id, Kind::Plain));
        self.plug(id, parent);
        id
    }

    /// Puts an object into the tree.
    pub fn plug(&mut self, object: Id, parent: Id) {
        self.then(Step::Plug { object, parent });
    }

    fn region(&mut self, name: &'static str, kind: Kind, parent: Id, owner: Id, storage: Id) -> Id {
        let region = self.id(name);
        self.then(Step::Region {
            region,
            kind,
            parent,
            owner,
            storage,
        });
        region
    }

    /// A container of the machine's own: system memory.
    pub fn system(&mut self, name: &'static str) -> Id {
        self.region(name, Kind::Container, Id::MACHINE, Id::MACHINE, Id::NONE)
    }

    /// A leaf of the machine's own: the guest's RAM.
    pub fn ram(&mut self, name: &'static str) -> Id {
        self.region(name, Kind::Leaf, Id::MACHINE, Id::MACHINE, Id::NONE)
    }

    /// A container inside its owner.
    pub fn container(&mut self, name: &'static str, owner: Id) -> Id {
        self.region(name, Kind::Container, owner, owner, owner)
    }

    /// System memory, and the machine's address space that shows it until the end.
    pub fn shown_system(&mut self, name: &'static str) -> Id {
        let system = self.system(name);
        self.open(system, Id::MACHINE, At::Completion);
        system
    }

    /// A region with bytes or callbacks, inside its owner.
    pub fn leaf(&mut self, name: &'static str, owner: Id) -> Id {
        self.region(name, Kind::Leaf, owner, owner, owner)
    }

    /// A region that nobody owns, in the storage of an object.
    pub fn ownerless(&mut self, name: &'static str, storage: Id) -> Id {
        self.region(name, Kind::Leaf, Id::NONE, Id::NONE, storage)
    }

    /// A child with an allocation of its own that is its own owner.
    pub fn own_owner(&mut self, name: &'static str, parent: Id) -> Id {
        let region = Id(self.objects);
        self.region(name, Kind::Leaf, parent, region, Id::NONE)
    }

    /// A region joins a container.
    pub fn nest(&mut self, sub: Id, container: Id) {
        self.then(Step::Nest { sub, container });
    }

    /// A region leaves a container.
    pub fn detach(&mut self, sub: Id, container: Id) {
        self.then(Step::Detach { sub, container });
    }

    /// A leaf becomes a window on another region.
    pub fn alias(&mut self, alias: Id, target: Id) {
        self.then(Step::Alias { alias, target });
    }

    /// An address space in a name, and who closes it.
    pub fn open(&mut self, root: Id, holder: Id, release: At) -> u8 {
        let space = self.spaces;
        self.spaces += 1;
        self.then(Step::Open {
            space,
            root,
            holder,
            release,
        });
        space
    }

    /// The user closes an address space.
    pub fn close(&mut self, space: u8) {
        self.then(Step::Close(space));
    }

    /// The address space's end is queued on its node once more.
    pub fn free_node(&mut self, space: u8) {
        self.then(Step::FreeNode(space));
    }

    /// A listener that refers to sections.
    pub fn listen(&mut self, space: u8) {
        self.then(Step::Listen(space));
    }

    /// It leaves.
    pub fn unlisten(&mut self, space: u8) {
        self.then(Step::Unlisten(space));
    }

    /// A mapping in a name, and who closes it.
    pub fn map(&mut self, region: Id, holder: Id, release: At) -> u8 {
        let map = self.maps;
        self.maps += 1;
        self.then(Step::Map {
            map,
            region,
            holder,
            release,
        });
        map
    }

    /// A completion, or the user, closes a mapping.
    pub fn unmap(&mut self, map: u8) {
        self.then(Step::Unmap(map));
    }

    /// A completion comes for a mapping that waits for one.
    pub fn unmap_if_completion(&mut self, map: u8, release: At) {
        if release == At::Completion {
            self.unmap(map);
        }
    }

    /// A transfer begins, in somebody's name.
    pub fn pin(&mut self, region: Id, holder: Id) -> u8 {
        let pin = self.pins;
        self.pins += 1;
        self.then(Step::Pin {
            pin,
            region,
            holder,
        });
        pin
    }

    /// It completes.
    pub fn complete(&mut self, pin: u8) {
        self.then(Step::Complete(pin));
    }

    /// A strong link.
    pub fn link(&mut self, from: Id, to: Id) {
        let link = self.links;
        self.links += 1;
        self.then(Step::Link(link, from, to));
    }

    /// The hook takes a region out of a container.
    pub fn detaches_in(&mut self, hook: Hook, device: Id, sub: Id, container: Id) {
        self.then(Step::detach_in(hook, device, sub, container));
    }

    /// The hook unparents an object.
    pub fn unparents_in(&mut self, hook: Hook, device: Id, object: Id) {
        self.then(Step::Arm(Armed {
            object: device,
            hook,
            action: Action::Unparent(object),
        }));
    }

    /// The hook panics.
    pub fn panics_in(&mut self, hook: Hook, device: Id) {
        self.then(Step::panic_in(hook, device));
    }

    /// A device, or any object, is unparented.
    pub fn unplug(&mut self, id: Id) {
        self.then(Step::Unparent(id));
    }

    /// A plain owner's region is unparented by its author, where the policy asks for that.
    pub fn unparent_as_asked(&mut self, region: Id) {
        self.then(Step::UnparentAsAsked(region));
    }

    /// A region is given another parent.
    pub fn reparent(&mut self, region: Id, to: Id) {
        self.then(Step::Reparent { region, to });
    }

    /// The user takes another handle, and keeps it over an unplug.
    pub fn take(&mut self, id: Id) {
        self.then(Step::Take(id));
    }

    /// The user drops the handle.
    pub fn drop(&mut self, id: Id) {
        self.then(Step::Drop(id));
    }

    /// Readers leave; grace periods end, until nothing is retired.
    pub fn grace(&mut self) {
        self.then(Step::Grace);
        self.then(Step::Grace);
    }

    /// At the end these must be finalized.
    pub fn expect_gone(&mut self, ids: &[Id]) {
        self.gone.extend_from_slice(ids);
    }
}
