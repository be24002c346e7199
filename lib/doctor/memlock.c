/* SPDX-License-Identifier: MIT */
/* The limit on pinned memory, as the backend that a start would use counts it; and whose it is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dma/choose.h"
#include "doctor/doctor.h"
#include "memory/memory.h"
#include "sys/rights.h"

struct memlock {
	const struct vfb_sys *sys;
	struct vfb_rights rights;
	enum vfb_backend backend;
	/* The soft limit and the hard one; what is counted by now. */
	uint64_t limit, hard, used;
};

/* Max locked memory         65536                unlimited            bytes */
static bool memlock_read_hard(const char *line, void *arg)
{
	struct memlock *memlock = arg;
	char hard[32];

	if (sscanf(line, "Max locked memory %*s %31s", hard) != 1)
		return true;
	memlock->hard = !strcmp(hard, "unlimited") ? UINT64_MAX : strtoull(hard, NULL, 10);
	return false;
}

struct pinned {
	unsigned int uid;
	bool own, locks;
	uint64_t bytes;
};

static bool memlock_read_pinned(const char *line, void *arg)
{
	struct pinned *pinned = arg;
	unsigned int uid;

	if (sscanf(line, "Uid: %u", &uid) == 1)
		pinned->own = uid == pinned->uid;
	else if (!strncmp(line, "VmPin:", 6))
		pinned->bytes = KIB * strtoull(line + 6, NULL, 10);
	else if (!strncmp(line, "CapEff:", 7))
		pinned->locks = strtoull(line + 7, NULL, 16) >> VFB_CAP_IPC_LOCK & 1;
	return true;
}

/* What a process with CAP_IPC_LOCK maps is charged to nobody (iopt_alloc_pages()). */
static int memlock_add_process(const char *name, void *arg)
{
	struct memlock *memlock = arg;
	struct pinned pinned = {.uid = memlock->rights.uid};
	char path[64];

	if (*name < '1' || *name > '9')
		return 0;
	snprintf(path, sizeof(path), "/proc/%.16s/status", name);
	vfb_sys_each_line(memlock->sys, path, memlock_read_pinned, &pinned);
	if (pinned.own && !pinned.locks)
		memlock->used += pinned.bytes;
	return 0;
}

/* type1 counts mm->locked_vm (vfio_lock_acct()), iommufd user->locked_vm (incr_user_locked_vm()).
 */
static void memlock_read_used(struct memlock *memlock)
{
	struct vfb_field locked = {.name = "VmLck", .base = 10};

	if (memlock->backend == VFB_BACKEND_IOMMUFD) {
		memlock->sys->list(memlock->sys, "/proc", memlock_add_process, memlock);
		return;
	}
	vfb_sys_read_fields(memlock->sys, "/proc/self/status", &locked, 1);
	memlock->used = locked.value * KIB;
}

static void memlock_describe(const struct memlock *memlock, uint64_t bytes, char *text, size_t room)
{
	struct vfb_size_text used = vfb_size_text(memlock->used);
	char counted[96];
	size_t length;

	if (memlock->backend == VFB_BACKEND_IOMMUFD)
		snprintf(counted, sizeof(counted),
			 "; iommufd counts all processes of user %u, which have pinned %s",
			 memlock->rights.uid, used.text);
	else
		snprintf(counted, sizeof(counted),
			 "; type1 counts this process, which has locked %s", used.text);
	snprintf(text, room, "RLIMIT_MEMLOCK allows %s to be pinned for devices%s%s%s",
		 vfb_size_text(memlock->limit).text, bytes ? ", the guest has " : "",
		 bytes ? vfb_size_text(bytes).text : "", counted);
	length = strlen(text);
	if (memlock->rights.in_user_namespace && memlock->rights.capabilities)
		snprintf(text + length, room - length,
			 "; CAP_IPC_LOCK in a user namespace does not lift it");
}

static int memlock_add_too_low(struct vfb_diagnosis *diagnosis, const struct memlock *memlock,
			       const char *text)
{
	uint64_t needed = diagnosis->guest->bytes + memlock->used + 64 * MIB;
	const char *grant = memlock->rights.in_user_namespace ? "" : ", or grant CAP_IPC_LOCK";
	char remedy[VFB_FINDING_BYTES];

	if (memlock->hard >= needed)
		snprintf(remedy, sizeof(remedy), "ulimit -l %" PRIu64 "%s", needed / KIB, grant);
	else
		snprintf(remedy, sizeof(remedy),
			 "raise the hard limit, %s, to at least %" PRIu64
			 " KiB: LimitMEMLOCK=infinity (systemd), --ulimit memlock=-1 (docker, "
			 "podman), /etc/security/limits.conf (logins)%s",
			 vfb_size_text(memlock->hard).text, needed / KIB, grant);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMLOCK_TOO_LOW, VFB_FINDING_FAILS, text,
				      remedy);
}

static enum vfb_backend memlock_choose_backend(const struct vfb_diagnosis *diagnosis)
{
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
	char reason[VFB_REASON_BYTES];

	opts.page_size = diagnosis->guest->page_size;
	opts.kind = diagnosis->guest->kind;
	return vfb_choose_backend(diagnosis->ctx, &opts, reason);
}

int vfb_check_memlock(struct vfb_diagnosis *diagnosis)
{
	struct memlock memlock = {.sys = diagnosis->ctx->sys, .hard = UINT64_MAX};
	uint64_t bytes = diagnosis->guest->bytes;
	char text[VFB_FINDING_BYTES];

	vfb_rights_read(memlock.sys, &memlock.rights);
	if (vfb_rights_include(&memlock.rights, VFB_CAP_IPC_LOCK))
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMLOCK, VFB_FINDING_GOOD,
					      "CAP_IPC_LOCK: no limit on pinned memory", "");
	if (memlock.sys->memlock_limit(memlock.sys, &memlock.limit))
		return 0;
	if (memlock.limit == UINT64_MAX)
		return vfb_diagnosis_add_host(
			diagnosis, VFB_FOUND_MEMLOCK, VFB_FINDING_GOOD,
			"RLIMIT_MEMLOCK is unlimited: no limit on pinned memory", "");
	memlock.backend = memlock_choose_backend(diagnosis);
	memlock_read_used(&memlock);
	vfb_sys_each_line(memlock.sys, "/proc/self/limits", memlock_read_hard, &memlock);
	memlock_describe(&memlock, bytes, text, sizeof(text));
	if (memlock.used <= memlock.limit && bytes <= memlock.limit - memlock.used)
		return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_MEMLOCK, VFB_FINDING_GOOD, text,
					      "");
	return memlock_add_too_low(diagnosis, &memlock, text);
}

int vfb_check_user(struct vfb_diagnosis *diagnosis)
{
	struct vfb_rights rights;
	char text[VFB_FINDING_BYTES];

	vfb_rights_read(diagnosis->ctx->sys, &rights);
	if (!rights.in_user_namespace)
		return 0;
	snprintf(text, sizeof(text),
		 "this is user %u of a user namespace, user %u outside of it: capabilities do not "
		 "count for pinned memory, for the nodes of VFIO and for hugepage pools",
		 rights.uid, rights.outer_uid);
	return vfb_diagnosis_add_host(diagnosis, VFB_FOUND_USER_NAMESPACE, VFB_FINDING_GOOD, text,
				      "");
}
