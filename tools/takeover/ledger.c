/* SPDX-License-Identifier: MIT */
#include "ledger.h"

#include <errno.h>
#include <string.h>

static uint64_t lesser(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static bool piece_overlaps(const struct ledger_piece *piece, uint64_t iova, uint64_t end)
{
	return piece->iova < end && piece->end > iova;
}

static struct ledger_piece piece_cut(const struct ledger_piece *piece, uint64_t iova, uint64_t end)
{
	struct ledger_piece cut = {.iova = greater(piece->iova, iova),
				   .end = lesser(piece->end, end)};

	cut.offset = piece->offset + (cut.iova - piece->iova);
	cut.address = piece->address ? piece->address + (cut.iova - piece->iova) : 0;
	return cut;
}

/* ---- Sorted lists of parts that do not overlap ---- */

static void list_remove_at(struct ledger_piece *list, size_t *count, size_t at)
{
	memmove(&list[at], &list[at + 1], (--*count - at) * sizeof(*list));
}

static void list_insert(struct ledger_piece *list, size_t *count, const struct ledger_piece *piece)
{
	size_t at = 0;

	while (at < *count && list[at].iova < piece->iova)
		at++;
	memmove(&list[at + 1], &list[at], ((*count)++ - at) * sizeof(*list));
	list[at] = *piece;
}

/* Cuts [@iova, @end) out of the list, which has room for one more. Returns the bytes. */
static uint64_t list_cut(struct ledger_piece *list, size_t *count, uint64_t iova, uint64_t end)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < *count;) {
		struct ledger_piece whole = list[i], before, behind;

		if (!piece_overlaps(&whole, iova, end)) {
			i++;
			continue;
		}
		before = piece_cut(&whole, whole.iova, lesser(iova, whole.end));
		behind = piece_cut(&whole, greater(end, whole.iova), whole.end);
		bytes += lesser(whole.end, end) - greater(whole.iova, iova);
		list_remove_at(list, count, i);
		if (whole.iova < iova)
			list_insert(list, count, &before);
		if (whole.end > end && *count < LEDGER_SHOWN)
			list_insert(list, count, &behind);
		i += whole.iova < iova;
		i += whole.end > end;
	}
	return bytes;
}

/* ---- What is hidden ---- */

static uint64_t shown_bytes(const struct ledger *ledger, const struct ledger_piece *piece)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < ledger->shown_count; i++)
		if (piece_overlaps(&ledger->shown[i], piece->iova, piece->end))
			bytes += lesser(ledger->shown[i].end, piece->end) -
				 greater(ledger->shown[i].iova, piece->iova);
	return bytes;
}

/* Maps what the program uses of a piece that is no longer mapped. */
static int map_shown_parts(struct ledger *ledger, const struct ledger_piece *piece)
{
	int result = 0;

	for (size_t i = 0; i < ledger->shown_count;) {
		struct ledger_piece part = ledger->shown[i];
		int error;

		if (!piece_overlaps(&part, piece->iova, piece->end)) {
			i++;
			continue;
		}
		part = piece_cut(&part, piece->iova, piece->end);
		error = ledger->piece_count < LEDGER_PIECES ? ledger->ops->map_piece(&part) :
							      -ENOSPC;
		if (!error) {
			list_insert(ledger->pieces, &ledger->piece_count, &part);
			i++;
			continue;
		}
		list_cut(ledger->shown, &ledger->shown_count, part.iova, part.end);
		result = result ? result : error;
	}
	return result;
}

/* The kernel unmaps only whole mappings: what is still used of a piece is mapped anew. */
static int reconcile_piece(struct ledger *ledger, size_t at)
{
	struct ledger_piece piece = ledger->pieces[at];
	uint64_t bytes = 0;
	int error;

	if (shown_bytes(ledger, &piece) == piece.end - piece.iova)
		return 0;
	error = ledger->ops->unmap(piece.iova, piece.end, &bytes);
	if (error)
		return error;
	list_remove_at(ledger->pieces, &ledger->piece_count, at);
	return map_shown_parts(ledger, &piece);
}

