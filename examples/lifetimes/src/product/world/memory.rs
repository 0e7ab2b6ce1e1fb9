//! The steps of regions, address spaces, mappings and transfers.

use super::{PAGE, Taken, World, offset_of, refused, tag};
use crate::product::actors::{ForCard, ForItself};
use crate::product::refusal::Typed;
use crate::product::sections::Sections;
use crate::product::stage::{Actor, Happened, Mapped, Opened, Wrong, region};
use crate::run::Event;
use crate::state::{Id, Kind, Mapping, Release};
use crate::step::Outcome;
use ::memory::{
    AddressSpace, Attrs, Backing, Gpa, Intent, MapError, Offset, Priority, Region, RegionApi,
    RegionError, Size,
};
use qom::Object;
use qom::layer::{Pointer, Target};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where in the guest's RAM its descriptor is: behind the word that says whose bytes they are.
const DESCRIPTOR: u64 = 8;

impl World {
    pub(super) fn make_region(&self, id: Id, kind: Kind, parent: Id, owner: Id) -> Taken {
        if self.later.contains(&id) {
            self.stage.set().owners[id.index()] = Some(owner);
            return Ok(Outcome::Done);
        }
        let name = self.stage.name(id);
        if owner == Id::NONE {
            // A region without an owner, whose callbacks are the device's that it lies in.
            let made = Region::io(&name, Size::new(PAGE), ForCard)
                .create_unattached(self.machine.handle());
            return made.map(|_| Outcome::Done).map_err(refused);
        }
        let Some(parent) = self.pointer(parent) else {
            return Ok(Outcome::Nothing);
        };
        let parent = parent.map_err(RegionError::from).map_err(refused)?;
        if owner == id {
            let made = Region::io(&name, Size::new(PAGE), ForItself).create(&parent);
            return made.map(|_| Outcome::Done).map_err(refused);
        }
        let (builder, bytes) = if kind == Kind::Container {
            (Region::container(&name, Size::MAX), None)
        } else {
            // The machine's own stay, and are no part of what a scenario may leave.
            let bytes = match owner {
                Id::MACHINE => Backing::anonymous(PAGE),
                _ => Backing::anonymous_in(PAGE, &self.bytes),
            };
            let bytes = bytes.expect("a page of memory");
            let stored = bytes.bytes().write(0, &tag(id).to_le_bytes());
            debug_assert!(stored.is_ok());
            (Region::ram(&name, bytes.clone()), Some(bytes))
        };
        let made = builder.create(&parent).map_err(refused)?;
        let object = made.pointer().map_err(RegionError::from).map_err(refused)?;
        let actor = Actor::new(&name, &object);
        if let Some(bytes) = bytes {
            let gone = actor.bytes_gone.clone();
            // ORDERING: Release: whoever sees it sees that the bytes are gone.
            bytes.on_drop(move || gone.store(true, Ordering::Release));
        }
        let mut set = self.stage.set();
        set.actors[id.index()] = Some(actor);
        set.owners[id.index()] = Some(owner);
        Ok(Outcome::Done)
    }

    pub(super) fn nest(&self, id: Id, container: Id) -> Taken {
        let (Some(sub), Some(container)) = (self.stage.actor(id), self.stage.actor(container))
        else {
            return Ok(Outcome::Nothing);
        };
        let gone = |gone| refused(RegionError::from(gone));
        let (sub, container) = (
            sub.shown().map_err(gone)?,
            container.pointer().map_err(gone)?,
        );
        let joined = region(&sub).and_then(|sub| {
            region(&container)?.add_subregion(offset_of(id, sub), sub, Priority(0))
        });
        joined.map_err(refused)?;
        Ok(Outcome::Done)
    }

    pub(super) fn detach(&self, sub: Id, container: Id) -> Taken {
        let is_gone = |id: Id| {
            let object = self.stage.actor(id)?.pointer().ok();
            Some(object.is_none_or(|object| object.is_withdrawn()))
        };
        let (Some(sub_gone), Some(_)) = (is_gone(sub), is_gone(container)) else {
            return Ok(Outcome::Nothing);
        };
        self.stage.detach(container, sub).map_err(refused)?;
        // Taking out what a withdrawal took out is done already.
        Ok(if sub_gone {
            Outcome::Nothing
        } else {
            Outcome::Done
        })
    }

