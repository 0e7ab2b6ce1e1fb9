//! A device that keeps a counted handle to its own region in a field: the one way left to leak, and what the ledger says of it.

use memory::{Backing, Region};
use qdev::{Device, DeviceError, DeviceImpl, DeviceOps, RealizeContext};
use qom::{Child, Init, Machine, ObjectImpl, ObjectOps, Ref};
use std::sync::Mutex;
use std::time::Duration;

/// Takes the handle in its realize, and one more in its unrealize.
struct Hoarder {
    device: Device,
    ram: Child<Region>,
    kept: Mutex<Vec<Ref<Region>>>,
}

qdev::device_type! { Hoarder("kept-handle-hoarder") { device: Device } }

impl ObjectImpl for Hoarder {
    fn init(cx: &mut Init<'_>) -> Self {
        let ram = Region::ram("ram", Backing::anonymous(0x1000).unwrap());
        Self {
            ram: ram.create(cx.object()).unwrap(),
            device: cx.parent(),
            kept: Mutex::default(),
        }
    }
}

const IN_REALIZE: u32 = line!() + 4;

impl DeviceImpl for Hoarder {
    fn realize(&self, _: &RealizeContext<'_>) -> Result<(), DeviceError> {
        let handle = self.ram.get().unwrap();
        self.kept.lock().unwrap().push(handle);
        Ok(())
    }

    fn unrealize(&self) {
        let again = self.kept.lock().unwrap()[0].clone();
        self.kept.lock().unwrap().push(again);
    }
}

#[test]
fn the_ledger_names_the_device_whose_code_took_the_handle_and_the_line() {
    let machine = Machine::builder("kept").recording(true).build();
    let card = machine.create::<Hoarder>().unwrap();
    machine.root().add_child("card", &card).unwrap();
    card.realize().unwrap();
    let ram = card.ram.get().unwrap();
    let graph = machine.reference_graph();
    let taken = graph.edges.iter().filter(|edge| edge.taken_by.is_some());
    let places: Vec<_> = taken.map(|edge| edge.place.unwrap().line()).collect();
    assert_eq!(places, [IN_REALIZE], "and no handle of the test's own");

    drop(card.unparent().unwrap());
    machine.quiesce(Duration::from_secs(10)).unwrap();
    let text = machine.why_alive(ram.object()).to_string();
    let named = format!("{}:{IN_REALIZE}", file!());
    for part in [&named, ", taken in the code of /machine/card"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let taken = machine.reference_graph().edges;
    let taken = taken.iter().filter(|edge| edge.taken_by.is_some()).count();
    assert_eq!(taken, 2, "realize and unrealize");

    let handles = std::mem::take(&mut *card.kept.lock().unwrap());
    let weak = card.downgrade();
    drop((handles, ram, card));
    machine
        .wait_finalized(&weak, Duration::from_secs(10))
        .unwrap();
}
