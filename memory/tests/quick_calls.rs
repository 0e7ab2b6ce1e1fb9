//! The quick way of an access by callback answers as the long way does: what is ordinary, and what is not.

use memory::reentrancy::is_inside;
use memory::{
    Access, AccessRules, AddressSpace, Attrs, Backing, Endian, Gpa, Listener, MemTxError, Offset,
    Region, RegionApi, RegionOps, Size, transaction,
};
use qom::{Child, Container, Machine, MachineEvent, ObjectOps};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// Answers with what it is asked for; where it has a space, a read of byte 8 reaches for its own byte 0 through it.
struct Echo(Arc<Mutex<Option<AddressSpace>>>);

impl RegionOps for Echo {
    type Owner = Container;
    fn read(&self, _: &Container, access: Access) -> Result<u64, MemTxError> {
        let space = self.0.lock().unwrap().clone();
        match space {
            // Inside an access only a guard takes the quick way; the space itself sees that it is in a section.
            Some(space) if access.offset == 8 => space
                .enter()
                .load::<u32>(Gpa(0), Attrs::default())
                .map(u64::from),
            _ => Ok(0x0102_0304),
        }
    }
    fn write(&self, _: &Container, _: Access, _: u64) -> Result<(), MemTxError> {
        Ok(())
    }
}

struct Board {
    machine: Machine,
    owner: qom::Ref<Container>,
    space: AddressSpace,
    own: Arc<Mutex<Option<AddressSpace>>>,
    regs: Child<Region>,
}

fn board(endian: Endian) -> Board {
    let machine = Machine::new("quick");
    let owner = machine.create::<Container>().unwrap();
    machine.root().add_child("owner", &owner).unwrap();
    let own = Arc::default();
    let rules = AccessRules {
        endian,
        ..AccessRules::DEFAULT
    };
    let regs = Region::io("regs", Size::new(0x100), Echo(Arc::clone(&own)))
        .rules(rules)
        .create(&owner)
        .unwrap();
    let space = AddressSpace::open(machine.root(), "memory", &regs).unwrap();
    Board {
        machine,
        owner,
        space,
        own,
        regs,
    }
}

/// What a load comes to by each of its ways: the first load of a thread is not quick, as the thread has to be known first.
fn load(board: &Board, addr: u64) -> Result<u32, MemTxError> {
    let attrs = Attrs::default();
    let first = board.space.load(Gpa(addr), attrs);
    assert_eq!(board.space.load(Gpa(addr), attrs), first);
    assert_eq!(board.space.enter().load(Gpa(addr), attrs), first);
    first
}

#[test]
fn one_access_after_the_other_is_answered() {
    let board = board(Endian::Little);
    for _ in 0..3 {
        assert_eq!(load(&board, 4), Ok(0x0102_0304));
        assert_eq!(board.space.store(Gpa(4), 1_u32, Attrs::default()), Ok(()));
    }
}

#[test]
fn a_device_does_not_reach_its_own_registers() {
    let board = board(Endian::Little);
    *board.own.lock().unwrap() = Some(board.space.clone());
    assert!(load(&board, 8).is_err());
    assert_eq!(
        load(&board, 0),
        Ok(0x0102_0304),
        "afterwards it is as before"
    );
    *board.own.lock().unwrap() = None;
}

#[test]
fn values_of_the_other_byte_order_are_turned() {
    assert_eq!(load(&board(Endian::Big), 4), Ok(0x0403_0201));
}

#[test]
fn unaligned_accesses_are_refused() {
    let board = board(Endian::Little);
    assert!(load(&board, 2).is_err());
    for _ in 0..3 {
        let stored = board.space.store(Gpa(2), 1_u32, Attrs::default());
        assert!(stored.is_err());
    }
}

#[test]
fn who_asks_for_memory_only_reaches_no_device() {
    let board = board(Endian::Little);
    let attrs = Attrs::default().with_memory_only(true);
    for _ in 0..3 {
        assert!(board.space.load::<u32>(Gpa(4), attrs).is_err());
        assert!(board.space.store(Gpa(4), 1_u32, attrs).is_err());
    }
}

#[test]
fn a_withdrawn_owner_is_called_no_more_though_the_map_still_shows_it() {
    let board = board(Endian::Little);
    assert_eq!(load(&board, 4), Ok(0x0102_0304));
    transaction(&board.machine, |_| {
        board.owner.unparent_async().unwrap();
        let shown = board.space.enter().view().find(Gpa(4)).is_some();
        assert!(shown, "the map is changed at the end of the transaction");
        assert!(load(&board, 4).is_err());
        let stored = board.space.store(Gpa(4), 1_u32, Attrs::default());
        assert!(stored.is_err());
    })
    .unwrap();
}

/// Loads when a commit begins, of which the map shows nothing yet.
struct Curious {
    space: AddressSpace,
    answers: Arc<Mutex<Vec<Result<u32, MemTxError>>>>,
}

impl Listener for Curious {
    type Owner = Container;
    fn begin(&self, _: &Container) {
        let answer = self.space.enter().load(Gpa(4), Attrs::default());
        let again = self.space.load(Gpa(4), Attrs::default());
        self.answers.lock().unwrap().extend([answer, again]);
    }
}