    /// The product's aliases are made with their target. A leaf that has been used becomes one by giving its place to an alias
    /// beside it, of the same owner.
    pub(super) fn alias(&self, id: Id, target: Id) -> Taken {
        let (owner, is_new) = (
            self.stage.set().owners[id.index()],
            self.later.contains(&id),
        );
        let Some(owner) = owner else {
            return Ok(Outcome::Nothing);
        };
        let (Some(owner_object), Some(target)) = (self.pointer(owner), self.stage.actor(target))
        else {
            return Ok(Outcome::Nothing);
        };
        let gone = |gone| refused(RegionError::from(gone));
        let (owner_object, target) = (owner_object.map_err(gone)?, target.pointer().map_err(gone)?);
        let name = self.stage.name(id);
        let window = region(&target)
            .and_then(|target| {
                Region::alias(&name, target, Offset(0), Size::new(PAGE)).create(&owner_object)
            })
            .map_err(refused)?;
        let window = window.pointer().map_err(gone)?;
        if is_new {
            self.enter_stage(id, &window);
            return Ok(Outcome::Done);
        }
        self.exchange(id, &window).map_err(refused)?;
        Ok(Outcome::Done)
    }

    /// The window takes the leaf's place.
    fn exchange(&self, id: Id, window: &Pointer) -> Result<(), RegionError> {
        let Some(actor) = self.stage.actor(id) else {
            return Ok(());
        };
        let (leaf, window_region) = (actor.pointer()?, region(window)?);
        let leaf = region(&leaf)?;
        ::memory::transaction(self.machine.handle(), |_| {
            if let Some(container) = leaf.contained_in()? {
                container.del_subregion(leaf)?;
                container.add_subregion(offset_of(id, leaf), window_region, Priority(0))?;
            }
            Ok::<(), RegionError>(())
        })??;
        if let Some(actor) = &mut self.stage.set().actors[id.index()] {
            actor.window = Some(qom::layer::weak(window));
        }
        Ok(())
    }

    pub(super) fn open(&self, space: u8, root: Id, holder: Id, release: Release) -> Taken {
        let (Some(root), Some(holding)) = (self.stage.actor(root), self.pointer(holder)) else {
            return Ok(Outcome::Nothing);
        };
        let gone = |gone| refused(RegionError::from(gone));
        let (root, holding) = (root.pointer().map_err(gone)?, holding.map_err(gone)?);
        let name = format!("space{space}");
        let opened = region(&root)
            .and_then(|root| AddressSpace::open(&holding, &name, root))
            .map_err(refused)?;
        // The end of one that had the number before.
        self.stage.observe();
        {
            let mut set = self.stage.set();
            set.spaces[usize::from(space)] = Some(Opened {
                space: opened,
                holder,
                release,
            });
            set.push(Happened::Did(Event::Opened { space, holder }));
        }
        self.stage.observe();
        Ok(Outcome::Done)
    }

    pub(super) fn close(&self, space: u8) -> Outcome {
        let opened = self.stage.set().spaces[usize::from(space)].clone();
        let Some(opened) = opened else {
            return Outcome::Nothing;
        };
        let was_open = !opened.space.is_closed();
        opened.space.close();
        if was_open {
            Outcome::Done
        } else {
            Outcome::Nothing
        }
    }

    pub(super) fn listen(&self, space: u8) -> Taken {
        let opened = self.stage.set().spaces[usize::from(space)].clone();
        let Some(opened) = opened.filter(|opened| !opened.space.is_closed()) else {
            return Ok(Outcome::Nothing);
        };
        let listener = Sections::new(&self.stage);
        let handle = opened
            .space
            .listen(self.machine.root(), listener)
            .map_err(refused)?;
        self.stage.set().listeners[usize::from(space)] = Some(handle);
        Ok(Outcome::Done)
    }

    pub(super) fn unlisten(&self, space: u8) -> Outcome {
        let handle = self.stage.set().listeners[usize::from(space)].take();
        match handle {
            Some(handle) => {
                handle.close();
                Outcome::Done
            }
            None => Outcome::Nothing,
        }
    }

    /// Looks at a region where the machine's address spaces show it, as a guest's descriptor would name it; one that none shows, through a space of its
    /// own, as only what is shown can be mapped.
    fn through_a_view<R>(
        &mut self,
        id: Id,
        object: &Pointer,
        holder: Id,
        look: impl FnOnce(&AddressSpace, Gpa) -> Result<R, MapError>,
    ) -> Result<R, Box<dyn Typed>> {
        if let Some((space, at)) = self.shown(object) {
            let at = self.named_by_descriptor(&space, at, holder);
            return look(&space, at).map_err(refused);
        }
        let is_quiet = self.leaves_no_trace && self.machine.counters().grace.retired_items == 0;
        let view = region(object)
            .and_then(|region| AddressSpace::open(self.machine.root(), "a look", region))
            .map_err(refused)?;
        let found = look(&view, Gpa(0));
        view.close();
        self.looked_at = Some(id);
        if is_quiet {
            self.pass();
            self.run_executor_for_disposals();
            self.looked_at = None;
        }
        found.map_err(refused)
    }

