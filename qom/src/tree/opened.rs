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
        // INVARIANT: it is on this list alone: ids are given by `open` only.
        self.node_mut(holder)?.opened.remove(id.0)
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
        if let Opened::On(handle) = &opened {
            self.leave(number, handle.entry());
            handle.entry().end(End::Withdrawn);
        }
        Some((number, opened))
    }

    /// Takes the youngest handle that is open on an object off all lists: because the object is withdrawn.
    pub(crate) fn pop_opened_on(&mut self, on: TreeKey) -> Option<Arc<dyn HandleOn>> {
        let (number, holder) = self.node_mut(on)?.on_it.pop_within(0, u64::MAX)?;
        // INVARIANT: it is on its holder's list as well, and was opened on something.
        let Opened::On(handle) = self.node_mut(holder)?.opened.remove(number)? else {
            return None;
        };
        self.handles_on -= 1;
        handle.entry().end(End::Withdrawn);
        Some(handle)
    }

    /// Takes a handle off both lists that its entry names, unless somebody has done so. `is_read`: others may ask for its standing without the lock.
    #[inline]
    pub(crate) fn close_on(&mut self, entry: &Entry, is_read: bool) -> Option<Arc<dyn HandleOn>> {
        let number = entry.number()?;
        let Opened::On(handle) = self.node_mut(entry.holder)?.opened.remove(number)? else {
            return None;
        };
        self.leave(number, entry);
        if is_read {
            entry.end(End::Closed);
        } else {
            entry.end_unread();
        }
        Some(handle)
    }

    /// What has been taken off its holder's list leaves that of the other object as well.
    #[inline]
    fn leave(&mut self, number: u64, entry: &Entry) {
        if let Some(on) = entry.on
            && let Some(node) = self.node_mut(on)
        {
            node.on_it.remove(number);
        }
        self.handles_on -= 1;
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
    debug_assert_eq!(
        (entry.holder, entry.on),
        (holder.key, on.map(|on| on.key)),
        "it is opened where its entry says"
    );
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::ledger::Reason;
    use crate::{Container, Machine, ObjectOps, layer};
    use std::panic::Location;

    struct Plain(Entry);

    impl HandleOn for Plain {
        fn entry(&self) -> &Entry {
            &self.0
        }
        fn end(self: Arc<Self>) {}
        fn describe(&self) -> String {
            "plain".into()
        }
        fn edge(&self) -> (Reason, &'static Location<'static>) {
            (Reason("plain"), Location::caller())
        }
    }

    /// How many stand in the name of the first, and on the second.
    fn listed(holder: &Object, on: &Object) -> (usize, usize) {
        let tree = holder.machine_inner().tree.lock();
        let list = |key| tree.node(key).expect("it is there");
        (list(holder.key).opened.len(), list(on.key).on_it.len())
    }

    #[test]
    fn what_leaves_one_list_leaves_the_other() {
        let machine = Machine::new("lists");
        let (user, shown) = ["user", "shown"]
            .map(|name| {
                let made = machine.create::<Container>().unwrap();
                machine.root().add_child(name, &made).unwrap();
                made
            })
            .into();
        let (holder, on) = (user.object(), shown.object());
        let open = || {
            let plain = Arc::new(Plain(Entry::of(holder, Some(on))));
            open_on(holder, Some(on), &plain.0, plain.clone()).unwrap();
            plain
        };
        let [a, b, c, d] = [open(), open(), open(), open()];
        assert_eq!(listed(holder, on), (4, 4));
        assert!(b.0.close(&machine).is_some());
        assert_eq!(listed(holder, on), (3, 3));
        assert!(d.0.close_unread(&machine).is_some());
        assert_eq!(listed(holder, on), (2, 2));
        let mut tree = holder.machine_inner().tree.lock();
        assert!(tree.pop_opened_on(on.key).is_some());
        drop(tree);
        assert_eq!(listed(holder, on), (1, 1));
        assert_eq!((a.0.number(), c.0.number()), (Some(0), None));
        user.unparent().unwrap();
        assert_eq!(listed(holder, on), (0, 0));
        assert_eq!(layer::handles_on(&machine), 0);
    }
}
