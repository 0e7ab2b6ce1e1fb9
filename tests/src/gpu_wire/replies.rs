//! Which answers a command may get, read off the bytes by a table of its own: virtio 1.3, section 5.7.6.
//!
//! Nothing here uses the parsers under test.

use hw_virtio_gpu::gpu::QueueKind;
use hw_virtio_gpu::wire::feature;

use super::Outcome;

/// A command type: its number, the bytes its fields take, where it counts what follows them (place of the count, bytes of each), the feature it
/// needs, and the type and length of its answer where all is well; 0 for a length that the answer's content decides.
struct Row {
    kind: u32,
    bytes: usize,
    counts: Option<(usize, usize)>,
    feature: u64,
    answer: (u32, usize),
}

const fn row(kind: u32, bytes: usize, feature: u64) -> Row {
    Row {
        kind,
        bytes,
        counts: None,
        feature,
        answer: (0x1100, 24),
    }
}

const ROWS: [Row; 26] = [
    Row {
        answer: (0x1101, 24 + 16 * 24),
        ..row(0x0100, 24, 0)
    },
    row(0x0101, 40, 0),
    row(0x0102, 32, 0),
    row(0x0103, 48, 0),
    row(0x0104, 48, 0),
    row(0x0105, 56, 0),
    Row {
        counts: Some((28, 16)),
        ..row(0x0106, 32, 0)
    },
    row(0x0107, 32, 0),
    Row {
        answer: (0x1102, 40),
        ..row(0x0108, 32, feature::VIRGL)
    },
    Row {
        answer: (0x1103, 0),
        ..row(0x0109, 32, feature::VIRGL)
    },
    Row {
        answer: (0x1104, 32 + 1024),
        ..row(0x010a, 32, feature::EDID)
    },
    Row {
        answer: (0x1105, 40),
        ..row(0x010b, 32, feature::RESOURCE_UUID)
    },
    Row {
        counts: Some((36, 16)),
        ..row(0x010c, 56, feature::RESOURCE_BLOB)
    },
    row(0x010d, 96, feature::RESOURCE_BLOB),
    row(0x0200, 96, feature::VIRGL),
    row(0x0201, 24, feature::VIRGL),
    row(0x0202, 32, feature::VIRGL),
    row(0x0203, 32, feature::VIRGL),
    row(0x0204, 72, feature::VIRGL),
    row(0x0205, 72, feature::VIRGL),
    row(0x0206, 72, feature::VIRGL),
    Row {
        counts: Some((24, 1)),
        ..row(0x0207, 32, feature::VIRGL)
    },
    Row {
        answer: (0x1106, 32),
        ..row(0x0208, 40, feature::RESOURCE_BLOB)
    },
    row(0x0209, 32, feature::RESOURCE_BLOB),
    row(0x0300, 56, 0),
    row(0x0301, 56, 0),
];

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*four))
}

fn row_of(request: &[u8]) -> Option<&'static Row> {
    let kind = word(request, 0)?;
    let row = ROWS.iter().find(|row| row.kind == kind)?;
    let mut needed = row.bytes;
    if let Some((at, each)) = row.counts {
        needed += usize::try_from(word(request, at)?)
            .ok()?
            .checked_mul(each)?;
    }
    (request.len() >= needed).then_some(row)
}

/// Whether these bytes are no command at all, or fewer than they say.
pub(super) fn must_be_refused(request: &[u8]) -> bool {
    row_of(request).is_none()
}

/// What a guest remembers of a command until its answer has come.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) queue: QueueKind,
    pub(super) request: Vec<u8>,
    /// Bytes that are writable.
    pub(super) room: u64,
    /// Negotiated when it was sent.
    pub(super) features: u64,
}

