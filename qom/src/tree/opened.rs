//! What is open in objects' names, and on objects: lists that change together, under the tree lock.

use super::{Tree, TreeKey};
use crate::error::TreeError;
use crate::object::Object;
use crate::opened::{End, Entry, Handle, HandleId, HandleOn, Opened};
use std::sync::Arc;

impl Tree {
    /// What is open in an object's name, oldest first.
    pub(crate) fn opened(&self, key: TreeKey) -> impl Iterator<Item = &Opened> {
        self.node(key).into_iter().flat_map(|n| n.opened.iter())
    }

    /// What others have opened on an object, oldest first: in whose name, and what.
    pub(crate) fn opened_on(
        &self,
        key: TreeKey,
    ) -> impl Iterator<Item = (&Arc<Object>, &Arc<dyn HandleOn>)> {
        let all = self.node(key).into_iter().flat_map(|n| n.on_it.with_ages());
        all.filter_map(|(number, holder)| {
            let holder = self.node(*holder)?;
            match holder.opened.get(number)? {
                Opened::On(handle) => Some((&holder.object, handle)),
                Opened::Alone(_) => None,
            }
        })
    }

    /// How many handles are open that were opened by [`open_on`].
    pub(crate) fn handles_on(&self) -> usize {
        self.handles_on
    }

    /// The number that the next opened handle will have.
    pub(crate) fn next_handle(&self) -> u64 {
        self.next_handle
    }

    /// Takes one handle off its holder's list, to be dropped outside the lock.
    pub(crate) fn forget_opened(&mut self, holder: TreeKey, id: HandleId) -> Option<Opened> {
        let opened = self.node_mut(holder)?.opened.remove(id.0)?;
        self.taken(id.0, &opened, End::Closed);
        Some(opened)
    }

    /// Takes the youngest handle off an object's list of which the number is at least `from` and below `below`: because its holder is withdrawn or
    /// unrealized. Gives its number, too.
    pub(crate) fn pop_opened(
        &mut self,
        holder: TreeKey,
        from: u64,
        below: u64,
    ) -> Option<(u64, Opened)> {
        let node = self.node_mut(holder)?;
        let (number, opened) = node.opened.pop_within(from, below)?;
        self.taken(number, &opened, End::Withdrawn);
        Some((number, opened))
    }

    /// Takes the youngest handle that is open on an object off all lists: because the object is withdrawn.
    pub(crate) fn pop_opened_on(&mut self, on: TreeKey) -> Option<Arc<dyn HandleOn>> {
        loop {
            let (number, holder) = self.node_mut(on)?.on_it.pop_within(0, u64::MAX)?;
            // INVARIANT: it is on its holder's list as well, and was opened on something.
            let Some(Opened::On(handle)) = self.node_mut(holder)?.opened.remove(number) else {
                continue;
            };
            self.handles_on -= 1;
            handle.entry().end(End::Withdrawn);
            return Some(handle);
        }
    }

    /// Takes a handle off both lists that its entry names, unless somebody has done so. `is_read`: others may ask for its standing without the lock.
    #[inline]
    pub(crate) fn close_on(&mut self, entry: &Entry, is_read: bool) -> Option<Arc<dyn HandleOn>> {
        let number = entry.number()?;
        let Opened::On(handle) = self.node_mut(entry.holder)?.opened.remove(number)? else {
            return None;
        };
        if let Some(on) = entry.on
            && let Some(node) = self.node_mut(on)
        {
            node.on_it.remove(number);
        }
        self.handles_on -= 1;
        if is_read {
            entry.end(End::Closed);
        } else {
            entry.end_unread();
        }
        Some(handle)
    }

    /// What has been taken off its holder's list leaves that of the other object as well, and says how it has ended.
    fn taken(&mut self, number: u64, opened: &Opened, how: End) {
        let Opened::On(handle) = opened else {
            return;
        };
        let entry = handle.entry();
        if let Some(on) = entry.on
            && let Some(node) = self.node_mut(on)
        {
            node.on_it.remove(number);
        }
        self.handles_on -= 1;
        entry.end(how);
    }
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
            node.opened.push(id.0, Opened::Alone(handle));
            tree.next_handle += 1;
            return Ok(id);
        }
    }
    // Outside the lock: the handle describes itself, and may well ask the tree.
    Err(refusal(holder, &handle.describe()))
}

/// Opens `handle` in the name of `holder`, on `on` where it is on something; `entry` is the handle's, and names both.
#[inline]
pub(crate) fn open_on(
    holder: &Object,
    on: Option<&Object>,
    entry: &Entry,
    handle: Arc<dyn HandleOn>,
) -> Result<(), TreeError> {
    {
        let mut tree = holder.machine_inner().tree.lock();
        let number = tree.next_handle;
        let is_there = on.is_none_or(|on| !on.is_withdrawn() && tree.node(on.key).is_some());
        if is_there
            && holder.is_complete()
            && !holder.is_withdrawn()
            && let Some(node) = tree.node_mut(holder.key)
        {
            entry.begin(number);
            node.opened.push(number, Opened::On(handle));
            if let Some(node) = on.and_then(|on| tree.node_mut(on.key)) {
                node.on_it.push(number, holder.key);
            }
            tree.next_handle += 1;
            tree.handles_on += 1;
            return Ok(());
        }
    }
    Err(match on {
        Some(on) if holder.is_complete() && !holder.is_withdrawn() => TreeError::ChildWithdrawn {
            parent: holder.describe(),
            child: on.describe(),
        },
        _ => refusal(holder, &handle.describe()),
    })
}

/// Why nothing is opened in an object's name.
#[cold]
fn refusal(holder: &Object, what: &str) -> TreeError {
    let path = holder.describe();
    if holder.is_complete() {
        TreeError::ParentWithdrawn {
            parent: path,
            child: format!("`{what}`"),
        }
    } else {
        TreeError::DuringInit {
            holder: path,
            what: what.into(),
        }
    }
}
