/* SPDX-License-Identifier: MIT */
/*
 * Files of sysfs that change a device, its driver, or the devices there are, when they are
 * written; files a test has added.
 */
#include "sysfs.h"

static struct device *named(struct fake *fake, const char *text, size_t length)
{
	for (struct device *d = fake->devices; d; d = d->next)
		if (strlen(d->address) == length && !strncmp(d->address, text, length))
			return d;
	return NULL;
}

/* The device whose attribute that is. */
static struct device *device_of(struct fake *fake, const char *path, const char *attribute)
{
	const char *rest = after(path, "/sys/bus/pci/devices/");

	return rest && strlen(rest) > 12 && !strcmp(rest + 12, attribute) ? named(fake, rest, 12) :
									    NULL;
}

bool fk_sysfs_binds(struct fake *fake, const char *path)
{
	char driver[32], action[8];

	return device_of(fake, path, "/driver_override") || device_of(fake, path, "/remove") ||
	       device_of(fake, path, "/reset_method") || !strcmp(path, "/sys/bus/pci/rescan") ||
	       (sscanf(path, "/sys/bus/pci/drivers/%31[^/]/%7s", driver, action) == 2 &&
		(!strcmp(action, "bind") || !strcmp(action, "unbind")));
}

static int unbind(struct fake *fake, struct device *device, const char *driver)
{
	if (strcmp(device->driver, driver))
		return -ENODEV;
	fk_device_leave(fake, device);
	return 0;
}

static int bind(struct fake *fake, struct device *device, const char *driver)
{
	const char *wanted = device->override[0]   ? device->override :
			     device->config.driver ? device->native :
						     "";

	if (device->driver[0])
		return -EBUSY;
	if (strcmp(wanted, driver))
		return -ENODEV;
	snprintf(device->driver, sizeof(device->driver), "%s", driver);
	if (fk_device_is_vfio(device) && !device->has_index) {
		device->index = fake->next_index++;
		device->has_index = true;
	}
	return 0;
}

/* reset_method_store(): nothing, all that it can, or names, which are not looked at. */
static void set_reset_method(struct device *device, const char *text, size_t bytes)
{
	const char *all = device->bridge[0] ? "flr bus" : "flr";
	size_t length = strcspn(text, "\n");

	if (!strncmp(text, "default", 7))
		snprintf(device->reset_method, sizeof(device->reset_method), "%s", all);
	else
		snprintf(device->reset_method, sizeof(device->reset_method), "%.*s",
			 (int)(length < bytes ? length : bytes), text);
}

int fk_sysfs_bind(struct fake *fake, const char *path, const char *text, size_t bytes)
{
	struct device *device = device_of(fake, path, "/driver_override");
	char driver[32], action[8];

	if (!strcmp(path, "/sys/bus/pci/rescan")) {
		fk_rescan(fake);
		return 0;
	}
	if (device_of(fake, path, "/remove")) {
		fk_device_unplug(fake, device_of(fake, path, "/remove"));
		return 0;
	}
	if (device_of(fake, path, "/reset_method")) {
		set_reset_method(device_of(fake, path, "/reset_method"), text, bytes);
		return 0;
	}
	if (device) {
		snprintf(device->override, sizeof(device->override), "%.*s",
			 (int)(text[0] == '\n' ? 0 : bytes), text);
		return 0;
	}
	sscanf(path, "/sys/bus/pci/drivers/%31[^/]/%7s", driver, action);
	device = named(fake, text, bytes);
	if (!device)
		return -ENODEV;
	return action[0] == 'u' ? unbind(fake, device, driver) : bind(fake, device, driver);
}

void fake_add_file(struct fake *fake, const char *path, const char *text)
{
	pthread_mutex_lock(&fake->lock);
	if (fake->extra_count == ARRAY_SIZE(fake->extras))
		abort();
	snprintf(fake->extras[fake->extra_count].path, sizeof(fake->extras[0].path), "%s", path);
	snprintf(fake->extras[fake->extra_count].text, sizeof(fake->extras[0].text), "%s", text);
	fake->extra_count++;
	pthread_mutex_unlock(&fake->lock);
}

/* A folder is there when something is in it, or with a slash at its end; a name may be listed
 * twice.
 */
int fk_sysfs_extra(struct fake *fake, const char *path, struct text *text)
{
	int kind = SYSFS_NONE;

	for (size_t i = 0; i < fake->extra_count; i++) {
		const struct extra *extra = &fake->extras[i];
		const char *rest = after(extra->path, path);

		if (rest && !*rest) {
			bool is_link = after(extra->text, "../") || after(extra->text, "/dev/") ||
				       strstr(extra->text, ":[");

			fk_put(text, "%s", extra->text);
			return is_link ? SYSFS_LINK : SYSFS_TEXT;
		}
		if (!rest || *rest != '/')
			continue;
		if (rest[1])
			fk_put(text, "%.*s\n", (int)strcspn(rest + 1, "/"), rest + 1);
		kind = SYSFS_DIR;
	}
	return kind;
}
