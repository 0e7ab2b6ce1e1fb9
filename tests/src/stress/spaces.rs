//! A thread that opens address spaces and registers listeners, closes them or leaves them to a withdrawal, and checks what listeners are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use memory::{
    AddressSpace, Attrs, Commit, Gpa, Listener, MemTxError, Region, RegionError, Section,
    transaction,
};
use parking_lot::Mutex;
use qom::{Child, Container, ObjectOps, Ref};

use super::board::Board;
use super::tally::Op;
use super::world::World;
use crate::random::Random;

/// What a listener has been told.
#[derive(Default)]
struct Known {
    /// First and last address of each range.
    ranges: BTreeMap<u64, u64>,
    in_commit: bool,
    closed: bool,
}

struct Watcher {
    known: Arc<Mutex<Known>>,
    world: Arc<World>,
    machine: qom::WeakRef<Container>,
}

impl Watcher {
    fn told(&self, what: impl FnOnce(&mut Known) -> Result<(), String>) {
        let mut known = self.known.lock();
        self.world.tally.did(Op::Told);
        let closed = known.closed;
        self.world.tally.check(!closed, || {
            "a listener is called after it was closed".into()
        });
        if let Err(what) = what(&mut known) {
            self.world.tally.violation(what);
        }
    }
}

impl Listener for Watcher {
    type Owner = Container;

    fn begin(&self, _: &Container) {
        self.told(|known| {
            let nested = std::mem::replace(&mut known.in_commit, true);
            if nested {
                Err("a commit begins within another".into())
            } else {
                Ok(())
            }
        });
    }

    fn commit(&self, _: &Container) {
        self.told(|known| {
            let begun = std::mem::replace(&mut known.in_commit, false);
            if begun {
                Ok(())
            } else {
                Err("a commit ends that has not begun".into())
            }
        });
    }

    fn region_add(&self, _: &Container, cx: &Commit<'_>, section: Section<'_>) {
        let span = section.range.span;
        self.told(|known| {
            let before = known.ranges.range(..=span.last()).next_back();
            if before.is_some_and(|(_, last)| *last >= span.first()) || !known.in_commit {
                return Err(format!("{span:?} is added beside {before:?}"));
            }
            known.ranges.insert(span.first(), span.last());
            Ok(())
        });
        let shown = cx.new.find(Gpa(span.first())).map(|(s, _)| s);
        self.world.tally.check(shown == Some(span), || {
            format!("{span:?} is added and the new view shows {shown:?}")
        });
        if let Some(word) = section.leaf.bytes().and_then(|b| b.load_u64(0))
            && super::words::expected(span.first()).is_some()
        {
            self.world.check_word(span.first(), word, 0);
        }
    }

    fn region_del(&self, _: &Container, cx: &Commit<'_>, section: Section<'_>) {
        let span = section.range.span;
        self.told(|known| match known.ranges.remove(&span.first()) {
            Some(last) if last == span.last() && known.in_commit => Ok(()),
            other => Err(format!("{span:?} is deleted, known is {other:x?}")),
        });
        let shown = cx.old.find(Gpa(span.first())).map(|(s, _)| s);
        self.world.tally.check(shown == Some(span), || {
            format!("{span:?} is deleted and the old view shows {shown:?}")
        });
        // A listener changes nothing.
        if let Ok(owner) = self.machine.get() {
            let machine = qom::layer::machine_of(owner.object());
            let refused = matches!(
                transaction(&machine, |_| ()),
                Err(RegionError::Forbidden { .. })
            );
            self.world
                .tally
                .check(refused && ObjectOps::unparent(&owner).is_err(), || {
                    "a listener changes topology".into()
                });
        }
    }
}

struct Thread<'b> {
    board: &'b Board,
    random: Random,
    count: u64,
}

/// Runs until the board stops.
pub fn run(board: &Board, seed: u64) {
    let mut thread = Thread {
        board,
        random: Random::new(seed),
        count: 0,
    };
    while !board.is_stopping() {
        if let Err(error) = thread.step() {
            board.world.failed("address spaces", error);
        }
        std::thread::yield_now();
    }
}

impl Thread<'_> {
    fn step(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let board = self.board;
        self.count += 1;
        let holder: Ref<Container> = board.machine.create()?;
        board
            .root
            .add_child(&format!("watcher-{}", self.count), &holder)?;
        // An address space of its own, on the machine's root or on a root of its own; or the machine's.
        let space = match self.random.below(4) {
            0 => board.space.clone(),
            1 => {
                self.board.tally().did(Op::SpaceOpen);
                let root: Child<Region> = Region::alias(
                    "everything",
                    &board.system,
                    memory::Offset(0),
                    memory::Size::MAX,
                )
                .create(&holder)?;
                AddressSpace::open(&holder, "own root", &root)?
            }
            _ => {
                self.board.tally().did(Op::SpaceOpen);
                AddressSpace::open(&holder, "second", &board.system)?
            }
        };
        let known = Arc::new(Mutex::new(Known::default()));
        let watcher = Watcher {
            known: known.clone(),
            world: board.world.clone(),
            machine: holder.downgrade(),
        };
        let handle = space.listen(&holder, watcher)?;
        board.tally().did(Op::Listen);
        let turns = self.random.below(200);
        for _ in 0..turns {
            let (addr, _) = Board::somewhere(&mut self.random);
            let began = board.world.now();
            if let Ok(word) = space.load::<u64>(Gpa(addr), Attrs::default()) {
                board.world.check_word(addr, word, began);
            }
        }
        let own = space.name() != board.space.name();
        match self.random.below(4) {
            0 => handle.close(),
            1 if own => space.close(),
            2 => {
                handle.close();
                space.enter().view().len();
                if own {
                    space.close();
                }
            }
            _ => {}
        }
        ObjectOps::unparent(&holder)?;
        {
            let mut known = known.lock();
            let left = known.ranges.len();
            board.tally().check(left == 0 && !known.in_commit, || {
                format!("a listener still knows {left} ranges when it has been closed")
            });
            known.closed = true;
        }
        if own {
            let found = space.load::<u64>(Gpa(0), Attrs::default());
            board.tally().check(
                space.is_closed() && found == Err(MemTxError::DECODE),
                || format!("a closed address space shows {found:x?}"),
            );
        }
        Ok(())
    }
}
