/* SPDX-License-Identifier: MIT */
/* Devices and spaces that cannot be had: each with its errno, and what to do about it. */
#include "host.h"

static const enum vfb_backend backends[] = {VFB_BACKEND_TYPE1, VFB_BACKEND_IOMMUFD};

#define REFUSED "0000:01:00.0"

/* Opening the device fails, alone and beside a good one, which is closed again. */
#define assert_refused(host, error, ...)                                                \
	do {                                                                            \
		struct vfb_device_request requests[2] = {{.address = addresses[1]},     \
							 {.address = REFUSED}};         \
		struct vfb_device *device = (void *)1;                                  \
                                                                                        \
		assert_fails(vfb_device_open((host)->space, REFUSED, &device), error,   \
			     __VA_ARGS__);                                              \
		assert_null(device);                                                    \
		assert_fails(vfb_devices_open((host)->space, requests, 2, NULL), error, \
			     __VA_ARGS__);                                              \
		assert_int_equal(requests[1].status, error);                            \
		assert_int_equal(requests[0].status, -ECANCELED);                       \
		assert_null(requests[0].device);                                        \
		assert_int_equal(info_of((host)->space).devices, 0);                    \
	} while (0)

/* A host whose first device is as given, and a second one that is well. */
static void open_host(struct host *host, enum vfb_backend backend, struct fake_device device)
{
	device.address = REFUSED;
	host_open(host, NULL);
	add_device(host->fake, addresses[1], 2, "0000:00:02.0");
	fake_add_device(host->fake, &device);
	host_space(host, backend);
}

static void test_unknown(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct host host;

		host_open(&host, NULL);
		add_device(host.fake, addresses[1], 2, NULL);
		host_space(&host, backends[b]);
		assert_refused(&host, -ENODEV, REFUSED, "lspci");
		host_close(&host);
	}
}

static void test_addresses(void **state)
{
	static const char *const bad[] = {"",
					  "nvme0",
					  "1:0.0",
					  "0000:01:00",
					  "0000:01:00.8",
					  "0000:01:00.0 ",
					  "0000:0g:00.0",
					  "000:01:00.0",
					  "../../etc/passwd",
					  "0000:01:00.00",
					  "0000-01-00.0",
					  NULL};
	struct vfb_device_request twice[3] = {{.address = "0000:02:00.0"},
					      {.address = "0000:03:00.0"},
					      {.address = "02:00.0"}};
	struct vfb_device *device;
	struct host host;

	(void)state;
	host_ready(&host, NULL, VFB_BACKEND_TYPE1, 3);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		device = (void *)1;
		assert_fails(vfb_device_open(host.space, bad[i], &device), -EINVAL,
			     "not a PCI address", "0000:01:00.0");
		assert_null(device);
	}
	assert_fails(vfb_devices_open(host.space, twice, 3, NULL), -EINVAL, "0000:02:00.0",
		     "twice");
	assert_int_equal(twice[0].status, -ECANCELED);
	assert_int_equal(twice[2].status, -EINVAL);
	assert_ok(vfb_device_open(host.space, "02:00.0", &device));
	vfb_device_close(device);
	host_close(&host);
}

static void test_driver(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct host host;

		open_host(&host, backends[b], (struct fake_device){.group = 1, .driver = "nvme"});
		assert_refused(&host, -ENXIO, REFUSED, "nvme", "vfio-pci", "vfioboost bind");
		host_close(&host);
		open_host(&host, backends[b], (struct fake_device){.group = 1});
		assert_refused(&host, -ENXIO, REFUSED, "no driver", "vfio-pci");
		host_close(&host);
	}
}

static void test_no_iommu(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct host host;

		open_host(&host, backends[b],
			  (struct fake_device){.no_group = true, .driver = "vfio-pci"});
		assert_refused(&host, -EOPNOTSUPP, REFUSED, "IOMMU", "intel_iommu=on");
		host_close(&host);
	}
}

