//! The object tree of a machine: parents, children, names, and what each object has opened and linked.
//!
//! One arena under one lock, the machine's innermost: nothing is called under it and nothing is dropped under it that could
//! run somebody's code. Whoever adds a child, a handle or a link tests the withdrawn mark under it, and step 0 of a
//! withdrawal sets the mark under it, so nothing slips in behind.

use crate::error::{Gone, TreeError};
use crate::hold::Hold;
use crate::object::Object;
use crate::opened::{Handle, HandleId, HandleList};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;

/// An object's place in the arena. Places are used again; the stamp tells a new tenant from the one that a stale pointer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeKey {
    at: usize,
    stamp: u64,
}

/// By name. Names come from device models and users, not from a guest, and each map has a seed of its own.
type ByName<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What one object has in the tree.
pub(crate) struct Node {
    stamp: u64,
    pub(crate) object: Arc<Object>,
    parent: Option<(TreeKey, u64)>,
    /// None: it has no parent and is no root.
    name: Option<Arc<str>>,
    /// By age.
    children: BTreeMap<u64, TreeKey>,
    names: ByName<Arc<str>, u64>,
    indices: ByName<String, IndexPool>,
    opened: HandleList<Arc<dyn Handle>>,
    links: Vec<(Arc<str>, Hold)>,
}

/// The free indices of `name[*]`: those below `next` that are in `free`, and all from `next` on.
#[derive(Default)]
struct IndexPool {
    next: u32,
    free: BTreeSet<u32>,
}

impl IndexPool {
    /// The lowest free index.
    fn take(&mut self) -> u32 {
        self.free.pop_first().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn give_back(&mut self, index: u32) {
        // What was named by hand beyond the counter is still ahead of it.
        if index < self.next {
            self.free.insert(index);
        }
    }

    fn is_unused(&self) -> bool {
        self.free.len() == self.next as usize
    }
}

impl Node {
    fn give_index_back(&mut self, base: &str, index: u32) {
        if let Some(pool) = self.indices.get_mut(base) {
            pool.give_back(index);
            if pool.is_unused() {
                self.indices.remove(base);
            }
        }
    }
}

/// The arena.
#[derive(Default)]
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<usize>,
    next_stamp: u64,
    next_age: u64,
    next_handle: u64,
}

