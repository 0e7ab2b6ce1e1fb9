//! A fingerprint of 128 bits for a state.

use super::NAMED;
use crate::state::{Hook, Kind, OBJECTS, SPACES, State};

/// Bytes that tell two states of one search apart. What no step changes (kind, owner, storage) is left out.
const BYTES: usize = (6 * OBJECTS + 8 * SPACES + 40usize).next_multiple_of(16);

/// Two states of one search have the same fingerprint where they are equal, and else practically never.
pub fn fingerprint(state: &State) -> u128 {
    let mut bytes = [0; BYTES];
    let mut len = 0;
    let mut put = |byte: u8| {
        bytes[len] = byte;
        len += 1;
    };
    // A search makes nothing after its start, so that empty places stay empty.
    for object in state
        .objects
        .iter()
        .filter(|object| object.kind != Kind::Empty)
    {
        put(object.flags);
        put(object.parent.0);
        put(object.container.0);
        put(object.alias.0);
        put(object.count);
        put(object.users);
    }
    for space in state.spaces.iter().take(1 + usize::from(NAMED)) {
        put(u8::from(space.open) | u8::from(space.listens) << 1 | u8::from(space.dying) << 2);
        put(space.root.0);
        put(space.holder.0);
        put(space.release as u8);
        let [low, high] = space.view.to_le_bytes();
        put(low);
        put(high);
    }
    for map in &state.maps {
        put(map.region.0);
        put(map.holder.0);
        put(map.release as u8);
    }
    for pin in &state.pins {
        put(pin.0);
    }
    for link in &state.links {
        put(link.from.0);
        put(link.to.0);
    }
    // In a search the only code in hooks is a panic.
    for armed in &state.hooks {
        put(armed.map_or(255, |armed| armed.object.0));
        put(armed.map_or(255, |armed| u8::from(armed.hook == Hook::Finalize)));
    }
    let [low, high] = state.retired.to_le_bytes();
    put(low);
    put(high);
    put(state.faults.0);
    let (mut one, mut two) = (0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f);
    let (words, _) = bytes[..len.next_multiple_of(8)].as_chunks::<8>();
    for word in words {
        let word = u64::from_le_bytes(*word);
        one = fold(one ^ word, 0xff51_afd7_ed55_8ccd);
        two = fold(two ^ word.rotate_left(32), 0xc4ce_b9fe_1a85_ec53) ^ one.rotate_left(17);
    }
    u128::from(fold(one ^ two, 0x2545_f491_4f6c_dd1d)) << 64 | u128::from(two)
}

/// Both halves of a product, and the value.
fn fold(value: u64, by: u64) -> u64 {
    let product = u128::from(value ^ 0xa076_1d64_78bd_642f) * u128::from(by);
    let [low, high] = [product & u128::from(u64::MAX), product >> 64]
        .map(|half| u64::try_from(half).unwrap_or(0));
    low ^ high ^ value.rotate_left(29)
}
