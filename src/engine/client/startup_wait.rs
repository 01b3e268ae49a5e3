// SPDX-License-Identifier: GPL-2.0

//! How long loading the module waits for servers, and whether those that have answered are enough.

use super::cluster::{Cluster, Health, Random};
use super::ids::SlotSet;
use super::storage::Storage;
use crate::wire::Status;

/// How long servers may take to end the session of an earlier instance of this client, in milliseconds: two
/// seconds and some attempts.
const REPLACED_MS: u32 = 5000;

/// The waits for servers while the module is loaded, one after the other.
#[derive(Debug)]
pub struct ServerWait {
    wanted: usize,
    replicas: usize,
    connect_ms: u32,
    wait_ms: u32,
    /// The wait that is decided next.
    next: Next,
}

#[derive(Clone, Copy, Debug)]
enum Next {
    All,
    Replaced,
    Enough,
    Rest,
    Nothing,
}

/// One wait. It ends early when as many servers are up as are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How many servers are wanted.
    pub servers: usize,
    /// The longest time, in milliseconds.
    pub timeout_ms: u32,
    /// Whether this is the time that the administrator grants beyond the usual.
    pub is_extra: bool,
}

impl Wait {
    /// Whether it ends before its time.
    pub fn is_over(&self, answers: Answers) -> bool {
        answers.up >= self.servers
    }
}

/// What the servers have answered so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// How many servers are up.
    pub up: usize,
    /// Servers make sure that an earlier instance of this client is gone.
    are_challenging: bool,
    /// A server has refused the session because a client with the same identity is alive.
    is_in_use: bool,
}

impl Answers {
    /// The answers of the cluster's servers.
    pub fn of<S: Storage, R: Random>(cluster: &Cluster<S, R>) -> Self {
        let mut answers = Self::default();
        for report in SlotSet::ALL.iter().filter_map(|slot| cluster.report(slot)) {
            match (report.health, report.refusal) {
                (Health::Up, _) => answers.up = answers.up.saturating_add(1),
                (Health::Connecting, Some(Status::Wait)) => answers.are_challenging = true,
                (Health::Connecting, Some(Status::InUse)) => answers.is_in_use = true,
                _ => {}
            }
        }
        answers
    }
}

/// How loading goes on after the last wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// With all servers.
    All,
    /// With fewer servers than there are, or than there should be replicas.
    Degraded,
    /// Not at all: no server has answered, and there is no disk.
    Nobody,
    /// Not at all: servers have a live session of another client with this identity.
    InUse,
}

impl ServerWait {
    /// The waits for `wanted` servers, of which as many as there are replicas are enough: `connect_ms` for
    /// all of them, and `wait_s` more if there are not enough.
    pub fn new(wanted: usize, replicas: usize, connect_ms: u32, wait_s: u32) -> Self {
        Self {
            wanted,
            replicas,
            connect_ms,
            wait_ms: wait_s.saturating_mul(1000),
            next: Next::All,
        }
    }

    /// The next wait, with the answers after the last one.
    pub fn next(&mut self, answers: Answers) -> Option<Wait> {
        let up = answers.up;
        let enough = self.wanted.min(self.replicas);
        loop {
            // After a power failure servers start one after the other, so the rest gets time again.
            let (is_needed, servers, timeout_ms, next) = match self.next {
                Next::All => (true, self.wanted, self.connect_ms, Next::Replaced),
                Next::Replaced => {
                    let is_needed = up < self.wanted && answers.are_challenging;
                    (is_needed, self.wanted, REPLACED_MS, Next::Enough)
                }
                Next::Enough if up >= enough || self.wait_ms == 0 => return None,
                Next::Enough => (true, enough, self.wait_ms, Next::Rest),
                Next::Rest => {
                    let is_needed = up >= enough && up < self.wanted;
                    (is_needed, self.wanted, self.connect_ms, Next::Nothing)
                }
                Next::Nothing => return None,
            };
            self.next = next;
            if is_needed {
                return Some(Wait {
                    servers,
                    timeout_ms,
                    is_extra: matches!(next, Next::Rest),
                });
            }
        }
    }

