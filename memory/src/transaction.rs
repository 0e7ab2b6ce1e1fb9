//! Transactions: changes of topology that are rendered, told and published together.
//!
//! A transaction holds the machine's topology lock from begin to commit; inside it every change is made at once and nothing is
//! rendered. The outermost commit renders what is damaged, tells the listeners (`crate::commit`), publishes and retires.

mod withdrawal;

pub(crate) use withdrawal::{forget, retract};

use crate::addr::Offset;
use crate::region::{Region, RegionError, RegionInfo};
use crate::state::{Entered, MemoryState, Topo};
use crate::topology::{Priority, RegionKey, RegionSpec, Topology, TopologyError};
use parking_lot::ReentrantMutexGuard;
use qom::layer::{self, Hold, Holder, Place, Pointer, Reason, machine_of};
use qom::{Gone, MachineHandle, Object, ObjectType, WeakRef};
use std::cell::RefCell;

/// Container → subregion.
pub(crate) const SUBREGION: Reason = Reason("subregion");
/// Alias → target.
pub(crate) const ALIAS: Reason = Reason("alias target");
/// Address space → root.
pub(crate) const ROOT: Reason = Reason("address space root");

/// An open transaction, inside the closure given to [`transaction()`].
///
/// What the closure computes may leave it; the transaction itself cannot be kept, nor forgotten open:
///
/// ```
/// # let machine = qom::Machine::new("doc");
/// let mut kept = None;
/// memory::transaction(&machine, |t| kept = Some(format!("{t:?}"))).unwrap();
/// ```
///
/// ```compile_fail,E0521
/// # let machine = qom::Machine::new("doc");
/// let mut kept = None;
/// memory::transaction(&machine, |t| kept = Some(t)).unwrap();
/// ```
#[derive(Debug)]
pub struct Transaction<'t> {
    _open: std::marker::PhantomData<&'t mut ()>,
}

/// Runs `change` as one transaction: what it does to regions takes effect, for readers and listeners, when it returns.
///
/// Nests: the outermost one commits. It also commits when `change` panics, as the changes have been made. Not inside a listener. In a
/// transaction nothing may be waited for.
///
/// ```
/// use memory::{Backing, Offset, Priority, Region, RegionApi, Size};
/// let machine = qom::Machine::new("doc");
/// let system = Region::container("system", Size::new(0x1000)).create(machine.root())?;
/// let ram = Region::ram("ram", Backing::anonymous(0x1000)?).create(machine.root())?;
/// memory::transaction(&machine, |_t| {
///     system.add_subregion(Offset(0), &ram, Priority(0))?;
///     ram.set_readonly(true)
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The caller is inside a listener; or too much is retired and not freed, and the error names the slow reader.
pub fn transaction<R>(
    machine: &MachineHandle,
    change: impl for<'t> FnOnce(&'t Transaction<'t>) -> R,
) -> Result<R, RegionError> {
    let state = MemoryState::of(machine);
    check_place(
        || machine.clone(),
        || format!("machine `{}`", machine.name()),
    )?;
    let _session = Session::open(&state);
    Ok(change(&Transaction {
        _open: std::marker::PhantomData,
    }))
}

/// Whether topology may be changed here and now: not in a listener, and not while readers hold up too much.
fn check_place(
    machine: impl FnOnce() -> MachineHandle,
    name: impl Fn() -> String,
) -> Result<(), RegionError> {
    if layer::depth(Place::Listener) > 0 {
        return Err(RegionError::Forbidden {
            region: name(),
            place: Place::Listener,
        });
    }
    if layer::depth(Place::Transaction) == 0 {
        machine()
            .make_room()
            .map_err(|source| RegionError::Overloaded {
                region: name(),
                source,
            })?;
    }
    Ok(())
}

/// A stay under the topology lock; the outermost one commits at its end.
pub(crate) struct Session<'a> {
    state: &'a MemoryState,
    guard: ReentrantMutexGuard<'a, RefCell<Topo>>,
    _inside: layer::Inside,
}

