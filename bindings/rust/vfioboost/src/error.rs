use std::ffi::CStr;
use std::fmt;
use std::os::raw::{c_char, c_int};

use vfioboost_sys as sys;

/// A failure: an errno, and what failed, why, and what to do about it, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    errno: c_int,
    text: String,
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The errno, such as 12 (`ENOMEM`).
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// The cause and the remedy, such as "mapping 8 GiB needs RLIMIT_MEMLOCK of at least 8 GiB, it
    /// is 64 MiB: raise it or grant CAP_IPC_LOCK".
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The error of a call that has just failed in this thread with a negative errno.
    pub(crate) fn last(result: c_int) -> Self {
        // Valid until the next failure in this thread.
        let text = unsafe { CStr::from_ptr(sys::vfb_last_error()) };
        Error { errno: -result, text: text.to_string_lossy().into_owned() }
    }

    /// The error of an entry, whose text the library does not keep.
    pub(crate) fn of_status(status: c_int) -> Self {
        Error { errno: -status, text: std::io::Error::from_raw_os_error(-status).to_string() }
    }

    pub(crate) fn new(errno: c_int, text: impl Into<String>) -> Self {
        Error { errno, text: text.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = std::io::Error::from_raw_os_error(error.errno).kind();
        std::io::Error::new(kind, error)
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::new(error.raw_os_error().unwrap_or(libc::EIO), error.to_string())
    }
}

/// Turns what a function of the library has returned into a result, in the thread that called it.
pub(crate) fn check(result: c_int) -> Result<c_int> {
    if result < 0 {
        Err(Error::last(result))
    } else {
        Ok(result)
    }
}

/// A string of the library.
///
/// # Safety
/// It is NULL, or valid during the call.
pub(crate) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
