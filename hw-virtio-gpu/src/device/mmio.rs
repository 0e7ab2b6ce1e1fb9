//! The registers of the virtio-mmio transport, version 2: status, features, queue set-up, interrupt status, shared memory.
//!
//! Plain data: what a guest's access means to the device comes back as an [`Effect`]. Source: virtio 1.2, section 4.2.2.

use virtio_queue::{Queue, QueueT};

/// The size of the register region: registers and config space.
pub(crate) const REGION_BYTES: u64 = 0x200;
/// Where the config space begins.
pub(crate) const CONFIG: u64 = 0x100;
/// The queues: control and cursor.
pub(crate) const QUEUES: usize = 2;

const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
const DEVICE_GPU: u32 = 16;
/// "HFST", as no vendor id is assigned for mmio.
const VENDOR: u32 = 0x5453_4648;
/// The shared memory region for host-visible blobs (virtio 1.2, 5.7.4).
const SHM_HOST_VISIBLE: u32 = 1;

/// Bits of the device status.
pub(crate) mod status {
    pub(crate) const FEATURES_OK: u32 = 8;
    pub(crate) const DRIVER_OK: u32 = 4;
    pub(crate) const NEEDS_RESET: u32 = 0x40;
}

/// Bits of the interrupt status.
pub(crate) mod interrupt {
    pub(crate) const USED: u32 = 1;
    pub(crate) const CONFIG: u32 = 2;
}

/// Transport features that this device has: indirect descriptors, event index, version 1.
pub(crate) const TRANSPORT_FEATURES: u64 = 1 << 28 | EVENT_IDX | VERSION_1;
pub(crate) const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

/// What the device has to do about a register access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    None,
    /// The driver wrote 0 to the status.
    Reset,
    /// The driver is done with the features.
    FeaturesOk,
    /// The driver says that a queue has something for us.
    Notify(usize),
    /// Bits of the interrupt status were acknowledged.
    Acknowledged,
}

/// The register file and the queues.
#[derive(Debug)]
pub(crate) struct Registers {
    pub(crate) queues: [Queue; QUEUES],
    offered: u64,
    pub(crate) accepted: u64,
    device_features_sel: u32,
    driver_features_sel: u32,
    queue_sel: u32,
    shm_sel: u32,
    pub(crate) status: u32,
    pub(crate) interrupt_status: u32,
    pub(crate) config_generation: u32,
    /// Base and length of the window, where it has a place.
    pub(crate) window: Option<(u64, u64)>,
}

impl Registers {
    /// Registers of a device that offers the device features `offered`, with queues of at most these sizes.
    pub(crate) fn new(offered: u64, sizes: [u16; QUEUES]) -> Result<Self, virtio_queue::Error> {
        Ok(Self {
            queues: [Queue::new(sizes[0])?, Queue::new(sizes[1])?],
            offered: offered | TRANSPORT_FEATURES,
            accepted: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            shm_sel: 0,
            status: 0,
            interrupt_status: 0,
            config_generation: 0,
            window: None,
        })
    }

    /// Back to power-on; what is offered stays.
    pub(crate) fn reset(&mut self) {
        for queue in &mut self.queues {
            queue.reset();
        }
        self.accepted = 0;
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.queue_sel = 0;
        self.shm_sel = 0;
        self.status = 0;
        self.interrupt_status = 0;
    }

    /// Whether the driver has said that it is ready. Without the features settled that does not count.
    pub(crate) fn is_driven(&self) -> bool {
        let ready = status::DRIVER_OK | status::FEATURES_OK;
        self.status & ready == ready
    }

    /// Whether the driver runs the device.
    pub(crate) fn is_running(&self) -> bool {
        self.is_driven() && self.status & status::NEEDS_RESET == 0
    }

    fn queue(&self) -> Option<&Queue> {
        self.queues.get(usize::try_from(self.queue_sel).ok()?)
    }

