/* SPDX-License-Identifier: MIT */
/* What the doctor finds when it opens the nodes of VFIO, on hosts that cannot be had as machines.
 */
#include "host.h"

static const char group_path[] = "/dev/vfio/1", device_path[] = "/dev/vfio/devices/vfio0";

/* Begins with two devices; the first is requested. */
struct look {
	struct host host;
	struct vfb_diagnosis *diagnosis;
};

static void look_begin(struct look *look, const struct fake_config *config)
{
	host_open(&look->host, config);
	add_devices(look->host.fake, 2);
	look->diagnosis = NULL;
}

static void look_again(struct look *look)
{
	const struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.devices = addresses,
		.device_count = 1,
	};

	vfb_diagnosis_destroy(look->diagnosis);
	assert_ok(vfb_doctor_run(look->host.ctx, &guest, &look->diagnosis));
	/* Whatever it opens, it resets nothing. */
	assert_int_equal(stats_of(&look->host).resets, 0);
}

static void look_end(struct look *look)
{
	vfb_diagnosis_destroy(look->diagnosis);
	host_close(&look->host);
}

/* The finding @id contains both. */
static void assert_contains(const struct look *look, const char *id, const char *text,
			    const char *remedy)
{
	struct vfb_finding finding = VFB_FINDING_INIT;

	for (size_t i = 0; i < vfb_diagnosis_count(look->diagnosis); i++) {
		assert_ok(vfb_diagnosis_finding(look->diagnosis, i, &finding));
		if (strcmp(finding.id, id))
			continue;
		if (!strstr(finding.text, text) || !strstr(finding.remedy, remedy))
			fail_msg("%s: %s -> %s", id, finding.text, finding.remedy);
		return;
	}
	fail_msg("no finding %s", id);
}

/* And is the reason if it is @fatal. */
static void assert_found(struct look *look, const char *id, bool fatal, const char *text,
			 const char *remedy)
{
	struct vfb_finding reason = VFB_FINDING_INIT;

	look_again(look);
	assert_int_equal(vfb_diagnosis_can_start(look->diagnosis, &reason), !fatal);
	if (fatal)
		assert_string_equal(reason.id, id);
	assert_contains(look, id, text, remedy);
}

static void test_open(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, NULL);
	assert_found(&look, "device-bound", false, "IOMMU group 1", "");
	look_end(&look);
}

/* The group is enough, and so is the device node with /dev/iommu; without both, what is said? */
static void test_one_of_two(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, NULL);
	fake_deny(look.host.fake, device_path, EACCES);
	assert_found(&look, "device-bound", false, "", "");
	fake_deny(look.host.fake, device_path, 0);
	fake_deny(look.host.fake, group_path, EACCES);
	assert_found(&look, "device-bound", false, "", "");
	fake_deny(look.host.fake, "/dev/iommu", ENOENT);
	assert_found(&look, "device-no-backend", true, "but /dev/iommu, which goes with it, cannot",
		     "provide /dev/iommu");
	assert_contains(&look, "iommufd-missing", "although the kernel has it (device 10:125)",
			"mknod -m 600 /dev/iommu c 10 125");
	look_end(&look);
}

static void test_denied(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, &(struct fake_config){.uid = 1000});
	fake_deny(look.host.fake, group_path, EACCES);
	fake_deny(look.host.fake, device_path, EACCES);
	assert_found(&look, "device-denied", true,
		     "no permission to open /dev/vfio/1: it belongs to user 0 and group 0, with "
		     "mode 0600, and this is user 1000",
		     "as root: chown 1000 /dev/vfio/1");
	fake_own(look.host.fake, group_path, 0, 108, 0660);
	assert_found(&look, "device-denied", true, "group 108, with mode 0660", "to group 108");
	look_end(&look);
	/* Root is not advised to be root. */
	look_begin(&look, NULL);
	fake_deny(look.host.fake, group_path, EACCES);
	fake_deny(look.host.fake, device_path, EACCES);
	assert_found(&look, "device-denied", true,
		     "although its mode, 0600, allows it: an ACL or a security module",
		     "ausearch -m avc");
	fake_deny(look.host.fake, group_path, EPERM);
	assert_found(&look, "device-denied", true, "the device controller of the cgroup denies it",
		     "DeviceAllow=/dev/vfio/1 rw");
	look_end(&look);
	look_begin(&look, &(struct fake_config){.user_namespace = true, .cap_ipc_lock = true});
	fake_deny(look.host.fake, group_path, EACCES);
	fake_deny(look.host.fake, device_path, EACCES);
	fake_own(look.host.fake, group_path, 65534, 65534, 0600);
	assert_found(&look, "device-denied", true, "a user of the host that this user namespace",
		     "on the host: chown 1000 /dev/vfio/1");
	assert_contains(&look, "user-namespace", "user 1000 outside of it", "");
	look_end(&look);
}

