/* SPDX-License-Identifier: MIT */
/* The files of slots.d: lines of "key = value", and comments that begin with "#". */
#include "config.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../parse.h"
#include "slot/layout.h"
#include "words.h"

/* Until all is read. */
#define LEVEL_OF_DEVICES UINT_MAX

struct key {
	const char *name;
	/* NULL: it was valid; otherwise what the value has to be. */
	const char *(*read)(struct slot_class *class, char *value);
};

static const char *read_count(struct slot_class *class, char *value)
{
	return parse_number(value, 0, MAX_SLOTS, &class->count) ? NULL : "a number from 0 to 256";
}

static const char *read_memory(struct slot_class *class, char *value)
{
	return words_size(value, &class->bytes) && class->bytes &&
			       !(class->bytes % sysconf(_SC_PAGESIZE)) ?
		       NULL :
		       "a size such as 2G, a multiple of a base page (getconf PAGESIZE)";
}

static const char *read_page_size(struct slot_class *class, char *value)
{
	static const char *const names[] = {"4k", "thp", "2m", "1g", NULL};
	int found = words_choice(value, names);

	class->page_size = VFB_PAGE_4K + (found < 0 ? 0 : found);
	return found < 0 ? "4k, thp, 2m or 1g" : NULL;
}

static const char *read_nodes(struct slot_class *class, char *value)
{
	char *rest = value, *word;

	class->node_count = 0;
	while ((word = words_next(&rest))) {
		if (class->node_count == MAX_NODES ||
		    !parse_number(word, 0, 1023, &class->nodes[class->node_count++]))
			return "numbers of NUMA nodes, at most 16";
	}
	return class->node_count ? NULL : "numbers of NUMA nodes";
}

static const char *read_layout(struct slot_class *class, char *value)
{
	static const char *const names[] = {"flat", "q35", "ch", NULL};

	if (words_choice(value, names) < 0)
		return "flat, q35 or ch";
	strcpy(class->layout, value);
	return NULL;
}

static const char *read_backend(struct slot_class *class, char *value)
{
	static const char *const names[] = {"auto", "type1", "iommufd", NULL};
	int found = words_choice(value, names);

	class->backend = VFB_BACKEND_AUTO + (found < 0 ? 0 : found);
	return found < 0 ? "auto, type1 or iommufd" : NULL;
}

static bool is_address(const char *text)
{
	unsigned int domain, bus, device, function;
	int end = 0;

	return sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &end) == 4 &&
	       end == 12 && !text[end];
}

static const char *read_level(struct slot_class *class, char *value)
{
	return parse_number(value, 0, 2, &class->level) ? NULL : "0, 1 or 2";
}

static const char *read_devices(struct slot_class *class, char *value)
{
	const size_t room = sizeof(class->devices) / sizeof(class->devices[0]);
	char *rest = value, *word;

	while ((word = words_next(&rest))) {
		if (class->device_count == room || !is_address(word))
			return "PCI addresses such as 0000:01:00.0, at most 256";
		strcpy(class->devices[class->device_count++], word);
	}
	return class->device_count ? NULL : "PCI addresses such as 0000:01:00.0";
}

static const char *read_devices_per_slot(struct slot_class *class, char *value)
{
	return parse_number(value, 1, VFB_WIRE_DEVICES, &class->devices_per_slot) ?
		       NULL :
		       "a number from 1 to 32";
}

static bool read_user(struct allow *allow, const char *name)
{
	const struct passwd *user = getpwnam(name);

	if (user)
		allow->id = user->pw_uid;
	return user || parse_number(name, 0, UINT32_MAX - 1, &allow->id);
}

static bool read_group(struct allow *allow, const char *name)
{
	const struct group *group = getgrnam(name);

	if (group)
		allow->id = group->gr_gid;
	return group || parse_number(name, 0, UINT32_MAX - 1, &allow->id);
}

