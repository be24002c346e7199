/* SPDX-License-Identifier: MIT */
#ifndef TAKEOVER_LEDGER_H
#define TAKEOVER_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a program has mapped for its devices, against what the kernel has mapped already: pieces of
 * the slot's memory. A request that a piece covers shows that part of it to the program, and the
 * kernel is not asked; unmapping hides it again. What is hidden stays mapped until
 * ledger_reconcile(), since VMMs unmap all memory and map most of it again within one change. After
 * that the kernel has exactly what the program has mapped.
 *
 * It makes no system call itself. The caller has a lock.
 */
#define LEDGER_PIECES 128
#define LEDGER_SHOWN  256

struct ledger_piece {
	uint64_t iova, end;
	/* Where it is in the slot's memory. */
	uint64_t offset;
	/* Where the program has it; 0: not known. */
	uint64_t address;
};

struct ledger_ops {
	/* Maps what the program asked for in [@iova, @end), a part of its request @arg. */
	int (*map)(void *arg, uint64_t iova, uint64_t end);
	/* Unmaps it, and adds what was mapped to @bytes. */
	int (*unmap)(uint64_t iova, uint64_t end, uint64_t *bytes);
	/* Maps the slot's memory. */
	int (*map_piece)(const struct ledger_piece *piece);
};

struct ledger {
	const struct ledger_ops *ops;
	/* In the order of their IOVAs; none of them overlap. */
	struct ledger_piece pieces[LEDGER_PIECES];
	size_t piece_count;
	/* What the program has mapped of them. */
	struct ledger_piece shown[LEDGER_SHOWN];
	size_t shown_count;
	/* There may be pieces that the program has not mapped. */
	bool dirty;
};

/* A request to map. */
struct ledger_request {
	uint64_t iova, end;
	/* It is the slot's memory, readable and writable, from @offset on. */
	bool is_slot;
	uint64_t offset;
	uint64_t address;
};

/* 0, or a negative errno: nothing has changed then. */
int ledger_map(struct ledger *ledger, const struct ledger_request *request, void *arg);

/* @bytes: how much the program had mapped there. */
int ledger_unmap(struct ledger *ledger, uint64_t iova, uint64_t end, uint64_t *bytes);

/* Returns the first error; the pieces that it happened to are no longer mapped. */
int ledger_reconcile(struct ledger *ledger);

/* The kernel has unmapped [@iova, @end) for the program. */
void ledger_forget(struct ledger *ledger, uint64_t iova, uint64_t end);

#endif
