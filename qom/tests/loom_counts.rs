//! Models of the count word and of what is listed beside it: every interleaving of the threads that meet there, and beside each model a
//! twin in which the protocol is broken on purpose, to see that the model would notice.
//!
//! What goes wrong is noted and the model goes on: loom does not survive a panic while one of its locks is held.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p qom --release --test loom_counts`

#![cfg(loom)]

#[expect(
    dead_code,
    reason = "the word is included whole; each model uses what it is about"
)]
#[expect(
    unreachable_pub,
    reason = "what the library shows of the word is public there"
)]
#[path = "../src/counts.rs"]
mod counts;

mod sync {
    //! Where the word looks for its atomics.
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
}

use counts::{Counts, Dropped};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex, RwLock};
use loom::thread;
use std::collections::BTreeSet;

/// What went wrong in any interleaving of a model.
#[derive(Clone, Default)]
struct Faults(std::sync::Arc<std::sync::Mutex<BTreeSet<&'static str>>>);

impl Faults {
    fn unless(&self, fine: bool, fault: &'static str) {
        if !fine {
            self.0.lock().unwrap().insert(fault);
        }
    }
}

/// Explores a model and gives all that went wrong in it.
fn explore(model: impl Fn(&Faults) + Send + Sync + 'static) -> BTreeSet<&'static str> {
    let faults = Faults::default();
    let seen = faults.clone();
    loom::model(move || model(&seen));
    let found = faults.0.lock().unwrap();
    found.clone()
}

fn none() -> BTreeSet<&'static str> {
    BTreeSet::new()
}

/// An object: its word, its tree's lock, and how often it was withdrawn and finalized.
struct Object {
    counts: Counts,
    tree: Mutex<()>,
    withdrawals: AtomicUsize,
    finalized: AtomicUsize,
    /// Whether it was given a parent, and whether it was withdrawn for want of one.
    added: AtomicUsize,
    unwanted: AtomicUsize,
    faults: Faults,
}

impl Object {
    fn new(faults: &Faults) -> Self {
        Self {
            faults: faults.clone(),
            counts: Counts::new(),
            tree: Mutex::new(()),
            withdrawals: AtomicUsize::new(0),
            finalized: AtomicUsize::new(0),
            added: AtomicUsize::new(0),
            unwanted: AtomicUsize::new(0),
        }
    }

    fn finalize(&self) {
        let now = self.counts.now();
        self.faults
            .unless(now.storage() == 0, "finalized while held");
        self.faults
            .unless(now.is_withdrawn(), "finalized without a withdrawal");
        self.faults
            .unless(self.counts.mark_finalized(), "finalized twice");
        self.finalized.fetch_add(1, Ordering::SeqCst);
    }

    /// Steps 2 and 3.
    fn tear_down(&self, carries_storage: bool) {
        self.withdrawals.fetch_add(1, Ordering::SeqCst);
        let alive = !self.counts.now().is_finalized();
        self.faults.unless(alive, "hooks run on a finalized object");
        let parent_was_last = self.counts.clear_parented();
        let carried_was_last = carries_storage && self.counts.release();
        if parent_was_last || carried_was_last {
            self.finalize();
        }
    }

    /// What the dropper of a handle does with the word's answer.
    fn dropped(&self, answer: Dropped) {
        match answer {
            Dropped::Kept => {}
            Dropped::Finalize => self.finalize(),
            Dropped::Withdraw => {
                self.unwanted.fetch_add(1, Ordering::SeqCst);
                drop(self.tree.lock().unwrap());
                self.tear_down(true);
            }
        }
    }

    fn drop_handle(&self) {
        self.dropped(self.counts.drop_user());
    }

    fn add_to_parent(&self) {
        let _tree = self.tree.lock().unwrap();
        if self.counts.set_parented().is_ok() {
            self.added.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn unparent(&self) {
        let begun = {
            let _tree = self.tree.lock().unwrap();
            let now = self.counts.now();
            now.is_parented() && !now.is_withdrawn() && self.counts.mark_withdrawn()
        };
        if begun {
            self.tear_down(false);
        }
    }

    /// The close of a machine: its root has no parent, so the withdrawal brings a storage count of its own.
    fn close(&self) {
        let begun = {
            let _tree = self.tree.lock().unwrap();
            if !self.counts.hold() {
                return;
            }
            self.counts.mark_withdrawn()
        };
        if begun {
            self.tear_down(true);
        } else if self.counts.release() {
            self.finalize();
        }
    }

    fn ended_once(&self) {
        let withdrawals = self.withdrawals.load(Ordering::SeqCst);
        let finalized = self.finalized.load(Ordering::SeqCst);
        self.faults.unless(withdrawals == 1, "not withdrawn once");
        self.faults.unless(finalized == 1, "not finalized once");
        let added = self.added.load(Ordering::SeqCst) == 1;
        let unwanted = self.unwanted.load(Ordering::SeqCst) == 1;
        self.faults.unless(
            !(added && unwanted),
            "withdrawn for want of the parent it has",
        );
    }
}

/// Runs `f` in a thread of the model.
fn spawn(object: &Arc<Object>, f: impl FnOnce(&Object) + 'static) -> thread::JoinHandle<()> {
    let object = object.clone();
    thread::spawn(move || f(&object))
}

/// The last handle is dropped while a weak one tries to come back.
fn last_handle_against_upgrade(upgrade: fn(&Counts) -> bool) -> BTreeSet<&'static str> {
    explore(move |faults| {
        let object = Arc::new(Object::new(faults));
        let other = spawn(&object, move |o| {
            if upgrade(&o.counts) {
                let now = o.counts.now();
                o.faults.unless(
                    !now.is_withdrawn(),
                    "a handle to what its last handle withdrew",
                );
                o.faults.unless(
                    now.storage() > 0 && !now.is_finalized(),
                    "a handle to nothing",
                );
                o.drop_handle();
            }
        });
        object.drop_handle();
        other.join().unwrap();
        object.ended_once();
    })
}

#[test]
fn a_weak_handle_comes_back_whole_or_not_at_all() {
    assert_eq!(last_handle_against_upgrade(Counts::upgrade), none());
}

#[test]
#[should_panic(expected = "a handle to what its last handle withdrew")]
fn an_upgrade_that_ignores_the_mark_is_noticed() {
    let found = last_handle_against_upgrade(|counts| {
        let held = counts.hold();
        if held {
            // The same count, as a user's.
            counts.clone_user();
            let _ = counts.release();
        }
        held
    });
    assert_eq!(found, none());
}

#[test]
#[should_panic(expected = "a handle to nothing")]
fn an_upgrade_that_tests_and_then_sets_is_noticed() {
    let found = last_handle_against_upgrade(|counts| {
        let now = counts.now();
        let may = now.storage() > 0 && now.users() > 0 && !now.is_withdrawn();
        if may {
            counts.clone_user();
        }
        may
    });
    assert_eq!(found, none());
}

/// An object that nobody but its parent keeps is unparented while a weak handle tries to come back.
fn unparent_against_upgrade(upgrade: fn(&Counts) -> bool) -> BTreeSet<&'static str> {
    explore(move |faults| {
        let object = Arc::new(Object::new(faults));
        object.add_to_parent();
        object.drop_handle();
        let other = spawn(&object, move |o| {
            let marked = o.counts.now().is_withdrawn();
            if upgrade(&o.counts) {
                o.faults
                    .unless(!marked, "a handle to what has been unparented");
                let now = o.counts.now();
                o.faults.unless(
                    now.storage() > 0 && !now.is_finalized(),
                    "a handle to nothing",
                );
                o.drop_handle();
            }
        });
        object.unparent();
        other.join().unwrap();
        object.ended_once();
    })
}

#[test]
fn a_weak_handle_comes_back_before_the_unparent_or_not_at_all() {
    assert_eq!(unparent_against_upgrade(Counts::upgrade), none());
}

#[test]
#[should_panic(expected = "a handle to what has been unparented")]
fn an_upgrade_that_ignores_the_mark_of_an_unparent_is_noticed() {
    let found = unparent_against_upgrade(|counts| {
        let held = counts.hold();
        if held {
            // The same count, as a user's.
            counts.clone_user();
            let _ = counts.release();
        }
        held
    });
    assert_eq!(found, none());
}

#[test]
#[should_panic(expected = "a handle to nothing")]
fn an_upgrade_that_tests_for_a_parent_and_then_sets_is_noticed() {
    let found = unparent_against_upgrade(|counts| {
        let now = counts.now();
        let may = now.is_parented() && !now.is_withdrawn();
        if may {
            counts.clone_user();
        }
        may
    });
    assert_eq!(found, none());
}

/// The list of what is open on an object, or in its name: whoever enters something in it looks at the mark under its lock, and whoever takes it has
/// set the mark before.
struct Listing {
    region: Object,
    list: Mutex<Vec<Arc<Listed>>>,
}

/// What is entered: how it has ended, which is zero while it is open, and by how many.
#[derive(Default)]
struct Listed {
    end: AtomicUsize,
    ended_by: AtomicUsize,
}

const CLOSED: usize = 1;
const WITHDRAWN: usize = 2;

impl Listed {
    fn end(&self, how: usize) {
        self.end.store(how, Ordering::Relaxed);
        self.ended_by.fetch_add(1, Ordering::Relaxed);
    }
}

impl Listing {
    fn new(faults: &Faults) -> Arc<Self> {
        Arc::new(Self {
            region: Object::new(faults),
            list: Mutex::new(Vec::new()),
        })
    }

    /// Enters something; none: it is refused.
    fn enter(&self) -> Option<Arc<Listed>> {
        let mut list = self.list.lock().unwrap();
        (!self.is_marked()).then(|| {
            let entry = Arc::new(Listed::default());
            list.push(entry.clone());
            entry
        })
    }

    fn is_marked(&self) -> bool {
        self.region.counts.now().is_withdrawn()
    }

    fn mark(&self) {
        self.region
            .faults
            .unless(self.region.counts.mark_withdrawn(), "marked before");
    }

    /// One after the other, as others come in between.
    fn end_all(&self) {
        while let Some(entry) = self.pop() {
            // What the layer does with it.
            drop(entry);
        }
    }

    fn pop(&self) -> Option<Arc<Listed>> {
        let mut list = self.list.lock().unwrap();
        let entry = list.pop()?;
        entry.end(WITHDRAWN);
        Some(entry)
    }

    /// Whoever has it closes it, unless it has been taken.
    fn close(&self, entry: &Arc<Listed>) -> bool {
        let mut list = self.list.lock().unwrap();
        let Some(at) = list.iter().position(|e| Arc::ptr_eq(e, entry)) else {
            return false;
        };
        list.remove(at).end(CLOSED);
        true
    }
}

/// Something is entered in a list while a withdrawal takes it: none where it was refused.
fn entry_against_withdrawal(
    enter: fn(&Listing) -> Option<Arc<Listed>>,
    withdraw: fn(&Listing),
) -> BTreeSet<&'static str> {
    explore(move |faults| {
        let listing = Listing::new(faults);
        let entering = listing.clone();
        let other = thread::spawn(move || enter(&entering));
        withdraw(&listing);
        if let Some(entry) = other.join().unwrap() {
            let ended = entry.end.load(Ordering::Relaxed) == WITHDRAWN;
            faults.unless(ended, "open after the withdrawal");
        }
    })
}

