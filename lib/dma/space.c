/* SPDX-License-Identifier: MIT */
#include "dma/expected.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dma/fault.h"
#include "dma/spaces.h"
#include "iommu/legacy.h"
#include "memory/memory.h"
#include "observe/error.h"
#include "options.h"

static int check_opts(const struct vfb_space_opts *opts)
{
	if (opts->map_by > VFB_MAP_BY_FILE)
		return vfb_fail(-EINVAL, "unknown map_by %d of a space", (int)opts->map_by);
	if (opts->page_size > VFB_PAGE_HUGE || opts->kind > VFB_MEMORY_MEMFD)
		return vfb_fail(-EINVAL, "unknown page size %d or memory kind %d of a space",
				(int)opts->page_size, (int)opts->kind);
	if (opts->flags & ~(VFB_SPACE_KEEP_DOMAIN | VFB_SPACE_DIRTY))
		return vfb_fail(-EINVAL, "unknown flags 0x%x of a space: this version knows 0x%x",
				opts->flags, VFB_SPACE_KEEP_DOMAIN | VFB_SPACE_DIRTY);
	if (opts->dirty_domain && !(opts->flags & VFB_SPACE_DIRTY))
		return vfb_fail(-EINVAL, "domain %" PRIu32 " of a space needs VFB_SPACE_DIRTY",
				opts->dirty_domain);
	if (opts->fault_fd < 0)
		return vfb_fail(-EINVAL, "%" PRId32 " is no file of a queue of faults (fault_fd)",
				opts->fault_fd);
	if (opts->window_bytes &&
	    (opts->window_bytes & (opts->window_bytes - 1) || opts->window_bytes < 2 * MIB))
		return vfb_fail(-EINVAL,
				"a DMA window of 0x%" PRIx64 " bytes: it must be a power of two "
				"from 2 MiB on, or 0 for the memory of the host",
				opts->window_bytes);
	if (opts->on_demand > VFB_ON_DEMAND_STATIC)
		return vfb_fail(-EINVAL, "unknown on_demand %d of a space", (int)opts->on_demand);
	if (opts->block_bytes && (opts->block_bytes & (opts->block_bytes - 1) ||
				  opts->block_bytes < 2 * MIB || opts->block_bytes > GIB))
		return vfb_fail(-EINVAL,
				"blocks of 0x%" PRIx64 " bytes: they must be a power of two from "
				"2 MiB to 1 GiB, or 0 for none",
				opts->block_bytes);
	return 0;
}

/* Mixed pages have two sizes: a base page fits both. */
static uint64_t page_bytes_of(const struct vfb_sys *sys, const struct vfb_space_opts *opts)
{
	return vfb_page_bytes(sys,
			      opts->page_size == VFB_PAGE_MIXED ? VFB_PAGE_BASE : opts->page_size);
}

static struct vfb_iommu_hooks hooks_of(const struct vfb_space_opts *opts)
{
	return (struct vfb_iommu_hooks){
		.add_file = opts->add_file,
		.remove_file = opts->remove_file,
		.data = opts->file_data,
	};
}

static int make_space(struct vfb_ctx *ctx, const struct vfb_iommu_ops *ops,
		      struct vfb_iommu_source *source, const struct vfb_space_opts *opts,
		      struct vfb_space **out)
{
	struct vfb_space *space;
	struct vfb_span span;
	int error;

	if (source->keep_domain && ops->backend != VFB_BACKEND_IOMMUFD)
		return vfb_fail(-ENOTSUP,
				"%s cannot keep a domain without a device "
				"(VFB_SPACE_KEEP_DOMAIN): use iommufd",
				ops->name);
	if (source->dirty && !ops->read_dirty)
		return vfb_fail(-ENOTSUP,
				"%s does not track what devices write to (VFB_SPACE_DIRTY): only "
				"type1 and iommufd do",
				ops->name);
	if (source->dirty_domain && (source->fd < 0 || ops->backend != VFB_BACKEND_IOMMUFD))
		return vfb_fail(-EINVAL,
				"domain %" PRIu32 " of a space can only be tracked in an adopted "
				"iommufd",
				source->dirty_domain);
	space = vfb_lines_create(sizeof(*space));
	if (!space)
		return vfb_fail_memory();
	error = vfb_demands_init(&space->demands, opts, ops->backend);
	if (error) {
		free(space);
		return error;
	}
	source->faults = space->demands.way == VFB_ON_DEMAND_FAULT;
	source->fault_fd = opts->fault_fd ? opts->fault_fd : -1;
	vfb_observe_begin(&span, &ctx->observer, VFB_PHASE_CREATE);
	error = ops->create(ctx->sys, source, &space->iommu);
	vfb_observe_end(&span, .operation = "space", .result = error, .node = VFB_ANY_NODE);
	if (error) {
		vfb_demands_destroy(&space->demands);
		free(space);
		return error;
	}
	space->ctx = ctx;
	space->iommu->hooks = source->hooks;
	space->refs = 1;
	space->can_track = source->dirty;
	space->block_bytes = opts->block_bytes;
	pthread_mutex_init(&space->lock, NULL);
	pthread_cond_init(&space->changed, NULL);
	vfb_translator_init(&space->translator);
	/* Until something is translated, changes need not be listed. */
	space->index.all_changed = true;
	space->entries_left = UINT64_MAX;
	atomic_fetch_add(&ctx->objects, 1);
	vfb_spaces_add(ctx->spaces, space);
	if (space->iommu->has_domain) {
		error = vfb_space_read_domain(space);
		space->domain = !error;
	}
	if (!error && source->faults)
		error = vfb_faults_start(space, opts);
	if (error) {
		vfb_space_destroy(space);
		return error;
	}
	*out = space;
	return 0;
}

