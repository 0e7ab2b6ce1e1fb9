//! Backings against a plain copy of the bytes they stand for.

use proptest::{collection::vec, prelude::*};

use super::*;

/// RAM in which each byte tells its address; a hole in the middle.
struct Ram;

const RAM: u64 = 0x4000;
const HOLE: std::ops::Range<u64> = 0x2000..0x2100;

fn byte(addr: u64) -> u8 {
    let [low, high, ..] = addr.to_le_bytes();
    low.wrapping_mul(31).wrapping_add(high)
}

impl GuestMemory for Ram {
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        let len = into.len() as u64;
        if !self.is_guest_ram(addr, len) {
            return Err(GuestMemoryError { addr, len });
        }
        for (place, at) in into.iter_mut().zip(addr..) {
            *place = byte(at);
        }
        Ok(())
    }

    fn is_guest_ram(&self, addr: u64, len: u64) -> bool {
        let Some(end) = addr.checked_add(len) else {
            return false;
        };
        end <= RAM && (end <= HOLE.start || addr >= HOLE.end)
    }
}

#[test]
fn an_entry_outside_ram_is_named_and_nothing_is_attached() {
    let entries = |addr, len| [MemEntry { addr: 0, len: 16 }, MemEntry { addr, len }];
    for (addr, len) in [
        (RAM - 8, 16),
        (0x1ff8, 16),
        (u64::MAX - 3, 8),
        (u64::MAX, u32::MAX),
    ] {
        let error = GuestBacking::new(&entries(addr, len), &Ram).expect_err("not RAM");
        let len = u64::from(len);
        assert_eq!(error, BackingError::NotRam(GuestMemoryError { addr, len }));
    }
}

#[test]
fn adjacent_entries_become_one() {
    let entries = [(0, 16), (16, 0), (16, 16), (64, 8), (72, 8), (0, 4)];
    let entries = entries.map(|(addr, len)| MemEntry { addr, len });
    let backing = GuestBacking::new(&entries, &Ram).expect("RAM");
    assert_eq!((backing.segments(), backing.len()), (3, 52));
}

#[test]
fn a_read_past_the_end_is_an_error_even_if_it_wraps() {
    let backing = GuestBacking::new(&[MemEntry { addr: 0, len: 16 }], &Ram).expect("RAM");
    let mut into = [0; 8];
    assert!(backing.read(&Ram, 8, &mut into).is_ok());
    for offset in [9, 16, 17, u64::MAX - 7, u64::MAX] {
        let error = backing.read(&Ram, offset, &mut into).expect_err("outside");
        assert_eq!(
            error,
            BackingError::OutOfRange {
                offset,
                len: 8,
                total: 16
            }
        );
    }
    assert!(backing.read(&Ram, 16, &mut []).is_ok());
}

proptest! {
    #[test]
    fn reads_give_the_bytes_in_the_order_of_the_entries(
        entries in vec((0..0x1f00_u64, 0..0x100_u32), 0..12),
        offset in 0..0x400_u64,
        len in 0..0x400_usize,
    ) {
        let entries: Vec<_> = entries.into_iter().map(|(addr, len)| MemEntry { addr, len }).collect();
        let plain: Vec<u8> = entries
            .iter()
            .flat_map(|e| (e.addr..e.addr + u64::from(e.len)).map(byte))
            .collect();
        let backing = GuestBacking::new(&entries, &Ram).expect("RAM");
        prop_assert_eq!(backing.len(), plain.len() as u64);
        let mut into = vec![0; len];
        let begin = usize::try_from(offset).expect("small");
        match plain.get(begin..begin + len) {
            Some(part) => {
                backing.read(&Ram, offset, &mut into).expect("inside");
                prop_assert_eq!(part, into);
            }
            None => prop_assert!(backing.read(&Ram, offset, &mut into).is_err()),
        }
    }
}
