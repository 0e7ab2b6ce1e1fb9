//! The block of memory of a mapping: shared by whoever has the mapping and the list of its holder, and used again by the thread that closed it.
#![expect(
    unsafe_code,
    reason = "contents that are changed where nobody else has a pointer, of which a plain counted pointer cannot be told without writing to its count"
)]
// Soundness. The contents are written by `Pair::fill` and `Pair::empty` only. A `Pair` stands for two pointers to one block, of which it keeps one and
// the other's count, and is found by `Pair::of` to be all that there are: two strong ones and no weak one. Pointers come from other pointers only,
// and nobody else has one, so there is none to be made while the pair exists. (There never is a weak one: nobody in this crate makes one,
// and `Pair::of` looks.) What others did with theirs is before: they gave them up with `Release`, and `Pair::of` has an `Acquire` fence after its look
// at the count (`tests/loom_block.rs`).
//
// The contents are there while a block is not in a pair: `fill` puts them in before it gives the two pointers away, and `Block::part` takes them out of
// a pair that `of` has just made. So `deref` always finds them: it is called by whoever has a pointer, and those in a pair are not shown to anybody.

use super::MappingInner;
use super::lent::{Lends, Lent};
use qom::layer::HandleOn;
use std::cell::{RefCell, UnsafeCell};
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

/// How many blocks a thread keeps for its next mappings.
const SPARE: usize = 16;

thread_local! {
    static PAIRS: RefCell<Vec<Pair>> = const { RefCell::new(Vec::new()) };
}

/// The block.
pub(super) struct Block(UnsafeCell<Option<MappingInner>>);

// SAFETY: what is in it is `Send` and `Sync`; for the cell see the head of the file.
unsafe impl Sync for Block {}

impl Deref for Block {
    type Target = MappingInner;
    #[inline]
    fn deref(&self) -> &MappingInner {
        // SAFETY: see the head of the file: nobody writes to it while there is a pointer outside a pair, and then it is there.
        unsafe { (*self.0.get()).as_ref().unwrap_unchecked() }
    }
}

/// All pointers that there are to one block, which is empty: what a mapping is made from. It is one of the two, and has the count of the other.
pub(super) struct Pair(Arc<Block>);

impl Block {
    /// Lets go of a mapping that has been closed, for whoever had it and the list; what is in it goes now, or with the last who is looking at it.
    #[inline]
    pub(super) fn part(mine: Arc<Self>, listed: Arc<dyn HandleOn>) {
        let Some(pair) = Pair::of(mine, listed) else {
            return;
        };
        pair.empty();
        // Where the thread keeps enough, or is at its end, it goes here.
        let _ = PAIRS.try_with(|pairs| {
            let mut pairs = pairs.borrow_mut();
            if pairs.len() < SPARE {
                pairs.push(pair);
            }
        });
    }
}

impl Pair {
    /// One for a new mapping.
    #[inline]
    pub(super) fn spare() -> Self {
        let spare = PAIRS.try_with(|pairs| pairs.borrow_mut().pop());
        match spare {
            Ok(Some(pair)) => pair,
            // The thread has none left, or is at its end.
            _ => Self::new(),
        }
    }

    #[cold]
    fn new() -> Self {
        let block = Arc::new(Block(UnsafeCell::new(None)));
        std::mem::forget(block.clone());
        Self(block)
    }

    #[inline]
    fn of(mine: Arc<Block>, listed: Arc<dyn HandleOn>) -> Option<Self> {
        // A race detector does not see what a fence does.
        let is_possible = !cfg!(holdfast_plain_atomics);
        let is_one = std::ptr::addr_eq(Arc::as_ptr(&mine), Arc::as_ptr(&listed));
        let is_all = Arc::strong_count(&mine) == 2 && Arc::weak_count(&mine) == 0;
        if !(is_possible && is_one && is_all) {
            return None;
        }
        // ORDERING: Acquire: see the head of the file.
        fence(Ordering::Acquire);
        std::mem::forget(listed);
        Some(Self(mine))
    }

    /// Drops what is in the block.
    #[inline]
    fn empty(&self) {
        // SAFETY: see the head of the file: nobody else has a pointer. What is dropped does not find its way back to this block.
        unsafe { *self.0.0.get() = None };
    }

    /// The other pointer.
    ///
    /// # Safety
    /// Once for each pair, which is no pair afterwards.
    #[inline]
    unsafe fn other(&self) -> Arc<Block> {
        // SAFETY: its count was forgotten when the pair was made.
        unsafe { Arc::from_raw(Arc::as_ptr(&self.0)) }
    }

