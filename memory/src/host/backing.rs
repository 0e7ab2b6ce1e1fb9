//! Backings: shared ownership of the bytes behind RAM regions.
#![expect(
    unsafe_code,
    reason = "a backing vouches for the addresses it lends, and takes over foreign ones"
)]
// Soundness: `Whole` owns its bytes (a mapping, or a foreign range with what keeps it) and releases them only in its `Drop`. A `Backing` holds an
// `Arc<Whole>` and a range inside it, fixed at construction and only ever narrowed. So whatever is lent with the lifetime of a borrowed
// `Backing` stays mapped for that lifetime. That no Rust reference points into the bytes holds for mappings because nobody else
// knows their addresses but through this module, and for foreign ranges because `foreign` demands it.

mod error;

pub use error::BackingError;

use std::any::Any;
use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;

use super::address::HostMemory;
use super::bytes::VolatileBytes;
use super::counter::{self, BackingCounter};
use super::mapping::{self, CallError, Mapping, Source};

/// Bytes that a RAM region shows, apart from the region: shared by clones, gone with the last of them.
///
/// Clones and [slices](Self::slice) keep the whole alive. `Send` and `Sync`; every method may be called from any thread, and the bytes are released in
/// the thread that drops the last clone. The module page tells how the bytes may be accessed and what `fork` does to them.
///
/// ```
/// use memory::Backing;
///
/// let ram = Backing::anonymous(64 << 20)?;
/// ram.bytes().write(0x1000, b"boot").expect("inside");
///
/// // A slice shows the same bytes and keeps them.
/// let window = ram.slice(0x1000, 0x1000)?;
/// drop(ram);
/// let mut word = [0; 4];
/// window.bytes().read(0, &mut word).expect("inside");
/// assert_eq!(&word, b"boot");
/// # Ok::<(), memory::BackingError>(())
/// ```
#[derive(Clone)]
pub struct Backing {
    whole: Arc<Whole>,
    /// INVARIANT: inside the bytes of `whole`.
    range: HostMemory,
    /// Where `range` starts in the whole, in bytes.
    offset: u64,
}

/// What is released when the last clone goes.
struct Whole {
    /// `None` only once it is released.
    bytes: Option<Owned>,
    len: u64,
    told: Mutex<Told>,
}

/// The bytes of a whole. The mappings and the keeper are held for their drop.
enum Owned {
    Anonymous {
        _mapping: Mapping,
    },
    File {
        _mapping: Mapping,
        fd: OwnedFd,
        /// Where the mapping starts in the file, in bytes.
        offset: u64,
    },
    Foreign {
        _keep: Box<dyn Any + Send + Sync>,
    },
}

