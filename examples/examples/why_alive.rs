//! Asks the ledger why an object is alive: first a device in use, then one that is unplugged while an I/O is in flight.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use memory::{AddressSpace, Backing, Gpa, Intent, Offset, Priority, Region, RegionApi, Size};
use qom::{Container, Machine, ObjectOps};

fn main() -> Result<(), Box<dyn Error>> {
    show(&mut io::stdout())
}

pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    // With user handles and I/O in flight in the ledger, not only counted.
    let machine = Machine::builder("why").recording(true).build();
    let system = Region::container("system", Size::new(0x1000)).create(machine.root())?;
    let space = AddressSpace::open(machine.root(), "memory", &system)?;
    let disk = machine.create::<Container>()?;
    machine.root().add_child("disk", &disk)?;
    let buffer = Region::ram("buffer", Backing::anonymous(0x1000)?).create(&disk)?;
    system.add_subregion(Offset(0), &buffer, Priority(0))?;

    let graph = machine.why_alive(buffer.get()?.object()).graph;
    let reasons: Vec<&str> = graph
        .edges
        .iter()
        .filter(|e| e.to == 0)
        .map(|e| e.reason.0)
        .collect();
    writeln!(out, "in use, the buffer is kept by: {}", reasons.join(", "))?;

    let pin = space.pin(machine.root(), Gpa(0), 512, Intent::Read)?;
    let weak = disk.downgrade();
    disk.unparent()?;
    drop(disk);
    let error = machine.wait_finalized(&weak, Duration::from_millis(50));
    writeln!(out, "unplugged, and not yet finalized: {}", error.is_err())?;
    for why in machine.leftovers() {
        let path: Vec<String> = why
            .paths
            .iter()
            .flatten()
            .map(|e| {
                let edge = &why.graph.edges[*e];
                format!("{} [{}]", why.graph.nodes[edge.from].label, edge.reason)
            })
            .collect();
        writeln!(out, "{} is kept by {}", why.object, path.join(" → "))?;
    }

    drop(pin);
    machine.wait_finalized(&weak, Duration::from_secs(10))?;
    writeln!(out, "the I/O is done: {} left", machine.leftovers().len())?;
    drop(system);
    machine
        .close(Duration::from_secs(10))
        .map_err(|(_, error)| error)?;
    Ok(())
}
