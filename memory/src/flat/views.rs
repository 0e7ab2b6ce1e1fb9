//! The views of all address spaces of a topology, shared where the view root is the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::render::Renderer;
use super::view::{Made, RangeValue, Values};
use super::{Difference, FlatRange, FlatView};
use crate::topology::{Damage, Pending, RegionKey, SpaceKey, Topology};
use smallvec::SmallVec;

/// The current view of each address space.
///
/// [`commit`](Self::commit) brings them up to date. Spaces with one
/// [view root](Topology::resolve_root) get one view, rendered once.
///
/// ```
/// use memory::addr::{Offset, Size};
/// use memory::flat::Views;
/// use memory::topology::{RegionSpec, SpaceKey, Topology};
///
/// let mut topology = Topology::new();
/// let system = topology.insert(RegionSpec::ram(Size::new(0x1000)))?;
/// let window = topology.insert(RegionSpec::alias(system, Offset(0), Size::MAX))?;
/// topology.attach_root(SpaceKey(0), system)?;
/// topology.attach_root(SpaceKey(1), window)?;
///
/// let mut views = Views::new();
/// let pending = topology.take_pending();
/// let changes = views.commit(&topology, pending, |range| *range);
/// assert_eq!(changes.len(), 2);
/// assert!(changes[0].new.is_same(&changes[1].new));
/// # Ok::<(), memory::topology::TopologyError>(())
/// ```
#[derive(Debug)]
pub struct Views<V> {
    spaces: BTreeMap<SpaceKey, Current<V>>,
    /// Which spaces had which view root when they were last looked at.
    by_view_root: BTreeMap<RegionKey, Sharers>,
    renderer: Renderer,
}

/// The spaces that share a view, in order; a few need no block of memory.
type Sharers = SmallVec<[SpaceKey; 2]>;

#[derive(Debug)]
struct Current<V> {
    view_root: Option<RegionKey>,
    view: FlatView<V>,
}

/// What a commit did to one address space.
#[derive(Clone, Debug)]
pub struct SpaceChange<V> {
    /// The space.
    pub space: SpaceKey,
    /// The view that it had.
    pub old: FlatView<V>,
    /// The view that it has; it shows nothing where the space is detached or its root was retracted.
    pub new: FlatView<V>,
    /// From the old to the new. Empty where only the sharing changed.
    pub difference: Arc<Difference<V>>,
}

/// A space whose view or view root may differ.
struct Affected {
    view_root: Option<RegionKey>,
    space: SpaceKey,
    damage: Damage,
}

impl<V> Default for Views<V> {
    fn default() -> Self {
        Self {
            spaces: BTreeMap::new(),
            by_view_root: BTreeMap::new(),
            renderer: Renderer::default(),
        }
    }
}

impl<V> Views<V> {
    /// No spaces.
    pub fn new() -> Self {
        Self::default()
    }

    /// The view of a space; `None` where it was not attached at the last commit.
    pub fn view(&self, space: SpaceKey) -> Option<&FlatView<V>> {
        self.spaces.get(&space).map(|current| &current.view)
    }
}

impl<V: RangeValue> Views<V> {
    /// Brings the views up to date with `topology`, from which `pending` was taken just now. `value`
    /// makes the value of each range that is new in a view. Gives the spaces whose view is another now,
    /// also those attached (from a view that shows nothing) and detached (to one).
    ///
    /// It costs what is damaged, in each distinct view, and a look at each space that is reached.
    pub fn commit(
        &mut self,
        topology: &Topology,
        pending: Pending,
        value: impl FnMut(&FlatRange) -> V,
    ) -> Vec<SpaceChange<V>> {
        let mut changes = Vec::new();
        self.commit_each(topology, pending, Made(value), |change| {
            changes.push(change);
        });
        changes.sort_unstable_by_key(|change| change.space);
        changes
    }

    /// [`commit`](Self::commit), with the changes as they come, in no order, and no block of memory where one view changes.
    pub(crate) fn commit_each(
        &mut self,
        topology: &Topology,
        pending: Pending,
        mut values: impl Values<V>,
        mut changed: impl FnMut(SpaceChange<V>),
    ) {
        let (roots, spaces) = pending.into_parts();
        let mut affected: SmallVec<[Affected; 1]> = SmallVec::with_capacity(roots.len());
        for (root, mut damage) in roots {
            let Some(node) = topology.get(root) else {
                continue;
            };
            let view_root = topology.resolve_root(root);
            let mut reached = node.spaces().iter().filter(|space| !spaces.contains(space));
            let mut next = reached.next();
            while let Some(&space) = next {
                next = reached.next();
                // The last one takes it.
                let damage = match next {
                    Some(_) => damage.clone(),
                    None => std::mem::take(&mut damage),
                };
                affected.push(Affected {
                    view_root,
                    space,
                    damage,
                });
            }
        }
        for space in spaces {
            let view_root = topology
                .root_of(space)
                .and_then(|root| topology.resolve_root(root));
            affected.push(Affected {
                view_root,
                space,
                damage: Damage::all(),
            });
        }
        let mut reached: SmallVec<[SpaceKey; 8]> = SmallVec::new();
        for one in &affected {
            reached.push(one.space);
        }
        reached.sort_unstable();
        affected.sort_unstable_by_key(|one| (one.view_root, one.space));
        for group in affected.chunk_by_mut(|one, next| one.view_root == next.view_root) {
            self.commit_group(topology, group, &reached, &mut values, &mut changed);
        }
    }