/// Who learns of the release.
#[derive(Default)]
struct Told {
    counters: Vec<BackingCounter>,
    notifiers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Backing {
    /// `len` bytes of zeroes, private to this process; memory is taken from the host as it is touched.
    ///
    /// The mapping reserves no swap space and asks for transparent huge pages; 2 MiB and more start at a multiple of 2 MiB.
    ///
    /// # Errors
    ///
    /// [`BackingError::ZeroLength`], [`BackingError::TooLong`], and [`BackingError::Os`] where the host refuses.
    pub fn anonymous(len: u64) -> Result<Backing, BackingError> {
        let what = || "anonymous memory".to_owned();
        let mapping = map(len, mapping::page_size(), &Source::Anonymous, what)?;
        let range = HostMemory::new(mapping.start(), to_usize(len, what)?, true);
        Ok(Self::whole(Owned::Anonymous { _mapping: mapping }, range))
    }

    /// [`anonymous`](Self::anonymous) bytes that also count in `counter`.
    ///
    /// # Errors
    ///
    /// As for [`anonymous`](Self::anonymous).
    pub fn anonymous_in(len: u64, counter: &BackingCounter) -> Result<Backing, BackingError> {
        let backing = Self::anonymous(len)?;
        backing.count_in(counter);
        Ok(backing)
    }

    /// `len` bytes of zeroes in a new memory file, which other processes can map too ([`fd`](Self::fd)). `name` shows in `/proc` only.
    ///
    /// The file's length is sealed: nobody who gets the descriptor can shorten it and so turn our accesses into faults.
    ///
    /// # Errors
    ///
    /// [`BackingError::ZeroLength`], [`BackingError::TooLong`], [`BackingError::Name`], and [`BackingError::Os`] where the host
    /// refuses (a name longer than 249 bytes, for one).
    pub fn memfd(name: &str, len: u64) -> Result<Backing, BackingError> {
        let what = || format!("memory file `{name}`");
        let name = CString::new(name).map_err(BackingError::Name)?;
        // Before the file is made, so that the error is ours and not a strange one of `ftruncate`.
        rounded(len, mapping::page_size(), what)?;
        let size = i64::try_from(len).map_err(|_| too_long(len, what))?;
        let fd = mapping::create_memfd(&name, size).map_err(os(len))?;
        Self::map_file(fd, 0, len, true, mapping::page_size(), what)
    }

    /// A window of `len` bytes from `offset` on of a file (or of a device that can be mapped), shared with everybody who maps it.
    ///
    /// The backing keeps the descriptor. `offset` is a multiple of the page size, on hugetlbfs of the huge page's. `len` need not be a
    /// multiple; a regular file must contain the whole window, and *must not be truncated below it later*: an access to a page
    /// that is gone raises `SIGBUS` in this process.
    ///
    /// # Errors
    ///
    /// [`BackingError::ZeroLength`], [`BackingError::TooLong`], [`BackingError::MisalignedOffset`], [`BackingError::FileTooShort`],
    /// and [`BackingError::Os`] where the host refuses (a read-only descriptor that is to be writable, for one).
    pub fn file(
        file: impl Into<OwnedFd>,
        offset: u64,
        len: u64,
        writable: bool,
    ) -> Result<Backing, BackingError> {
        let fd = file.into();
        let number = fd.as_raw_fd();
        let what = || format!("a window at {offset:#x} of file descriptor {number}");
        let shape = mapping::file_shape(fd.as_fd()).map_err(os(len))?;
        let granule = shape.granule;
        rounded(len, granule, what)?;
        if !offset.is_multiple_of(granule as u64) {
            return Err(BackingError::MisalignedOffset {
                offset,
                granule: granule as u64,
            });
        }
        match shape.size {
            Some(size) if offset.checked_add(len).is_none_or(|end| end > size) => {
                Err(BackingError::FileTooShort { offset, len, size })
            }
            _ => Self::map_file(fd, offset, len, writable, granule, what),
        }
    }

    fn map_file(
        fd: OwnedFd,
        offset: u64,
        len: u64,
        writable: bool,
        granule: usize,
        what: impl Fn() -> String,
    ) -> Result<Backing, BackingError> {
        let source = Source::File {
            fd: fd.as_fd(),
            offset: i64::try_from(offset).map_err(|_| too_long(len, &what))?,
            writable,
        };
        let mapping = map(len, granule, &source, &what)?;
        let range = HostMemory::new(mapping.start(), to_usize(len, &what)?, writable);
        let owned = Owned::File {
            _mapping: mapping,
            fd,
            offset,
        };
        Ok(Self::whole(owned, range))
    }

    /// Bytes that somebody else mapped: a caller's buffer, a renderer's mapping. `keep` is dropped when the last clone of the backing
    /// is, and may release them then; it must not do so before.
    ///
    /// # Errors
    ///
    /// [`BackingError::ZeroLength`], [`BackingError::TooLong`] (or a range that wraps around the address space). `keep` is dropped then.
    ///
    /// # Safety
    ///
    /// Until `keep` is dropped,
    /// - `len` bytes from `ptr` are mapped for reading and writing, and
    /// - Rust code reaches them only through atomics, through raw foreign calls, or through this backing; no Rust reference to them exists.
    ///
    /// Anybody (the guest, a graphics processor, another process) may change the bytes at any time.
    ///
    /// ```
    /// use std::alloc::Layout;
    /// use std::ptr::NonNull;
    /// use memory::Backing;
    ///
    /// struct Page(NonNull<u8>);
    /// # // SAFETY: the page is owned, not bound to a thread.
    /// unsafe impl Send for Page {}
    /// # // SAFETY: nothing is done with a shared page.
    /// unsafe impl Sync for Page {}
    /// const LAYOUT: Layout = match Layout::from_size_align(4096, 4096) { Ok(it) => it, Err(_) => panic!() };
    /// impl Drop for Page {
    ///     fn drop(&mut self) {
    ///         // SAFETY: allocated below with this layout.
    ///         unsafe { std::alloc::dealloc(self.0.as_ptr(), LAYOUT) }
    ///     }
    /// }
    ///
    /// // SAFETY: the layout is not empty.
    /// let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(LAYOUT) }).expect("memory");
    /// // SAFETY: the page lives until `Page` is dropped, and nobody else touches it.
    /// let backing = unsafe { Backing::foreign(start, 4096, Box::new(Page(start))) }?;
    /// assert_eq!(backing.bytes().load_u32(4092), Some(0));
    /// # Ok::<(), memory::BackingError>(())
    /// ```
    pub unsafe fn foreign(
        ptr: NonNull<u8>,
        len: u64,
        keep: Box<dyn Any + Send + Sync>,
    ) -> Result<Backing, BackingError> {
        Self::adopt(ptr, len, true, keep)
    }

    /// [Foreign](Self::foreign) bytes that are mapped for reading only.
    ///
    /// # Errors
    ///
    /// As for [`foreign`](Self::foreign).
    ///
    /// # Safety
    ///
    /// As for [`foreign`](Self::foreign), but the bytes need not be mapped for writing.
    pub unsafe fn foreign_read_only(
        ptr: NonNull<u8>,
        len: u64,
        keep: Box<dyn Any + Send + Sync>,
    ) -> Result<Backing, BackingError> {
        Self::adopt(ptr, len, false, keep)
    }

    fn adopt(
        ptr: NonNull<u8>,
        len: u64,
        writable: bool,
        keep: Box<dyn Any + Send + Sync>,
    ) -> Result<Backing, BackingError> {
        let what = || format!("foreign bytes at {ptr:p}");
        rounded(len, 1, what)?;
        let size = to_usize(len, what)?;
        if ptr.addr().get().checked_add(size).is_none() {
            return Err(too_long(len, what));
        }
        let range = HostMemory::new(ptr, size, writable);
        Ok(Self::whole(Owned::Foreign { _keep: keep }, range))
    }

    fn whole(bytes: Owned, range: HostMemory) -> Backing {
        let len = range.len();
        counter::add_to_process(len);
        tracing::debug!(?range, "host memory is there");
        Backing {
            whole: Arc::new(Whole {
                bytes: Some(bytes),
                len,
                told: Mutex::new(Told::default()),
            }),
            range,
            offset: 0,
        }
    }

    /// `len` bytes from `offset` on, as a backing of their own that keeps the whole alive.
    ///
    /// # Errors
    ///
    /// [`BackingError::ZeroLength`], and [`BackingError::OutOfBounds`] where they are not all inside.
    pub fn slice(&self, offset: u64, len: u64) -> Result<Backing, BackingError> {
        if len == 0 {
            let what = format!(
                "a slice at {offset:#x} of a backing of {:#x} bytes",
                self.len()
            );
            return Err(BackingError::ZeroLength { what });
        }
        match self.range.subrange(offset, len) {
            Some(range) => Ok(Backing {
                whole: Arc::clone(&self.whole),
                range,
                offset: self.offset + offset,
            }),
            None => Err(BackingError::OutOfBounds {
                offset,
                len,
                size: self.len(),
            }),
        }
    }

    /// The number of bytes, more than zero.
    #[expect(clippy::len_without_is_empty, reason = "a backing is never empty")]
    pub fn len(&self) -> u64 {
        self.range.len()
    }

    /// How many bytes go with it: all of the whole's, where nobody else has any of it.
    pub(crate) fn alone(&self) -> u64 {
        if Arc::strong_count(&self.whole) == 1 {
            self.whole.len
        } else {
            0
        }
    }

    /// The same bytes, for who may only read them. (Its [`fd`](Self::fd) is the whole's: what that may do the kernel says.)
    #[must_use]
    pub fn read_only(&self) -> Backing {
        Backing {
            range: self.range.read_only(),
            ..self.clone()
        }
    }

    /// Whether the bytes are mapped for writing.
    pub fn is_writable(&self) -> bool {
        self.range.is_writable()
    }

    /// The file that holds the bytes and the offset of the first of them in it; `None` for anonymous and foreign bytes. This is what a process
    /// that is to share them must be given.
    pub fn fd(&self) -> Option<(BorrowedFd<'_>, u64)> {
        match self.whole.bytes.as_ref()? {
            Owned::File { fd, offset, .. } => Some((fd.as_fd(), offset + self.offset)),
            Owned::Anonymous { .. } | Owned::Foreign { .. } => None,
        }
    }

    /// Whether both show bytes of the same whole (not necessarily the same ones).
    pub fn shares_with(&self, other: &Backing) -> bool {
        Arc::ptr_eq(&self.whole, &other.whole)
    }

    /// Where the bytes lie. It keeps nothing alive.
    #[inline]
    pub fn host(&self) -> HostMemory {
        self.range
    }

    /// The bytes, for as long as the backing is borrowed.
    #[inline]
    pub fn bytes(&self) -> VolatileBytes<'_> {
        // SAFETY: the borrowed backing keeps the whole, and so the range, for the lifetime that is given out.
        unsafe { self.range.bytes() }
    }