    /// Reads a 32-bit register below [`CONFIG`]. Unknown ones read as 0.
    pub(crate) fn read(&self, offset: u64) -> u32 {
        let half = |value: u64, sel: u32| match sel {
            0 => low(value),
            1 => low(value >> 32),
            _ => 0,
        };
        // An absent shared memory region reads as all ones.
        let (base, len) = match self.window {
            Some(window) if self.shm_sel == SHM_HOST_VISIBLE => window,
            _ => (u64::MAX, u64::MAX),
        };
        match offset {
            0x000 => MAGIC,
            0x004 => VERSION,
            0x008 => DEVICE_GPU,
            0x00c => VENDOR,
            0x010 => half(self.offered, self.device_features_sel),
            0x034 => self.queue().map_or(0, |q| u32::from(q.max_size())),
            0x044 => self.queue().map_or(0, |q| u32::from(q.ready())),
            0x060 => self.interrupt_status,
            0x070 => self.status,
            0x0b0 => low(len),
            0x0b4 => low(len >> 32),
            0x0b8 => low(base),
            0x0bc => low(base >> 32),
            0x0fc => self.config_generation,
            _ => 0,
        }
    }

    /// Writes a 32-bit register below [`CONFIG`]. What the specification does not allow is ignored.
    pub(crate) fn write(&mut self, offset: u64, value: u32) -> Effect {
        match offset {
            0x014 => self.device_features_sel = value,
            0x020 => self.write_features(value),
            0x024 => self.driver_features_sel = value,
            0x030 => self.queue_sel = value,
            0x050 => {
                return usize::try_from(value)
                    .ok()
                    .filter(|q| *q < QUEUES)
                    .map_or(Effect::None, Effect::Notify);
            }
            0x064 => {
                self.interrupt_status &= !value;
                return Effect::Acknowledged;
            }
            0x070 => return self.write_status(value),
            0x0ac => self.shm_sel = value,
            _ => self.write_queue(offset, value),
        }
        Effect::None
    }

    fn write_features(&mut self, value: u32) {
        if self.status & status::FEATURES_OK != 0 {
            return;
        }
        let keep = match self.driver_features_sel {
            0 => (self.accepted & !u64::from(u32::MAX)) | u64::from(value),
            1 => (self.accepted & u64::from(u32::MAX)) | u64::from(value) << 32,
            _ => self.accepted,
        };
        self.accepted = keep & self.offered;
    }

    fn write_status(&mut self, value: u32) -> Effect {
        if value == 0 {
            return Effect::Reset;
        }
        let before = self.status;
        // A driver only ever adds bits (virtio 1.2, 2.1.1), and NEEDS_RESET is the device's own; so features stay settled until a reset.
        self.status |= value & 0xff & !status::NEEDS_RESET;
        // FEATURES_OK stands only if the set makes sense: without version 1 this transport has no meaning.
        if self.status & status::FEATURES_OK != 0 && self.accepted & VERSION_1 == 0 {
            self.status &= !status::FEATURES_OK;
        }
        let chosen = self.status & status::FEATURES_OK != 0 && before & status::FEATURES_OK == 0;
        if chosen {
            let event_idx = self.accepted & EVENT_IDX != 0;
            self.queues
                .iter_mut()
                .for_each(|q| q.set_event_idx(event_idx));
            return Effect::FeaturesOk;
        }
        Effect::None
    }