static void test_missing(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, NULL);
	fake_deny(look.host.fake, group_path, ENOENT);
	fake_deny(look.host.fake, device_path, ENOENT);
	assert_found(
		&look, "device-node-missing", true,
		"there is no /dev/vfio/1 in this /dev, although the kernel has it (device 510:1)",
		"mknod -m 600 /dev/vfio/1 c 510 1");
	fake_add_file(look.host.fake, "/proc/self/mountinfo",
		      "24 28 0:5 / /dev rw,nosuid - tmpfs tmpfs rw\n");
	assert_found(&look, "device-node-missing", true, "", "container with --device /dev/vfio/1");
	/* Bound anew since the container was started. */
	fake_deny(look.host.fake, group_path, 0);
	fake_add_file(look.host.fake, "/sys/class/vfio/1/dev", "510:9\n");
	assert_found(&look, "device-node-missing", true,
		     "/dev/vfio/1 is outdated: it is device 510:1, but the kernel's is 510:9",
		     "--device /dev/vfio/1");
	look_end(&look);
	look_begin(&look, NULL);
	fake_deny(look.host.fake, "/dev/vfio/vfio", ENODEV);
	assert_found(&look, "type1-absent", false,
		     "/dev/vfio/vfio exists, but the kernel has nothing behind it", "modprobe");
	fake_deny(look.host.fake, "/dev/iommu", EMFILE);
	assert_found(&look, "iommufd-failed", true, "cannot open /dev/iommu: Too many open files",
		     "");
	look_end(&look);
}

/* Kernels that have only one of the two. */
static void test_kernels(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, &(struct fake_config){.no_type1 = true});
	assert_found(&look, "device-bound", false, "", "");
	fake_deny(look.host.fake, device_path, ENOENT);
	assert_found(&look, "device-node-missing", true, "/dev/vfio/devices/vfio0 in this /dev",
		     "mknod");
	look_end(&look);
	look_begin(&look, &(struct fake_config){.no_cdev = true});
	assert_found(&look, "device-bound", false, "", "");
	fake_deny(look.host.fake, group_path, EIO);
	assert_found(&look, "device-node-failed", true, "cannot open /dev/vfio/1: Input/output",
		     "");
	look_end(&look);
}

static void test_device_alone(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, &(struct fake_config){.uid = 1000});
	fake_deny(look.host.fake, "/dev/iommu", EACCES);
	fake_deny(look.host.fake, group_path, EACCES);
	assert_found(&look, "device-no-backend", true,
		     "/dev/vfio/devices/vfio0 can be opened, but /dev/iommu", "chown 1000");
	look_end(&look);
}

static void test_in_use(void **state)
{
	const struct fake_device busy = {
		.address = addresses[0],
		.group = 1,
		.bridge = "0000:00:01.0",
		.driver = "vfio-pci",
		.busy = FAKE_BUSY_GROUP,
	};
	struct look look;

	(void)state;
	look_begin(&look, NULL);
	fake_add_device(look.host.fake, &busy);
	assert_found(&look, "device-in-use", true, "by a process that /proc does not show here",
		     "fuser -v /dev/vfio/1 /dev/vfio/devices/vfio0");
	fake_add_file(look.host.fake, "/proc/4242/comm", "qemu-system-x86\n");
	fake_add_file(look.host.fake, "/proc/4242/fd/7", "/dev/vfio/2");
	assert_found(&look, "device-in-use", true, "by a process that /proc does not show here",
		     "on the host, as root");
	fake_add_file(look.host.fake, "/proc/4242/fd/8", "/dev/vfio/1 (deleted)");
	fake_add_file(look.host.fake, "/proc/4242/fd/9", "/dev/vfio/devices/vfio0");
	assert_found(&look, "device-in-use", true, "in use by process 4242 (qemu-system-x86)",
		     "end that process");
	fake_add_file(look.host.fake, "/proc/4243/comm", "chv\n");
	fake_add_file(look.host.fake, "/proc/4243/fd/3", "anon_inode:[vfio-device]");
	fake_add_file(look.host.fake, "/proc/4243/fdinfo/3",
		      "pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:01:00.0\n");
	assert_found(&look, "device-in-use", true, ", process 4243 (chv)", "end these processes");
	look_end(&look);
	/* Another user's. */
	look_begin(&look, NULL);
	fake_add_device(look.host.fake, &busy);
	fake_add_file(look.host.fake, "/proc/4242/fd/", "");
	fake_fail_call(look.host.fake, "list:/proc/4242/fd", 0, EACCES);
	assert_found(&look, "device-in-use", true, "the files of 1 processes are hidden",
		     "as root");
	look_end(&look);
}