impl<'a> Session<'a> {
    pub(crate) fn open(state: &'a MemoryState) -> Self {
        let guard = state.lock.lock();
        guard.borrow_mut().depth += 1;
        Self {
            state,
            guard,
            _inside: layer::enter(Place::Transaction),
        }
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut Topo) -> R) -> R {
        f(&mut self.guard.borrow_mut())
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.guard.borrow().depth > 1 {
            self.guard.borrow_mut().depth -= 1;
            return;
        }
        let published = crate::commit::commit(self.state, &self.guard);
        let garbage = {
            let mut topo = self.guard.borrow_mut();
            topo.depth -= 1;
            std::mem::take(&mut topo.garbage)
        };
        if garbage.is_empty() && published.is_none() {
            return;
        }
        // A hold's end at most queues a finalizer and wakes the executor; an embedder's wake function is somebody else's code and
        // must not run under the lock.
        ReentrantMutexGuard::unlocked(&mut self.guard, || {
            drop(garbage);
            if let Some(space) = published {
                layer::drop_inert(&space.machine);
            }
        });
    }
}

pub(crate) fn region_of(object: &Object) -> Result<&Region, Gone> {
    object.instance::<Region>().ok_or_else(|| Gone {
        object: object.describe(),
        state: "no region",
    })
}

pub(crate) fn key_of(object: &Object) -> Result<RegionKey, Gone> {
    region_and_key(object).map(|(_, key)| key)
}

fn region_and_key(object: &Object) -> Result<(&Region, RegionKey), Gone> {
    let region = region_of(object)?;
    let key = region.key().ok_or_else(|| Gone {
        object: object.describe(),
        state: "gone",
    })?;
    Ok((region, key))
}

pub(crate) fn same_machine(a: &Object, b: &Object) -> Result<(), RegionError> {
    if layer::same_machine(a, b) {
        return Ok(());
    }
    Err(RegionError::OtherMachine {
        region: a.describe().into(),
        machine: a.machine_name().into(),
        other: b.describe().into(),
        other_machine: b.machine_name().into(),
    })
}

/// One change of one region.
pub(crate) fn change(
    object: &Pointer,
    op: impl FnOnce(&mut Topology, RegionKey) -> Result<(), TopologyError>,
) -> Result<(), RegionError> {
    let (region, key) = region_and_key(object)?;
    check_place(|| machine_of(object), || object.describe())?;
    let session = Session::open(&region.state);
    session.with(|topo| {
        let done = op(&mut topo.topology, key);
        done.map_err(|error| topo.explain(error))
    })
}

pub(crate) fn info(object: &Pointer) -> Result<RegionInfo, RegionError> {
    let (region, key) = region_and_key(object)?;
    let lock = region.state.lock.lock();
    let topo = lock.borrow();
    let node = topo.topology.get(key).ok_or_else(|| Gone {
        object: object.describe(),
        state: "finalized",
    })?;
    Ok(RegionInfo {
        kind: region.kind(),
        size: node.size(),
        address: node.address(),
        priority: node.priority(),
        container: node
            .container()
            .and_then(|c| topo.regions.get(c))
            .map(|c| c.object.describe()),
        enabled: node.is_enabled(),
        readonly: node.is_readonly(),
        nonvolatile: node.is_nonvolatile(),
        unmergeable: node.is_unmergeable(),
        withdrawn: object.is_withdrawn(),
    })
}

pub(crate) fn contained_in(object: &Pointer) -> Result<Option<WeakRef<Region>>, RegionError> {
    let (region, key) = region_and_key(object)?;
    let lock = region.state.lock.lock();
    let topo = lock.borrow();
    let container = topo
        .topology
        .get(key)
        .and_then(crate::topology::Node::container);
    let container = container.and_then(|c| topo.regions.get(c));
    Ok(container
        .and_then(|c| c.object.instance::<Region>())
        .map(|c| c.this().downgrade()))
}

/// Enters a new region into the topology.
pub(crate) fn enter_region(
    object: &Pointer,
    spec: RegionSpec,
    target: Option<&Pointer>,
) -> Result<(), RegionError> {
    let region = region_of(object)?;
    check_place(|| machine_of(object), || object.describe())?;
    let session = Session::open(&region.state);
    session.with(|topo| {
        if let Some(target) = target
            && target.is_withdrawn()
        {
            let alias = format!("`{}` ({})", region.name(), object.describe());
            return Err(withdrawn(target, "an alias", &alias));
        }
        let key = topo
            .topology
            .insert(spec)
            .map_err(|error| topo.explain(error))?;
        let entered = Entered {
            object: object.clone(),
            core: region.core().clone(),
            contained: None,
            target: target.and_then(|target| Hold::new(target, ALIAS, Holder::object(object))),
        };
        topo.regions.insert(key, entered);
        region.set_key(key);
        Ok(())
    })
}