impl Sent {
    /// What the answer says, if it is a legal one; none on the cursor queue, which has no answers.
    pub(super) fn judge(&self, reply: &[u8]) -> Outcome<Option<u32>> {
        if self.queue == QueueKind::Cursor {
            let empty = reply.is_empty().then_some(None);
            return empty.ok_or_else(|| format!("the cursor queue is told {reply:?}"));
        }
        let len = reply.len() as u64;
        if len > self.room {
            return Err(format!("{len} bytes where there is room for {}", self.room));
        }
        let Some(kind) = word(reply, 0) else {
            let cut = (len == self.room).then_some(None);
            return cut.ok_or_else(|| format!("{len} bytes for no reason"));
        };
        let error = (0x1200..=0x1205).contains(&kind);
        let full = match (row_of(&self.request), error) {
            (_, true) => 24,
            (Some(row), false) if row.answer.0 == kind && self.may(row) => match row.answer.1 {
                0 => reply.len().max(24),
                full => full,
            },
            _ => return Err(format!("{kind:#06x} is no answer to this")),
        };
        if len != self.room.min(full as u64) {
            return Err(format!("{kind:#06x} with {len} bytes, not {full}"));
        }
        self.header(reply)?;
        Ok(Some(kind))
    }

    /// Whether the command may succeed: on this queue, with these features.
    fn may(&self, row: &Row) -> bool {
        row.kind < 0x0300 && row.feature & !self.features == 0
    }

    /// A fence comes back as it was sent, and none where none was; the context always does.
    fn header(&self, reply: &[u8]) -> Outcome {
        let mut expected = [0; 20];
        if let Some(sent) = self.request.first_chunk::<24>() {
            expected[12..16].copy_from_slice(&sent[16..20]);
            let flags = sent[4] & 3;
            if flags & 1 != 0 {
                expected[0] = flags;
                expected[4..12].copy_from_slice(&sent[8..16]);
                expected[16] = if flags & 2 == 0 { 0 } else { sent[20] };
            }
        }
        let given = reply.get(4..).unwrap_or_default();
        let given = &given[..given.len().min(20)];
        if expected.starts_with(given) {
            Ok(())
        } else {
            Err(format!("the header says {given:?}, not {expected:?}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hw_virtio_gpu::wire::CommandKind;

    #[test]
    fn the_table_has_every_command_once() {
        let numbers: Vec<u32> = ROWS.iter().map(|row| row.kind).collect();
        assert_eq!(numbers, CommandKind::ALL.map(CommandKind::number));
    }

    #[test]
    fn what_a_reply_may_not_be_is_refused() {
        let sent = |kind: u32, room: u64| {
            let mut request = vec![0; 32];
            request[..4].copy_from_slice(&kind.to_le_bytes());
            Sent {
                queue: QueueKind::Control,
                request,
                room,
                features: feature::ALL,
            }
        };
        let reply = |kind: u32, len: usize| {
            let mut reply = vec![0; len];
            reply[..4].copy_from_slice(&kind.to_le_bytes());
            reply
        };
        assert_eq!(sent(0x102, 24).judge(&reply(0x1100, 24)), Ok(Some(0x1100)));
        assert_eq!(sent(0x102, 8).judge(&reply(0x1203, 8)), Ok(Some(0x1203)));
        assert!(
            sent(0x102, 24).judge(&reply(0x1101, 24)).is_err(),
            "of another command"
        );
        assert!(
            sent(0x102, 24).judge(&reply(0x1206, 24)).is_err(),
            "no such error"
        );
        assert!(
            sent(0x102, 40).judge(&reply(0x1100, 40)).is_err(),
            "too long"
        );
        assert!(
            sent(0x102, 24).judge(&reply(0x1100, 20)).is_err(),
            "cut for no reason"
        );
        assert!(
            sent(0x10c, 24).judge(&reply(0x1100, 24)).is_err(),
            "from too few bytes"
        );
        assert!(
            sent(0x300, 24).judge(&reply(0x1100, 24)).is_err(),
            "on the wrong queue"
        );
        let plain = Sent {
            features: 0,
            ..sent(0x209, 24)
        };
        assert!(
            plain.judge(&reply(0x1100, 24)).is_err(),
            "without the feature"
        );
        let mut fenced = reply(0x1100, 24);
        fenced[4] = 1;
        assert!(
            sent(0x102, 24).judge(&fenced).is_err(),
            "a fence nobody asked for"
        );
    }
}
