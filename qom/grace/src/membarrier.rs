//! The heavy half of the asymmetric barrier: Linux's `membarrier` system call.
//!
//! # Soundness
//!
//! The file is sound because the call takes numbers only and touches no memory of the process; what it promises is used in `protocol.rs`,
//! and a refusal is an error value here.
#![expect(
    unsafe_code,
    reason = "a system call without a safe wrapper; it takes no pointers"
)]

use std::io;

/// Commands of `membarrier(2)`; the `libc` crate does not carry them for every target.
#[cfg(target_os = "linux")]
mod command {
    pub(super) const QUERY: libc::c_int = 0;
    pub(super) const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    pub(super) const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
}

#[cfg(target_os = "linux")]
fn membarrier(command: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: the call takes a command and two zero arguments, reads and writes no memory of ours, and answers an
    // unknown command with EINVAL.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::try_from(answer).unwrap_or(0))
}

/// Asks the kernel for the private expedited barrier and registers the process for it. Safe to repeat.
///
/// # Errors
/// What the kernel said: the call is missing, forbidden by a filter, or lacks the command.
#[cfg(target_os = "linux")]
pub(crate) fn register() -> io::Result<()> {
    let offered = membarrier(command::QUERY)?;
    let wanted = command::PRIVATE_EXPEDITED | command::REGISTER_PRIVATE_EXPEDITED;
    if offered & wanted != wanted {
        return Err(io::Error::from(io::ErrorKind::Unsupported));
    }
    membarrier(command::REGISTER_PRIVATE_EXPEDITED)?;
    // One call, so that a filter that lets only the registration pass is noticed now.
    membarrier(command::PRIVATE_EXPEDITED).map(drop)
}

/// Makes every running thread of this process pass a full memory fence before it returns.
///
/// # Errors
/// What the kernel said. Then no fence may be assumed.
#[cfg(target_os = "linux")]
pub(crate) fn heavy_barrier() -> io::Result<()> {
    match membarrier(command::PRIVATE_EXPEDITED) {
        Ok(_) => Ok(()),
        // An address space that was never registered: a child that did not inherit the registration.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            membarrier(command::REGISTER_PRIVATE_EXPEDITED)?;
            membarrier(command::PRIVATE_EXPEDITED).map(drop)
        }
        Err(error) => Err(error),
    }
}

/// There is no such call here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn register() -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// There is no such call here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub(crate) fn heavy_barrier() -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
