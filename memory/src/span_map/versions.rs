//! Which versions of a map are alive, and so which of its nodes somebody may reach.
#![expect(
    unsafe_code,
    reason = "nodes are freed by whoever lets go of the last version that has them, and no node counts"
)]
// A version is made from the newest one, shares most of its nodes, and differs in a few: so the versions of a lineage are a row, each with a number, and each
// node is in those from the one that it was made for up to the one in which another stands in its place. Nobody counts who has a node. A
// count for each would be raised for all siblings of whatever is replaced, and lowered again when the old version goes; with thousands of ranges each of
// these is in no cache. In its place, each version that is alive has a list of what is in it and in no later one.
//
// INVARIANT: a node that was published and not freed is either in the newest version that is alive, or on exactly one list: that of the last version alive
// that has it.
//
// - A version is made from the newest alone, by one change at a time; what it replaces goes on the list of the one that it was made from, which
//   is alive, as the change borrows it.
// - A version that is not the newest goes: what is on its list is in no later version. It is in the one alive before it where it is not younger than that,
//   and goes on its list; else it is in none, and is freed.
// - The newest goes: nodes that are not younger than the one before it are in that as well, which is the newest now, so that its list has nothing any
//   more. The younger ones are in none, and are freed. A node is never younger than what points to it, so that they are found from the top without a look below
//   any that is not.
//
// Soundness: a node is freed after its last version has been taken out of the row, under the lock of the lineage, by the thread that then frees it, so
// that nobody has it: readers of a version borrow it, and a version leaves the row when its last count is gone. What others did with the node in this and in
// earlier versions is before that: each version left the row under the same lock, behind its own last count (`Arc`). Where several versions are alive nodes of the newest are
// looked at under the lock too, as those that stay belong to others; where it is the only one nobody else can make or free any. Nothing but this file
// runs under the lock: values are dropped behind it.
//
// Values are as nodes are: each is in the versions from the one that it was put in for up to the one that has another in its place. Copies of a node have
// copies of the values that stay, bit by bit (where a type of values does not allow that: clones, each put in for the version of its node), which nobody
// drops; a value that no later version has goes on the list, by itself, and is dropped from there, once: a value is told of when it
// is taken out, which happens once on the way from the version that it came with to the newest, and where versions are given up from the newest on it is
// found once in the youngest copy of its node, as the lists with older copies of it are forgotten then.

use smallvec::SmallVec;
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};

use crate::sync::{Arc, Mutex, MutexGuard, lock};

/// A pointer to a node.
pub(super) trait Part: Copy {
    /// What nodes have values of.
    type Value;

    /// The number of the version that it was made for.
    fn born(self) -> u32;

    /// Hands out the nodes that it points to.
    fn each_below(self, found: &mut dyn FnMut(Self));

    /// Hands out the values in it.
    fn each_value(self, found: &mut dyn FnMut(Dated<Self::Value>));

    /// Gives its memory back, and drops nothing that is in it.
    ///
    /// # Safety
    ///
    /// Nobody reaches it any more, and what others did with it is before this call.
    unsafe fn free(self);
}

/// A value, or one of its copies bit by bit, and for which version it was put in. Nothing drops it by itself.
pub(super) struct Dated<T> {
    born: u32,
    value: ManuallyDrop<T>,
}

impl<T> Dated<T> {
    /// A value that was put in for the version of this number.
    pub(super) fn new(born: u32, value: T) -> Self {
        Self {
            born,
            value: ManuallyDrop::new(value),
        }
    }

    pub(super) fn born(&self) -> u32 {
        self.born
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// It is not dropped but by whoever frees the last of its copies.
    pub(super) unsafe fn into_inner(self) -> T {
        ManuallyDrop::into_inner(self.value)
    }

    /// # Safety
    ///
    /// As of all that is freed: nobody reaches any of its copies any more, and what others did with it is before this call.
    unsafe fn free(mut self) {
        // SAFETY: the caller's word.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

/// What is in one version and in no later one: a leaf, the way to it and a value, most often.
struct Gone<P: Part> {
    parts: SmallVec<[P; 4]>,
    values: SmallVec<[Dated<P::Value>; 1]>,
}

impl<P: Part> Gone<P> {
    fn new() -> Self {
        Self {
            parts: SmallVec::new(),
            values: SmallVec::new(),
        }
    }

    /// Adds what was made later than the version of this number, from `part` on.
    fn add_younger(&mut self, part: P, number: u32) {
        if part.born() > number {
            self.parts.push(part);
            part.each_value(&mut |value| {
                if value.born > number {
                    self.values.push(value);
                }
            });
            part.each_below(&mut |below| self.add_younger(below, number));
        }
    }

    /// Gives another what was made for the version of this number or an earlier one.
    fn give_older(&mut self, number: u32, other: &mut Self) {
        self.parts.retain(|part| {
            let goes = part.born() <= number;
            if goes {
                other.parts.push(*part);
            }
            !goes
        });
        let mut at = 0;
        while let Some(value) = self.values.get(at) {
            if value.born <= number {
                other.values.push(self.values.swap_remove(at));
            } else {
                at += 1;
            }
        }
    }

    /// # Safety
    ///
    /// Nobody reaches any of it any more, and what others did with it is before this call.
    unsafe fn free(self) {
        for part in self.parts {
            // SAFETY: the caller's word.
            unsafe { part.free() };
        }
        for value in self.values {
            // SAFETY: the caller's word.
            unsafe { value.free() };
        }
    }
}

/// The versions that come one from the other.
struct Lineage<P: Part> {
    row: Mutex<Row<P>>,
}

struct Row<P: Part> {
    /// The number of the newest that is alive, which has no list, as there is no later one.
    newest: u32,
    /// Those before it that are alive, by number.
    alive: VecDeque<Alive<P>>,
    /// The highest number that was given.
    last: u32,
    /// Whether somebody makes a version from the newest.
    is_changing: bool,
}

struct Alive<P: Part> {
    number: u32,
    gone: Gone<P>,
}

/// One version, which keeps what is below its root.
pub(super) struct Version<P: Part> {
    lineage: Arc<Lineage<P>>,
    number: u32,
    root: P,
}

/// A version that is being made.
pub(super) struct Change<'a, P: Part> {
    of: Option<&'a Version<P>>,
    number: u32,
    gone: Gone<P>,
}

impl<P: Part> Lineage<P> {
    fn row(&self) -> MutexGuard<'_, Row<P>> {
        lock(&self.row)
    }
}

impl<P: Part> Version<P> {
    /// A version is made from this one. None where it is not the newest, somebody else makes one from it, or the numbers are used up.
    pub(super) fn begin(&self) -> Option<Change<'_, P>> {
        let mut row = self.lineage.row();
        if row.newest != self.number || row.is_changing {
            return None;
        }
        row.last = row.last.checked_add(1)?;
        row.is_changing = true;
        Some(Change {
            of: Some(self),
            number: row.last,
            gone: Gone::new(),
        })
    }
}

