// SPDX-License-Identifier: GPL-2.0

//! Networking.

pub(crate) mod device;
pub(crate) mod hook;
pub(crate) mod notifier;
pub(crate) mod skb;
pub(crate) mod sock;

/// Reads a hardware address that may change meanwhile: then the result may be a mixture.
///
/// # Safety
///
/// - `from` must be valid for reads of six bytes.
#[inline]
unsafe fn read_address(from: *const u8) -> [u8; 6] {
    /// A value without alignment, to be read by one instruction.
    #[derive(Clone, Copy)]
    #[repr(C, packed)]
    struct Unaligned<T>(T);

    // SAFETY: By the requirements of this function. Each byte is read once.
    let (head, tail) = unsafe {
        (
            from.cast::<Unaligned<u32>>().read_volatile().0,
            from.add(4).cast::<Unaligned<u16>>().read_volatile().0,
        )
    };
    let ([a, b, c, d], [e, f]) = (head.to_ne_bytes(), tail.to_ne_bytes());
    [a, b, c, d, e, f]
}
