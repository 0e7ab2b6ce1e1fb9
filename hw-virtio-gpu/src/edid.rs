//! An EDID base block that names one preferred mode.
//!
//! Source: VESA Enhanced EDID Standard, release A revision 2 (EDID 1.4); timings from VESA DMT 1.13 where it has the mode
//! at 60 Hz, otherwise CVT 1.1 with reduced blanking.

use thiserror::Error;

/// Length of the block, in bytes.
pub const EDID_BYTES: usize = 128;

/// Largest width and height a detailed timing can name.
pub const MAX_SIDE: u32 = 4095;

/// Smallest width and height of a display.
pub const MIN_SIDE: u32 = 16;

/// A display size outside what an EDID can name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a display of {width}x{height} is outside {MIN_SIDE}x{MIN_SIDE} to {MAX_SIDE}x{MAX_SIDE}")]
pub struct SizeError {
    /// The width asked for.
    pub width: u32,
    /// The height asked for.
    pub height: u32,
}

/// A display's preferred size in pixels: sides from [`MIN_SIDE`] to [`MAX_SIDE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DisplaySize {
    width: u32,
    height: u32,
}

impl DisplaySize {
    /// A size.
    ///
    /// # Errors
    /// [`SizeError`] where a side is out of range.
    pub fn new(width: u32, height: u32) -> Result<Self, SizeError> {
        let range = MIN_SIDE..=MAX_SIDE;
        if range.contains(&width) && range.contains(&height) {
            Ok(Self { width, height })
        } else {
            Err(SizeError { width, height })
        }
    }

    /// Width in pixels.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(self) -> u32 {
        self.height
    }
}

/// 1024 by 768, the size a device has unless told otherwise.
impl Default for DisplaySize {
    fn default() -> Self {
        Self {
            width: 1024,
            height: 768,
        }
    }
}

/// One mode's timing. Distances are in pixels across and in lines down.
struct Timing {
    /// Pixel clock in units of 10 kHz.
    clock: u32,
    h_blank: u32,
    h_front: u32,
    h_sync: u32,
    v_blank: u32,
    v_front: u32,
    v_sync: u32,
    h_positive: bool,
    v_positive: bool,
}

/// Sizes for which DMT has a 60 Hz timing: width, height, clock, horizontal blank, front and sync, vertical ones,
/// polarities.
#[rustfmt::skip]
const DMT: [(u32, u32, Timing); 4] = [
    (640, 480, Timing { clock: 2518, h_blank: 160, h_front: 16, h_sync: 96, v_blank: 45, v_front: 10, v_sync: 2, h_positive: false, v_positive: false }),
    (800, 600, Timing { clock: 4000, h_blank: 256, h_front: 40, h_sync: 128, v_blank: 28, v_front: 1, v_sync: 4, h_positive: true, v_positive: true }),
    (1024, 768, Timing { clock: 6500, h_blank: 320, h_front: 24, h_sync: 136, v_blank: 38, v_front: 3, v_sync: 6, h_positive: false, v_positive: false }),
    (1280, 1024, Timing { clock: 10800, h_blank: 408, h_front: 48, h_sync: 112, v_blank: 42, v_front: 1, v_sync: 3, h_positive: true, v_positive: true }),
];

impl Timing {
    fn of(size: DisplaySize) -> Self {
        for (width, height, timing) in DMT {
            if (width, height) == (size.width, size.height) {
                return timing;
            }
        }
        Self::reduced_blanking(size)
    }