    /// Has the whole count in `counter` until its bytes are gone. A slice counts its whole.
    pub fn count_in(&self, counter: &BackingCounter) {
        counter.add(self.whole.len);
        self.whole.told.lock().counters.push(counter.clone());
    }

    /// Has `notify` called once the bytes are really gone: unmapped, or their keeper dropped. That is when the last clone or slice of the whole
    /// is dropped, in the thread that drops it, after the counters have changed and in the order of registration. A panic
    /// in it is reported and goes no further.
    pub fn on_drop(&self, notify: impl FnOnce() + Send + 'static) {
        self.whole.told.lock().notifiers.push(Box::new(notify));
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        // A foreign keeper is user code.
        contained("a backing's keeper", || drop(self.bytes.take()));
        tracing::debug!(len = self.len, "host memory is gone");
        counter::remove_from_process(self.len);
        let told = std::mem::take(self.told.get_mut());
        for counter in told.counters {
            counter.remove(self.len);
        }
        for notify in told.notifiers {
            contained("a backing's drop notifier", notify);
        }
    }
}

/// Runs user code of a release such that the rest of the release runs whatever it does.
fn contained(what: &str, f: impl FnOnce()) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        return;
    };
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    tracing::error!(message, "{what} panicked");
    // The payload is user code too.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload)))
        && !payload.is::<&str>()
        && !payload.is::<String>()
    {
        // It may go on like this for ever; a small leak is the lesser evil.
        std::mem::forget(payload);
    }
}

