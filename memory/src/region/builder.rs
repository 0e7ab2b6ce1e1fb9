//! The one way to make a region.

use super::{ErasedOps, Region, RegionError, RegionKind, RegionOps, RegionParts, RegionTarget};
use crate::access::AccessRules;
use crate::addr::{Offset, Size};
use crate::host::Backing;
use crate::state::MemoryState;
use crate::topology::{Kind, RegionSpec};
use crate::transaction;
use qom::layer::{Name, Pointer, Target, add_indexed_child, create_with, machine_of};
use qom::{Child, Container, Gone, MachineHandle, ObjectOps, Ref};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

/// A region that is about to be made.
///
/// ```
/// use memory::{Backing, Region, RegionApi, Size};
/// let machine = qom::Machine::new("doc");
/// // The bytes end before the region does: an access beyond them is a decode error.
/// let pmem = Region::ram("pmem", Backing::anonymous(0x1000)?)
///     .size(Size::new(0x4000))
///     .nonvolatile(true)
///     .create(machine.root())?;
/// assert_eq!(pmem.get()?.object().path().as_deref(), Some("/machine/pmem[0]"));
/// assert!(pmem.info()?.nonvolatile);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct RegionBuilder {
    name: Name,
    kind: RegionKind,
    spec: RegionSpec,
    backing: Option<Backing>,
    ops: Option<Arc<dyn ErasedOps>>,
    rules: AccessRules,
    reentrant: bool,
    /// In a block of its own, as few regions are aliases, and each call of the builder moves it all.
    target: Option<Box<(Result<Pointer, Gone>, Offset)>>,
}

impl RegionBuilder {
    pub(super) fn new(name: &str, kind: RegionKind, size: Size) -> Self {
        let spec = match kind {
            RegionKind::Container => RegionSpec::container(size),
            RegionKind::Ram => RegionSpec::ram(size),
            RegionKind::RomDevice => RegionSpec::rom_device(size),
            RegionKind::Io => RegionSpec::io(size),
            RegionKind::Reservation => RegionSpec::reservation(size),
            RegionKind::Alias => RegionSpec::new(
                Kind::Alias {
                    target: None,
                    offset: Offset(0),
                },
                size,
            ),
        };
        Self {
            name: name.into(),
            kind,
            spec,
            backing: None,
            ops: None,
            rules: AccessRules::DEFAULT,
            reentrant: false,
            target: None,
        }
    }

