/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vfioboost/irq.h>

#include "device/device.h"
#include "observe/error.h"
#include "options.h"
#include "sys/uapi.h"

static const char *const names[VFB_IRQ_COUNT] = {
	[VFB_IRQ_INTX] = "INTx",      [VFB_IRQ_MSI] = "MSI",	     [VFB_IRQ_MSIX] = "MSI-X",
	[VFB_IRQ_ERROR] = "an error", [VFB_IRQ_REQUEST] = "request",
};

_Static_assert((int)VFB_IRQ_INTX == VFIO_PCI_INTX_IRQ_INDEX &&
		       (int)VFB_IRQ_MSI == VFIO_PCI_MSI_IRQ_INDEX &&
		       (int)VFB_IRQ_MSIX == VFIO_PCI_MSIX_IRQ_INDEX &&
		       (int)VFB_IRQ_ERROR == VFIO_PCI_ERR_IRQ_INDEX &&
		       (int)VFB_IRQ_REQUEST == VFIO_PCI_REQ_IRQ_INDEX,
	       "kinds have the kernel's numbers");

static int read_irq(const struct vfb_device *device, enum vfb_irq irq, struct vfio_irq_info *info)
{
	const struct vfb_sys *sys = device->ctx->sys;
	int error;

	*info = (struct vfio_irq_info){.argsz = sizeof(*info), .index = irq};
	if ((unsigned int)irq >= VFB_IRQ_COUNT || (unsigned int)irq >= device->irqs)
		return vfb_fail(-EINVAL, "device %s has no interrupts of kind %d",
				device->pci.address, (int)irq);
	error = sys->ioctl(sys, device->fd, VFIO_DEVICE_GET_IRQ_INFO, info);
	/* vfio_pci_ioctl_get_irq_info(): no PCI Express, and so no report of errors. */
	if (error == -EINVAL) {
		info->count = 0;
		return 0;
	}
	if (error)
		return vfb_fail_errno(error, "cannot read the %s interrupts of device %s",
				      names[irq], device->pci.address);
	return 0;
}

int vfb_irq_info(const struct vfb_device *device, enum vfb_irq irq, struct vfb_irq_info *info)
{
	struct vfb_irq_info known = {0};
	struct vfio_irq_info kernel;
	int error = read_irq(device, irq, &kernel);

	if (error)
		return error;
	known.vectors = kernel.count;
	if (kernel.flags & VFIO_IRQ_INFO_MASKABLE)
		known.flags |= VFB_IRQ_MASKABLE;
	if (kernel.flags & VFIO_IRQ_INFO_AUTOMASKED)
		known.flags |= VFB_IRQ_AUTOMASKED;
	if (kernel.flags & VFIO_IRQ_INFO_NORESIZE)
		known.flags |= VFB_IRQ_NORESIZE;
	return vfb_struct_write(info, &known, sizeof(known));
}

/* The device has these vectors. */
static int check_vectors(const struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			 unsigned int count, struct vfio_irq_info *info)
{
	int error = read_irq(device, irq, info);

	if (error)
		return error;
	if (!count)
		return vfb_fail(-EINVAL, "no vectors of device %s were given", device->pci.address);
	if (first >= info->count || count > info->count - first)
		return vfb_fail(-ERANGE,
				"device %s has %u vectors of %s, %u from number %u on are beyond "
				"them",
				device->pci.address, info->count, names[irq], count, first);
	return 0;
}

/* VFIO_DEVICE_SET_IRQS; what it returns. */
static int set_irqs(const struct vfb_device *device, enum vfb_irq irq, uint32_t flags,
		    unsigned int first, unsigned int count)
{
	const struct vfb_sys *sys = device->ctx->sys;
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = flags,
		.index = irq,
		.start = first,
		.count = count,
	};

	return sys->ioctl(sys, device->fd, VFIO_DEVICE_SET_IRQS, &set);
}

static int set_eventfds(const struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			const int *eventfds, unsigned int count)
{
	const struct vfb_sys *sys = device->ctx->sys;
	size_t bytes = sizeof(struct vfio_irq_set) + count * sizeof(*eventfds);
	struct vfio_irq_set *set = malloc(bytes);
	int result;

	if (!set)
		return vfb_fail_memory();
	*set = (struct vfio_irq_set){
		.argsz = bytes,
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = irq,
		.start = first,
		.count = count,
	};
	memcpy(set->data, eventfds, count * sizeof(*eventfds));
	result = sys->ioctl(sys, device->fd, VFIO_DEVICE_SET_IRQS, set);
	free(set);
	/* vfio_msi_enable(): so many could have been had. */
	if (result > 0)
		return vfb_fail(-ENOSPC,
				"the host has %d vectors left for device %s, %u are too many: ask "
				"for fewer",
				result, device->pci.address, first + count);
	if (result)
		return vfb_fail_errno(result,
				      "cannot enable %u vectors of %s of device %s (each must be "
				      "an eventfd, or -1)",
				      count, names[irq], device->pci.address);
	return 0;
}

