/* SPDX-License-Identifier: MIT */
/* Messages of slots, as somebody who means harm would send them. */
#include "host.h"
#include "slot/layout.h"
#include "slot/wire.h"

static size_t make_grant(union vfb_wire *message)
{
	memset(message, 0, sizeof(*message));
	message->grant = (struct vfb_wire_grant){
		.slot = "web-1",
		.class_name = "web",
		.level = 2,
		.backend = VFB_BACKEND_IOMMUFD,
		.page_size = VFB_PAGE_2M,
		.ioas = 1,
		.range_count = 1,
		.device_count = 1,
		.bytes = 4 * MIB,
		.ranges = {{4 * GIB, 0, 4 * MIB}},
		.devices = {"0000:01:00.0"},
	};
	return vfb_wire_finish(message, VFB_WIRE_GRANT);
}

static void test_valid(void **state)
{
	union vfb_wire message, parsed;
	size_t bytes = make_grant(&message);

	(void)state;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), 0);
	assert_memory_equal(&message.grant, &parsed.grant, sizeof(message.grant));
	assert_int_equal(vfb_wire_fd_count(&parsed.grant), 3);
}

static void test_header(void **state)
{
	union vfb_wire message, parsed;
	size_t bytes = make_grant(&message);

	(void)state;
	for (size_t cut = 0; cut < bytes; cut++)
		assert_int_equal(vfb_wire_parse(&message, cut, &parsed), -EPROTO);
	message.header.version = 2;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), -EPROTONOSUPPORT);
	make_grant(&message);
	message.header.type = 200;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), -EPROTO);
	make_grant(&message);
	message.header.reserved = 1;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), -EPROTO);
}

/* Shorter and longer ones, of other versions of the struct. */
static void test_sizes(void **state)
{
	char packet[VFB_WIRE_BYTES] = "";
	union vfb_wire message = {0}, parsed;
	size_t bytes = vfb_wire_finish(&message, VFB_WIRE_LIST);

	(void)state;
	strcpy(message.request.name, "web");
	message.header.bytes = bytes - sizeof(int64_t);
	assert_int_equal(vfb_wire_parse(&message, bytes - sizeof(int64_t), &parsed), 0);
	assert_int_equal(parsed.request.amount, 0);
	message.header.bytes = bytes + 8;
	memcpy(packet, &message, bytes);
	assert_int_equal(vfb_wire_parse(packet, bytes + 8, &parsed), 0);
	packet[bytes + 7] = 1;
	assert_int_equal(vfb_wire_parse(packet, bytes + 8, &parsed), -E2BIG);
}

#define REFUSED(...)                                                      \
	do {                                                              \
		size_t bytes_ = make_grant(&message);                     \
                                                                          \
		__VA_ARGS__;                                              \
		if (vfb_wire_parse(&message, bytes_, &parsed) != -EPROTO) \
			fail_msg("%s was accepted", #__VA_ARGS__);        \
	} while (0)

static void test_values(void **state)
{
	union vfb_wire message, parsed;

	(void)state;
	REFUSED(message.grant.level = 3);
	REFUSED(message.grant.level = 1);
	REFUSED(message.grant.level = 0);
	REFUSED(message.grant.backend = 9);
	REFUSED(message.grant.page_size = VFB_PAGE_AUTO);
	REFUSED(message.grant.page_size = 77);
	REFUSED(message.grant.range_count = VFB_WIRE_RANGES + 1);
	REFUSED(message.grant.range_count = UINT32_MAX);
	REFUSED(message.grant.device_count = VFB_WIRE_DEVICES + 1);
	REFUSED(message.grant.bytes = 0);
	REFUSED(message.grant.bytes = UINT64_MAX - 4095);
	REFUSED(message.grant.bytes = 2 * MIB);
	REFUSED(message.grant.ranges[0].bytes = 0);
	REFUSED(message.grant.ranges[0].bytes = 4 * MIB + 1);
	REFUSED(message.grant.ranges[0].offset = 4 * KIB);
	REFUSED(message.grant.ranges[0].offset = UINT64_MAX - 4095);
	REFUSED(message.grant.ranges[0].iova = UINT64_MAX - 4095);
	REFUSED(memset(message.grant.slot, 'a', VFB_WIRE_NAME));
	REFUSED(message.grant.slot[0] = '\0');
	REFUSED(message.grant.slot[1] = '\n');
	REFUSED(message.grant.class_name[0] = '/');
	REFUSED(memset(message.grant.devices[0], 'a', VFB_WIRE_ADDRESS));
	REFUSED(message.grant.group_count = 2);
	REFUSED(message.grant.device_ids[0] = 1, message.grant.backend = VFB_BACKEND_TYPE1);
	REFUSED(message.grant.backend = VFB_BACKEND_TYPE1, message.grant.group_count = 0);
}

static void test_results(void **state)
{
	union vfb_wire message = {0}, parsed;
	size_t bytes = vfb_wire_finish(&message, VFB_WIRE_FAILED);

	(void)state;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), -EPROTO);
	message.result.error = -EAGAIN;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), 0);
	message.result.error = EAGAIN;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), -EPROTO);
	message.result.error = INT32_MIN;
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), -EPROTO);
	message.result.error = -1;
	strcpy(message.result.text, "two\nlines");
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), 0);
	message.result.text[0] = '\033';
	assert_int_equal(vfb_wire_parse(&message, bytes, &parsed), -EPROTO);
}

