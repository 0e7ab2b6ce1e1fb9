//! What readers execute, as the compiler made it: no read-modify-write, as that would be on a line that readers share.
//!
//! `objdump` shows this very program; the functions below and those that they call on their way are looked through. What is marked as cold
//! (errors, a thread's first section) is elsewhere and not looked at.

use memory::{AddressSpace, Attrs, Gpa, MemTxError, SpaceGuard, VolatileBytes};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

/// A load with a guard of its own.
///
/// # Errors
/// Nothing is there.
#[inline(never)]
pub fn probe_load_guard_each(space: &AddressSpace, addr: u64) -> Result<u32, MemTxError> {
    space.load(Gpa(addr), Attrs::default())
}

/// A load in a read section.
///
/// # Errors
/// Nothing is there.
#[inline(never)]
pub fn probe_load_guard_held(guard: &SpaceGuard<'_>, addr: u64) -> Result<u32, MemTxError> {
    guard.load(Gpa(addr), Attrs::default())
}

/// A borrowed slice.
#[inline(never)]
pub fn probe_slice(space: &AddressSpace, addr: u64) -> u64 {
    let guard = space.enter();
    let slice = guard.view().slice(Gpa(addr), 64);
    slice.map_or(0, VolatileBytes::len)
}

/// The functions on the way of a reader, up to the device's own callback.
const ON_THE_WAY: [&str; 10] = [
    "machine_code::probe_load_guard_each",
    "machine_code::probe_load_guard_held",
    "machine_code::probe_slice",
    "memory::space::AddressSpace::load",
    "memory::space::SpaceGuard::load",
    "memory::region::bound::load_of",
    "memory::dispatch::load_by_call",
    "memory::dispatch::load",
    "keys::Keys<_,_>::last_not_above",
    "ptr::drop_in_place<memory::space::SpaceGuard>",
];

/// What was found in one function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Instructions, whether they are executed at each access or not.
    pub instructions: u32,
    /// Read-modify-writes among them: `lock`ed ones and exchanges with memory.
    pub read_modify_writes: u32,
}

/// Looks through this program.
///
/// # Errors
/// A sentence for people: there is no `objdump`, or it cannot read the program.
pub fn look() -> Result<BTreeMap<String, Function>, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("it knows the code of x86-64 only".to_owned());
    }
    // So that they are in the program.
    std::hint::black_box(probe_load_guard_each as *const ());
    std::hint::black_box(probe_load_guard_held as *const ());
    std::hint::black_box(probe_slice as *const ());
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("objdump")
        .args(["-d", "-C", "--no-show-raw-insn"])
        .arg(program)
        .output()
        .map_err(|error| format!("no objdump: {error}"))?;
    if !output.status.success() {
        return Err(format!("objdump: {}", output.status));
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

fn read(listing: &str) -> BTreeMap<String, Function> {
    let mut found = BTreeMap::new();
    let mut name = None;
    for line in listing.lines() {
        if let Some(begun) = line.strip_suffix(">:") {
            let function = begun.split_once('<').map_or("", |(_, name)| name);
            let on_the_way = ON_THE_WAY.iter().any(|way| function.contains(way));
            name = on_the_way.then(|| function.to_owned());
        } else if let (Some(name), Some((_, code))) = (&name, line.split_once(":\t")) {
            let function: &mut Function = found.entry(name.clone()).or_default();
            function.instructions += 1;
            function.read_modify_writes += u32::from(is_read_modify_write(code));
        }
    }
    found
}

fn is_read_modify_write(code: &str) -> bool {
    code.starts_with("lock ") || (code.starts_with("xchg") && code.contains('('))
}

/// The findings as a table.
pub fn table(found: &BTreeMap<String, Function>) -> String {
    let mut text = String::from("  instructions  read-modify-writes  function\n");
    for (name, function) in found {
        let Function {
            instructions,
            read_modify_writes,
        } = function;
        let _ = writeln!(
            text,
            "  {instructions:>12}  {read_modify_writes:>18}  {name}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locked_instructions_and_exchanges_are_seen() {
        let listing = "
0000000000001000 <other::machine>:
    1000:\tlock incq (%rax)
0000000000002000 <holdfast_bench::machine_code::probe_slice>:
    2000:\tmov    (%rax),%rcx
    2003:\tlock cmpxchg %rcx,(%rdx)
    2008:\txchg   %rax,(%rbx)
    200b:\txchg   %ax,%ax
    200d:\tret
";
        let found = read(listing);
        assert_eq!(found.len(), 1);
        let function = found["holdfast_bench::machine_code::probe_slice"];
        assert_eq!(
            function,
            Function {
                instructions: 5,
                read_modify_writes: 2
            }
        );
        assert!(table(&found).contains("probe_slice"));
    }
}
