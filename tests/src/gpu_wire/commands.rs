//! Bytes of commands as guests send them: by the book, with fields changed, cut, longer than they say, or of chance alone.

use hw_virtio_gpu::wire::{
    Box3, Command, CommandKind, CreateBlob, CursorPosition, Format, HEADER_BYTES, Header, MemEntry,
    Rect, Request, Resource3d, SetScanoutBlob, Transfer3d, UpdateCursor,
};

use super::{RAM, WINDOW};
use crate::random::Random;

/// Numbers at the borders of what fields can say.
pub(super) fn odd(random: &mut Random) -> u32 {
    match random.below(8) {
        0 => 0,
        1 => u32::MAX,
        2 => 1 << random.below(32),
        3 => (1 << random.below(32)) - 1,
        4 => 0_u32.wrapping_sub(random.half() % 16),
        5 => random.half() % 4096 * 4096,
        6 => random.half() % 64,
        _ => random.half(),
    }
}

/// A number that mostly makes sense.
pub(super) fn fair(random: &mut Random, below: u32) -> u32 {
    if random.chance(97) {
        random.half() % below
    } else {
        odd(random)
    }
}

/// Bytes of a command: as a driver sends them, with fields changed, cut, or of chance alone.
pub(super) fn guest_bytes(random: &mut Random, most: usize) -> Vec<u8> {
    let mut request = Request::new(header(random), command(random));
    // Commands about a context mostly name one.
    if request.header.kind >> 8 == 2 && request.header.ctx_id == 0 && random.chance(80) {
        request.header.ctx_id = 1 + random.half() % 3;
    }
    let mut bytes = request.encode();
    match random.below(18) {
        0 => {
            for _ in 0..=random.below(4) {
                let at = random.index(bytes.len() / 4) * 4;
                bytes[at..at + 4].copy_from_slice(&odd(random).to_le_bytes());
            }
        }
        1 => bytes.truncate(random.index(bytes.len() + 1)),
        2 => {
            let at = random.index(bytes.len());
            bytes[at] ^= 1 << random.below(8);
        }
        3 => {
            let more = random.index(most);
            bytes.extend((0..more).map(|_| random.byte()));
        }
        // Counts and lengths that promise what does not come.
        4 => {
            let at = random.pick(&[24, 28, 36]);
            if let Some(field) = bytes.get_mut(at..at + 4) {
                field.copy_from_slice(&odd(random).to_le_bytes());
            }
        }
        5 if random.chance(30) => {
            let len = random.index(most);
            bytes = (0..len).map(|_| random.byte()).collect();
            if bytes.len() >= HEADER_BYTES && random.chance(80) {
                let kind = random.pick(&CommandKind::ALL).number();
                bytes[..4].copy_from_slice(&kind.to_le_bytes());
            }
        }
        _ => {}
    }
    bytes
}

fn header(random: &mut Random) -> Header {
    Header {
        kind: 0,
        flags: if random.chance(70) {
            0
        } else {
            random.half() % 4
        },
        fence_id: random.below(1000),
        ctx_id: if random.chance(50) {
            0
        } else {
            fair(random, 4)
        },
        ring_idx: random.byte() % 4,
    }
}

/// Mostly one that lies in most pictures.
fn rect(random: &mut Random) -> Rect {
    if random.chance(60) {
        return Rect::new(0, 0, 16 + random.half() % 20, 16 + random.half() % 20);
    }
    let mut side = || fair(random, 80);
    Rect::new(side(), side(), side(), side())
}

fn entries(random: &mut Random) -> Vec<MemEntry> {
    let most = if random.chance(5) { 300 } else { 5 };
    let count = random.below(most);
    let entry = |random: &mut Random| MemEntry {
        addr: if random.chance(95) {
            random.below(RAM / 64) * 64
        } else {
            random.next()
        },
        len: fair(random, 0x4000),
    };
    (0..count).map(|_| entry(random)).collect()
}

/// Any resource.
fn id(random: &mut Random) -> u32 {
    fair(random, 10)
}

/// Mostly a resource among those that mostly are pixels.
fn pixels_id(random: &mut Random) -> u32 {
    if random.chance(80) {
        1 + random.half() % 4
    } else {
        id(random)
    }
}

/// Mostly a resource among those that mostly are blobs.
fn blob_id(random: &mut Random) -> u32 {
    if random.chance(80) {
        5 + random.half() % 5
    } else {
        id(random)
    }
}

fn format(random: &mut Random) -> u32 {
    if random.chance(95) {
        random.pick(&Format::ALL).number()
    } else {
        odd(random)
    }
}

fn cursor(random: &mut Random) -> UpdateCursor {
    UpdateCursor {
        position: CursorPosition {
            scanout: fair(random, 2),
            x: odd(random),
            y: odd(random),
        },
        resource: id(random),
        hot_x: fair(random, 64),
        hot_y: fair(random, 64),
    }
}

fn transfer_3d(random: &mut Random) -> Transfer3d {
    let mut side = || odd(random);
    let area = Box3 {
        x: side(),
        y: side(),
        z: side(),
        width: side(),
        height: side(),
        depth: side(),
    };
    Transfer3d {
        area,
        offset: random.next(),
        resource: id(random),
        level: odd(random),
        stride: odd(random),
        layer_stride: odd(random),
    }
}

