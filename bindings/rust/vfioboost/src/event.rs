use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::{null_mut, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use vfioboost_sys as sys;

use crate::error::check;
use crate::{Ctx, Error, Result};

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum Phase {
    Attach,
    Open,
    Populate,
    Map,
    Unmap,
    Close,
    Discover,
    Reset,
    Domain,
    Publish,
    Detach,
    Create,
    Destroy,
    Wait,
    Job,
    Syscall,
    User,
    Bar,
    Discard,
    Touch,
    Trim,
    Fault,
    /// One that this version of the crate does not know.
    Unknown(u32),
}

const PHASES: [Phase; 22] = [
    Phase::Attach,
    Phase::Open,
    Phase::Populate,
    Phase::Map,
    Phase::Unmap,
    Phase::Close,
    Phase::Discover,
    Phase::Reset,
    Phase::Domain,
    Phase::Publish,
    Phase::Detach,
    Phase::Create,
    Phase::Destroy,
    Phase::Wait,
    Phase::Job,
    Phase::Syscall,
    Phase::User,
    Phase::Bar,
    Phase::Discard,
    Phase::Touch,
    Phase::Trim,
    Phase::Fault,
];

impl Phase {
    fn from_raw(raw: u32) -> Phase {
        PHASES.get(raw as usize).copied().unwrap_or(Phase::Unknown(raw))
    }

    fn as_raw(self) -> u32 {
        match self {
            Phase::Unknown(raw) => raw,
            phase => PHASES.iter().position(|p| *p == phase).unwrap_or_default() as u32,
        }
    }

    /// Its name, such as "populate".
    pub fn name(self) -> &'static str {
        // The string is static.
        unsafe { CStr::from_ptr(sys::vfb_phase_name(self.as_raw())) }.to_str().unwrap_or("unknown")
    }
}

/// Selects events. The default selects all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only these phases; empty: all.
    pub phases: Vec<Phase>,
    /// Only steps of at least this duration.
    pub min_duration: Duration,
    /// Only steps that concern at least so many bytes; any value but 0 excludes steps on devices.
    pub min_bytes: u64,
}

impl Filter {
    fn as_raw(&self) -> sys::vfb_filter {
        sys::vfb_filter {
            size: std::mem::size_of::<sys::vfb_filter>(),
            phases: self.phases.iter().fold(0, |bits, p| bits | 1u64.wrapping_shl(p.as_raw())),
            min_duration_ns: crate::job::nanoseconds(self.min_duration),
            min_bytes: self.min_bytes,
        }
    }
}

/// A step that has ended.
pub struct Event<'a>(&'a sys::vfb_event);

impl<'a> Event<'a> {
    fn text(&self, text: *const c_char) -> Option<&'a str> {
        if text.is_null() {
            return None;
        }
        // Valid during the callback.
        unsafe { CStr::from_ptr(text) }.to_str().ok()
    }

    /// Its kind.
    pub fn phase(&self) -> Phase {
        Phase::from_raw(self.0.phase)
    }

    /// What was done: for a kernel call its name, such as "MADV_POPULATE_WRITE".
    pub fn operation(&self) -> &'a str {
        self.text(self.0.operation).unwrap_or("")
    }

    /// Whether it succeeded, or the errno.
    pub fn result(&self) -> std::result::Result<(), i32> {
        match self.0.result {
            0 => Ok(()),
            result => Err(-result),
        }
    }

    /// ID of the step, unique in its context and never 0; IDs are in no order.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// ID of the step that it is part of, which ends later.
    pub fn parent(&self) -> Option<u64> {
        Some(self.0.parent).filter(|parent| *parent != 0)
    }

    /// When it began, on `CLOCK_MONOTONIC`.
    pub fn start(&self) -> Duration {
        Duration::from_nanos(self.0.start_ns)
    }

    /// How long it took, without callbacks.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.0.duration_ns)
    }

    /// The address of the memory concerned, or 0.
    pub fn address(&self) -> u64 {
        self.0.address
    }

    /// How many bytes it concerned, or 0.
    pub fn bytes(&self) -> u64 {
        self.0.bytes
    }

    /// The IOVA of a map or unmap call.
    pub fn iova(&self) -> u64 {
        self.0.iova
    }

    /// PCI address of the device concerned.
    pub fn device(&self) -> Option<&'a str> {
        self.text(self.0.device)
    }

    /// The NUMA node that memory was populated for, or of the device.
    pub fn node(&self) -> Option<u32> {
        u32::try_from(self.0.node).ok()
    }

    /// ID of the thread in which it ended.
    pub fn thread(&self) -> i32 {
        self.0.thread
    }
}

