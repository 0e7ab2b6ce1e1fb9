//! A random case of accesses: a handful of regions of all kinds, changed and withdrawn between accesses of all kinds, each compared
//! with memory as it is byte by byte ([`crate::bytewise`]). The program `fuzz_memory` plays them for as long as it is told.

use crate::bytewise::{Device, Kind, Model, laid_out, number};
use crate::random::Random;
use memory::RegionError as E;
use memory::{
    Access, AccessRules, AddressSpace, Attrs, Backing, ByteOrder, Endian, Gpa, MemTx, MemTxError,
    Offset, Priority, Region, RegionApi, RegionBuilder, RegionOps, Size, SizeRange, transaction,
};
use parking_lot::Mutex;
use qom::{Child, Container, Machine, ObjectOps, Ref};
use std::sync::Arc;

/// The callbacks of a device of the model.
struct Regs {
    id: u64,
    order: ByteOrder,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Regs {
    fn places(&self, access: Access) -> Result<Vec<usize>, MemTxError> {
        Device::failure(self.id, access.offset).ok()?;
        let len = self.bytes.lock().len();
        let places =
            (0..u64::from(access.size)).map(|i| Device::place(len, access.offset.wrapping_add(i)));
        Ok(places.collect())
    }
}

impl RegionOps for Regs {
    type Owner = Container;

    fn read(&self, _: &Container, access: Access) -> Result<u64, MemTxError> {
        let places = self.places(access)?;
        let bytes = self.bytes.lock();
        let bytes: Vec<u8> = places.into_iter().map(|p| bytes[p]).collect();
        Ok(number(&bytes, self.order.into()))
    }

