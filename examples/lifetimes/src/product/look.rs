//! What is seen of a world between two steps: who is finalized, what shows, what is open; and whether anything finalized can still be used.

use super::stage::{Happened, Stage, Wrong};
use super::world::World;
use crate::state::{Id, State};
use memory::{Attrs, Gpa, Region};
use qom::Object;

/// What both a world and a [`State`] have to show for themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Who is finalized.
    pub(crate) finalized: u16,
    /// Who is withdrawn, and not finalized.
    pub(crate) withdrawn: u16,
    /// Which leaves each address space shows.
    pub(crate) views: [u16; crate::state::SPACES],
    /// Which address spaces are open.
    pub(crate) spaces: u8,
    /// Which mappings are.
    pub(crate) maps: u8,
    /// Which transfers are in flight.
    pub(crate) pins: u8,
}

impl Seen {
    /// Of a modelled machine.
    pub(crate) fn of_state(state: &State) -> Self {
        use crate::state::flag;
        let mut seen = Self::default();
        for id in State::ids() {
            let object = state.object(id);
            if object.is(flag::FINALIZED) {
                seen.finalized |= id.bit();
            } else if object.is(flag::WITHDRAWN) {
                seen.withdrawn |= id.bit();
            }
        }
        for (at, space) in state.spaces.iter().enumerate() {
            if space.open {
                seen.spaces |= 1 << at;
                seen.views[at] = space.view;
            }
        }
        seen.maps = bits(state.maps.iter().map(crate::state::Mapping::is_open));
        seen.pins = bits(state.pins.iter().map(|pin| pin.is_object()));
        seen
    }

    /// Of a real one. Whatever can be got at is read; what is finalized, or reads otherwise than it was written, is noted as a wrong.
    pub(crate) fn of_world(world: &World) -> Self {
        let stage = &world.stage;
        let mut seen = Self::default();
        let (actors, spaces, maps) = {
            let set = stage.set();
            (set.actors.clone(), set.spaces.clone(), set.maps.clone())
        };
        for (id, actor) in State::ids().zip(&actors) {
            let Some(actor) = actor else { continue };
            if actor.finalized {
                seen.finalized |= id.bit();
            } else if actor.pointer().is_ok_and(|object| object.is_withdrawn()) {
                seen.withdrawn |= id.bit();
            }
        }
        for (at, opened) in spaces.iter().enumerate() {
            let Some(opened) = opened.as_ref().filter(|opened| !opened.space.is_closed()) else {
                continue;
            };
            seen.spaces |= 1 << at;
            let guard = opened.space.enter();
            for (range, leaf) in guard.view().ranges() {
                let Some(id) = leaf.region().and_then(|region| stage.id_of(region.id())) else {
                    wrong(stage, "a view shows somebody who is not in the scenario");
                    continue;
                };
                seen.views[at] |= id.bit();
                let read = guard.load::<u32>(Gpa(range.span.first()), Attrs::default());
                check(stage, id, leaf.region(), "shown by a view", read.ok());
            }
        }
        for (at, mapped) in maps.iter().enumerate() {
            let Some(mapped) = mapped.as_ref().filter(|mapped| mapped.mapping.is_open()) else {
                continue;
            };
            seen.maps |= 1 << at;
            // A transfer of a moment.
            let pin = mapped.mapping.pin(0, 8).ok();
            let read = pin.and_then(|pin| pin.bytes().load_u32(0));
            check(stage, mapped.region, None, "mapped", read);
        }
        let set = stage.set();
        let read: Vec<(Id, Option<u32>)> = set
            .pins
            .iter()
            .flatten()
            .map(|(pin, id)| (*id, pin.bytes().load_u32(0)))
            .collect();
        seen.pins = bits(set.pins.iter().map(Option::is_some));
        drop(set);
        for (id, read) in read {
            check(stage, id, None, "in flight", read);
        }
        seen
    }
}

fn bits(all: impl Iterator<Item = bool>) -> u8 {
    all.enumerate()
        .fold(0, |bits, (at, on)| bits | u8::from(on) << at)
}

fn wrong(stage: &Stage, what: &str) {
    stage.note(Happened::Wrong(Wrong::UseAfterFinalize, what.into()));
}

/// Whoever can be got at is there, with the bytes that were written.
fn check(stage: &Stage, id: Id, region: Option<&Object>, how: &str, read: Option<u32>) {
    let is_finalized = stage.is_finalized(id)
        || region.is_some_and(|region| region.is_finalized() || owner_is_finalized(region));
    if is_finalized {
        wrong(stage, &format!("{} is finalized and {how}", stage.name(id)));
    } else if stage.is_without_bytes(id) {
        wrong(
            stage,
            &format!("{} is {how} and has given its bytes back", stage.name(id)),
        );
    } else if read != Some(super::world::tag(id)) {
        wrong(
            stage,
            &format!("{} is {how} and reads as {read:x?}", stage.name(id)),
        );
    }
}

fn owner_is_finalized(region: &Object) -> bool {
    region
        .instance::<Region>()
        .is_some_and(|region| region.owner().is_finalized())
}
