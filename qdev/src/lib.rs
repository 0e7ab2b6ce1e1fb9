//! Devices: properties, realize, unrealize, unplug, interrupt lines.
//!
//! A device is an object with two more stations: it is *realized* once its properties are set, which may fail and then leaves nothing
//! behind; and it is *unrealized* before it is unparented, or by its withdrawal. Its author writes [`DeviceImpl`] and declares the
//! type with [`device_type!`]; none of it needs `unsafe`.
//!
//! ```
//! use memory::{Access, AddressSpace, Attrs, Gpa, MemTxError, Offset, Priority, Region, RegionApi, RegionOps, Size};
//! use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
//! use qom::{Child, Init, Machine, ObjectImpl, ObjectOps};
//! use std::sync::atomic::{AtomicU32, Ordering};
//!
//! struct Counter { device: Device, regs: Child<Region>, reads: AtomicU32 }
//! qdev::device_type! { Counter("doc-counter") { device: Device } }
//!
//! impl ObjectImpl for Counter {
//!     fn init(cx: &mut Init<'_>) -> Self {
//!         let regs = Region::io("regs", Size::new(4), Regs).create(cx.object()).expect("a region of its own");
//!         Self { device: cx.parent(), regs, reads: AtomicU32::new(0) }
//!     }
//! }
//! impl DeviceImpl for Counter {
//!     fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> { Ok(()) }
//! }
//! struct Regs;
//! impl RegionOps for Regs {
//!     type Owner = Counter;
//!     fn read(&self, counter: &Counter, _access: Access) -> Result<u64, MemTxError> {
//!         Ok(u64::from(counter.reads.fetch_add(1, Ordering::Relaxed)))
//!     }
//!     fn write(&self, _: &Counter, _: Access, _: u64) -> Result<(), MemTxError> { Ok(()) }
//! }
//!
//! let machine = Machine::new("doc");
//! let system = Region::container("system", Size::MAX).create(machine.root())?;
//! let memory = AddressSpace::open(machine.root(), "memory", &system)?;
//! let counter = machine.create::<Counter>()?;
//! machine.root().add_child("counter", &counter)?;
//! counter.realize()?;
//! system.add_subregion(Offset(0x1000), &counter.regs, Priority(0))?;
//! assert_eq!(memory.load::<u32>(Gpa(0x1000), Attrs::default())?, 0);
//! assert_eq!(memory.load::<u32>(Gpa(0x1000), Attrs::default())?, 1);
//! counter.unparent()?;                                          // unplug
//! assert!(memory.load::<u32>(Gpa(0x1000), Attrs::default()).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Reading order: `device` (type and class), `realize` (the two stations), `regions` (what a device made and mapped), `deleted` (the
//! notification), `line` (interrupts).

mod deleted;
mod device;
mod error;
pub mod line;
mod realize;
mod regions;

pub use deleted::{Deleted, DeletedSubscription, on_deleted};
pub use device::{Device, DeviceClass, DeviceImpl, RealizeContext, install, property};
pub use error::{DeviceError, RealizeError};
pub use line::{EventFdLine, Line, NoLine};
pub use realize::DeviceOps;
pub use regions::regions_of;
