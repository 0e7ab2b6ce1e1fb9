//! Realize and unrealize: the two stations, with their roll-back.

use crate::device::{Device, DeviceClass, RealizeContext, Station};
use crate::error::RealizeError;
use crate::regions;
use qom::layer::{self, Place, Pointer, Target};
use qom::{Child, Container, Object, ObjectOps, PropertyError, TreeError, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Operations on devices, through any kind of handle. Any thread; not inside a listener.
///
/// ```
/// # use qdev::{Device, DeviceError, DeviceImpl, RealizeContext};
/// # use qom::{Init, ObjectImpl};
/// # struct Fan { device: Device }
/// # qdev::device_type! { Fan("doc-ops-fan") { device: Device } }
/// # impl ObjectImpl for Fan {
/// #     fn init(cx: &mut Init<'_>) -> Self { Self { device: cx.parent() } }
/// # }
/// # impl DeviceImpl for Fan {
/// #     fn realize(&self, _: &RealizeContext<'_>) -> Result<(), DeviceError> { Ok(()) }
/// # }
/// use qdev::{DeviceOps, RealizeError};
/// use qom::{Machine, ObjectOps};
/// let machine = Machine::new("doc");
/// let fan = machine.create::<Fan>()?;
/// machine.root().add_child("fan", &fan)?;
/// fan.realize()?;
/// fan.unrealize()?;                             // as it was before
/// fan.realize()?;
/// fan.unparent()?;                              // unrealizes it, and for good
/// assert!(!fan.is_realized());
/// assert!(matches!(fan.realize(), Err(RealizeError::Withdrawn { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait DeviceOps: Target {
    /// Realizes the device: again is a no-op. A device without a parent is put under `/machine/unattached`.
    ///
    /// Runs the device's code on this thread; a withdrawal that comes meanwhile waits for it and undoes it.
    ///
    /// # Errors
    /// The device's own error, a panic in it, or the device is withdrawn. Nothing is left: what was opened in its name is closed, regions that
    /// were put into containers of others (its own and those below it) are out of them, an implicit parent is gone.
    fn realize(&self) -> Result<(), RealizeError> {
        realize(&self.pointer()?)
    }

    /// Unrealizes the device: again is a no-op. What was opened in its name since its realize is closed; it keeps its parent, and its
    /// regions stay where they are: the device's own unrealize takes them out, or its withdrawal.
    ///
    /// # Errors
    /// It is gone or no device.
    fn unrealize(&self) -> Result<(), RealizeError> {
        let object = self.pointer()?;
        let device = device_of(&object)?;
        unrealize(&object, device);
        Ok(())
    }

    /// Whether it is realized.
    fn is_realized(&self) -> bool {
        self.pointer()
            .is_ok_and(|o| o.instance::<Device>().is_some_and(Device::is_realized))
    }

    /// Writes a property.
    ///
    /// # Errors
    /// As [`Object::set_property`]; and the device is gone or realized.
    fn set_property(&self, name: &str, value: impl Into<Value>) -> Result<(), PropertyError>
    where
        Self: Sized,
    {
        let object = self.pointer().map_err(|gone| PropertyError::NotFound {
            type_name: gone.state,
            property: name.into(),
        })?;
        Object::set_property(&object, name, value)
    }
}

impl<T: Target + ?Sized> DeviceOps for T {}

fn device_of(object: &Object) -> Result<&Device, RealizeError> {
    object
        .instance::<Device>()
        .ok_or_else(|| RealizeError::NoDevice {
            object: object.describe(),
            type_name: object.class().name(),
        })
}

fn stations(object: &Object) -> &[Station] {
    let class: Option<&DeviceClass> = object.class().data::<Device>();
    class.map_or(&[], |c| &c.stations)
}

