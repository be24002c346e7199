//! What the process holds: after each boot it should be the same. Threads do not count: those of
//! the library are made when they are needed.

use std::fmt;
use std::fs;

use crate::Result;

#[derive(Debug, PartialEq, Eq)]
pub struct Usage {
    files: usize,
    /// Of devices, files and memory, without those of the allocator.
    mappings: usize,
    locked: String,
    pinned: String,
    ranges: usize,
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));

    line.unwrap_or("?").trim().to_string()
}

impl Usage {
    /// `ranges`: those that are mapped for devices.
    pub fn now(ranges: usize) -> Result<Usage> {
        let status = fs::read_to_string("/proc/self/status")?;
        let maps = fs::read_to_string("/proc/self/maps")?;
        let owned = |line: &&str| ["vfio", "kvm", "memfd", "huge"].iter().any(|n| line.contains(n));

        Ok(Usage {
            files: fs::read_dir("/proc/self/fd")?.count(),
            mappings: maps.lines().filter(owned).count(),
            locked: field(&status, "VmLck:"),
            pinned: field(&status, "VmPin:"),
            ranges,
        })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Usage { files, mappings, locked, pinned, ranges } = self;

        write!(
            f,
            "{files} files, {mappings} mappings, {ranges} ranges for devices, {locked} locked, \
             {pinned} pinned"
        )
    }
}
