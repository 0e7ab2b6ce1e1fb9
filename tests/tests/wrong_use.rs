//! What a caller does wrong gets a typed error that names both parties, and changes nothing.

use holdfast_tests::rig::{
    Dev, LONG, Observed, PAGE, Plain, Point, Rig, alias, container, io, ram,
};
use memory::addr::SizeOverflow;
use memory::{
    AddressSpace, Attrs, Backing, BackingError, Commit, FnOps, Gpa, Intent, Listener, MapError,
    MemTxError, Offset, Priority, Region, RegionApi, RegionError, Section, Size,
};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext, RealizeError};
use qom::{
    Child, ClassInit, Init, ObjectImpl, ObjectOps, Place, PropertyError, Ref, TreeError, WaitError,
};
use std::fmt::Display;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// The error's text has all of these in it.
#[track_caller]
fn names(error: &impl Display, parties: &[&str]) {
    let text = error.to_string();
    for party in parties {
        assert!(text.contains(party), "no {party} in: {text}");
    }
}

#[test]
fn a_withdrawn_owner_takes_nothing() {
    let rig = Rig::new("withdrawn");
    let card = rig.plug::<Dev>("card");
    let bar = container(&card, 4).unwrap();
    let bytes = ram(&card, 1).unwrap();
    rig.show(&bar, 0);
    let child = rig.machine.create::<Plain>().unwrap();
    // Kept, so that they are withdrawn and not finalized below.
    let kept = (bar.get().unwrap(), bytes.get().unwrap());
    card.unparent().unwrap();

    let error = card.add_child("child", &child).unwrap_err();
    assert!(matches!(error, TreeError::ParentWithdrawn { .. }));
    names(&error, &["/machine/card", "`child` (rig-plain#"]);

    let error = rig.machine.root().add_child("again", &card).unwrap_err();
    assert!(matches!(error, TreeError::ChildWithdrawn { .. }));
    names(&error, &["/machine/card", "to /machine"]);

    let error = Region::container("late", Size::new(8))
        .create(&card)
        .unwrap_err();
    assert!(
        matches!(error, RegionError::Tree(TreeError::ParentWithdrawn { .. })),
        "{error:?}"
    );
    names(
        &error,
        &["/machine/card", "takes no `late[*]` (memory-region#"],
    );

    let (bar_path, bytes_path) = ("/machine/card/box[0]", "/machine/card/ram[0]");
    for (error, parties) in [
        (
            rig.system
                .add_subregion(Offset(0), &bar, Priority(0))
                .unwrap_err(),
            [bar_path, "/machine/system[0]"],
        ),
        (
            bar.add_subregion(Offset(0), &bytes, Priority(0))
                .unwrap_err(),
            [bar_path, bytes_path],
        ),
        (
            bar.add_subregion(Offset(0), &rig.system, Priority(0))
                .unwrap_err(),
            [bar_path, "/machine/system[0]"],
        ),
        (
            Region::alias("late", &bytes, Offset(0), Size::new(8))
                .create(rig.machine.root())
                .unwrap_err(),
            [bytes_path, "an alias with `late` (memory-region#"],
        ),
        (
            AddressSpace::open(rig.machine.root(), "late", &bar).unwrap_err(),
            [bar_path, "an address space with `late` of /machine"],
        ),
    ] {
        assert!(matches!(error, RegionError::Withdrawn { .. }), "{error:?}");
        names(&error, &parties);
    }

    let error = AddressSpace::open(&card, "late", &rig.system).unwrap_err();
    assert!(matches!(
        error,
        RegionError::Tree(TreeError::ParentWithdrawn { .. })
    ));
    names(&error, &["/machine/card", "`late`"]);

    let shown = rig.plug::<Plain>("shown");
    rig.show(&ram(&shown, 2).unwrap(), 8);
    let error = rig
        .space
        .map(&card, Gpa(8 * PAGE), 8, Intent::Read)
        .unwrap_err();
    assert!(matches!(
        error,
        MapError::Holder(TreeError::ParentWithdrawn { .. })
    ));
    names(&error, &["/machine/card", "/machine/shown/ram[0]"]);
    let error = rig
        .space
        .pin(&card, Gpa(8 * PAGE), 8, Intent::Read)
        .unwrap_err();
    names(&error, &["/machine/card", "memory"]);

    let error = card.set_link("peer", &shown).unwrap_err();
    names(&error, &["/machine/card", "`link peer`"]);
    let error = shown.set_link("peer", &card).unwrap_err();
    names(&error, &["/machine/card", "/machine/shown"]);

    let error = card.realize().unwrap_err();
    assert!(matches!(error, RealizeError::Withdrawn { .. }));
    names(&error, &["/machine/card"]);

    // What tidies up is fine, as often as one likes.
    rig.system.del_subregion(&bar).unwrap();
    bar.del_subregion(&bytes).unwrap();
    // The same when they have been finalized.
    let (bar_end, bytes_end) = (kept.0.downgrade(), kept.1.downgrade());
    drop(kept);
    rig.machine.wait_finalized(&bar_end, LONG).unwrap();
    rig.machine.wait_finalized(&bytes_end, LONG).unwrap();
    rig.system.del_subregion(&bar).unwrap();
    bar.del_subregion(&bytes).unwrap();
    card.unparent().unwrap();
    card.unrealize().unwrap();
    assert_eq!(memory::counters(&rig.machine).open_mappings, 0);
    shown.unparent().unwrap();
    drop((card, child, shown));
    rig.finish();
}