/* Where only the device node can be opened, only /proc tells that it is in use. */
static void test_in_use_by_node(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, &(struct fake_config){.no_type1 = true});
	fake_add_file(look.host.fake, "/proc/4242/comm", "qemu\n");
	fake_add_file(look.host.fake, "/proc/4242/fd/9", "/dev/vfio/devices/vfio0");
	assert_found(&look, "device-in-use", true, "in use by process 4242 (qemu)", "end");
	look_end(&look);
}

static void test_noiommu(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, NULL);
	fake_add_file(look.host.fake, "/sys/kernel/iommu_groups/1/name", "vfio-noiommu\n");
	fake_add_file(look.host.fake, "/sys/kernel/iommu_groups/2/name", "\n");
	assert_found(&look, "device-noiommu", true, "/dev/vfio/noiommu-1), an unsafe mode that is",
		     "intel_iommu=on");
	assert_contains(&look, "iommu", "with 1 groups", "");
	look_end(&look);
	look_begin(&look, NULL);
	fake_add_file(look.host.fake, "/sys/kernel/iommu_groups/1/name", "vfio-noiommu\n");
	assert_found(&look, "iommu-disabled", true,
		     "VFIO has 1 devices in its unsafe mode without an IOMMU", "VT-d");
	look_end(&look);
}

static void test_attach(void **state)
{
	struct look look;

	(void)state;
	look_begin(&look, NULL);
	fake_fail_call(look.host.fake, "VFIO_SET_IOMMU", 1, EPERM);
	assert_found(&look, "device-attach-failed", true, "does not isolate its interrupts", "");
	look_end(&look);
}

/* A finding of memory locked by the capability of another namespace. */
static void test_memlock(void **state)
{
	struct vfb_doctor_opts guest = {.size = sizeof(guest), .bytes = GIB};
	struct vfb_finding reason = VFB_FINDING_INIT;
	struct vfb_diagnosis *diagnosis;
	struct host host;

	(void)state;
	host_open(&host, &(struct fake_config){.memlock = 1536 * MIB,
					       .cap_ipc_lock = true,
					       .user_namespace = true});
	add_devices(host.fake, 1);
	/* Two processes of the user, and one of another. */
	fake_add_file(host.fake, "/proc/50/status",
		      "Uid:\t0\t0\t0\t0\nVmPin:\t 393216 kB\nCapEff:\t0\n");
	fake_add_file(host.fake, "/proc/51/status",
		      "Uid:\t0\t0\t0\t0\nVmPin:\t 393216 kB\nCapEff:\t0\n");
	fake_add_file(host.fake, "/proc/52/status",
		      "Uid:\t7\t7\t7\t7\nVmPin:\t 393216 kB\nCapEff:\t0\n");
	fake_add_file(
		host.fake, "/proc/self/limits",
		"Max locked memory         65536                1610612736           bytes\n");
	assert_ok(vfb_doctor_run(host.ctx, &guest, &diagnosis));
	assert_int_equal(vfb_diagnosis_can_start(diagnosis, &reason), 0);
	assert_string_equal(reason.id, "memlock-too-low");
	assert_non_null(strstr(reason.text, "the guest has 1 GiB; iommufd counts all processes of "
					    "user 0, which have pinned 768 MiB"));
	assert_non_null(strstr(reason.text, "CAP_IPC_LOCK in a user namespace does not lift it"));
	assert_non_null(strstr(reason.remedy, "raise the hard limit, 1536 MiB"));
	assert_null(strstr(reason.remedy, "grant"));
	vfb_diagnosis_destroy(diagnosis);
	guest.bytes = 768 * MIB;
	assert_ok(vfb_doctor_run(host.ctx, &guest, &diagnosis));
	assert_int_equal(vfb_diagnosis_can_start(diagnosis, &reason), 1);
	vfb_diagnosis_destroy(diagnosis);
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),	cmocka_unit_test(test_one_of_two),
		cmocka_unit_test(test_denied),	cmocka_unit_test(test_missing),
		cmocka_unit_test(test_kernels), cmocka_unit_test(test_device_alone),
		cmocka_unit_test(test_in_use),	cmocka_unit_test(test_in_use_by_node),
		cmocka_unit_test(test_noiommu), cmocka_unit_test(test_attach),
		cmocka_unit_test(test_memlock),
	};

	return cmocka_run_group_tests_name("nodes of the doctor", tests, NULL, NULL);
}