impl std::fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("phase", &self.phase())
            .field("operation", &self.operation())
            .field("result", &self.result())
            .field("device", &self.device())
            .field("bytes", &self.bytes())
            .field("duration", &self.duration())
            .finish()
    }
}

thread_local! {
    static CALLBACKS: Cell<u32> = const { Cell::new(0) };
}

/// Whether this thread runs a callback, where nothing may wait.
pub(crate) fn in_callback() -> bool {
    CALLBACKS.with(|callbacks| callbacks.get() > 0)
}

struct Callback {
    call: Box<dyn Fn(&Event<'_>) + Send + Sync>,
    panics: AtomicUsize,
}

unsafe extern "C" fn call_closure(event: *const sys::vfb_event, data: *mut c_void) {
    // Both are valid until the subscription has ended.
    let (event, callback) = unsafe { (Event(&*event), &*data.cast::<Callback>()) };

    CALLBACKS.with(|callbacks| callbacks.set(callbacks.get() + 1));
    // Whatever it leaves half-changed is its own.
    if catch_unwind(AssertUnwindSafe(|| (callback.call)(&event))).is_err() {
        callback.panics.fetch_add(1, Ordering::Relaxed);
    }
    CALLBACKS.with(|callbacks| callbacks.set(callbacks.get() - 1));
}

/// A closure that is called for events, until it is dropped; see [`Ctx::subscribe()`].
pub struct Subscription {
    raw: NonNull<sys::vfb_subscription>,
    callback: NonNull<Callback>,
    _ctx: Ctx,
}

// The closure is Send and Sync.
unsafe impl Send for Subscription {}
unsafe impl Sync for Subscription {}

impl Subscription {
    pub(crate) fn new(
        ctx: &Ctx,
        filter: &Filter,
        call: Box<dyn Fn(&Event<'_>) + Send + Sync>,
    ) -> Result<Subscription> {
        let callback = Box::into_raw(Box::new(Callback { call, panics: AtomicUsize::new(0) }));
        let mut raw = null_mut();
        let result = check(unsafe {
            sys::vfb_subscribe(
                ctx.as_ptr(),
                &filter.as_raw(),
                Some(call_closure),
                callback.cast(),
                &mut raw,
            )
        });

        if let Err(error) = result {
            // Nobody calls it.
            drop(unsafe { Box::from_raw(callback) });
            return Err(error);
        }
        Ok(Subscription {
            raw: NonNull::new(raw).expect("a subscription"),
            callback: NonNull::new(callback).expect("a box"),
            _ctx: ctx.clone(),
        })
    }

    /// How often the closure has panicked.
    pub fn panics(&self) -> usize {
        unsafe { self.callback.as_ref() }.panics.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        unsafe { sys::vfb_unsubscribe(self.raw.as_ptr()) };
        // Within a callback that does not wait: other threads may still run the closure.
        if !in_callback() {
            drop(unsafe { Box::from_raw(self.callback.as_ptr()) });
        }
    }
}

/// A span of the caller's own, see [`Ctx::span()`].
pub struct Span {
    raw: *mut sys::vfb_span,
    result: i32,
    // Must live as long as the span; a span ends in the thread in which it began, and so it is not
    // Send.
    _name: CString,
    _ctx: Ctx,
}

impl Span {
    pub(crate) fn new(ctx: &Ctx, name: &str) -> Span {
        let name = CString::new(name.replace('\0', " ")).expect("no NUL");
        // NULL if no subscriber wants it.
        let raw = unsafe { sys::vfb_span_begin(ctx.as_ptr(), name.as_ptr()) };

        Span { raw, result: 0, _name: name, _ctx: ctx.clone() }
    }

    /// Ends the span with an error.
    pub fn fail(mut self, error: &Error) {
        self.result = -error.errno();
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        unsafe { sys::vfb_span_end(self.raw, self.result) };
    }
}