    /// The first of the machine's address spaces that shows all of a leaf, and where.
    fn shown(&self, object: &Object) -> Option<(AddressSpace, Gpa)> {
        let spaces = self.stage.set().spaces.clone();
        let mut spaces = spaces.into_iter().flatten();
        spaces.find_map(|Opened { space, holder, .. }| {
            if holder != Id::MACHINE || space.is_closed() {
                return None;
            }
            let at = place_in(&space, |shown| shown.id() == object.id());
            at.map(|at| (space, at))
        })
    }

    /// Where the guest has RAM, it writes the address that it means there, and the device reads it: both in the same address space.
    fn named_by_descriptor(&self, space: &AddressSpace, means: Gpa, device: Id) -> Gpa {
        let owners = self.stage.set().owners;
        let is_ram = |shown: &Object| {
            let id = self.stage.id_of(shown.id());
            id.is_some_and(|id| owners[id.index()] == Some(Id::MACHINE))
        };
        let Some(Gpa(ram)) = place_in(space, is_ram) else {
            return means;
        };
        let descriptor = Gpa(ram + DESCRIPTOR);
        let written = space.store(descriptor, means.0, Attrs::default());
        let read = written.and_then(|()| space.load::<u64>(descriptor, Attrs::default()));
        let named = read.expect("it is RAM");
        self.stage
            .note(Happened::Fetched(device, [descriptor.0, named]));
        Gpa(named)
    }

    fn run_executor_for_disposals(&self) {
        while self.machine.counters().grace.retired_items > 0 && self.machine.run_pending(1) > 0 {}
    }

    pub(super) fn map(&mut self, map: u8, to: Mapping) -> Taken {
        let (Some(actor), Some(holder)) = (self.stage.actor(to.region), self.pointer(to.holder))
        else {
            return Ok(Outcome::Nothing);
        };
        let gone = |gone| refused(MapError::from(gone));
        let (object, holder) = (actor.pointer().map_err(gone)?, holder.map_err(gone)?);
        let mapping = self.through_a_view(to.region, &object, to.holder, |view, at| {
            view.map(&holder, at, PAGE, Intent::ReadWrite)
        })?;
        // The end of one that had the number before.
        self.stage.observe();
        let mut set = self.stage.set();
        set.maps[usize::from(map)] = Some(Mapped {
            mapping: Arc::new(mapping),
            region: to.region,
            holder: to.holder,
            release: to.release,
        });
        let region = to.region;
        set.push(Happened::Did(Event::Mapped { map, region }));
        Ok(Outcome::Done)
    }

    pub(super) fn unmap(&self, map: u8) -> Taken {
        let mapped = self.stage.set().maps[usize::from(map)].clone();
        let Some(mapped) = mapped.filter(|mapped| mapped.mapping.is_open()) else {
            return Ok(Outcome::Nothing);
        };
        let _ = mapped.mapping.unmap_shared(0).map_err(refused)?;
        Ok(Outcome::Done)
    }

    pub(super) fn pin(&mut self, pin: u8, id: Id, holder: Id) -> Taken {
        let (Some(actor), Some(holder_object)) = (self.stage.actor(id), self.pointer(holder))
        else {
            return Ok(Outcome::Nothing);
        };
        let gone = |gone| refused(MapError::from(gone));
        let (object, holding) = (actor.pointer().map_err(gone)?, holder_object.map_err(gone)?);
        let pinned = self.through_a_view(id, &object, holder, |view, at| {
            view.pin(&holding, at, PAGE, Intent::ReadWrite)
        })?;
        self.stage.set().pins[usize::from(pin)] = Some((pinned, id));
        Ok(Outcome::Done)
    }

    pub(super) fn complete(&self, pin: u8) -> Outcome {
        let pinned = self.stage.set().pins[usize::from(pin)].take();
        match pinned {
            Some((pin, id)) => {
                if pin.bytes().load_u32(0) != Some(tag(id)) {
                    let what = format!("a transfer to {} finds other bytes", self.stage.name(id));
                    self.stage
                        .note(Happened::Wrong(Wrong::UseAfterFinalize, what));
                }
                Outcome::Done
            }
            None => Outcome::Nothing,
        }
    }
}

/// Where an address space shows all of a leaf.
fn place_in(space: &AddressSpace, is_it: impl Fn(&Object) -> bool) -> Option<Gpa> {
    let guard = space.enter();
    let view = guard.view();
    let mut whole = view.ranges().filter(|(range, leaf)| {
        range.span.size() == Size::new(PAGE) && leaf.region().is_some_and(&is_it)
    });
    whole.next().map(|(range, _)| Gpa(range.span.first()))
}