    fn write(&self, _: &Container, access: Access, value: u64) -> Result<(), MemTxError> {
        let places = self.places(access)?;
        let mut bytes = self.bytes.lock();
        for (place, byte) in
            places
                .into_iter()
                .zip(laid_out(value, access.size.into(), self.order.into()))
        {
            bytes[place] = byte;
        }
        Ok(())
    }
}

struct Case {
    random: Random,
    model: Model,
    regions: Vec<Child<Region>>,
    owner: Ref<Container>,
    accesses: u64,
    /// The last steps, for whoever reads of a difference.
    trail: Vec<String>,
}

type Outcome<T = ()> = Result<T, String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Plays the case of a seed on a machine, beside whatever is there: how many accesses it made.
///
/// # Errors
/// What differs from the model, with the steps that led there; or what was refused that should not be.
pub fn play(machine: &Machine, seed: u64) -> Result<u64, String> {
    let owner: Ref<Container> = machine.create().map_err(text)?;
    machine
        .root()
        .add_child(&format!("case-{seed}"), &owner)
        .map_err(text)?;
    let mut case = Case {
        random: Random::new(seed),
        model: Model::default(),
        regions: Vec::new(),
        owner,
        accesses: 0,
        trail: Vec::new(),
    };
    let played = case.play(machine);
    let trail = || {
        case.trail
            .iter()
            .rev()
            .take(12)
            .rev()
            .cloned()
            .collect::<Vec<_>>()
            .join("\n  ")
    };
    played.map_err(|what| format!("{what}\n  {}", trail()))?;
    // With the owner goes everything.
    ObjectOps::unparent(&case.owner).map_err(text)?;
    Ok(case.accesses)
}

impl Case {
    fn play(&mut self, machine: &Machine) -> Outcome {
        let device = self.random.chance(20).then(|| self.device());
        self.make(Kind::Container { device }, 1 << 64)?;
        for _ in 0..4 + self.random.below(14) {
            self.make_any()?;
        }
        let space = AddressSpace::open(&self.owner, "fuzz", &self.regions[0]).map_err(text)?;
        for _ in 1..self.regions.len() {
            self.place()?;
        }
        for _ in 0..4 + self.random.below(12) {
            for _ in 0..self.random.below(4) {
                if self.random.chance(20) {
                    let many = transaction(machine, |_| (0..3).try_for_each(|_| self.change()));
                    many.map_err(text)??;
                } else {
                    self.change()?;
                }
            }
            for _ in 0..12 {
                self.access(&space)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, what: String) {
        self.trail.push(what);
    }

    fn size(&mut self) -> u128 {
        match self.random.below(16) {
            0 => 0,
            1 => 1 << 64,
            2..5 => u128::from(self.random.below(16)),
            _ => u128::from(self.random.below(0x200)),
        }
    }

    /// A place in a container: mostly where others are too, sometimes at the end of all addresses.
    fn address(&mut self) -> u64 {
        match self.random.below(8) {
            0 => 0_u64.wrapping_sub(1 + self.random.below(0x120)),
            1..4 => self.random.below(0x40) * 0x10,
            _ => self.random.below(0x400),
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.random.byte()).collect()
    }

    fn device(&mut self) -> Device {
        let sizes = [0, 1, 2, 4, 8];
        let max = self.random.pick(&sizes);
        let mut valid = SizeRange::new(0, max);
        if max > 0 && self.random.chance(30) {
            let smaller: Vec<u8> = sizes.into_iter().filter(|s| *s <= max).collect();
            valid.min = self.random.pick(&smaller);
        }
        valid.unaligned = self.random.chance(30);
        let mut implemented = SizeRange::new(0, self.random.pick(&sizes));
        implemented.unaligned = valid.unaligned && self.random.chance(50);
        let len = 1 + self.random.index(0x100);
        Device {
            id: self.random.below(1000),
            rules: AccessRules {
                endian: self
                    .random
                    .pick(&[Endian::Native, Endian::Little, Endian::Big]),
                valid,
                implemented,
            },
            bytes: self.bytes(len),
        }
    }

    fn make_any(&mut self) -> Outcome {
        let size = self.size();
        let kind = match self.random.below(12) {
            0..2 => Kind::Container { device: None },
            2 => Kind::Container {
                device: Some(self.device()),
            },
            3..6 => {
                // The backing of a region need not be of its size.
                let len = match self.random.below(4) {
                    0 => self.random.index(0x200) + 1,
                    _ => usize::try_from(size.clamp(1, 0x200)).unwrap_or(1),
                };
                let with = self.random.chance(90);
                let bytes = with.then(|| self.bytes(len));
                Kind::Ram { bytes }
            }
            6 => {
                let len = self.random.index(0x200) + 1;
                Kind::RomDevice {
                    bytes: self.bytes(len),
                    device: self.device(),
                    direct: true,
                }
            }
            7..9 => Kind::Io {
                device: self.device(),
            },
            9 => Kind::Reservation,
            _ => {
                let target = self.random.index(self.regions.len());
                let offset = self.random.below(0x180);
                if self.model.nodes[target].withdrawn {
                    return Ok(());
                }
                Kind::Alias {
                    target: Some(target),
                    offset,
                }
            }
        };
        self.make(kind, size)
    }

    fn make(&mut self, kind: Kind, size: u128) -> Outcome {
        let size_of = Size::try_from(size).map_err(|e| format!("{e:?}"))?;
        let backing = |bytes: &[u8]| -> Outcome<Backing> {
            let backing = Backing::anonymous(bytes.len() as u64).map_err(text)?;
            backing.bytes().write(0, bytes).map_err(text)?;
            // A mapping is whole pages; a slice ends where it should.
            backing.slice(0, bytes.len() as u64).map_err(text)
        };
        let regs = |device: &Device| Regs {
            id: device.id,
            order: device.rules.endian.order(),
            bytes: Arc::new(Mutex::new(device.bytes.clone())),
        };
        let builder: RegionBuilder = match &kind {
            Kind::Container { device } => {
                let container = Region::container("c", size_of);
                match device {
                    Some(device) => container.ops(regs(device)).rules(device.rules),
                    None => container,
                }
            }
            Kind::Ram { bytes: Some(bytes) } => Region::ram("m", backing(bytes)?).size(size_of),
            Kind::Ram { bytes: None } => Region::ram_without_backing("m", size_of),
            Kind::RomDevice { bytes, device, .. } => {
                Region::rom_device("d", backing(bytes)?, regs(device))
                    .rules(device.rules)
                    .size(size_of)
            }
            Kind::Io { device } => Region::io("i", size_of, regs(device)).rules(device.rules),
            Kind::Reservation => Region::reservation("r", size_of),
            Kind::Alias { target, offset } => {
                let target = target.ok_or("an alias without a target")?;
                Region::alias("a", &self.regions[target], Offset(*offset), size_of)
            }
        };
        self.note(format!("{}: {kind:?} of {size:#x}", self.regions.len()));
        // Too many paths through aliases of aliases are refused.
        match builder.create(&self.owner) {
            Ok(region) => {
                self.regions.push(region);
                self.model.insert(kind, size);
                Ok(())
            }
            Err(memory::RegionError::TooManyPaths { .. }) => Ok(()),
            Err(error) => Err(format!("a region was refused: {error}")),
        }
    }

    /// Puts a region into a container; what would be a loop is refused and stays as it was.
    fn place(&mut self) -> Outcome {
        let (container, region) = (
            self.random.index(self.regions.len()),
            self.random.index(self.regions.len()),
        );
        let container = if self.random.chance(60) { 0 } else { container };
        let address = self.address();
        let priority = i32::from(self.random.byte() % 5) - 2;
        let added = self.regions[container].add_subregion(
            Offset(address),
            &self.regions[region],
            Priority(priority),
        );
        self.note(format!(
            "add {region} to {container} at {address:#x} ({priority}): {added:?}"
        ));
        let gone = self.is_withdrawn(region) || self.is_withdrawn(container);
        match added {
            Ok(()) => self.model.add(container, region, address, priority),
            Err(E::Loop { .. } | E::TooManyPaths { .. }) => {}
            Err(E::InContainer { .. }) if self.model.container(region).is_some() => {}
            Err(E::Withdrawn { .. } | E::Gone(_)) if gone => {}
            Err(error) => return Err(format!("a subregion was refused: {error}")),
        }
        Ok(())
    }

    fn is_withdrawn(&self, region: usize) -> bool {
        self.model.nodes[region].withdrawn
    }

    fn change(&mut self) -> Outcome {
        let at = self.random.index(self.regions.len());
        if self.is_withdrawn(at) {
            return Ok(());
        }
        let region = self.regions[at].clone();
        let on = self.random.chance(50);
        let address = self.address();
        let size = self.size();
        let what = self.random.below(10);
        self.note(format!("change {at}: {what} {on} {address:#x} {size:#x}"));
        let node = &mut self.model.nodes[at];
        match what {
            0 | 1 => return self.place(),
            2 => {
                let Some(container) = self.model.container(at) else {
                    return Ok(());
                };
                self.regions[container]
                    .del_subregion(&region)
                    .map_err(text)?;
                self.model.remove(at);
            }
            3 => {
                region.set_enabled(on || at == 0).map_err(text)?;
                node.enabled = on || at == 0;
            }
            4 => {
                region.set_readonly(on).map_err(text)?;
                node.readonly = on;
            }
            5 => {
                let priority = node.priority;
                region.set_address(Offset(address)).map_err(text)?;
                self.model.replace(at, address, priority);
            }
            6 => {
                let (address, priority) = (node.address, node.priority + 1);
                region.set_priority(Priority(priority)).map_err(text)?;
                self.model.replace(at, address, priority);
            }
            7 if at != 0 => {
                region
                    .set_size(Size::try_from(size).map_err(|e| format!("{e:?}"))?)
                    .map_err(text)?;
                node.size = size;
            }
            8 => match &mut node.kind {
                Kind::RomDevice { direct, .. } => {
                    region.set_romd(on).map_err(text)?;
                    *direct = on;
                }
                Kind::Alias {
                    target: Some(_),
                    offset,
                } => {
                    *offset = address % 0x300;
                    region.set_alias_offset(Offset(*offset)).map_err(text)?;
                }
                _ => {}
            },
            9 if at != 0 && on && self.random.chance(30) => {
                ObjectOps::unparent(&region).map_err(text)?;
                self.model.withdraw(at);
            }
            _ => {}
        }
        Ok(())
    }

    fn access(&mut self, space: &AddressSpace) -> Outcome {
        self.accesses += 1;
        let addr = match self.random.below(8) {
            0 => 0_u64.wrapping_sub(1 + self.random.below(0x140)),
            1..4 => self.border(space),
            _ => self.random.below(0x480),
        };
        let len = match self.random.below(4) {
            0 => self.random.index(0x100),
            _ => self.random.index(24),
        };
        let attrs = Attrs::default();
        match self.random.below(10) {
            0..3 => {
                let mut found = vec![0xee; len];
                let result = if self.random.chance(50) {
                    space.read(Gpa(addr), &mut found, attrs)
                } else {
                    space.reader().enter().read(Gpa(addr), &mut found, attrs)
                };
                let mut wanted = vec![0; len];
                let right = self.model.transfer(addr, &mut wanted, false);
                same_bytes(
                    format_args!("read {len:#x} at {addr:#x}"),
                    (&found, result),
                    (&wanted, right),
                )
            }
            3..5 => {
                let mut data = self.bytes(len);
                let result = space.write(Gpa(addr), &data, attrs);
                let right = self.model.transfer(addr, &mut data, true);
                same(format_args!("write {len:#x} at {addr:#x}"), result, right)
            }
            5 => {
                let data = self.bytes(len);
                let result = space.write_rom(Gpa(addr), &data);
                let right = self.model.load_rom(addr, &data);
                same(
                    format_args!("load ROM {len:#x} at {addr:#x}"),
                    result,
                    right,
                )
            }
            6..8 => self.load(space, addr),
            8 => self.store(space, addr),
            _ => self.exchange(space, addr),
        }
    }

    /// An address a few bytes before one range ends and another begins, where there are such.
    fn border(&mut self, space: &AddressSpace) -> u64 {
        let guard = space.enter();
        let view = guard.view();
        let borders: Vec<u64> = view
            .ranges()
            .map(|(range, _)| range.span.first())
            .filter(|first| *first > 0 && view.find(Gpa(first - 1)).is_some())
            .collect();
        if borders.is_empty() {
            return self.random.below(0x480);
        }
        self.random
            .pick(&borders)
            .saturating_sub(self.random.below(8))
    }

    fn order(&mut self) -> Endian {
        self.random
            .pick(&[Endian::Native, Endian::Little, Endian::Big])
    }

    fn load(&mut self, space: &AddressSpace, addr: u64) -> Outcome {
        let (order, attrs) = (self.order(), Attrs::default());
        let size: usize = self.random.pick(&[1, 2, 4, 8]);
        let guard = space.enter();
        let found = match size {
            1 => guard.load_as::<u8>(Gpa(addr), order, attrs).map(u64::from),
            2 => guard.load_as::<u16>(Gpa(addr), order, attrs).map(u64::from),
            4 => guard.load_as::<u32>(Gpa(addr), order, attrs).map(u64::from),
            _ => guard.load_as::<u64>(Gpa(addr), order, attrs),
        };
        let mut bytes = vec![0; size];
        let right = self.model.single(addr, &mut bytes, false);
        let wanted = right.ok().map(|()| number(&bytes, order));
        same(
            format_args!("load {size} at {addr:#x} {order:?}"),
            found,
            wanted,
        )
    }

    fn store(&mut self, space: &AddressSpace, addr: u64) -> Outcome {
        let (order, attrs) = (self.order(), Attrs::default());
        let size: usize = self.random.pick(&[1, 2, 4, 8]);
        let value = self.random.next();
        let [a, b, c, d, ..] = value.to_le_bytes();
        let guard = space.enter();
        let done = match size {
            1 => guard.store_as(Gpa(addr), a, order, attrs),
            2 => guard.store_as(Gpa(addr), u16::from_le_bytes([a, b]), order, attrs),
            4 => guard.store_as(Gpa(addr), u32::from_le_bytes([a, b, c, d]), order, attrs),
            _ => guard.store_as(Gpa(addr), value, order, attrs),
        };
        let right = self
            .model
            .single(addr, &mut laid_out(value, size, order), true);
        same(
            format_args!("store {size} at {addr:#x} {order:?}"),
            done,
            right.ok(),
        )
    }

    fn exchange(&mut self, space: &AddressSpace, addr: u64) -> Outcome {
        let attrs = Attrs::default();
        let size: usize = self.random.pick(&[1, 2, 4, 8]);
        let mut bytes = vec![0; size];
        let possible = self.model.is_exchangeable(addr, size);
        if possible {
            let _ = self.model.transfer(addr, &mut bytes, false);
        }
        let there = number(&bytes, Endian::Native);
        // Half of them expect what is there.
        let current = if self.random.chance(50) {
            there
        } else {
            there ^ 1
        };
        let new = self.random.byte();
        let guard = space.enter();
        let found = match (size, current.to_le_bytes()) {
            (1, [a, ..]) => widen(guard.compare_exchange::<u8>(Gpa(addr), a, new, attrs)),
            (2, [a, b, ..]) => {
                let current = u16::from_le_bytes([a, b]);
                widen(guard.compare_exchange::<u16>(Gpa(addr), current, new.into(), attrs))
            }
            (4, [a, b, c, d, ..]) => {
                let current = u32::from_le_bytes([a, b, c, d]);
                widen(guard.compare_exchange::<u32>(Gpa(addr), current, new.into(), attrs))
            }
            _ => widen(guard.compare_exchange::<u64>(Gpa(addr), current, new.into(), attrs)),
        };
        let wanted = if !possible {
            Err(MemTxError::DECODE)
        } else if current == there {
            let _ =
                self.model
                    .transfer(addr, &mut laid_out(new.into(), size, Endian::Native), true);
            Ok(Ok(there))
        } else {
            Ok(Err(there))
        };
        same(format_args!("exchange {size} at {addr:#x}"), found, wanted)
    }
}

type Exchanged<T> = Result<Result<T, T>, MemTxError>;

fn widen<T: Into<u64>>(exchanged: Exchanged<T>) -> Exchanged<u64> {
    exchanged.map(|e| e.map(Into::into).map_err(Into::into))
}

/// Whether value and result are those of the model.
#[expect(clippy::needless_pass_by_value, reason = "both are made for this call")]
fn same<V: PartialEq + std::fmt::Debug>(
    what: std::fmt::Arguments<'_>,
    found: V,
    wanted: V,
) -> Outcome {
    if found == wanted {
        return Ok(());
    }
    Err(format!(
        "{what}\n  found  {found:02x?}\n  wanted {wanted:02x?}"
    ))
}

/// Bytes that were read, from the first that is not the model's.
fn same_bytes(
    what: std::fmt::Arguments<'_>,
    found: (&[u8], MemTx),
    wanted: (&[u8], MemTx),
) -> Outcome {
    let first = found.0.iter().zip(wanted.0).position(|(f, w)| f != w);
    let from = first.unwrap_or(found.0.len());
    let few = |bytes: &[u8]| bytes[from..].iter().take(16).copied().collect::<Vec<_>>();
    let what = format!("{what}, from byte {from:#x} on");
    same(
        format_args!("{what}"),
        (few(found.0), found.1),
        (few(wanted.0), wanted.1),
    )
}
