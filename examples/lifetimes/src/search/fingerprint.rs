//! A fingerprint of 128 bits for a state.

use super::NAMED;
use crate::state::{Hook, Kind, State};

/// Two states of one search have the same fingerprint where they are equal, and else practically never.
///
/// What no step of a search changes (kind, owner, storage, in whose name a transfer is) is left out; everything else is a byte of one of the words that are mixed.
pub fn fingerprint(state: &State) -> u128 {
    let mut mixer = Mixer::default();
    // A search makes nothing after its start, so that empty places stay empty.
    for object in state
        .objects
        .iter()
        .filter(|object| object.kind != Kind::Empty)
    {
        mixer.add([
            object.flags,
            object.parent.0,
            object.container.0,
            object.alias.0,
            object.count,
            object.users,
            0,
            0,
        ]);
    }
    for space in state.spaces.iter().take(1 + usize::from(NAMED)) {
        let [low, high] = space.view.to_le_bytes();
        let is = u8::from(space.open) | u8::from(space.listens) << 1 | u8::from(space.dying) << 2;
        let release = space.release as u8;
        mixer.add([is, space.root.0, space.holder.0, release, low, high, 0, 0]);
    }
    let [a, b, c] = state
        .maps
        .map(|map| [map.region.0, map.holder.0, map.release as u8]);
    mixer.add([a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1]]);
    let [one, other] = state.pins.map(|pin| pin.0);
    let [first, second] = state.links.map(|link| [link.from.0, link.to.0]);
    let [low, high] = state.retired.to_le_bytes();
    mixer.add([
        c[2], one, other, first[0], first[1], second[0], second[1], low,
    ]);
    // In a search the only code in hooks is a panic, and no hook has two.
    let [a, b, c, d] = state.hooks.map(|armed| {
        armed.map_or(255, |armed| {
            armed.object.0 << 1 | u8::from(armed.hook == Hook::Finalize)
        })
    });
    let [first, second] = state.outlived.to_le_bytes();
    mixer.add([a, b, c, d, high, state.faults.0, first, second]);
    mixer.end()
}

/// Words that are mixed into two halves.
struct Mixer {
    one: u64,
    two: u64,
}

impl Default for Mixer {
    fn default() -> Self {
        Self {
            one: 0x9e37_79b9_7f4a_7c15,
            two: 0xc2b2_ae3d_27d4_eb4f,
        }
    }
}

impl Mixer {
    fn add(&mut self, bytes: [u8; 8]) {
        let word = u64::from_le_bytes(bytes);
        self.one = fold(self.one ^ word, 0xff51_afd7_ed55_8ccd);
        let two = fold(self.two ^ word.rotate_left(32), 0xc4ce_b9fe_1a85_ec53);
        self.two = two ^ self.one.rotate_left(17);
    }

    fn end(self) -> u128 {
        let high = fold(self.one ^ self.two, 0x2545_f491_4f6c_dd1d);
        u128::from(high) << 64 | u128::from(self.two)
    }
}

/// Both halves of a product, and the value.
fn fold(value: u64, by: u64) -> u64 {
    let product = u128::from(value ^ 0xa076_1d64_78bd_642f) * u128::from(by);
    let [low, high] = [product & u128::from(u64::MAX), product >> 64]
        .map(|half| u64::try_from(half).unwrap_or(0));
    low ^ high ^ value.rotate_left(29)
}
