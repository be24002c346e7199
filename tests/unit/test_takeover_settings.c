/* SPDX-License-Identifier: MIT */
/* What `vfioboost slots run` writes for the preloaded object is what that reads. */
#include "../../tools/takeover/settings.h"
#include "host.h"

/* As much as a slot can have. */
static void make_settings(struct takeover_settings *settings)
{
	struct vfb_wire_grant *grant = &settings->grant;

	memset(settings, 0, sizeof(*settings));
	settings->verbose = true;
	*grant = (struct vfb_wire_grant){
		.level = 2,
		.backend = VFB_BACKEND_TYPE1,
		.ioas = UINT32_MAX,
		.domain = UINT32_MAX - 1,
		.range_count = VFB_WIRE_RANGES,
		.device_count = VFB_WIRE_DEVICES,
		.group_count = VFB_WIRE_DEVICES,
		.bytes = INT64_MAX - 4095,
	};
	for (size_t i = 0; i < VFB_WIRE_RANGES; i++) {
		grant->ranges[i].iova = UINT64_MAX - (i + 2) * GIB;
		grant->ranges[i].offset = INT64_MAX - GIB;
		grant->ranges[i].bytes = GIB;
	}
	for (size_t i = 0; i < VFB_WIRE_DEVICES; i++) {
		snprintf(grant->devices[i], VFB_WIRE_ADDRESS, "0000:%02zx:00.0", i);
		grant->device_ids[i] = VFB_WIRE_DEVICES - 1 - i;
	}
}

static void test_same(void **state)
{
	struct takeover_settings settings, parsed;
	char text[TAKEOVER_TEXT];

	(void)state;
	make_settings(&settings);
	assert_true(takeover_format(&settings, text));
	assert_true(takeover_parse(text, &parsed));
	assert_memory_equal(&settings, &parsed, sizeof(settings));
}

static void test_invalid(void **state)
{
	struct takeover_settings settings, parsed;
	char text[TAKEOVER_TEXT];
	size_t length;

	(void)state;
	make_settings(&settings);
	assert_true(takeover_format(&settings, text));
	length = strlen(text);
	/* The last address is a word of any length. */
	for (size_t cut = 0; cut < length - 12; cut++) {
		char end = text[cut];

		text[cut] = '\0';
		assert_false(takeover_parse(text, &parsed));
		text[cut] = end;
	}
	assert_true(length + 2 < sizeof(text));
	strcpy(text + length, " 1");
	assert_false(takeover_parse(text, &parsed));
	settings.grant.device_ids[3] = VFB_WIRE_DEVICES;
	assert_true(takeover_format(&settings, text));
	assert_false(takeover_parse(text, &parsed));
	settings.grant.device_count = 0;
	assert_true(takeover_format(&settings, text));
	assert_false(takeover_parse(text, &parsed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_invalid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
