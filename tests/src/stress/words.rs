//! What every 64-bit word of guest memory says: where it belongs and which plugging of a device it comes from.
//!
//! A word is made of whole bytes, and only the topmost differs between the values that one word of one device can have; so bytes that
//! were read at different moments still make a word that passes.

/// How many devices there is room for.
pub const SLOTS: u8 = 6;
/// Plain children of a device that own RAM, as blobs do.
pub const BLOBS: u8 = 2;
/// RAM that is always there, from address 0 on.
pub const BASE_BYTES: u64 = 0x10_0000;
/// A device's window.
pub const BAR_BYTES: u64 = 0x8000;
/// Its registers, at its begin.
pub const REGS_BYTES: u64 = 0x1000;
/// Its RAM, behind the registers.
pub const RAM_BYTES: u64 = 0x4000;
/// Each blob's RAM, behind that.
pub const BLOB_BYTES: u64 = 0x1000;
/// What an alias shows of a device's RAM, and from where on.
pub const ALIAS_BYTES: u64 = 0x2000;
/// Where in the device's RAM the alias begins.
pub const ALIAS_OFFSET: u64 = 0x1000;

const SLOTS_AT: u64 = 0x1000_0000;
const ALIASES_AT: u64 = 0x2000_0000;
const STRIDE: u64 = 0x10_0000;
const SPOT: u64 = 0x8_0000;
const RAM_INDEX: u64 = 0x1_0000;

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(pub u8);

impl Place {
    /// The RAM that is always there.
    pub const BASE: Self = Self(0xff);
    /// How many places come and go.
    pub const COUNT: usize = (SLOTS * (1 + BLOBS)) as usize;

    /// The device in a slot.
    pub const fn card(slot: u8) -> Self {
        Self(slot * (1 + BLOBS))
    }

    /// A blob of the device in a slot.
    pub const fn blob(slot: u8, blob: u8) -> Self {
        Self(slot * (1 + BLOBS) + 1 + blob)
    }
}

/// One of the two addresses of the window of a slot.
pub const fn slot_at(slot: u8, spot: u64) -> u64 {
    SLOTS_AT + slot as u64 * STRIDE + (spot & 1) * SPOT
}

/// The address of the alias of a slot.
pub const fn alias_at(slot: u8) -> u64 {
    ALIASES_AT + slot as u64 * STRIDE
}

/// The index of the word at a byte of a device's RAM.
pub const fn ram_index(offset: u64) -> u64 {
    RAM_INDEX + offset / 8
}

/// What the word at an address has to say: place and index.
pub fn expected(addr: u64) -> Option<(Place, u64)> {
    if addr < BASE_BYTES {
        return Some((Place::BASE, addr / 8));
    }
    let slot = |at: u64| {
        u8::try_from((addr - at) / STRIDE)
            .ok()
            .filter(|s| *s < SLOTS)
    };
    if addr >= ALIASES_AT {
        let (slot, offset) = (slot(ALIASES_AT)?, (addr - ALIASES_AT) % STRIDE);
        return (offset < ALIAS_BYTES)
            .then_some((Place::card(slot), ram_index(ALIAS_OFFSET + offset)));
    }
    if addr < SLOTS_AT {
        return None;
    }
    let (slot, offset) = (slot(SLOTS_AT)?, (addr - SLOTS_AT) % SPOT);
    if offset < REGS_BYTES {
        return Some((Place::card(slot), offset / 8));
    }
    let offset = offset - REGS_BYTES;
    if offset < RAM_BYTES {
        return Some((Place::card(slot), ram_index(offset)));
    }
    let offset = offset - RAM_BYTES;
    let blob = u8::try_from(offset / BLOB_BYTES)
        .ok()
        .filter(|b| *b < BLOBS)?;
    Some((Place::blob(slot, blob), offset % BLOB_BYTES / 8))
}

/// Whether there are registers at an address, where it shows anything.
pub fn is_register(addr: u64) -> bool {
    (SLOTS_AT..ALIASES_AT).contains(&addr) && (addr - SLOTS_AT) % SPOT < REGS_BYTES
}

/// The word. `kind` (four bits) is what may change.
pub fn word(place: Place, generation: u32, index: u64, kind: u8) -> u64 {
    let [a, b, c, ..] = index.to_le_bytes();
    let [d, e, f, _] = generation.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, place.0, tag(kind)])
}

/// The topmost byte of a word.
pub const fn tag(kind: u8) -> u8 {
    0xa0 | kind & 0x0f
}

/// The same word, of another kind.
pub fn rekinded(word: u64, kind: u8) -> u64 {
    word & 0x00ff_ffff_ffff_ffff | u64::from(tag(kind)) << 56
}

/// The generation in a word that was read at `addr`.
///
/// # Errors
/// The word has no business there.
pub fn generation_at(addr: u64, word: u64) -> Result<u32, String> {
    let Some((place, index)) = expected(addr) else {
        return Err(format!(
            "{word:#018x} was read at {addr:#x}, where nothing ever is"
        ));
    };
    let [a, b, c, d, e, f, p, t] = word.to_le_bytes();
    let found = u64::from_le_bytes([a, b, c, 0, 0, 0, 0, 0]);
    if t & 0xf0 == 0xa0 && Place(p) == place && found == index {
        Ok(u32::from_le_bytes([d, e, f, 0]))
    } else {
        Err(format!(
            "{word:#018x} was read at {addr:#x}, where the words of place {:#x} and index {index:#x} are",
            place.0
        ))
    }
}

/// Words of one place, from one index on, as bytes.
pub fn fill(place: Place, generation: u32, first: u64, len: u64) -> Vec<u8> {
    (0..len / 8)
        .flat_map(|i| word(place, generation, first + i, 0).to_le_bytes())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_known_at_its_place_and_nowhere_else() {
        let at = slot_at(3, 1) + REGS_BYTES + ALIAS_OFFSET + 0x28;
        let (place, index) = expected(at).unwrap();
        let w = word(place, 77, index, 9);
        assert_eq!(generation_at(at, w), Ok(77));
        assert_eq!(generation_at(alias_at(3) + 0x28, rekinded(w, 1)), Ok(77));
        for other in [
            at + 8,
            at - 0x8_0000 + 8,
            slot_at(2, 1) + REGS_BYTES,
            0x28,
            0x0fff_0000,
        ] {
            assert!(generation_at(other, w).is_err(), "{other:#x}");
        }
        assert!(generation_at(at, 0).is_err());
        assert_eq!(expected(slot_at(0, 0) + BAR_BYTES - 8), None);
    }
}
