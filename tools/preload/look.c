/* SPDX-License-Identifier: MIT */
#include "look.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* A sample in so much memory, within limits. */
#define LOOK_STEP	 (UINT64_C(1) << 20)
#define LOOK_MIN_SAMPLES 4
#define LOOK_MAX_SAMPLES 64
/* Of an entry of /proc/self/pagemap. */
#define LOOK_PRESENT 63
#define LOOK_BLOCK   512

void look_open(struct look *look)
{
	look->pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	look->page_bytes = sysconf(_SC_PAGESIZE);
}

void look_close(const struct look *look)
{
	if (look->pagemap >= 0)
		close(look->pagemap);
}

bool look_at_pages(const struct look *look, char *address, uint64_t bytes,
		   unsigned char present[LOOK_PAGES])
{
	size_t count = bytes / look->page_bytes;
	uint64_t entries[LOOK_PAGES];
	ssize_t wanted = count * sizeof(*entries);

	if (look->pagemap < 0)
		return !mincore(address, bytes, present);
	if (pread(look->pagemap, entries, wanted,
		  (uintptr_t)address / look->page_bytes * sizeof(*entries)) != wanted)
		return false;
	for (size_t i = 0; i < count; i++)
		present[i] = entries[i] >> LOOK_PRESENT;
	return true;
}

bool look_is_populated(char *address, uint64_t bytes)
{
	uint64_t samples = bytes / LOOK_STEP;
	unsigned char present[LOOK_PAGES] = {1};
	struct look look;

	if (samples < LOOK_MIN_SAMPLES)
		samples = LOOK_MIN_SAMPLES;
	if (samples > LOOK_MAX_SAMPLES)
		samples = LOOK_MAX_SAMPLES;
	look_open(&look);
	for (uint64_t i = 0; i < samples && present[0] & 1; i++) {
		/* The last sample is the last page. */
		uint64_t offset = (bytes - look.page_bytes) / (samples - 1) * i;

		offset = offset / look.page_bytes * look.page_bytes;
		if (!look_at_pages(&look, address + offset, look.page_bytes, present))
			present[0] = 0;
	}
	look_close(&look);
	return present[0] & 1;
}

bool look_file_is_full(int fd)
{
	struct stat file;

	return !fstat(fd, &file) && (uint64_t)file.st_blocks * LOOK_BLOCK >= (uint64_t)file.st_size;
}