/* Another device of the group belongs to a host driver. */
static void test_not_viable(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct host host;

		open_host(&host, backends[b],
			  (struct fake_device){.group = 7, .driver = "vfio-pci"});
		fake_add_device(host.fake, &(struct fake_device){
						   .address = "0000:01:00.1",
						   .group = 7,
						   .driver = "snd_hda_intel",
					   });
		assert_refused(&host, -EPERM, REFUSED, "group 7", "not viable",
			       "0000:01:00.1 in it is bound to snd_hda_intel",
			       "vfioboost bind 0000:01:00.1");
		host_close(&host);
	}
}

static void test_no_permission(void **state)
{
	static const char *const nodes[] = {"/dev/vfio/1", "/dev/vfio/devices/vfio1"};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct host host;

		open_host(&host, backends[b],
			  (struct fake_device){.group = 1, .driver = "vfio-pci"});
		fake_deny(host.fake, nodes[0], EACCES);
		fake_deny(host.fake, nodes[b], EACCES);
		assert_refused(&host, -EACCES, nodes[b], "permission", "security module");
		fake_deny(host.fake, nodes[b], EPERM);
		assert_refused(&host, -EACCES, nodes[b], "permission");
		host_close(&host);
	}
}

static void test_busy(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++)
		for (int busy = FAKE_BUSY_GROUP; busy <= FAKE_BUSY_CDEV; busy++) {
			struct host host;

			open_host(&host, backends[b],
				  (struct fake_device){.group = 1,
						       .driver = "vfio-pci",
						       .busy = busy});
			assert_refused(&host, -EBUSY, "in use by another process", "fuser");
			fake_hold(host.fake, 4712, "bystander", "/dev/vfio/2");
			fake_hold(host.fake, 4711, "qemu-kvm",
				  busy == FAKE_BUSY_GROUP ? "/dev/vfio/1" :
							    "/dev/vfio/devices/vfio1");
			assert_refused(&host, -EBUSY, REFUSED, "in use by process 4711 (qemu-kvm)");
			host_close(&host);
		}
}

/* By another space of this process. */
static void test_busy_here(void **state)
{
	(void)state;
	for (size_t b = 0; b < 4; b++) {
		struct vfb_device *device, *again = (void *)1;
		struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;
		struct vfb_space *space;
		struct host host;

		host_start(&host, NULL, backends[b % 2], 1, &device);
		opts.backend = backends[b / 2];
		assert_ok(vfb_space_create(host.ctx, &opts, &space));
		assert_fails(vfb_device_open(space, addresses[0], &again), -EBUSY, addresses[0],
			     "in use by this process");
		assert_null(again);
		assert_ok(vfb_space_destroy(space));
		vfb_device_close(device);
		host_close(&host);
	}
}

/* The firmware keeps a part of memory mapped for it, by its RMRR or IVMD table. */
static void test_firmware(void **state)
{
	(void)state;
	for (size_t b = 0; b < 3; b++) {
		struct fake_device refused = {
			.address = REFUSED,
			.group = 1,
			.driver = "vfio-pci",
			.reserved_first = 0xbdf83000,
			.reserved_last = 0xbdf9ffff,
			.reserved_kind = "direct",
		};
		struct vfb_device *opened;
		struct host host;

		host_open(&host, &(struct fake_config){.no_cdev = b == 2});
		add_device(host.fake, addresses[1], 2, "0000:00:02.0");
		fake_add_device(host.fake, &refused);
		host_space(&host, backends[b > 0]);
		assert_refused(&host, -EPERM, REFUSED, "firmware requires a 1:1 mapping",
			       "0xbdf83000-0xbdf9ffff", "iommu_groups/1/reserved_regions", "RMRR");
		/* VFIO ignores those that matter before the kernel starts only. */
		refused.reserved_kind = "direct-relaxable";
		fake_add_device(host.fake, &refused);
		assert_ok(vfb_device_open(host.space, REFUSED, &opened));
		vfb_device_close(opened);
		host_close(&host);
	}
}