impl Tree {
    /// A place for an object that is about to be made.
    pub(crate) fn reserve(&mut self) -> TreeKey {
        let at = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            self.nodes.len() - 1
        });
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        TreeKey { at, stamp }
    }

    pub(crate) fn fill(&mut self, key: TreeKey, object: Arc<Object>) {
        self.nodes[key.at] = Some(Node {
            stamp: key.stamp,
            object,
            parent: None,
            name: None,
            children: BTreeMap::new(),
            names: ByName::default(),
            indices: ByName::default(),
            opened: HandleList::default(),
            links: Vec::new(),
        });
    }

    /// Takes a finalized object's node out. The caller drops it outside the lock.
    pub(crate) fn remove(&mut self, key: TreeKey) -> Option<Node> {
        self.node(key)?;
        self.free.push(key.at);
        self.nodes[key.at].take()
    }

    pub(crate) fn node(&self, key: TreeKey) -> Option<&Node> {
        let node = self.nodes.get(key.at)?.as_ref()?;
        (node.stamp == key.stamp).then_some(node)
    }

    fn node_mut(&mut self, key: TreeKey) -> Option<&mut Node> {
        let node = self.nodes.get_mut(key.at)?.as_mut()?;
        (node.stamp == key.stamp).then_some(node)
    }

    /// All objects, in no particular order.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.nodes.iter().flatten().map(|n| &n.object)
    }

    /// The canonical path; none where the object is not below a root called by a name.
    pub(crate) fn path(&self, key: TreeKey) -> Option<String> {
        let mut parts: SmallVec<[&str; 8]> = SmallVec::new();
        let mut node = self.node(key)?;
        while let Some((parent, _)) = node.parent {
            parts.push(node.name.as_deref()?);
            node = self.node(parent)?;
        }
        // The root of the machine is the one object without a parent that has a name.
        parts.push(node.name.as_deref()?);
        let mut path = String::with_capacity(parts.iter().map(|part| part.len() + 1).sum());
        for part in parts.iter().rev() {
            path.push('/');
            path.push_str(part);
        }
        Some(path)
    }

    pub(crate) fn name_root(&mut self, key: TreeKey, name: &str) {
        if let Some(node) = self.node_mut(key) {
            node.name = Some(Arc::from(name));
        }
    }

    pub(crate) fn parent_of(&self, key: TreeKey) -> Option<&Arc<Object>> {
        let (parent, _) = self.node(key)?.parent?;
        Some(&self.node(parent)?.object)
    }

    pub(crate) fn name_of(&self, key: TreeKey) -> Option<Arc<str>> {
        self.node(key)?.name.clone()
    }

    /// Children, oldest first.
    pub(crate) fn children(&self, key: TreeKey) -> impl DoubleEndedIterator<Item = &Arc<Object>> {
        self.node(key)
            .into_iter()
            .flat_map(|n| n.children.values())
            .filter_map(|k| self.node(*k).map(|n| &n.object))
    }

    pub(crate) fn child_named(&self, key: TreeKey, name: &str) -> Option<&Arc<Object>> {
        let node = self.node(key)?;
        let child = node.children.get(node.names.get(name)?)?;
        self.node(*child).map(|n| &n.object)
    }

    /// The lowest free `base[index]` under `key`.
    fn free_name(&mut self, key: TreeKey, base: &str) -> (String, u32) {
        let Some(Node { indices, names, .. }) = self.node_mut(key) else {
            return (format!("{base}[0]"), 0);
        };
        let pool = if let Some(pool) = indices.get_mut(base) {
            pool
        } else {
            indices.entry(base.into()).or_default()
        };
        let mut name = String::with_capacity(base.len() + 12);
        loop {
            let index = pool.take();
            name.clear();
            let _ = write!(name, "{base}[{index}]");
            // A name that somebody chose by hand is skipped; it comes back to the pool when it is freed.
            if !names.contains_key(name.as_str()) {
                return (name, index);
            }
        }
    }

    fn is_below(&self, mut key: TreeKey, ancestor: TreeKey) -> bool {
        loop {
            if key == ancestor {
                return true;
            }
            match self.node(key).and_then(|n| n.parent) {
                Some((parent, _)) => key = parent,
                None => return false,
            }
        }
    }

    /// Takes the edge to the parent out; true: there was one.
    pub(crate) fn cut_parent(&mut self, key: TreeKey) -> bool {
        let Some(node) = self.node_mut(key) else {
            return false;
        };
        let Some((parent, age)) = node.parent.take() else {
            return false;
        };
        if let (Some(name), Some(parent)) = (node.name.take(), self.node_mut(parent)) {
            parent.children.remove(&age);
            parent.names.remove(&name);
            if let Some((base, index)) = split_index(&name) {
                parent.give_index_back(base, index);
            }
        }
        true
    }

    pub(crate) fn take_opened(&mut self, key: TreeKey) -> HandleList<Arc<dyn Handle>> {
        self.node_mut(key)
            .map(|n| std::mem::take(&mut n.opened))
            .unwrap_or_default()
    }

    pub(crate) fn take_links(&mut self, key: TreeKey) -> Vec<(Arc<str>, Hold)> {
        self.node_mut(key)
            .map(|n| std::mem::take(&mut n.links))
            .unwrap_or_default()
    }

    pub(crate) fn links(&self, key: TreeKey) -> impl Iterator<Item = (&Arc<str>, &Hold)> {
        self.node(key)
            .into_iter()
            .flat_map(|n| n.links.iter().map(|(name, hold)| (name, hold)))
    }

    /// What is open in an object's name, oldest first.
    pub(crate) fn opened(&self, key: TreeKey) -> impl Iterator<Item = &Arc<dyn Handle>> {
        self.node(key).into_iter().flat_map(|n| n.opened.iter())
    }

    /// Takes one handle off a holder's list, to be dropped outside the lock.
    pub(crate) fn forget_opened(
        &mut self,
        holder: TreeKey,
        id: HandleId,
    ) -> Option<Arc<dyn Handle>> {
        self.node_mut(holder)?.opened.remove(id)
    }

    /// The object at a place.
    pub(crate) fn object(&self, key: TreeKey) -> Option<&Arc<Object>> {
        self.node(key).map(|node| &node.object)
    }

    fn describe(&self, object: &Object) -> String {
        self.path(object.key)
            .or_else(|| object.last_path.get().map(|p| format!("{p} (withdrawn)")))
            .unwrap_or_else(|| format!("{}#{}", object.class().name(), object.id().0))
    }
}

/// `base[7]` → `("base", 7)`.
fn split_index(name: &str) -> Option<(&str, u32)> {
    let (base, rest) = name.strip_suffix(']')?.rsplit_once('[')?;
    Some((base, rest.parse().ok()?))
}

fn legal_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}

/// Adds `child` under `parent`; `name[*]` takes the lowest free index. Gives the name.
pub(crate) fn add_child(
    parent: &Arc<Object>,
    name: &str,
    child: &Arc<Object>,
) -> Result<Arc<str>, TreeError> {
    if !Arc::ptr_eq(parent.machine_inner(), child.machine_inner()) {
        return Err(TreeError::OtherMachine {
            parent: parent.describe().into(),
            parent_machine: parent.machine_name().into(),
            child: child.describe().into(),
            child_machine: child.machine_name().into(),
        });
    }
    let mut tree = parent.machine_inner().tree.lock();
    let tree = &mut *tree;
    if !legal_name(name) {
        return Err(TreeError::IllegalName {
            parent: tree.describe(parent),
            name: name.into(),
        });
    }
    if parent.is_withdrawn() || tree.node(parent.key).is_none() {
        return Err(TreeError::ParentWithdrawn {
            parent: tree.describe(parent),
            child: format!("`{name}` ({})", tree.describe(child)),
        });
    }
    if tree.is_below(parent.key, child.key) {
        return Err(TreeError::Loop {
            parent: tree.describe(parent),
            child: tree.describe(child),
        });
    }
    let Some(base) = name.strip_suffix("[*]") else {
        return place(tree, parent, name, child);
    };
    let (name, index) = tree.free_name(parent.key, base);
    let placed = place(tree, parent, &name, child);
    if placed.is_err()
        && let Some(node) = tree.node_mut(parent.key)
    {
        node.give_index_back(base, index);
    }
    placed
}

