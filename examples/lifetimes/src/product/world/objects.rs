//! The steps of objects: made, put into the tree and taken out of it, held, linked.

use super::{Taken, World, refused};
use crate::product::actors::{Card, Part, Thing};
use crate::product::stage::Actor;
use crate::state::{Id, Kind};
use crate::step::{Outcome, Step};
use qdev::DeviceOps;
use qom::layer::create_with;
use qom::{ObjectImpl, ObjectOps, Ref, RootObject};

impl World {
    pub(super) fn enter_stage(&self, id: Id, object: &qom::Object) {
        let name = self.stage.name(id);
        self.stage.set().actors[id.index()] = Some(Actor::new(&name, object));
    }

    pub(super) fn make(&mut self, id: Id, kind: Kind, rest: &[Step]) {
        let handle = if kind == Kind::Device {
            self.create(id, rest, |cx, part| Card {
                device: cx.parent(),
                part,
            })
        } else {
            self.create(id, rest, |cx, part| Thing {
                object: cx.parent(),
                part,
            })
        };
        self.handles[id.index()].push(handle);
    }

    /// Makes an object; what the scenario has in its init is played there.
    pub(super) fn create<T: ObjectImpl>(
        &mut self,
        id: Id,
        rest: &[Step],
        assemble: impl FnOnce(&mut qom::Init<'_>, Part) -> T,
    ) -> Ref<RootObject> {
        let machine = self.machine.handle().clone();
        let made = create_with(&machine, None, |cx| {
            self.enter_stage(id, cx.object());
            let part = Part::new(id, &self.stage);
            let instance = assemble(cx, part);
            if let [Step::Init(..), inside @ ..] = rest {
                for (at, step) in inside.iter().enumerate() {
                    if *step == Step::InitDone(id) {
                        break;
                    }
                    self.take(*step, &inside[at..]);
                }
            }
            instance
        });
        let made = made.expect("an open machine makes objects");
        made.cast::<RootObject>()
            .expect("every type inherits from the root")
    }

    pub(super) fn plug(&mut self, id: Id, parent: Id) -> Taken {
        let (Some(object), Some(parent)) = (self.pointer(id), self.pointer(parent)) else {
            return Ok(Outcome::Nothing);
        };
        let gone = |gone| refused(qom::TreeError::from(gone));
        let (object, parent) = (object.map_err(gone)?, parent.map_err(gone)?);
        let mut name = self.stage.name(id);
        // A second parent is what is asked for, not a second name.
        if parent.child_named::<RootObject>(&name).is_some() {
            name += "[*]";
        }
        parent.add_child(&name, &object).map_err(refused)?;
        if object.instance::<Card>().is_some() {
            object.realize().map_err(refused)?;
        }
        let _ = self.drop_handle(id);
        Ok(Outcome::Done)
    }

    pub(super) fn unparent(&self, id: Id) -> Taken {
        let Some(Ok(object)) = self.pointer(id) else {
            return Ok(Outcome::Nothing);
        };
        if !object.counts().is_parented() {
            return Ok(Outcome::Nothing);
        }
        object.unparent().map_err(refused)?;
        self.finish_withdrawal(id);
        Ok(Outcome::Done)
    }

    pub(super) fn reparent(&self, id: Id, to: Id) -> Taken {
        let (Some(Ok(object)), Some(Ok(to))) = (self.pointer(id), self.pointer(to)) else {
            return Ok(Outcome::Nothing);
        };
        let name = self.stage.name(id);
        to.add_child(&name, &object).map_err(refused)?;
        Ok(Outcome::Done)
    }

    pub(super) fn take_handle(&mut self, id: Id) -> Taken {
        let gone = |gone| refused(qom::TreeError::from(gone));
        let Some(object) = self.pointer(id) else {
            return Ok(Outcome::Nothing);
        };
        let object = object.map_err(gone)?;
        let root = object.instance::<RootObject>().expect("it is complete");
        let handle = qom::ObjectType::this(root).get().map_err(gone)?;
        self.handles[id.index()].push(handle);
        Ok(Outcome::Done)
    }

    pub(super) fn drop_handle(&mut self, id: Id) -> Outcome {
        let Some(handle) = self.handles[id.index()].pop() else {
            return Outcome::Nothing;
        };
        drop(handle);
        self.finish_withdrawal(id);
        Outcome::Done
    }

    pub(super) fn link(&self, link: u8, from: Id, to: Id) -> Taken {
        let (Some(source), Some(target)) = (self.pointer(from), self.pointer(to)) else {
            return Ok(Outcome::Nothing);
        };
        let gone = |gone| refused(qom::TreeError::from(gone));
        let (source, target) = (source.map_err(gone)?, target.map_err(gone)?);
        source
            .set_link(&format!("link{link}"), &target)
            .map_err(refused)?;
        self.stage.set().links[usize::from(link)] = Some((from, to));
        Ok(Outcome::Done)
    }

    pub(super) fn unlink(&self, link: u8) -> Taken {
        let linked = self.stage.set().links[usize::from(link)].take();
        let Some(Ok(source)) = linked.and_then(|(from, _)| self.pointer(from)) else {
            return Ok(Outcome::Nothing);
        };
        // A withdrawal has cut it.
        if source.is_withdrawn() {
            return Ok(Outcome::Nothing);
        }
        source.clear_link(&format!("link{link}")).map_err(refused)?;
        Ok(Outcome::Done)
    }
}
