/* SPDX-License-Identifier: MIT */
/* The virtual files of /sys and /proc: following links, and text. */
#include <stdarg.h>

#include "sysfs.h"

void fk_put(struct text *text, const char *format, ...)
{
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text->at, text->left, format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= text->left)
		length = text->left ? text->left - 1 : 0;
	text->at += length;
	text->left -= length;
}

void fk_put_cpus(struct text *text, const cpu_set_t *cpus)
{
	const char *comma = "";

	for (int first = 0; first < CPU_SETSIZE; first++) {
		int last = first;

		if (!CPU_ISSET(first, cpus))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, cpus))
			last++;
		if (last > first)
			fk_put(text, "%s%d-%d", comma, first, last);
		else
			fk_put(text, "%s%d", comma, first);
		comma = ",";
		first = last;
	}
	fk_put(text, "\n");
}

/* ---- Paths ---- */

static int canonical(struct fake *fake, const char *path, struct text *text)
{
	int kind = fk_sysfs_extra(fake, path, text);

	if (kind == SYSFS_NONE)
		kind = fk_sysfs_pci(fake, path, text);
	if (kind == SYSFS_NONE)
		kind = fk_sysfs_host(fake, path, text);
	return kind == SYSFS_NONE ? fk_sysfs_memory(fake, path, text) : kind;
}

/* The target of a relative link that lies at @path, into @path. */
static void follow(char *path, size_t bytes, const char *target)
{
	char *slash = strrchr(path, '/');

	*slash = '\0';
	while (after(target, "../")) {
		target += 3;
		slash = strrchr(path, '/');
		if (slash)
			*slash = '\0';
	}
	snprintf(path + strlen(path), bytes - strlen(path), "/%s", target);
}

/* Follows the links in a path, that at its end if @last. */
static void resolve(struct fake *fake, const char *path, bool last, char *out, size_t bytes)
{
	size_t used = 0;

	out[0] = '\0';
	while (*path) {
		char target[256];
		struct text text = {target, sizeof(target)};
		size_t length = strcspn(path + 1, "/") + 1;

		used = strlen(out);
		snprintf(out + used, bytes - used, "%.*s", (int)length, path);
		path += length;
		target[0] = '\0';
		if ((*path || last) && canonical(fake, out, &text) == SYSFS_LINK)
			follow(out, bytes, target);
	}
}

int fk_sysfs_get(struct fake *fake, const char *path, char *out, size_t bytes)
{
	char real[512];
	struct text text = {out, bytes};
	int kind;

	out[0] = '\0';
	resolve(fake, path, false, real, sizeof(real));
	kind = canonical(fake, real, &text);
	return kind;
}

int fk_sysfs_realpath(struct fake *fake, const char *path, char *out, size_t bytes)
{
	char real[512], content[8192];
	struct text text = {content, sizeof(content)};

	resolve(fake, path, true, real, sizeof(real));
	content[0] = '\0';
	if (canonical(fake, real, &text) == SYSFS_NONE &&
	    (strcmp(real, "/dev/vfio/vfio") || fake->config.no_type1) &&
	    (strcmp(real, "/dev/iommu") || fake->config.no_iommufd))
		return -ENOENT;
	if (strlen(real) >= bytes)
		return -ENAMETOOLONG;
	strcpy(out, real);
	return 0;
}
