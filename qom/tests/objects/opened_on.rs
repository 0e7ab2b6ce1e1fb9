//! Handles that are opened in one object's name on another: they end with whichever goes first, once, and keep it by name.

use crate::probe::{LONG, Log, Probe, opened, plant, probe};
use qom::layer::{self, End, Entry, HandleOn, Hold, Reason};
use qom::{Machine, MachineHandle, Object, ObjectOps, Ref, TreeError};
use std::panic::Location;
use std::sync::Arc;

const WINDOW: Reason = Reason("window");

/// A handle that writes down its end, and keeps what it is on until then.
struct Window {
    name: &'static str,
    entry: Entry,
    log: Log,
    keeps: parking_lot::Mutex<Option<Hold>>,
    place: &'static Location<'static>,
}

impl HandleOn for Window {
    fn entry(&self) -> &Entry {
        &self.entry
    }
    fn end(self: Arc<Self>) {
        assert_eq!(self.entry.standing(), End::Withdrawn, "{}", self.name);
        self.log.say(format!("end {}", self.name));
        drop(self.keeps.lock().take());
    }
    fn describe(&self) -> String {
        format!("window {}", self.name)
    }
    fn edge(&self) -> (Reason, &'static Location<'static>) {
        (WINDOW, self.place)
    }
}

/// Opens one in the name of `holder`.
#[track_caller]
fn open(
    log: &Log,
    name: &'static str,
    holder: &Object,
    on: Option<&Ref<Probe>>,
) -> Result<Arc<Window>, TreeError> {
    let place = Location::caller();
    let keeps = on.map(|on| {
        let hold = Hold::new(on.object(), Reason("test"), layer::Holder::Outside);
        let listed = hold.as_ref().and_then(Hold::listed);
        listed.expect("it is alive")
    });
    let on = on.map(Ref::object);
    let window = Arc::new(Window {
        name,
        entry: Entry::of(holder, on),
        log: log.clone(),
        keeps: parking_lot::Mutex::new(keeps),
        place,
    });
    layer::open_on(holder, on, &*window, window.clone())?;
    Ok(window)
}

fn take_all_on(object: &Ref<Probe>) -> Vec<Arc<dyn HandleOn>> {
    let pointer = layer::Target::pointer(object).unwrap();
    layer::take_opened_on([&pointer]).into_vec()
}

fn end_all_on(object: &Ref<Probe>) {
    for window in take_all_on(object) {
        window.end();
    }
}

struct Rig {
    machine: Machine,
    log: Log,
    user: Ref<Probe>,
    shown: Ref<Probe>,
}

fn rig(name: &str) -> Rig {
    let (machine, log) = (Machine::new(name), Log::default());
    let user = plant(&machine, machine.root(), &log, "user");
    let shown = plant(&machine, machine.root(), &log, "shown");
    Rig {
        machine,
        log,
        user,
        shown,
    }
}

fn open_now(machine: &MachineHandle) -> usize {
    layer::handles_on(machine)
}

#[test]
fn they_end_with_their_holder_newest_first_among_what_else_is_open_in_its_name() {
    let r = rig("holder");
    let (user, shown) = (r.user.object(), Some(&r.shown));
    let first = open(&r.log, "first", user, shown).unwrap();
    r.user.open(opened(&r.log, "alone")).unwrap();
    let second = open(&r.log, "second", user, shown).unwrap();
    let nowhere = open(&r.log, "nowhere", user, None).unwrap();
    assert_eq!(
        r.user.opened(),
        [
            "window first",
            "handle alone",
            "window second",
            "window nowhere"
        ]
    );
    assert_eq!(open_now(&r.machine), 3);
    r.user.unparent().unwrap();
    let said = r.log.of("");
    let ends: Vec<&String> = said
        .iter()
        .filter(|s| s.starts_with("end") || s.starts_with("close"))
        .collect();
    assert_eq!(
        ends,
        ["end nowhere", "end second", "close alone", "end first"]
    );
    for window in [&first, &second, &nowhere] {
        assert_eq!(window.entry.standing(), End::Withdrawn);
        assert!(window.entry.close(&r.machine).is_none(), "it has ended");
    }
    assert!(take_all_on(&r.shown).is_empty());
    assert_eq!(open_now(&r.machine), 0);
}

