use vfioboost_sys as sys;

use crate::error::{check, text};
use crate::{Result, Space};

/// How ranges with [`Range::on_demand()`](crate::Range::on_demand) are mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnDemand {
    /// The library chooses; [`OnDemandInfo::reason`] says why.
    #[default]
    Auto,
    /// When a device faults. Fails with ENOTSUP where that is not possible.
    Fault,
    /// When the program touches them, which it must do before a device uses them.
    Touch,
    /// At once, as other ranges.
    Static,
}

impl OnDemand {
    pub(crate) fn as_raw(self) -> sys::vfb_on_demand {
        match self {
            OnDemand::Auto => sys::VFB_ON_DEMAND_AUTO,
            OnDemand::Fault => sys::VFB_ON_DEMAND_FAULT,
            OnDemand::Touch => sys::VFB_ON_DEMAND_TOUCH,
            OnDemand::Static => sys::VFB_ON_DEMAND_STATIC,
        }
    }

    fn from_raw(raw: sys::vfb_on_demand) -> OnDemand {
        match raw {
            sys::VFB_ON_DEMAND_FAULT => OnDemand::Fault,
            sys::VFB_ON_DEMAND_TOUCH => OnDemand::Touch,
            sys::VFB_ON_DEMAND_STATIC => OnDemand::Static,
            _ => OnDemand::Auto,
        }
    }
}

/// What a [`Space`] maps on demand.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OnDemandInfo {
    /// The way that is in use; never [`OnDemand::Auto`].
    pub way: OnDemand,
    /// Why this way was chosen.
    pub reason: String,
    /// Calls of [`Space::touch()`] and [`Space::hold()`].
    pub touches: u64,
    /// Windows that were mapped.
    pub mapped: u64,
    /// Touches that have waited for another thread, which mapped or evicted the window.
    pub coalesced: u64,
    /// Windows that were evicted.
    pub evicted: u64,
    /// Bytes of the windows that are mapped now.
    pub mapped_bytes: u64,
    /// Bytes that touches and faults have populated.
    pub populated_bytes: u64,
    /// Faults of devices; those that have found their window waiting or being mapped; that have
    /// found it mapped; that were denied; and that took too long.
    pub faults: u64,
    #[allow(missing_docs)]
    pub faults_coalesced: u64,
    #[allow(missing_docs)]
    pub faults_spurious: u64,
    #[allow(missing_docs)]
    pub faults_denied: u64,
    #[allow(missing_docs)]
    pub faults_expired: u64,
    /// Windows that were to be mapped ahead of faults.
    pub mapped_ahead: u64,
    /// From reading a group of faults to its answer, in nanoseconds: median and 99th percentile.
    pub fault_median_ns: u64,
    #[allow(missing_docs)]
    pub fault_p99_ns: u64,
}

/// Memory that is mapped when it is used: of ranges with
/// [`Range::on_demand()`](crate::Range::on_demand).
impl Space {
    /// Populates and maps the windows of a part that are not mapped yet, in this thread. They may be
    /// evicted by [`trim()`](Space::trim) at any time.
    pub fn touch(&self, iova: u64, bytes: u64) -> Result<()> {
        check(unsafe { sys::vfb_space_touch(self.as_ptr(), iova, bytes) }).map(drop)
    }

    /// Touches a part, whose windows stay mapped as long as what is returned: they are neither
    /// evicted nor unmapped. Keep it from before a device is given an IOVA of the part until the
    /// device has finished.
    pub fn hold(&self, iova: u64, bytes: u64) -> Result<Hold> {
        check(unsafe { sys::vfb_space_hold(self.as_ptr(), iova, bytes) })?;
        Ok(Hold { space: self.clone(), iova, bytes })
    }

    /// Unmaps windows until at most `mapped_bytes` are mapped on demand, those first that were
    /// touched longest ago. If more than that is held, it fails with EBUSY when all others are
    /// unmapped.
    pub fn trim(&self, mapped_bytes: u64) -> Result<()> {
        check(unsafe { sys::vfb_space_trim(self.as_ptr(), mapped_bytes) }).map(drop)
    }

    /// What is mapped on demand.
    pub fn on_demand_info(&self) -> Result<OnDemandInfo> {
        let mut raw = sys::vfb_on_demand_info {
            size: std::mem::size_of::<sys::vfb_on_demand_info>(),
            ..Default::default()
        };

        check(unsafe { sys::vfb_space_on_demand_info(self.as_ptr(), &mut raw) })?;
        Ok(OnDemandInfo {
            way: OnDemand::from_raw(raw.way),
            // Valid as long as the space.
            reason: unsafe { text(raw.reason) },
            touches: raw.touches,
            mapped: raw.mapped,
            coalesced: raw.coalesced,
            evicted: raw.evicted,
            mapped_bytes: raw.mapped_bytes,
            populated_bytes: raw.populated_bytes,
            faults: raw.faults,
            faults_coalesced: raw.faults_coalesced,
            faults_spurious: raw.faults_spurious,
            faults_denied: raw.faults_denied,
            faults_expired: raw.faults_expired,
            mapped_ahead: raw.mapped_ahead,
            fault_median_ns: raw.fault_median_ns,
            fault_p99_ns: raw.fault_p99_ns,
        })
    }
}

/// Keeps windows of a [`Space`] mapped, until it is dropped: see [`Space::hold()`].
#[derive(Debug)]
#[must_use = "the windows may be evicted as soon as it is dropped"]
pub struct Hold {
    space: Space,
    iova: u64,
    bytes: u64,
}

impl Hold {
    /// Where the part begins.
    pub fn iova(&self) -> u64 {
        self.iova
    }

    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It fails only if somebody has ended this hold through vfioboost_sys.
        unsafe { sys::vfb_space_unhold(self.space.as_ptr(), self.iova, self.bytes) };
    }
}