static bool read_cgroup(struct allow *allow, const char *path)
{
	size_t length = strlen(path);

	while (length > 1 && path[length - 1] == '/')
		length--;
	if (path[0] != '/' || length >= MAX_PATH)
		return false;
	memcpy(allow->path, path, length);
	return true;
}

static bool read_allow(struct allow *allow, char *word)
{
	char *value = strchr(word, ':');

	if (!value || !value[1])
		return false;
	*value++ = '\0';
	if (!strcmp(word, "user")) {
		allow->kind = ALLOW_USER;
		return read_user(allow, value);
	}
	if (!strcmp(word, "group")) {
		allow->kind = ALLOW_GROUP;
		return read_group(allow, value);
	}
	allow->kind = ALLOW_CGROUP;
	return !strcmp(word, "cgroup") && read_cgroup(allow, value);
}

static const char *read_allowed(struct slot_class *class, char *value)
{
	char *rest = value, *word;

	while ((word = words_next(&rest)))
		if (class->allow_count == MAX_POLICY ||
		    !read_allow(&class->allow[class->allow_count++], word))
			return "user:NAME, group:NAME or cgroup:/PATH that exist, at most 32";
	return class->allow_count ? NULL : "user:NAME, group:NAME or cgroup:/PATH";
}

static const char *read_max_per_user(struct slot_class *class, char *value)
{
	return parse_number(value, 1, MAX_SLOTS, &class->max_per_user) ? NULL :
									 "a number from 1 to 256";
}

static const char *read_rate(struct slot_class *class, char *value)
{
	return words_size(value, &class->rate) && class->rate >= 1 << 20 ?
		       NULL :
		       "bytes per second, at least 1M";
}

static const char *read_shrink(struct slot_class *class, char *value)
{
	static const char *const names[] = {"no", "yes", NULL};
	int found = words_choice(value, names);

	class->shrink = found == 1;
	return found < 0 ? "yes or no" : NULL;
}

static const struct key keys[] = {
	{"count", read_count},	       {"memory", read_memory},
	{"page-size", read_page_size}, {"nodes", read_nodes},
	{"layout", read_layout},       {"backend", read_backend},
	{"devices", read_devices},     {"devices-per-slot", read_devices_per_slot},
	{"allow", read_allowed},       {"max-per-user", read_max_per_user},
	{"level", read_level},	       {"rate", read_rate},
	{"shrink", read_shrink},
};

/* False, with a text. */
static bool read_line(char *line, struct slot_class *class, char text[400])
{
	char *value = strchr(line, '='), *name;
	const char *wanted;

	if (value)
		*value++ = '\0';
	name = words_trim(line);
	if (!value && !*name)
		return true;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]) && value; i++) {
		if (strcmp(name, keys[i].name))
			continue;
		value = words_trim(value);
		wanted = keys[i].read(class, value);
		if (wanted)
			snprintf(text, 400, "%s has to be %s", name, wanted);
		return !wanted;
	}
	snprintf(text, 400, value ? "\"%.100s\" is not known" : "\"%.100s\" has no \"=\"", name);
	return false;
}

size_t config_first_device(const struct slot_class *class, unsigned int index)
{
	return class->level == 1 ? index % class->device_count :
				   (size_t)index * class->devices_per_slot;
}

static const char *check_devices(struct slot_class *class)
{
	if (class->level == LEVEL_OF_DEVICES)
		class->level = class->device_count ? 2 : 0;
	if (!class->level != !class->device_count)
		return class->level ? "a level other than 0 needs devices" :
				      "level 0 has no devices";
	if (class->level == 1 && class->backend == VFB_BACKEND_TYPE1)
		return "level 1 needs iommufd: with type1 the mappings end with the last device";
	if (class->level == 1)
		class->backend = VFB_BACKEND_IOMMUFD;
	if (class->level == 1 && class->devices_per_slot != 1)
		return "level 1 uses one device to fill a slot: devices-per-slot has to be 1";
	if (class->level == 2 && class->count * class->devices_per_slot > class->device_count)
		return "there are too few devices: they have to suffice for count slots of "
		       "devices-per-slot each";
	return NULL;
}