    /// CVT with reduced blanking: 160 pixels across, at least 460 microseconds down, 3 lines of front porch, and a
    /// vertical sync whose length tells the aspect ratio.
    fn reduced_blanking(size: DisplaySize) -> Self {
        const H_BLANK: u32 = 160;
        const V_FRONT: u32 = 3;
        const V_BACK_MIN: u32 = 6;
        const MIN_V_BLANK_US: f64 = 460.0;
        const FRAME_US: f64 = 1_000_000.0 / 60.0;
        let v_sync = if size.height * 4 == size.width * 3 {
            4
        } else if size.height * 16 == size.width * 9 {
            5
        } else if size.height * 16 == size.width * 10 {
            6
        } else if size.height * 5 == size.width * 4 || size.height * 15 == size.width * 9 {
            7
        } else {
            10
        };
        let line_us = (FRAME_US - MIN_V_BLANK_US) / f64::from(size.height);
        let lines = (MIN_V_BLANK_US / line_us).floor() + 1.0;
        // The blank takes about 3 % of the frame: of at most 4095 lines that is a small whole number.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number between 1 and 200"
        )]
        let v_blank = (lines as u32).max(V_FRONT + v_sync + V_BACK_MIN);
        let pixels = u64::from(size.width + H_BLANK) * u64::from(size.height + v_blank);
        // In steps of 0.25 MHz as CVT has it. A mode too large for the field's 655 MHz gets a lower refresh rate.
        let clock = (pixels * 60 / 250_000 * 25).clamp(1, u64::from(u16::MAX));
        Self {
            clock: u32::try_from(clock).unwrap_or(u32::from(u16::MAX)),
            h_blank: H_BLANK,
            h_front: 48,
            h_sync: 32,
            v_blank,
            v_front: V_FRONT,
            v_sync,
            h_positive: true,
            v_positive: false,
        }
    }
}

/// The EDID of a display that prefers `size`, 60 times a second.
///
/// ```
/// use hw_virtio_gpu::edid::{edid, DisplaySize};
/// let block = edid(DisplaySize::default());
/// assert_eq!(block.iter().fold(0_u8, |sum, b| sum.wrapping_add(*b)), 0);
/// assert_eq!(u16::from_le_bytes([block[54], block[55]]), 6500); // 65 MHz
/// ```
pub fn edid(size: DisplaySize) -> [u8; EDID_BYTES] {
    let mut block = [0; EDID_BYTES];
    block[0..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    // Manufacturer "HFT": three letters of five bits, big-endian. Product and serial number 0, no week, year 2026.
    block[8..10].copy_from_slice(&[0x20, 0xd4]);
    block[17] = 36;
    // EDID 1.4; digital, 8 bits a colour, no interface named; sRGB gamma; preferred timing is the native one.
    block[18..20].copy_from_slice(&[1, 4]);
    block[20] = 0b1010_0000;
    let (width_mm, height_mm) = (millimetres(size.width), millimetres(size.height));
    block[21] = low8(width_mm.div_ceil(10).min(255));
    block[22] = low8(height_mm.div_ceil(10).min(255));
    block[23] = 120;
    block[24] = 0b0000_0110;
    // The chromaticity of sRGB.
    block[25..35].copy_from_slice(&[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // No established timing; eight unused standard timings.
    block[38..54].fill(0x01);
    block[54..72].copy_from_slice(&detailed_timing(size, width_mm, height_mm));
    // Descriptor: the monitor's name.
    block[72..90].copy_from_slice(b"\0\0\0\xfc\0Holdfast\n    ");
    // Two dummy descriptors.
    block[93] = 0x10;
    block[111] = 0x10;
    let sum = block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    block[127] = sum.wrapping_neg();
    block
}

/// A length at about 96 pixels an inch, bounded by what the timing's field holds.
fn millimetres(pixels: u32) -> u32 {
    (pixels * 254 / 960).clamp(1, 4095)
}

#[rustfmt::skip]
fn detailed_timing(size: DisplaySize, width_mm: u32, height_mm: u32) -> [u8; 18] {
    let t = Timing::of(size);
    let [clock_low, clock_high, ..] = t.clock.to_le_bytes();
    // Digital separate sync; bit 2 and 1: vertical and horizontal polarity.
    let sync = 0b0001_1000 | u8::from(t.v_positive) << 2 | u8::from(t.h_positive) << 1;
    [
        clock_low,
        clock_high,
        low8(size.width), low8(t.h_blank), high4(size.width) << 4 | high4(t.h_blank),
        low8(size.height), low8(t.v_blank), high4(size.height) << 4 | high4(t.v_blank),
        low8(t.h_front), low8(t.h_sync), low8(t.v_front & 15) << 4 | low8(t.v_sync & 15), 0,
        low8(width_mm), low8(height_mm), high4(width_mm) << 4 | high4(height_mm),
        0, 0, sync,
    ]
}

fn low8(value: u32) -> u8 {
    value.to_le_bytes()[0]
}

fn high4(value: u32) -> u8 {
    value.to_le_bytes()[1] & 15
}

#[cfg(test)]
mod tests;
