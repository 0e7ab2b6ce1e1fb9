//! What a device is made with.

use thiserror::Error;

use super::PAGE;
use crate::{
    edid::DisplaySize,
    limits::Limits,
    wire::{MAX_SCANOUTS, feature},
};

/// How a scanout begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanoutConfig {
    /// What is connected at the start, if anything is.
    pub display: Option<DisplaySize>,
    /// The size that the EDID prefers; none to follow the display.
    pub edid: Option<DisplaySize>,
}

/// 1024 by 768.
impl Default for ScanoutConfig {
    fn default() -> Self {
        Self {
            display: Some(DisplaySize::default()),
            edid: None,
        }
    }
}

/// What a device is made with.
///
/// ```
/// use hw_virtio_gpu::gpu::{ConfigError, GpuConfig, GpuCore, ScanoutConfig};
/// use hw_virtio_gpu::renderer::MemfdRenderer;
///
/// let config = GpuConfig { scanouts: vec![ScanoutConfig::default(); 2], window: 1 << 30, ..GpuConfig::default() };
/// let gpu = GpuCore::new(config.clone(), Box::new(MemfdRenderer::builder().build()))?;
/// assert_eq!(gpu.config().scanouts.len(), 2);
/// let odd = GpuConfig { window: 100, ..config };
/// let refused = GpuCore::new(odd, Box::new(MemfdRenderer::builder().build()));
/// assert_eq!(refused.unwrap_err(), ConfigError::Window(100));
/// # Ok::<(), ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct GpuConfig {
    /// What a guest may spend.
    pub limits: Limits,
    /// The scanouts, 1 to 16.
    pub scanouts: Vec<ScanoutConfig>,
    /// Length of the window for host blobs, a multiple of the page size; 0 for none.
    pub window: u64,
    /// The virtio-gpu features on offer ([`feature`]).
    pub features: u64,
}

/// One scanout, a window of 256 MiB, and every feature but UUIDs.
impl Default for GpuConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            scanouts: vec![ScanoutConfig::default()],
            window: 256 << 20,
            features: feature::ALL & !feature::RESOURCE_UUID,
        }
    }
}

/// A device that cannot be made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Too few or too many scanouts.
    #[error("{0} scanouts; a device has 1 to {MAX_SCANOUTS}")]
    Scanouts(usize),
    /// A window that is no number of pages.
    #[error("a window of {0:#x} bytes is not a multiple of {PAGE:#x}")]
    Window(u64),
    /// Features that do not exist.
    #[error("{0:#x} are not features of virtio-gpu")]
    Features(u64),
    /// No such scanout.
    #[error("scanout {0} does not exist")]
    UnknownScanout(u32),
}

impl GpuConfig {
    /// Whether a device can be made with it.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_SCANOUTS).contains(&self.scanouts.len()) {
            return Err(ConfigError::Scanouts(self.scanouts.len()));
        }
        if !self.window.is_multiple_of(PAGE) {
            return Err(ConfigError::Window(self.window));
        }
        if self.features & !feature::ALL != 0 {
            return Err(ConfigError::Features(self.features & !feature::ALL));
        }
        Ok(())
    }
}