#[test]
fn trees_have_one_parent_for_each_and_no_loops() {
    let rig = Rig::new("trees");
    let (a, b) = (rig.plug::<Plain>("a"), rig.plug::<Plain>("b"));
    let c = rig.machine.create::<Plain>().unwrap();
    a.add_child("c", &c).unwrap();
    let error = b.add_child("c", &c).unwrap_err();
    assert!(matches!(error, TreeError::HasParent { .. }));
    names(&error, &["/machine/a/c", "/machine/b", "/machine/a"]);
    let error = c.add_child("up", &a).unwrap_err();
    assert!(matches!(error, TreeError::Loop { .. }));
    names(&error, &["/machine/a", "/machine/a/c"]);
    let error = rig.machine.root().add_child("a", &c).unwrap_err();
    names(&error, &["/machine", "`a`"]);
    let other = rig.machine.create::<Plain>().unwrap();
    for name in ["", "x/y"] {
        let error = a.add_child(name, &other).unwrap_err();
        assert!(matches!(error, TreeError::IllegalName { .. }));
        names(&error, &["/machine/a"]);
    }
    drop((a, b, c, other));
    rig.close();
}

#[test]
fn a_region_is_in_one_container() {
    let rig = Rig::new("twice");
    let card = rig.plug::<Plain>("card");
    let (bar, bytes) = (container(&card, 2).unwrap(), ram(&card, 1).unwrap());
    bar.add_subregion(Offset(0), &bytes, Priority(0)).unwrap();
    let again = bar
        .add_subregion(Offset(8), &bytes, Priority(0))
        .unwrap_err();
    assert!(matches!(again, RegionError::InContainer { .. }));
    names(&again, &["/machine/card/ram[0]", "/machine/card/box[0]"]);
    let other = rig
        .system
        .add_subregion(Offset(0), &bytes, Priority(0))
        .unwrap_err();
    names(
        &other,
        &[
            "/machine/card/ram[0]",
            "/machine/system[0]",
            "/machine/card/box[0]",
        ],
    );
    let error = rig.system.del_subregion(&bytes).unwrap_err();
    assert!(matches!(error, RegionError::NotInContainer { .. }));
    names(&error, &["/machine/card/ram[0]", "/machine/system[0]"]);
    assert_eq!(bytes.info().unwrap().address, Offset(0));
    drop(card);
    rig.close();
}

