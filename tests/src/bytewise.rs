//! Memory, byte by byte: which region an address shows and what an access of it comes to, by rules that are written down anew here.
//!
//! [`Model`] has nothing of the code under test but its names for access rules, results and byte orders. `fuzz_memory` compares the two.

use memory::{AccessRules, ByteOrder, Endian, MemTx};

/// What a region of the model is.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Shows its subregions; and, with callbacks, itself between them.
    Container {
        /// The callbacks.
        device: Option<Device>,
    },
    /// Bytes, or none.
    Ram {
        /// The bytes; they may be fewer or more than the region's.
        bytes: Option<Vec<u8>>,
    },
    /// Bytes for reading, callbacks for writing.
    RomDevice {
        /// The bytes.
        bytes: Vec<u8>,
        /// The callbacks.
        device: Device,
        /// Whether reads go to the bytes.
        direct: bool,
    },
    /// Callbacks.
    Io {
        /// The callbacks.
        device: Device,
    },
    /// Takes its place and answers nothing.
    Reservation,
    /// A window.
    Alias {
        /// What is seen; none once that is withdrawn.
        target: Option<usize>,
        /// From where on.
        offset: u64,
    },
}

/// A device that keeps bytes, one behind the other in guest memory, and refuses some accesses.
#[derive(Clone, Debug)]
pub struct Device {
    /// Makes devices differ.
    pub id: u64,
    /// What is legal, and what the callbacks implement.
    pub rules: AccessRules,
    /// The bytes, again and again from offset 0 on.
    pub bytes: Vec<u8>,
}

impl Device {
    /// Whether a call at this offset fails, and how.
    pub fn failure(id: u64, offset: u64) -> MemTx {
        match (offset.wrapping_mul(7) ^ id) % 31 {
            3 => MemTx::ERROR,
            11 => MemTx::ACCESS_ERROR,
            _ => MemTx::OK,
        }
    }

    /// Where in `len` bytes the byte at an offset is.
    pub fn place(len: usize, offset: u64) -> usize {
        usize::try_from(offset % len as u64).unwrap_or(0)
    }

    /// A call of up to eight bytes that the rules let through or not; `data` is read or written.
    fn access(&mut self, offset: u64, data: &mut [u8], is_write: bool) -> MemTx {
        let size = data.len() as u64;
        let valid = self.rules.valid;
        let aligned = valid.unaligned || offset.is_multiple_of(size);
        let sized = valid.max == 0 || (u64::from(valid.min)..=u64::from(valid.max)).contains(&size);
        if !is_write {
            data.fill(0);
        }
        if !aligned || !sized {
            return MemTx::DECODE_ERROR;
        }
        let width = match self.rules.implemented.max {
            0 => 4,
            max => usize::from(max),
        };
        let mut result = MemTx::OK;
        for (index, part) in data.chunks_mut(width).enumerate() {
            let at = offset.wrapping_add((index * width) as u64);
            let failure = Self::failure(self.id, at);
            result |= failure;
            if !failure.is_ok() {
                continue;
            }
            for (i, byte) in (0..).zip(part) {
                let place = Self::place(self.bytes.len(), at.wrapping_add(i));
                if is_write {
                    self.bytes[place] = *byte;
                } else {
                    *byte = self.bytes[place];
                }
            }
        }
        result
    }

    /// How many of `left` bytes from `offset` on one call of a longer transfer takes.
    fn chunk(&self, offset: u64, left: usize) -> usize {
        let most = match self.rules.valid.max {
            0 => 4,
            max => usize::from(max),
        };
        [8, 4, 2]
            .into_iter()
            .find(|&size| {
                let aligned =
                    self.rules.implemented.unaligned || offset.is_multiple_of(size as u64);
                size <= left && size <= most && aligned
            })
            .unwrap_or(1)
    }
}

/// A region.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its size in bytes.
    pub size: u128,
    /// Where it is in its container.
    pub address: u64,
    /// Among its siblings.
    pub priority: i32,
    /// Whether it shows.
    pub enabled: bool,
    /// Whether it may be written.
    pub readonly: bool,
    /// Whether it is gone.
    pub withdrawn: bool,
    container: Option<usize>,
    /// In the order in which they hide each other.
    children: Vec<usize>,
}

