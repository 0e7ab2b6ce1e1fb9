//! Bounce buffers: callbacks are mapped as a copy, within a budget of the address space.

use super::MapError;
use super::found::Request;
use crate::attrs::Attrs;
use crate::host::Backing;
use crate::space::SpaceGuard;
use qom::layer::{self, Place};
use std::sync::atomic::Ordering;

/// A bounce buffer of up to `len` bytes, filled where it is to be read.
pub(super) fn bounce(
    request: &Request<'_>,
    guard: &SpaceGuard<'_>,
    len: u64,
) -> Result<Backing, MapError> {
    let (space, holder) = (request.space, request.holder);
    // Copies that readers still look at are out of the budget, and count as retired. In a transaction nobody waits.
    if layer::depth(Place::Transaction) == 0 {
        let room = space.machine().make_room();
        room.map_err(|source| MapError::Overloaded {
            space: space.name().into(),
            holder: holder.describe(),
            source: Box::new(source),
        })?;
    }
    let (used, limit) = (
        &space.inner.bounce_bytes,
        space.inner.bounce_limit.load(Ordering::Relaxed),
    );
    let take = |now: u64| {
        let len = len.min(limit.saturating_sub(now));
        (len > 0).then_some(now + len)
    };
    let before = used
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .map_err(|now| MapError::BounceExhausted {
            space: space.name().into(),
            holder: holder.describe(),
            used: now,
            limit,
            wanted: len,
        })?;
    let len = len.min(limit.saturating_sub(before));
    let filled = Backing::anonymous(len)
        .map_err(|source| MapError::Backing {
            holder: holder.describe(),
            source,
        })
        .and_then(|backing| {
            if request.intent.reads() {
                let mut data = vec![0; usize::try_from(len).unwrap_or(0)];
                let result = guard.read(request.addr, &mut data, Attrs::default());
                let copied = backing.bytes().write(0, &data);
                if !result.is_ok() || copied.is_err() {
                    return Err(MapError::BounceRead {
                        at: request.addr,
                        holder: holder.describe(),
                        result,
                    });
                }
            }
            Ok(backing)
        });
    if filled.is_err() {
        used.fetch_sub(len, Ordering::Relaxed);
    }
    filled
}
