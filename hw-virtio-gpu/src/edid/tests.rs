//! EDIDs of all sizes, and one against the timing that a real driver was shown.

use proptest::prelude::*;

use super::*;

#[test]
fn the_default_mode_has_the_timing_of_vesa_dmt() {
    // 1024x768 at 60 Hz: 65 MHz, 1344 by 806 in all, syncs of 136 pixels and 6 lines, both negative.
    let block = edid(DisplaySize::default());
    let timing = [
        0x64, 0x19, 0, 0x40, 0x41, 0, 0x26, 0x30, 0x18, 0x88, 0x36, 0,
    ];
    assert_eq!(block[54..66], timing);
    assert_eq!(block[71], 0x18);
}

#[test]
fn a_size_without_dmt_timing_gets_that_of_cvt_reduced_blanking() {
    // 1920x1080 at 60 Hz with reduced blanking: 138.5 MHz, 2080 by 1111 (VESA CVT generator).
    let block = edid(DisplaySize::new(1920, 1080).expect("a size"));
    assert_eq!(u16::from_le_bytes([block[54], block[55]]), 13850);
    assert_eq!((block[57], block[60]), (160, 31));
    assert_eq!((block[62], block[63], block[64]), (48, 32, 3 << 4 | 5));
}

#[test]
fn sizes_out_of_range_are_refused() {
    for (width, height) in [(15, 100), (100, 15), (4096, 100), (100, 4096), (0, 0)] {
        assert_eq!(
            DisplaySize::new(width, height),
            Err(SizeError { width, height })
        );
    }
}

proptest! {
    #[test]
    fn every_size_gives_a_valid_block(width in MIN_SIDE..=MAX_SIDE, height in MIN_SIDE..=MAX_SIDE) {
        let block = edid(DisplaySize::new(width, height).expect("a size"));
        prop_assert_eq!(block.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)), 0);
        prop_assert_eq!(&block[..8], [0, 255, 255, 255, 255, 255, 255, 0]);
        let side = |low: u8, high: u8| u32::from(low) | u32::from(high >> 4) << 8;
        prop_assert_eq!(side(block[56], block[58]), width);
        prop_assert_eq!(side(block[59], block[61]), height);
        let blank = |low: u8, high: u8| u32::from(low) | u32::from(high & 15) << 8;
        let total = (width + blank(block[57], block[58])) * (height + blank(block[60], block[61]));
        let clock = u32::from(u16::from_le_bytes([block[54], block[55]])) * 10_000;
        prop_assert!(clock > 0);
        // 60 Hz but for rounding of the clock, and for what is beyond the field.
        let rate = f64::from(clock) / f64::from(total);
        prop_assert!(clock == 655_350_000 || (rate > 60.0 - 250_000.0 / f64::from(total) - 0.1 && rate < 60.4), "{}", rate);
    }
}