    /// A mapping: for whoever opens it, and for the list of its holder.
    #[inline]
    pub(super) fn fill(self, inner: MappingInner) -> (Arc<Block>, Arc<dyn HandleOn>) {
        // SAFETY: as in `empty`. It is empty, so nothing is to be dropped.
        unsafe { self.0.0.get().write(Some(inner)) };
        let this = ManuallyDrop::new(self);
        // SAFETY: it is not dropped, and not used any more.
        let (one, other) = unsafe { (std::ptr::read(&raw const this.0), this.other()) };
        (one, other)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: it is the last that is done with it.
        drop(unsafe { self.other() });
    }
}

// SAFETY: a pointer to a block gives what is in it, which stays there while there is one outside a pair.
unsafe impl Lends for Arc<Block> {
    fn lent(&self) -> &Lent {
        &self.lent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AddressSpace, Backing, Gpa, Intent, Mapping, Offset, Priority, Region, RegionApi, Size,
    };
    use qom::{Container, Machine, ObjectOps, Ref};

    struct Rig {
        machine: Machine,
        ram: qom::Child<Region>,
        user: Ref<Container>,
        space: AddressSpace,
    }

    fn rig() -> Rig {
        let machine = Machine::new("blocks");
        let system = Region::container("system", Size::new(0x1_0000));
        let system = system.create(machine.root()).unwrap();
        let ram = Region::ram("ram", Backing::anonymous(0x1000).unwrap());
        let ram = ram.create(machine.root()).unwrap();
        system.add_subregion(Offset(0), &ram, Priority(0)).unwrap();
        let user = machine.create::<Container>().unwrap();
        machine.root().add_child("user", &user).unwrap();
        let space = AddressSpace::open(machine.root(), "memory", &system).unwrap();
        Rig {
            machine,
            ram,
            user,
            space,
        }
    }

    impl Rig {
        fn map(&self, addr: u64) -> Mapping {
            let mapped = self.space.map(&self.user, Gpa(addr), 16, Intent::ReadWrite);
            mapped.unwrap()
        }

        fn holds(&self) -> u64 {
            let ram = qom::layer::Target::pointer(&self.ram).unwrap();
            ram.counts().storage()
        }
    }

    fn address(mapping: &Mapping) -> *const Block {
        Arc::as_ptr(mapping.block.as_ref().unwrap())
    }

    fn spares() -> usize {
        PAIRS.with(|pairs| pairs.borrow().len())
    }

    #[test]
    fn the_next_mapping_is_where_the_last_one_was_and_is_another() {
        let rig = rig();
        let before = rig.holds();
        let first = rig.map(0x100);
        let block = address(&first);
        assert_eq!(rig.holds(), before + 1);
        drop(first);
        assert_eq!((rig.holds(), spares()), (before, 1));
        let second = rig.map(0x200);
        assert_eq!((address(&second), spares()), (block, 0));
        assert!(second.is_open() && second.addr() == Gpa(0x200));
        assert_eq!(rig.user.opened(), ["mapping of /machine/ram[0]"]);
        assert!(second.unmap(0).unwrap().is_ok());
        assert_eq!((rig.holds(), spares()), (before, 1));
        assert!(rig.user.opened().is_empty());
    }

    #[test]
    fn a_block_that_somebody_looks_at_stays_as_it_is() {
        let rig = rig();
        let before = rig.holds();
        let mapping = rig.map(0x100);
        // As whoever lists what is open has.
        let looked_at = mapping.block.clone().unwrap();
        drop(mapping);
        assert_eq!(spares(), 0);
        assert_eq!(looked_at.addr, Gpa(0x100));
        assert_eq!(looked_at.describe(), "mapping of /machine/ram[0]");
        assert_eq!(rig.holds(), before + 1, "it goes with the last look");
        let next = rig.map(0x200);
        assert!(!std::ptr::eq(address(&next), Arc::as_ptr(&looked_at)));
        drop(looked_at);
        assert_eq!((rig.holds(), spares()), (before + 1, 0));
    }

    #[test]
    fn one_that_has_ended_by_a_withdrawal_is_not_used_again() {
        let rig = rig();
        let mapping = rig.map(0x100);
        let shared = rig.map(0x200);
        assert!(shared.unmap_shared(0).unwrap().is_ok());
        rig.ram.unparent().unwrap();
        drop((mapping, shared));
        assert_eq!(spares(), 0);
        rig.machine
            .quiesce(std::time::Duration::from_secs(10))
            .unwrap();
    }

    #[test]
    fn a_thread_keeps_a_few_and_frees_them_at_its_end() {
        let rig = rig();
        let before = rig.holds();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let many: Vec<Mapping> = (0..100).map(|n| rig.map(n * 16)).collect();
                drop(many);
                assert_eq!(spares(), SPARE);
            });
        });
        // Closed by another thread than the one that opened it.
        let mapping = rig.map(0);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                drop(mapping);
                assert_eq!(spares(), 1);
            });
        });
        assert_eq!((rig.holds(), spares()), (before, 0));
    }
}