#[test]
fn loops_of_containers_and_aliases() {
    let rig = Rig::new("loops");
    let card = rig.plug::<Plain>("card");
    let (a, b) = (container(&card, 4).unwrap(), container(&card, 4).unwrap());
    let error = a.add_subregion(Offset(0), &a, Priority(0)).unwrap_err();
    assert!(matches!(error, RegionError::Loop { .. }), "{error:?}");
    names(&error, &["/machine/card/box[0]"]);
    a.add_subregion(Offset(0), &b, Priority(0)).unwrap();
    let error = b.add_subregion(Offset(0), &a, Priority(0)).unwrap_err();
    assert!(matches!(error, RegionError::Loop { .. }));
    names(&error, &["/machine/card/box[0]", "/machine/card/box[1]"]);
    let window = alias(&card, &a, 4).unwrap();
    let error = b
        .add_subregion(Offset(0), &window, Priority(0))
        .unwrap_err();
    assert!(matches!(error, RegionError::Loop { .. }));
    names(&error, &["/machine/card/alias[0]", "/machine/card/box[1]"]);
    // An alias of an alias of itself cannot even be made: the target comes first. A doubling chain meets the limit instead.
    let mut below = b;
    let refused = (0..64).find_map(|_| {
        let wide = container(&card, 4).unwrap();
        for _ in 0..2 {
            let window = alias(&card, &below, 4).unwrap();
            if let Err(error) = wide.add_subregion(Offset(0), &window, Priority(0)) {
                return Some(error);
            }
        }
        below = wide;
        None
    });
    let error = refused.expect("an exponential number of paths is refused");
    assert!(
        matches!(error, RegionError::TooManyPaths { .. }),
        "{error:?}"
    );
    names(&error, &["/machine/card/box["]);
    drop(card);
    rig.close();
}

#[test]
fn sizes_and_lengths() {
    let rig = Rig::new("sizes");
    let over = u128::from(u64::MAX) + 2;
    assert_eq!(Size::try_from(over), Err(SizeOverflow(over)));
    names(&SizeOverflow(over), &["0x1", "2^64"]);
    let error = Backing::memfd("x", 0).unwrap_err();
    assert!(matches!(error, BackingError::ZeroLength { .. }));
    names(&error, &["memory file `x`", "zero bytes"]);
    let error = Backing::memfd("x", u64::MAX).unwrap_err();
    assert!(matches!(error, BackingError::TooLong { .. }));
    names(&error, &["memory file `x`", "0xffffffffffffffff"]);
    let backing = Backing::anonymous(PAGE).unwrap();
    let error = backing.slice(16, 0).unwrap_err();
    assert!(matches!(error, BackingError::ZeroLength { .. }));
    names(&error, &["slice at 0x10", "backing of 0x1000 bytes"]);
    let card = rig.plug::<Plain>("card");
    let bytes = ram(&card, 1).unwrap();
    rig.show(&bytes, 1);
    for error in [
        rig.space
            .map(&card, Gpa(PAGE), 0, Intent::Read)
            .unwrap_err(),
        rig.space
            .pin(&card, Gpa(PAGE), 0, Intent::Read)
            .unwrap_err(),
        rig.space.enter().view().slice(Gpa(PAGE), 0).unwrap_err(),
    ] {
        assert!(matches!(error, MapError::Empty { .. }), "{error:?}");
        names(&error, &["0x1000"]);
    }
    let error = rig
        .space
        .map(&card, Gpa(PAGE), 0, Intent::Read)
        .unwrap_err();
    names(&error, &["/machine/card", rig.space.name()]);
    let mapping = rig.space.map(&card, Gpa(PAGE), 64, Intent::Read).unwrap();
    let error = mapping.pin(0, 0).unwrap_err();
    assert!(matches!(error, MapError::Empty { .. }));
    names(&error, &["/machine/card/ram[0]", "by /machine/card"]);
    let error = mapping.pin(60, 5).unwrap_err();
    assert!(matches!(error, MapError::TooShort { .. }));
    names(&error, &["/machine/card/ram[0]", "0x103c", "0x5"]);
    assert!(matches!(
        mapping.pin(u64::MAX, 2),
        Err(MapError::TooShort { .. })
    ));
    assert!(matches!(
        rig.space.pin(&card, Gpa(PAGE), 2 * PAGE, Intent::Read),
        Err(MapError::TooShort { .. })
    ));
    let error = rig.space.map(&card, Gpa(0), 1, Intent::Read).unwrap_err();
    assert!(matches!(error, MapError::NotRam { .. }));
    names(&error, &["/machine/card", rig.space.name()]);
    // A region of no bytes is legal and shows nothing; one of all bytes does not fit above 0, and is cut.
    let nothing = Region::container("nothing", Size::ZERO)
        .create(&card)
        .unwrap();
    rig.show(&nothing, 2);
    let everything = Region::reservation("everything", Size::MAX)
        .create(&card)
        .unwrap();
    rig.show(&everything, 3);
    assert_eq!(rig.load(1), Ok(1));
    drop((mapping, card));
    rig.close();
}