fn realize(object: &Pointer) -> Result<(), RealizeError> {
    let device = device_of(object)?;
    let _changing = device.changing.lock();
    // First, as a realized device that was withdrawn a moment ago is about to be unrealized.
    if object.is_withdrawn() {
        return Err(RealizeError::Withdrawn {
            device: object.describe(),
        });
    }
    if device.is_realized() {
        return Ok(());
    }
    let implicit = layer::parent_of(object).is_none();
    if implicit {
        give_home(object)?;
    }
    let span = tracing::debug_span!("realize", device = %object.describe());
    let _entered = span.enter();
    let mapped_before = regions::mapped(object);
    *device.opened_before.lock() = Some(layer::opened_mark(object));
    let done = run_stations(object).and_then(|()| {
        if object.is_withdrawn() {
            run_unrealize(object, stations(object));
            return Err(RealizeError::Withdrawn {
                device: object.describe(),
            });
        }
        Ok(())
    });
    match done {
        Ok(()) => {
            let _ = device.realized_path.set(object.describe());
            device.set_realized(true);
            tracing::debug!("realized");
            Ok(())
        }
        Err(error) => {
            tracing::debug!(%error, "not realized");
            close_opened(object, device);
            regions::take_out(object, &mapped_before);
            if implicit {
                layer::detach(object);
            }
            Err(error)
        }
    }
}

/// Realizes type by type; where one fails, those before it are unrealized again.
fn run_stations(object: &Pointer) -> Result<(), RealizeError> {
    let cx = RealizeContext::new(object);
    let stations = stations(object);
    for (i, station) in stations.iter().enumerate() {
        let outcome = {
            // In here nothing may be waited for: a withdrawal waits for this.
            let _inside = layer::enter_code(Place::Hook, object.id());
            catch_unwind(AssertUnwindSafe(|| (station.realize)(object, &cx)))
        };
        let error = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(source)) => RealizeError::Failed {
                device: object.describe(),
                type_name: station.type_name,
                source,
            },
            Err(panic) => RealizeError::Panicked {
                device: object.describe(),
                type_name: station.type_name,
                message: layer::message_of(panic),
            },
        };
        run_unrealize(object, &stations[..i]);
        return Err(error);
    }
    Ok(())
}

/// Unrealizes subclass first. A panic is reported, and the rest runs.
fn run_unrealize(object: &Pointer, stations: &[Station]) {
    for station in stations.iter().rev() {
        layer::run_hook(Place::Hook, "unrealize", object, || {
            (station.unrealize)(object);
        });
    }
}

fn unrealize(object: &Pointer, device: &Device) {
    let _changing = device.changing.lock();
    if !device.is_realized() {
        return;
    }
    device.set_realized(false);
    let span = tracing::debug_span!("unrealize", device = %object.describe());
    let _entered = span.enter();
    run_unrealize(object, stations(object));
    close_opened(object, device);
}

fn close_opened(object: &Pointer, device: &Device) {
    if let Some(mark) = device.opened_before.lock().take() {
        layer::close_opened_since(object, mark);
    }
}

/// The device is being withdrawn: no new access reaches it. Its regions have been collected with it (they are its children) and are out of all
/// containers; here it is unrealized.
pub(crate) fn withdrawn(object: &Pointer) {
    if let Some(device) = object.instance::<Device>() {
        unrealize(object, device);
    }
}

const HOME: &str = "/machine/unattached";

fn give_home(object: &Pointer) -> Result<(), RealizeError> {
    let machine = layer::machine_of(object);
    let failed = |source| RealizeError::Home {
        device: object.describe(),
        home: HOME,
        source,
    };
    let home = if let Some(home) = machine.resolve(HOME) {
        home.cast::<Container>()
            .ok()
            .map(|c| c.child())
            .unwrap_or_default()
    } else {
        let root = machine
            .resolve("/machine")
            .ok_or_else(|| RealizeError::Withdrawn {
                device: object.describe(),
            })?;
        let home = machine.create::<Container>()?;
        match root.add_child("unattached", &home) {
            Ok(_) => home.child(),
            // Another thread was faster.
            Err(TreeError::NameTaken { .. }) => root.child_named("unattached").unwrap_or_default(),
            Err(error) => return Err(failed(error)),
        }
    };
    let home: Child<Container> = home;
    home.add_child("device[*]", object)
        .map(|_| ())
        .map_err(failed)
}
