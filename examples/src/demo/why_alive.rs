//! A device that breaks the one rule that is left to break, and how the ledger names it.
//!
//! A withdrawn region holds its owner. If the owner's own field keeps a user handle of that region, neither can go: the handle is
//! dropped with the device, which waits for the region, which waits for the handle. Nothing is freed in use, but it leaks; so the ledger
//! says who, why, and in which line of source.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memory::{Backing, Offset, Priority, Region, RegionApi, Size};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::{Child, Init, Machine, ObjectImpl, ObjectOps, Ref, WaitError};

use super::{
    failure::{DemoError, During},
    stage::Stage,
};
use crate::draw::{MapColumn, memory_map, reference_graph};

/// Where the device keeps what it should not keep; shared with the demonstration, so that this can be undone.
type Cupboard = Arc<Mutex<Option<Ref<Region>>>>;

/// The device.
pub(super) struct Hoarder {
    device: Device,
    buffer: Child<Region>,
    cupboard: Cupboard,
}

qdev::device_type! { Hoarder("demo-hoarder") { device: Device } }

impl ObjectImpl for Hoarder {
    fn init(cx: &mut Init<'_>) -> Self {
        let backing = Backing::anonymous(0x1000).expect("a page");
        let buffer = Region::ram("buffer", backing)
            .create(cx.object())
            .expect("a region of its own");
        Self {
            device: cx.parent(),
            buffer,
            cupboard: Cupboard::default(),
        }
    }
}

impl DeviceImpl for Hoarder {
    fn realize(&self, _: &RealizeContext<'_>) -> Result<(), DeviceError> {
        // The mistake: a user handle in a field. `self.buffer` is all that is needed.
        let handle = self
            .buffer
            .get()
            .map_err(|gone| DeviceError::needs("its buffer", gone))?;
        *self.cupboard.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(())
    }
}

pub(super) fn run(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    let machine = Machine::builder("why-alive").recording(true).build();
    let system = Region::container("system", Size::MAX)
        .create(machine.root())
        .during("making a root")?;
    let space =
        memory::AddressSpace::open(machine.root(), "memory", &system).during("opening it")?;
    let hoarder = machine.create::<Hoarder>().during("making the device")?;
    machine
        .root()
        .add_child("hoarder", &hoarder)
        .during("plugging it")?;
    hoarder.realize().during("realizing it")?;
    system
        .add_subregion(Offset(0x1000), &hoarder.buffer, Priority(0))
        .during("mapping its buffer")?;
    let cupboard = hoarder.cupboard.clone();
    let weak = hoarder.downgrade();
    picture(
        stage,
        &machine,
        &space,
        "before",
        "Plugged: the handle in the device's field is there already",
    )?;

    stage.say("the device is unplugged:");
    hoarder.unparent().during("unplugging it")?;
    drop(hoarder);
    let patience = Duration::from_millis(200);
    match machine.wait_finalized(&weak, patience) {
        Err(WaitError::TimedOut { holder, .. }) => {
            stage.say(format_args!("still there after {patience:?}: {holder}"));
        }
        other => {
            return Err(DemoError::differs(
                "why-alive",
                format_args!("the device should still be there: {other:?}"),
            ));
        }
    }
    let why = machine.leftovers();
    stage.say("everything that is withdrawn and not finalized, and why:");
    for one in &why {
        stage.say(format_args!("  {}", one.to_string().replace('\n', "\n  ")));
    }
    picture(
        stage,
        &machine,
        &space,
        "during",
        "Unplugged: a handle keeps the region, the region its owner",
    )?;
    let text: String = why.iter().map(ToString::to_string).collect();
    for wanted in ["user handle", file!(), "/machine/hoarder/buffer"] {
        if !text.contains(wanted) {
            return Err(DemoError::differs(
                "why-alive",
                format_args!("the ledger does not name {wanted:?}: {text}"),
            ));
        }
    }

    stage.say("the handle is dropped:");
    drop(
        cupboard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(),
    );
    machine
        .wait_finalized(&weak, Duration::from_secs(5))
        .during("waiting for the device's end")?;
    stage.say(format_args!(
        "device and region are finalized; withdrawn and alive: {}",
        machine.leftovers().len()
    ));
    picture(
        stage,
        &machine,
        &space,
        "after",
        "The handle is dropped: nothing of the device is left",
    )?;
    drop((system, space));
    let closed = machine.close(Duration::from_secs(5));
    closed
        .map_err(|(_, error)| error)
        .during("closing the machine")
}

fn picture(
    stage: &mut Stage<'_>,
    machine: &Machine,
    space: &memory::AddressSpace,
    when: &str,
    title: &str,
) -> Result<(), DemoError> {
    stage.file(&format!("why-alive-graph-{when}.svg"), || {
        reference_graph(title, &machine.reference_graph())
    })?;
    stage.file(&format!("why-alive-map-{when}.svg"), || {
        memory_map(title, &[MapColumn::of(space)])
    })
}
