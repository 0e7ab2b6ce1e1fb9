//! Overlapping regions: what a guest sees where several claim the same addresses.
//!
//! A board with RAM, a boot ROM over its begin, and a container of device windows that has holes. Priorities decide; where the winner
//! has a hole, the next one shows through.

use std::fmt::Write as _;
use std::time::Duration;

use memory::{
    AddressSpace, Attrs, Backing, Gpa, Offset, Priority, Region, RegionApi, Size, mtree, mtree_flat,
};
use qom::{Child, Machine, ObjectOps};

use super::{
    failure::{DemoError, During},
    stage::Stage,
};
use crate::draw::{MapColumn, memory_map};

/// Bytes that one character of the drawing stands for.
const STEP: u64 = 0x200;
const END: u64 = 0x8000;

/// Regions, with the letter that each is drawn with, the lowest first.
struct Board {
    system: Child<Region>,
    parts: Vec<(char, &'static str, Child<Region>)>,
}

pub(super) fn run(stage: &mut Stage<'_>) -> Result<(), DemoError> {
    let machine = Machine::new("overlap");
    let board = build(&machine).map_err(|source| DemoError::Failed {
        step: "building the board".to_owned(),
        source,
    })?;
    let space = AddressSpace::open(machine.root(), "memory", &board.system).during("opening it")?;

    stage.say("who claims what, lowest priority first, and what a guest sees:");
    stage.say(drawing(&board, &space));
    stage.say(mtree(&machine));
    stage.say(mtree_flat(&machine));
    let mut columns = Vec::new();
    for (_, name, region) in &board.parts {
        let alone = AddressSpace::open(machine.root(), name, region).during("opening a part")?;
        columns.push(MapColumn::of(&alone));
    }
    columns.push(MapColumn::of(&space));
    stage.file("overlap-before.svg", || {
        memory_map(
            "What each region shows alone, and all of them together",
            &columns,
        )
    })?;
    expect(
        &space,
        "before",
        "RRRRRRRRMMMMMMMMMDDMMMMMMMCCMMMM................................",
    )?;

    stage.say(
        "the ROM is hidden, as firmware does when it has copied itself; one window is unplugged:",
    );
    let [_, (_, _, rom), (_, _, _), (_, _, d), (_, _, _)] = board.parts.as_slice() else {
        unreachable!("the board has five parts");
    };
    rom.set_enabled(false).during("hiding the ROM")?;
    d.unparent().during("unplugging a window")?;
    stage.say(drawing(&board, &space));
    stage.file("overlap-after.svg", || {
        memory_map("ROM hidden, one window unplugged", &[MapColumn::of(&space)])
    })?;
    expect(
        &space,
        "after",
        "MMMMMMMMMMMMMMMMMMMMMMMMMMCCMMMM................................",
    )?;
    check_bytes(&space)?;

    drop(space);
    let closed = machine.close(Duration::from_secs(5));
    closed
        .map_err(|(_, error)| error)
        .during("closing the machine")
}

fn build(machine: &Machine) -> Result<Board, Box<dyn std::error::Error + Send + Sync>> {
    let root = machine.root();
    let filled = |len: u64, byte: u8| -> Result<Backing, memory::BackingError> {
        let backing = Backing::anonymous(len)?;
        let done = backing.bytes().fill(0, len, byte);
        debug_assert!(done.is_ok(), "the whole of it");
        Ok(backing)
    };
    let system = Region::container("system", Size::new(END)).create(root)?;
    let ram = Region::ram("ram", filled(0x4000, b'M')?).create(root)?;
    let rom = Region::rom("rom", filled(0x1000, b'R')?).create(root)?;
    let windows = Region::container("windows", Size::new(0x2000)).create(root)?;
    let d = Region::ram("window-d", filled(0x400, b'D')?).create(root)?;
    let c = Region::ram("window-c", filled(0x400, b'C')?).create(root)?;
    system.add_subregion(Offset(0), &ram, Priority(0))?;
    system.add_subregion(Offset(0), &rom, Priority(1))?;
    system.add_subregion(Offset(0x2000), &windows, Priority(1))?;
    windows.add_subregion(Offset(0x200), &d, Priority(0))?;
    windows.add_subregion(Offset(0x1400), &c, Priority(0))?;
    let parts = vec![
        ('M', "ram", ram),
        ('R', "rom", rom),
        ('W', "windows", windows),
        ('D', "window-d", d),
        ('C', "window-c", c),
    ];
    Ok(Board { system, parts })
}

/// One line for each region that is still there, and one for what is seen.
fn drawing(board: &Board, space: &AddressSpace) -> String {
    let mut text = format!("{:10}0", "");
    let columns = END / STEP;
    for mark in (0x1000..=END).step_by(0x1000) {
        let _ = write!(text, "{mark:>8x}");
    }
    text.push('\n');
    for (letter, name, region) in &board.parts {
        let Ok(info) = region.info() else { continue };
        let place = place_of(board, region);
        let size = info.size.as_u64().unwrap_or(u64::MAX);
        let cell = |i: u64| {
            let at = i * STEP;
            match place {
                Some(first) if info.enabled && at >= first && at < first + size => *letter,
                _ => ' ',
            }
        };
        let cells: String = (0..columns).map(cell).collect();
        let note = if info.enabled { "" } else { " (hidden)" };
        let line = format!("{name:10}{cells}");
        let _ = writeln!(text, "{}{note}", line.trim_end());
    }
    let _ = write!(text, "{:10}{}", "seen", seen(space));
    text
}

/// Where a region's first byte is, seen from the root; none where it is in no container.
fn place_of(board: &Board, region: &Child<Region>) -> Option<u64> {
    let info = region.info().ok()?;
    let container = info.container?;
    let outer = board
        .parts
        .iter()
        .find(|(_, _, r)| r.path().as_deref() == Some(&container));
    let base = match outer {
        Some((_, _, outer)) => place_of(board, outer)?,
        None => 0,
    };
    Some(base + info.address.0)
}

/// What a guest reads, a letter for each step; a dot where nothing is there.
fn seen(space: &AddressSpace) -> String {
    let letter = |i| match space.load::<u8>(Gpa(i * STEP), Attrs::default()) {
        Ok(byte) => char::from(byte),
        Err(_) => '.',
    };
    (0..END / STEP).map(letter).collect()
}

fn expect(space: &AddressSpace, when: &str, wanted: &str) -> Result<(), DemoError> {
    let seen = seen(space);
    if seen == wanted {
        return Ok(());
    }
    Err(DemoError::differs(
        format_args!("overlap, {when}"),
        format_args!("a guest sees\n{seen} instead of\n{wanted}"),
    ))
}

/// RAM keeps what was written to it while something lay over it.
fn check_bytes(space: &AddressSpace) -> Result<(), DemoError> {
    let stored = space.store::<u8>(Gpa(0x10), b'x', Attrs::default());
    stored.during("writing RAM where the ROM was")?;
    match space.load::<u8>(Gpa(0x10), Attrs::default()) {
        Ok(b'x') => Ok(()),
        other => Err(DemoError::differs(
            "overlap, after",
            format_args!("RAM under the ROM gives {other:?}"),
        )),
    }
}