impl<P: Part> Change<'_, P> {
    /// The first version of a lineage is made.
    pub(super) fn first() -> Self {
        Self {
            of: None,
            number: 1,
            gone: Gone::new(),
        }
    }

    /// The number that what is made for the new version is to have.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The new version does not have this part, nor has the change itself from now on. What is below it is not asked.
    ///
    /// # Safety
    ///
    /// Nothing that this change has made points to it, or will; it is told once. It is in the version that the change was begun from, or the change
    /// has made it.
    #[inline]
    pub(super) unsafe fn retire(&mut self, part: P) {
        if part.born() == self.number {
            // SAFETY: only this change ever had it, and the caller says that it has no more.
            unsafe { part.free() };
        } else {
            self.gone.parts.push(part);
        }
    }

    /// The same of a value, or of one of its copies.
    ///
    /// # Safety
    ///
    /// As of a part.
    #[inline]
    pub(super) unsafe fn retire_value(&mut self, value: Dated<P::Value>) {
        if value.born == self.number {
            // SAFETY: as in `retire`.
            unsafe { value.free() };
        } else {
            self.gone.values.push(value);
        }
    }

    /// The new version: what is below `root`.
    pub(super) fn finish(&mut self, root: P) -> Arc<Version<P>> {
        let lineage = if let Some(of) = self.of.take() {
            let mut row = of.lineage.row();
            // INVARIANT: it is the newest still: it is borrowed, and nobody else made one from it.
            row.alive.push_back(Alive {
                number: of.number,
                gone: mem::replace(&mut self.gone, Gone::new()),
            });
            row.newest = self.number;
            row.is_changing = false;
            drop(row);
            Arc::clone(&of.lineage)
        } else {
            Arc::new(Lineage {
                row: Mutex::new(Row {
                    newest: self.number,
                    alive: VecDeque::new(),
                    last: self.number,
                    is_changing: false,
                }),
            })
        };
        Arc::new(Version {
            lineage,
            number: self.number,
            root,
        })
    }
}

impl<P: Part> Drop for Change<'_, P> {
    /// Without an end: everything stays in the version that it was begun from.
    fn drop(&mut self) {
        if let Some(of) = self.of {
            of.lineage.row().is_changing = false;
        }
    }
}

impl<P: Part> Drop for Version<P> {
    fn drop(&mut self) {
        let mut row = self.lineage.row();
        let mut gone;
        if row.newest == self.number {
            let Some(before) = row.alive.pop_back() else {
                drop(row);
                return free_all(self.root);
            };
            row.newest = before.number;
            gone = Gone::new();
            gone.add_younger(self.root, before.number);
        } else {
            // INVARIANT: a version is in the row until it goes.
            let at = if row.alive.front().is_some_and(|v| v.number == self.number) {
                // Most often they go in the order in which they came.
                Ok(0)
            } else {
                row.alive.binary_search_by_key(&self.number, |v| v.number)
            };
            let Some(this) = at.ok().and_then(|at| row.alive.remove(at)) else {
                return;
            };
            gone = this.gone;
            let before = at.ok().and_then(|at| at.checked_sub(1));
            if let Some(before) = before.and_then(|at| row.alive.get_mut(at)) {
                gone.give_older(before.number, &mut before.gone);
            }
        }
        drop(row);
        // SAFETY: see the head of the file: it was on the list of the last version that had it, or is younger than all that are left.
        unsafe { gone.free() };
    }
}

/// Frees all that is below, too.
fn free_all<P: Part>(part: P) {
    part.each_below(&mut free_all);
    // SAFETY: see the head of the file: it was in the only version alive, which has left the row.
    part.each_value(&mut |value| unsafe { value.free() });
    // SAFETY: as above.
    unsafe { part.free() };
}
