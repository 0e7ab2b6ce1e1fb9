//! The system's `memcpy` from and to the bytes themselves: what no access can be faster than.

#![expect(
    unsafe_code,
    reason = "the bytes are reached by their address, past everything that the crates check"
)]

use memory::Backing;

/// Where `len` bytes from `offset` on are.
fn place(ram: &Backing, offset: u64, len: usize) -> *mut u8 {
    let len = u64::try_from(len).expect("64 bits");
    let bytes = ram.bytes().subslice(offset, len);
    bytes.expect("inside the RAM").as_ptr()
}

/// Copies out of the RAM.
#[inline]
pub fn read(ram: &Backing, offset: u64, into: &mut [u8]) {
    let from = place(ram, offset, into.len());
    // SAFETY: as many bytes are there, mapped, and no thread writes them while this group runs.
    unsafe { std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) }
}

/// Copies into the RAM.
#[inline]
pub fn write(ram: &Backing, offset: u64, data: &[u8]) {
    let to = place(ram, offset, data.len());
    // SAFETY: as many bytes are there, mapped and writable, and no other thread uses them while this group runs.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let ram = Backing::anonymous(4096).expect("memory");
        write(&ram, 100, &[1, 2, 3]);
        let mut seen = [0; 5];
        read(&ram, 99, &mut seen);
        assert_eq!(seen, [0, 1, 2, 3, 0]);
    }
}
