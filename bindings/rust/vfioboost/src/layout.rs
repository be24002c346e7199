use std::ffi::CString;
use std::ops::RangeInclusive;
use std::os::raw::c_char;

use vfioboost_sys as sys;

use crate::error::{check, Error};
use crate::{Result, Space};

/// Memory to lay out, for [`layout()`].
#[derive(Clone, Debug)]
pub struct LayoutPart {
    /// Its size in bytes, a multiple of the alignment.
    pub bytes: u64,
    /// Its ranges begin and end at multiples of this, a power of two. 0: 64 KiB.
    pub alignment: u64,
    /// The IOVAs that it may have.
    pub within: RangeInclusive<u64>,
}

/// A range of a [`LayoutPart`]: where it begins in the part, its size, and where devices see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Placed {
    pub offset: u64,
    pub bytes: u64,
    pub iova: u64,
}

/// Lays memory out in IOVAs that are valid and free in a space, with as few ranges as possible.
/// Returns the ranges of each part in ascending order.
///
/// # Errors
///
/// `ENOSPC`: the valid IOVAs are too few.
pub fn layout(space: Option<&Space>, parts: &[LayoutPart]) -> Result<Vec<Vec<Placed>>> {
    let raw_parts: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(index, part)| sys::vfb_layout_part {
            bytes: part.bytes,
            alignment: part.alignment,
            first: *part.within.start(),
            last: *part.within.end(),
            // The library copies it to the ranges: the number of the part.
            memory: index as *mut sys::vfb_memory,
            ..Default::default()
        })
        .collect();
    let opts = sys::vfb_layout_opts {
        size: std::mem::size_of::<sys::vfb_layout_opts>(),
        space: space.map_or(std::ptr::null_mut(), Space::as_ptr),
        ..Default::default()
    };
    let mut ranges = vec![sys::vfb_range::default(); parts.len()];

    loop {
        let count = check(unsafe {
            sys::vfb_layout(
                &opts,
                raw_parts.as_ptr(),
                raw_parts.len(),
                ranges.as_mut_ptr(),
                ranges.len(),
            )
        })? as usize;
        if count <= ranges.len() {
            ranges.truncate(count);
            break;
        }
        ranges.resize(count, sys::vfb_range::default());
    }
    let mut placed = vec![Vec::new(); parts.len()];
    for range in &ranges {
        placed[range.memory as usize].push(Placed {
            offset: range.offset,
            bytes: range.bytes,
            iova: range.iova,
        });
    }
    Ok(placed)
}

impl Space {
    /// Announces the devices that will be opened. Until the first one is, what they cannot use is
    /// refused when it is mapped, and left out by [`layout()`] and
    /// [`iova_ranges()`](Space::iova_ranges). Nothing is opened.
    pub fn expect_devices(&self, addresses: &[&str]) -> Result<()> {
        let addresses = addresses
            .iter()
            .map(|address| {
                CString::new(*address).map_err(|_| {
                    Error::new(libc::EINVAL, format!("{address:?} is not a PCI address"))
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let pointers: Vec<*const c_char> =
            addresses.iter().map(|address| address.as_ptr()).collect();

        check(unsafe {
            sys::vfb_space_expect_devices(self.as_ptr(), pointers.as_ptr(), pointers.len())
        })
        .map(drop)
    }
}
