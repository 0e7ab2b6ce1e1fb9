//! The main job: driver traces through real rings, while threads read the window and a second device holds what is mapped; then everything is
//! reset, unplugged and closed in the midst of it, and nothing is left.

use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hw_virtio_gpu::{
    renderer::Capset,
    wire::{Command, CreateBlob, Header as CommandHeader, MapCaching, Request, Response, feature},
};
use memory::{Attrs, host::live_backing_bytes};

use super::{
    board::{Board, Closed, capsets, in_window},
    failure::{DemoError, During},
    replay::{LIMIT, Replay},
    stage::Stage,
    tally::Tally,
    window::Window,
};
use crate::draw::{memory_map, reference_graph};
use crate::frame::save_png;
use crate::trace::{Header, TraceReader};

/// The traces that come with the project, smallest first.
const TRACES: [&str; 9] = [
    "linux-6.1.192-mmio-reset",
    "linux-6.12.117-pci-reset",
    "linux-6.1.192-mmio-blob",
    "linux-6.12.117-pci-blob",
    "linux-6.1.192-mmio-hotplug",
    "linux-6.12.117-pci-modetest",
    "linux-6.1.192-mmio-modetest",
    "linux-6.1.192-mmio-consoleblob",
    "linux-6.1.192-mmio-console",
];
/// The driver's own blobs, at the end of each trace.
const OWN: u32 = 4;
const FIRST: u32 = 0x7001;
const OWN_BYTES: u64 = 0x4000;
/// How long a dropped machine may take to go.
const BYTES: Duration = Duration::from_secs(5);

/// Where the project's traces are.
pub(super) fn given() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/virtio-gpu-traces");
    TRACES
        .iter()
        .map(|name| folder.join(format!("{name}.jsonl.gz")))
        .collect()
}

/// A job: which traces, and what is checked at the end.
#[derive(Clone, Debug)]
pub struct Traces {
    files: Vec<PathBuf>,
    alone: bool,
}

impl Traces {
    /// The traces that come with the project.
    pub fn given() -> Self {
        Self::of(given())
    }

    /// These files.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self {
            files: files.into_iter().collect(),
            alone: true,
        }
    }

    /// Other machines run in this process: the bytes of its backings cannot be expected to be none at the end.
    pub fn beside_others(mut self) -> Self {
        self.alone = false;
        self
    }

    /// Replays them all, also where one does not come out as recorded.
    ///
    /// # Errors
    /// The first difference of each that has one, with file and line.
    pub fn run(self, stage: &mut Stage<'_>) -> Result<(), DemoError> {
        let start = Instant::now();
        let mut sum = Tally::default();
        let mut alone = self.alone;
        let mut failed = Vec::new();
        for file in &self.files {
            let name = name_of(file);
            let began = Instant::now();
            match replay(file, &name, stage, alone) {
                Ok(tally) => {
                    let took = began.elapsed().as_secs_f64();
                    stage.say(format_args!("{name:32} {took:5.1} s  {}", tally.line()));
                    stage.say(format_args!("{:43}order: {}", "", tally.finalized.order()));
                    sum.add(&tally);
                }
                Err(error) => {
                    if self.files.len() == 1 {
                        return Err(error);
                    }
                    let took = began.elapsed().as_secs_f64();
                    stage.say(format_args!("{name:32} {took:5.1} s  {}", error.chain()));
                    failed.push((file.clone(), error));
                    // Its machine is dropped and not closed. What it has of backings would be taken for the next one's.
                    alone &= bytes_go();
                }
            }
        }
        let all = self.files.len();
        let good = all - failed.len();
        if good > 0 {
            let which = if failed.is_empty() {
                format!("{all}")
            } else {
                format!("{good} of {all}")
            };
            stage.say(format_args!(
                "\n{which} traces in {:.1} s, {} threads reading:",
                start.elapsed().as_secs_f64(),
                stage.readers()
            ));
            stage.say(&sum);
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(DemoError::Traces { all, failed })
        }
    }
}

