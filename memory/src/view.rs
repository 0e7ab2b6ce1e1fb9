//! A view of an address space: what it shows at one moment, never changing, lookup by address.

use crate::addr::{Gpa, Span};
use crate::flat::{FlatRange, FlatView};
use crate::host::VolatileBytes;
use crate::leaf::Leaf;
use crate::mapping::MapError;
use qom::Pending;
use std::borrow::Cow;
use std::sync::OnceLock;

/// What an address space shows at one moment.
///
/// Borrowed from a guard ([`SpaceGuard::view`](crate::SpaceGuard::view)), or owned in a [`Snapshot`](crate::Snapshot).
///
/// ```
/// # use memory::{AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size};
/// # let machine = qom::Machine::new("doc");
/// # let system = Region::container("system", Size::MAX).create(machine.root())?;
/// # let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// # system.add_subregion(Offset(0x4000), &ram, Priority(0))?;
/// # let space = AddressSpace::open(machine.root(), "memory", &system)?;
/// let guard = space.enter();
/// let view = guard.view();
/// let (span, leaf) = view.find(Gpa(0x4010)).expect("RAM");
/// assert_eq!((span.first(), leaf.range().offset), (0x4000, Offset(0)));
/// assert!(view.find(Gpa(0)).is_none());
/// assert_eq!(view.after(Gpa(0)).map(|(range, _)| range.span.first()), Some(0x4000));
/// // Fixed while it is borrowed, whatever changes meanwhile.
/// let bytes = view.slice(Gpa(0x4000), 8)?;
/// system.del_subregion(&ram)?;
/// assert_eq!((view.len(), bytes.load_u64(0)), (1, Some(0)));
/// assert!(guard.view().is_empty(), "a newer one");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct View {
    pub(crate) flat: FlatView<Leaf>,
}

impl View {
    /// The addresses of the range at `addr`, and the range.
    #[inline]
    pub fn find(&self, addr: Gpa) -> Option<(Span, &Leaf)> {
        self.flat.get(addr.0)
    }

    /// The one range that `addr` can be in, where it is found at once; see `SpanMap::near_at_once`.
    #[expect(clippy::inline_always, reason = "see `SpanMap::find`")]
    #[inline(always)]
    pub(crate) fn near_at_once(&self, addr: Gpa) -> Option<(&Span, &Leaf)> {
        self.flat.near_at_once(addr.0)
    }

    /// The first range that begins behind `addr`.
    pub fn after(&self, addr: Gpa) -> Option<(FlatRange, &Leaf)> {
        self.flat.after(addr.0)
    }

    /// All ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (FlatRange, &Leaf)> + '_ {
        self.flat.iter()
    }

    /// How many ranges there are.
    pub fn len(&self) -> usize {
        self.flat.len()
    }

    /// Whether it shows nothing.
    pub fn is_empty(&self) -> bool {
        self.flat.is_empty()
    }

    /// Whether both are one and the same rendered view, as of address spaces with one root.
    pub fn is_same(&self, other: &Self) -> bool {
        self.flat.is_same(&other.flat)
    }

    /// `len` bytes of RAM at `addr`, borrowed from the view.
    ///
    /// # Errors
    /// `len` is zero, the bytes are not all in one range of RAM, or its backing is shorter.
    #[inline]
    pub fn slice(&self, addr: Gpa, len: u64) -> Result<VolatileBytes<'_>, MapError> {
        match self.slice_at_once(addr, len) {
            Some(bytes) => Ok(bytes),
            None => self.slice_otherwise(addr, len),
        }
    }

    #[expect(clippy::inline_always, reason = "most of a slice is the lookup")]
    #[inline(always)]
    fn slice_at_once(&self, addr: Gpa, len: u64) -> Option<VolatileBytes<'_>> {
        let (span, leaf) = self.near_at_once(addr)?;
        // Before the range this is past all that there is in it.
        let offset = addr.0.wrapping_sub(span.first());
        let bytes = leaf.direct()?.subslice(offset, len)?;
        (len > 0).then_some(bytes)
    }

    #[inline(never)]
    fn slice_otherwise(&self, addr: Gpa, len: u64) -> Result<VolatileBytes<'_>, MapError> {
        let found = self.flat.get(addr.0).filter(|_| len > 0);
        let bytes = found.and_then(|(span, leaf)| {
            let offset = addr.0 - span.first();
            leaf.direct()?.subslice(offset, len)
        });
        bytes.ok_or_else(|| self.no_slice(addr, len))
    }

    #[cold]
    fn no_slice(&self, addr: Gpa, len: u64) -> MapError {
        let by = Cow::Borrowed("a slice of a view");
        if len == 0 {
            return MapError::Empty { by, at: addr };
        }
        let leaf = self.find(addr).map(|(_, leaf)| leaf);
        match leaf.and_then(Leaf::direct) {
            None => MapError::NotRam { by, at: addr },
            Some(_) => MapError::TooShort {
                by,
                at: addr,
                wanted: len,
            },
        }
    }
}

/// What a space publishes.
#[derive(Default)]
pub(crate) struct ViewCell {
    pub(crate) view: View,
    /// Set when it is replaced: the quiescence that waits for its end.
    pub(crate) retired: OnceLock<Pending>,
}

impl ViewCell {
    pub(crate) fn new(view: View) -> Self {
        Self {
            view,
            retired: OnceLock::new(),
        }
    }
}

impl Drop for ViewCell {
    fn drop(&mut self) {
        let view = std::mem::take(&mut self.view);
        match self.retired.take() {
            Some(pending) => pending.during(|| drop(view)),
            None => drop(view),
        }
    }
}