/* EINVAL for which nothing shows a reason: then the text does not claim one. */
static void test_invalid(void **state)
{
	static const char *const calls[] = {"VFIO_GROUP_SET_CONTAINER", "VFIO_DEVICE_BIND_IOMMUFD"};

	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *device;
		struct host host;

		open_host(&host, backends[b],
			  (struct fake_device){.group = 1, .driver = "vfio-pci"});
		fake_fail_call(host.fake, calls[b], 0, EINVAL);
		assert_fails(vfb_device_open(host.space, REFUSED, &device), -EINVAL, REFUSED,
			     calls[b], "nobody else uses it", "possible causes", "cache coherency",
			     "dmesg");
		host_close(&host);
	}
}

/* In this space already. */
static void test_open_twice(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_device *device, *again = (void *)1;
		struct host host;

		host_start(&host, NULL, backends[b], 1, &device);
		assert_fails(vfb_device_open(host.space, addresses[0], &again), -EBUSY,
			     addresses[0], "already");
		assert_null(again);
		assert_int_equal(info_of(host.space).devices, 1);
		vfb_device_close(device);
		host_close(&host);
	}
}

/* A device that cannot reach what is mapped. */
static void test_reserved(void **state)
{
	(void)state;
	for (size_t b = 0; b < 2; b++) {
		struct vfb_range range = {.bytes = 16 * MIB, .iova = GIB};
		struct vfb_device *device, *late = (void *)1;
		struct host host;

		open_host(&host, backends[b],
			  (struct fake_device){.group = 1,
					       .driver = "vfio-pci",
					       .reserved_first = GIB + 8 * MIB,
					       .reserved_last = GIB + 9 * MIB - 1});
		assert_ok(vfb_device_open(host.space, addresses[1], &device));
		range.memory = make_memory(&host, range.bytes, VFB_PAGE_4K);
		assert_ok(vfb_space_map(host.space, &range, 1, NULL));
		assert_fails(vfb_device_open(host.space, REFUSED, &late), -EADDRINUSE, REFUSED,
			     "0x40800000-0x408fffff (reserved, see",
			     "iommu_groups/1/reserved_regions",
			     "where 16 MiB at IOVA 0x40000000 are mapped");
		assert_null(late);
		assert_mapped(&host, &range);
		/* Opened first, it says where not to map. */
		assert_ok(vfb_space_unmap(host.space, &range, 1, NULL));
		assert_ok(vfb_device_open(host.space, REFUSED, &late));
		assert_fails(vfb_space_map(host.space, &range, 1, NULL), -EINVAL, "outside",
			     "0x407fffff");
		close_devices((struct vfb_device *[]){device, late}, 2);
		assert_ok(vfb_memory_destroy(range.memory));
		host_close(&host);
	}
}

/* What the kernel does not have, or does not let us have. */
static void test_spaces(void **state)
{
	static const struct {
		struct fake_config config;
		const char *denied;
		int errors[2];
		const char *words[2][2];
		enum vfb_backend automatic;
	} hosts[] = {
		{.automatic = VFB_BACKEND_IOMMUFD},
		{.config = {.no_iommufd = true, .no_cdev = true},
		 .errors = {0, -ENOTSUP},
		 .words = {{0}, {"6.2", "type1"}},
		 .automatic = VFB_BACKEND_TYPE1},
		{.config = {.no_iommufd = true},
		 .errors = {0, -ENOTSUP},
		 .words = {{0}, {"CONFIG_IOMMUFD", "6.2"}},
		 .automatic = VFB_BACKEND_TYPE1},
		{.config = {.no_cdev = true}, .automatic = VFB_BACKEND_IOMMUFD},
		{.config = {.no_type1 = true},
		 .errors = {-ENOTSUP, 0},
		 .words = {{"/dev/vfio/vfio", "vfio_iommu_type1"}, {0}},
		 .automatic = VFB_BACKEND_IOMMUFD},
		{.denied = "/dev/vfio/vfio",
		 .errors = {-EACCES, 0},
		 .words = {{"/dev/vfio/vfio", "permission"}, {0}},
		 .automatic = VFB_BACKEND_IOMMUFD},
		{.denied = "/dev/iommu",
		 .errors = {0, -EACCES},
		 .words = {{0}, {"/dev/iommu", "permission"}},
		 .automatic = VFB_BACKEND_TYPE1},
	};
	struct vfb_space_opts opts = VFB_SPACE_OPTS_INIT;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct vfb_space *space;
		struct host host;

		host_open(&host, &hosts[i].config);
		add_devices(host.fake, 1);
		if (hosts[i].denied)
			fake_deny(host.fake, hosts[i].denied, EACCES);
		for (size_t b = 0; b < 2; b++) {
			opts.backend = backends[b];
			space = (void *)1;
			if (hosts[i].errors[b]) {
				assert_fails(vfb_space_create(host.ctx, &opts, &space),
					     hosts[i].errors[b], hosts[i].words[b][0],
					     hosts[i].words[b][1]);
				assert_null(space);
			} else {
				assert_ok(vfb_space_create(host.ctx, &opts, &space));
				assert_int_equal(info_of(space).backend, backends[b]);
				assert_ok(vfb_space_destroy(space));
			}
		}
		assert_ok(vfb_space_create(host.ctx, NULL, &host.space));
		assert_int_equal(info_of(host.space).backend, hosts[i].automatic);
		host_close(&host);
	}
}

