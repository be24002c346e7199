/* SPDX-License-Identifier: MIT */
/* Faults of devices: drivers/iommu/iommufd/eventq.c, drivers/iommu/io-pgfault.c. */
#include "model.h"
#include "sys/uapi.h"

#define FAULT_BYTES  sizeof(struct vfb_iommu_hwpt_pgfault)
#define ANSWER_BYTES sizeof(struct vfb_iommu_hwpt_page_response)

/* A group of requests for pages, which are answered together. */
struct page_group {
	struct page_group *next;
	unsigned int number;
	const struct device *device;
	struct fault_queue *queue;
	bool is_read;
	/* Of those that were read and not answered, the lowest number that was free; 0 is one. */
	uint32_t cookie;
	enum fake_page_answer answer;
	size_t count;
	struct fake_page_request requests[];
};

struct fault_queue {
	struct fault_queue *next;
	struct iommufd *iommufd;
	unsigned int id;
	/* One of the file, one of the object. */
	unsigned int refs;
};

static void queue_put(struct fault_queue *queue)
{
	if (!--queue->refs)
		free(queue);
}

struct fault_queue *fk_faults_find(const struct iommufd *iommufd, unsigned int id)
{
	struct fault_queue *queue = iommufd->queues;

	while (queue && queue->id != id)
		queue = queue->next;
	return queue;
}

/* iommufd_fault_alloc() */
int fk_faults_alloc(struct fake *fake, struct iommufd *iommufd, void *arg)
{
	struct vfb_iommu_fault_alloc *cmd = arg;
	struct fault_queue *queue;
	int fd;

	if (cmd->size < sizeof(*cmd))
		return -EINVAL;
	if (cmd->flags)
		return -EOPNOTSUPP;
	queue = fk_xalloc(sizeof(*queue));
	fd = fk_file_new(fake, FILE_FAULTS, "faults", queue, NULL);
	if (fd < 0) {
		free(queue);
		return fd;
	}
	queue->refs = 2;
	queue->iommufd = iommufd;
	queue->id = fk_iommufd_new_id(iommufd);
	queue->next = iommufd->queues;
	iommufd->queues = queue;
	cmd->out_fault_id = queue->id;
	cmd->out_fault_fd = fd;
	return 0;
}

void fk_faults_put(struct fault_queue *queue)
{
	queue_put(queue);
}

static void answer(struct fake *fake, struct page_group *group, enum fake_page_answer how)
{
	group->answer = how;
	group->queue = NULL;
	fk_wake_all(fake, group);
}

/* iommufd_auto_response_faults(): @device: only its groups. */
static void answer_all(struct fake *fake, const struct fault_queue *queue,
		       const struct device *device)
{
	for (struct page_group *group = fake->page_groups; group; group = group->next)
		if (queue ? group->queue == queue : group->queue && group->device == device)
			answer(fake, group, FAKE_PAGES_INVALID);
}

void fk_faults_detach(struct fake *fake, const struct device *device)
{
	answer_all(fake, NULL, device);
}

int fk_faults_destroy(struct fake *fake, struct iommufd *iommufd, unsigned int id)
{
	struct fault_queue **at = &iommufd->queues, *queue;

	while ((*at)->id != id)
		at = &(*at)->next;
	queue = *at;
	for (const struct ioas *ioas = iommufd->ioases; ioas; ioas = ioas->next)
		if (ioas->queue == queue)
			return -EBUSY;
	*at = queue->next;
	answer_all(fake, queue, NULL);
	queue_put(queue);
	return 0;
}

void fk_faults_release(struct fake *fake, struct iommufd *iommufd)
{
	struct fault_queue *queue;

	while ((queue = iommufd->queues)) {
		iommufd->queues = queue->next;
		answer_all(fake, queue, NULL);
		queue_put(queue);
	}
}

void fk_faults_free(struct fake *fake)
{
	struct page_group *group;

	while ((group = fake->page_groups)) {
		fake->page_groups = group->next;
		free(group);
	}
}

/* ---- The file ---- */

static struct page_group *next_unread(struct fake *fake, const struct fault_queue *queue)
{
	struct page_group *group = fake->page_groups;

	while (group && (group->queue != queue || group->is_read))
		group = group->next;
	return group;
}

static struct page_group *find_cookie(struct fake *fake, const struct fault_queue *queue,
				      uint32_t cookie)
{
	struct page_group *group = fake->page_groups;

	while (group && (group->queue != queue || !group->is_read || group->cookie != cookie))
		group = group->next;
	return group;
}

/* iommufd_fault_fops_read() */
static ssize_t read_groups(struct fake *fake, const struct fault_queue *queue,
			   struct vfb_iommu_hwpt_pgfault *out, size_t bytes)
{
	struct page_group *group;
	size_t done = 0;