fn mark_and_take(listing: &Listing) {
    listing.mark();
    listing.end_all();
}

#[test]
fn what_is_listed_is_ended_or_refused() {
    let found = entry_against_withdrawal(Listing::enter, mark_and_take);
    assert_eq!(found, none());
}

#[test]
#[should_panic(expected = "open after the withdrawal")]
fn entering_without_a_look_at_the_mark_is_noticed() {
    let enter = |listing: &Listing| {
        let entry = Arc::new(Listed::default());
        listing.list.lock().unwrap().push(entry.clone());
        Some(entry)
    };
    let found = entry_against_withdrawal(enter, mark_and_take);
    assert_eq!(found, none());
}

#[test]
#[should_panic(expected = "open after the withdrawal")]
fn looking_before_the_lock_is_noticed() {
    let enter = |listing: &Listing| {
        let is_marked = listing.is_marked();
        let entry = Arc::new(Listed::default());
        listing.list.lock().unwrap().push(entry.clone());
        (!is_marked).then_some(entry)
    };
    let found = entry_against_withdrawal(enter, mark_and_take);
    assert_eq!(found, none());
}

#[test]
#[should_panic(expected = "open after the withdrawal")]
fn taking_before_the_mark_is_noticed() {
    let found = entry_against_withdrawal(Listing::enter, |listing| {
        listing.end_all();
        listing.mark();
    });
    assert_eq!(found, none());
}