#[test]
fn they_end_with_what_they_are_on_and_leave_their_holders() {
    let r = rig("on");
    let other = plant(&r.machine, r.machine.root(), &r.log, "other");
    let windows = [
        open(&r.log, "a", r.user.object(), Some(&r.shown)).unwrap(),
        open(&r.log, "b", other.object(), Some(&r.shown)).unwrap(),
        open(&r.log, "c", r.user.object(), Some(&other)).unwrap(),
    ];
    end_all_on(&r.shown);
    assert_eq!(r.log.of("end"), ["end b", "end a"]);
    let standing = windows.each_ref().map(|w| w.entry.standing());
    assert_eq!(standing, [End::Withdrawn, End::Withdrawn, End::NotYet]);
    assert_eq!(r.user.opened(), ["window c"]);
    assert!(other.opened().is_empty());
    assert_eq!(open_now(&r.machine), 1);
}

#[test]
fn who_closes_one_gets_the_lists_pointer_and_leaves_the_rest() {
    let r = rig("close");
    let windows =
        ["a", "b", "c"].map(|name| open(&r.log, name, r.user.object(), Some(&r.shown)).unwrap());
    let [a, b, c] = &windows;
    let listed = b.entry.close(&r.machine).expect("it is open");
    assert!(std::ptr::addr_eq(Arc::as_ptr(&listed), Arc::as_ptr(b)));
    assert_eq!(b.entry.standing(), End::Closed);
    assert!(b.entry.close(&r.machine).is_none());
    assert!(c.entry.close_unread(&r.machine).is_some());
    assert_eq!(
        (c.entry.standing(), a.entry.standing()),
        (End::Closed, End::NotYet)
    );
    assert_eq!(r.user.opened(), ["window a"]);
    end_all_on(&r.shown);
    assert_eq!(r.log.of("end"), ["end a"], "nothing ends twice");
}

#[test]
fn none_is_opened_where_either_is_withdrawn() {
    let r = rig("refused");
    let late = plant(&r.machine, r.machine.root(), &r.log, "late");
    late.unparent().unwrap();
    let by_late = open(&r.log, "x", late.object(), Some(&r.shown));
    let refused = by_late.map(drop).unwrap_err();
    assert!(
        matches!(refused, TreeError::ParentWithdrawn { .. }),
        "{refused}"
    );
    let text = refused.to_string();
    assert!(
        text.contains("/machine/late") && text.contains("window x"),
        "{text}"
    );
    let on_late = open(&r.log, "x", r.user.object(), Some(&late));
    let refused = on_late.map(drop).unwrap_err();
    assert!(
        matches!(refused, TreeError::ChildWithdrawn { .. }),
        "{refused}"
    );
    let text = refused.to_string();
    assert!(
        text.contains("/machine/user") && text.contains("/machine/late"),
        "{text}"
    );
    assert_eq!(open_now(&r.machine), 0);
    assert!(r.user.opened().is_empty());
}

#[test]
fn what_is_closed_since_a_mark_leaves_both_lists() {
    let r = rig("since");
    let before = open(&r.log, "before", r.user.object(), Some(&r.shown)).unwrap();
    let user = r.user.object();
    let pointer = layer::Target::pointer(&r.user).unwrap();
    let mark = layer::opened_mark(&pointer);
    let since = open(&r.log, "since", user, Some(&r.shown)).unwrap();
    layer::close_opened_since(&pointer, mark);
    let standing = [&before, &since].map(|w| w.entry.standing());
    assert_eq!(standing, [End::NotYet, End::Withdrawn]);
    let left = take_all_on(&r.shown);
    let left: Vec<String> = left.iter().map(|w| w.describe()).collect();
    assert_eq!(left, ["window before"]);
    assert!(take_all_on(&r.shown).is_empty());
}

