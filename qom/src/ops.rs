//! What can be done with whatever names an object: handles of all kinds and instances themselves.

use crate::error::TreeError;
use crate::handle::{Child, Ref};
use crate::hold::Hold;
use crate::layer::Target;
use crate::ledger::{Holder, Reason};
use crate::object::{Object, ObjectImpl, RootObject};
use crate::opened::{Handle, HandleId, Opened};
use crate::ticket::Ticket;
use crate::withdraw;
use std::sync::Arc;

/// Operations on the tree. Any thread, also inside read sections, callbacks, hooks and transactions, unless it says otherwise.
pub trait ObjectOps: Target {
    /// Adds `child` under this object; `name[*]` takes the lowest free index. Gives the name it got.
    ///
    /// # Errors
    /// Either is withdrawn or gone, the child has a parent, the name is taken or illegal, the machines differ, or the child is above.
    fn add_child(&self, name: &str, child: &(impl Target + ?Sized)) -> Result<Arc<str>, TreeError> {
        let added = crate::tree::add_child(&self.pointer()?, name.into(), &child.pointer()?);
        added.map(|name| name.shared())
    }

    /// Withdraws this object and everything below it. Where the caller may wait, all hooks have run when this returns; elsewhere
    /// the ticket says when. Withdrawn already, perhaps by another thread: only the waiting is left. No parent: a no-op.
    ///
    /// The caller holds no lock that a hook takes, of this subtree or of one that was withdrawn before; for everybody else there is
    /// [`unparent_async`](Self::unparent_async).
    ///
    /// # Errors
    /// The object is gone, or the caller is inside a listener.
    fn unparent(&self) -> Result<Ticket, TreeError> {
        withdraw::unparent(&self.pointer()?, true)
    }

    /// As [`unparent`](Self::unparent), and never waits: from here no new access reaches the subtree; the hooks run on the executor.
    ///
    /// # Errors
    /// The object is gone, or the caller is inside a listener.
    fn unparent_async(&self) -> Result<Ticket, TreeError> {
        withdraw::unparent(&self.pointer()?, false)
    }

    /// Opens `handle` in this object's name: its withdrawal closes it.
    ///
    /// # Errors
    /// The object is withdrawn, gone, or still in init.
    fn open(&self, handle: Arc<dyn Handle>) -> Result<HandleId, TreeError> {
        self.with(|holder| crate::tree::open(holder, handle))?
    }

    /// Sets the strong link called `name`; it is cut when this object is withdrawn.
    ///
    /// # Errors
    /// This object or the target is withdrawn or gone, or they are in two machines.
    #[track_caller]
    fn set_link(&self, name: &str, target: &(impl Target + ?Sized)) -> Result<(), TreeError> {
        let (source, target) = (self.pointer()?, target.pointer()?);
        if !crate::layer::same_machine(&source, &target) {
            return Err(TreeError::OtherMachine {
                parent: Object::describe(&source).into(),
                parent_machine: source.machine_name().into(),
                child: Object::describe(&target).into(),
                child_machine: target.machine_name().into(),
            });
        }
        let Some(hold) = Hold::new(&target, Reason::LINK, Holder::object(&source)) else {
            return Err(TreeError::ChildWithdrawn {
                parent: Object::describe(&source),
                child: Object::describe(&target),
            });
        };
        drop(crate::tree::set_link(&source, name, Some(hold))?);
        Ok(())
    }

    /// Clears the link called `name`.
    ///
    /// # Errors
    /// This object is gone.
    fn clear_link(&self, name: &str) -> Result<(), TreeError> {
        drop(crate::tree::set_link(&self.pointer()?, name, None)?);
        Ok(())
    }

    /// The target of the link called `name`, where it is a `T` and not withdrawn.
    #[track_caller]
    fn link<T: ObjectImpl>(&self, name: &str) -> Option<Ref<T>> {
        let source = self.pointer().ok()?;
        let target = {
            let tree = source.machine_inner().tree.lock();
            tree.links(source.key)
                .find(|(n, _)| &***n == name)
                .map(|(_, hold)| hold.object().pointer())?
        };
        if target.class().is_a::<T>() && target.counts.upgrade() {
            Some(Ref::adopt(target))
        } else {
            None
        }
    }

    /// The child called `name`, where it is a `T`.
    fn child_named<T: ObjectImpl>(&self, name: &str) -> Option<Child<T>> {
        let parent = self.pointer().ok()?;
        let child = parent
            .machine_inner()
            .tree
            .lock()
            .child_named(parent.key, name)?
            .clone();
        child
            .class()
            .is_a::<T>()
            .then(|| Child::from_weak(child.weak()))
    }

    /// Names and handles of the children, oldest first.
    fn children(&self) -> Vec<(Arc<str>, Child<RootObject>)> {
        let Ok(parent) = self.pointer() else {
            return Vec::new();
        };
        let tree = parent.machine_inner().tree.lock();
        tree.children(parent.key)
            .filter_map(|c| Some((tree.name_of(c.key)?, Child::from_weak(c.weak()))))
            .collect()
    }

    /// What is open in this object's name, oldest first, in words.
    fn opened(&self) -> Vec<String> {
        let Ok(holder) = self.pointer() else {
            return Vec::new();
        };
        let opened: Vec<Opened> = holder
            .machine_inner()
            .tree
            .lock()
            .opened(holder.key)
            .cloned()
            .collect();
        opened.iter().map(Opened::describe).collect()
    }

    /// The canonical path.
    fn path(&self) -> Option<String> {
        Object::path(&*self.pointer().ok()?)
    }

    /// A name for messages: the path, the path it had, or type and id.
    fn describe(&self) -> String {
        self.pointer()
            .map_or_else(|gone| gone.to_string(), |o| Object::describe(&o))
    }
}

impl<T: Target + ?Sized> ObjectOps for T {}