fn too_long(len: u64, what: impl Fn() -> String) -> BackingError {
    BackingError::TooLong { what: what(), len }
}

fn to_usize(len: u64, what: impl Fn() -> String) -> Result<usize, BackingError> {
    usize::try_from(len).map_err(|_| too_long(len, what))
}

/// What to map for `len` visible bytes of `what`.
fn rounded(len: u64, granule: usize, what: impl Fn() -> String) -> Result<usize, BackingError> {
    if len == 0 {
        return Err(BackingError::ZeroLength { what: what() });
    }
    mapping::round_up(to_usize(len, &what)?, granule).ok_or_else(|| too_long(len, what))
}

fn map(
    len: u64,
    granule: usize,
    source: &Source<'_>,
    what: impl Fn() -> String,
) -> Result<Mapping, BackingError> {
    Mapping::new(rounded(len, granule, what)?, source).map_err(os(len))
}

fn os(len: u64) -> impl FnOnce(CallError) -> BackingError {
    move |(call, source)| BackingError::Os { call, len, source }
}

impl fmt::Debug for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.whole.bytes {
            Some(Owned::Anonymous { .. }) => "anonymous",
            Some(Owned::File { .. }) => "file",
            Some(Owned::Foreign { .. }) => "foreign",
            None => "released",
        };
        f.debug_struct("Backing")
            .field("kind", &kind)
            .field("range", &self.range)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// The tests that need an unsafe call; the others are in `tests/backing.rs`.
#[cfg(test)]
mod tests {
    use std::panic;
    use std::ptr::NonNull;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::{Backing, BackingCounter, BackingError};
    use crate::host::BytesError;

    const PAGE: u64 = 4096;

    /// A foreign page that notes its release.
    struct Keeper {
        page: Box<[AtomicU64; 512]>,
        released: Arc<AtomicUsize>,
        panics: bool,
    }

    impl Keeper {
        fn boxed(released: &Arc<AtomicUsize>, panics: bool) -> (NonNull<u8>, Box<Self>) {
            let keeper = Box::new(Self {
                page: Box::new([const { AtomicU64::new(0) }; 512]),
                released: Arc::clone(released),
                panics,
            });
            (NonNull::from(&*keeper.page).cast(), keeper)
        }
    }

