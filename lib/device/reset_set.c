/* SPDX-License-Identifier: MIT */
#include "device/reset_set.h"

#include <string.h>

bool vfb_reset_is_shared(const struct vfb_pci *a, const struct vfb_pci *b)
{
	size_t length = strlen(a->address);

	if (a->bridge[0] || b->bridge[0])
		return !strcmp(a->bridge, b->bridge);
	/* All but the function's number. */
	return length == strlen(b->address) &&
	       !strncmp(a->address, b->address, length ? length - 1 : 0);
}

bool vfb_reset_is_shared_opening(const struct vfb_pci *a, const struct vfb_pci *b)
{
	return !a->parent[0] && !b->parent[0] && vfb_reset_is_shared(a, b);
}

size_t vfb_reset_set(const void *devices,
		     const struct vfb_pci *(*pci_at)(const void *devices, size_t i), size_t index,
		     vfb_reset_shared_fn *is_shared)
{
	const struct vfb_pci *mine = pci_at(devices, index);

	for (size_t i = 0; i < index; i++) {
		const struct vfb_pci *other = pci_at(devices, i);

		if (other && is_shared(other, mine))
			return i;
	}
	return index;
}