#[test]
fn a_mapping_is_unmapped_once() {
    let rig = Rig::new("unmap");
    let (owner, holder) = (rig.plug::<Plain>("owner"), rig.plug::<Plain>("holder"));
    rig.show(&ram(&owner, 1).unwrap(), 0);
    rig.show(&io::<Plain>(&owner, 2).unwrap(), 1);
    for page in 0..2 {
        let mapping = rig
            .space
            .map(&holder, Gpa(page * PAGE), 8, Intent::ReadWrite)
            .unwrap();
        assert!(mapping.unmap_shared(4).unwrap().is_ok());
        for error in [
            mapping.unmap_shared(4).unwrap_err(),
            mapping.bytes(&rig.space.enter()).unwrap_err(),
            mapping.pin(0, 4).unwrap_err(),
        ] {
            assert!(matches!(error, MapError::Unmapped { .. }), "{error:?}");
            names(&error, &["/machine/owner/", "/machine/holder"]);
        }
    }
    let bounced = rig.space.map(&holder, Gpa(PAGE), 8, Intent::Read).unwrap();
    let error = bounced.pin(0, 4).unwrap_err();
    assert!(matches!(error, MapError::Bounced { .. }));
    names(&error, &["/machine/owner/io[0]", "/machine/holder"]);
    rig.space.set_bounce_limit(8);
    let error = rig
        .space
        .map(&holder, Gpa(PAGE), 8, Intent::Read)
        .unwrap_err();
    assert!(matches!(error, MapError::BounceExhausted { .. }));
    names(&error, &["memory", "/machine/holder"]);
    drop((bounced, owner, holder));
    rig.close();
}