fn place(
    tree: &mut Tree,
    parent: &Arc<Object>,
    name: &str,
    child: &Arc<Object>,
) -> Result<Arc<str>, TreeError> {
    if tree
        .node(parent.key)
        .is_some_and(|n| n.names.contains_key(name))
    {
        return Err(TreeError::NameTaken {
            parent: tree.describe(parent),
            name: name.into(),
        });
    }
    if let Err(now) = child.counts.set_parented() {
        return Err(if now.is_parented() {
            TreeError::HasParent {
                child: tree.describe(child),
                parent: tree.describe(parent),
                current: tree
                    .parent_of(child.key)
                    .map_or_else(String::new, |p| tree.describe(p)),
            }
        } else {
            TreeError::ChildWithdrawn {
                parent: tree.describe(parent),
                child: tree.describe(child),
            }
        });
    }
    let age = tree.next_age;
    tree.next_age += 1;
    let name: Arc<str> = Arc::from(name);
    let node = tree
        .node_mut(parent.key)
        .expect("the caller saw the parent");
    node.children.insert(age, child.key);
    node.names.insert(name.clone(), age);
    let node = tree
        .node_mut(child.key)
        .expect("an object that is not finalized is in the arena");
    node.parent = Some((parent.key, age));
    node.name = Some(name.clone());
    Ok(name)
}

/// Opens `handle` in the name of `holder`.
pub(crate) fn open(holder: &Object, handle: Arc<dyn Handle>) -> Result<HandleId, TreeError> {
    {
        let mut tree = holder.machine_inner().tree.lock();
        let id = HandleId(tree.next_handle);
        if holder.is_complete()
            && !holder.is_withdrawn()
            && let Some(node) = tree.node_mut(holder.key)
        {
            node.opened.push(id, handle);
            tree.next_handle += 1;
            return Ok(id);
        }
    }
    // Outside the lock: the handle describes itself, and may well ask the tree.
    let (holder_path, handle) = (holder.describe(), handle.describe());
    Err(if holder.is_complete() {
        TreeError::ParentWithdrawn {
            parent: holder_path,
            child: format!("`{handle}`"),
        }
    } else {
        TreeError::DuringInit {
            holder: holder_path,
            what: handle,
        }
    })
}

/// Forgets a handle that has been or is being closed; gives it to be dropped outside the lock.
pub(crate) fn forget(holder: &Arc<Object>, id: HandleId) -> Option<Arc<dyn Handle>> {
    let mut tree = holder.machine_inner().tree.lock();
    tree.forget_opened(holder.key, id)
}

/// Handles opened since `mark`, oldest first, taken out of the holder's list.
pub(crate) fn take_opened_since(holder: &Arc<Object>, mark: HandleId) -> Vec<Arc<dyn Handle>> {
    let mut tree = holder.machine_inner().tree.lock();
    let Some(node) = tree.node_mut(holder.key) else {
        return Vec::new();
    };
    node.opened.take_since(mark)
}

/// The id that the next opened handle will have.
pub(crate) fn next_handle(holder: &Arc<Object>) -> HandleId {
    HandleId(holder.machine_inner().tree.lock().next_handle)
}

/// Sets or (with `None`) clears a strong link; gives the old one to be dropped outside the lock.
pub(crate) fn set_link(
    source: &Arc<Object>,
    name: &str,
    target: Option<Hold>,
) -> Result<Option<Hold>, TreeError> {
    let mut tree = source.machine_inner().tree.lock();
    if let Some(hold) = &target {
        if source.is_withdrawn() {
            return Err(TreeError::ParentWithdrawn {
                parent: tree.describe(source),
                child: format!("`link {name}`"),
            });
        }
        if hold.object().is_withdrawn() {
            return Err(TreeError::ChildWithdrawn {
                parent: tree.describe(source),
                child: tree.describe(hold.object()),
            });
        }
    }
    let Some(node) = tree.node_mut(source.key) else {
        return Err(TreeError::Gone(Gone {
            object: tree.describe(source),
            state: "gone",
        }));
    };
    let old = node
        .links
        .iter()
        .position(|(n, _)| &**n == name)
        .map(|at| node.links.remove(at).1);
    if let Some(hold) = target {
        node.links.push((Arc::from(name), hold));
    }
    Ok(old)
}