/* Of pieces in a range; those that are not @request's only, unless it is NULL. */
static int reconcile_range(struct ledger *ledger, uint64_t iova, uint64_t end,
			   const struct ledger_request *request)
{
	int result = 0;

	for (size_t i = ledger->piece_count; i-- > 0;) {
		const struct ledger_piece *piece = &ledger->pieces[i];
		int error;

		if (!piece_overlaps(piece, iova, end) ||
		    (request && request->is_slot &&
		     request->offset - request->iova == piece->offset - piece->iova))
			continue;
		error = reconcile_piece(ledger, i);
		result = result ? result : error;
	}
	return result;
}

int ledger_reconcile(struct ledger *ledger)
{
	ledger->dirty = false;
	return reconcile_range(ledger, 0, UINT64_MAX, NULL);
}

/* ---- Requests ---- */

/* The next part of [*@iova, @end) that no piece covers; *@iova is behind it then. */
static bool next_gap(const struct ledger *ledger, uint64_t *iova, uint64_t end, uint64_t *first,
		     uint64_t *last)
{
	for (size_t i = 0; i < ledger->piece_count && *iova < end; i++) {
		const struct ledger_piece *piece = &ledger->pieces[i];

		if (piece->end <= *iova)
			continue;
		if (piece->iova > *iova) {
			*first = *iova;
			*last = lesser(piece->iova, end);
			*iova = *last;
			return true;
		}
		*iova = piece->end;
	}
	*first = *iova;
	*last = end;
	*iova = greater(*iova, end);
	return *first < end;
}

static int map_gaps(struct ledger *ledger, const struct ledger_request *request, void *arg)
{
	uint64_t at = request->iova, first, last, undone, bytes = 0;
	int error = 0;

	while (!error && next_gap(ledger, &at, request->end, &first, &last))
		error = ledger->ops->map(arg, first, last);
	if (!error)
		return 0;
	at = request->iova;
	undone = first;
	while (next_gap(ledger, &at, undone, &first, &last))
		ledger->ops->unmap(first, last, &bytes);
	return error;
}

static void show(struct ledger *ledger, const struct ledger_request *request)
{
	const struct ledger_piece whole = {request->iova, request->end, request->offset,
					   request->address};

	for (size_t i = 0; i < ledger->piece_count; i++) {
		const struct ledger_piece *piece = &ledger->pieces[i];
		struct ledger_piece part;

		if (!piece_overlaps(piece, request->iova, request->end))
			continue;
		part = piece_cut(&whole, piece->iova, piece->end);
		list_insert(ledger->shown, &ledger->shown_count, &part);
	}
}

int ledger_map(struct ledger *ledger, const struct ledger_request *request, void *arg)
{
	int error;

	for (size_t i = 0; i < ledger->shown_count; i++)
		if (piece_overlaps(&ledger->shown[i], request->iova, request->end))
			return -EEXIST;
	if (ledger->shown_count + ledger->piece_count + 2 > LEDGER_SHOWN)
		return -ENOSPC;
	error = reconcile_range(ledger, request->iova, request->end, request);
	if (!error)
		error = map_gaps(ledger, request, arg);
	if (error)
		return error;
	show(ledger, request);
	return 0;
}

int ledger_unmap(struct ledger *ledger, uint64_t iova, uint64_t end, uint64_t *bytes)
{
	uint64_t at = iova, first, last;
	int error = 0;

	if (ledger->shown_count + 2 > LEDGER_SHOWN)
		return -ENOSPC;
	*bytes = 0;
	while (!error && next_gap(ledger, &at, end, &first, &last))
		error = ledger->ops->unmap(first, last, bytes);
	if (error)
		return error;
	*bytes += list_cut(ledger->shown, &ledger->shown_count, iova, end);
	ledger->dirty = true;
	return 0;
}

void ledger_forget(struct ledger *ledger, uint64_t iova, uint64_t end)
{
	list_cut(ledger->shown, &ledger->shown_count, iova, end);
	for (size_t i = ledger->piece_count; i-- > 0;)
		if (piece_overlaps(&ledger->pieces[i], iova, end))
			list_remove_at(ledger->pieces, &ledger->piece_count, i);
}