    fn commit_group(
        &mut self,
        topology: &Topology,
        group: &mut [Affected],
        reached: &[SpaceKey],
        values: &mut impl Values<V>,
        changed: &mut impl FnMut(SpaceChange<V>),
    ) {
        let Some(view_root) = group.first().map(|one| one.view_root) else {
            return;
        };
        let (base, new) = match self.base(topology, view_root, group, reached) {
            Base::Ready(view) => (None, view),
            Base::Update(at) => {
                let old = self.view(group[at].space).cloned().unwrap_or_default();
                let (new, difference) = old.update_with(
                    &mut self.renderer,
                    topology,
                    view_root,
                    &mut group[at].damage,
                    values,
                );
                (Some((old, Arc::new(difference))), new)
            }
        };
        for Affected { space, damage, .. } in group {
            let old = self.set(topology, *space, view_root, &new);
            if old.is_same(&new) {
                continue;
            }
            let difference = match &base {
                Some((base, difference)) if base.is_same(&old) => Arc::clone(difference),
                _ => Arc::new(old.difference(&new, damage)),
            };
            changed(SpaceChange {
                space: *space,
                old,
                new: new.clone(),
                difference,
            });
        }
    }

    /// Where the new view of a group comes from.
    fn base(
        &self,
        topology: &Topology,
        view_root: Option<RegionKey>,
        group: &[Affected],
        reached: &[SpaceKey],
    ) -> Base<V> {
        let Some(root) = view_root else {
            return Base::Ready(FlatView::empty());
        };
        let known = self.by_view_root.get(&root);
        // Nothing that this space shows changed. Its view root may have, where that shows nothing new:
        // so it is asked again.
        let untouched = known.into_iter().flatten().find(|space| {
            reached.binary_search(space).is_err()
                && topology
                    .root_of(**space)
                    .and_then(|root| topology.resolve_root(root))
                    == view_root
        });
        if let Some(view) = untouched.and_then(|&space| self.view(space)) {
            return Base::Ready(view.clone());
        }
        let had = group
            .iter()
            .position(|one| known.is_some_and(|known| known.binary_search(&one.space).is_ok()));
        let old = || {
            group
                .iter()
                .position(|one| self.spaces.contains_key(&one.space))
        };
        Base::Update(had.or_else(old).unwrap_or(0))
    }

    /// Gives a space its view; answers the one before.
    fn set(
        &mut self,
        topology: &Topology,
        space: SpaceKey,
        view_root: Option<RegionKey>,
        view: &FlatView<V>,
    ) -> FlatView<V> {
        let attached = topology.is_attached(space);
        let old = match self.spaces.get_mut(&space) {
            Some(current) if attached => Some(std::mem::replace(
                current,
                Current {
                    view_root,
                    view: view.clone(),
                },
            )),
            Some(_) => self.spaces.remove(&space),
            None => {
                if attached {
                    self.spaces.insert(
                        space,
                        Current {
                            view_root,
                            view: view.clone(),
                        },
                    );
                }
                None
            }
        };
        let old_root = old.as_ref().and_then(|old| old.view_root);
        if old_root != view_root {
            if let Some(old_root) = old_root
                && let Some(spaces) = self.by_view_root.get_mut(&old_root)
            {
                if let Ok(at) = spaces.binary_search(&space) {
                    spaces.remove(at);
                }
                if spaces.is_empty() {
                    self.by_view_root.remove(&old_root);
                }
            }
            if let Some(view_root) = view_root {
                let spaces = self.by_view_root.entry(view_root).or_default();
                if let Err(at) = spaces.binary_search(&space) {
                    spaces.insert(at, space);
                }
            }
        }
        old.map(|old| old.view).unwrap_or_default()
    }
}

enum Base<V> {
    /// A view that is up to date.
    Ready(FlatView<V>),
    /// The view of this member of the group, to be updated.
    Update(usize),
}