int vfb_space_create(struct vfb_ctx *ctx, const struct vfb_space_opts *opts, struct vfb_space **out)
{
	struct vfb_space_opts known = VFB_SPACE_OPTS_INIT;
	char reason[VFB_REASON_BYTES] = "it was requested";
	const struct vfb_iommu_ops *ops;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = check_opts(&known);
	if (!error && known.fault_fd)
		error = vfb_fail(-EINVAL,
				 "a queue of faults (vfb_space_opts.fault_fd) belongs to an "
				 "iommufd of the caller, and can only be used when that "
				 "is adopted (vfb_space_adopt())");
	if (!error && known.backend == VFB_BACKEND_AUTO)
		known.backend = vfb_choose_backend(ctx, &known, reason);
	if (!error)
		error = vfb_iommu_choose(known.backend, &ops);
	if (error)
		return error;
	error = make_space(ctx, ops,
			   &(struct vfb_iommu_source){
				   .fd = -1,
				   .map_by = known.map_by,
				   .keep_domain = known.flags & VFB_SPACE_KEEP_DOMAIN,
				   .dirty = known.flags & VFB_SPACE_DIRTY,
				   .dirty_domain = known.dirty_domain,
				   .page_bytes = page_bytes_of(ctx->sys, &known),
				   .window_bytes = known.window_bytes,
				   .hooks = hooks_of(&known),
			   },
			   &known, out);
	if (!error)
		memcpy((*out)->reason, reason, sizeof(reason));
	return error;
}

static enum vfb_backend adopted_backend(const struct vfb_sys *sys, int fd, bool is_iommufd)
{
	if (is_iommufd)
		return VFB_BACKEND_IOMMUFD;
	return vfb_legacy_is_spapr(sys, fd) ? VFB_BACKEND_SPAPR : VFB_BACKEND_TYPE1;
}

int vfb_space_adopt(struct vfb_ctx *ctx, int fd, uint32_t ioas, const struct vfb_space_opts *opts,
		    struct vfb_space **out)
{
	struct vfb_space_opts known = VFB_SPACE_OPTS_INIT;
	const struct vfb_iommu_ops *ops;
	bool is_iommufd;
	int error;

	*out = NULL;
	error = vfb_struct_read(&known, sizeof(known), opts);
	if (!error)
		error = check_opts(&known);
	if (error)
		return error;
	if (fd < 0 || known.backend == VFB_BACKEND_NONE)
		return vfb_fail(-EINVAL,
				"file descriptor %d cannot be adopted: it is not a container or "
				"iommufd",
				fd);
	is_iommufd = ioas || vfb_iommu_is_iommufd(ctx->sys, fd);
	if (known.backend == VFB_BACKEND_AUTO)
		known.backend = adopted_backend(ctx->sys, fd, is_iommufd);
	if ((known.backend == VFB_BACKEND_IOMMUFD) != is_iommufd)
		return vfb_fail(-EINVAL,
				"file descriptor %d with I/O address space %" PRIu32
				" cannot be adopted as %s: it is %s",
				fd, ioas,
				known.backend == VFB_BACKEND_IOMMUFD ? "iommufd" : "a container",
				is_iommufd ? "an iommufd, use VFB_BACKEND_AUTO" : "not an iommufd");
	error = vfb_iommu_choose(known.backend, &ops);
	if (error)
		return error;
	error = make_space(ctx, ops,
			   &(struct vfb_iommu_source){
				   .fd = fd,
				   .ioas = ioas,
				   .map_by = known.map_by,
				   .keep_domain = known.flags & VFB_SPACE_KEEP_DOMAIN,
				   .dirty = known.flags & VFB_SPACE_DIRTY,
				   .dirty_domain = known.dirty_domain,
				   .page_bytes = page_bytes_of(ctx->sys, &known),
				   .window_bytes = known.window_bytes,
				   .hooks = hooks_of(&known),
			   },
			   &known, out);
	if (!error)
		snprintf((*out)->reason, sizeof((*out)->reason), "it was adopted");
	return error;
}

