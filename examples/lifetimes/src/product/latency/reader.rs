//! A reader that stays in its read section and reads a blob’s bytes for as long as it does.

use memory::{AddressSpace, Gpa};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// From one of its reads to the next.
const APART: Duration = Duration::from_micros(100);

/// Somebody inside.
pub(super) struct Reader {
    leave: Sender<Instant>,
    reads: Arc<AtomicU64>,
    thread: JoinHandle<Instant>,
}

impl Reader {
    /// Enters a section and reads the word at `at` again and again; it is in when this returns. Whatever is there in the map that it found
    /// when it entered stays there for it, and each time it must read `word`.
    pub(super) fn enter(memory: &AddressSpace, at: Gpa, word: u32) -> Self {
        let (leave, orders) = channel::<Instant>();
        let (entered, is_in) = channel();
        let reads = Arc::new(AtomicU64::new(0));
        let (memory, count) = (memory.clone(), reads.clone());
        let thread = std::thread::spawn(move || {
            let section = memory.enter();
            let bytes = section.view().slice(at, 4).expect("the blob is there");
            let mut leaves = None;
            loop {
                let mut read = [0; 4];
                bytes.read(0, &mut read).expect("they are readable");
                assert_eq!(u32::from_le_bytes(read), word, "the bytes of the blob");
                // Nothing but the count is told by it.
                if count.fetch_add(1, Ordering::Relaxed) == 0 {
                    entered.send(()).expect("somebody listens");
                }
                let now = Instant::now();
                match leaves {
                    Some(at) if now >= at => break,
                    Some(at) => std::thread::sleep(APART.min(at - now)),
                    None => match orders.recv_timeout(APART) {
                        Ok(at) => leaves = Some(at),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => break,
                    },
                }
            }
            let left = Instant::now();
            drop(section);
            left
        });
        is_in.recv().expect("the reader enters");
        Self {
            leave,
            reads,
            thread,
        }
    }

    /// How often it has read so far.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Tells it when to leave.
    pub(super) fn leave_at(&self, at: Instant) {
        self.leave.send(at).expect("the reader listens");
    }

    /// When it left: the moment before it did.
    ///
    /// # Panics
    ///
    /// It read anything but the blob’s bytes.
    pub(super) fn left(self) -> Instant {
        self.thread
            .join()
            .expect("all that it read was the blob’s bytes")
    }
}