pub(crate) fn add_subregion(
    container: &Pointer,
    offset: Offset,
    sub: &Pointer,
    priority: Priority,
) -> Result<(), RegionError> {
    same_machine(container, sub)?;
    check_place(|| machine_of(container), || sub.describe())?;
    check_init(sub, container)?;
    let (region, container_key) = region_and_key(container)?;
    let sub_key = key_of(sub)?;
    let session = Session::open(&region.state);
    session.with(|topo| {
        // The marks are set before a withdrawal asks for the topology lock: what is added behind them is refused here, what is added
        // before them is retracted by step 1.
        for (one, other) in [(container, sub), (sub, container)] {
            if one.is_withdrawn() {
                return Err(withdrawn(one, "a container", &other.describe()));
            }
        }
        topo.topology
            .add_subregion(container_key, sub_key, offset, priority)
            .map_err(|error| topo.explain(error))?;
        if let Some(sub_entered) = topo.regions.get_mut(sub_key) {
            sub_entered.contained = Hold::new(sub, SUBREGION, Holder::object(container));
        }
        tracing::debug!(container = %container.describe(), sub = %sub.describe(), offset = offset.0, "subregion added");
        Ok(())
    })
}

pub(crate) fn del_subregion(container: &Pointer, sub: &Pointer) -> Result<(), RegionError> {
    // A key of one machine may well name something in another.
    same_machine(container, sub)?;
    check_place(|| machine_of(container), || sub.describe())?;
    let (region, container_key) = region_and_key(container)?;
    let sub_key = key_of(sub)?;
    let session = Session::open(&region.state);
    session.with(|topo| {
        // Withdrawn and retracted: it is in no container any more, which is what the caller wants.
        if sub.is_withdrawn()
            && topo
                .topology
                .get(sub_key)
                .is_none_or(|n| n.container().is_none())
        {
            return Ok(());
        }
        if container.is_withdrawn()
            && topo
                .topology
                .get(sub_key)
                .is_none_or(|n| n.container().is_none())
        {
            return Ok(());
        }
        topo.topology
            .del_subregion(container_key, sub_key)
            .map_err(|error| topo.explain(error))?;
        let sub = topo.regions.get_mut(sub_key);
        let hold = sub.and_then(|sub| sub.contained.take());
        topo.garbage.extend(hold);
        Ok(())
    })
}

/// Until post-init is done a region joins only containers of its own owner.
fn check_init(sub: &Pointer, container: &Pointer) -> Result<(), RegionError> {
    let owners = [region_of(sub)?.owner(), region_of(container)?.owner()];
    if owners[0].id() == owners[1].id() {
        return Ok(());
    }
    match owners.iter().find(|o| !o.is_complete()) {
        None => Ok(()),
        Some(owner) => Err(RegionError::DuringInit {
            region: sub.describe(),
            other: container.describe(),
            owner: owner.describe(),
        }),
    }
}

pub(crate) fn withdrawn(region: &Object, what: &'static str, other: &str) -> RegionError {
    RegionError::Withdrawn {
        region: region.describe(),
        what,
        other: other.to_owned(),
    }
}

impl Topo {
    fn name(&self, key: RegionKey) -> String {
        self.regions
            .get(key)
            .map_or_else(|| key.to_string(), |entered| entered.object.describe())
    }

    /// The same error with names.
    pub(crate) fn explain(&self, error: TopologyError) -> RegionError {
        let gone = |what: String| {
            RegionError::Gone(Gone {
                object: what,
                state: "finalized",
            })
        };
        match error {
            TopologyError::Withdrawn { region } => RegionError::Withdrawn {
                region: self.name(region),
                what: "a new edge",
                other: "others".into(),
            },
            TopologyError::AlreadyContained {
                child,
                parent,
                container,
            } => RegionError::InContainer {
                region: self.name(child),
                container: self.name(parent),
                current: self.name(container),
            },
            TopologyError::NotContained { child, parent, .. } => RegionError::NotInContainer {
                region: self.name(child),
                container: self.name(parent),
            },
            TopologyError::ContainerLoop { child, parent }
            | TopologyError::AliasLoop { child, parent } => RegionError::Loop {
                region: self.name(child),
                container: self.name(parent),
            },
            TopologyError::TooManyPaths {
                region,
                paths,
                limit,
            } => RegionError::TooManyPaths {
                region: self.name(region),
                other: "what it shows".into(),
                paths,
                limit,
            },
            TopologyError::NotAlias { region } => RegionError::WrongKind {
                region: self.name(region),
                wanted: "alias",
            },
            TopologyError::NotRomDevice { region } => RegionError::WrongKind {
                region: self.name(region),
                wanted: "ROM device",
            },
            other => gone(other.to_string()),
        }
    }
}
