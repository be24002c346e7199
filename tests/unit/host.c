/* SPDX-License-Identifier: MIT */
#include "host.h"

#include "context.h"
#include "observe/error.h"

const char *const addresses[8] = {
	"0000:01:00.0", "0000:02:00.0", "0000:03:00.0", "0000:04:00.0",
	"0000:05:00.0", "0000:06:00.0", "0000:07:00.0", "0000:08:00.0",
};

void host_open(struct host *host, const struct fake_config *config)
{
	*host = (struct host){.fake = fake_create(config)};
	host->sys = fake_sys(host->fake);
	assert_ok(vfb_ctx_create_with(host->sys, NULL, &host->ctx));
}

void host_space(struct host *host, enum vfb_backend backend)
{
	struct vfb_space_opts opts = {.size = sizeof(opts), .backend = backend};

	assert_ok(vfb_space_create(host->ctx, &opts, &host->space));
	assert_int_equal(info_of(host->space).backend, backend);
}

void host_ready(struct host *host, const struct fake_config *config, enum vfb_backend backend,
		size_t count)
{
	host_open(host, config);
	add_devices(host->fake, count);
	host_space(host, backend);
}

void host_ready_slow(struct host *host, enum vfb_backend backend, size_t count)
{
	host_ready(host, NULL, backend, count - 1);
	fake_add_device(host->fake, &(struct fake_device){.address = addresses[count - 1],
							  .group = count,
							  .bridge = "0000:00:1f.0",
							  .driver = "vfio-pci",
							  .reset_ns = SLOW_NS});
}

void host_start(struct host *host, const struct fake_config *config, enum vfb_backend backend,
		size_t count, struct vfb_device **devices)
{
	host_ready(host, config, backend, count);
	open_devices(host, count, devices);
}

void host_end(struct host *host, struct vfb_device *device, struct vfb_memory *memory)
{
	vfb_device_close(device);
	assert_ok(vfb_space_destroy(host->space));
	host->space = NULL;
	assert_ok(vfb_memory_destroy(memory));
	host_close(host);
}

void host_close(struct host *host)
{
	assert_ok(vfb_space_destroy(host->space));
	assert_ok(vfb_ctx_destroy(host->ctx));
	assert_no_leaks(host->fake);
	fake_destroy(host->fake);
}

void assert_no_leaks(struct fake *fake)
{
	char text[4096];

	if (fake_leaks(fake, text, sizeof(text)))
		fail_msg("left over:\n%s", text);
}

void add_device(struct fake *fake, const char *address, unsigned int group, const char *bridge)
{
	fake_add_device(fake, &(struct fake_device){.address = address,
						    .group = group,
						    .bridge = bridge,
						    .driver = "vfio-pci"});
}

void add_devices(struct fake *fake, size_t count)
{
	char bridge[32];

	for (size_t i = 0; i < count; i++) {
		snprintf(bridge, sizeof(bridge), "0000:00:%02zx.0", i + 1);
		add_device(fake, addresses[i], i + 1, bridge);
	}
}

void add_faulting_device(struct fake *fake, const char *physfn)
{
	const struct fake_device device = {
		.address = addresses[0],
		.group = 1,
		.driver = "vfio-pci",
		.requests_pages = true,
		.physfn = physfn,
	};

	fake_add_device(fake, &device);
}

void open_devices(struct host *host, size_t count, struct vfb_device **devices)
{
	struct vfb_device_request requests[8] = {0};

	for (size_t i = 0; i < count; i++)
		requests[i].address = addresses[i];
	assert_ok(vfb_devices_open(host->space, requests, count, NULL));
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(requests[i].status, 0);
		devices[i] = requests[i].device;
	}
}

void close_devices(struct vfb_device **devices, size_t count)
{
	assert_ok(vfb_devices_close(devices, count, NULL));
}

struct vfb_memory *make_memory(struct host *host, uint64_t bytes, enum vfb_page_size page_size)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_memory *memory;

	opts.bytes = bytes;
	opts.page_size = page_size;
	assert_ok(vfb_memory_create(host->ctx, &opts, &memory));
	return memory;
}

struct vfb_memory_info memory_info_of(struct vfb_memory *memory)
{
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;

	assert_ok(vfb_memory_info(memory, &info));
	return info;
}

char *address_of(struct vfb_memory *memory)
{
	return memory_info_of(memory).address;
}

uint64_t populated_of(struct vfb_memory *memory)
{
	return memory_info_of(memory).populated_bytes;
}

struct vfb_space_info info_of(struct vfb_space *space)
{
	struct vfb_space_info info = VFB_SPACE_INFO_INIT;

	assert_ok(vfb_space_info(space, &info));
	return info;
}

struct fake_stats stats_of(struct host *host)
{
	struct fake_stats stats;

	fake_stats(host->fake, &stats);
	return stats;
}

void assert_mapped(struct host *host, const struct vfb_range *range)
{
	struct fake_iova found;

	fake_iova(host->fake, FAKE_ANY_SPACE, range->iova, range->bytes, &found);
	assert_true(found.mapped);
	assert_ptr_equal(found.address, address_of(range->memory) + range->offset);
	assert_true(found.in_order);
	assert_true(found.pinned == range->bytes);
}

void assert_not_mapped(struct host *host, uint64_t iova)
{
	struct fake_iova found;

	fake_iova(host->fake, FAKE_ANY_SPACE, iova, 4 * KIB, &found);
	assert_false(found.mapped);
}

void clear_last_error(void)
{
	vfb_error_restore("");
}

void check_failure(const char *call, int result, int error, const char *const *words,
		   const char *file, int line)
{
	const char *text = vfb_last_error();

	if (result != error) {
		print_error("%s returned %d, not %d: \"%s\"\n", call, result, error, text);
		_fail(file, line);
	}
	if (!*text) {
		print_error("%s returned %d without a text\n", call, error);
		_fail(file, line);
	}
	for (; *words; words++) {
		if (strstr(text, *words))
			continue;
		print_error("%s: \"%s\" is not in \"%s\"\n", call, *words, text);
		_fail(file, line);
	}
}

void check_success(const char *call, int result, const char *file, int line)
{
	if (result == 0)
		return;
	print_error("%s returned %d: \"%s\"\n", call, result, vfb_last_error());
	_fail(file, line);
}
