// SPDX-License-Identifier: GPL-2.0

//! Detects another server on the same interface. Only one may serve an EtherType there.
//!
//! The receiving socket is the lock. The kernel lists the packet sockets of the network namespace. A packet
//! socket needs CAP_NET_RAW and ends with its process. So an unprivileged user cannot take the lock, and it
//! works across containers that share an interface.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::fstat;

use crate::sys::socket::PacketSocket;

/// The packet sockets of this network namespace, one a line, the oldest first.
const LIST: &str = "/proc/net/packet";
/// How long a server that starts at the same time may take to notice this one and give way.
const GIVE_WAY_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two readings of the list.
const PAUSE: Duration = Duration::from_millis(20);

/// The position of another server's socket in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rival {
    /// Before ours.
    Older,
    /// After ours.
    Younger,
}

/// Whether another server receives this EtherType from the interface with this index. `socket` is ours and
/// does not receive there yet.
pub fn is_taken(index: u32, ethertype: u16, socket: &PacketSocket) -> io::Result<bool> {
    Ok(find(&list()?, index, ethertype, inode(socket)?).is_some())
}

/// Whether no other server receives there. `socket` is ours and already does.
///
/// A second server sees the first one's socket, because each begins to receive before it reads the list. If
/// two start at the same time, each may see the other. Then the one with the younger socket gives way, and
/// the other waits for that.
pub fn is_ours(index: u32, ethertype: u16, socket: &PacketSocket) -> io::Result<bool> {
    let own = inode(socket)?;
    let began = Instant::now();
    loop {
        match find(&list()?, index, ethertype, own) {
            None => return Ok(true),
            Some(Rival::Younger) if began.elapsed() < GIVE_WAY_TIMEOUT => thread::sleep(PAUSE),
            Some(_) => return Ok(false),
        }
    }
}

fn inode(socket: &PacketSocket) -> io::Result<u64> {
    Ok(fstat(socket)?.st_ino)
}

fn list() -> io::Result<String> {
    std::fs::read_to_string(LIST)
        .map_err(|error| io::Error::new(error.kind(), format!("{LIST}: {error}")))
}

/// The oldest socket that receives there and is not ours.
fn find(list: &str, index: u32, ethertype: u16, own: u64) -> Option<Rival> {
    let mut ours_seen = false;
    for line in list.lines().skip(1) {
        // sk RefCnt Type Proto Iface R Rmem User Inode
        let mut fields = line.split_ascii_whitespace().skip(2);
        let (kind, protocol, interface) = (fields.next(), fields.next(), fields.next());
        let inode = fields.nth(3).and_then(|inode| inode.parse().ok());
        if inode == Some(own) {
            ours_seen = true;
            continue;
        }
        let receives = kind == Some("3")
            && protocol.and_then(|hex| u16::from_str_radix(hex, 16).ok()) == Some(ethertype)
            && interface.and_then(|index| index.parse().ok()) == Some(index);
        if receives {
            return Some(if ours_seen {
                Rival::Younger
            } else {
                Rival::Older
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";
    const OURS: &str = "00000000e7a1c0de 3      3    88b5   3     1 0      0      4711  \n";
    const OTHER: &str = "0000000000000000 3      3    88b5   3     0 0      100    4712  \n";

    fn found(lines: &[&str]) -> Option<Rival> {
        let list = HEADER.to_owned() + &lines.concat();
        find(&list, 3, 0x88b5, 4711)
    }

    #[test]
    fn another_server_is_found_before_and_after_ours() {
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[OURS]), None);
        assert_eq!(found(&[OTHER]), Some(Rival::Older));
        assert_eq!(found(&[OTHER, OURS]), Some(Rival::Older));
        assert_eq!(found(&[OURS, OTHER]), Some(Rival::Younger));
        assert_eq!(found(&[OTHER, OURS, OTHER]), Some(Rival::Older));
    }

    #[test]
    fn a_socket_of_another_ethertype_is_no_rival() {
        for other in [
            // A sniffer: every EtherType; another EtherType; another interface; without headers.
            OTHER.replace("88b5", "0003"),
            OTHER.replace("88b5", "88b6"),
            OTHER.replace("88b5   3 ", "88b5   4 "),
            OTHER.replace(" 3    88b5", " 2    88b5"),
            "nothing of the kind\n".to_owned(),
        ] {
            assert_eq!(found(&[&other, OURS]), None, "{other}");
        }
    }

    #[test]
    fn the_kernel_has_such_a_list() {
        assert!(list().unwrap().starts_with("sk "));
    }
}
