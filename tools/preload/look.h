/* SPDX-License-Identifier: MIT */
#ifndef LOOK_H
#define LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Whether pages are present in the page table of this process: mincore(2) would report those that
 * are in the page cache only, which a private mapping has to copy. open(2), pread(2), close(2).
 */
struct look {
	int pagemap;
	size_t page_bytes;
};

/* Falls back to mincore(2) where there is no /proc. */
void look_open(struct look *look);
void look_close(const struct look *look);

/* Sets a bit 0 in @present for each page of a range of up to LOOK_PAGES; false: not mapped. */
#define LOOK_PAGES 512
bool look_at_pages(const struct look *look, char *address, uint64_t bytes,
		   unsigned char present[LOOK_PAGES]);

/* Whether some pages, evenly spread, are all present. */
bool look_is_populated(char *address, uint64_t bytes);

/* Whether a file has no holes; fstat(2) alone. */
bool look_file_is_full(int fd);

#endif