/// Whether no bytes of backings are left in this process, after a while.
fn bytes_go() -> bool {
    let end = Instant::now() + BYTES;
    while live_backing_bytes() != 0 {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

fn name_of(file: &Path) -> String {
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    name.strip_suffix(".jsonl").unwrap_or(name).to_owned()
}

/// One trace, from an empty machine to no machine.
fn replay(file: &Path, name: &str, stage: &mut Stage<'_>, alone: bool) -> Result<Tally, DemoError> {
    let trace = TraceReader::open(file).during("opening the trace")?;
    let capsets: Vec<Capset> = capsets(file, trace.header())?;
    let board = Board::new(trace.header(), capsets, stage.wants_files())?;
    let (base, len) = board.places.window;
    let window = Window::new(&board.memory, base, len);
    picture(stage, name, &board, "before")?;
    let readers = stage.readers();
    let mut tally = std::thread::scope(|scope| {
        for seed in (1..).take(readers) {
            let window = &window;
            scope.spawn(move || window.read(seed));
        }
        let done = with_readers(trace, file, name, stage, &board, &window);
        // Whatever happened: nobody who is waited for below is held up any longer.
        board.workers.release();
        window.stop();
        done
    })?;
    let number = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let found = &window.found;
    if let Some(wrong) = found
        .wrong
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
    {
        return Err(DemoError::differs(file.display(), wrong));
    }
    tally.hits = number(&found.hits);
    tally.holes = number(&found.holes);
    tally.checked = number(&found.checked);
    tally.interrupts = board.line.raised();
    drop(window);
    picture(stage, name, &board, "after")?;
    finish(board, &mut tally, alone)?;
    stage.file(&format!("{name}-finalizers.txt"), || tally.finalized.list())?;
    Ok(tally)
}

/// All that happens while the window is read.
fn with_readers(
    trace: TraceReader,
    file: &Path,
    name: &str,
    stage: &mut Stage<'_>,
    board: &Board,
    window: &Window,
) -> Result<Tally, DemoError> {
    let header = trace.header().clone();
    let mut replay = Replay::new(board, window, &header, file, stage.wants_files());
    replay.probe()?;
    replay.run(trace, stage)?;
    save_frames(stage, name, &replay)?;
    let wanted = feature::VIRGL | feature::RESOURCE_BLOB;
    let own_bytes = OWN_BYTES * u64::from(OWN);
    let own_blobs = header.features_accepted & wanted == wanted && header.window_size >= own_bytes;
    if own_blobs {
        leave_hanging(&mut replay, &header, board)?;
        reset(&mut replay)?;
        board.workers.release();
        leave_hanging(&mut replay, &header, board)?;
    }
    picture(stage, name, board, "during")?;
    replay.unplug()?;
    replay.check_stats()?;
    board.unplug_dma()?;
    // The transfers in flight have outlived both devices' withdrawal.
    let pins = memory::counters(&board.machine).live_pins;
    if own_blobs && pins != 2 {
        let what = format!("{pins} pins are held over the unplug instead of 2");
        return Err(DemoError::differs("the driver's own blobs", what));
    }
    board.workers.release();
    // Readers go on until nothing is retired any more.
    board
        .machine
        .quiesce(LIMIT)
        .during("waiting for what is retired")?;
    Ok(replay.tally.clone())
}

fn reset(replay: &mut Replay<'_>) -> Result<(), DemoError> {
    let line = replay.tally.lines;
    replay.status(line, 0, None)
}

/// Sets the device up once more, maps blobs, has the copy engine pin two of them, and unmaps all but one: two commands wait for the pins, and are
/// waiting when this returns.
fn leave_hanging(replay: &mut Replay<'_>, header: &Header, board: &Board) -> Result<(), DemoError> {
    let line = replay.tally.lines;
    reset(replay)?;
    replay.status(line, 1, None)?;
    replay.status(line, 3, None)?;
    replay.status(line, 11, Some(header.features_accepted))?;
    replay.status(line, 15, None)?;
    let context = CommandHeader {
        ctx_id: 0x70,
        ..CommandHeader::default()
    };
    let send = |replay: &mut Replay<'_>, command: Command, reply: &Response| {
        replay.send(&Request::new(context, command), reply)
    };
    let name = b"demo".to_vec();
    send(replay, Command::CtxCreate { init: 0, name }, &Response::Ok)?;
    for n in 0..OWN {
        let blob = CreateBlob {
            resource: FIRST + n,
            memory: CreateBlob::HOST3D,
            flags: CreateBlob::MAPPABLE,
            blob_id: u64::from(FIRST + n),
            size: OWN_BYTES,
            entries: Vec::new(),
        };
        let (resource, offset) = (blob.resource, OWN_BYTES * u64::from(n));
        send(replay, Command::ResourceCreateBlob(blob), &Response::Ok)?;
        let map = Command::ResourceMapBlob { resource, offset };
        send(replay, map, &Response::MapInfo(MapCaching::Cached))?;
    }
    replay.drain(line)?;
    replay.hold(FIRST)?;
    replay.hold(FIRST + 1)?;
    // The second one is pinned by its reference's end, the third is not pinned at all and overtakes both.
    let resource = FIRST;
    send(
        replay,
        Command::ResourceUnmapBlob { resource },
        &Response::Ok,
    )?;
    let resource = FIRST + 1;
    send(replay, Command::ResourceUnref { resource }, &Response::Ok)?;
    let resource = FIRST + 2;
    send(
        replay,
        Command::ResourceUnmapBlob { resource },
        &Response::Ok,
    )?;
    replay.settle(2, Duration::from_millis(5))?;
    for n in 0..OWN - 1 {
        let at = in_window(&board.places, OWN_BYTES * u64::from(n));
        if let Ok(word) = board.memory.load::<u32>(at, Attrs::default()) {
            let what = format!("{at} reads {word:#x} while its unmap waits for a pin");
            return Err(DemoError::differs("the driver's own blobs", what));
        }
    }
    Ok(())
}

fn save_frames(stage: &mut Stage<'_>, name: &str, replay: &Replay<'_>) -> Result<(), DemoError> {
    for (scanout, frame) in replay.frames().iter().enumerate() {
        if let (Some(frame), Some(path)) =
            (frame, stage.path(&format!("{name}-scanout{scanout}.png")))
        {
            save_png(frame, &path).during("writing a frame")?;
        }
    }
    Ok(())
}

/// Unplugged devices are waited for, the machine is closed, and nothing may be left.
fn finish(board: Board, tally: &mut Tally, alone: bool) -> Result<(), DemoError> {
    let Closed {
        finalized,
        left,
        transfers,
    } = board.close(alone)?;
    let number = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let (started, done, wrong) = (
        number(&transfers.started),
        number(&transfers.done),
        number(&transfers.wrong),
    );
    if started != done || wrong != 0 {
        return Err(DemoError::differs(
            "the copy engine",
            format_args!(
                "{started} transfers were started, {done} done, {wrong} of them found what cannot be there"
            ),
        ));
    }
    tally.finalized = finalized;
    tally.left = Some(left);
    tally.transfers = done;
    tally.copied = number(&transfers.bytes);
    tally.mappings = number(&transfers.mappings);
    Ok(())
}

fn picture(stage: &mut Stage<'_>, name: &str, board: &Board, when: &str) -> Result<(), DemoError> {
    let title = format!("{name}, {when}");
    stage.file(&format!("{name}-graph-{when}.svg"), || {
        reference_graph(&title, &board.machine.reference_graph())
    })?;
    stage.file(&format!("{name}-map-{when}.svg"), || {
        memory_map(&title, &board.map())
    })
}
