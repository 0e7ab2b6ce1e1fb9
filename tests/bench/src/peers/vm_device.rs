//! vm-device: the `IoManager`, with as many devices as it is asked for.

use super::bus::Handler;
use crate::ours::PAGE;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_device::bus::{MmioAddress, MmioAddressOffset, MmioRange};
use vm_device::device_manager::{IoManager, MmioManager};
use vm_device::{DeviceMmio, MutDeviceMmio};

/// A device with one register and no lock: the peers' counterpart of [`Plain`](crate::ours::Plain).
#[derive(Debug)]
pub struct Plain {
    value: AtomicU64,
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            value: AtomicU64::new(7),
        }
    }
}

impl Plain {
    fn answer(&self, data: &mut [u8]) {
        let value = self.value.load(Ordering::Relaxed).to_le_bytes();
        data.copy_from_slice(&value[..data.len()]);
    }
}

impl Handler for Plain {
    fn read(&self, _: u64, data: &mut [u8]) {
        self.answer(data);
    }
}

impl DeviceMmio for Plain {
    fn mmio_read(&self, _: MmioAddress, _: MmioAddressOffset, data: &mut [u8]) {
        self.answer(data);
    }
    fn mmio_write(&self, _: MmioAddress, _: MmioAddressOffset, data: &[u8]) {
        let mut value = [0; 8];
        value[..data.len()].copy_from_slice(data);
        self.value
            .store(u64::from_le_bytes(value), Ordering::Relaxed);
    }
}

/// A device with one register behind a lock, as vm-device's documentation has it.
#[derive(Debug)]
pub struct Register(u64);

impl MutDeviceMmio for Register {
    fn mmio_read(&mut self, _: MmioAddress, _: MmioAddressOffset, data: &mut [u8]) {
        data.copy_from_slice(&self.0.to_le_bytes()[..data.len()]);
    }
    fn mmio_write(&mut self, _: MmioAddress, _: MmioAddressOffset, data: &[u8]) {
        let mut value = [0; 8];
        value[..data.len()].copy_from_slice(data);
        self.0 = u64::from_le_bytes(value);
    }
}

/// Any device.
pub type AnyDevice = Arc<dyn DeviceMmio + Send + Sync>;

/// A device without a lock.
pub fn plain() -> AnyDevice {
    Arc::new(Plain::default())
}

/// A device behind a lock.
pub fn locked() -> AnyDevice {
    Arc::new(Mutex::new(Register(7)))
}

/// A manager with `n` pages side by side: all of one device, or each of its own.
pub fn manager(n: u64, a_device_each: bool, device: fn() -> AnyDevice) -> IoManager {
    let mut manager = IoManager::new();
    let mut one = device();
    for i in 0..n {
        if a_device_each && i > 0 {
            one = device();
        }
        let range = MmioRange::new(MmioAddress(i * PAGE), PAGE).expect("a range");
        manager
            .register_mmio(range, one.clone())
            .expect("a free range");
    }
    manager
}