    /// The bytes of RAM or of a ROM device. Their length need not be the region's size: an access past them is a decode error.
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = Some(backing);
        self
    }

    /// The callbacks. A container with callbacks answers in its own holes.
    pub fn ops(mut self, ops: impl RegionOps) -> Self {
        if let Kind::Container { terminates } = &mut self.spec.kind {
            *terminates = true;
        }
        self.ops = Some(Arc::new(ops));
        self
    }

    /// Which accesses are legal and which the callbacks implement.
    pub fn rules(mut self, rules: AccessRules) -> Self {
        self.rules = rules;
        self
    }

    /// A size of its own, apart from the backing's.
    pub fn size(mut self, size: Size) -> Self {
        self.spec.size = size;
        self
    }

    /// Whether guests cannot write it.
    pub fn readonly(mut self, on: bool) -> Self {
        self.spec.readonly = on;
        self
    }

    /// Whether its bytes outlive the machine.
    pub fn nonvolatile(mut self, on: bool) -> Self {
        self.spec.nonvolatile = on;
        self
    }

    /// Whether its ranges in a view are never joined with their neighbours.
    pub fn unmergeable(mut self, on: bool) -> Self {
        self.spec.unmergeable = on;
        self
    }

    /// Whether it shows.
    pub fn enabled(mut self, on: bool) -> Self {
        self.spec.enabled = on;
        self
    }

    /// Lets the owner reach this region from its own callbacks.
    pub fn allow_reentrancy(mut self) -> Self {
        self.reentrant = true;
        self
    }

    pub(super) fn target(mut self, target: &(impl RegionTarget + ?Sized), offset: Offset) -> Self {
        self.target = Some(Box::new((target.region(), offset)));
        self
    }

    /// Makes the region as a child of `owner`, called by its name with a free index: `bar[0]`.
    ///
    /// The handle does not count: it is for a field of the owner. Any thread, also in the owner's init.
    ///
    /// # Errors
    /// The owner is withdrawn or gone or has the wrong type for the callbacks; the access rules contradict themselves; an alias's target is
    /// withdrawn, gone, or in another machine.
    pub fn create(self, owner: &(impl Target + ?Sized)) -> Result<Child<Region>, RegionError> {
        self.create_ref(owner).map(|r| r.child())
    }

    /// Makes the region without an owner of its own: under `/machine/unattached`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_unattached(self, machine: &MachineHandle) -> Result<Child<Region>, RegionError> {
        let unattached = unattached(machine)?;
        self.create_ref(&unattached).map(|r| r.child())
    }

    fn create_ref(self, owner: &(impl Target + ?Sized)) -> Result<Ref<Region>, RegionError> {
        let owner = owner.pointer()?;
        let machine = machine_of(&owner);
        self.rules.check().map_err(|source| RegionError::Rules {
            region: self.name.to_string(),
            source,
        })?;
        if let Some(ops) = &self.ops
            && !ops.fits(&owner)
        {
            return Err(RegionError::OwnerType {
                owner: owner.describe(),
                owner_type: owner.class().name(),
                region: self.name.to_string(),
                wanted: ops.owner_type(),
            });
        }
        let mut spec = self.spec;
        let target = match self.target {
            Some(aliased) => {
                let (target, offset) = *aliased;
                let target = target?;
                transaction::same_machine(&owner, &target)?;
                let key = transaction::key_of(&target)?;
                spec.kind = Kind::Alias {
                    target: Some(key),
                    offset,
                };
                Some(target)
            }
            None => None,
        };
        let parts = RegionParts {
            name: self.name,
            kind: self.kind,
            rules: self.rules,
            reentrant: self.reentrant,
            ops: self.ops,
            owner: owner.clone(),
            backing: self.backing,
        };
        // The region enters the topology before it gets its parent: were the parent refused, its withdrawal takes it out again.
        let state = MemoryState::of(&machine);
        let region = create_with(&machine, None, |cx| Region::assemble(cx, state, parts))?;
        let object = region.pointer()?;
        transaction::enter_region(&object, spec, target.as_ref())?;
        add_indexed_child(&owner, &child_name(region.name()), &object)?;
        Ok(region)
    }
}

/// The home of regions without an owner.
fn unattached(machine: &MachineHandle) -> Result<Child<Container>, RegionError> {
    const PATH: &str = "/machine/unattached";
    if let Some(home) = machine.resolve(PATH) {
        return Ok(home
            .cast::<Container>()
            .map_err(|_| not_found(PATH))?
            .child());
    }
    let root = machine
        .resolve("/machine")
        .ok_or_else(|| not_found("/machine"))?;
    let home = machine.create::<Container>()?;
    match root.add_child("unattached", &home) {
        Ok(_) => Ok(home.child()),
        // Another thread was faster.
        Err(qom::TreeError::NameTaken { .. }) => root
            .child_named("unattached")
            .ok_or_else(|| not_found(PATH)),
        Err(error) => Err(error.into()),
    }
}

fn not_found(path: &str) -> RegionError {
    RegionError::Gone(Gone {
        object: path.into(),
        state: "gone",
    })
}

/// The name of a region below its owner, without its index. QEMU escapes what has a meaning in paths.
fn child_name(name: &str) -> Cow<'_, str> {
    // Each is one byte, which is a part of nothing else.
    let has_a_meaning = |b: u8| matches!(b, b'/' | b'[' | b']' | b'\\');
    if !name.bytes().any(has_a_meaning) {
        return name.into();
    }
    let mut child = String::new();
    for c in name.chars() {
        if u8::try_from(c).is_ok_and(has_a_meaning) {
            // Into a string this cannot fail.
            let _ = write!(child, "\\x{:02x}", u32::from(c));
        } else {
            child.push(c);
        }
    }
    child.into()
}
