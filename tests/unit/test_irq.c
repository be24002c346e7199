/* SPDX-License-Identifier: MIT */
/* Interrupts: enabling, masking, what is refused. */
#include <sys/eventfd.h>
#include <unistd.h>

#include "host.h"

#define NAME "0000:01:00.0"

struct fixture {
	struct host host;
	struct vfb_device *device;
	int eventfds[3];
};

static void begin(struct fixture *f, const struct fake_device *also)
{
	struct fake_device config = *also;

	host_open(&f->host, NULL);
	config.address = NAME;
	config.driver = "vfio-pci";
	config.bridge = "0000:00:01.0";
	fake_add_device(f->host.fake, &config);
	host_space(&f->host, VFB_BACKEND_TYPE1);
	assert_ok(vfb_device_open(f->host.space, NAME, &f->device));
	for (int i = 0; i < 3; i++)
		f->eventfds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void end(struct fixture *f)
{
	for (int i = 0; i < 3; i++)
		close(f->eventfds[i]);
	vfb_device_close(f->device);
	host_close(&f->host);
}

/* How often it was signalled since the last time. */
static unsigned int signals(int fd)
{
	eventfd_t value = 0;

	return eventfd_read(fd, &value) ? 0 : value;
}

static void test_info(void **state)
{
	struct vfb_irq_info info = VFB_IRQ_INFO_INIT;
	struct fixture f;

	(void)state;
	begin(&f, &(struct fake_device){.fixed_msix = true});
	assert_ok(vfb_irq_info(f.device, VFB_IRQ_INTX, &info));
	assert_int_equal(info.vectors, 1);
	assert_int_equal(info.flags, VFB_IRQ_MASKABLE | VFB_IRQ_AUTOMASKED);
	assert_ok(vfb_irq_info(f.device, VFB_IRQ_MSIX, &info));
	assert_int_equal(info.vectors, 64);
	assert_int_equal(info.flags, VFB_IRQ_NORESIZE);
	assert_ok(vfb_irq_info(f.device, VFB_IRQ_MSI, &info));
	assert_int_equal(info.vectors, 0);
	assert_fails(vfb_irq_info(f.device, 5, &info), -EINVAL, NAME, "kind 5");
	assert_fails(vfb_irq_info(f.device, -1, &info), -EINVAL, NAME, "kind -1");
	/* Conventional PCI has no report of errors. */
	fake_fail_call(f.host.fake, "VFIO_DEVICE_GET_IRQ_INFO", 1, EINVAL);
	assert_ok(vfb_irq_info(f.device, VFB_IRQ_ERROR, &info));
	assert_int_equal(info.vectors, 0);
	fake_fail_call(f.host.fake, "VFIO_DEVICE_GET_IRQ_INFO", 1, EIO);
	assert_fails(vfb_irq_info(f.device, VFB_IRQ_MSIX, &info), -EIO, NAME, "MSI-X");
	end(&f);
}

/* Many vectors with one call; each has its own eventfd, or none. */
static void test_vectors(void **state)
{
	struct fixture f;
	int fds[3], none = -1;

	(void)state;
	begin(&f, &(struct fake_device){0});
	memcpy(fds, f.eventfds, sizeof(fds));
	fds[1] = -1;
	fake_fail_call(f.host.fake, "VFIO_DEVICE_SET_IRQS", 2, EIO);
	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 5, fds, 3));
	fake_fail_none(f.host.fake);
	assert_ok(vfb_irq_trigger(f.device, VFB_IRQ_MSIX, 5, 3));
	assert_ok(vfb_irq_trigger(f.device, VFB_IRQ_MSIX, 7, 1));
	assert_int_equal(signals(f.eventfds[0]), 1);
	assert_int_equal(signals(f.eventfds[1]), 0);
	assert_int_equal(signals(f.eventfds[2]), 2);
	/* Another eventfd, and a vector more; the caller may close his. */
	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 5, &none, 1));
	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 8, &f.eventfds[1], 1));
	assert_ok(vfb_irq_trigger(f.device, VFB_IRQ_MSIX, 5, 4));
	assert_int_equal(signals(f.eventfds[0]), 0);
	assert_int_equal(signals(f.eventfds[1]), 1);
	assert_ok(vfb_irq_disable(f.device, VFB_IRQ_MSIX));
	assert_fails(vfb_irq_trigger(f.device, VFB_IRQ_MSIX, 5, 1), -EINVAL, NAME,
		     "which is not enabled");
	assert_ok(vfb_irq_disable(f.device, VFB_IRQ_MSIX));
	/* Closing disables. */
	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_INTX, 0, f.eventfds, 1));
	end(&f);
}

static void test_mask(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, &(struct fake_device){0});
	assert_fails(vfb_irq_mask(f.device, VFB_IRQ_INTX, 0, 1), -EINVAL, NAME, "cannot mask INTx");
	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_INTX, 0, f.eventfds, 1));
	assert_ok(vfb_irq_mask(f.device, VFB_IRQ_INTX, 0, 1));
	assert_ok(vfb_irq_trigger(f.device, VFB_IRQ_INTX, 0, 1));
	assert_int_equal(signals(f.eventfds[0]), 0);
	assert_ok(vfb_irq_unmask(f.device, VFB_IRQ_INTX, 0, 1));
	assert_int_equal(signals(f.eventfds[0]), 1);
	assert_ok(vfb_irq_disable(f.device, VFB_IRQ_INTX));
	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 0, f.eventfds, 1));
	assert_fails(vfb_irq_mask(f.device, VFB_IRQ_MSIX, 0, 1), -ENOTSUP, NAME, "MSI-X", "-1");
	end(&f);
}

static void test_refused(void **state)
{
	struct fixture f;
	int wrong[2];

	(void)state;
	begin(&f, &(struct fake_device){.msix_vectors = 4, .fixed_msix = true});
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 2, f.eventfds, 3), -ERANGE, NAME,
		     "4 vectors of MSI-X", "3 from number 2");
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_MSIX, UINT32_MAX, f.eventfds, 3), -ERANGE,
		     "4 vectors");
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_MSI, 0, f.eventfds, 1), -ERANGE, "0 vectors");
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 0, f.eventfds, 0), -EINVAL,
		     "no vectors");
	assert_fails(vfb_irq_enable(f.device, 9, 0, f.eventfds, 1), -EINVAL, "kind 9");
	assert_fails(vfb_irq_disable(f.device, 9), -EINVAL, "kind 9");
	/* A file that is no eventfd: nothing is left enabled. */
	wrong[0] = f.eventfds[0];
	wrong[1] = STDIN_FILENO;
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 0, wrong, 2), -EINVAL, "eventfd");
	wrong[1] = 100000;
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 0, wrong, 2), -EBADF, "eventfd");

	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 0, f.eventfds, 2));
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_INTX, 0, f.eventfds, 1), -EBUSY, "MSI-X",
		     "before INTx");
	assert_fails(vfb_irq_enable(f.device, VFB_IRQ_MSIX, 2, f.eventfds, 1), -EBUSY,
		     "2 vectors of MSI-X", "at once");
	/* Those that are not of the bus get along with any. */
	assert_ok(vfb_irq_enable(f.device, VFB_IRQ_REQUEST, 0, f.eventfds, 1));
	fake_fail_call(f.host.fake, "VFIO_DEVICE_SET_IRQS", 1, ENOMEM);
	assert_fails(vfb_irq_disable(f.device, VFB_IRQ_MSIX), -ENOMEM, "cannot disable MSI-X");
	assert_ok(vfb_irq_disable(f.device, VFB_IRQ_MSIX));
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_info),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("irq", tests, NULL, NULL);
}