/* A kernel with another interface, or without the type1 driver behind the container. */
static void test_container(void **state)
{
	static const char *const calls[] = {"VFIO_GET_API_VERSION", "VFIO_CHECK_EXTENSION"};
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = VFB_BACKEND_TYPE1};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct vfb_space *space = (void *)1;
		struct host host;

		host_open(&host, NULL);
		fake_fail_call(host.fake, calls[i], 1, ENOTTY);
		assert_fails(vfb_space_create(host.ctx, &opts, &space), -ENOTSUP,
			     i ? "vfio_iommu_type1" : "version");
		assert_null(space);
		opts.backend = (enum vfb_backend)77;
		assert_fails(vfb_space_create(host.ctx, &opts, &space), -EINVAL, "77");
		opts.backend = VFB_BACKEND_TYPE1;
		host_close(&host);
	}
}

/* The IOMMU cannot isolate interrupts. */
static void test_unsafe_interrupts(void **state)
{
	struct host host;

	(void)state;
	open_host(&host, VFB_BACKEND_TYPE1, (struct fake_device){.group = 1, .driver = "vfio-pci"});
	fake_fail_call(host.fake, "VFIO_SET_IOMMU", 0, EPERM);
	assert_fails(vfb_device_open(host.space, REFUSED, &(struct vfb_device *){NULL}), -EPERM,
		     REFUSED, "vfio_iommu_type1.allow_unsafe_interrupts");
	host_close(&host);

	host_ready(&host, &(struct fake_config){.no_remapping = true}, VFB_BACKEND_IOMMUFD, 1);
	fake_fail_call(host.fake, "VFIO_DEVICE_BIND_IOMMUFD", 0, EPERM);
	assert_fails(vfb_device_open(host.space, REFUSED, &(struct vfb_device *){NULL}), -EPERM,
		     REFUSED, "interrupts", "iommufd.allow_unsafe_interrupts");
	host_close(&host);
	/* They are isolated, so the reason is another. */
	host_ready(&host, NULL, VFB_BACKEND_IOMMUFD, 1);
	fake_fail_call(host.fake, "VFIO_DEVICE_BIND_IOMMUFD", 0, EPERM);
	fake_hold(host.fake, 4711, "qemu-kvm", "/dev/vfio/devices/vfio0");
	assert_fails(vfb_device_open(host.space, REFUSED, &(struct vfb_device *){NULL}), -EPERM,
		     "group 1", "process 4711 (qemu-kvm) has one of them open");
	host_close(&host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_driver),
		cmocka_unit_test(test_no_iommu),
		cmocka_unit_test(test_not_viable),
		cmocka_unit_test(test_no_permission),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_open_twice),
		cmocka_unit_test(test_busy_here),
		cmocka_unit_test(test_firmware),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_spaces),
		cmocka_unit_test(test_container),
		cmocka_unit_test(test_unsafe_interrupts),
	};

	return cmocka_run_group_tests_name("refused devices", tests, NULL, NULL);
}