/// Whoever has something that is listed closes it, while the object that it is on and the one in whose name it is are withdrawn.
fn close_against_withdrawals(close: fn(&Listing, &Arc<Listed>) -> bool) -> BTreeSet<&'static str> {
    explore(move |faults| {
        let listing = Listing::new(faults);
        let entry = listing.enter().expect("it is not marked");
        let (of_region, of_holder) = (listing.clone(), listing.clone());
        let region = thread::spawn(move || of_region.end_all());
        let holder = thread::spawn(move || of_holder.end_all());
        let closed = close(&listing, &entry);
        region.join().unwrap();
        holder.join().unwrap();
        let (end, by) = (&entry.end, &entry.ended_by);
        faults.unless(by.load(Ordering::Relaxed) == 1, "not ended once");
        let said = if closed { CLOSED } else { WITHDRAWN };
        faults.unless(end.load(Ordering::Relaxed) == said, "not as it was said");
    })
}

#[test]
fn of_a_closer_and_two_withdrawals_one_ends_it() {
    assert_eq!(close_against_withdrawals(Listing::close), none());
}

#[test]
#[should_panic(expected = "not ended once")]
fn a_closer_that_looks_and_then_ends_is_noticed() {
    let found = close_against_withdrawals(|listing, entry| {
        let is_open = entry.end.load(Ordering::Relaxed) == 0;
        if is_open {
            entry.end(CLOSED);
            listing.close(entry);
        }
        is_open
    });
    assert_eq!(found, none());
}

