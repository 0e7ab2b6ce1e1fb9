//! What the program says: lines on its standard output, also where nobody reads them to the end.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// A line, as `println!` has it; a reader that has gone, as behind `| head`, is no panic.
macro_rules! tell {
    () => {
        $crate::told::write(format_args!("\n"))
    };
    ($($text:tt)*) => {
        $crate::told::write(format_args!("{}\n", format_args!($($text)*)))
    };
}

/// Whether something was lost that somebody would have read.
static LOST: AtomicBool = AtomicBool::new(false);

/// Text. The exit status says how it ended all the same, so nothing stops where the reader has gone; any other error is reported once.
pub(crate) fn write(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let written = out.write_fmt(text).and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        // ORDERING: Relaxed: a flag by itself.
        && !LOST.swap(true, Ordering::Relaxed)
    {
        eprintln!("holdfast-lifetimes: standard output: {error}");
    }
}
