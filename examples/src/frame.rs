//! Writes what a scanout shows as a PNG file.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use hw_virtio_gpu::scanout::Frame;
use thiserror::Error;

/// A frame that could not be written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The file cannot be made.
    #[error("{}: cannot be made", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The picture cannot be encoded or written.
    #[error("a frame of {width}x{height} cannot be written")]
    Encode {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// What the encoder said.
        source: png::EncodingError,
    },
}

/// Writes a frame as a PNG of red, green and blue: what a screen shows has no alpha.
///
/// # Errors
/// [`FrameError::Encode`].
pub fn write_png(frame: &Frame, to: impl Write) -> Result<(), FrameError> {
    let failed = |source| FrameError::Encode {
        width: frame.width(),
        height: frame.height(),
        source,
    };
    let (pixels, _) = frame.pixels().as_chunks::<4>();
    let mut rgb = Vec::with_capacity(pixels.len() * 3);
    for &pixel in pixels {
        let [red, green, blue, _] = frame.format().rgba(pixel);
        rgb.extend_from_slice(&[red, green, blue]);
    }
    let mut encoder = png::Encoder::new(to, frame.width(), frame.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(failed)?;
    writer.write_image_data(&rgb).map_err(failed)?;
    writer.finish().map_err(failed)
}

/// Writes a frame to a file, see [`write_png`].
///
/// # Errors
/// [`FrameError`].
pub fn save_png(frame: &Frame, path: &Path) -> Result<(), FrameError> {
    let file = File::create(path).map_err(|source| FrameError::Create {
        path: path.to_owned(),
        source,
    })?;
    write_png(frame, BufWriter::new(file))
}

#[cfg(test)]
mod tests;