/// The last handle is dropped while one thread adds the object to a parent and another one unparents it.
fn last_handle_against_parents(drop_user: fn(&Counts) -> Dropped) -> BTreeSet<&'static str> {
    explore(move |faults| {
        let object = Arc::new(Object::new(faults));
        let adder = spawn(&object, Object::add_to_parent);
        let remover = spawn(&object, Object::unparent);
        object.dropped(drop_user(&object.counts));
        adder.join().unwrap();
        remover.join().unwrap();
        let now = object.counts.now();
        if now.is_parented() {
            faults.unless(!now.is_withdrawn(), "a parent keeps what is withdrawn");
            faults.unless((now.storage(), now.users()) == (1, 0), "a count is left");
            object.unparent();
        }
        object.ended_once();
    })
}

#[test]
fn a_parent_comes_in_time_or_not_at_all() {
    assert_eq!(last_handle_against_parents(Counts::drop_user), none());
}

#[test]
#[should_panic(expected = "withdrawn for want of the parent it has")]
fn a_last_handle_that_tests_and_then_sets_is_noticed() {
    let found = last_handle_against_parents(|counts| {
        let now = counts.now();
        let last = now.users() == 1 && !now.is_parented();
        if last && counts.mark_withdrawn() {
            // Its users go in one step with the storage that the withdrawal carries.
            assert!(counts.hold());
            let _ = counts.drop_user();
            return Dropped::Withdraw;
        }
        counts.drop_user()
    });
    assert_eq!(found, none());
}

/// A machine closes while the last handle to its root is dropped.
fn close_against_last_handle(close: fn(&Object)) -> BTreeSet<&'static str> {
    explore(move |faults| {
        let object = Arc::new(Object::new(faults));
        let closer = spawn(&object, close);
        object.drop_handle();
        closer.join().unwrap();
        object.ended_once();
    })
}

#[test]
fn a_root_is_withdrawn_by_its_machine_or_by_its_last_handle() {
    assert_eq!(close_against_last_handle(Object::close), none());
}

#[test]
#[should_panic(expected = "not withdrawn once")]
fn a_close_that_tests_and_then_marks_is_noticed() {
    let found = close_against_last_handle(|object| {
        let begun = {
            let _tree = object.tree.lock().unwrap();
            let begun = object.counts.hold() && !object.counts.now().is_withdrawn();
            let _ = object.counts.mark_withdrawn();
            begun
        };
        if begun {
            object.tear_down(true);
        }
    });
    assert_eq!(found, none());
}

#[test]
#[should_panic(expected = "hooks run on a finalized object")]
fn a_close_that_holds_nothing_is_noticed() {
    let found = close_against_last_handle(|object| {
        let begun = {
            let _tree = object.tree.lock().unwrap();
            object.counts.mark_withdrawn()
        };
        if begun {
            object.tear_down(false);
        }
    });
    assert_eq!(found, none());
}

#[test]
fn of_two_droppers_one_withdraws_and_one_finalizes() {
    let found = explore(|faults| {
        let object = Arc::new(Object::new(faults));
        object.counts.clone_user();
        let other = spawn(&object, Object::drop_handle);
        object.drop_handle();
        other.join().unwrap();
        object.ended_once();
    });
    assert_eq!(found, none());
}

