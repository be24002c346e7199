/* SPDX-License-Identifier: MIT */
/* What tests may look at: statistics, and what has not been given back. */
#include <inttypes.h>
#include <stdarg.h>

#include "model.h"

struct report {
	char *at;
	size_t left;
	unsigned int count;
};

__attribute__((format(printf, 2, 3))) static void note(struct report *report, const char *format,
						       ...)
{
	va_list args;
	int length;

	report->count++;
	if (!report->left)
		return;
	va_start(args, format);
	length = vsnprintf(report->at, report->left, format, args);
	va_end(args);
	if (length < 0 || (size_t)length >= report->left)
		length = report->left - 1;
	report->at += length;
	report->left -= length;
}

static void note_mappings(struct fake *fake, struct report *report)
{
	for (size_t i = 0; i < fake->mm.count; i++) {
		const struct vma *vma = &fake->mm.vmas[i];

		note(report, "mapping %#" PRIx64 "-%#" PRIx64 " of %s\n", vma->start, vma->end,
		     vma->device	  ? vma->device->path :
		     vma->object->is_file ? "a memfd" :
					    "anonymous memory");
	}
	for (const struct space *space = fake->spaces; space; space = space->next)
		for (size_t i = 0; i < space->count; i++)
			note(report, "IOVA %#" PRIx64 "-%#" PRIx64 " of space %u\n",
			     space->dmas[i]->iova, space->dmas[i]->last, space->number);
}

unsigned int fake_leaks(struct fake *fake, char *text, size_t bytes)
{
	struct report report = {.at = text, .left = text ? bytes : 0};

	if (text && bytes)
		text[0] = '\0';
	kernel_enter(&fake->sys);
	for (size_t fd = 0; fd < fake->file_room; fd++)
		if (fake->files[fd])
			note(&report, "fd %zu of %s\n", fd, fake->files[fd]->path);
	note_mappings(fake, &report);
	if (fake->pinned)
		note(&report, "%" PRIu64 " bytes pinned\n", fake->pinned);
	for (const struct thread *t = fake->threads; t; t = t->next)
		if (t->created)
			note(&report, "thread %s\n", t->name);
	if (fake->reserved[POOL_2M] || fake->reserved[POOL_1G])
		note(&report, "hugepages reserved: %" PRIu64 " of 2M, %" PRIu64 " of 1G\n",
		     fake->reserved[POOL_2M], fake->reserved[POOL_1G]);
	if (fake->helper.running)
		note(&report, "helper process %s\n", fake->helper.text);
	if (fake->misuse_count) {
		note(&report, "%s", fake->misuses);
		report.count += fake->misuse_count - 1;
	}
	kernel_leave(fake);
	return report.count;
}

void fake_stats(struct fake *fake, struct fake_stats *stats)
{
	kernel_enter(&fake->sys);
	*stats = fake->stats;
	for (const struct space *space = fake->spaces; space; space = space->next) {
		stats->mappings += space->count;
		stats->mapped_bytes += space->mapped;
	}
	stats->pinned_bytes = fake->pinned;
	stats->locked_vm = fake->locked_vm;
	stats->user_locked = fake->user_locked;
	stats->vmas = fake->mm.count;
	for (const struct thread *t = fake->threads; t; t = t->next)
		stats->threads += t->created;
	stats->reserved_2m = fake->reserved[POOL_2M];
	stats->reserved_1g = fake->reserved[POOL_1G];
	kernel_leave(fake);
}

void fake_device_stats(struct fake *fake, const char *address, struct fake_device_stats *stats)
{
	const struct device *device;

	kernel_enter(&fake->sys);
	device = fk_device_find(fake, address);
	if (!device)
		abort();
	*stats = device->stats;
	kernel_leave(fake);
}

bool fake_has_device(struct fake *fake, const char *address)
{
	bool found;

	kernel_enter(&fake->sys);
	found = fk_device_find(fake, address);
	kernel_leave(fake);
	return found;
}

unsigned int fake_device_opens(struct fake *fake, const char *address)
{
	const struct device *device;
	unsigned int opens;

	kernel_enter(&fake->sys);
	device = fk_device_find(fake, address);
	opens = device ? device->open_count : 0;
	kernel_leave(fake);
	return opens;
}

uint64_t fake_populated_now(struct fake *fake)
{
	uint64_t bytes = 0;

	kernel_enter(&fake->sys);
	for (const struct object *o = fake->objects; o; o = o->next)
		bytes += o->populated;
	kernel_leave(fake);
	return bytes;
}

uint64_t fake_zeroed_by(struct fake *fake, int thread_node, unsigned int page_node)
{
	uint64_t bytes;

	kernel_enter(&fake->sys);
	bytes = fake->zeroed[thread_node < 0 ? FAKE_NODES : thread_node][page_node];
	kernel_leave(fake);
	return bytes;
}

uint64_t fake_zeroed_on_cpu(struct fake *fake, unsigned int cpu)
{
	uint64_t bytes;

	kernel_enter(&fake->sys);
	bytes = fake->zeroed_on_cpu[cpu];
	kernel_leave(fake);
	return bytes;
}

static uint64_t free_pages(struct fake *fake, unsigned int node, int pool)
{
	uint64_t pages;

	kernel_enter(&fake->sys);
	pages = fake->nodes[node].free[pool];
	kernel_leave(fake);
	return pages;
}

uint64_t fake_free_memory(struct fake *fake, unsigned int node)
{
	return free_pages(fake, node, POOL_BASE) * fk_page(fake);
}

uint64_t fake_free_2m(struct fake *fake, unsigned int node)
{
	return free_pages(fake, node, POOL_2M);
}

uint64_t fake_free_1g(struct fake *fake, unsigned int node)
{
	return free_pages(fake, node, POOL_1G);
}
