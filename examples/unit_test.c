/* SPDX-License-Identifier: MIT */
/*
 * Unit tests of a VMM without devices, privileges or waiting: its code runs over a fake kernel.
 *
 *	cc unit_test.c $(pkg-config --cflags --libs libvfioboost-fake cmocka)
 *
 * Here, guest_start() and guest_stop() stand for the VMM.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <vfioboost.h>
#include <vfioboost/fake.h>

#include <cmocka.h>

#define MS  UINT64_C(1000000)
#define GIB (UINT64_C(1) << 30)

/* ---- The code under test ---- */

struct guest {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_memory *memory;
	struct vfb_device *disk;
};

static void guest_stop(struct guest *guest)
{
	vfb_device_close(guest->disk);
	vfb_space_destroy(guest->space);
	vfb_memory_destroy(guest->memory);
	vfb_ctx_destroy(guest->ctx);
	memset(guest, 0, sizeof(*guest));
}

static int guest_start(struct guest *guest, uint64_t bytes, const char *disk)
{
	struct vfb_memory_opts memory = VFB_MEMORY_OPTS_INIT;
	struct vfb_range ram = {.bytes = bytes};
	int error;

	memset(guest, 0, sizeof(*guest));
	memory.bytes = bytes;
	error = vfb_ctx_create(NULL, &guest->ctx);
	if (!error)
		error = vfb_space_create(guest->ctx, NULL, &guest->space);
	if (!error)
		error = vfb_memory_create(guest->ctx, &memory, &guest->memory);
	ram.memory = guest->memory;
	if (!error)
		error = vfb_device_open(guest->space, disk, &guest->disk);
	if (!error)
		error = vfb_space_map(guest->space, &ram, 1, NULL);
	if (error)
		guest_stop(guest);
	return error;
}

/* ---- The tests ---- */

#define DISK "0000:01:00.0"

/* A machine with a disk whose reset takes @reset_ns. */
static struct vfb_fake *make_machine(uint64_t reset_ns)
{
	struct vfb_fake_device disk = VFB_FAKE_DEVICE_INIT;
	struct vfb_fake *fake;

	disk.address = DISK;
	disk.reset_ns = reset_ns;
	assert_int_equal(vfb_fake_create(NULL, &fake), 0);
	assert_int_equal(vfb_fake_add_device(fake, &disk), 0);
	return fake;
}

/* Whatever happened, everything must have been released. */
static void destroy_machine(struct vfb_fake *fake)
{
	char text[4096];

	if (vfb_fake_leaks(fake, text, sizeof(text)))
		fail_msg("not released:\n%s", text);
	assert_int_equal(vfb_fake_destroy(fake), 0);
}

static void the_disk_sees_the_guests_memory(void **state)
{
	struct vfb_fake *fake = make_machine(0);
	struct vfb_memory_info info = VFB_MEMORY_INFO_INIT;
	struct guest guest;

	(void)state;
	assert_int_equal(guest_start(&guest, GIB, DISK), 0);
	assert_int_equal(vfb_fake_dma_write(fake, DISK, 0x1000, "sector", 7), 0);
	assert_int_equal(vfb_memory_info(guest.memory, &info), 0);
	assert_string_equal((char *)info.address + 0x1000, "sector");
	guest_stop(&guest);
	destroy_machine(fake);
}

/* Ten seconds of resets take no time here, and exactly ten there. */
static void a_slow_disk_is_waited_for(void **state)
{
	struct vfb_fake *fake = make_machine(5000 * MS);
	uint64_t begin = vfb_fake_now(fake);
	struct guest guest;

	(void)state;
	assert_int_equal(guest_start(&guest, GIB, DISK), 0);
	guest_stop(&guest);
	assert_in_range(vfb_fake_now(fake) - begin, 10000 * MS, 11000 * MS);
	destroy_machine(fake);
}

static void a_failed_map_is_reported(void **state)
{
	struct vfb_fake *fake = make_machine(0);
	struct guest guest;

	(void)state;
	assert_int_equal(vfb_fake_fail(fake, "IOMMU_IOAS_MAP", 1, ENOMEM), 0);
	assert_int_equal(guest_start(&guest, GIB, DISK), -ENOMEM);
	assert_non_null(strstr(vfb_last_error(), "cannot map"));
	assert_string_equal(vfb_fake_failed(fake), "IOMMU_IOAS_MAP");
	destroy_machine(fake);
}

/* Each call of the kernel fails once: the guest starts nonetheless, or leaves nothing behind. */
static void no_failure_leaves_anything_behind(void **state)
{
	unsigned int n = 0;

	(void)state;
	for (;;) {
		struct vfb_fake *fake = make_machine(0);
		struct guest guest;
		const char *failed;
		int error;

		vfb_fake_fail_nth(fake, ++n, 0);
		error = guest_start(&guest, GIB / 64, DISK);
		failed = vfb_fake_failed(fake);
		vfb_fake_fail_none(fake);
		if (!error)
			guest_stop(&guest);
		destroy_machine(fake);
		if (!failed)
			break;
	}
	assert_true(n > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_disk_sees_the_guests_memory),
		cmocka_unit_test(a_slow_disk_is_waited_for),
		cmocka_unit_test(a_failed_map_is_reported),
		cmocka_unit_test(no_failure_leaves_anything_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