#[test]
fn nobody_waits_for_himself() {
    let rig = Rig::new("waits");
    let card = rig.plug::<Dev>("card");
    let weak = card.downgrade();
    // The executor is kept busy, so that there is something to wait for.
    let (go_on, busy) = std::sync::mpsc::channel::<()>();
    let (tell, is_busy) = std::sync::mpsc::channel();
    rig.machine.defer(move || {
        tell.send(()).unwrap();
        assert!(busy.recv().is_err(), "nothing is ever sent");
    });
    is_busy.recv_timeout(LONG).unwrap();
    let guard = rig.space.enter();
    let ticket = card.unparent().unwrap();
    drop(card);
    assert!(!ticket.is_done());
    let inside = |error: WaitError, place: Place| {
        assert!(
            matches!(&error, WaitError::Forbidden { place: p, .. } if *p == place),
            "{error:?}"
        );
        names(&error, &[&place.to_string()]);
        error
    };
    names(
        &inside(ticket.wait(LONG).unwrap_err(), Place::Guard),
        &["/machine/card"],
    );
    names(
        &inside(rig.machine.quiesce(LONG).unwrap_err(), Place::Guard),
        &["`waits`"],
    );
    drop(guard);
    drop(go_on);
    ticket.wait(LONG).unwrap();
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    // In a callback, a hook, a transaction and on the executor alike.
    let card = rig.plug::<Dev>("card");
    rig.show(&io::<Dev>(&card, 1).unwrap(), 0);
    let answers = Arc::new(Mutex::new(Vec::new()));
    for (point, place) in [
        (Point::Read, Place::Guard),
        (Point::Unparent, Place::Hook),
        (Point::Finalize, Place::Finalizer),
    ] {
        let (machine, log) = (rig.machine.handle().clone(), answers.clone());
        card.part().on(point, move |_| {
            log.lock()
                .unwrap()
                .push((place, machine.quiesce(LONG).unwrap_err()));
        });
    }
    rig.load(0).unwrap();
    let machine = rig.machine.handle().clone();
    let refused =
        memory::transaction(&rig.machine, |_| machine.quiesce(LONG).unwrap_err()).unwrap();
    inside(refused, Place::Transaction);
    let log = answers.clone();
    rig.machine.defer(move || {
        log.lock()
            .unwrap()
            .push((Place::Executor, machine.quiesce(LONG).unwrap_err()));
    });
    card.unparent().unwrap();
    drop(card);
    rig.machine.quiesce(LONG).unwrap();
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    assert_eq!(answers.len(), 4);
    for (place, error) in answers {
        inside(error, place);
    }
    // A machine that is closed inside a guard comes back.
    let space = rig.space.clone();
    let Rig { machine, .. } = rig;
    let guard = space.enter();
    let (machine, error) = machine.close(LONG).unwrap_err();
    inside(error, Place::Guard);
    drop(guard);
    machine.close(LONG).map_err(|(_, e)| e).unwrap();
}

#[test]
fn edges_stay_in_one_machine() {
    let (here, there) = (Rig::new("here"), Rig::new("there"));
    let (mine, theirs) = (here.plug::<Plain>("mine"), there.plug::<Plain>("theirs"));
    let (bytes, foreign) = (ram(&mine, 1).unwrap(), ram(&theirs, 2).unwrap());
    here.show(&bytes, 0);
    there.show(&foreign, 0);
    // The same places in both machines, so that a key of one would mean something in the other.
    let shown = here.load(0);
    let regions = [
        here.system
            .add_subregion(Offset(PAGE), &foreign, Priority(0))
            .unwrap_err(),
        here.system.del_subregion(&foreign).unwrap_err(),
        Region::alias("window", &foreign, Offset(0), Size::new(8))
            .create(&mine)
            .unwrap_err(),
        AddressSpace::open(&mine, "space", &foreign).unwrap_err(),
        here.space.listen(&theirs, Quiet).unwrap_err(),
    ];
    for error in regions {
        assert!(
            matches!(error, RegionError::OtherMachine { .. }),
            "{error:?}"
        );
        names(&error, &["/machine/theirs", "`here`", "`there`"]);
    }
    let mappings = [
        here.space
            .map(&theirs, Gpa(0), 8, Intent::Read)
            .unwrap_err(),
        here.space
            .pin(&theirs, Gpa(0), 8, Intent::Read)
            .unwrap_err(),
    ];
    for error in mappings {
        assert!(matches!(error, MapError::OtherMachine { .. }), "{error:?}");
        names(&error, &["/machine/theirs", "`here`", "`there`"]);
    }
    let trees = [
        mine.set_link("peer", &theirs).unwrap_err(),
        mine.add_child("child", &there.machine.create::<Plain>().unwrap())
            .unwrap_err(),
    ];
    for error in trees {
        assert!(matches!(error, TreeError::OtherMachine { .. }), "{error:?}");
        names(&error, &["/machine/mine", "`here`", "`there`"]);
    }
    assert_eq!((here.load(0), there.load(0)), (shown, Ok(2)));
    // Only backings cross.
    let shared = Region::ram("shared", foreign.get().unwrap().backing().unwrap())
        .create(&mine)
        .unwrap();
    here.show(&shared, 1);
    assert_eq!(here.load(1), Ok(2));
    shared.unparent().unwrap();
    here.machine.quiesce(LONG).unwrap();
    drop((mine, theirs));
    there.close();
    here.close();
}