/// A handle that opens another one while it is closed.
struct Hydra {
    log: Log,
    holder: qom::Child<Probe>,
}

impl qom::Handle for Hydra {
    fn close(&self) {
        self.log.say("close hydra");
        let head = Self {
            log: self.log.clone(),
            holder: self.holder.clone(),
        };
        if let Ok(holder) = self.holder.get() {
            // Refused once the holder is withdrawn.
            let _ = holder.open(Arc::new(head));
        }
    }
    fn describe(&self) -> String {
        "hydra".into()
    }
}

#[test]
fn what_is_opened_while_others_are_closed_stays_and_keeps_nobody_from_the_end() {
    let r = rig("hydra");
    let pointer = layer::Target::pointer(&r.user).unwrap();
    let mark = layer::opened_mark(&pointer);
    for name in ["one", "two"] {
        r.user.open(opened(&r.log, name)).unwrap();
    }
    let hydra = Hydra {
        log: r.log.clone(),
        holder: r.user.child(),
    };
    r.user.open(Arc::new(hydra)).unwrap();
    layer::close_opened_since(&pointer, mark);
    assert_eq!(r.log.of("close"), ["close hydra", "close two", "close one"]);
    assert_eq!(r.user.opened(), ["hydra"]);
}

#[test]
fn the_ledger_says_who_keeps_what_by_one_and_from_where() {
    let r = rig("ledger");
    let held = line!() + 1;
    let window = open(&r.log, "a", r.user.object(), Some(&r.shown)).unwrap();
    let shown = r.shown.object();
    assert_eq!(layer::unnamed(shown, Reason("nothing")), 0);
    assert_eq!(layer::unnamed(shown, WINDOW), 1);
    let why = r.machine.why_alive(shown).to_string();
    let edge = format!("/machine/user [window] at {}:{held}", file!());
    assert!(why.contains(&edge), "{why}");
    drop(window.entry.close(&r.machine));
    let why = r.machine.why_alive(shown).to_string();
    assert!(!why.contains("[window]"), "{why}");
    drop(window);
}

#[test]
fn one_that_is_left_on_an_object_that_is_gone_is_closed_all_the_same() {
    let r = rig("gone");
    let on = probe(&r.machine, &r.log, "on");
    r.machine.root().add_child("on", &on).unwrap();
    let window = open(&r.log, "a", r.user.object(), Some(&on)).unwrap();
    // A layer that does not end what is on its objects.
    on.unparent().unwrap();
    drop(window.keeps.lock().take());
    drop(on);
    r.machine.quiesce(LONG).unwrap();
    assert_eq!(window.entry.standing(), End::NotYet);
    assert!(window.entry.close(&r.machine).is_some());
    assert_eq!(open_now(&r.machine), 0);
    assert!(r.user.opened().is_empty());
}

#[test]
fn as_many_as_there_are_on_several_objects_are_taken() {
    let r = rig("many");
    let second = plant(&r.machine, r.machine.root(), &r.log, "second");
    for n in 0..300 {
        let on = if n % 3 == 0 { &second } else { &r.shown };
        open(&r.log, "w", r.user.object(), Some(on)).unwrap();
    }
    let pointers = [&r.shown, &second].map(|o| layer::Target::pointer(o).unwrap());
    let mut rounds = 0;
    loop {
        let taken = layer::take_opened_on(&pointers);
        if taken.is_empty() {
            break;
        }
        rounds += 1;
        taken.into_iter().for_each(HandleOn::end);
    }
    assert!((2..300).contains(&rounds), "{rounds}");
    assert_eq!((r.log.of("end").len(), open_now(&r.machine)), (300, 0));
}
