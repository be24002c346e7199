/* SPDX-License-Identifier: MIT */
#include "dma/calls.h"

#include <errno.h>
#include <stdlib.h>

#include "container_of.h"
#include "observe/error.h"

int vfb_calls_add(struct vfb_calls *calls, const struct vfb_call *call)
{
	if (calls->count == calls->capacity) {
		size_t capacity = calls->capacity * 2 + 4;
		struct vfb_call *grown = reallocarray(calls->calls, capacity, sizeof(*grown));

		if (!grown)
			return vfb_fail_memory();
		calls->calls = grown;
		calls->capacity = capacity;
	}
	calls->calls[calls->count] = *call;
	calls->calls[calls->count++].error = -EINPROGRESS;
	return 0;
}

int vfb_calls_add_blocks(struct vfb_calls *calls, const struct vfb_call *part)
{
	uint64_t end = part->offset + part->bytes;
	struct vfb_call call = *part;
	int error = 0;

	for (; call.offset < end && !error; call.offset += call.bytes, call.iova += call.bytes) {
		call.bytes = vfb_space_block_end(calls->space, call.memory, call.offset, end) -
			     call.offset;
		error = vfb_calls_add(calls, &call);
	}
	return error;
}

void vfb_calls_free(struct vfb_calls *calls)
{
	free(calls->calls);
}

int vfb_call_map(struct vfb_space *space, struct vfb_call *call)
{
	call->error = vfb_space_map_one(space, call->memory, call->offset, call->bytes, call->iova,
					call->flags);
	return call->error;
}

static void finish_call(struct vfb_calls *calls, const struct vfb_call *call)
{
	struct vfb_job *job = calls->spread.job;

	if (call->error)
		vfb_job_fail(job, call->error, calls->all_or_nothing);
	atomic_fetch_add(&job->bytes_done, call->bytes);
}

static void visit_map(struct vfb_spread *spread, size_t item)
{
	struct vfb_calls *calls = container_of(spread, struct vfb_calls, spread);

	if (calls->all_or_nothing && vfb_job_stopped(spread->job))
		return;
	vfb_call_map(calls->space, &calls->calls[item]);
	finish_call(calls, &calls->calls[item]);
}

static void visit_unmap(struct vfb_spread *spread, size_t item)
{
	struct vfb_calls *calls = container_of(spread, struct vfb_calls, spread);
	struct vfb_call *call = &calls->calls[item];

	call->error = vfb_space_unmap_one(calls->space, call->iova, call->bytes);
	finish_call(calls, call);
}

unsigned int vfb_calls_width(const struct vfb_calls *calls, unsigned int width)
{
	unsigned int workers = vfb_engine_workers(calls->space->ctx->engine);

	if (!calls->space->iommu->ops->parallel)
		return 1;
	return width && width < workers ? width : workers;
}

void vfb_calls_map(struct vfb_calls *calls, struct vfb_job *job)
{
	vfb_spread(&calls->spread, job, calls->count, vfb_calls_width(calls, 0), visit_map);
}

void vfb_calls_unmap(struct vfb_calls *calls, struct vfb_job *job, unsigned int width)
{
	vfb_spread(&calls->spread, job, calls->count, vfb_calls_width(calls, width), visit_unmap);
}