struct Quiet;
impl Listener for Quiet {
    type Owner = Plain;
}

/// A device whose init asks for what only a complete object gets.
struct Hasty {
    device: Device,
    refused: Vec<(&'static str, String)>,
    width: AtomicU32,
}

qdev::device_type! { Hasty("wrong-hasty") { device: Device } }

impl ObjectImpl for Hasty {
    fn init(cx: &mut Init<'_>) -> Self {
        let machine = qom::layer::machine_of(cx.object());
        let system = machine.resolve("/machine/system[0]").unwrap();
        let system = system.cast::<Region>().unwrap().child();
        let own = ram_of(cx);
        let mut refused = Vec::new();
        let mut note = |what, text: String| refused.push((what, text));
        match system.add_subregion(Offset(0), &own, Priority(0)) {
            Err(error @ RegionError::DuringInit { .. }) => {
                note("foreign container", error.to_string());
            }
            other => panic!("{other:?}"),
        }
        match own.add_subregion(Offset(0), &system, Priority(0)) {
            Err(error @ RegionError::DuringInit { .. }) => {
                note("foreign region", error.to_string());
            }
            other => panic!("{other:?}"),
        }
        match AddressSpace::open(cx.object(), "early", &own) {
            Err(error @ RegionError::DuringInit { .. }) => note("space", error.to_string()),
            other => panic!("{other:?}"),
        }
        let space = AddressSpace::open(&machine.resolve("/machine").unwrap(), "other", &system);
        let space = space.unwrap();
        match space.map(cx.object(), Gpa(PAGE), 8, Intent::Read) {
            Err(MapError::Holder(error @ TreeError::DuringInit { .. })) => {
                note("mapping", error.to_string());
            }
            other => panic!("{other:?}"),
        }
        match space.listen(cx.object(), OfDevice) {
            Err(RegionError::Tree(error @ TreeError::DuringInit { .. })) => {
                note("listener", error.to_string());
            }
            other => panic!("{other:?}"),
        }
        space.close();
        Self {
            device: cx.parent(),
            refused,
            width: AtomicU32::new(1),
        }
    }

