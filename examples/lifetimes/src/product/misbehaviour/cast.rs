//! Who misbehaves: a device and an object that is none, with a field for what they should not keep.

use qdev::{Device, DeviceError, DeviceImpl, RealizeContext};
use qom::{Init, ObjectImpl, RootObject};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What somebody keeps in a field until his finalizer.
#[derive(Clone, Default)]
pub(super) struct Hoard(Arc<Mutex<Vec<Box<dyn Send>>>>);

impl Hoard {
    pub(super) fn keep(&self, what: impl Send + 'static) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(Box::new(what));
    }

    pub(super) fn empty(&self) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
    }
}

/// A device that hoards.
pub(super) struct Hoarder {
    device: Device,
    pub(super) hoard: Hoard,
    /// What its unrealize would let go of.
    pub(super) until_unrealize: Hoard,
    /// Its unrealize panics before it comes to that.
    pub(super) panics: AtomicBool,
}

qdev::device_type! { Hoarder("lifetimes-hoarder") { device: Device } }

impl ObjectImpl for Hoarder {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            device: cx.parent(),
            hoard: Hoard::default(),
            until_unrealize: Hoard::default(),
            panics: AtomicBool::new(false),
        }
    }
    fn finalize(&self) {
        self.hoard.empty();
    }
}

impl DeviceImpl for Hoarder {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
    fn unrealize(&self) {
        // ORDERING: Relaxed: set before the device is unplugged, by who unplugs it.
        if self.panics.load(Ordering::Relaxed) {
            // Without the panic hook, which would print it.
            std::panic::resume_unwind(Box::new("before it lets go"));
        }
        self.until_unrealize.empty();
    }
}

/// An object that is no device, and hoards.
pub(super) struct Heap {
    object: RootObject,
    pub(super) hoard: Hoard,
}

qom::object_type! { Heap("lifetimes-heap") { object: RootObject } }

impl ObjectImpl for Heap {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            hoard: Hoard::default(),
        }
    }
    fn finalize(&self) {
        self.hoard.empty();
    }
}
