//! Two regions at one place: the higher priority is seen, and what lies below shows when the upper one goes.

use std::error::Error;
use std::io::{self, Write};

use memory::{
    AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size, mtree_flat,
    transaction,
};
use qom::Machine;

fn main() -> Result<(), Box<dyn Error>> {
    show(&mut io::stdout())
}

pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let machine = Machine::new("overlap");
    let system = Region::container("system", Size::new(0x4000)).create(machine.root())?;
    let ram = Region::ram("ram", Backing::anonymous(0x4000)?).create(machine.root())?;
    let rom = Region::rom("rom", Backing::anonymous(0x1000)?).create(machine.root())?;
    // Both at once: nobody sees the RAM without the ROM over it.
    transaction(&machine, |_| {
        system.add_subregion(Offset(0), &ram, Priority(0))?;
        system.add_subregion(Offset(0x1000), &rom, Priority(1))
    })??;
    let space = AddressSpace::open(machine.root(), "memory", &system)?;
    write!(out, "{}", mtree_flat(&machine))?;

    let attrs = Attrs::default();
    let byte = |at| space.load::<u8>(Gpa(at), attrs);
    writeln!(
        out,
        "a guest cannot write the ROM: {}",
        space.store::<u8>(Gpa(0x1000), 1, attrs).is_err()
    )?;
    ram.get()?
        .backing()
        .ok_or("no bytes")?
        .bytes()
        .write(0x1000, &[42])?;
    writeln!(out, "with the ROM over it: {}", byte(0x1000)?)?;
    rom.set_priority(Priority(-1))?;
    writeln!(out, "with the ROM under it: {}", byte(0x1000)?)?;
    rom.set_priority(Priority(1))?;
    rom.set_enabled(false)?;
    writeln!(out, "with the ROM disabled: {}", byte(0x1000)?)?;
    writeln!(out, "past the end: {}", byte(0x4000).is_err())?;
    Ok(())
}
