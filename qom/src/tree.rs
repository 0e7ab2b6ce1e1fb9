//! The object tree of a machine: parents, children, names, what each object has opened and linked, and what is opened on it.
//!
//! One arena under one lock, the machine's innermost: nothing is called under it and nothing is dropped under it that could
//! run somebody's code. Whoever adds a child, a handle or a link tests the withdrawn mark under it, and step 0 of a
//! withdrawal sets the mark under it, so nothing slips in behind.

mod children;
mod new_name;
mod opened;

pub(crate) use new_name::NewName;
pub(crate) use opened::{open, open_on};

use crate::by_age::ByAge;
use crate::counts::CountsNow;
use crate::error::{Gone, TreeError};
use crate::hold::Hold;
use crate::name::Name;
use crate::object::Object;
use crate::opened::Opened;
use children::Children;
use smallvec::SmallVec;
use std::sync::Arc;

/// An object's place in the arena. Places are used again; the stamp tells a new tenant from the one that a stale pointer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TreeKey {
    at: usize,
    stamp: u64,
}

/// What one object has in the tree.
pub(crate) struct Node {
    stamp: u64,
    pub(crate) object: Arc<Object>,
    parent: Option<(TreeKey, u64)>,
    /// None: it has no parent and is no root.
    name: Option<Name>,
    children: Children,
    /// By the handles' numbers.
    opened: ByAge<Opened>,
    /// What others have opened on this object, by the handles' numbers: in whose name.
    ///
    /// INVARIANT: each of them is on the list of its holder too.
    on_it: ByAge<TreeKey>,
    links: Vec<(Arc<str>, Hold)>,
}

/// What a withdrawn object may have left in the tree, to be taken from it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Left {
    pub(crate) opened: bool,
    pub(crate) links: bool,
}