/// What an address shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    region: usize,
    offset: u64,
    readonly: bool,
}

/// Regions, of which the first is the root.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// All regions.
    pub nodes: Vec<Node>,
}

impl Model {
    /// A new region, in no container. Gives its index.
    pub fn insert(&mut self, kind: Kind, size: u128) -> usize {
        self.nodes.push(Node {
            kind,
            size,
            address: 0,
            priority: 0,
            enabled: true,
            readonly: false,
            withdrawn: false,
            container: None,
            children: Vec::new(),
        });
        self.nodes.len() - 1
    }

    /// The container of a region.
    pub fn container(&self, region: usize) -> Option<usize> {
        self.nodes[region].container
    }

    /// Puts a region into a container: before, that is above, all of its priority and below.
    pub fn add(&mut self, container: usize, region: usize, address: u64, priority: i32) {
        self.nodes[region].address = address;
        self.nodes[region].priority = priority;
        self.nodes[region].container = Some(container);
        let children = &self.nodes[container].children;
        let place = children
            .iter()
            .position(|&c| self.nodes[c].priority <= priority)
            .unwrap_or(children.len());
        self.nodes[container].children.insert(place, region);
    }

    /// Takes a region out of its container.
    pub fn remove(&mut self, region: usize) {
        if let Some(container) = self.nodes[region].container.take() {
            self.nodes[container].children.retain(|&c| c != region);
        }
    }

    /// Moves a region: where anything changes it is the newest of its siblings.
    pub fn replace(&mut self, region: usize, address: u64, priority: i32) {
        let node = &self.nodes[region];
        if (node.address, node.priority) == (address, priority) {
            return;
        }
        if let Some(container) = node.container {
            self.remove(region);
            self.add(container, region, address, priority);
        } else {
            self.nodes[region].address = address;
            self.nodes[region].priority = priority;
        }
    }

    /// Withdraws a region.
    pub fn withdraw(&mut self, region: usize) {
        self.remove(region);
        for child in std::mem::take(&mut self.nodes[region].children) {
            self.nodes[child].container = None;
        }
        for node in &mut self.nodes {
            if let Kind::Alias { target, .. } = &mut node.kind
                && *target == Some(region)
            {
                *target = None;
            }
        }
        self.nodes[region].withdrawn = true;
    }

    fn shown(&self, addr: u64) -> Option<Shown> {
        self.shown_in(0, addr, false)
    }

    fn shown_in(&self, region: usize, offset: u64, readonly: bool) -> Option<Shown> {
        let node = &self.nodes[region];
        if !node.enabled || u128::from(offset) >= node.size {
            return None;
        }
        let readonly = readonly || node.readonly;
        if let Kind::Alias {
            target,
            offset: from,
        } = node.kind
        {
            return self.shown_in(target?, offset.checked_add(from)?, readonly);
        }
        let below = node.children.iter().find_map(|&child| {
            let inside = offset.checked_sub(self.nodes[child].address)?;
            self.shown_in(child, inside, readonly)
        });
        let shows_itself = !matches!(node.kind, Kind::Container { device: None });
        below.or_else(|| {
            shows_itself.then_some(Shown {
                region,
                offset,
                readonly,
            })
        })
    }

    /// How many bytes from `addr` on, 8 at most, show consecutive bytes of one region in one way.
    fn run(&self, addr: u64, shown: Shown) -> usize {
        let same = |i: u64| {
            let (at, offset) = (addr.checked_add(i), shown.offset.checked_add(i));
            at.zip(offset)
                .is_some_and(|(at, offset)| self.shown(at) == Some(Shown { offset, ..shown }))
        };
        (0..8).take_while(|&i| same(i)).count()
    }

    /// The byte that is read or written without a callback.
    fn direct(&mut self, shown: Shown, is_write: bool) -> Option<&mut u8> {
        let bytes = match &mut self.nodes[shown.region].kind {
            Kind::Ram { bytes } if !(is_write && shown.readonly) => bytes.as_mut()?,
            Kind::RomDevice {
                bytes,
                direct: true,
                ..
            } if !is_write => bytes,
            _ => return None,
        };
        bytes.get_mut(usize::try_from(shown.offset).ok()?)
    }

