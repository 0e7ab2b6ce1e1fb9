//! The object types that play a scenario: a device and an object that is none, whose hooks run what the scenario has armed.

use super::stage::Stage;
use crate::state::{Hook, Id};
use memory::{Access, MemTxError, Region, RegionOps};
use qdev::{Device, DeviceError, DeviceImpl, RealizeContext};
use qom::{Init, ObjectImpl, RootObject};
use std::sync::Arc;

/// Which part an object plays; none where it was made by its type's name alone.
#[derive(Default)]
pub(crate) struct Part(Option<(Id, Arc<Stage>)>);

impl Part {
    pub(crate) fn new(id: Id, stage: &Arc<Stage>) -> Self {
        Self(Some((id, stage.clone())))
    }

    fn run(&self, hook: Hook) {
        if let Some((id, stage)) = &self.0 {
            stage.run_hook(*id, hook);
        }
    }
}

/// A device of a scenario.
pub(crate) struct Card {
    pub(crate) device: Device,
    pub(crate) part: Part,
}

qdev::device_type! { Card("lifetimes-card") { device: Device } }

impl ObjectImpl for Card {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            device: cx.parent(),
            part: Part::default(),
        }
    }
    fn finalize(&self) {
        self.part.run(Hook::Finalize);
    }
}

impl DeviceImpl for Card {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
    fn unrealize(&self) {
        self.part.run(Hook::Unrealize);
    }
}

/// An object of a scenario that is no device.
pub(crate) struct Thing {
    pub(crate) object: RootObject,
    pub(crate) part: Part,
}

qom::object_type! { Thing("lifetimes-thing") { object: RootObject } }

impl ObjectImpl for Thing {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            part: Part::default(),
        }
    }
    fn finalize(&self) {
        self.part.run(Hook::Finalize);
    }
}

/// Callbacks of a region that would be its own owner.
pub(crate) struct ForItself;

impl RegionOps for ForItself {
    type Owner = Region;
    fn read(&self, _: &Region, _: Access) -> Result<u64, MemTxError> {
        Ok(0)
    }
    fn write(&self, _: &Region, _: Access, _: u64) -> Result<(), MemTxError> {
        Ok(())
    }
}

/// Callbacks that are a card's, of a region that no card owns.
pub(crate) struct ForCard;

impl RegionOps for ForCard {
    type Owner = Card;
    fn read(&self, _: &Card, _: Access) -> Result<u64, MemTxError> {
        Ok(0)
    }
    fn write(&self, _: &Card, _: Access, _: u64) -> Result<(), MemTxError> {
        Ok(())
    }
}
