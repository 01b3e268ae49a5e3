// SPDX-License-Identifier: GPL-2.0

//! The kernel's choice of a process to kill when memory runs out: not this one first.

use std::fs;
use std::io;

/// Of this process; a number from -1000, never killed, to 1000.
const FILE: &str = "/proc/self/oom_score_adj";
/// Nine tenths of the memory count for nothing: what takes more than that is to blame after all, and
/// can still be killed, where -1000 would have the kernel panic instead.
const WANTED: i32 = -900;

/// Has the kernel kill others first: all that is locked counts against this process, which so would be the
/// first to go, with other machines' pages. Where less is set already, that stays. Returns what is set.
///
/// To be called before the process is made not dumpable: then the file is root's.
pub fn spare() -> io::Result<i32> {
    let set = fs::read_to_string(FILE)?;
    let set = set.trim().parse().map_err(io::Error::other)?;
    if set <= WANTED {
        return Ok(set);
    }
    fs::write(FILE, WANTED.to_string())?;
    Ok(WANTED)
}
