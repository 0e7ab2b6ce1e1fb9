//! Whether a device's reply is as good as the recorded one.
//!
//! The recording device was one valid device, not the only one: contents that a driver does not depend on may differ. Always
//! equal are the length, the type, and the fence fields (flags, fence id, context, ring). Beyond that, by type:
//!
//! | reply | compared |
//! |---|---|
//! | display info | all of it: the driver sets modes by it |
//! | capset info | all of it: contexts are created by it |
//! | capset | the length |
//! | EDID | that it is one, and that it prefers the same size |
//! | map info | that it names some caching |
//! | UUID | nothing |

use std::fmt;

use hw_virtio_gpu::wire::{Header, MapCaching, ParseError, Response};
use thiserror::Error;

/// How a reply differs from the recorded one.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mismatch {
    /// The lengths differ.
    #[error("{actual} bytes instead of {expected}")]
    Length {
        /// Recorded.
        expected: usize,
        /// Given.
        actual: usize,
    },
    /// A field of the header differs.
    #[error("{field} {actual:#x} instead of {expected:#x}")]
    Header {
        /// The field.
        field: &'static str,
        /// Recorded.
        expected: u64,
        /// Given.
        actual: u64,
    },
    /// The payload differs where the driver depends on it.
    #[error("{what}: {actual} instead of {expected}")]
    Payload {
        /// What the payload is.
        what: &'static str,
        /// Recorded.
        expected: String,
        /// Given.
        actual: String,
    },
    /// One of the two is no reply.
    #[error("not a reply")]
    Malformed(#[from] ParseError),
    /// An EDID is not valid.
    #[error("not an EDID: {0}")]
    Edid(&'static str),
}

/// Compares a reply with the recorded one. Two empty ones (of the cursor queue) are equal.
///
/// # Errors
/// [`Mismatch`].
///
/// ```
/// use holdfast_examples::trace::compare;
/// use hw_virtio_gpu::wire::{Header, MapCaching, Response};
///
/// let request = Header { kind: 0x0208, ctx_id: 1, ..Header::default() };
/// let recorded = Response::MapInfo(MapCaching::Cached).encode(&request);
/// let other = Response::MapInfo(MapCaching::WriteCombining).encode(&request);
/// assert_eq!(compare(&recorded, &other), Ok(()));
/// assert!(compare(&recorded, &Response::Ok.encode(&request)).is_err());
/// ```
pub fn compare(expected: &[u8], actual: &[u8]) -> Result<(), Mismatch> {
    if !expected.is_empty() && !actual.is_empty() {
        headers(&Header::parse(expected)?, &Header::parse(actual)?)?;
    }
    if expected.len() != actual.len() {
        return Err(Mismatch::Length {
            expected: expected.len(),
            actual: actual.len(),
        });
    }
    if expected.is_empty() {
        return Ok(());
    }
    let (_, expected) = Response::parse(expected)?;
    let (_, actual) = Response::parse(actual)?;
    match (&expected, &actual) {
        (Response::Edid(expected), Response::Edid(actual)) => {
            same("preferred size", &preferred(expected)?, &preferred(actual)?)
        }
        (Response::MapInfo(_), Response::MapInfo(MapCaching::None)) => {
            same("map_info", &expected, &actual)
        }
        (Response::Capset(_), Response::Capset(_))
        | (Response::MapInfo(_), Response::MapInfo(_))
        | (Response::ResourceUuid(_), Response::ResourceUuid(_)) => Ok(()),
        _ => same("reply", &expected, &actual),
    }
}

fn headers(expected: &Header, actual: &Header) -> Result<(), Mismatch> {
    let fields = |h: &Header| {
        [
            ("type", u64::from(h.kind)),
            ("flags", u64::from(h.flags)),
            ("fence_id", h.fence_id),
            ("ctx_id", u64::from(h.ctx_id)),
            ("ring_idx", u64::from(h.ring_idx)),
        ]
    };
    for ((field, expected), (_, actual)) in fields(expected).into_iter().zip(fields(actual)) {
        if expected != actual {
            return Err(Mismatch::Header {
                field,
                expected,
                actual,
            });
        }
    }
    Ok(())
}

fn same<T: fmt::Debug + PartialEq>(
    what: &'static str,
    expected: &T,
    actual: &T,
) -> Result<(), Mismatch> {
    if expected == actual {
        return Ok(());
    }
    Err(Mismatch::Payload {
        what,
        expected: format!("{expected:?}"),
        actual: format!("{actual:?}"),
    })
}

/// Checks an EDID and gives the size of its first detailed timing.
fn preferred(edid: &[u8]) -> Result<(u32, u32), Mismatch> {
    let block = edid
        .get(..128)
        .ok_or(Mismatch::Edid("shorter than a block"))?;
    if block[..8] != [0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0] {
        return Err(Mismatch::Edid("no EDID header"));
    }
    if block.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) != 0 {
        return Err(Mismatch::Edid("wrong checksum"));
    }
    if edid.len() != 128 * (1 + usize::from(block[126])) {
        return Err(Mismatch::Edid("not as long as its extensions say"));
    }
    if block[54] == 0 && block[55] == 0 {
        return Err(Mismatch::Edid("no detailed timing"));
    }
    let side = |low: u8, high: u8| u32::from(low) | u32::from(high >> 4) << 8;
    Ok((side(block[56], block[58]), side(block[59], block[61])))
}

#[cfg(test)]
mod tests;