void vfb_space_ref(struct vfb_space *space)
{
	atomic_fetch_add(&space->refs, 1);
}

void vfb_space_unref(struct vfb_space *space)
{
	if (!space || atomic_fetch_sub(&space->refs, 1) > 1)
		return;
	pthread_cond_destroy(&space->changed);
	pthread_mutex_destroy(&space->lock);
	free(space);
}

/* Makes vfb_space_job_try_begin() fail from now on. */
static int begin_destroy(struct vfb_space *space)
{
	unsigned int devices, jobs;
	int error = vfb_observer_check_process(&space->ctx->observer);

	if (error)
		return error;
	pthread_mutex_lock(&space->lock);
	devices = space->devices + space->open_jobs;
	jobs = space->jobs;
	space->ending = !devices && !jobs;
	pthread_mutex_unlock(&space->lock);
	if (devices)
		return vfb_fail(-EBUSY, "devices are open in the space, or being opened: close "
					"them first");
	return jobs ? vfb_fail(-EBUSY,
			       "jobs are mapping or unmapping in the space: wait for them") :
		      0;
}

static void cancel_destroy(struct vfb_space *space)
{
	pthread_mutex_lock(&space->lock);
	space->ending = false;
	pthread_mutex_unlock(&space->lock);
}

int vfb_space_destroy(struct vfb_space *space)
{
	struct vfb_span span;
	struct vfb_ctx *ctx;
	int error;

	if (!space)
		return 0;
	error = begin_destroy(space);
	if (error)
		return error;
	/* What is empty needs no job, which might fail. */
	if (space->iommu->adopted && !space->released && space->index.count) {
		error = vfb_space_unmap_all(space);
		if (error) {
			cancel_destroy(space);
			return error;
		}
	}
	vfb_faults_stop(space->demands.faults);
	/* The kernel unmaps the rest when the file is closed. */
	vfb_observe_begin(&span, &space->ctx->observer, VFB_PHASE_DESTROY);
	space->iommu->ops->destroy(space->iommu);
	vfb_observe_end(&span, .operation = "space", .node = VFB_ANY_NODE);
	/* Until now, pages of its memory could not be returned. */
	vfb_spaces_remove(space->ctx->spaces, space);
	pthread_mutex_lock(&space->lock);
	vfb_space_forget_locked(space);
	pthread_mutex_unlock(&space->lock);
	vfb_translator_destroy(&space->translator);
	vfb_demands_destroy(&space->demands);
	ctx = space->ctx;
	free(space->ranges);
	vfb_iova_set_free(&space->expected);
	vfb_space_unref(space);
	atomic_fetch_sub(&ctx->objects, 1);
	return 0;
}

int vfb_space_info(struct vfb_space *space, struct vfb_space_info *info)
{
	struct vfb_space_info known = {
		.backend = space->iommu->ops->backend,
		.reason = space->reason,
	};

	pthread_mutex_lock(&space->lock);
	known.fd = space->iommu->ops->file(space->iommu, &known.ioas);
	known.devices = space->devices;
	known.mappings = space->index.range_count;
	known.mapped_bytes = space->index.bytes - space->index.discarded_bytes -
			     vfb_demand_idle_bytes_locked(space);
	known.discarded_bytes = space->index.discarded_bytes;
	known.host_only_bytes = space->index.host_only_bytes;
	known.entries_left = space->entries_left;
	pthread_mutex_unlock(&space->lock);
	return vfb_struct_write(info, &known, sizeof(known));
}

int vfb_space_iova_ranges(struct vfb_space *space, struct vfb_iova_range *ranges, size_t count)
{
	static const struct vfb_iova_range all = {0, UINT64_MAX};
	const struct vfb_iova_range *valid;
	size_t known;

	pthread_mutex_lock(&space->lock);
	valid = vfb_space_valid_locked(space, &known);
	if (!valid) {
		valid = &all;
		known = 1;
	}
	for (size_t i = 0; i < count && i < known; i++)
		ranges[i] = valid[i];
	pthread_mutex_unlock(&space->lock);
	return (int)known;
}
