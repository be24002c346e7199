/* SPDX-License-Identifier: MIT */
/* Memory and the address space: pages.c, vma.c, memory.c. */
#ifndef FAKE_MEM_H
#define FAKE_MEM_H

#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake;
struct file;

/* ---- pages.c: physical memory ---- */

/* Those of huge pages are named after their sizes on x86: fake_config.huge_bytes has others. */
enum {
	POOL_BASE,
	POOL_2M,
	POOL_1G
};

struct node {
	bool exists;
	cpu_set_t cpus;
	/* Pages free; in the pools, those reserved included. */
	uint64_t free[3];
	uint64_t total[3];
	/* Pages that the pools can still grow by. */
	uint64_t blocks[3];
	/* Pages of the pools that go when they are free. */
	uint64_t surplus[3];
};

struct policy {
	uint64_t first, end;
	int mode;
	uint32_t nodes;
};

/* Memory that can be mapped: anonymous, or the contents of a memfd. One byte for each page. */
#define PAGE_RESERVED 0x80
#define PAGE_POISONED 0x40
/* Part of a transparent huge page. */
#define PAGE_HUGE 0x20
struct object {
	struct object *next;
	unsigned int refs;
	int pool;
	uint64_t page_bytes;
	/* Of the file, or of the anonymous mapping. */
	uint64_t bytes;
	/* 0: absent; node + 1; PAGE_RESERVED; with either PAGE_POISONED. NULL until needed. */
	uint8_t *pages;
	uint64_t page_count;
	struct policy *policies;
	size_t policy_count;
	/* Interleaving counts from here: the address of anonymous memory. */
	uint64_t origin;
	bool is_file, reserves;
	uint64_t populated;
	/* The file it is of, or is a private mapping of, and from where in it: for
	 * /proc/self/maps. */
	uint64_t device, inode, file_offset;
};

struct object *fk_object_new(struct fake *fake, int pool, uint64_t bytes, bool is_file);
void fk_object_put(struct fake *fake, struct object *object);
int fk_object_resize(struct fake *fake, struct object *object, uint64_t bytes);
/* Reserves hugepages for a range; -ENOMEM. */
int fk_object_reserve(struct fake *fake, struct object *object, uint64_t first, uint64_t end);
/* Frees the pages of a range, and their reservations. */
void fk_object_free_range(struct fake *fake, struct object *object, uint64_t first, uint64_t end,
			  bool unreserve);
int fk_object_set_policy(struct object *object, uint64_t first, uint64_t end, int mode,
			 uint32_t nodes);
/* NULL: the default. */
const struct policy *fk_object_policy(const struct object *object, uint64_t offset);
/*
 * Populates [first, end) but no more than *@budget bytes of pages (what is there counts too),
 * which it subtracts. -ENOMEM, -EFAULT. The zeroed bytes are added to *@zeroed.
 */
int fk_object_populate(struct fake *fake, struct object *object, uint64_t first, uint64_t end,
		       bool thp, uint64_t thp_first, uint64_t thp_end, uint64_t *budget,
		       uint64_t *zeroed);
uint64_t fk_object_populated(const struct object *object, uint64_t first, uint64_t end);
/* Entries of /proc/self/pagemap. */
ssize_t fk_pagemap_read(struct fake *fake, uint64_t *entries, size_t bytes, off_t offset);
int fk_object_page_node(const struct object *object, uint64_t offset);
void fk_object_poison(struct object *object, uint64_t offset, uint64_t end);
/* Gives pages that are free from a node's pool to its base memory, if there are some. */
/* Turns base memory into a page of the pool. False: there is not enough. */
bool fk_pool_add(const struct fake *fake, struct node *node, int pool);
bool fk_pool_shrink(struct fake *fake, struct node *node, int pool);
/* Bytes of a page of the pool, and of how many base pages it consists. */
uint64_t fk_pool_page(const struct fake *fake, int pool);
/* The pool whose pages have 1 << @log bytes, as in the flags of mmap(2). */
int fk_pool_of_log(const struct fake *fake, unsigned int log);
/* That of a folder "/hugepages-2048kB", which *@path is moved behind. */
int fk_pool_of_path(const struct fake *fake, const char **path);
uint64_t fk_pool_parts(const struct fake *fake, int pool);
/* Bytes of the pages of a pool that are in use. */
uint64_t fk_pool_used(const struct fake *fake, int pool);

/* ---- vma.c, memory.c: address space ---- */

struct vma {
	uint64_t start, end;
	int prot;
	bool thp, no_thp, shared;
	/* MADV_DONTFORK, MADV_DONTDUMP. */
	bool dont_fork, dont_dump;
	/* One of them. */
	struct object *object;
	struct file *device;
	uint64_t offset;
	/* Where the memory begins that the program has mapped by itself; 0: the model has. */
	uint64_t foreign;
};

struct mm {
	struct vma *vmas;
	size_t count, room;
};

/* The index of the first that ends after @address. */
size_t fk_vma_index(const struct mm *mm, uint64_t address);
struct vma *fk_vma_find(struct fake *fake, uint64_t address);
void fk_vma_insert(struct mm *mm, const struct vma *vma);
/* Makes @address a border between VMAs; -EINVAL within a huge page of hugetlb. */
int fk_vma_split(struct fake *fake, uint64_t address);
/* Removes a range from the list; may block when it releases a device. */
int fk_memory_unmap(struct fake *fake, uint64_t start, uint64_t end);
/* MADV_POPULATE_WRITE; may block. */
int fk_memory_populate(struct fake *fake, uint64_t start, uint64_t end);
/* -ENOENT, -EFAULT. */
int fk_memory_page_node(struct fake *fake, uint64_t address);

struct pin {
	bool write, allow_mmio;
	/* In: the most that may be pinned; out: what was. */
	uint64_t budget, pinned;
	uint64_t zeroed;
};

/* -EFAULT: not mapped, no permission, out of hugepages; -ENOMEM: out of memory, over budget. */
int fk_memory_pin(struct fake *fake, uint64_t address, uint64_t bytes, struct pin *pin);
void fk_memory_destroy(struct fake *fake);

#endif