/* What is enabled is looked up here, since the kernel answers all of this with EINVAL. */
static int check_enabled(struct vfb_device *device, enum vfb_irq irq, unsigned int end,
			 uint32_t flags)
{
	unsigned int vectors[VFB_IRQ_COUNT];

	pthread_mutex_lock(&device->lock);
	memcpy(vectors, device->irq_vectors, sizeof(vectors));
	pthread_mutex_unlock(&device->lock);
	for (enum vfb_irq other = VFB_IRQ_INTX; other <= VFB_IRQ_MSIX && irq <= VFB_IRQ_MSIX;
	     other++)
		if (other != irq && vectors[other])
			return vfb_fail(-EBUSY, "%s of device %s is enabled: disable it before %s",
					names[other], device->pci.address, names[irq]);
	if (vectors[irq] && end > vectors[irq] && flags & VFIO_IRQ_INFO_NORESIZE)
		return vfb_fail(-EBUSY,
				"%u vectors of %s of device %s are enabled, none can be added: "
				"disable them, and enable all at once",
				vectors[irq], names[irq], device->pci.address);
	return 0;
}

int vfb_irq_enable(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
		   const int *eventfds, unsigned int count)
{
	struct vfio_irq_info info;
	int error = check_vectors(device, irq, first, count, &info);

	if (error)
		return error;
	if (!eventfds)
		return vfb_fail(-EINVAL, "the eventfds of %u vectors of device %s are NULL", count,
				device->pci.address);
	error = check_enabled(device, irq, first + count, info.flags);
	if (!error)
		error = set_eventfds(device, irq, first, eventfds, count);
	if (error)
		return error;
	pthread_mutex_lock(&device->lock);
	if (first + count > device->irq_vectors[irq])
		device->irq_vectors[irq] = first + count;
	pthread_mutex_unlock(&device->lock);
	return 0;
}

static void note_disabled(struct vfb_device *device, enum vfb_irq irq)
{
	pthread_mutex_lock(&device->lock);
	device->irq_vectors[irq] = 0;
	pthread_mutex_unlock(&device->lock);
}

static bool is_enabled(struct vfb_device *device, enum vfb_irq irq)
{
	bool enabled;

	pthread_mutex_lock(&device->lock);
	enabled = device->irq_vectors[irq];
	pthread_mutex_unlock(&device->lock);
	return enabled;
}

static int irq_disable(struct vfb_device *device, enum vfb_irq irq)
{
	int error;

	if (!is_enabled(device, irq))
		return 0;
	error = set_irqs(device, irq, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0);
	if (error)
		return vfb_fail_errno(error, "cannot disable %s of device %s", names[irq],
				      device->pci.address);
	note_disabled(device, irq);
	return 0;
}

int vfb_irq_disable(struct vfb_device *device, enum vfb_irq irq)
{
	struct vfio_irq_info info;
	int error = read_irq(device, irq, &info);

	return error ? error : irq_disable(device, irq);
}

void vfb_irq_disable_all(struct vfb_device *device)
{
	/* What fails here is disabled when the device is closed. */
	for (enum vfb_irq irq = 0; irq < VFB_IRQ_COUNT; irq++)
		irq_disable(device, irq);
}

static int irq_set_action(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
			  unsigned int count, uint32_t action, const char *verb)
{
	struct vfio_irq_info info;
	int error = check_vectors(device, irq, first, count, &info);

	if (error)
		return error;
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER && !(info.flags & VFIO_IRQ_INFO_MASKABLE))
		return vfb_fail(-ENOTSUP,
				"the kernel does not mask %s: mask it at device %s, or let "
				"vfb_irq_enable() give it the eventfd -1",
				names[irq], device->pci.address);
	error = set_irqs(device, irq, VFIO_IRQ_SET_DATA_NONE | action, first, count);
	if (error)
		return vfb_fail_errno(error, "cannot %s %s of device %s%s", verb, names[irq],
				      device->pci.address,
				      is_enabled(device, irq) ? "" : ", which is not enabled");
	return 0;
}

int vfb_irq_mask(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
		 unsigned int count)
{
	return irq_set_action(device, irq, first, count, VFIO_IRQ_SET_ACTION_MASK, "mask");
}

int vfb_irq_unmask(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
		   unsigned int count)
{
	return irq_set_action(device, irq, first, count, VFIO_IRQ_SET_ACTION_UNMASK, "unmask");
}

int vfb_irq_trigger(struct vfb_device *device, enum vfb_irq irq, unsigned int first,
		    unsigned int count)
{
	return irq_set_action(device, irq, first, count, VFIO_IRQ_SET_ACTION_TRIGGER, "trigger");
}
