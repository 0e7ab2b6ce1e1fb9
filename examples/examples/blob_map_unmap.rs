//! A blob of a renderer in the guest's address space, and out again: the hole comes at once, the reply when the last I/O on it is done.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use hw_virtio_gpu::gpu::{
    Completion, GpuConfig, GpuCore, GpuEnv, MappingToken, Placement, QueueKind, QueuedCommand,
    WindowError,
};
use hw_virtio_gpu::guest::{GuestMemory, GuestMemoryError};
use hw_virtio_gpu::renderer::MemfdRenderer;
use hw_virtio_gpu::wire::{Command, CreateBlob, Header, MemEntry, Request, Response};
use memory::{AddressSpace, Attrs, Gpa, Intent, Offset, Priority, Region, RegionApi, Size};
use qom::{Child, Machine, ObjectOps};

/// What a board does for the command core: a window for one blob, and a list of replies. It has no RAM.
struct Board {
    window: Child<Region>,
    placed: Option<(MappingToken, Child<Region>)>,
    replies: Vec<Response>,
}

impl GuestMemory for Board {
    fn read_guest(&self, addr: u64, into: &mut [u8]) -> Result<(), GuestMemoryError> {
        let len = into.len() as u64;
        Err(GuestMemoryError { addr, len })
    }
    fn is_guest_ram(&self, _: u64, _: u64) -> bool {
        false
    }
}

impl GpuEnv for Board {
    fn place(&mut self, placement: Placement) -> Result<(), WindowError> {
        let (offset, backing) = (Offset(placement.offset), placement.blob.backing);
        let region = Region::ram("blob", backing).create(&self.window);
        let placed = region.and_then(|region| {
            self.window.add_subregion(offset, &region, Priority(0))?;
            self.placed = Some((placement.token, region));
            Ok(())
        });
        placed.map_err(|error| WindowError {
            reason: "no place".to_owned(),
            source: Some(Box::new(error)),
        })
    }
    fn withdraw(&mut self, _: MappingToken) {
        if let Some((_, region)) = &self.placed {
            // Out of the window when this returns.
            let _ = region.unparent_async();
        }
    }
    fn complete(&mut self, completion: Completion) {
        let reply = Response::parse(&completion.response);
        self.replies.extend(reply.map(|(_, reply)| reply));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    show(&mut io::stdout())
}

pub(crate) fn show(out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let machine = Machine::new("blob");
    let window = Region::container("window", Size::new(0x10_0000)).create(machine.root())?;
    let space = AddressSpace::open(machine.root(), "memory", &window)?;
    let config = GpuConfig {
        window: 0x10_0000,
        ..GpuConfig::default()
    };
    let mut gpu = GpuCore::new(config, Box::new(MemfdRenderer::builder().build()))?;
    let mut board = Board {
        window,
        placed: None,
        replies: Vec::new(),
    };
    let mut send = |board: &mut Board, command| {
        let command = QueuedCommand {
            queue: QueueKind::Control,
            head: 0,
            writable: vec![MemEntry { addr: 0, len: 64 }],
            request: Request::new(Header::default(), command).encode(),
        };
        gpu.submit(command, board)
    };
    let (resource, offset) = (7, 0x8000);
    let blob = CreateBlob {
        resource,
        memory: CreateBlob::HOST3D,
        flags: CreateBlob::MAPPABLE,
        blob_id: 5,
        size: 0x4000,
        entries: Vec::new(),
    };
    let word = || space.load::<u32>(Gpa(offset), Attrs::default());
    send(&mut board, Command::ResourceCreateBlob(blob));
    send(&mut board, Command::ResourceMapBlob { resource, offset });
    writeln!(out, "{:?}: the guest reads {:#x}", board.replies, word()?)?;

    let pin = space.pin(machine.root(), Gpa(offset), 0x1000, Intent::Read)?;
    board.replies.clear();
    let unmap = send(&mut board, Command::ResourceUnmapBlob { resource });
    writeln!(out, "{unmap:?}: a hole: {}", word().is_err())?;
    machine.quiesce(Duration::from_secs(10))?;
    writeln!(out, "finalized: {}", machine.counters().finalized)?;
    drop(pin);
    machine.quiesce(Duration::from_secs(10))?;
    writeln!(out, "finalized: {}", machine.counters().finalized)?;
    if let Some((token, _)) = board.placed.take() {
        gpu.blob_finalized(token, &mut board);
    }
    writeln!(out, "the reply: {:?}", board.replies)?;
    Ok(())
}
