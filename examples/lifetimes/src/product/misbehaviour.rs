//! Devices that misbehave on purpose, on the real crates: each keeps in a field of its own what only its finalizer would let go of. That is the one way
//! left to leak, and the ledger says who holds, why, and which line took it. A handle is nobody's by itself; as each takes it in its own code, the ledger
//! says whose code that was.
//!
//! Address spaces, mappings, links and aliases cannot be kept so: the withdrawal closes them. What can are user handles, which are for users, and
//! transfers, which are for as long as an I/O. So each scenario that leaks under some policy has a case of the same shape, who keeps whom, made of
//! those two; where that is not quite the scenario, [`Explained::near`] says what is between them and why.

mod cast;
mod deeds;

use super::PATIENCE;
use cast::{Hoard, Taken, What};
use qom::{Machine, ObjectOps};

/// A leak that was provoked, and what the ledger says about it.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The rows of the scenarios that it is like.
    pub rows: &'static [&'static str],
    /// What misbehaves, and how.
    pub title: &'static str,
    /// How it is not quite those scenarios, and why it cannot be; empty where it has their shape.
    pub near: &'static str,
    /// The ledger's explanation of everybody who is left.
    pub text: String,
    /// What is at the bottom of it.
    pub held: Vec<Held>,
    /// How many objects were left, and how many still were once the fields had been emptied.
    pub left: (usize, usize),
}

impl Explained {
    /// Whether somebody was left, the text says by whose code, why and where each count was taken, and those were all that kept anybody.
    pub fn is_explained(&self) -> bool {
        let (left, after) = self.left;
        let is_told = |held: &Held| self.text.contains(&held.line);
        left > 0 && after == 0 && !self.held.is_empty() && self.held.iter().all(is_told)
    }
}

/// A count that somebody's own code took and keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whose code it was.
    pub by: String,
    /// The reason, as the ledger has it.
    pub reason: &'static str,
    /// File and line.
    pub place: String,
    /// How the ledger says all of it in one line.
    pub line: String,
}

impl Held {
    /// What is told of whoever took it, after the unplug.
    fn of(taken: &Taken) -> Self {
        let by = taken.by();
        let place = format!("{}:{}", taken.place.file(), taken.place.line());
        let (reason, line) = match taken.what {
            // A handle may be anywhere; what is known is who took it.
            What::Handle => {
                let reason = "user handle";
                let line = format!("[{reason}] at {place}, taken in the code of {by}");
                (reason, line)
            }
            What::Transfer => {
                let reason = "pin (I/O in flight)";
                (reason, format!("I/O of {by} [{reason}] at {place}"))
            }
        };
        Self {
            by,
            reason,
            place,
            line,
        }
    }
}

struct Case {
    rows: &'static [&'static str],
    title: &'static str,
    near: &'static str,
    /// From outside, so that the machine can end: where what is taken is kept.
    misbehave: fn(&Machine) -> Vec<Hoard>,
}

/// Who is called so stays when everybody else is unplugged.
const STAYS: &str = "board";

// What is between a scenario and the case that is like it: the withdrawal cuts the counts of spaces, mappings and containers.
const INSTEAD_OF_SPACE: &str = "The space itself is closed by the withdrawal, whatever the finalizer would do; a counted handle to its root is what can be kept instead.";
const INSTEAD_OF_MAPPING: &str = "A mapping is closed by the withdrawal of its holder; a transfer in flight is what can be kept instead.";
const INSTEAD_OF_CONTAINER: &str = "A container’s count on its subregion is cut by the withdrawal; the device’s own handle to the subregion takes its place.";