    /// How loading goes on with these answers.
    pub fn answered(&self, answers: Answers, has_local: bool) -> Answered {
        match answers.up {
            0 if !has_local && answers.is_in_use => Answered::InUse,
            0 if !has_local => Answered::Nobody,
            up if up < self.wanted || up < self.replicas => Answered::Degraded,
            _ => Answered::All,
        }
    }

    /// Whether all servers are up, so that their room is known.
    pub fn is_complete(&self, answers: Answers) -> bool {
        answers.up >= self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(up: usize) -> Answers {
        Answers {
            up,
            ..Answers::default()
        }
    }

    fn challenging(servers: usize) -> Answers {
        Answers {
            are_challenging: true,
            ..up(servers)
        }
    }

    fn in_use(servers: usize) -> Answers {
        Answers {
            is_in_use: true,
            ..up(servers)
        }
    }

    fn wait(servers: usize, timeout_ms: u32) -> Option<Wait> {
        Some(Wait {
            servers,
            timeout_ms,
            is_extra: false,
        })
    }

    fn extra(servers: usize, timeout_ms: u32) -> Option<Wait> {
        Some(Wait {
            is_extra: true,
            ..wait(servers, timeout_ms)?
        })
    }

    #[test]
    fn loading_waits_once_if_all_servers_answer() {
        let mut waits = ServerWait::new(3, 2, 700, 60);
        assert_eq!(waits.next(up(0)), wait(3, 700));
        assert_eq!(waits.next(challenging(3)), None);
        assert_eq!(waits.answered(up(3), false), Answered::All);
    }

    #[test]
    fn servers_that_end_an_older_session_get_time_for_it() {
        let mut waits = ServerWait::new(3, 2, 700, 0);
        assert_eq!(waits.next(up(0)), wait(3, 700));
        assert_eq!(waits.next(challenging(2)), wait(3, REPLACED_MS));
        assert_eq!(waits.next(challenging(2)), None);
        assert_eq!(waits.answered(up(2), false), Answered::Degraded);
    }

    #[test]
    fn loading_waits_for_as_many_servers_as_replicas_and_then_for_the_rest() {
        let mut waits = ServerWait::new(3, 2, 700, 60);
        assert_eq!(waits.next(up(0)), wait(3, 700));
        assert_eq!(waits.next(up(1)), extra(2, 60_000));
        assert_eq!(waits.next(up(2)), wait(3, 700));
        assert_eq!(waits.next(up(2)), None);

        let mut waits = ServerWait::new(3, 2, 700, u32::MAX);
        assert_eq!(waits.next(up(0)), wait(3, 700));
        assert_eq!(waits.next(challenging(1)), wait(3, REPLACED_MS));
        assert_eq!(waits.next(up(1)), extra(2, u32::MAX), "saturates");
        assert_eq!(waits.next(up(1)), None, "the administrator's time is over");

        let mut waits = ServerWait::new(3, 2, 700, 60);
        assert_eq!(waits.next(up(0)), wait(3, 700));
        assert_eq!(waits.next(up(2)), None, "two are enough");
    }

    #[test]
    fn one_server_is_enough_if_there_is_only_one() {
        let mut waits = ServerWait::new(1, 2, 700, 60);
        assert_eq!(waits.next(up(0)), wait(1, 700));
        assert_eq!(waits.next(up(0)), extra(1, 60_000));
        assert_eq!(waits.next(up(1)), None);
        assert_eq!(waits.answered(up(1), false), Answered::Degraded);
    }

    #[test]
    fn without_a_server_only_a_disk_lets_loading_continue() {
        let waits = ServerWait::new(2, 2, 700, 0);
        assert_eq!(waits.answered(up(0), false), Answered::Nobody);
        assert_eq!(waits.answered(in_use(0), false), Answered::InUse);
        assert_eq!(waits.answered(in_use(0), true), Answered::Degraded);
        assert_eq!(waits.answered(in_use(1), false), Answered::Degraded);
    }
}
