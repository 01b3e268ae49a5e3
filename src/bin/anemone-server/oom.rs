// SPDX-License-Identifier: GPL-2.0

//! Keeps the kernel from killing this process first when memory runs out.

use std::fs;
use std::io;

/// The adjustment of this process: from -1000 (never killed) to 1000.
const FILE: &str = "/proc/self/oom_score_adj";
/// Nine tenths of the memory do not count. A server that uses more than that can still be killed. With -1000
/// the kernel would panic instead.
const WANTED: i32 = -900;

/// Makes the kernel kill other processes first. All locked memory counts against this process, so it would be
/// killed first, with other machines' pages. A lower adjustment is kept. Returns the adjustment.
///
/// Must be called before the process is made not dumpable: after that, root owns the file.
pub fn spare() -> io::Result<i32> {
    let set = fs::read_to_string(FILE)?;
    let set = set.trim().parse().map_err(io::Error::other)?;
    if set <= WANTED {
        return Ok(set);
    }
    fs::write(FILE, WANTED.to_string())?;
    Ok(WANTED)
}
