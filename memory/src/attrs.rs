//! Transaction attributes: who makes an access, and in which world.

use std::fmt;

/// The attributes of one memory transaction, packed into 64 bits.
///
/// Mirrors QEMU's `MemTxAttrs`. They travel with an access from the requester to the callback that serves it, and decide
/// nothing by themselves: a device, an IOMMU or a filter looks at them. `Copy`, compared and hashed by value.
///
/// [`Attrs::UNSPECIFIED`] (the default) says that the requester has none to give; setting any attribute makes it a specified one.
///
/// ```
/// use memory::Attrs;
///
/// let dma = Attrs::PLAIN.with_requester_id(0x00a0).with_memory_only(true);
/// assert_eq!(dma.requester_id(), 0x00a0);
/// assert!(dma.is_memory_only() && !dma.is_secure() && !dma.is_unspecified());
/// assert!(Attrs::default().is_unspecified());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Attrs(u64);

/// The security space of an Arm transaction (two bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SecuritySpace {
    /// Secure, the value 0.
    #[default]
    Secure = 0,
    /// Non-secure, the value 1.
    NonSecure = 1,
    /// Root, the value 2.
    Root = 2,
    /// Realm, the value 3.
    Realm = 3,
}

const UNSPECIFIED: u64 = 1 << 0;
const SECURE: u64 = 1 << 1;
const SPACE: u32 = 2;
const USER: u64 = 1 << 4;
const MEMORY: u64 = 1 << 5;
const DEBUG: u64 = 1 << 6;
const TRANSLATED: u64 = 1 << 7;
const REQUESTER: u32 = 16;
const PID: u32 = 32;
const PID_BITS: u32 = 20;

impl Attrs {
    /// The requester has no attributes to give.
    pub const UNSPECIFIED: Attrs = Attrs(UNSPECIFIED);

    /// Specified, with nothing set: not secure, privileged, requester 0. The usual start for the `with_` methods.
    pub const PLAIN: Attrs = Attrs(0);

    /// An access of a debugger or monitor: it may reach what the guest could not, such as the bytes of a ROM.
    pub const DEBUG: Attrs = Attrs(DEBUG);

    /// Whether the requester has no attributes to give.
    #[inline]
    pub const fn is_unspecified(self) -> bool {
        self.0 & UNSPECIFIED != 0
    }

    /// Whether the access is made in the secure world (Arm `TrustZone`, x86 system management mode).
    #[inline]
    pub const fn is_secure(self) -> bool {
        self.0 & SECURE != 0
    }

    /// The Arm security space.
    #[inline]
    pub const fn space(self) -> SecuritySpace {
        match (self.0 >> SPACE) & 3 {
            0 => SecuritySpace::Secure,
            1 => SecuritySpace::NonSecure,
            2 => SecuritySpace::Root,
            _ => SecuritySpace::Realm,
        }
    }

    /// Whether the access is made in user mode (unprivileged).
    #[inline]
    pub const fn is_user(self) -> bool {
        self.0 & USER != 0
    }

    /// Whether the access is for RAM only; a device must not be reached by it.
    #[inline]
    pub const fn is_memory_only(self) -> bool {
        self.0 & MEMORY != 0
    }

    /// Whether a debugger or monitor makes the access.
    #[inline]
    pub const fn is_debug(self) -> bool {
        self.0 & DEBUG != 0
    }

    /// Whether the address is already translated (PCI address type 2): an IOMMU passes it through.
    #[inline]
    pub const fn is_translated(self) -> bool {
        self.0 & TRANSLATED != 0
    }

