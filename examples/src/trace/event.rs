//! What a trace consists of.

/// Size of a recorded page, in bytes.
pub(crate) const PAGE_BYTES: usize = 4096;

/// How the recorded device was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// virtio-mmio.
    Mmio,
    /// virtio-pci.
    Pci,
}

/// A queue of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Queue 0.
    Control,
    /// Queue 1.
    Cursor,
}

/// The first line: what was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The guest's kernel.
    pub kernel: String,
    /// How the device was reached.
    pub transport: Transport,
    /// Guest RAM in bytes, from address 0 on.
    pub ram_bytes: u64,
    /// Virtio features of the device.
    pub features_offered: u64,
    /// Those the driver took.
    pub features_accepted: u64,
    /// Guest physical address of the host-visible window.
    pub window_base: u64,
    /// Its length in bytes.
    pub window_size: u64,
    /// Sizes of the control and the cursor queue.
    pub queues: [u16; 2],
    /// `num_scanouts` in the device's config space.
    pub scanouts: u32,
    /// `num_capsets` there.
    pub capsets: u32,
    /// Whether a display was connected to scanout 0.
    pub scanout0_enabled: bool,
    /// The workload in one word.
    pub workload: String,
}

/// One event and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Microseconds since the guest started; none for RAM pages and the end.
    pub us: Option<u64>,
    /// The event.
    pub event: Event,
}

/// Something the recorded device saw or did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver wrote the device's status.
    Status {
        /// The value; 0 is a reset.
        value: u8,
        /// With `FEATURES_OK`: the features.
        features_accepted: Option<u64>,
        /// Resources just before.
        resources_live: u64,
        /// Mapped blobs just before.
        blobs_mapped: u64,
    },
    /// The driver read the config space.
    ConfigRead {
        /// First byte.
        offset: u64,
        /// What it read.
        data: Vec<u8>,
    },
    /// The driver wrote the config space.
    ConfigWrite {
        /// First byte.
        offset: u64,
        /// What it wrote.
        data: Vec<u8>,
    },
    /// The display changed.
    Display {
        /// The events word.
        events_read: u32,
        /// Width and height of scanout 0.
        size: (u32, u32),
    },
    /// A command and its reply.
    Command(CommandEvent),
    /// Content of a page of guest RAM.
    GuestRam(GuestPage),
    /// The last line.
    End {
        /// Why the recording ended.
        reason: String,
        /// Resources at the end.
        resources_live: u64,
        /// Mapped blobs at the end.
        blobs_mapped: u64,
    },
}

/// A descriptor chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandEvent {
    /// Its queue.
    pub queue: Queue,
    /// The command's name, for reading only.
    pub name: String,
    /// All device-readable bytes.
    pub request: Vec<u8>,
    /// All bytes the device wrote; their number is the used length.
    pub response: Vec<u8>,
    /// Length and direction (true: device-writable) of each descriptor.
    pub descriptors: Vec<(u32, bool)>,
    /// Whether the chain was an indirect table.
    pub indirect: bool,
}

impl CommandEvent {
    /// Bytes of the device-writable descriptors.
    pub fn capacity(&self) -> u64 {
        let writable = self.descriptors.iter().filter(|(_, writable)| *writable);
        writable.map(|(len, _)| u64::from(*len)).sum()
    }
}

/// A page of guest RAM.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestPage {
    /// Guest physical address, a multiple of the page size.
    pub gpa: u64,
    /// 4096 bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for GuestPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GuestPage({:#x})", self.gpa)
    }
}
