/* SPDX-License-Identifier: MIT */
/* Interrupts of a device (vfio_pci_core.c, vfio_pci_intrs.c of drivers/vfio/pci). */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "model.h"

static unsigned int irq_count(const struct device *device, unsigned int index)
{
	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
	case VFIO_PCI_ERR_IRQ_INDEX:
	case VFIO_PCI_REQ_IRQ_INDEX:
		return 1;
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return device->config.msix_vectors;
	default:
		return 0;
	}
}

int fk_irq_info(struct device *device, void *arg)
{
	struct vfio_irq_info info;

	memcpy(&info, arg, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.flags = VFIO_IRQ_INFO_EVENTFD;
	if (info.index == VFIO_PCI_INTX_IRQ_INDEX)
		info.flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	else if (info.index != VFIO_PCI_MSIX_IRQ_INDEX || device->config.fixed_msix)
		info.flags |= VFIO_IRQ_INFO_NORESIZE;
	info.count = irq_count(device, info.index);
	memcpy(arg, &info, sizeof(info));
	return 0;
}

static void drop_eventfd(struct irqs *irqs, unsigned int index, unsigned int vector)
{
	if (irqs->fds[index][vector] > 0)
		close(irqs->fds[index][vector]);
	irqs->fds[index][vector] = 0;
	irqs->pending[index][vector] = false;
}

static void disable(struct irqs *irqs, unsigned int index)
{
	for (unsigned int i = 0; i < FAKE_VECTORS; i++)
		drop_eventfd(irqs, index, i);
	irqs->enabled[index] = 0;
	irqs->masked = irqs->masked && index != VFIO_PCI_INTX_IRQ_INDEX;
}

void fk_irq_disable_all(struct device *device)
{
	for (unsigned int i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		disable(&device->irqs, i);
}

/* eventfd_ctx_fdget(): the kernel keeps it open. */
static int take_eventfd(int fd)
{
	char path[64], target[64];
	ssize_t length;
	int copy;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return -EBADF;
	target[length] = '\0';
	if (!strstr(target, "[eventfd]"))
		return -EINVAL;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return copy < 0 ? -EMFILE : copy;
}

static int set_eventfds(struct irqs *irqs, const struct vfio_irq_set *set, const int32_t *fds)
{
	for (unsigned int i = 0; i < set->count; i++) {
		int copy = fds[i] < 0 ? 0 : take_eventfd(fds[i]);

		if (copy < 0) {
			disable(irqs, set->index);
			return copy;
		}
		drop_eventfd(irqs, set->index, set->start + i);
		irqs->fds[set->index][set->start + i] = copy;
	}
	if (set->start + set->count > irqs->enabled[set->index])
		irqs->enabled[set->index] = set->start + set->count;
	return 0;
}

static void deliver(struct irqs *irqs, unsigned int index, unsigned int vector)
{
	if (index == VFIO_PCI_INTX_IRQ_INDEX && irqs->masked) {
		irqs->pending[index][vector] = true;
		return;
	}
	if (irqs->fds[index][vector] > 0)
		eventfd_write(irqs->fds[index][vector], 1);
}

/* vfio_pci_core_request() */
void fk_irq_request(struct fake *fake, struct device *device)
{
	deliver(&device->irqs, VFIO_PCI_REQ_IRQ_INDEX, 0);
	fk_wake_pollers(fake);
}

static int mask(struct irqs *irqs, const struct vfio_irq_set *set, bool masked)
{
	bool *pending = &irqs->pending[VFIO_PCI_INTX_IRQ_INDEX][0];

	if (set->index != VFIO_PCI_INTX_IRQ_INDEX)
		return -ENOTTY;
	if (!irqs->enabled[set->index] || set->start || set->count != 1)
		return -EINVAL;
	irqs->masked = masked;
	if (!masked && *pending) {
		*pending = false;
		deliver(irqs, set->index, 0);
	}
	return 0;
}

static bool excluded(const struct irqs *irqs, unsigned int index)
{
	for (unsigned int i = 0; i <= VFIO_PCI_MSIX_IRQ_INDEX && index <= VFIO_PCI_MSIX_IRQ_INDEX;
	     i++)
		if (i != index && irqs->enabled[i])
			return true;
	return false;
}

static int trigger(struct device *device, const struct vfio_irq_set *set, const int32_t *fds)
{
	struct irqs *irqs = &device->irqs;

	if (set->flags & VFIO_IRQ_SET_DATA_NONE) {
		if (!irqs->enabled[set->index])
			return -EINVAL;
		if (!set->count)
			disable(irqs, set->index);
		for (unsigned int i = 0; i < set->count; i++)
			deliver(irqs, set->index, set->start + i);
		return 0;
	}
	if (excluded(irqs, set->index))
		return -EINVAL;
	if (irqs->enabled[set->index] && device->config.fixed_msix &&
	    set->start + set->count > irqs->enabled[set->index])
		return -EINVAL;
	return set_eventfds(irqs, set, fds);
}

/* vfio_set_irqs_validate_and_prepare() */
int fk_irq_set(struct device *device, void *arg)
{
	struct vfio_irq_set set;
	const int32_t *fds = (void *)((char *)arg + sizeof(set));
	unsigned int count;

	memcpy(&set, arg, sizeof(set));
	if (set.argsz < sizeof(set) || set.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	count = irq_count(device, set.index);
	if (set.start >= count || set.count > count - set.start)
		return -EINVAL;
	if (set.flags & VFIO_IRQ_SET_DATA_EVENTFD &&
	    set.argsz - sizeof(set) < set.count * sizeof(*fds))
		return -EINVAL;
	switch (set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
	case VFIO_IRQ_SET_ACTION_MASK:
		return mask(&device->irqs, &set, true);
	case VFIO_IRQ_SET_ACTION_UNMASK:
		return mask(&device->irqs, &set, false);
	case VFIO_IRQ_SET_ACTION_TRIGGER:
		return trigger(device, &set, fds);
	default:
		return -EINVAL;
	}
}