/// Mostly host memory that can be mapped.
fn create_blob(random: &mut Random) -> CreateBlob {
    let good = random.chance(70);
    CreateBlob {
        resource: blob_id(random),
        memory: if good {
            CreateBlob::HOST3D
        } else {
            1 + fair(random, 3)
        },
        flags: if good {
            CreateBlob::MAPPABLE
        } else {
            fair(random, 8)
        },
        blob_id: random.below(8),
        size: match random.below(20) {
            0 => random.next(),
            1 => u64::from(odd(random)),
            _ => (1 + random.below(16)) * 4096,
        },
        entries: if good { Vec::new() } else { entries(random) },
    }
}

#[expect(clippy::too_many_lines, reason = "one arm for each command")]
fn command(random: &mut Random) -> Command {
    // Those that make and end things come more often.
    let frequent = [
        CommandKind::ResourceCreate2d,
        CommandKind::ResourceCreateBlob,
        CommandKind::ResourceCreateBlob,
        CommandKind::ResourceMapBlob,
        CommandKind::ResourceUnmapBlob,
        CommandKind::ResourceUnref,
        CommandKind::CtxCreate,
    ];
    let kind = if random.chance(45) {
        random.pick(&frequent)
    } else {
        random.pick(&CommandKind::ALL)
    };
    match kind {
        CommandKind::GetDisplayInfo => Command::GetDisplayInfo,
        CommandKind::ResourceCreate2d => Command::ResourceCreate2d {
            resource: pixels_id(random),
            format: format(random),
            width: fair(random, 200),
            height: fair(random, 200),
        },
        CommandKind::ResourceUnref => Command::ResourceUnref {
            resource: id(random),
        },
        CommandKind::SetScanout => Command::SetScanout {
            rect: rect(random),
            scanout: fair(random, 2),
            resource: pixels_id(random),
        },
        CommandKind::ResourceFlush => Command::ResourceFlush {
            rect: rect(random),
            resource: pixels_id(random),
        },
        CommandKind::TransferToHost2d => Command::TransferToHost2d {
            rect: rect(random),
            offset: u64::from(fair(random, 0x2000)),
            resource: pixels_id(random),
        },
        CommandKind::ResourceAttachBacking => Command::ResourceAttachBacking {
            resource: pixels_id(random),
            entries: entries(random),
        },
        CommandKind::ResourceDetachBacking => Command::ResourceDetachBacking {
            resource: pixels_id(random),
        },
        CommandKind::GetCapsetInfo => Command::GetCapsetInfo {
            index: fair(random, 4),
        },
        CommandKind::GetCapset => Command::GetCapset {
            id: fair(random, 4),
            version: fair(random, 3),
        },
        CommandKind::GetEdid => Command::GetEdid {
            scanout: fair(random, 3),
        },
        CommandKind::ResourceAssignUuid => Command::ResourceAssignUuid {
            resource: id(random),
        },
        CommandKind::ResourceCreateBlob => Command::ResourceCreateBlob(create_blob(random)),
        CommandKind::SetScanoutBlob => Command::SetScanoutBlob(SetScanoutBlob {
            rect: rect(random),
            scanout: fair(random, 2),
            resource: blob_id(random),
            width: fair(random, 80),
            height: fair(random, 80),
            format: format(random),
            stride: fair(random, 400),
            offset: fair(random, 0x2000),
        }),
        CommandKind::CtxCreate => Command::CtxCreate {
            init: fair(random, 4),
            name: b"fuzz"[..random.index(5)].to_vec(),
        },
        CommandKind::CtxDestroy => Command::CtxDestroy,
        CommandKind::CtxAttachResource => Command::CtxAttachResource {
            resource: id(random),
        },
        CommandKind::CtxDetachResource => Command::CtxDetachResource {
            resource: id(random),
        },
        CommandKind::ResourceCreate3d => Command::ResourceCreate3d(Resource3d {
            resource: id(random),
            target: odd(random),
            format: odd(random),
            bind: odd(random),
            width: odd(random),
            height: odd(random),
            depth: odd(random),
            array_size: odd(random),
            last_level: odd(random),
            nr_samples: odd(random),
            flags: odd(random),
        }),
        CommandKind::TransferToHost3d => Command::TransferToHost3d(transfer_3d(random)),
        CommandKind::TransferFromHost3d => Command::TransferFromHost3d(transfer_3d(random)),
        CommandKind::Submit3d => {
            let len = random.index(200);
            Command::Submit3d {
                commands: (0..len).map(|_| random.byte()).collect(),
            }
        }
        CommandKind::ResourceMapBlob => Command::ResourceMapBlob {
            resource: blob_id(random),
            offset: match random.below(20) {
                0 => random.next(),
                1 => random.below(WINDOW + 8192),
                _ => random.below(WINDOW / 4096) * 4096,
            },
        },
        CommandKind::ResourceUnmapBlob => Command::ResourceUnmapBlob {
            resource: blob_id(random),
        },
        CommandKind::UpdateCursor => Command::UpdateCursor(cursor(random)),
        CommandKind::MoveCursor => Command::MoveCursor(cursor(random)),
    }
}
