/* SPDX-License-Identifier: MIT */
/*
 * What the unit does, also without systemd. The filter names the system calls that it forbids, like
 * SystemCallFilter=~@privileged: what the C library and the library for VFIO call changes with
 * their versions, and a list of what is allowed would stop the daemon one day.
 */
#include "privileges.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Those of vfioboostd.service, with the reasons there. */
static const int needed[] = {
	CAP_IPC_LOCK, CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE,
	CAP_CHOWN,    CAP_KILL,	      CAP_SYS_RESOURCE,
};

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
/* Those of x32, which have other numbers. */
#define LAST_NUMBER 0x3fffffff
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define LAST_NUMBER  0xffffffff
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define ARCHITECTURE AUDIT_ARCH_PPC64LE
#define LAST_NUMBER  0xffffffff
#elif defined(__s390x__)
#define ARCHITECTURE AUDIT_ARCH_S390X
#define LAST_NUMBER  0xffffffff
#endif

#ifdef ARCHITECTURE
static const int forbidden[] = {
	SYS_mount,
	SYS_umount2,
	SYS_pivot_root,
	SYS_chroot,
	SYS_unshare,
	SYS_setns,
	SYS_ptrace,
	SYS_process_vm_readv,
	SYS_process_vm_writev,
	SYS_init_module,
	SYS_finit_module,
	SYS_delete_module,
	SYS_kexec_load,
	SYS_reboot,
	SYS_swapon,
	SYS_swapoff,
	SYS_bpf,
	SYS_perf_event_open,
	SYS_userfaultfd,
	SYS_add_key,
	SYS_request_key,
	SYS_keyctl,
	SYS_open_by_handle_at,
	SYS_acct,
	SYS_quotactl,
	SYS_settimeofday,
	SYS_clock_settime,
	SYS_adjtimex,
	SYS_clock_adjtime,
	SYS_sethostname,
	SYS_setdomainname,
	SYS_syslog,
	SYS_mknodat,
	SYS_personality,
	SYS_vhangup,
	SYS_move_mount,
	SYS_open_tree,
	SYS_fsopen,
	SYS_fsmount,
	SYS_pidfd_getfd,
#ifdef SYS_iopl
	SYS_iopl,
	SYS_ioperm,
#endif
#ifdef SYS_mknod
	SYS_mknod,
#endif
#ifdef SYS_kexec_file_load
	SYS_kexec_file_load,
#endif
};

#define FORBIDDEN (sizeof(forbidden) / sizeof(forbidden[0]))
#endif

static bool is_needed(int capability)
{
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++)
		if (needed[i] == capability)
			return true;
	return false;
}

/* The bounding set: programs that root runs get no others. The kernel's last one is not known. */
static bool drop_bounding(void)
{
	for (int i = 0; prctl(PR_CAPBSET_READ, i) >= 0; i++)
		if (!is_needed(i) && prctl(PR_CAPBSET_DROP, i) && errno != EPERM)
			return false;
	return true;
}

static bool drop_own(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2] = {{0}};

	if (syscall(SYS_capget, &header, data))
		return false;
	for (int i = 0; i < 64; i++)
		if (!is_needed(i)) {
			data[i / 32].permitted &= ~(UINT32_C(1) << i % 32);
			data[i / 32].effective &= ~(UINT32_C(1) << i % 32);
			data[i / 32].inheritable = 0;
		}
	return !syscall(SYS_capset, &header, data);
}

static bool install_filter(void)
{
#ifdef ARCHITECTURE
	struct sock_filter filter[FORBIDDEN + 7] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, LAST_NUMBER, FORBIDDEN + 1, 0),
	};
	struct sock_fprog program = {.len = FORBIDDEN + 7, .filter = filter};

	for (size_t i = 0; i < FORBIDDEN; i++)
		filter[5 + i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
							     forbidden[i], FORBIDDEN - i, 0);
	filter[5 + FORBIDDEN] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	filter[6 + FORBIDDEN] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
							     SECCOMP_RET_ERRNO | EPERM);
	return !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
#else
	return true;
#endif
}

bool privileges_drop(void)
{
	return drop_bounding() && drop_own() && !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       install_filter();
}
