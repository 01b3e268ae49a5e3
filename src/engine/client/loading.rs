// SPDX-License-Identifier: GPL-2.0

//! How long loading waits for servers, and whether those that have answered are enough.

/// How long servers may take to end the session of an older life, in milliseconds: two seconds and some
/// attempts.
const REPLACED_MS: u32 = 5000;

/// The waits for servers while the module is loaded, one after the other.
#[derive(Debug)]
pub struct Loading {
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

impl Loading {
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

    /// The next wait, if `up` servers are up after the last one. `are_challenging`: servers make sure that an
    /// older life of this client is over.
    pub fn next(&mut self, up: usize, are_challenging: bool) -> Option<Wait> {
        let enough = self.wanted.min(self.replicas);
        loop {
            // After a power failure servers start one after the other, so the rest gets time again.
            let (is_needed, servers, timeout_ms, next) = match self.next {
                Next::All => (true, self.wanted, self.connect_ms, Next::Replaced),
                Next::Replaced => {
                    let is_needed = up < self.wanted && are_challenging;
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

    /// How loading goes on with `up` servers. `is_in_use`: a server has refused the session because a client
    /// with the same identity is alive.
    pub fn answered(&self, up: usize, has_local: bool, is_in_use: bool) -> Answered {
        match up {
            0 if !has_local && is_in_use => Answered::InUse,
            0 if !has_local => Answered::Nobody,
            _ if up < self.wanted || up < self.replicas => Answered::Degraded,
            _ => Answered::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut loading = Loading::new(3, 2, 700, 60);
        assert_eq!(loading.next(0, false), wait(3, 700));
        assert_eq!(loading.next(3, true), None);
        assert_eq!(loading.answered(3, false, false), Answered::All);
    }

    #[test]
    fn servers_that_end_an_older_session_get_time_for_it() {
        let mut loading = Loading::new(3, 2, 700, 0);
        assert_eq!(loading.next(0, false), wait(3, 700));
        assert_eq!(loading.next(2, true), wait(3, REPLACED_MS));
        assert_eq!(loading.next(2, true), None);
        assert_eq!(loading.answered(2, false, false), Answered::Degraded);
    }

    #[test]
    fn loading_waits_for_as_many_servers_as_replicas_and_then_for_the_rest() {
        let mut loading = Loading::new(3, 2, 700, 60);
        assert_eq!(loading.next(0, false), wait(3, 700));
        assert_eq!(loading.next(1, false), extra(2, 60_000));
        assert_eq!(loading.next(2, false), wait(3, 700));
        assert_eq!(loading.next(2, false), None);

        let mut loading = Loading::new(3, 2, 700, u32::MAX);
        assert_eq!(loading.next(0, false), wait(3, 700));
        assert_eq!(loading.next(1, true), wait(3, REPLACED_MS));
        assert_eq!(loading.next(1, false), extra(2, u32::MAX), "saturates");
        assert_eq!(
            loading.next(1, false),
            None,
            "the administrator's time is over"
        );

        let mut loading = Loading::new(3, 2, 700, 60);
        assert_eq!(loading.next(0, false), wait(3, 700));
        assert_eq!(loading.next(2, false), None, "two are enough");
    }

    #[test]
    fn one_server_is_enough_if_there_is_only_one() {
        let mut loading = Loading::new(1, 2, 700, 60);
        assert_eq!(loading.next(0, false), wait(1, 700));
        assert_eq!(loading.next(0, false), extra(1, 60_000));
        assert_eq!(loading.next(1, false), None);
        assert_eq!(loading.answered(1, false, false), Answered::Degraded);
    }

    #[test]
    fn without_a_server_only_a_disk_lets_loading_continue() {
        let loading = Loading::new(2, 2, 700, 0);
        assert_eq!(loading.answered(0, false, false), Answered::Nobody);
        assert_eq!(loading.answered(0, false, true), Answered::InUse);
        assert_eq!(loading.answered(0, true, true), Answered::Degraded);
        assert_eq!(loading.answered(1, false, true), Answered::Degraded);
    }
}