    /// The requester's id (on PCI bus, device and function).
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the field has sixteen bits"
    )]
    pub const fn requester_id(self) -> u16 {
        (self.0 >> REQUESTER) as u16
    }

    /// The process address space id, 20 bits.
    #[inline]
    pub const fn pid(self) -> u32 {
        ((self.0 >> PID) & ((1 << PID_BITS) - 1)) as u32
    }

    /// With or without [`is_secure`](Self::is_secure).
    #[inline]
    pub const fn with_secure(self, on: bool) -> Self {
        self.flag(SECURE, on)
    }

    /// With this [`space`](Self::space).
    #[inline]
    pub const fn with_space(self, space: SecuritySpace) -> Self {
        self.field(SPACE, 2, space as u64)
    }

    /// With or without [`is_user`](Self::is_user).
    #[inline]
    pub const fn with_user(self, on: bool) -> Self {
        self.flag(USER, on)
    }

    /// With or without [`is_memory_only`](Self::is_memory_only).
    #[inline]
    pub const fn with_memory_only(self, on: bool) -> Self {
        self.flag(MEMORY, on)
    }

    /// With or without [`is_debug`](Self::is_debug).
    #[inline]
    pub const fn with_debug(self, on: bool) -> Self {
        self.flag(DEBUG, on)
    }

    /// With or without [`is_translated`](Self::is_translated).
    #[inline]
    pub const fn with_translated(self, on: bool) -> Self {
        self.flag(TRANSLATED, on)
    }

    /// With this [`requester_id`](Self::requester_id).
    #[inline]
    pub const fn with_requester_id(self, id: u16) -> Self {
        self.field(REQUESTER, 16, id as u64)
    }

    /// With this [`pid`](Self::pid), of which the low 20 bits count.
    #[inline]
    pub const fn with_pid(self, pid: u32) -> Self {
        self.field(PID, PID_BITS, pid as u64)
    }

    const fn flag(self, bit: u64, on: bool) -> Self {
        let rest = self.0 & !bit & !UNSPECIFIED;
        Self(if on { rest | bit } else { rest })
    }

    const fn field(self, shift: u32, bits: u32, value: u64) -> Self {
        let mask = ((1 << bits) - 1) << shift;
        Self((self.0 & !mask & !UNSPECIFIED) | ((value << shift) & mask))
    }
}

impl Default for Attrs {
    /// [`Attrs::UNSPECIFIED`].
    fn default() -> Self {
        Self::UNSPECIFIED
    }
}

impl fmt::Debug for Attrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unspecified() {
            return f.write_str("Attrs(unspecified)");
        }
        f.debug_struct("Attrs")
            .field("secure", &self.is_secure())
            .field("space", &self.space())
            .field("user", &self.is_user())
            .field("memory_only", &self.is_memory_only())
            .field("debug", &self.is_debug())
            .field("translated", &self.is_translated())
            .field("requester_id", &self.requester_id())
            .field("pid", &self.pid())
            .finish()
    }
}

const _: () = assert!(size_of::<Attrs>() == 8);

#[cfg(test)]
mod tests {
    use super::{Attrs, SecuritySpace};

    #[test]
    fn each_attribute_is_apart_from_the_others() {
        let all = Attrs::UNSPECIFIED
            .with_secure(true)
            .with_space(SecuritySpace::Realm)
            .with_user(true)
            .with_memory_only(true)
            .with_debug(true)
            .with_translated(true)
            .with_requester_id(0xffff)
            .with_pid(u32::MAX);
        let steps = [
            all.with_secure(false),
            all.with_space(SecuritySpace::Secure),
            all.with_user(false),
            all.with_memory_only(false),
            all.with_debug(false),
            all.with_translated(false),
            all.with_requester_id(0),
            all.with_pid(0),
        ];
        let seen = |a: Attrs| {
            [
                a.is_secure(),
                a.space() == SecuritySpace::Realm,
                a.is_user(),
                a.is_memory_only(),
                a.is_debug(),
                a.is_translated(),
                a.requester_id() == 0xffff,
                a.pid() == 0xf_ffff,
            ]
        };
        assert_eq!(seen(all), [true; 8]);
        for (index, one_less) in steps.into_iter().enumerate() {
            let mut expected = [true; 8];
            expected[index] = false;
            assert_eq!(seen(one_less), expected, "attribute {index}");
            assert!(!one_less.is_unspecified());
        }
    }

    #[test]
    fn values_come_back() {
        for space in [
            SecuritySpace::Secure,
            SecuritySpace::NonSecure,
            SecuritySpace::Root,
            SecuritySpace::Realm,
        ] {
            assert_eq!(Attrs::PLAIN.with_space(space).space(), space);
        }
        assert_eq!(
            Attrs::PLAIN.with_requester_id(0x1234).requester_id(),
            0x1234
        );
        assert_eq!(Attrs::PLAIN.with_pid(0x1_2345).pid(), 0x1_2345);
        assert_eq!(Attrs::default(), Attrs::UNSPECIFIED);
        assert_ne!(Attrs::PLAIN, Attrs::UNSPECIFIED);
        assert_eq!(Attrs::PLAIN.with_debug(true), Attrs::DEBUG);
    }
}
