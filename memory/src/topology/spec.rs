//! What a region is made from: its kind, its size and its flags.

use super::RegionKey;
use crate::addr::{Offset, Size};

/// Decides among overlapping subregions of one container: the higher shows. Among equals the one
/// added last shows. Priorities of different containers are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(pub i32);

/// What a region shows where no subregion of its own hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only its subregions; where it `terminates` (it has callbacks of its own) also itself, as I/O.
    Container {
        /// Whether accesses that hit no subregion end here.
        terminates: bool,
    },
    /// Memory. ROM is memory whose `readonly` flag is set.
    Ram,
    /// Memory that the guest reads directly and writes through callbacks, or all through callbacks.
    RomDevice {
        /// Direct reads (QEMU's *romd mode*).
        direct: bool,
    },
    /// Callbacks. An IOMMU region is one to the topology.
    Io,
    /// I/O that is handled elsewhere, for example in the hypervisor: takes its place like any I/O.
    Reservation,
    /// A window onto another region. Its own subregions, if it has any, never show.
    Alias {
        /// What is seen through it; `None` where that was withdrawn: the alias is a hole for ever.
        target: Option<RegionKey>,
        /// The place in the target that the window's first byte shows.
        offset: Offset,
    },
}

impl Kind {
    /// Whether a region of this kind shows itself, and so can be in a flat view.
    pub const fn terminates(self) -> bool {
        !matches!(
            self,
            Self::Container { terminates: false } | Self::Alias { .. }
        )
    }

    pub(crate) const fn is_alias(self) -> bool {
        matches!(self, Self::Alias { .. })
    }
}

/// What a region is made from. The constructors give an enabled region without flags.
///
/// ```
/// use memory::addr::Size;
/// use memory::topology::RegionSpec;
/// let flash = RegionSpec { nonvolatile: true, ..RegionSpec::rom(Size::new(0x1_0000)) };
/// assert!(flash.readonly && flash.enabled);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of its own, settable by itself"
)]
pub struct RegionSpec {
    /// What it shows.
    pub kind: Kind,
    /// How many bytes: 0 (shows nothing) to 2^64.
    pub size: Size,
    /// Guest writes do not change it. Adds up along the path from the root.
    pub readonly: bool,
    /// Its memory survives a power cut. Adds up along the path from the root.
    pub nonvolatile: bool,
    /// Its ranges are never merged with their neighbours. Adds up along the path from the root.
    pub unmergeable: bool,
    /// Whether it shows at all, and what is reached through it.
    pub enabled: bool,
}

impl RegionSpec {
    /// A region of this kind and size: enabled, no flags.
    pub const fn new(kind: Kind, size: Size) -> Self {
        Self {
            kind,
            size,
            readonly: false,
            nonvolatile: false,
            unmergeable: false,
            enabled: true,
        }
    }

    /// A container without callbacks.
    pub const fn container(size: Size) -> Self {
        Self::new(Kind::Container { terminates: false }, size)
    }

    /// Memory.
    pub const fn ram(size: Size) -> Self {
        Self::new(Kind::Ram, size)
    }

    /// Memory with the `readonly` flag.
    pub const fn rom(size: Size) -> Self {
        let mut spec = Self::ram(size);
        spec.readonly = true;
        spec
    }

    /// A ROM device in direct mode.
    pub const fn rom_device(size: Size) -> Self {
        Self::new(Kind::RomDevice { direct: true }, size)
    }

    /// Callbacks.
    pub const fn io(size: Size) -> Self {
        Self::new(Kind::Io, size)
    }

    /// I/O that is handled elsewhere.
    pub const fn reservation(size: Size) -> Self {
        Self::new(Kind::Reservation, size)
    }

    /// A window of `size` bytes onto `target` from `offset` on.
    pub const fn alias(target: RegionKey, offset: Offset, size: Size) -> Self {
        Self::new(
            Kind::Alias {
                target: Some(target),
                offset,
            },
            size,
        )
    }
}