    fn class_init(class: &mut ClassInit<'_>) {
        class.property(
            qdev::property::<u32>("width")
                .get(|h: &Hasty| h.width.load(Ordering::Relaxed))
                .set(|h: &Hasty, v| {
                    h.width.store(v, Ordering::Relaxed);
                    Ok(())
                }),
        );
    }
}

fn ram_of(cx: &Init<'_>) -> Child<Region> {
    ram(cx.object(), 3).unwrap()
}

struct OfDevice;
impl Listener for OfDevice {
    type Owner = Device;
}

impl DeviceImpl for Hasty {
    fn realize(&self, _cx: &RealizeContext<'_>) -> Result<(), DeviceError> {
        Ok(())
    }
}

#[test]
fn init_leaves_no_trace() {
    let rig = Rig::new("init");
    let shown = rig.plug::<Plain>("shown");
    rig.show(&ram(&shown, 1).unwrap(), 1);
    let hasty = rig.machine.create::<Hasty>().unwrap();
    let whats: Vec<_> = hasty.refused.iter().map(|(what, _)| *what).collect();
    assert_eq!(
        whats,
        [
            "foreign container",
            "foreign region",
            "space",
            "mapping",
            "listener"
        ]
    );
    for (_, text) in &hasty.refused {
        names(text, &["wrong-hasty#"]);
    }
    names(&hasty.refused[0].1, &["/machine/system[0]"]);
    names(&hasty.refused[3].1, &["/machine/shown/ram[0]"]);
    assert!(hasty.opened().is_empty());
    assert_eq!(rig.load(0), Err(MemTxError::DECODE));
    drop(hasty);
    shown.unparent().unwrap();
    drop(shown);
    rig.finish();
}

#[test]
fn properties_are_set_before_realize() {
    let rig = Rig::new("properties");
    let shown = rig.plug::<Plain>("shown");
    rig.show(&ram(&shown, 1).unwrap(), 1);
    let hasty = rig.machine.create::<Hasty>().unwrap();
    rig.machine.root().add_child("hasty", &hasty).unwrap();
    DeviceOps::set_property(&hasty, "width", 4u32).unwrap();
    hasty.realize().unwrap();
    let error = DeviceOps::set_property(&hasty, "width", 5u32).unwrap_err();
    assert!(matches!(error, PropertyError::Refused { .. }), "{error:?}");
    names(&error, &["/machine/hasty", "width"]);
    assert_eq!(hasty.width.load(Ordering::Relaxed), 4);
    let error = DeviceOps::set_property(&hasty, "height", 5u32).unwrap_err();
    assert!(matches!(error, PropertyError::NotFound { .. }));
    names(&error, &["wrong-hasty", "height"]);
    hasty.unrealize().unwrap();
    let error = DeviceOps::set_property(&hasty, "width", "wide").unwrap_err();
    assert!(matches!(error, PropertyError::WrongType { .. }));
    names(&error, &["wrong-hasty.width", "wide"]);
    drop((hasty, shown));
    rig.close();
}

/// Does in a listener what listeners must not do.
struct Meddler {
    victim: Child<Plain>,
    bytes: Child<Region>,
    system: Child<Region>,
    errors: Arc<Mutex<Vec<String>>>,
}

impl Listener for Meddler {
    type Owner = Plain;
    fn region_del(&self, owner: &Plain, _cx: &Commit<'_>, _section: Section<'_>) {
        let machine = qom::layer::machine_of(self.victim.get().unwrap().object());
        let mut errors = self.errors.lock().unwrap();
        let mut note = |text: String| errors.push(text);
        for unparented in [self.victim.unparent(), self.victim.unparent_async()] {
            match unparented {
                Err(error @ TreeError::Forbidden { .. }) => note(error.to_string()),
                other => panic!("{other:?}"),
            }
        }
        for changed in [
            self.system
                .add_subregion(Offset(0), &self.bytes, Priority(0)),
            self.system.del_subregion(&self.bytes),
            self.bytes.set_enabled(false),
            memory::transaction(&machine, |_| ()),
            Region::container("new", Size::new(8))
                .create(owner)
                .map(|_| ()),
            AddressSpace::open(owner, "new", &self.bytes).map(|_| ()),
        ] {
            match changed {
                Err(error @ RegionError::Forbidden { .. }) => note(error.to_string()),
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(
            machine.quiesce(LONG),
            Err(WaitError::Forbidden { .. })
        ));
    }
}

#[test]
fn listeners_change_nothing() {
    let rig = Rig::new("listeners");
    let (owner, victim) = (rig.plug::<Plain>("owner"), rig.plug::<Plain>("victim"));
    let bytes = ram(&victim, 4).unwrap();
    rig.show(&bytes, 0);
    let moved = ram(&victim, 5).unwrap();
    rig.show(&moved, 1);
    let errors = Arc::new(Mutex::new(Vec::new()));
    let listener = Meddler {
        victim: victim.child(),
        bytes: bytes.clone(),
        system: rig.system.clone(),
        errors: errors.clone(),
    };
    let listening = rig.space.listen(&owner, listener).unwrap();
    moved.set_enabled(false).unwrap();
    let errors = std::mem::take(&mut *errors.lock().unwrap());
    assert_eq!(errors.len(), 8, "{errors:?}");
    for text in &errors {
        names(text, &["a listener"]);
    }
    names(&errors[0], &["/machine/victim"]);
    names(&errors[2], &["/machine/victim/ram[0]"]);
    assert!(rig.watch.panics().is_empty(), "{:?}", rig.watch.panics());
    assert_eq!(rig.load(0), Ok(4));
    listening.close();
    rig.machine.quiesce(LONG).unwrap();
    victim.unparent().unwrap();
    owner.unparent().unwrap();
    drop((owner, victim));
    rig.finish();
}

/// Closes an address space and drops a last handle in a listener: both happen, soon.
struct Closer {
    space: Mutex<Option<AddressSpace>>,
    last: Mutex<Option<Ref<Plain>>>,
}

impl Listener for Closer {
    type Owner = Plain;
    fn region_add(&self, _owner: &Plain, _cx: &Commit<'_>, _section: Section<'_>) {
        if let Some(space) = self.space.lock().unwrap().take() {
            space.close();
        }
        drop(self.last.lock().unwrap().take());
    }
}

/// A listener that others keep too.
struct Shared(Arc<Closer>);
impl Listener for Shared {
    type Owner = Plain;
    fn region_add(&self, owner: &Plain, cx: &Commit<'_>, section: Section<'_>) {
        self.0.region_add(owner, cx, section);
    }
}

#[test]
fn what_ends_in_a_listener_ends_after_it() {
    let rig = Rig::new("closer");
    let (owner, shown) = (rig.plug::<Plain>("owner"), rig.plug::<Plain>("shown"));
    let bytes = ram(&shown, 1).unwrap();
    rig.show(&bytes, 0);
    bytes.set_enabled(false).unwrap();
    let second = AddressSpace::open(&owner, "second", &rig.system).unwrap();
    let lone = rig.machine.create::<Plain>().unwrap();
    let page = ram(&lone, 2).unwrap();
    rig.show(&page, 4);
    assert_eq!(rig.load(4), Ok(2));
    let weak = lone.downgrade();
    let closer = Closer {
        space: Mutex::new(None),
        last: Mutex::new(None),
    };
    let closer = Arc::new(closer);
    let listening = rig.space.listen(&owner, Shared(closer.clone())).unwrap();
    *closer.space.lock().unwrap() = Some(second.clone());
    *closer.last.lock().unwrap() = Some(lone);
    bytes.set_enabled(true).unwrap();
    rig.machine.quiesce(LONG).unwrap();
    rig.machine.wait_finalized(&weak, LONG).unwrap();
    assert_eq!(rig.load(4), Err(MemTxError::DECODE));
    assert!(second.is_closed());
    assert_eq!(
        second.load::<u32>(Gpa(0), Attrs::default()),
        Err(MemTxError::DECODE),
        "a closed space shows nothing"
    );
    listening.close();
    // The handle of the space keeps nothing.
    owner.unparent().unwrap();
    shown.unparent().unwrap();
    drop((owner, shown));
    rig.finish();
    drop(second);
}

#[test]
fn callbacks_want_their_owners_type() {
    let rig = Rig::new("owner type");
    let plain = rig.plug::<Plain>("plain");
    let ops = FnOps::<Hasty> {
        read: |_, _| Ok(0),
        write: |_, _, _| Ok(()),
    };
    let error = Region::io("regs", Size::new(8), ops)
        .create(&plain)
        .unwrap_err();
    assert!(matches!(error, RegionError::OwnerType { .. }));
    names(
        &error,
        &["/machine/plain", "rig-plain", "wrong-hasty", "regs"],
    );
    let error = rig.space.listen(&plain, OfDevice).unwrap_err();
    assert!(matches!(error, RegionError::OwnerType { .. }));
    names(&error, &["/machine/plain", "memory", "device"]);
    assert!(plain.children().is_empty() && plain.opened().is_empty());
    let error = plain.realize().unwrap_err();
    assert!(matches!(error, RealizeError::NoDevice { .. }));
    names(&error, &["/machine/plain", "rig-plain"]);
    rig.space.close();
    let error = rig.space.listen(&plain, Quiet).unwrap_err();
    assert!(matches!(error, RegionError::Closed { .. }));
    names(&error, &["memory"]);
    drop(plain);
    rig.close();
}
