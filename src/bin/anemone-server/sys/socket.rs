// SPDX-License-Identifier: GPL-2.0

//! A packet socket for frames of one EtherType on one interface. It receives through a ring and sends
//! batches.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{socket_with, sockopt, AddressFamily, SocketFlags, SocketType};

use super::check;
use super::ring::{Geometry, Ring};

/// The send buffer: some hundred frames.
const SEND_BUFFER: usize = 8 << 20;

/// The most frames of one system call.
pub const BATCH: usize = 64;

const _: () = assert!(size_of::<libc::mmsghdr>() == 64, "the kernel's own layout");

/// A packet socket.
pub struct PacketSocket {
    fd: OwnedFd,
    /// The messages of one system call, with two parts each.
    messages: Vec<libc::mmsghdr>,
    parts: Vec<[libc::iovec; 2]>,
}

impl PacketSocket {
    /// A socket that receives nothing yet. `EPERM` without CAP_NET_RAW.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        Ok(Self {
            fd: socket_with(AddressFamily::PACKET, SocketType::RAW, flags, None)?,
            // SAFETY: an mmsghdr is integers and pointers: all zeros is one.
            messages: vec![unsafe { std::mem::zeroed() }; BATCH],
            parts: vec![[part(&[]); 2]; BATCH],
        })
    }

    /// Begins to receive `ethertype`'s frames from the interface of this index, into a ring.
    pub fn listen(&self, index: u32, ethertype: u16, geometry: Geometry) -> io::Result<Ring> {
        let version: libc::c_int = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        self.set(libc::PACKET_VERSION, &version)?;
        let on: libc::c_int = 1;
        self.set(libc::PACKET_IGNORE_OUTGOING, &on)?;
        // Beyond the ordinary limit if allowed, otherwise up to it.
        sockopt::set_socket_send_buffer_size_force(&self.fd, SEND_BUFFER)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&self.fd, SEND_BUFFER))?;
        let request = geometry.request();
        self.set(libc::PACKET_RX_RING, &request)?;
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
        check(unsafe { libc::bind(self.fd.as_raw_fd(), address.cast(), len) })?;
        Ok(ring)
    }

    fn set<T>(&self, name: libc::c_int, value: &T) -> io::Result<()> {
        let (fd, level) = (self.fd.as_raw_fd(), libc::SOL_PACKET);
        let value: *const T = value;
        // CAST: an option is a few bytes.
        let len = size_of::<T>() as libc::socklen_t;
        // SAFETY: the kernel reads `len` bytes at `value`, which is a whole T.
        check(unsafe { libc::setsockopt(fd, level, name, value.cast(), len) })
    }

    /// The interface that it receives from. `None` for good once that has disappeared: the kernel does not
    /// bind the socket again when the interface comes back.
    pub fn bound_to(&self) -> io::Result<Option<u32>> {
        // SAFETY: the address is integers: all zeros is one.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let place: *mut libc::sockaddr_ll = &mut address;
        // CAST: a few bytes.
        let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes at `place`, which is a whole sockaddr_ll that
        // lives through the call; any bytes are one.
        check(unsafe { libc::getsockname(self.fd.as_raw_fd(), place.cast(), &mut len) })?;
        Ok(u32::try_from(address.sll_ifindex).ok())
    }

    /// Frames dropped because the ring was full, since the last call.
    pub fn take_drops(&self) -> io::Result<u32> {
        let mut statistics = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        let (fd, level) = (self.fd.as_raw_fd(), libc::SOL_PACKET);
        let (name, value) = (libc::PACKET_STATISTICS, &raw mut statistics);
        // CAST: a few bytes.
        let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes at `value`, which is a whole
        // tpacket_stats; any bytes are one.
        check(unsafe { libc::getsockopt(fd, level, name, value.cast(), &mut len) })?;
        Ok(statistics.tp_drops)
    }

    /// Sends the first frames, up to [`BATCH`], of two parts each, without waiting. Returns how many were
    /// sent, at least one if the list is not empty. An error is that of the first frame.
    pub fn send<'a>(
        &mut self,
        frames: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> io::Result<usize> {
        let mut count: usize = 0;
        let places = self.messages.iter_mut().zip(&mut self.parts);
        for ((message, parts), frame) in places.zip(frames) {
            *parts = [part(frame.0), part(frame.1)];
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
            message.msg_hdr.msg_iovlen = if frame.1.is_empty() { 1 } else { 2 };
            count += 1;
        }
        // SAFETY: each of `count` messages points to its pair of parts, and these to bytes that
        // `frames` has lent for `'a`, past this call. The kernel only reads the bytes.
        // No name is passed: the bound address is used. The structures are the kernel's own: where
        // the C library's have narrower lengths, the padding behind them is zero.
        let sent = unsafe {
            // Not musl's sendmmsg, which makes a system call for each message.
            libc::syscall(
                libc::SYS_sendmmsg,
                self.fd.as_raw_fd(),
                self.messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn part(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        // The kernel only reads.
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
