/* SPDX-License-Identifier: MIT */
/*
 * The doctor on a host with 2000 devices: a tree of real files stands for sysfs and /dev, so that
 * system calls cost what they cost. Prints how long it takes, which depends on the machine.
 */
#include <ftw.h>
#include <linux/vfio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "context.h"
#include "host.h"
#include "sys/uapi.h"

#define DEVICES 2000

/* In memory, where there is such a file system. */
static char root[] = "/dev/shm/vfioboost-XXXXXX", disk_root[] = "/tmp/vfioboost-XXXXXX";
static char *top = root;
/* Those that a doctor must not make. */
static unsigned int other_calls;

struct tree_path {
	char text[512];
};

static struct tree_path tree_path(const char *path)
{
	static const char *const replaced[] = {"/sys/bus/pci",	  "/sys/kernel/iommu_groups",
					       "/sys/class/vfio", "/sys/class/misc",
					       "/dev/vfio",	  "/dev/iommu"};
	struct tree_path result;
	bool inside = false;

	for (size_t i = 0; i < ARRAY_SIZE(replaced); i++)
		inside = inside || !strncmp(path, replaced[i], strlen(replaced[i]));
	snprintf(result.text, sizeof(result.text), "%s%s", inside ? top : "", path);
	return result;
}

static int tree_open(const struct vfb_sys *sys, const char *path, int flags)
{
	return vfb_sys_linux.open(sys, tree_path(path).text, flags);
}

static int tree_list(const struct vfb_sys *sys, const char *path,
		     int (*each)(const char *name, void *arg), void *arg)
{
	return vfb_sys_linux.list(sys, tree_path(path).text, each, arg);
}

static int tree_readlink(const struct vfb_sys *sys, const char *path, char *buf, size_t bytes)
{
	return vfb_sys_linux.readlink(sys, tree_path(path).text, buf, bytes);
}

static int tree_path_info(const struct vfb_sys *sys, const char *path, struct vfb_sys_path *info)
{
	return vfb_sys_linux.path_info(sys, tree_path(path).text, info);
}

static int tree_ioctl(const struct vfb_sys *sys, int fd, unsigned long request, void *arg)
{
	(void)sys;
	(void)fd;
	switch (request) {
	case VFIO_GROUP_GET_STATUS:
		((struct vfio_group_status *)arg)->flags = VFIO_GROUP_FLAGS_VIABLE;
		return 0;
	case VFIO_CHECK_EXTENSION:
		return 1;
	case VFIO_GET_API_VERSION:
	case VFIO_GROUP_SET_CONTAINER:
	case VFIO_SET_IOMMU:
	case VFB_IOMMU_IOAS_ALLOC:
		return 0;
	}
	other_calls++;
	return -ENOTTY;
}

__attribute__((format(printf, 2, 3))) static void make_file(const char *text, const char *format,
							    ...)
{
	char path[512];
	va_list args;
	FILE *file;
	int length = snprintf(path, sizeof(path), "%s", top);

	va_start(args, format);
	vsnprintf(path + length, sizeof(path) - length, format, args);
	va_end(args);
	for (char *slash = strchr(path + length + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(path, 0755);
		*slash = '/';
	}
	if (!strncmp(text, "../", 3)) {
		assert_int_equal(symlink(text, path), 0);
		return;
	}
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void make_device(unsigned int i, const char *address)
{
	char link[128], number[32], device[96];

	snprintf(device, sizeof(device), "/sys/devices/pci0000:00/0000:00:%02x.%x/%.12s",
		 i / 8 % 256, i % 8, address);
	make_file("0x1b36\n", "%s/vendor", device);
	make_file("0x0010\n", "%s/device", device);
	make_file("0x010802\n", "%s/class", device);
	make_file("0\n", "%s/numa_node", device);
	make_file("flr bus\n", "%s/reset_method", device);
	make_file("../../../../bus/pci/drivers/vfio-pci", "%s/driver", device);
	snprintf(link, sizeof(link), "../../../../kernel/iommu_groups/%u", i);
	make_file(link, "%s/iommu_group", device);
	snprintf(number, sizeof(number), "511:%u\n", i);
	make_file(number, "%s/vfio-dev/vfio%u/dev", device, i);
	snprintf(link, sizeof(link), "../../..%s", device + strlen("/sys"));
	make_file(link, "/sys/bus/pci/devices/%s", address);
	make_file("../../../../bus", "/sys/kernel/iommu_groups/%u/devices/%s", i, address);
	make_file("", "/dev/vfio/%u", i);
	make_file("", "/dev/vfio/devices/vfio%u", i);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *ftw)
{
	(void)status;
	(void)type;
	(void)ftw;
	return remove(path);
}

static double seconds_of(struct vfb_ctx *ctx, const struct vfb_doctor_opts *guest)
{
	struct vfb_finding finding = VFB_FINDING_INIT;
	struct vfb_diagnosis *diagnosis;
	unsigned int bound = 0;
	uint64_t begin = vfb_sys_linux.now(&vfb_sys_linux);
	double seconds;

	assert_ok(vfb_doctor_run(ctx, guest, &diagnosis));
	seconds = 1e-9 * (vfb_sys_linux.now(&vfb_sys_linux) - begin);
	for (size_t i = 0; i < vfb_diagnosis_count(diagnosis); i++) {
		assert_ok(vfb_diagnosis_finding(diagnosis, i, &finding));
		bound += !strcmp(finding.id, "device-bound");
		if (*finding.device && finding.severity == VFB_FINDING_FAILS)
			fail_msg("%s: %s", finding.device, finding.text);
	}
	assert_int_equal(bound, DEVICES);
	vfb_diagnosis_destroy(diagnosis);
	return seconds;
}

static void test_many(void **state)
{
	static char addresses_of_all[DEVICES][VFB_PCI_ADDRESS_BYTES];
	static const char *pointers[DEVICES];
	struct vfb_doctor_opts guest = {
		.size = sizeof(guest),
		.devices = pointers,
		.device_count = DEVICES,
	};
	struct vfb_sys sys = vfb_sys_linux;
	struct vfb_ctx *ctx;

	(void)state;
	if (!mkdtemp(top)) {
		top = disk_root;
		assert_non_null(mkdtemp(top));
	}
	for (unsigned int i = 0; i < DEVICES; i++) {
		snprintf(addresses_of_all[i], sizeof(addresses_of_all[i]), "%04x:%02x:00.0",
			 i / 256, i % 256);
		pointers[i] = addresses_of_all[i];
		make_device(i, addresses_of_all[i]);
	}
	make_file("", "/dev/vfio/vfio");
	make_file("", "/dev/iommu");
	sys.open = tree_open;
	sys.list = tree_list;
	sys.readlink = tree_readlink;
	sys.path_info = tree_path_info;
	sys.ioctl = tree_ioctl;
	assert_ok(vfb_ctx_create_with(&sys, NULL, &ctx));
	printf("the doctor takes %.3f s with %d devices,", seconds_of(ctx, NULL), DEVICES);
	printf(" %.3f s when all are requested\n", seconds_of(ctx, &guest));
	assert_int_equal(other_calls, 0);
	assert_ok(vfb_ctx_destroy(ctx));
	nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests_name("a doctor of many", tests, NULL, NULL);
}