#[test]
fn a_listener_reaches_no_device() {
    let board = board(Endian::Little);
    let answers = Arc::default();
    let curious = Curious {
        space: board.space.clone(),
        answers: Arc::clone(&answers),
    };
    let _listening = board.space.listen(board.machine.root(), curious).unwrap();
    assert_eq!(load(&board, 4), Ok(0x0102_0304));
    answers.lock().unwrap().clear();
    board.regs.set_enabled(false).unwrap();
    let answers = answers.lock().unwrap();
    assert!(
        !answers.is_empty() && answers.iter().all(Result::is_err),
        "{answers:?}"
    );
}

#[test]
fn reads_past_the_bytes_of_a_rom_device_are_not_for_its_callbacks() {
    for (endian, value) in [(Endian::Little, 0x0102_0304), (Endian::Big, 0x0403_0201)] {
        let machine = Machine::new("flash");
        let backing = Backing::anonymous(0x1000).unwrap();
        let flash = Region::rom_device("flash", backing, Echo(Arc::default()))
            .size(Size::new(0x3000))
            .rules(AccessRules {
                endian,
                ..AccessRules::DEFAULT
            })
            .create(machine.root())
            .unwrap();
        // What is seen begins behind the bytes, so that a range has none at all.
        let window = Region::alias("window", &flash, Offset(0x2000), Size::new(0x1000))
            .create(machine.root())
            .unwrap();
        let space = AddressSpace::open(machine.root(), "memory", &window).unwrap();
        let attrs = Attrs::default();
        let answers = |expected: Result<u32, MemTxError>| {
            for _ in 0..3 {
                assert_eq!(space.load(Gpa(4), attrs), expected);
                assert_eq!(space.enter().load(Gpa(4), attrs), expected);
                assert_eq!(
                    space.read(Gpa(4), &mut [0; 4], attrs).is_ok(),
                    expected.is_ok()
                );
                assert_eq!(space.store(Gpa(4), 1_u32, attrs), Ok(()));
            }
        };
        answers(Err(MemTxError::DECODE));
        flash.set_romd(false).unwrap();
        answers(Ok(value));
    }
}

/// Panics at each access.
struct Panics;

impl RegionOps for Panics {
    type Owner = Container;
    fn read(&self, _: &Container, _: Access) -> Result<u64, MemTxError> {
        panic!("a read")
    }
    fn write(&self, _: &Container, _: Access, _: u64) -> Result<(), MemTxError> {
        panic!("a write")
    }
}

#[test]
fn whoever_hears_of_a_callbacks_panic_is_still_inside_the_device() {
    let machine = Machine::new("panics");
    let owner = machine.create::<Container>().unwrap();
    machine.root().add_child("owner", &owner).unwrap();
    let regs = Region::io("regs", Size::new(0x100), Panics)
        .create(&owner)
        .unwrap();
    let space = AddressSpace::open(machine.root(), "memory", &regs).unwrap();
    let heard: Arc<Mutex<Vec<(String, bool)>>> = Arc::default();
    let _told = machine.subscribe({
        let (heard, owner) = (Arc::clone(&heard), owner.downgrade());
        move |event| {
            if let MachineEvent::Panicked { message, .. } = event {
                let inside = is_inside(owner.get().unwrap().object());
                heard.lock().unwrap().push((message.clone(), inside));
            }
        }
    });
    let attrs = Attrs::default();
    for _ in 0..3 {
        assert!(space.load::<u32>(Gpa(4), attrs).is_err());
        assert!(space.enter().load::<u32>(Gpa(4), attrs).is_err());
        assert!(space.store(Gpa(4), 1_u32, attrs).is_err());
        assert!(space.enter().store(Gpa(4), 1_u32, attrs).is_err());
        // One call is not all of it.
        assert!(space.read(Gpa(4), &mut [0; 16], attrs).ok().is_err());
        assert!(!is_inside(owner.object()), "it has left");
    }
    let heard = heard.lock().unwrap();
    assert!(heard.len() >= 15, "{heard:?}");
    assert!(heard.iter().all(|(_, inside)| *inside), "{heard:?}");
    for what in ["a read", "a write"] {
        assert!(heard.iter().any(|(message, _)| message == what));
    }
}

#[test]
fn callbacks_are_dropped_once_nobody_can_call_them() {
    let Board {
        machine,
        owner,
        space,
        own,
        regs,
    } = board(Endian::Little);
    assert_eq!(space.load(Gpa(4), Attrs::default()), Ok(0x0102_0304_u32));
    let callbacks = Arc::downgrade(&own);
    drop(own);
    let snapshot = space.snapshot(machine.root()).unwrap();
    let gone = owner.unparent().unwrap();
    gone.wait(LONG).unwrap();
    assert!(callbacks.upgrade().is_some(), "a view still shows them");
    drop((snapshot, owner, regs));
    machine.quiesce(LONG).unwrap();
    assert!(callbacks.upgrade().is_none());
    assert!(space.load::<u32>(Gpa(4), Attrs::default()).is_err());
}