    fn device(&mut self, shown: Shown, is_write: bool) -> Option<&mut Device> {
        match &mut self.nodes[shown.region].kind {
            Kind::Io { device }
            | Kind::Container {
                device: Some(device),
            } => Some(device),
            Kind::RomDevice { device, direct, .. } if is_write || !*direct => Some(device),
            _ => None,
        }
    }

    /// A transfer. What cannot be read is 0.
    pub fn transfer(&mut self, addr: u64, data: &mut [u8], is_write: bool) -> MemTx {
        let mut result = MemTx::OK;
        let mut done = 0;
        while done < data.len() {
            let shown = addr
                .checked_add(done as u64)
                .and_then(|at| Some((at, self.shown(at)?)));
            let Some((at, shown)) = shown else {
                result |= MemTx::DECODE_ERROR;
                if !is_write {
                    data[done] = 0;
                }
                done += 1;
                continue;
            };
            if let Some(byte) = self.direct(shown, is_write) {
                if is_write {
                    *byte = data[done];
                } else {
                    data[done] = *byte;
                }
                done += 1;
                continue;
            }
            let run = self.run(at, shown).min(data.len() - done);
            if let Some(device) = self.device(shown, is_write) {
                let len = device.chunk(shown.offset, run);
                result |= device.access(shown.offset, &mut data[done..done + len], is_write);
                done += len;
            } else {
                result |= MemTx::DECODE_ERROR;
                if !is_write {
                    data[done] = 0;
                }
                done += 1;
            }
        }
        result
    }

    /// A single access. Devices get it whole, wherever they end; anything else is a transfer that has to succeed.
    pub fn single(&mut self, addr: u64, data: &mut [u8], is_write: bool) -> MemTx {
        if let Some(shown) = self.shown(addr)
            && self.direct(shown, is_write).is_none()
            && let Some(device) = self.device(shown, is_write)
        {
            return device.access(shown.offset, data, is_write);
        }
        self.transfer(addr, data, is_write)
    }

    /// Whether `len` bytes at `addr` are one run of RAM that may be written, and aligned in it.
    pub fn is_exchangeable(&mut self, addr: u64, len: usize) -> bool {
        let Some(shown) = self.shown(addr) else {
            return false;
        };
        let inside = (0..len as u64).all(|i| {
            let next = shown
                .offset
                .checked_add(i)
                .map(|offset| Shown { offset, ..shown });
            next.is_some_and(|n| self.direct(n, true).is_some())
        });
        inside && self.run(addr, shown) >= len && shown.offset.is_multiple_of(len as u64)
    }

    /// What a loader writes: the bytes of RAM and of ROM devices, whatever may be written; devices are passed over.
    pub fn load_rom(&mut self, addr: u64, data: &[u8]) -> MemTx {
        let mut result = MemTx::OK;
        for (i, byte) in (0..).zip(data) {
            let Some(shown) = addr.checked_add(i).and_then(|at| self.shown(at)) else {
                result |= MemTx::DECODE_ERROR;
                continue;
            };
            let (Kind::Ram { bytes: Some(bytes) } | Kind::RomDevice { bytes, .. }) =
                &mut self.nodes[shown.region].kind
            else {
                continue;
            };
            let place = usize::try_from(shown.offset).ok();
            if let Some(place) = place.and_then(|p| bytes.get_mut(p)) {
                *place = *byte;
            }
        }
        result
    }
}

/// The bytes of a number as they lie in memory.
pub fn laid_out(value: u64, size: usize, order: Endian) -> Vec<u8> {
    let mut bytes = value.to_le_bytes()[..size].to_vec();
    if order.order() == ByteOrder::Big {
        bytes.reverse();
    }
    bytes
}

/// The number that bytes in memory make.
pub fn number(bytes: &[u8], order: Endian) -> u64 {
    let mut bytes = bytes.to_vec();
    if order.order() == ByteOrder::Big {
        bytes.reverse();
    }
    bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b))
}
