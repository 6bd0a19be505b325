//! Structs that begin with `size` and grow at their end. What one side does not know reads as 0:
//! a shorter struct of an older caller is filled up with zeros, a longer one of a newer caller
//! must be zero where we know nothing, since we could not do what it asks.

use std::mem::MaybeUninit;

use crate::error::Status;

/// No struct of any version is longer: a `size` above is a caller who forgot to set it.
const SIZE_MAX: usize = 4096;

/// A struct of the header that begins with `size`.
///
/// # Safety
/// `repr(C)`, begins with a `u32`, and all zeros, as well as any other bytes, are a value.
pub(super) unsafe trait Growing: Copy {}

/// What the caller set.
///
/// # Safety
/// `from` is NULL or points to as many bytes as its `size` says.
pub(super) unsafe fn read<T: Growing>(from: *const T) -> Result<T, Status> {
    // SAFETY: the caller's promise.
    let size = unsafe { size(from) }?;
    let known = size.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: `known` bytes are there on both sides, and any bytes are a value.
    let value = unsafe {
        value.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from.cast(), known);
        value.assume_init()
    };
    // SAFETY: the caller's promise covers all of `size`.
    let tail = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if tail.iter().all(|&byte| byte == 0) { Ok(value) } else { Err(Status::Unsupported) }
}

/// Answers `value`, as much of it as the caller's struct has room for; `size` stays the caller's.
///
/// # Safety
/// `to` is NULL or points to as many bytes as its `size` says.
pub(super) unsafe fn write<T: Growing>(to: *mut T, value: &T) -> Result<(), Status> {
    // SAFETY: the caller's promise.
    let size = unsafe { size(to) }?;
    let known = size.min(size_of::<T>());
    // SAFETY: `known` bytes are there on both sides, `size` bytes at `to`.
    unsafe {
        let (to, from) = (to.cast::<u8>(), (&raw const *value).cast::<u8>());
        to.add(FIRST).copy_from_nonoverlapping(from.add(FIRST), known - FIRST);
        to.add(known).write_bytes(0, size - known);
    }
    Ok(())
}

/// The caller's `size`, if it makes sense.
///
/// # Safety
/// `of` is NULL or points to a `u32`.
pub(super) unsafe fn size<T: Growing>(of: *const T) -> Result<usize, Status> {
    if of.is_null() {
        return Err(Status::Invalid);
    }
    // SAFETY: not NULL, and begins with a u32.
    let size = unsafe { of.cast::<u32>().read() } as usize;
    if (FIRST..=SIZE_MAX).contains(&size) { Ok(size) } else { Err(Status::Invalid) }
}

/// Bytes of `size` itself.
const FIRST: usize = size_of::<u32>();

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Three {
        size: u32,
        a: u32,
        b: u64,
    }
    // SAFETY: plain numbers behind a u32.
    unsafe impl Growing for Three {}

    #[repr(C)]
    struct Longer(Three, u64);

    /// ABI rule: an older caller's struct reads as zeros behind its end and is not written there.
    #[test]
    fn a_shorter_struct_is_filled_with_zeros() {
        let mut three = Three { size: 8, a: 1, b: 2 };
        // SAFETY: the struct is longer than its size says.
        unsafe {
            assert_eq!(read(&three), Ok(Three { size: 8, a: 1, b: 0 }));
            write(&mut three, &Three { size: 16, a: 7, b: 8 }).unwrap();
        }
        assert_eq!(three, Three { size: 8, a: 7, b: 2 });
    }

    /// ABI rule: a newer caller's struct is taken as long as it asks for nothing we do not know.
    #[test]
    fn a_longer_struct_must_be_zero_behind_what_we_know() {
        let mut longer = Longer(Three { size: 24, a: 1, b: 2 }, 0);
        // SAFETY: the pointer is to the whole of the longer struct.
        unsafe {
            let three = (&raw mut longer).cast::<Three>();
            assert_eq!(read(three), Ok(longer.0));
            longer.1 = 1 << 63;
            assert_eq!(read(three), Err(Status::Unsupported));
            write(three, &Three { size: 16, a: 7, b: 8 }).unwrap();
        }
        assert_eq!((longer.0, longer.1), (Three { size: 24, a: 7, b: 8 }, 0));
    }

    /// P15: a size that was never set is refused before anything behind it is looked at.
    #[test]
    fn senseless_sizes_are_refused() {
        for size in [0, 3, 4097, u32::MAX] {
            let mut three = Three { size, a: 1, b: 2 };
            // SAFETY: nothing behind `size` is touched.
            unsafe {
                assert_eq!(read(&three), Err(Status::Invalid));
                assert_eq!(write(&mut three, &three.clone()), Err(Status::Invalid));
            }
        }
    }
}
