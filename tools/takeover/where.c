/* SPDX-License-Identifier: MIT */
/* Which part of the slot's memory is mapped at an address of this process. */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "next.h"
#include "takeover.h"

/* Linux 6.11: include/uapi/linux/fs.h. */
struct where_query {
	uint64_t size, flags, address;
	uint64_t start, end, vma_flags, page_size, offset, inode;
	uint32_t major, minor;
	uint32_t name_size, build_id_size;
	uint64_t name, build_id;
};
#define WHERE_QUERY	_IOWR('f', 17, struct where_query)
#define WHERE_READABLE	1
#define WHERE_WRITEABLE 2
#define WHERE_SHARED	8
#define WHERE_NEEDED	(WHERE_READABLE | WHERE_WRITEABLE | WHERE_SHARED)

/* Before Linux 6.11: the line of /proc/self/maps that contains the address. */
static bool where_read_line(int fd, struct where_query *query)
{
	FILE *file = fdopen(dup(fd), "re");
	char line[512], rights[5] = "";
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file))
		found = sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64,
			       &query->start, &query->end, rights, &query->offset, &query->major,
			       &query->minor, &query->inode) == 7 &&
			query->start <= query->address && query->address < query->end;
	if (file)
		fclose(file);
	query->vma_flags = (rights[0] == 'r' ? WHERE_READABLE : 0) |
			   (rights[1] == 'w' ? WHERE_WRITEABLE : 0) |
			   (rights[3] == 's' ? WHERE_SHARED : 0);
	return found;
}

static bool where_query(int fd, uint64_t address, struct where_query *query)
{
	*query = (struct where_query){.size = sizeof(*query), .address = address};
	if (!NEXT(ioctl)(fd, WHERE_QUERY, query))
		return true;
	lseek(fd, 0, SEEK_SET);
	return where_read_line(fd, query);
}

/* From @address to the end of its mapping; 0: it is not the slot's memory. */
static uint64_t where_one(int fd, uint64_t address, uint64_t *offset)
{
	struct where_query query;

	if (!where_query(fd, address, &query) || query.inode != takeover.memory_inode ||
	    makedev(query.major, query.minor) != takeover.memory_device ||
	    (query.vma_flags & WHERE_NEEDED) != WHERE_NEEDED)
		return 0;
	*offset = query.offset + (address - query.start);
	return query.end - address;
}

bool where_is(uint64_t address, uint64_t bytes, uint64_t *offset)
{
	int fd = NEXT(open)("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	uint64_t done = 0, part, at = 0;

	if (fd < 0)
		return false;
	/* A mapping may have been split, as by madvise(2). */
	do {
		part = where_one(fd, address + done, &at);
		if (!done)
			*offset = at;
		if (!part || at != *offset + done)
			break;
		done += part;
	} while (done < bytes);
	NEXT(close)(fd);
	return done >= bytes;
}