const CASES: &[Case] = &[
    Case {
        rows: &["1a"],
        title: "a device that never has a parent keeps a counted handle to the region in its own container",
        near: INSTEAD_OF_CONTAINER,
        misbehave: deeds::introspected_container,
    },
    Case {
        rows: &["1b", "10", "12c", "C7", "C12", "C17"],
        title: "a device keeps a counted handle to the region in its own container until its finalizer",
        near: INSTEAD_OF_CONTAINER,
        misbehave: deeds::own_container,
    },
    Case {
        rows: &["2a'", "C2c"],
        title: "the same, with an address space on the container that is closed at unrealize",
        near: INSTEAD_OF_CONTAINER,
        misbehave: deeds::own_container_with_space,
    },
    Case {
        rows: &["2b", "C2"],
        title: "a device keeps a counted handle to the root of its own address space",
        near: INSTEAD_OF_SPACE,
        misbehave: deeds::own_root,
    },
    Case {
        rows: &["2c", "C1"],
        title: "a device that never has a parent keeps a counted handle to the root of its own address space",
        near: "To open the space in init is refused, so it is opened right after; and the withdrawal closes it, so the handle to its root is what is kept.",
        misbehave: deeds::introspected_root,
    },
    Case {
        rows: &["3c"],
        title: "a device has a transfer in its own memory that only its finalizer completes",
        near: INSTEAD_OF_MAPPING,
        misbehave: deeds::own_transfer,
    },
    Case {
        rows: &["C3c"],
        title: "a descriptor leads a device to its own BAR, and only its finalizer completes the transfer",
        near: INSTEAD_OF_MAPPING,
        misbehave: deeds::descriptor_at_own_bar,
    },
    Case {
        rows: &["C4"],
        title: "two devices, one after the other, each with a transfer in its own memory until its finalizer",
        near: INSTEAD_OF_MAPPING,
        misbehave: deeds::one_after_the_other,
    },
    Case {
        rows: &["6b"],
        title: "a child device keeps a counted handle to the container of its parent, and the parent one to the child",
        near: "The child’s space is closed by the withdrawal. And the tree’s edge to the child is cut by it too: a handle of the child’s alone would go with the child’s finalizer, so the parent has to keep one as well.",
        misbehave: deeds::child_with_root,
    },
    Case {
        rows: &["7c"],
        title: "a device keeps a counted handle to itself",
        near: "A region cannot be made its own owner; a device that holds itself is the same cycle of one.",
        misbehave: deeds::itself,
    },
    Case {
        rows: &["9'", "C8"],
        title: "a device’s handle to its own region is lost: nobody is there to drop it",
        near: "A region cannot be given another parent, and the end of a space has no node to overwrite. What these have in common is a count whose dropper is gone: here a handle in nobody’s field.",
        misbehave: deeds::lost_handle,
    },
    Case {
        rows: &["12b", "C10a"],
        title: "two devices have transfers in each other’s memory until their finalizers",
        near: INSTEAD_OF_MAPPING,
        misbehave: deeds::ring_of_two,
    },
    Case {
        rows: &["C10b"],
        title: "three devices have transfers in each other’s memory, in a ring, until their finalizers",
        near: INSTEAD_OF_MAPPING,
        misbehave: deeds::ring_of_three,
    },
    Case {
        rows: &["11'", "13", "16'"],
        title: "somebody who stays keeps a counted handle to the region of a device that is gone",
        near: "Init reaches into no foreign container, and a withdrawn region joins none: both are refused, and a container’s count would be cut. The board’s own handle is what can hold the region from outside.",
        misbehave: deeds::foreign,
    },
    Case {
        rows: &["15"],
        title: "an unrealize panics before it completes the transfer in the device’s own memory",
        near: "A mapping would be closed by the withdrawal, panic or not; a transfer that only this hook completes is not.",
        misbehave: deeds::panics_in_unrealize,
    },
    Case {
        rows: &["15'", "15''", "16"],
        title: "a transfer in the name of a device that is gone, which nobody completes",
        near: "In the name of who is withdrawn nothing is opened, and what a panicking unrealize leaves open is closed; the transfer is begun before, and whoever should complete it has gone.",
        misbehave: deeds::orphan_transfer,
    },
    Case {
        rows: &["C15"],
        title: "a parent and its child keep counted handles to each other",
        near: "A link of the child’s is cut by its withdrawal, and so is the tree’s edge; handles in both fields stay.",
        misbehave: deeds::family,
    },
    Case {
        rows: &["C18"],
        title: "a device keeps a counted handle to the root of its space and a transfer in its own memory, both until its finalizer",
        near: INSTEAD_OF_MAPPING,
        misbehave: deeds::root_and_transfer,
    },
    Case {
        rows: &[
            "2a", "3a", "3b", "4", "5", "5b", "6", "6'", "7b", "11", "12a", "14", "18", "C3a",
            "C3b", "C6a", "C6b", "C9", "C11",
        ],
        title: "a device keeps a counted handle to its own region",
        near: "",
        misbehave: deeds::own_region,
    },
    Case {
        rows: &["C5c"],
        title: "a device keeps a counted handle to its own BAR, and a child of it that is no device one to its own region in there",
        near: INSTEAD_OF_CONTAINER,
        misbehave: deeds::shared_memory,
    },
    Case {
        rows: &["7", "7'", "C5a", "C5b", "C13", "C14"],
        title: "an object that is no device, below one, keeps a counted handle to its own region",
        near: "",
        misbehave: deeds::plain_owner,
    },
    Case {
        rows: &["12b"],
        title: "two devices keep counted handles to each other, instead of links",
        near: "",
        misbehave: deeds::ring_of_handles,
    },
];

/// Provokes each leak in a machine of its own, has the ledger explain it, and undoes it.
///
/// ```
/// for leak in holdfast_lifetimes::product::misbehaviour::all() {
///     assert!(leak.is_explained(), "{}", leak.text);
/// }
/// ```
pub fn all() -> Vec<Explained> {
    CASES.iter().map(provoke).collect()
}

fn provoke(case: &Case) -> Explained {
    let title = case.title;
    let machine = Machine::builder("misbehaviour").recording(true).build();
    let hoards = (case.misbehave)(&machine);
    for (name, child) in machine.root().children() {
        if &*name != STAYS {
            child
                .unparent()
                .expect("what has a parent can be unplugged");
        }
    }
    machine
        .quiesce(PATIENCE)
        .expect("what is kept does not keep the machine busy");
    let leftovers = machine.leftovers();
    let text: Vec<String> = leftovers.iter().map(ToString::to_string).collect();
    let taken: Vec<Taken> = hoards.iter().flat_map(Hoard::told).collect();
    let held = taken.iter().map(Held::of).collect();
    for hoard in &hoards {
        hoard.empty();
    }
    machine.quiesce(PATIENCE).expect("nothing is kept any more");
    let left = (leftovers.len(), machine.leftovers().len());
    if let Err((_, error)) = machine.close(PATIENCE) {
        panic!("{title}: {error}");
    }
    Explained {
        rows: case.rows,
        title,
        near: case.near,
        text: text.join("\n"),
        held,
        left,
    }
}
