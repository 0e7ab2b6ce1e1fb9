//! Threads that plug devices, change them and unplug them, in every order there is. Each has slots of its own.

use memory::{Offset, Priority, Region, RegionApi, RegionError, Size, transaction};
use qdev::{DeviceOps, RealizeError};
use qom::{Child, Container, ObjectOps, Ref, Ticket, TreeError, WeakRef};

use super::board::{Board, LONG};
use super::card::{Card, Wiring, gone_with, register};
use super::tally::Op;
use super::words::{ALIAS_BYTES, ALIAS_OFFSET, BLOBS, Place, SLOTS, alias_at, slot_at};
use super::world::TAKEN_OUT;
use crate::random::Random;

type Failure = Box<dyn std::error::Error>;

/// A device that is plugged.
struct Plugged {
    card: WeakRef<Card>,
    /// None: only the tree keeps it.
    kept: Option<Ref<Card>>,
    /// What it hangs below, where that goes with it.
    bus: Option<Ref<Container>>,
    has_parent: bool,
    alias: Option<Child<Region>>,
    generation: u32,
}

struct Thread<'b> {
    board: &'b Board,
    random: Random,
}

/// Runs until the board stops, on each `step`th slot from `first` on. Leaves what is plugged then to the machine's end.
pub fn run(board: &Board, seed: u64, first: u8, step: u8) {
    let mut thread = Thread {
        board,
        random: Random::new(seed),
    };
    let mut slots: Vec<(u8, Option<Plugged>)> = (first..SLOTS)
        .step_by(step.into())
        .map(|slot| (slot, None))
        .collect();
    while !board.is_stopping() {
        let at = thread.random.index(slots.len());
        let (slot, state) = &mut slots[at];
        match state.take() {
            None => *state = thread.try_plug(*slot),
            Some(plugged) if thread.random.chance(15) => thread.unplug(*slot, plugged),
            Some(plugged) => {
                thread.change(*slot, &plugged);
                *state = Some(plugged);
            }
        }
    }
}

