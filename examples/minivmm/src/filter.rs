//! A filter of system calls that kills the process for every other one: those of the VMM, and those
//! that libvfioboost lists.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use vfioboost::{seccomp_calls, SeccompRole};

use crate::Result;

/// What this program, the standard library and the crates of rust-vmm call.
const OWN: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getdents64,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_rseq,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// The types of KVM's requests, and of those of VFIO and iommufd.
const OWN_IOCTLS: &[u64] = &[0xae, 0x3b];

fn ioctl(operator: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    let condition = SeccompCondition::new(1, SeccompCmpArgLen::Dword, operator, value)?;

    Ok(SeccompRule::new(vec![condition])?)
}

/// Installs it in this thread, and so in those that it creates.
pub fn install() -> Result<()> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        OWN.iter().map(|number| (*number, Vec::new())).collect();
    let mut ioctls = Vec::new();

    for type_ in OWN_IOCTLS {
        ioctls.push(ioctl(SeccompCmpOp::MaskedEq(0xff00), type_ << 8)?);
    }
    for role in [SeccompRole::Create, SeccompRole::Thread, SeccompRole::Caller] {
        for call in seccomp_calls(role) {
            match call.request {
                Some(request) => ioctls.push(ioctl(SeccompCmpOp::Eq, request)?),
                None => drop(rules.insert(i64::from(call.number), Vec::new())),
            }
        }
    }
    rules.insert(libc::SYS_ioctl, ioctls);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::KillProcess,
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}
