//! Who is told what in which order: listeners of several priorities on two address spaces, call by call.

use memory::{
    AddressSpace, Attrs, Backing, Commit, Gpa, Listener, ListenerHandle, Offset, Priority, Region,
    RegionApi, Section, Size,
};
use qom::{Child, Container, Init, Machine, ObjectImpl, ObjectOps, RootObject};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PAGE: u64 = 0x1000;

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down each call, with what its address space shows meanwhile.
struct Scribe {
    name: &'static str,
    priority: i32,
    unchanged: bool,
    space: AddressSpace,
    log: Log,
}

impl Scribe {
    fn note(&self, what: &str, at: &str) {
        let shown: Vec<String> = (0..4)
            .map(|page| {
                self.space
                    .load::<u8>(Gpa(page * PAGE), Attrs::default())
                    .map_or_else(|_| "-".into(), |tag| tag.to_string())
            })
            .collect();
        let line = format!("{} {what}{at} [{}]", self.name, shown.join(" "));
        self.log.lock().unwrap().push(line);
    }

    fn told(&self, what: &str, cx: &Commit<'_>, section: Section<'_>) {
        // Both views are handed in, and the section is of the one that it is about.
        let range = section.range;
        let view = if what == "del" { cx.old } else { cx.new };
        assert_eq!(
            view.find(range.span.start())
                .map(|(span, leaf)| (span, *leaf.range())),
            Some((range.span, *range))
        );
        assert_eq!(section.leaf.range().region, range.region);
        let tag = section.leaf.bytes().map_or(0, |b| {
            let mut tag = [0];
            b.read(0, &mut tag).unwrap();
            tag[0]
        });
        self.note(what, &format!(" {tag}@{}", range.span.first() / PAGE));
    }
}

impl Listener for Scribe {
    type Owner = Container;
    fn priority(&self) -> i32 {
        self.priority
    }
    fn wants_unchanged(&self) -> bool {
        self.unchanged
    }
    fn begin(&self, _: &Container) {
        self.note("begin", "");
    }
    fn commit(&self, _: &Container) {
        self.note("commit", "");
    }
    fn region_add(&self, _: &Container, cx: &Commit<'_>, section: Section<'_>) {
        self.told("add", cx, section);
    }
    fn region_del(&self, _: &Container, cx: &Commit<'_>, section: Section<'_>) {
        self.told("del", cx, section);
    }
    fn region_nop(&self, _: &Container, cx: &Commit<'_>, section: Section<'_>) {
        self.told("nop", cx, section);
    }
}

/// Two spaces of four pages: `one` shows its own pages, `two` shows the same ones one page further on.
struct Board {
    machine: Machine,
    root: Child<Region>,
    one: AddressSpace,
    two: AddressSpace,
    log: Log,
}

impl Board {
    fn new(name: &str) -> Self {
        let machine = Machine::new(name);
        let container = |name| {
            Region::container(name, Size::new(4 * PAGE))
                .create(machine.root())
                .unwrap()
        };
        let (root, outer) = (container("root"), container("outer"));
        let alias = Region::alias("shifted", &root, Offset(0), Size::new(3 * PAGE))
            .create(machine.root())
            .unwrap();
        outer
            .add_subregion(Offset(PAGE), &alias, Priority(0))
            .unwrap();
        let one = AddressSpace::open(machine.root(), "one", &root).unwrap();
        let two = AddressSpace::open(machine.root(), "two", &outer).unwrap();
        Self {
            machine,
            root,
            one,
            two,
            log: Log::default(),
        }
    }

    /// A page of RAM whose first byte is `tag`.
    fn ram(&self, tag: u8) -> Child<Region> {
        let backing = Backing::anonymous(PAGE).unwrap();
        backing.bytes().write(0, &[tag]).unwrap();
        Region::ram("ram", backing)
            .create(self.machine.root())
            .unwrap()
    }

    fn show(&self, ram: &Child<Region>, page: u64) {
        self.root
            .add_subregion(Offset(page * PAGE), ram, Priority(0))
            .unwrap();
    }

    fn listen(&self, space: &AddressSpace, name: &'static str, priority: i32, unchanged: bool) {
        let scribe = Scribe {
            name,
            priority,
            unchanged,
            space: space.clone(),
            log: self.log.clone(),
        };
        space.listen(self.machine.root(), scribe).unwrap();
    }

    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    fn end(self) {
        self.machine
            .close(Duration::from_secs(10))
            .map_err(|(_, e)| e)
            .unwrap();
    }
}

#[test]
fn a_commit_is_told_by_priority_and_published_space_by_space() {
    let b = Board::new("order");
    let (a, gone, fresh, next) = (b.ram(1), b.ram(2), b.ram(3), b.ram(4));
    b.show(&a, 0);
    b.show(&gone, 1);
    // The first that comes has the highest priority, and the two of priority 0 come later.
    b.listen(&b.one, "high", 10, false);
    b.listen(&b.one, "low", 0, false);
    b.listen(&b.two, "far", 0, false);
    assert_eq!(
        b.heard(),
        [
            "high begin [1 2 - -]",
            "high add 1@0 [1 2 - -]",
            "high add 2@1 [1 2 - -]",
            "high commit [1 2 - -]",
            "low begin [1 2 - -]",
            "low add 1@0 [1 2 - -]",
            "low add 2@1 [1 2 - -]",
            "low commit [1 2 - -]",
            "far begin [- 1 2 -]",
            "far add 1@1 [- 1 2 -]",
            "far add 2@2 [- 1 2 -]",
            "far commit [- 1 2 -]",
        ]
    );

    memory::transaction(&b.machine, |_| {
        b.root.del_subregion(&gone).unwrap();
        b.root.del_subregion(&a).unwrap();
        b.show(&next, 2);
        b.show(&fresh, 0);
        assert!(b.heard().is_empty(), "nobody hears of half a change");
    })
    .unwrap();
    assert_eq!(
        b.heard(),
        [
            // All, by ascending priority, and then by age.
            "low begin [1 2 - -]",
            "far begin [- 1 2 -]",
            "high begin [1 2 - -]",
            // One space: what goes in descending order of priority, what comes in ascending; the old view is on show.
            "high del 1@0 [1 2 - -]",
            "low del 1@0 [1 2 - -]",
            "high del 2@1 [1 2 - -]",
            "low del 2@1 [1 2 - -]",
            "low add 3@0 [1 2 - -]",
            "high add 3@0 [1 2 - -]",
            "low add 4@2 [1 2 - -]",
            "high add 4@2 [1 2 - -]",
            // The other.
            "far del 1@1 [- 1 2 -]",
            "far del 2@2 [- 1 2 -]",
            "far add 3@1 [- 1 2 -]",
            "far add 4@3 [- 1 2 -]",
            // All; the new views are on show.
            "low commit [3 - 4 -]",
            "far commit [- 3 - 4]",
            "high commit [3 - 4 -]",
        ]
    );
    b.end();
}