impl Thread<'_> {
    fn did(&self, op: Op) {
        self.board.tally().did(op);
    }

    fn try_plug(&mut self, slot: u8) -> Option<Plugged> {
        match self.plug(slot) {
            Ok(plugged) => plugged,
            Err(error) => {
                // A reader may have had the device unplug itself already.
                let withdrawn = is_withdrawn(&*error);
                if !withdrawn {
                    self.board.world.failed("plugging a device", error);
                }
                None
            }
        }
    }

    fn plug(&mut self, slot: u8) -> Result<Option<Plugged>, Failure> {
        let board = self.board;
        let generation = board.world.fresh(Place::card(slot));
        let card: Ref<Card> = board.machine.create()?;
        let plugged = self.plug_card(slot, generation, &card);
        if plugged.is_err()
            && let Ok(ticket) = ObjectOps::unparent(&card)
        {
            // A reader that has unplugged it meanwhile may still be at it: the slot is used again once that is through.
            let _ = ticket.wait(LONG);
        }
        // A device without a parent goes with this handle, unless it is kept.
        let mut plugged = plugged?;
        if let Some(plugged) = &mut plugged
            && (self.random.chance(50) || !plugged.has_parent)
        {
            plugged.kept = Some(card);
        }
        Ok(plugged)
    }

    fn plug_card(
        &mut self,
        slot: u8,
        generation: u32,
        card: &Ref<Card>,
    ) -> Result<Option<Plugged>, Failure> {
        let board = self.board;
        let fails = self.random.chance(8);
        card.wire(Wiring {
            slot,
            generation,
            fails,
            world: board.world.clone(),
            space: board.space.clone(),
            system: board.system.clone(),
        })?;
        let name = format!("card-{slot}-{generation}");
        if fails {
            self.fail(slot, &name, card, generation)?;
            return Ok(None);
        }
        let at = Offset(slot_at(slot, self.random.below(2)));
        let mut plugged = Plugged {
            card: card.downgrade(),
            kept: None,
            bus: None,
            has_parent: true,
            alias: None,
            generation,
        };
        let outcome = match self.random.below(5) {
            0 => {
                board.system.add_subregion(at, card.bar(), Priority(0))?;
                plugged.has_parent = false;
                Ok(())
            }
            1 => {
                let bus = board.machine.create::<Container>()?;
                board
                    .root
                    .add_child(&format!("bus-{slot}-{generation}"), &bus)?;
                bus.add_child(&name, card)?;
                plugged.bus = Some(bus);
                card.realize()?;
                board
                    .system
                    .add_subregion(at, card.bar(), Priority(0))
                    .map_err(Failure::from)
            }
            // Its home is found by realize.
            2 => {
                card.realize()?;
                board
                    .system
                    .add_subregion(at, card.bar(), Priority(0))
                    .map_err(Failure::from)
            }
            3 => {
                board.root.add_child(&name, card)?;
                board.system.add_subregion(at, card.bar(), Priority(0))?;
                match card.realize() {
                    Err(RealizeError::Withdrawn { .. }) => Ok(()),
                    other => other.map_err(Failure::from),
                }
            }
            _ => {
                board.root.add_child(&name, card)?;
                card.realize()?;
                board
                    .system
                    .add_subregion(at, card.bar(), Priority(0))
                    .map_err(Failure::from)
            }
        };
        outcome?;
        self.did(Op::Plug);
        if let Some(ram) = card.ram().filter(|_| self.random.chance(60)) {
            let made = Region::alias(
                &format!("alias-{slot}"),
                ram,
                Offset(ALIAS_OFFSET),
                Size::new(ALIAS_BYTES),
            )
            .create(&board.root);
            let alias = match made {
                Ok(alias) => Some(alias),
                Err(RegionError::Withdrawn { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            if let Some(alias) = &alias {
                let at = Offset(alias_at(slot));
                board.system.add_subregion(at, alias, Priority(0))?;
            }
            plugged.alias = alias;
        }
        Ok(Some(plugged))
    }

    /// A realize that fails leaves no trace, but for the parent that the device was given before.
    fn fail(
        &mut self,
        slot: u8,
        name: &str,
        card: &Ref<Card>,
        generation: u32,
    ) -> Result<(), Failure> {
        let board = self.board;
        let has_parent = self.random.chance(50);
        if has_parent {
            board.root.add_child(name, card)?;
        }
        let outcome = card.realize();
        let tally = board.tally();
        let refused = matches!(outcome, Err(RealizeError::Failed { .. })) && !card.is_realized();
        if !refused && !board.world.is_closing() && card.downgrade().get().is_ok() {
            tally.violation(format_args!("a realize that had to fail: {outcome:?}"));
        }
        let opened = card.opened();
        if !board.world.is_closing() {
            tally.check(opened.is_empty(), || {
                format!("{opened:?} after a failed realize")
            });
            tally.check(
                has_parent == card.path().is_some() || card.downgrade().get().is_err(),
                || "a failed realize changed the parent".into(),
            );
        }
        // It may have been reached meanwhile.
        let gone = gone_with(&board.world, slot, generation);
        for &(place, generation) in &gone {
            board.world.bury_all(place, generation, TAKEN_OUT);
        }
        board.check_hole(slot);
        if has_parent {
            ObjectOps::unparent(card)?;
            for (place, generation) in gone {
                board
                    .world
                    .bury(place, generation, "unparented after a realize that failed");
            }
        }
        self.did(Op::RealizeFailed);
        Ok(())
    }

    fn change(&mut self, slot: u8, plugged: &Plugged) {
        let Ok(card) = plugged.card.get() else { return };
        let outcome = self.change_one(slot, plugged, &card);
        if let Err(error) = outcome
            && !is_withdrawn(&*error)
        {
            self.board.world.failed("a change", error);
        }
    }

    fn change_one(&mut self, slot: u8, plugged: &Plugged, card: &Card) -> Result<(), Failure> {
        let bar = card.bar();
        let (a, b) = (self.random.next(), self.random.below(2));
        let on = a & 1 == 0;
        let Some(ram) = card.ram() else { return Ok(()) };
        let priority = Priority(i32::from(self.random.byte()) - 128);
        match self.random.below(12) {
            0 => bar.set_enabled(a & 7 != 0)?,
            1 => ram.set_enabled(a & 3 != 0)?,
            2 => bar.set_address(Offset(slot_at(slot, b)))?,
            3 => ram.set_readonly(on)?,
            4 => bar.set_priority(priority)?,
            5 => ram.set_unmergeable(on)?,
            6 => {
                if let Some(alias) = &plugged.alias {
                    alias.set_enabled(on)?;
                }
            }
            7 | 8 => {
                let which = u8::try_from(self.random.below(BLOBS.into()))?;
                let taken = card.blobs().iter().any(|b| {
                    b.path()
                        .is_some_and(|p| p.contains(&format!("/blob-{which}-")))
                });
                if !taken {
                    card.add_blob(which)?;
                    self.did(Op::Blob);
                }
            }
            9 => {
                if let Some(blob) = card.blobs().first().and_then(|b| b.get().ok()) {
                    blob.withdraw(on);
                }
            }
            10 => {
                self.did(Op::Transaction);
                transaction(&self.board.machine, |_| {
                    bar.set_enabled(false)?;
                    ram.set_readonly(on)?;
                    bar.set_address(Offset(slot_at(slot, b)))?;
                    bar.set_enabled(true)
                })??;
            }
            _ if plugged.has_parent => {
                card.handle().unrealize()?;
                card.handle().realize()?;
                // The devices that tidy up are put back.
                match self
                    .board
                    .system
                    .add_subregion(Offset(slot_at(slot, b)), bar, Priority(0))
                {
                    Ok(()) | Err(RegionError::InContainer { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                self.did(Op::Unrealize);
            }
            _ => {}
        }
        self.did(Op::Change);
        Ok(())
    }

    fn unplug(&mut self, slot: u8, plugged: Plugged) {
        let Plugged {
            card,
            mut kept,
            bus,
            has_parent,
            alias,
            generation,
        } = plugged;
        let board = self.board;
        let gone = gone_with(&board.world, slot, generation);
        let alias_first = self.random.chance(30);
        if alias_first {
            self.drop_alias(alias.as_ref());
        }
        let how = match (&bus, &kept) {
            (Some(_), _) => "unplugged with its bus",
            (None, Some(_)) if !has_parent => "unplugged by its last handle",
            _ => "unplugged",
        };
        let outcome = match (&bus, kept.take()) {
            (Some(bus), handle) => {
                self.did(Op::UnplugBus);
                kept = handle;
                ObjectOps::unparent(bus).map(Some)
            }
            (None, Some(handle)) if !has_parent => {
                self.did(Op::UnplugHandle);
                drop(handle);
                Ok(None)
            }
            (None, handle) => {
                kept = handle;
                self.unparent(slot, &card)
            }
        };
        match outcome {
            // A device that a reader has unplugged is on its way: that thread may still be at it.
            Ok(Some(ticket)) if !ticket.is_done() => {
                if let Err(error) = ticket.wait(LONG) {
                    board.world.failed("waiting for an unplug", error);
                }
            }
            Ok(_) | Err(TreeError::Gone(_)) => {}
            Err(error) => return board.world.failed("unparent", error),
        }
        for (place, generation) in gone {
            board.world.bury_all(place, generation, how);
        }
        board.check_hole(slot);
        if !alias_first {
            self.drop_alias(alias.as_ref());
        }
        self.did(Op::Unplug);
        if self.random.chance(50) {
            kept = None;
        }
        if kept.is_none() && self.random.chance(20) {
            if let Err(error) = board.machine.wait_finalized(&card, LONG) {
                board.world.failed("waiting for a finalization", error);
            }
            self.did(Op::WaitedFinal);
        }
        drop(kept);
    }

    /// In one of the places where it may be called. Where it returns, nothing is reached any more.
    fn unparent(&mut self, slot: u8, card: &WeakRef<Card>) -> Result<Option<Ticket>, TreeError> {
        let board = self.board;
        let ours = card.get().is_ok();
        match self.random.below(6) {
            0 => {
                self.did(Op::UnplugAsync);
                let ticket = card.unparent_async()?;
                if ours {
                    board.check_hole(slot);
                }
                Ok(Some(ticket))
            }
            1 => {
                self.did(Op::UnplugGuard);
                let guard = board.space.enter();
                let ticket = card.unparent()?;
                if ours {
                    board.check_hole(slot);
                }
                drop(guard);
                Ok(Some(ticket))
            }
            2 => {
                self.did(Op::UnplugTransaction);
                let done = transaction(&board.machine, |_| card.unparent());
                match done {
                    Ok(ticket) => ticket.map(Some),
                    Err(error) => {
                        board.world.failed("a transaction", error);
                        card.unparent().map(Some)
                    }
                }
            }
            3 => {
                if let Ok(card) = card.get() {
                    let _ = card.handle().unrealize();
                }
                card.unparent().map(Some)
            }
            4 => {
                for spot in 0..2 {
                    let at = memory::Gpa(slot_at(slot, spot) + register::UNPLUG);
                    let _ = board.space.store::<u64>(at, 0, memory::Attrs::default());
                }
                card.unparent().map(Some)
            }
            _ => card.unparent().map(Some),
        }
    }

    fn drop_alias(&self, alias: Option<&Child<Region>>) {
        if let Some(Err(error)) = alias.map(ObjectOps::unparent) {
            self.board.world.failed("unparent of an alias", error);
        }
    }
}

/// Whether an error only says that somebody was faster in withdrawing.
fn is_withdrawn(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let here = matches!(
            error.downcast_ref::<RegionError>(),
            Some(RegionError::Withdrawn { .. } | RegionError::Gone(_))
        ) || matches!(
            error.downcast_ref::<TreeError>(),
            Some(
                TreeError::ParentWithdrawn { .. }
                    | TreeError::ChildWithdrawn { .. }
                    | TreeError::Gone(_)
            )
        ) || matches!(
            error.downcast_ref::<RealizeError>(),
            Some(RealizeError::Withdrawn { .. } | RealizeError::Gone(_))
        ) || error.is::<qom::Gone>();
        if here || error.to_string().contains("is withdrawn") {
            return true;
        }
        next = error.source();
    }
    false
}
