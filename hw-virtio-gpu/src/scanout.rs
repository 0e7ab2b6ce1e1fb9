//! Scanouts: what each shows, the frame a viewer sees, and its cursor.
//!
//! A frame is a copy that changes only where the guest flushes, or when the scanout is set to something: what a guest has
//! transferred and not flushed is not seen.

use crate::{
    edid::DisplaySize,
    wire::{DisplayMode, Format, Rect},
};

/// Smallest side of what a scanout can show, in pixels; as in QEMU.
pub const MIN_SCANOUT_SIDE: u32 = 16;

/// Side of a cursor's picture, in pixels.
pub const CURSOR_SIDE: u32 = 64;

/// Bytes of a cursor's picture.
pub const CURSOR_BYTES: usize = (CURSOR_SIDE * CURSOR_SIDE * Format::BYTES) as usize;

/// What a viewer of a scanout sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    width: u32,
    height: u32,
    format: Format,
    pixels: Vec<u8>,
}

impl Frame {
    /// A black frame, or none where the host has no memory for it.
    pub(crate) fn new(width: u32, height: u32, format: Format) -> Option<Self> {
        let len = usize::try_from(frame_bytes(width, height)).ok()?;
        let mut pixels = Vec::new();
        pixels.try_reserve_exact(len).ok()?;
        pixels.resize(len, 0);
        Some(Self {
            width,
            height,
            format,
            pixels,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The format of the pixels.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The pixels, row by row without gaps.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Copies part of a picture into the frame. `at` is the part's place in the frame, inside it. `read` fills bytes from a
    /// place in the picture, whose rows are `stride` bytes apart; the part's first byte is at `first`.
    pub(crate) fn refresh<E>(
        &mut self,
        at: Rect,
        first: u64,
        stride: u64,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let row = u64::from(self.width) * u64::from(Format::BYTES);
        if at.x == 0 && at.width == self.width && stride == row {
            let begin = index(u64::from(at.y) * row);
            let end = begin + index(u64::from(at.height) * row);
            return read(first, &mut self.pixels[begin..end]);
        }
        for line in 0..u64::from(at.height) {
            let begin = (u64::from(at.y) + line) * row + u64::from(at.x) * u64::from(Format::BYTES);
            let len = u64::from(at.width) * u64::from(Format::BYTES);
            let target = &mut self.pixels[index(begin)..index(begin + len)];
            read(first + line * stride, target)?;
        }
        Ok(())
    }
}

/// Bytes of a frame; cannot overflow for sides of 32 bits when compared with a budget, as it saturates.
pub(crate) fn frame_bytes(width: u32, height: u32) -> u64 {
    (u64::from(width) * u64::from(height)).saturating_mul(u64::from(Format::BYTES))
}

/// A place in a buffer that exists, and therefore fits.
pub(crate) fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// A cursor's picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorImage {
    /// [`CURSOR_BYTES`] bytes, row by row.
    pub pixels: Vec<u8>,
    /// Their format.
    pub format: Format,
    /// The hot spot's distance from the left edge.
    pub hot_x: u32,
    /// The hot spot's distance from the upper edge.
    pub hot_y: u32,
}

/// Where in a resource a scanout's picture lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) resource: u32,
    /// The part of the picture that is shown.
    pub(crate) rect: Rect,
    /// Bytes from row to row.
    pub(crate) stride: u64,
    /// The picture's first byte in the resource.
    pub(crate) offset: u64,
}

impl Source {
    /// The byte of the picture's pixel at `x`, `y`. The whole picture was checked to lie in the resource.
    pub(crate) fn byte(&self, x: u32, y: u32) -> u64 {
        self.offset + u64::from(y) * self.stride + u64::from(x) * u64::from(Format::BYTES)
    }
}

/// The cursor of a scanout.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    pub(crate) resource: u32,
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) image: Option<CursorImage>,
}

/// A scanout.
#[derive(Debug)]
pub(crate) struct Scanout {
    /// What is connected: its preferred size.
    pub(crate) display: Option<DisplaySize>,
    /// The size that the EDID prefers, if it does not follow the display.
    pub(crate) edid: Option<DisplaySize>,
    pub(crate) shows: Option<(Source, Frame)>,
    pub(crate) cursor: Cursor,
}

impl Scanout {
    pub(crate) fn new(display: Option<DisplaySize>, edid: Option<DisplaySize>) -> Self {
        Self {
            display,
            edid,
            shows: None,
            cursor: Cursor::default(),
        }
    }

    /// The size that the EDID prefers.
    pub(crate) fn preferred(&self) -> DisplaySize {
        self.edid.or(self.display).unwrap_or_default()
    }

    pub(crate) fn mode(&self) -> DisplayMode {
        match self.display {
            Some(size) => DisplayMode {
                rect: Rect::new(0, 0, size.width(), size.height()),
                enabled: true,
                flags: 0,
            },
            None => DisplayMode::default(),
        }
    }

    /// Whether the scanout's picture is taken from this resource.
    pub(crate) fn is_fed_by(&self, resource: u32) -> bool {
        self.shows
            .as_ref()
            .is_some_and(|(s, _)| s.resource == resource)
    }
}