	if (bytes % FAULT_BYTES)
		return -ESPIPE;
	while ((group = next_unread(fake, queue)) && (done + group->count) * FAULT_BYTES <= bytes) {
		uint32_t cookie = 0;

		while (find_cookie(fake, queue, cookie))
			cookie++;
		group->cookie = cookie;
		group->is_read = true;
		for (size_t i = 0; i < group->count; i++)
			out[done++] = (struct vfb_iommu_hwpt_pgfault){
				.dev_id = group->device->object_id,
				.grpid = group->number,
				.perm = group->requests[i].perm,
				.addr = group->requests[i].iova,
				.cookie = cookie,
			};
	}
	return done * FAULT_BYTES;
}

/* iommufd_fault_fops_write(): what comes before an error has been answered. */
ssize_t fk_faults_write(struct fake *fake, struct fault_queue *queue, const void *buf, size_t bytes)
{
	const struct vfb_iommu_hwpt_page_response *answers = buf;
	size_t done = 0;

	if (bytes % ANSWER_BYTES)
		return -ESPIPE;
	while (done < bytes / ANSWER_BYTES) {
		struct page_group *group = find_cookie(fake, queue, answers[done].cookie);

		if (!group || answers[done].code > VFB_IOMMUFD_PAGE_RESP_INVALID)
			return done ? (ssize_t)(done * ANSWER_BYTES) : -EINVAL;
		answer(fake, group, answers[done].code ? FAKE_PAGES_INVALID : FAKE_PAGES_SUCCESS);
		done++;
	}
	fake->fault_writes++;
	return bytes;
}

static ssize_t op_read(const struct vfb_sys *sys, int fd, void *buf, size_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);
	ssize_t done = fk_inject(fake, "read", NULL, EIO);

	if (!done)
		done = file && file->kind == FILE_FAULTS ?
			       read_groups(fake, file->queue, buf, bytes) :
			       -EBADF;
	if (file)
		fk_file_put(fake, file);
	kernel_leave(fake);
	return done;
}

static const char awaiting[] = "faults of devices";

static int wait_for_faults(struct fake *fake, const struct file *file, const struct file *stop)
{
	while (file->fd >= 0 && !fk_eventfd_is_set(stop)) {
		if (next_unread(fake, file->queue))
			return 0;
		fk_thread_block(fake, awaiting, stop, NEVER);
	}
	return file->fd < 0 ? -EBADF : -ECANCELED;
}

static int op_wait_readable(const struct vfb_sys *sys, int fd, int stop)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd), *stopper = fk_file_get(fake, stop);
	int error = fk_inject(fake, "wait_readable", NULL, EINTR);

	fk_locks_check(fake, "waiting for faults", 0);
	if (!file || !stopper)
		error = -EBADF;
	if (!error && file->kind != FILE_FAULTS)
		error = -EBADF;
	if (!error)
		error = wait_for_faults(fake, file, stopper);
	if (file)
		fk_file_put(fake, file);
	if (stopper)
		fk_file_put(fake, stopper);
	kernel_leave(fake);
	return error;
}

void fk_faults_table(struct vfb_sys *sys)
{
	sys->read = op_read;
	sys->wait_readable = op_wait_readable;
}

/* ---- Devices ---- */

static void wake_readers(struct fake *fake)
{
	for (struct thread *t = fake->threads; t; t = t->next)
		if (t->blocked && t->why == awaiting)
			fk_thread_wake(t, false);
}

unsigned int fake_request_pages(struct fake *fake, const char *address,
				const struct fake_page_request *requests, size_t count)
{
	struct page_group **at = &fake->page_groups, *group;
	const struct device *device;

	kernel_enter(&fake->sys);
	group = fk_xalloc(sizeof(*group) + count * sizeof(*requests));
	device = fk_device_find(fake, address);
	group->device = device;
	group->count = count;
	memcpy(group->requests, requests, count * sizeof(*requests));
	/* iommu_report_device_fault(): nobody handles it. */
	group->answer = FAKE_PAGES_INVALID;
	if (device->ioas && device->ioas->queue) {
		group->answer = FAKE_PAGES_PENDING;
		group->queue = device->ioas->queue;
	}
	while (*at) {
		group->number = (*at)->number + 1;
		at = &(*at)->next;
	}
	*at = group;
	wake_readers(fake);
	count = group->number;
	kernel_leave(fake);
	return count;
}

enum fake_page_answer fake_page_answer(struct fake *fake, unsigned int number, uint64_t timeout_ns)
{
	enum fake_page_answer how;
	struct page_group *group;
	uint64_t deadline;

	kernel_enter(&fake->sys);
	deadline = timeout_ns < NEVER - fake->now ? fake->now + timeout_ns : NEVER;
	group = fake->page_groups;
	while (group->number != number)
		group = group->next;
	while (group->answer == FAKE_PAGES_PENDING && fake->now < deadline)
		fk_thread_block(fake, "the answer to a fault", group, deadline);
	how = group->answer;
	kernel_leave(fake);
	return how;
}

unsigned int fake_page_answer_calls(struct fake *fake)
{
	unsigned int calls;

	kernel_enter(&fake->sys);
	calls = fake->fault_writes;
	kernel_leave(fake);
	return calls;
}
