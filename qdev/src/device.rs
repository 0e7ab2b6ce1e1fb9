//! The device type: what each device has, and how its author says what it does.

use crate::error::DeviceError;
use parking_lot::{Mutex, ReentrantMutex};
use qom::layer::{LayerHooks, Pointer};
use qom::{
    Child, ClassInit, HandleId, Init, MachineHandle, Object, ObjectImpl, ObjectType, Property,
    PropertyType, RootObject,
};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a device does at its two stations. Realize runs for each type of the hierarchy, parent first; unrealize in the reverse order.
///
/// ```
/// use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
/// use qom::{Init, Machine, ObjectImpl, ObjectOps};
/// use memory::{AddressSpace, Region, Size};
/// use qom::ClassInit;
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
///
/// struct Dma { device: Device, channels: AtomicU32 }
/// qdev::device_type! { Dma("doc-dma") { device: Device } }
/// impl ObjectImpl for Dma {
///     fn init(cx: &mut Init<'_>) -> Self { Self { device: cx.parent(), channels: AtomicU32::new(0) } }
///     fn class_init(class: &mut ClassInit<'_>) {
///         class.property(qdev::property::<u32>("channels")
///             .set(|dma: &Dma, n: u32| Ok(dma.channels.store(n, Relaxed))));
///     }
/// }
/// impl DeviceImpl for Dma {
///     fn realize(&self, cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
///         let bus = Region::container("bus", Size::MAX).create(cx.object())
///             .map_err(|e| DeviceError::needs("a bus", e))?;
///         AddressSpace::open(cx.object(), "dma", &bus).map_err(|e| DeviceError::needs("a space", e))?;
///         match self.channels.load(Relaxed) {
///             0 => Err(DeviceError::Property { property: "channels", reason: "none".into() }),
///             _ => Ok(()),
///         }
///     }
/// }
///
/// let machine = Machine::new("doc");
/// let dma = machine.create::<Dma>()?;
/// assert!(dma.realize().is_err());
/// assert!(dma.opened().is_empty(), "the space is closed again");
/// dma.set_property("channels", 4)?;
/// dma.realize()?;
/// assert_eq!(dma.opened(), ["address space `dma`"]);
/// assert!(dma.set_property("channels", 8).is_err(), "too late");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait DeviceImpl: ObjectImpl {
    /// The properties are set: get ready for the guest. May open things in the device's name; they are closed again if this or a
    /// subclass's realize fails, and at unrealize.
    ///
    /// # Errors
    /// Why the device cannot be what it was asked to be. Nothing may be left behind.
    fn realize(&self, cx: &RealizeContext<'_>) -> Result<(), DeviceError>;

    /// Undo what realize did beyond what was opened in the device's name. Accesses that are running may overlap; no lock of the library is
    /// held.
    fn unrealize(&self) {}
}

/// Where a device is realized.
#[derive(Debug)]
pub struct RealizeContext<'a> {
    object: &'a Pointer,
}

impl<'a> RealizeContext<'a> {
    pub(crate) fn new(object: &'a Pointer) -> Self {
        Self { object }
    }

    /// The device: the name in which things are opened.
    pub fn object(&self) -> &Object {
        self.object
    }

    /// Its machine.
    pub fn machine(&self) -> MachineHandle {
        qom::layer::machine_of(self.object)
    }
}

type RealizeFn = fn(&Object, &RealizeContext<'_>) -> Result<(), DeviceError>;
type UnrealizeFn = fn(&Object);

/// One type's part of a device class.
#[derive(Clone, Copy)]
pub(crate) struct Station {
    pub(crate) type_name: &'static str,
    pub(crate) realize: RealizeFn,
    pub(crate) unrealize: UnrealizeFn,
}

/// What a device class keeps: the stations of each type in the hierarchy, parent first.
#[derive(Clone, Default)]
pub struct DeviceClass {
    pub(crate) stations: Vec<Station>,
}

/// The part of an instance that every device has.
///
/// ```
/// use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
/// use qom::{Init, Machine, ObjectImpl, ObjectOps};
///
/// struct Fan { device: Device }                 // the parent's part is the first field
/// qdev::device_type! { Fan("doc-fan") { device: Device } }
/// impl ObjectImpl for Fan {
///     fn init(cx: &mut Init<'_>) -> Self { Self { device: cx.parent() } }
/// }
/// impl DeviceImpl for Fan {
///     fn realize(&self, _: &RealizeContext<'_>) -> Result<(), DeviceError> { Ok(()) }
/// }
///
/// let machine = Machine::new("doc");
/// let fan = machine.create::<Fan>()?;
/// assert!(!fan.device.is_realized());
/// fan.realize()?;                               // no parent: it gets one
/// assert!(fan.device.is_realized());
/// assert_eq!(fan.path().as_deref(), Some("/machine/unattached/device[0]"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Device {
    object: RootObject,
    realized: AtomicBool,
    /// Held while the device is realized or unrealized, so that a withdrawal waits for a realize that is under way.
    pub(crate) changing: ReentrantMutex<()>,
    /// What was open in its name before it was realized.
    pub(crate) opened_before: Mutex<Option<HandleId>>,
    /// The path that it had when it was realized; set means that its end is told.
    pub(crate) realized_path: OnceLock<String>,
}

qom::object_type! {
    abstract Device("device") { object: RootObject } class DeviceClass,
    install |class: &mut ClassInit<'_>| { class.layer(&LAYER); }
}

static LAYER: LayerHooks = LayerHooks {
    name: "qdev",
    mark: None,
    retract: None,
    close: Some(crate::realize::withdrawn),
};

impl ObjectImpl for Device {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            realized: AtomicBool::new(false),
            changing: ReentrantMutex::new(()),
            opened_before: Mutex::new(None),
            realized_path: OnceLock::new(),
        }
    }

    fn finalize(&self) {
        if let Some(path) = self.realized_path.get() {
            crate::deleted::tell(&self.this(), path);
        }
    }
}

impl Device {
    /// Whether it is realized. Any thread.
    pub fn is_realized(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `set_realized`: whoever sees a realized device sees what its realize did.
        self.realized.load(Ordering::Acquire)
    }

    pub(crate) fn set_realized(&self, on: bool) {
        // ORDERING: Release: see `is_realized`.
        self.realized.store(on, Ordering::Release);
    }

    /// A handle to the device itself, which does not count.
    pub fn handle(&self) -> Child<Device> {
        self.this()
    }
}

/// Adds a type's stations to its class. [`device_type!`](crate::device_type) calls it.
pub fn install<T: DeviceImpl>(class: &mut ClassInit<'_>) {
    class.data::<Device>().stations.push(Station {
        type_name: T::NAME,
        realize: |object, cx| object.instance::<T>().map_or(Ok(()), |t| t.realize(cx)),
        unrealize: |object| {
            if let Some(t) = object.instance::<T>() {
                t.unrealize();
            }
        },
    });
}

/// A property of a device: refuses to be written once the device is realized.
pub fn property<V: PropertyType>(name: &'static str) -> Property {
    Property::new::<V>(name).gate(|object| match object.instance::<Device>() {
        Some(device) if device.is_realized() => {
            Err(format!("set after {} was realized", object.describe()))
        }
        _ => Ok(()),
    })
}

/// Declares a device type: its name, and the field that is its parent's part.
///
/// See the [crate](crate) for an example.
#[macro_export]
macro_rules! device_type {
    ($ty:ident ($name:expr) { $field:ident : $parent:ty } $(class $class:ty)?) => {
        qom::object_type! {
            $ty($name) { $field: $parent } $(class $class)?, install $crate::install::<$ty>
        }
    };
}