    impl Drop for Keeper {
        fn drop(&mut self) {
            self.released.fetch_add(1, Ordering::Relaxed);
            assert!(!self.panics, "a keeper that panics");
        }
    }

    #[test]
    fn foreign_bytes_are_kept_until_the_last_clone_goes() {
        let released = Arc::new(AtomicUsize::new(0));
        let (start, keeper) = Keeper::boxed(&released, false);
        // SAFETY: the page is atomics, lives until the keeper is dropped, and nobody else touches it.
        let backing = unsafe { Backing::foreign(start, PAGE, keeper) }.expect("foreign");
        assert!(backing.fd().is_none() && backing.is_writable());
        assert_eq!(backing.host().as_ptr(), start.as_ptr());
        let slice = backing.slice(8, 8).expect("inside");
        drop(backing);
        slice.bytes().store_u64(0, 7).expect("inside");
        assert_eq!(slice.bytes().load_u64(0), Some(7));
        assert_eq!(released.load(Ordering::Relaxed), 0);
        let heard = Arc::new(AtomicUsize::new(0));
        let (note, seen) = (Arc::clone(&heard), Arc::clone(&released));
        slice.on_drop(move || note.store(seen.load(Ordering::Relaxed), Ordering::Relaxed));
        drop(slice);
        assert_eq!(
            heard.load(Ordering::Relaxed),
            1,
            "told before the keeper was dropped, or not at all"
        );
    }

    #[test]
    fn a_refused_foreign_range_gives_its_keeper_up() {
        let released = Arc::new(AtomicUsize::new(0));
        let (start, keeper) = Keeper::boxed(&released, false);
        // SAFETY: an empty range asks nothing of its bytes.
        let refused = unsafe { Backing::foreign(start, 0, keeper) };
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!("foreign bytes at {start:p}: zero bytes were asked for")
        );
        assert_eq!(released.load(Ordering::Relaxed), 1);
        let end =
            NonNull::without_provenance(std::num::NonZero::new(usize::MAX - 7).expect("not null"));
        // SAFETY: a range that wraps is refused before anything is done with it.
        let refused = unsafe { Backing::foreign(end, 16, Box::new(())) };
        assert!(matches!(
            refused,
            Err(BackingError::TooLong { len: 16, .. })
        ));
    }

    /// A panic payload that panics when it is dropped.
    struct Grenade;

    impl Drop for Grenade {
        fn drop(&mut self) {
            panic!("a payload that panics");
        }
    }

    #[test]
    fn panics_of_keepers_and_notifiers_stop_nothing() {
        let released = Arc::new(AtomicUsize::new(0));
        let (start, keeper) = Keeper::boxed(&released, true);
        let counter = BackingCounter::new();
        // SAFETY: the page is atomics, lives until the keeper is dropped, and nobody else touches it.
        let backing = unsafe { Backing::foreign(start, PAGE, keeper) }.expect("foreign");
        backing.count_in(&counter);
        let heard = Arc::new(AtomicUsize::new(0));
        let note = Arc::clone(&heard);
        backing.on_drop(|| panic::panic_any(1_u8));
        backing.on_drop(|| panic::panic_any(Grenade));
        backing.on_drop(|| panic!("a notifier that panics"));
        backing.on_drop(move || note.store(1, Ordering::Relaxed));
        panic::catch_unwind(panic::AssertUnwindSafe(|| drop(backing))).expect("contained");
        assert_eq!(released.load(Ordering::Relaxed), 1);
        assert_eq!(heard.load(Ordering::Relaxed), 1);
        assert_eq!((counter.live(), counter.bytes()), (0, 0));
    }

    #[test]
    fn foreign_read_only_bytes_are_not_written() {
        let ram = Backing::anonymous(PAGE).expect("memory");
        ram.bytes().store_u64(0, 0x4711).expect("inside");
        // SAFETY: the keeper is a backing that keeps the bytes; nobody has a reference to them.
        let foreign = unsafe {
            let start = NonNull::new(ram.host().as_ptr()).expect("not null");
            Backing::foreign_read_only(start, PAGE, Box::new(ram.clone()))
        }
        .expect("foreign");
        assert_eq!(
            foreign.bytes().write(0, &[1]),
            Err(BytesError::ReadOnly { offset: 0 })
        );
        assert_eq!(foreign.bytes().load_u64(0), Some(0x4711));
        assert!(!foreign.is_writable());
    }
}
