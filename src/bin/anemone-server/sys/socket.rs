// SPDX-License-Identifier: GPL-2.0

//! A packet socket: frames of one EtherType on one interface, in through a ring, out in batches.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::ring::{Geometry, Ring};

/// Bytes on their way out that the socket may hold: some hundred frames.
const SEND_BUFFER: libc::c_int = 8 << 20;

const _: () = assert!(size_of::<libc::mmsghdr>() == 64, "the kernel's own layout");

/// A packet socket.
pub struct PacketSocket {
    fd: OwnedFd,
    vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl PacketSocket {
    /// A socket that receives nothing yet. `EPERM` without CAP_NET_RAW.
    pub fn new() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        // SAFETY: no memory is passed.
        let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the descriptor was just opened and is nobody else's.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            vectors: Vec::new(),
            messages: Vec::new(),
        })
    }

    /// Begins to receive `ethertype`'s frames from the interface of this index, into a ring.
    pub fn listen(&self, index: u32, ethertype: u16, geometry: Geometry) -> io::Result<Ring> {
        let version: libc::c_int = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        self.set(libc::SOL_PACKET, libc::PACKET_VERSION, &version)?;
        let on: libc::c_int = 1;
        self.set(libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &on)?;
        // Beyond the ordinary limit if we may, up to it else.
        if self
            .set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &SEND_BUFFER)
            .is_err()
        {
            self.set(libc::SOL_SOCKET, libc::SO_SNDBUF, &SEND_BUFFER)?;
        }
        let request = geometry.request();
        self.set(libc::SOL_PACKET, libc::PACKET_RX_RING, &request)?;
        let ring = Ring::map(self.fd.as_fd(), geometry)?;
        // SAFETY: the address is integers: all zeros is one.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        // CAST: an address family is a small number; an interface's index is positive.
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ethertype.to_be();
        address.sll_ifindex = index as libc::c_int;
        let address: *const libc::sockaddr_ll = &address;
        // CAST: a few bytes.
        let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: `address` is a whole sockaddr_ll that lives through the call.
        let result = unsafe { libc::bind(self.fd.as_raw_fd(), address.cast(), len) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ring)
    }

    /// Lets frames out go past the interface's queueing discipline.
    pub fn bypass_queue(&self) -> io::Result<()> {
        let on: libc::c_int = 1;
        self.set(libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &on)
    }

    fn set<T>(&self, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
        let value: *const T = value;
        // CAST: an option is a few bytes.
        let len = size_of::<T>() as libc::socklen_t;
        // SAFETY: the kernel reads `len` bytes at `value`, which is a whole T.
        let result =
            unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, value.cast(), len) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Frames that found the ring full since this was last called.
    pub fn take_drops(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let value: *mut libc::tpacket_stats = &mut statistics;
        // CAST: a few bytes.
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes at `value`, which is a whole
        // tpacket_stats; any bytes are one.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                value.cast(),
                &mut len,
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(statistics.tp_drops)
    }

    /// Sends frames, each of two parts, without waiting. Returns how many were sent, at least one
    /// of a list that is not empty; the error is the first one's.
    pub fn send<'a>(
        &mut self,
        frames: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> io::Result<usize> {
        self.vectors.clear();
        self.messages.clear();
        for parts in frames {
            for part in [parts.0, parts.1] {
                self.vectors.push(libc::iovec {
                    iov_base: part.as_ptr().cast_mut().cast(),
                    iov_len: part.len(),
                });
            }
        }
        // The vectors stay where they are from here on.
        for pair in self.vectors.chunks_exact_mut(2) {
            // SAFETY: an mmsghdr is integers and pointers: all zeros is one.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = pair.as_mut_ptr();
            message.msg_hdr.msg_iovlen = if pair[1].iov_len == 0 { 1 } else { 2 };
            self.messages.push(message);
        }
        // SAFETY: each of the messages points to one or two elements of `vectors`, and these to
        // bytes that `frames` has lent for `'a`, past this call. The kernel only reads the bytes.
        // No name is passed: the bound address is used. The structures are the kernel's own: where
        // the C library's have narrower lengths, the padding behind them is zero.
        let sent = unsafe {
            // Not musl's sendmmsg: it makes a system call for each message.
            libc::syscall(
                libc::SYS_sendmmsg,
                self.fd.as_raw_fd(),
                self.messages.as_mut_ptr(),
                self.messages.len(),
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
