//! A fingerprint of 128 bits for a state.

use super::NAMED;
use crate::state::{Hook, Kind, OBJECTS, State};

/// Two states of one search have the same fingerprint where they are equal, and else practically never.
///
/// What no step of a search changes (storage, in whose name a transfer is) is left out; everything else is a byte of one of the words that are summed.
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
            object.kind as u8,
            object.owner.0,
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

/// Sums of products of words, two and two, each word with a number of its own added: no word waits for another, as it would where one is mixed into the
/// next. Two states of different words have the same sum for one in 2^64 choices of the numbers.
#[derive(Default)]
struct Mixer {
    /// The word before, of a pair.
    first: Option<u64>,
    /// How many words there were.
    len: usize,
    one: u128,
    two: u128,
}

/// As many words as a state has, and two more.
const WORDS: usize = OBJECTS + 2 + NAMED as usize + 4;

/// The numbers of the words, in no order: the second sum's are the first's, two further on.
const NUMBERS: [u64; WORDS + 2] = {
    let mut numbers = [0; WORDS + 2];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut at = 0;
    while at < numbers.len() {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        numbers[at] = z ^ (z >> 31);
        at += 1;
    }
    numbers
};

impl Mixer {
    #[inline]
    fn add(&mut self, bytes: [u8; 8]) {
        let word = u64::from_le_bytes(bytes);
        let Some(first) = self.first.take() else {
            self.first = Some(word);
            return;
        };
        let at = self.len;
        self.len += 2;
        let product = |from: usize| {
            let one = first.wrapping_add(NUMBERS[from]);
            let other = word.wrapping_add(NUMBERS[from + 1]);
            u128::from(one) * u128::from(other)
        };
        self.one = self.one.wrapping_add(product(at));
        self.two = self.two.wrapping_add(product(at + 2));
    }

    fn end(mut self) -> u128 {
        if self.first.is_some() {
            self.add([0; 8]);
        }
        let [high, low] = [self.one, self.two].map(fold);
        u128::from(high) << 64 | u128::from(low)
    }
}

/// A sum in half the bits, well spread.
fn fold(sum: u128) -> u64 {
    let [low, high] =
        [sum & u128::from(u64::MAX), sum >> 64].map(|half| u64::try_from(half).unwrap_or(0));
    let spread = u128::from(low ^ 0xff51_afd7_ed55_8ccd) * 0xc4ce_b9fe_1a85_ec53_u128;
    let mixed = spread ^ u128::from(high).wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15);
    let [low, high] =
        [mixed & u128::from(u64::MAX), mixed >> 64].map(|half| u64::try_from(half).unwrap_or(0));
    low ^ high.rotate_left(29)
}