#[test]
fn listeners_of_one_priority_hear_in_the_order_they_came_and_of_deletes_the_other_way_round() {
    let b = Board::new("age");
    let (kept, a) = (b.ram(1), b.ram(2));
    b.show(&kept, 1);
    b.listen(&b.one, "first", 3, true);
    b.listen(&b.one, "second", 3, false);
    b.listen(&b.one, "under", -1, false);
    b.heard();
    b.show(&a, 0);
    assert_eq!(
        b.heard(),
        [
            "under begin [- 1 - -]",
            "first begin [- 1 - -]",
            "second begin [- 1 - -]",
            "under add 2@0 [- 1 - -]",
            "first add 2@0 [- 1 - -]",
            "second add 2@0 [- 1 - -]",
            // Only who asked for it hears of what stays, in its place among what comes.
            "first nop 1@1 [- 1 - -]",
            "under commit [2 1 - -]",
            "first commit [2 1 - -]",
            "second commit [2 1 - -]",
        ]
    );
    b.root.del_subregion(&a).unwrap();
    assert_eq!(
        b.heard(),
        [
            "under begin [2 1 - -]",
            "first begin [2 1 - -]",
            "second begin [2 1 - -]",
            "second del 2@0 [2 1 - -]",
            "first del 2@0 [2 1 - -]",
            "under del 2@0 [2 1 - -]",
            "first nop 1@1 [2 1 - -]",
            "under commit [- 1 - -]",
            "first commit [- 1 - -]",
            "second commit [- 1 - -]",
        ]
    );
    b.end();
}

#[test]
fn a_listener_that_leaves_hears_that_all_it_knows_is_gone() {
    let b = Board::new("leaves");
    let (a, other) = (b.ram(1), b.ram(2));
    b.show(&a, 0);
    b.show(&other, 2);
    let guest = b.machine.create::<Container>().unwrap();
    b.machine.root().add_child("guest", &guest).unwrap();
    let scribe = |name| Scribe {
        name,
        priority: 0,
        unchanged: true,
        space: b.one.clone(),
        log: b.log.clone(),
    };
    let handle = b.one.listen(b.machine.root(), scribe("by-hand")).unwrap();
    b.one.listen(&guest, scribe("with-owner")).unwrap();
    b.heard();
    handle.close();
    handle.close();
    let leaves = |name: &str| {
        ["begin", "del 1@0", "del 2@2", "commit"].map(|what| format!("{name} {what} [1 - 2 -]"))
    };
    assert_eq!(b.heard(), leaves("by-hand"));
    guest.unparent().unwrap();
    assert_eq!(b.heard(), leaves("with-owner"));
    b.root.del_subregion(&a).unwrap();
    assert!(b.heard().is_empty(), "nobody listens any more");
    drop(guest);
    b.end();
}

/// An object that keeps the handle of its own listener in a field.
struct Keeper {
    object: RootObject,
    handle: Mutex<Option<ListenerHandle>>,
    token: Arc<()>,
}

qom::object_type! { Keeper("listeners-keeper") { object: RootObject } }

impl ObjectImpl for Keeper {
    fn init(cx: &mut Init<'_>) -> Self {
        Self {
            object: cx.parent(),
            handle: Mutex::default(),
            token: Arc::default(),
        }
    }
}

/// Has a field of its own.
struct Quiet(#[expect(dead_code, reason = "only kept")] Arc<()>);

impl Listener for Quiet {
    type Owner = Keeper;
}

#[test]
fn an_owner_that_keeps_its_listeners_handle_goes_with_all_its_fields() {
    let b = Board::new("keeper");
    for by_hand in [false, true] {
        let keeper = b.machine.create::<Keeper>().unwrap();
        b.machine.root().add_child("keeper", &keeper).unwrap();
        let listeners_own = Arc::new(());
        let quiet = Quiet(listeners_own.clone());
        let handle = b.one.listen(&keeper, quiet).unwrap();
        *keeper.handle.lock().unwrap() = Some(handle.clone());
        let fields = Arc::downgrade(&keeper.token);
        if by_hand {
            handle.close();
            assert_eq!(Arc::strong_count(&listeners_own), 1, "it is closed");
        }
        // One that is never dropped keeps nothing of the owner either.
        std::mem::forget(handle);
        keeper.unparent().unwrap();
        drop(keeper);
        b.machine.quiesce(Duration::from_secs(10)).unwrap();
        assert_eq!(Arc::strong_count(&listeners_own), 1);
        assert!(fields.upgrade().is_none(), "by hand: {by_hand}");
    }
    b.end();
}