static void test_class_names(void **state)
{
	char name[VFB_WIRE_NAME] = "";

	(void)state;
	assert_true(vfb_wire_is_class("web"));
	assert_true(vfb_wire_is_class("Web_2.x-y"));
	assert_false(vfb_wire_is_class(""));
	assert_false(vfb_wire_is_class("."));
	assert_false(vfb_wire_is_class("../etc"));
	assert_false(vfb_wire_is_class("-n"));
	assert_false(vfb_wire_is_class("a b"));
	memset(name, 'a', VFB_WIRE_NAME - 1);
	/* The number of a slot would not fit behind it. */
	assert_false(vfb_wire_is_class(name));
}

/* Everything but the first 2 MiB, without a gap in the memory. */
static void check_q35(const struct vfb_range *ranges, int count, uint64_t bytes)
{
	uint64_t offset = 2 * MIB;

	assert_in_range(count, 1, VFB_LAYOUT_RANGES);
	for (int i = 0; i < count; offset += ranges[i++].bytes) {
		assert_int_equal(ranges[i].offset, offset);
		assert_int_equal(ranges[i].iova, offset < 2 * GIB ? offset : offset + 2 * GIB);
	}
	assert_int_equal(offset, bytes);
}

static void test_layouts(void **state)
{
	struct vfb_range ranges[VFB_LAYOUT_RANGES];

	(void)state;
	assert_int_equal(vfb_layout_ranges("flat", 1 * GIB, ranges), 1);
	assert_true(ranges[0].iova == 4 * GIB && ranges[0].bytes == GIB && !ranges[0].offset);
	/* What firmware may hide at the end of low memory is mapped apart. */
	check_q35(ranges, vfb_layout_ranges("q35", 2 * GIB, ranges), 2 * GIB);
	assert_int_equal(ranges[4].iova, 2 * GIB - MIB);
	check_q35(ranges, vfb_layout_ranges("q35", 4 * GIB, ranges), 4 * GIB);
	assert_true(ranges[5].iova == 4 * GIB && ranges[5].offset == 2 * GIB);
	check_q35(ranges, vfb_layout_ranges("q35", 4 * MIB, ranges), 4 * MIB);
	assert_int_equal(vfb_layout_ranges("ch", 4 * GIB, ranges), 2);
	assert_true(ranges[0].bytes == 3 * GIB && ranges[1].offset == 3 * GIB);
	assert_fails(vfb_layout_ranges("xen", GIB, ranges), -EINVAL, "xen", "q35");
	assert_fails(vfb_layout_ranges("q35", 2 * MIB, ranges), -EINVAL, "2 MiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_valid),	cmocka_unit_test(test_header),
		cmocka_unit_test(test_sizes),	cmocka_unit_test(test_values),
		cmocka_unit_test(test_results), cmocka_unit_test(test_class_names),
		cmocka_unit_test(test_layouts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
