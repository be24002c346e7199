/* SPDX-License-Identifier: MIT */
/* Which devices share a reset. */
#include "device/reset_set.h"
#include "host.h"

static struct vfb_pci pci_of(const char *address, const char *bridge, const char *parent)
{
	struct vfb_pci pci = {.group = -1};

	snprintf(pci.address, sizeof(pci.address), "%s", address);
	snprintf(pci.bridge, sizeof(pci.bridge), "%s", bridge);
	snprintf(pci.parent, sizeof(pci.parent), "%s", parent);
	return pci;
}

static void test_pairs(void **state)
{
	static const struct {
		const char *a, *b;
		const char *bridge_a, *bridge_b;
		bool virtual, closing, opening;
	} pairs[] = {
		/* Below one bridge, whatever they are; below two. */
		{"0000:01:00.0", "0000:01:00.0", "0000:00:01.0", "0000:00:01.0", false, true, true},
		{"0000:01:00.0", "0000:01:02.3", "0000:00:01.0", "0000:00:01.0", false, true, true},
		{"0000:01:00.0", "0000:02:00.0", "0000:00:01.0", "0000:00:02.0", false, false,
		 false},
		{"0000:01:00.0", "0000:00:05.0", "0000:00:01.0", "", false, false, false},
		/* On the root bus: functions of a device. */
		{"0000:00:05.0", "0000:00:05.7", "", "", false, true, true},
		{"0000:00:05.0", "0000:00:06.0", "", "", false, false, false},
		{"0000:00:05.0", "10000:00:05.0", "", "", false, false, false},
		/* A virtual function is opened by itself. */
		{"0000:01:00.0", "0000:01:00.1", "0000:00:01.0", "0000:00:01.0", true, true, false},
		/* What is not known. */
		{"", "", "", "", false, true, true},
		{"", "0000:00:05.0", "", "", false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct vfb_pci a = pci_of(pairs[i].a, pairs[i].bridge_a, "");
		struct vfb_pci b = pci_of(pairs[i].b, pairs[i].bridge_b,
					  pairs[i].virtual ? "0000:01:00.0" : "");

		assert_int_equal(vfb_reset_is_shared(&a, &b), pairs[i].closing);
		assert_int_equal(vfb_reset_is_shared(&b, &a), pairs[i].closing);
		assert_int_equal(vfb_reset_is_shared_opening(&a, &b), pairs[i].opening);
		assert_int_equal(vfb_reset_is_shared_opening(&b, &a), pairs[i].opening);
	}
}

/* One without a group does not count here. */
static const struct vfb_pci *pci_at(const void *devices, size_t i)
{
	const struct vfb_pci *pci = (const struct vfb_pci *)devices + i;

	return pci->group == 0 ? NULL : pci;
}

static void test_sets(void **state)
{
	struct vfb_pci devices[] = {
		pci_of("0000:01:00.0", "0000:00:01.0", ""),
		pci_of("0000:00:05.0", "", ""),
		pci_of("", "", ""),
		pci_of("0000:01:00.1", "0000:00:01.0", ""),
		pci_of("0000:02:00.0", "0000:00:02.0", ""),
		pci_of("0000:02:00.1", "0000:00:02.0", ""),
		pci_of("", "", ""),
		pci_of("0000:01:00.2", "0000:00:01.0", ""),
	};
	static const size_t sets[] = {0, 1, 2, 0, 4, 5, 2, 0};

	(void)state;
	devices[4].group = 0;
	for (size_t i = 0; i < ARRAY_SIZE(devices); i++)
		if (i != 4)
			assert_int_equal(vfb_reset_set(devices, pci_at, i, vfb_reset_is_shared),
					 sets[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_sets),
	};

	return cmocka_run_group_tests_name("reset_set", tests, NULL, NULL);
}