#[test]
fn of_a_dropper_a_pin_and_a_withdrawal_one_finalizes() {
    let found = explore(|faults| {
        let object = Arc::new(Object::new(faults));
        object.add_to_parent();
        faults.unless(object.counts.hold(), "no pin");
        let pin = spawn(&object, |o| {
            if o.counts.release() {
                o.finalize();
            }
        });
        let remover = spawn(&object, Object::unparent);
        object.drop_handle();
        pin.join().unwrap();
        remover.join().unwrap();
        object.ended_once();
    });
    assert_eq!(found, none());
}

#[test]
#[should_panic(expected = "not finalized once")]
fn two_droppers_that_look_before_they_drop_are_noticed() {
    let found = explore(|faults| {
        let object = Arc::new(Object::new(faults));
        let handles = Arc::new(AtomicUsize::new(2));
        let drop_one = |object: &Object, handles: &AtomicUsize| {
            if handles.load(Ordering::SeqCst) == 1 {
                object.drop_handle();
            } else {
                handles.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let theirs = handles.clone();
        let other = spawn(&object, move |o| drop_one(o, &theirs));
        drop_one(&object, &handles);
        other.join().unwrap();
        object.ended_once();
    });
    assert_eq!(found, none());
}

/// A region and its owner, withdrawn while a reader finds the region in a view.
struct Pair {
    owner: Object,
    region: Object,
    /// Whether the view that shows the region is published.
    view: AtomicUsize,
    /// A read section is a read lock; a grace period has passed when the write lock is had.
    section: RwLock<()>,
    /// Whether the region has a hold on its owner.
    region_holds_owner: AtomicUsize,
}

impl Pair {
    fn finalize_region(&self) {
        self.region.finalize();
        if self.region_holds_owner.load(Ordering::SeqCst) == 1 && self.owner.counts.release() {
            self.finalize_owner();
        }
    }

    fn finalize_owner(&self) {
        let after = self.region.counts.now().is_finalized();
        self.owner
            .faults
            .unless(after, "the owner went before its region");
        self.owner.finalize();
    }

    /// A callback in a read section.
    fn read(&self) {
        let _section = self.section.read().unwrap();
        if self.view.load(Ordering::Acquire) == 1 {
            for object in [&self.region, &self.owner] {
                let now = object.counts.now();
                let alive = now.storage() > 0 && !now.is_finalized();
                object.faults.unless(alive, "a callback without its owner");
            }
        }
    }
}

fn region_and_owner_against_reader(mark_takes_hold: bool) -> BTreeSet<&'static str> {
    explore(move |faults| {
        let pair = Arc::new(Pair {
            owner: Object::new(faults),
            region: Object::new(faults),
            view: AtomicUsize::new(1),
            section: RwLock::new(()),
            region_holds_owner: AtomicUsize::new(0),
        });
        for object in [&pair.owner, &pair.region] {
            object.add_to_parent();
            object.drop_handle();
        }
        faults.unless(pair.region.counts.hold(), "no view");

        let reading = pair.clone();
        let reader = thread::spawn(move || reading.read());
        // Step 0.
        let marked = pair.region.counts.mark_withdrawn() && pair.owner.counts.mark_withdrawn();
        faults.unless(marked, "marked before");
        if mark_takes_hold {
            faults.unless(pair.owner.counts.hold(), "no owner to hold");
            pair.region_holds_owner.store(1, Ordering::SeqCst);
        }
        // Step 1.
        pair.view.store(0, Ordering::Release);
        let retired = pair.clone();
        let reclaimer = thread::spawn(move || {
            drop(retired.section.write().unwrap());
            if retired.region.counts.release() {
                retired.finalize_region();
            }
        });
        // Step 3.
        if pair.region.counts.clear_parented() {
            pair.finalize_region();
        }
        if pair.owner.counts.clear_parented() {
            pair.finalize_owner();
        }
        reader.join().unwrap();
        reclaimer.join().unwrap();
        for object in [&pair.owner, &pair.region] {
            let finalized = object.finalized.load(Ordering::SeqCst);
            faults.unless(finalized == 1, "not finalized once");
        }
    })
}

#[test]
fn a_region_that_can_be_read_has_its_owner() {
    assert_eq!(region_and_owner_against_reader(true), none());
}

#[test]
#[should_panic(expected = "a callback without its owner")]
fn a_mark_that_takes_no_hold_is_noticed() {
    assert_eq!(region_and_owner_against_reader(false), none());
}