    fn write_queue(&mut self, offset: u64, value: u32) {
        let Some(queue) = usize::try_from(self.queue_sel)
            .ok()
            .and_then(|q| self.queues.get_mut(q))
        else {
            return;
        };
        // A queue that is ready keeps its place.
        if queue.ready() && offset != 0x044 {
            return;
        }
        match offset {
            0x038 => {
                if let Ok(size) = u16::try_from(value) {
                    queue.set_size(size);
                }
            }
            0x044 => queue.set_ready(value & 1 != 0),
            0x080 => queue.set_desc_table_address(Some(value), None),
            0x084 => queue.set_desc_table_address(None, Some(value)),
            0x090 => queue.set_avail_ring_address(Some(value), None),
            0x094 => queue.set_avail_ring_address(None, Some(value)),
            0x0a0 => queue.set_used_ring_address(Some(value), None),
            0x0a4 => queue.set_used_ring_address(None, Some(value)),
            _ => {}
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half is what is wanted"
)]
fn low(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Registers {
        Registers::new(0b1011, [64, 16]).unwrap()
    }

    #[test]
    fn a_driver_finds_a_gpu_and_negotiates() {
        let mut r = registers();
        assert_eq!((r.read(0), r.read(4), r.read(8)), (MAGIC, 2, 16));
        r.write(0x014, 1);
        assert_eq!(r.read(0x010), 1, "version 1");
        r.write(0x024, 1);
        r.write(0x020, 0xffff_ffff);
        r.write(0x024, 0);
        r.write(0x020, 0b11);
        assert_eq!(r.write(0x070, 0xb), Effect::FeaturesOk);
        assert_eq!(r.read(0x070), 0xb);
        assert_eq!(
            r.accepted,
            VERSION_1 | 0b11,
            "what is not offered is not accepted"
        );
        r.write(0x020, 0);
        assert_eq!(r.accepted & 0b11, 0b11, "features are settled");
        assert_eq!(r.write(0x070, 0), Effect::Reset);
    }

    #[test]
    fn features_ok_does_not_stand_without_version_1() {
        let mut r = registers();
        r.write(0x020, 0b11);
        r.write(0x070, 0xb);
        assert_eq!(r.read(0x070) & status::FEATURES_OK, 0);
    }

    #[test]
    fn a_driver_adds_bits_to_the_status_and_takes_none_away() {
        let mut r = registers();
        r.write(0x024, 1);
        r.write(0x020, 1);
        r.write(0x070, 0x4);
        assert!(!r.is_running(), "no features are settled");
        r.write(0x070, 0xb);
        assert!(r.is_running());
        assert_eq!(r.write(0x070, 0x40 | 0x3), Effect::None);
        assert_eq!(r.read(0x070), 0xf, "and NEEDS_RESET is not its to set");
        r.status |= status::NEEDS_RESET;
        assert!(!r.is_running());
        r.write(0x070, 0xf);
        assert_eq!(r.read(0x070), 0x4f);
    }

    #[test]
    fn an_absent_window_reads_as_all_ones() {
        let mut r = registers();
        r.write(0x0ac, 1);
        assert_eq!(r.read(0x0b0), u32::MAX);
        r.window = Some((0x2_0000_0000, 0x1000_0000));
        assert_eq!((r.read(0x0b0), r.read(0x0b4)), (0x1000_0000, 0));
        assert_eq!((r.read(0x0b8), r.read(0x0bc)), (0, 2));
        r.write(0x0ac, 0);
        assert_eq!((r.read(0x0b0), r.read(0x0b8)), (u32::MAX, u32::MAX));
    }

    #[test]
    fn queues_are_set_up_one_by_one_and_wild_numbers_are_ignored() {
        let mut r = registers();
        r.write(0x030, 1);
        assert_eq!(r.read(0x034), 16);
        r.write(0x038, 8);
        r.write(0x080, 0x1000);
        r.write(0x044, 1);
        assert_eq!((r.read(0x044), r.queues[1].size()), (1, 8));
        r.write(0x080, 0x2000);
        assert_eq!(
            r.queues[1].desc_table(),
            0x1000,
            "a ready queue keeps its place"
        );
        r.write(0x030, 7);
        assert_eq!((r.read(0x034), r.read(0x044)), (0, 0));
        r.write(0x038, 8);
        assert_eq!(r.write(0x050, 7), Effect::None);
        assert_eq!(r.write(0x050, 1), Effect::Notify(1));
    }
}
