//! The small examples say what they are said to say.

use std::error::Error;
use std::io::Write;

macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[expect(dead_code, reason = "an example's main is not called here")]
        mod $name;
    };
}

example!(blob_map_unmap, "../examples/blob_map_unmap.rs");
example!(mmio_device, "../examples/mmio_device.rs");
example!(object_tree, "../examples/object_tree.rs");
example!(overlap_priority, "../examples/overlap_priority.rs");
example!(why_alive, "../examples/why_alive.rs");

fn said(show: impl Fn(&mut dyn Write) -> Result<(), Box<dyn Error>>) -> String {
    let mut out = Vec::new();
    show(&mut out).expect("an example runs to its end");
    String::from_utf8(out).expect("text")
}

#[test]
fn object_tree_shows_hooks_and_finalizers_in_order() {
    assert_eq!(
        said(object_tree::show),
        "the plug is at /machine/car/engine/plug[0]
unparented: a new handle is refused: true
the plug lives: true
plug is withdrawn
engine is withdrawn
engine is finalized
plug is finalized
at the end: car is withdrawn
at the end: car is finalized
"
    );
}

#[test]
fn mmio_device_ends_in_a_hole() {
    assert_eq!(
        said(mmio_device::show),
        "plugged: 21000 m°C
written: 19500 m°C
a thread read [19500] until the unplug, then a hole: true
realized: false
"
    );
}

#[test]
fn overlap_priority_shows_who_is_on_top() {
    assert_eq!(
        said(overlap_priority::show),
        "FlatView #0
 AS \"memory\", root: system
 Root memory region: system
  0000000000000000-0000000000000fff (prio 0, ram): ram
  0000000000001000-0000000000001fff (prio 1, rom): rom
  0000000000002000-0000000000003fff (prio 0, ram): ram @0000000000002000

a guest cannot write the ROM: true
with the ROM over it: 0
with the ROM under it: 42
with the ROM disabled: 42
past the end: true
"
    );
}

#[test]
fn why_alive_names_what_keeps_an_object() {
    assert_eq!(
        said(why_alive::show),
        "in use, the buffer is kept by: child, subregion, shown by a view, user handle
unplugged, and not yet finalized: true
/machine/disk is kept by I/O of /machine [pin (I/O in flight)] → /machine/disk/buffer[0] [withdrawn region → owner]
/machine/disk/buffer[0] is kept by I/O of /machine [pin (I/O in flight)]
the I/O is done: 0 left
"
    );
}

#[test]
fn blob_map_unmap_answers_when_the_io_is_done() {
    assert_eq!(
        said(blob_map_unmap::show),
        "[Ok, MapInfo(Cached)]: the guest reads 0x1b000005
Suspended: a hole: true
finalized: 0
finalized: 1
the reply: [Ok]
"
    );
}