/// The arena.
#[derive(Default)]
pub(crate) struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<usize>,
    next_stamp: u64,
    next_age: u64,
    next_handle: u64,
    /// How many handles are open that were opened by [`open_on`].
    handles_on: usize,
    /// Where paths are written before it is known how long they are.
    text: String,
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
            children: Children::default(),
            opened: ByAge::default(),
            on_it: ByAge::default(),
            links: Vec::new(),
        });
    }

    /// Takes a finalized object's node out. The caller drops it outside the lock.
    pub(crate) fn remove(&mut self, key: TreeKey) -> Option<Node> {
        self.node(key)?;
        self.free.push(key.at);
        self.nodes[key.at].take()
    }

    #[inline]
    pub(crate) fn node(&self, key: TreeKey) -> Option<&Node> {
        let node = self.nodes.get(key.at)?.as_ref()?;
        (node.stamp == key.stamp).then_some(node)
    }

    #[inline]
    fn node_mut(&mut self, key: TreeKey) -> Option<&mut Node> {
        node_at(&mut self.nodes, key)
    }

    /// All objects, in no particular order.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.nodes.iter().flatten().map(|n| &n.object)
    }

    /// The canonical path; none where the object is not below a root called by a name.
    pub(crate) fn path(&self, key: TreeKey) -> Option<String> {
        let mut path = String::new();
        self.write_path(key, &mut path).then_some(path)
    }

    /// The same for several to share.
    pub(crate) fn shared_path(&mut self, key: TreeKey) -> Option<Arc<str>> {
        let mut path = std::mem::take(&mut self.text);
        path.clear();
        let is_there = self.write_path(key, &mut path);
        let shared = is_there.then(|| Arc::from(path.as_str()));
        self.text = path;
        shared
    }

    /// Appends the canonical path; false: there is none.
    fn write_path(&self, key: TreeKey, path: &mut String) -> bool {
        let Some(parts) = self.parts(key) else {
            return false;
        };
        path.reserve(parts.iter().map(|part| part.len() + 1).sum());
        for part in parts.iter().rev() {
            path.push('/');
            path.push_str(part);
        }
        true
    }

    /// The parts of the canonical path, the last one first.
    fn parts(&self, key: TreeKey) -> Option<SmallVec<[&str; 8]>> {
        let mut parts: SmallVec<[&str; 8]> = SmallVec::new();
        let mut node = self.node(key)?;
        while let Some((parent, _)) = node.parent {
            parts.push(node.name.as_ref()?.as_str());
            node = self.node(parent)?;
        }
        // The root of the machine is the one object without a parent that has a name.
        parts.push(node.name.as_ref()?.as_str());
        Some(parts)
    }

    pub(crate) fn name_root(&mut self, key: TreeKey, name: &str) {
        if let Some(node) = self.node_mut(key) {
            node.name = Some(name.into());
        }
    }

    pub(crate) fn parent_of(&self, key: TreeKey) -> Option<&Arc<Object>> {
        let (parent, _) = self.node(key)?.parent?;
        Some(&self.node(parent)?.object)
    }

    pub(crate) fn name_of(&self, key: TreeKey) -> Option<Arc<str>> {
        Some(self.node(key)?.name.as_ref()?.shared())
    }

    /// Children with their names, oldest first.
    pub(crate) fn named_children(
        &self,
        key: TreeKey,
    ) -> impl DoubleEndedIterator<Item = (&Name, &Arc<Object>)> {
        self.node(key)
            .into_iter()
            .flat_map(|n| n.children.iter())
            .filter_map(|(name, k)| Some((name, self.object(k)?)))
    }

    pub(crate) fn count_children(&self, key: TreeKey) -> usize {
        self.node(key).map_or(0, |node| node.children.len())
    }

    /// Children, oldest first.
    pub(crate) fn children(&self, key: TreeKey) -> impl DoubleEndedIterator<Item = &Arc<Object>> {
        self.named_children(key).map(|(_, child)| child)
    }

    pub(crate) fn child_named(&self, key: TreeKey, name: &str) -> Option<&Arc<Object>> {
        let child = self.node(key)?.children.named(name)?;
        self.object(child)
    }

    fn is_below(&self, mut key: TreeKey, ancestor: TreeKey) -> bool {
        if key != ancestor && self.node(ancestor).is_none_or(|n| n.children.is_empty()) {
            return false;
        }
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
        node.name = None;
        if let Some(parent) = self.node_mut(parent) {
            parent.children.remove(age);
        }
        true
    }

    /// Takes the edges to their parents out of what was withdrawn together: children before parents, the one below which the others are is the
    /// last. The lists of those that lose all their children go as they are.
    pub(crate) fn cut_parents(&mut self, batch: &[Arc<Object>]) {
        let Some((root, below)) = batch.split_last() else {
            return;
        };
        for object in below {
            if let Some(node) = self.node_mut(object.key) {
                node.parent = None;
                node.name = None;
            }
        }
        for object in batch {
            // INVARIANT: all children are in the batch: none has come since the mark, and those that were withdrawn before it have been cut, as their
            // withdrawal was queued before.
            if let Some(node) = self.node_mut(object.key) {
                node.children = Children::default();
            }
        }
        self.cut_parent(root.key);
    }

    /// What objects that are withdrawn have left. None of them gets more: what opens and what links is refused from the mark on.
    pub(crate) fn left(&self, batch: &[Arc<Object>]) -> SmallVec<[Left; 8]> {
        let mut all = SmallVec::with_capacity(batch.len());
        for object in batch {
            let node = self.node(object.key);
            all.push(node.map_or_else(Left::default, |node| Left {
                opened: node.opened.len() > 0,
                links: !node.links.is_empty(),
            }));
        }
        all
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

    /// The object at a place.
    pub(crate) fn object(&self, key: TreeKey) -> Option<&Arc<Object>> {
        self.node(key).map(|node| &node.object)
    }

    /// The edge itself.
    fn place(&mut self, parent: TreeKey, child: TreeKey, name: &Name) {
        let age = self.next_age;
        self.next_age += 1;
        let node = self.node_mut(parent).expect("the caller saw the parent");
        node.children.add(age, child, name.clone());
        let node = self
            .node_mut(child)
            .expect("an object that is not finalized is in the arena");
        node.parent = Some((parent, age));
        node.name = Some(name.clone());
    }

    /// Why an object does not get a parent.
    fn refusal(&self, parent: &Object, child: &Object, now: CountsNow) -> TreeError {
        let current = self.parent_of(child.key);
        // A withdrawal's last step takes the edge first, and then what the word says of it.
        if now.is_parented() && (current.is_some() || !now.is_withdrawn()) {
            TreeError::HasParent {
                child: self.describe(child),
                parent: self.describe(parent),
                current: current.map_or_else(String::new, |p| self.describe(p)),
            }
        } else {
            TreeError::ChildWithdrawn {
                parent: self.describe(parent),
                child: self.describe(child),
            }
        }
    }

    fn describe(&self, object: &Object) -> String {
        self.path(object.key)
            .unwrap_or_else(|| object.describe_pathless())
    }
}

#[inline]
fn node_at(nodes: &mut [Option<Node>], key: TreeKey) -> Option<&mut Node> {
    let node = nodes.get_mut(key.at)?.as_mut()?;
    (node.stamp == key.stamp).then_some(node)
}

/// Adds `child` under `parent`. Gives the name.
pub(crate) fn add_child(
    parent: &Arc<Object>,
    name: NewName<'_>,
    child: &Arc<Object>,
) -> Result<Name, TreeError> {
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
    if !name.is_legal() {
        return Err(TreeError::IllegalName {
            parent: tree.describe(parent),
            name: name.to_string(),
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
    let siblings = &mut node_at(&mut tree.nodes, parent.key)
        .expect("it has been seen above")
        .children;
    let (new, index) = match name {
        NewName::Indexed(base) => siblings.free_name(base),
        NewName::Exact(name) if siblings.named(name).is_some() => {
            return Err(TreeError::NameTaken {
                parent: tree.describe(parent),
                name: name.into(),
            });
        }
        NewName::Exact(name) => (name.into(), 0),
    };
    if let Err(now) = child.counts.set_parented() {
        if let NewName::Indexed(base) = name {
            siblings.give_back(base, index);
        }
        return Err(tree.refusal(parent, child, now));
    }
    tree.place(parent.key, child.key, &new);
    Ok(new)
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
