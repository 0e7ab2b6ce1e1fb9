//! Models of the versions of a map: each node and each value is freed once, behind all that others did with it, whoever lets go of which version when.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p memory --release --test loom_versions`
//!
//! A node is a loom cell that its readers read and its end writes, so that loom reports an end that is not behind every reader. The twin takes what is
//! replaced for gone at once, and must be found.
#![cfg(loom)]

#[expect(
    dead_code,
    reason = "the file is included whole; the models use what they are about"
)]
#[path = "../src/span_map/versions.rs"]
mod versions;

mod sync {
    //! Where the versions look for their locks.
    pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
    use std::sync::PoisonError;

    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;
use versions::{Change, Dated, Part, Version};

/// A node: what is below it and a value, and a cell for its life.
struct Inside {
    born: u32,
    below: Vec<Node>,
    value: Option<(u32, Arc<Life>)>,
    life: Arc<Life>,
}

/// Whether something is there still.
struct Life(UnsafeCell<bool>);

impl Life {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(true)))
    }

    fn read(&self) {
        assert!(self.0.with(|there| unsafe_cell::get(there)), "it was freed");
    }

    fn end(&self) {
        self.0.with_mut(|there| {
            assert!(unsafe_cell::get(there), "it was freed twice");
            unsafe_cell::set(there, false);
        });
    }

    fn is_there(&self) -> bool {
        self.0.with(|there| unsafe_cell::get(there))
    }
}

/// Dropped where the value is.
#[derive(Clone)]
struct Value(Arc<Life>);

impl Drop for Value {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[expect(
    unsafe_code,
    reason = "loom's cells are no `Sync`, and hand out pointers"
)]
mod unsafe_cell {
    // SAFETY: loom checks every access to the cells, which is what the models are for.
    unsafe impl Send for super::Life {}
    // SAFETY: as above.
    unsafe impl Sync for super::Life {}

    pub(super) fn get(cell: *const bool) -> bool {
        // SAFETY: inside of `with`.
        unsafe { *cell }
    }

    pub(super) fn set(cell: *mut bool, to: bool) {
        // SAFETY: inside of `with_mut`.
        unsafe { *cell = to }
    }
}

/// A pointer to a node; the memory itself is the process's until its end.
#[derive(Clone, Copy)]
struct Node(&'static Inside);

impl Node {
    fn new(born: u32, below: Vec<Self>, value: Option<(u32, Arc<Life>)>) -> Self {
        Self(Box::leak(Box::new(Inside {
            born,
            below,
            value,
            life: Life::new(),
        })))
    }

    fn read_all(self) {
        self.0.life.read();
        if let Some((_, value)) = &self.0.value {
            value.read();
        }
        for below in &self.0.below {
            below.read_all();
        }
    }
}

#[expect(unsafe_code, reason = "to free a node is unsafe")]
impl Part for Node {
    type Value = Value;

    fn born(self) -> u32 {
        self.0.life.read();
        self.0.born
    }

    fn each_below(self, found: &mut dyn FnMut(Self)) {
        self.0.life.read();
        self.0.below.iter().for_each(|below| found(*below));
    }

    fn each_value(self, found: &mut dyn FnMut(Dated<Value>)) {
        self.0.life.read();
        if let Some((born, value)) = &self.0.value {
            found(Dated::new(*born, Value(value.clone())));
        }
    }

    unsafe fn free(self) {
        self.0.life.end();
    }
}

type Held = sync::Arc<Version<Node>>;

/// A root over two leaves, each with a value. All that was made, and whether it is there.
struct Model {
    made: Vec<Arc<Life>>,
}

impl Model {
    fn node(&mut self, born: u32, below: Vec<Node>, value: Option<(u32, Arc<Life>)>) -> Node {
        let node = Node::new(born, below, value);
        self.made.push(node.0.life.clone());
        node
    }

    fn value(&mut self, born: u32) -> Option<(u32, Arc<Life>)> {
        let life = Life::new();
        self.made.push(life.clone());
        Some((born, life))
    }

    fn first() -> (Self, Held, Node) {
        let mut this = Self { made: Vec::new() };
        let mut change = Change::first();
        let born = change.number();
        let leaves = [(); 2].map(|()| {
            let value = this.value(born);
            this.node(born, Vec::new(), value)
        });
        let root = this.node(born, leaves.to_vec(), None);
        let held = change.finish(root);
        (this, held, root)
    }

    /// The version with another leaf in one place: with another value, or with the same.
    #[expect(unsafe_code, reason = "what is replaced is said by the change")]
    fn next(&mut self, of: &Held, root: Node, at: usize, keeps_value: bool) -> (Held, Node) {
        let mut change = of.begin().expect("the newest");
        let born = change.number();
        let old = root.0.below[at];
        let value = if keeps_value {
            old.0.value.clone()
        } else {
            self.value(born)
        };
        let leaf = self.node(born, Vec::new(), value);
        let mut below = root.0.below.clone();
        below[at] = leaf;
        let new = self.node(born, below, None);
        // SAFETY: the new ones are in their places.
        unsafe {
            if !keeps_value {
                old.each_value(&mut |value| change.retire_value(value));
            }
            change.retire(old);
            change.retire(root);
        }
        (change.finish(new), new)
    }

    /// Nothing is left.
    fn check(&self) {
        assert!(
            self.made.iter().all(|life| !life.is_there()),
            "something is left"
        );
    }
}

fn reader(held: Held, root: Node) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        root.read_all();
        drop(held);
    })
}

#[test]
fn versions_go_in_three_threads() {
    for keeps_value in [true, false] {
        loom::model(move || {
            let (mut model, first, root) = Model::first();
            let (second, next) = model.next(&first, root, 0, keeps_value);
            let (third, last) = model.next(&second, next, 1, !keeps_value);
            let others = [reader(first, root), reader(second, next)];
            last.read_all();
            drop(third);
            for other in others {
                other.join().unwrap();
            }
            model.check();
        });
    }
}

#[test]
fn a_version_is_made_while_others_go() {
    loom::model(|| {
        let (mut model, first, root) = Model::first();
        let (second, next) = model.next(&first, root, 0, false);
        let other = reader(first, root);
        let (third, last) = model.next(&second, next, 1, true);
        let another = reader(second, next);
        last.read_all();
        other.join().unwrap();
        another.join().unwrap();
        last.read_all();
        drop(third);
        model.check();
    });
}

#[test]
fn one_of_two_that_change_the_newest_is_refused() {
    loom::model(|| {
        let (model, first, root) = Model::first();
        let also = first.clone();
        let other = thread::spawn(move || {
            root.read_all();
            also.begin().is_some()
        });
        let here = first.begin().is_some_and(|_change| first.begin().is_none());
        let there = other.join().unwrap();
        assert!(here || there, "both were refused");
        assert!(first.begin().is_some(), "nobody changes it any more");
        drop(first);
        model.check();
    });
}

/// The twin: a node is freed when the version that had it goes, whoever else has it.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_node_that_is_freed_beside_an_older_version_is_found() {
    loom::model(|| {
        let (_, first, root) = Model::first();
        // They never go, as a destructor that fails ends the process.
        std::mem::forget(first);
        let other = thread::spawn(move || root.read_all());
        root.0.life.end();
        other.join().unwrap();
    });
}