/* What belongs together. */
static const char *check_class(struct slot_class *class)
{
	struct vfb_range ranges[VFB_LAYOUT_RANGES];
	const char *wrong = check_devices(class);

	if (!class->bytes)
		return "memory is missing";
	if (!class->allow_count)
		return "allow is missing: nobody could take a slot (allow = user:root)";
	if (wrong)
		return wrong;
	if (class->page_size == VFB_PAGE_2M && class->bytes % (2 << 20))
		return "memory is not a multiple of 2M, the page-size";
	if (class->page_size == VFB_PAGE_1G && class->bytes % (1 << 30))
		return "memory is not a multiple of 1G, the page-size";
	return vfb_layout_ranges(class->layout, class->bytes, ranges) < 0 ? vfb_last_error() : NULL;
}

bool config_read_class(FILE *file, const char *name, struct slot_class *out, char error_text[512])
{
	char line[4096], text[400];
	const char *wrong;
	unsigned int number = 0;

	*out = (struct slot_class){
		.page_size = VFB_PAGE_4K,
		.layout = "flat",
		.count = 1,
		.level = LEVEL_OF_DEVICES,
		.devices_per_slot = 1,
		.rate = UINT64_C(1) << 30,
		.shrink = true,
	};
	snprintf(out->name, sizeof(out->name), "%s", name);
	while (fgets(line, sizeof(line), file)) {
		number++;
		line[strcspn(line, "#\n")] = '\0';
		if (!read_line(line, out, text)) {
			snprintf(error_text, 512, "line %u: %s", number, text);
			return false;
		}
	}
	wrong = check_class(out);
	if (wrong)
		snprintf(error_text, 512, "%s", wrong);
	return !wrong;
}

/* Cuts ".conf" off. */
static bool class_name(const char *file, char name[VFB_WIRE_NAME])
{
	size_t length = strlen(file);

	if (length < 6 || length - 5 >= VFB_WIRE_NAME || strcmp(file + length - 5, ".conf"))
		return false;
	memcpy(name, file, length - 5);
	name[length - 5] = '\0';
	return true;
}

static bool read_class_file(const char *folder, const char *file, struct slot_class *class,
			    char error_text[512])
{
	char path[512], name[VFB_WIRE_NAME], text[512];
	FILE *stream;
	bool right;

	snprintf(path, sizeof(path), "%.250s/%.250s", folder, file);
	if (!class_name(file, name) || !vfb_wire_is_class(name)) {
		snprintf(error_text, 512,
			 "%.400s: the name has to be of letters, digits, _, - and .", path);
		return false;
	}
	stream = fopen(path, "re");
	if (!stream) {
		snprintf(error_text, 512, "%.400s: %.100s", path, strerror(errno));
		return false;
	}
	right = config_read_class(stream, name, class, text);
	fclose(stream);
	if (!right)
		snprintf(error_text, 512, "%.200s: %.300s", path, text);
	return right;
}

static int is_conf(const struct dirent *entry)
{
	const char *end = strrchr(entry->d_name, '.');

	return entry->d_name[0] != '.' && end && !strcmp(end, ".conf");
}

int config_read_folder(const char *folder, struct slot_class *classes, char error_text[512])
{
	struct dirent **entries;
	int found = scandir(folder, &entries, is_conf, alphasort), count = 0;
	bool right = true;

	/* A host without classes, as after installing. */
	if (found < 0 && errno == ENOENT)
		return 0;
	if (found < 0) {
		snprintf(error_text, 512, "cannot read %.300s: %s", folder, strerror(errno));
		return -1;
	}
	for (int i = 0; i < found; i++) {
		if (right && count == MAX_CLASSES) {
			snprintf(error_text, 512, "%.300s has more than %d classes", folder,
				 MAX_CLASSES);
			right = false;
		}
		if (right)
			right = read_class_file(folder, entries[i]->d_name, &classes[count++],
						error_text);
		free(entries[i]);
	}
	free(entries);
	return right ? count : -1;
}
