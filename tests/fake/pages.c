/* SPDX-License-Identifier: MIT */
/* Physical memory: nodes, hugetlb pools, and the pages of mappings and memfds. */
#include <linux/mempolicy.h>

#include "model.h"

#define PAGE_NODE 0x1f

uint64_t fk_pool_page(const struct fake *fake, int pool)
{
	return pool == POOL_BASE ? fk_page(fake) : fake->config.huge_bytes[pool - POOL_2M];
}

/* -EINVAL: there is none. 0 is the default size. */
int fk_pool_of_log(const struct fake *fake, unsigned int log)
{
	if (!fake->config.no_1g && log && UINT64_C(1) << log == fk_pool_page(fake, POOL_1G))
		return POOL_1G;
	if (!fake->config.no_2m && (!log || UINT64_C(1) << log == fk_pool_page(fake, POOL_2M)))
		return POOL_2M;
	return -EINVAL;
}

/* How many base pages a page of a pool consists of. */
uint64_t fk_pool_parts(const struct fake *fake, int pool)
{
	return fk_pool_page(fake, pool) / fk_page(fake);
}

struct object *fk_object_new(struct fake *fake, int pool, uint64_t bytes, bool is_file)
{
	struct object *object = fk_xalloc(sizeof(*object));

	object->refs = 1;
	object->pool = pool;
	object->page_bytes = fk_pool_page(fake, pool);
	object->bytes = bytes;
	object->is_file = is_file;
	object->next = fake->objects;
	fake->objects = object;
	return object;
}

void fk_object_put(struct fake *fake, struct object *object)
{
	struct object **at = &fake->objects;

	if (--object->refs)
		return;
	fk_object_free_range(fake, object, 0, object->page_count * object->page_bytes, true);
	while (*at != object)
		at = &(*at)->next;
	*at = object->next;
	free(object->pages);
	free(object->policies);
	free(object);
}

static void need_pages(struct object *object, uint64_t bytes)
{
	uint64_t count = (max_u64(bytes, object->bytes) + object->page_bytes - 1) /
			 object->page_bytes;
	uint8_t *pages;

	if (count <= object->page_count)
		return;
	/* calloc() leaves what is not touched to the host's zero page. */
	pages = calloc(count, 1);
	if (!pages)
		abort();
	if (object->page_count)
		memcpy(pages, object->pages, object->page_count);
	free(object->pages);
	object->pages = pages;
	object->page_count = count;
}

int fk_object_resize(struct fake *fake, struct object *object, uint64_t bytes)
{
	/* hugetlbfs_setattr() */
	if (object->pool != POOL_BASE && bytes % object->page_bytes)
		return -EINVAL;
	if (bytes < object->bytes)
		fk_object_free_range(fake, object, bytes, object->bytes, true);
	object->bytes = bytes;
	return 0;
}

static uint64_t pool_free(const struct fake *fake, int pool)
{
	uint64_t sum = 0;

	for (int n = 0; n < FAKE_NODES; n++)
		sum += fake->nodes[n].free[pool];
	return sum;
}

/* gather_surplus_pages(): what is missing is added, as far as nr_overcommit_hugepages allows. */
static bool gather_surplus(struct fake *fake, int pool, uint64_t need)
{
	uint64_t wanted = fake->reserved[pool] + need, surplus = 0;

	for (int n = 0; n < FAKE_NODES; n++)
		surplus += fake->nodes[n].surplus[pool];
	for (int n = 0; n < FAKE_NODES && pool == POOL_2M; n++)
		while (pool_free(fake, pool) < wanted && surplus < fake->config.overcommit_2m &&
		       fk_pool_add(fake, &fake->nodes[n], pool)) {
			fake->nodes[n].surplus[pool]++;
			surplus++;
		}
	return pool_free(fake, pool) >= wanted;
}

int fk_object_reserve(struct fake *fake, struct object *object, uint64_t first, uint64_t end)
{
	uint64_t from = first / object->page_bytes;
	uint64_t to = end / object->page_bytes;
	uint64_t need = 0;

	need_pages(object, end);
	for (uint64_t i = from; i < to; i++)
		need += !object->pages[i];
	/* hugetlb_cgroup_charge_cgroup_rsvd() */
	if (object->pool == POOL_2M && fake->config.hugetlb_reserve_2m &&
	    fk_pool_used(fake, POOL_2M) + (fake->reserved[POOL_2M] + need) * object->page_bytes >
		    fake->config.hugetlb_reserve_2m)
		return -ENOMEM;
	if (!gather_surplus(fake, object->pool, need))
		return -ENOMEM;
	for (uint64_t i = from; i < to; i++)
		if (!object->pages[i])
			object->pages[i] = PAGE_RESERVED;
	fake->reserved[object->pool] += need;
	return 0;
}

bool fk_pool_shrink(struct fake *fake, struct node *node, int pool)
{
	if (!node->free[pool] || pool_free(fake, pool) <= fake->reserved[pool])
		return false;
	node->free[POOL_BASE] += fk_pool_parts(fake, pool);
	node->blocks[pool]++;
	node->free[pool]--;
	node->total[pool]--;
	return true;
}

/* free_huge_folio(), return_unused_surplus_pages() */
static void free_surplus(struct fake *fake, int pool)
{
	for (int n = 0; n < FAKE_NODES; n++)
		while (fake->nodes[n].surplus[pool] && fk_pool_shrink(fake, &fake->nodes[n], pool))
			fake->nodes[n].surplus[pool]--;
}

void fk_object_free_range(struct fake *fake, struct object *object, uint64_t first, uint64_t end,
			  bool unreserve)
{
	uint64_t to = min_u64(end / object->page_bytes, object->page_count);

	for (uint64_t i = (first + object->page_bytes - 1) / object->page_bytes; i < to; i++) {
		uint8_t page = object->pages[i];

		if (page & PAGE_NODE) {
			fake->nodes[(page & PAGE_NODE) - 1].free[object->pool]++;
			object->populated -= object->page_bytes;
			object->pages[i] = 0;
		} else if ((page & PAGE_RESERVED) && unreserve) {
			fake->reserved[object->pool]--;
			object->pages[i] = 0;
		}
	}
	free_surplus(fake, object->pool);
}

/* ---- Policy ---- */

int fk_object_set_policy(struct object *object, uint64_t first, uint64_t end, int mode,
			 uint32_t nodes)
{
	struct policy *old = object->policies;
	size_t count = 0;
	struct policy *policies = fk_xalloc((2 * object->policy_count + 1) * sizeof(*policies));

	for (size_t i = 0; i < object->policy_count; i++) {
		if (old[i].first < first) {
			policies[count] = old[i];
			policies[count].end = min_u64(old[i].end, first);
			count++;
		}
		if (old[i].end > end) {
			policies[count] = old[i];
			policies[count].first = max_u64(old[i].first, end);
			count++;
		}
	}
	if (mode != MPOL_DEFAULT)
		policies[count++] = (struct policy){first, end, mode, nodes};
	free(old);
	object->policies = policies;
	object->policy_count = count;
	return 0;
}

const struct policy *fk_object_policy(const struct object *object, uint64_t offset)
{
	for (size_t i = 0; i < object->policy_count; i++)
		if (offset >= object->policies[i].first && offset < object->policies[i].end)
			return &object->policies[i];
	return NULL;
}

static int nth_node(uint32_t nodes, uint64_t n)
{
	n %= (unsigned int)__builtin_popcount(nodes);
	while (n--)
		nodes &= nodes - 1;
	return __builtin_ctz(nodes);
}

/* Allocates @count pages on one node: @preferred, else the lowest of @allowed that has room. */
static int take_pages(struct fake *fake, int pool, uint64_t count, int preferred, uint32_t allowed)
{
	for (int i = -1; i < FAKE_NODES; i++) {
		int n = i < 0 ? preferred : i;

		if (!(allowed & (1u << n)) || fake->nodes[n].free[pool] < count)
			continue;
		fake->nodes[n].free[pool] -= count;
		return n;
	}
	return -1;
}

/* As policy_nodemask() and the zonelists of the page allocator: only bind is strict. */
static int allocate_pages(struct fake *fake, const struct object *object, uint64_t offset,
			  uint64_t bytes, int local)
{
	const struct policy *policy = fk_object_policy(object, offset);
	uint64_t count = bytes / object->page_bytes;
	uint32_t any = (1u << FAKE_NODES) - 1;
	int node;

	if (fake->config.cpuset_mems)
		any &= fake->config.cpuset_mems;

	switch (policy ? policy->mode : MPOL_DEFAULT) {
	case MPOL_BIND:
		return take_pages(fake, object->pool, count, local, policy->nodes);
	case MPOL_INTERLEAVE:
		node = nth_node(policy->nodes, (object->origin + offset) / bytes);
		return take_pages(fake, object->pool, count, node, any);
	case MPOL_PREFERRED:
		return take_pages(fake, object->pool, count,
				  policy->nodes ? __builtin_ctz(policy->nodes) : local, any);
	case 5 /* MPOL_PREFERRED_MANY */:
		node = take_pages(fake, object->pool, count, local, policy->nodes);
		return node >= 0 ? node : take_pages(fake, object->pool, count, local, any);
	default:
		return take_pages(fake, object->pool, count, local, any);
	}
}

/* ---- Populating ---- */

static int node_of_cpu(const struct fake *fake, int cpu)
{
	for (int n = 0; n < FAKE_NODES; n++)
		if (CPU_ISSET(cpu, &fake->nodes[n].cpus))
			return n;
	return 0;
}

/* Who populates, and how: the same for many pages. */
struct faulter {
	int cpu, cpu_node;
	/* The row of fake->zeroed. */
	uint64_t *zeroed_by;
	/* May become huge pages between these. */
	bool thp;
	uint64_t thp_first, thp_end;
	uint64_t zeroed;
};

static struct faulter faulter_self(struct fake *fake)
{
	const struct thread *self = fk_thread_self(fake);
	int node = fk_thread_node(self);

	return (struct faulter){
		.cpu = self->cpu,
		.cpu_node = node_of_cpu(fake, self->cpu),
		.zeroed_by = fake->zeroed[node < 0 ? FAKE_NODES : node],
	};
}

/* The part of 2 MiB around a page, if it can become a huge page: within the VMA, all absent. */
static bool huge_block(const struct object *object, uint64_t offset, const struct faulter *by,
		       uint64_t *block)
{
	uint64_t address = (object->origin + offset) / PAGE_2M * PAGE_2M;

	if (address < object->origin + by->thp_first ||
	    address + PAGE_2M > object->origin + by->thp_end)
		return false;
	*block = address - object->origin;
	for (uint64_t i = 0; i < PAGE_2M / object->page_bytes; i++)
		if (object->pages[*block / object->page_bytes + i])
			return false;
	return true;
}

static int fault_page(struct fake *fake, struct object *object, uint64_t offset, struct faulter *by)
{
	uint64_t bytes = object->page_bytes;
	uint64_t at = offset / bytes * bytes;
	bool reserved = object->pages[at / bytes] & PAGE_RESERVED;
	int node = -1;

	if (object->pool != POOL_BASE && !reserved &&
	    fake->reserved[object->pool] >= pool_free(fake, object->pool))
		return -EFAULT;
	/* hugetlb_cgroup_charge_cgroup() */
	if (object->pool == POOL_2M && fake->config.hugetlb_limit_2m &&
	    fk_pool_used(fake, POOL_2M) + bytes > fake->config.hugetlb_limit_2m)
		return -EFAULT;
	/* mem_cgroup_oom() */
	if (object->pool == POOL_BASE && fake->config.memory_limit &&
	    fk_pool_used(fake, POOL_BASE) + bytes > fake->config.memory_limit) {
		fk_misuse(fake, "killed: memory.max is reached");
		return -ENOMEM;
	}
	if (by->thp && huge_block(object, at, by, &at)) {
		bytes = PAGE_2M;
		node = allocate_pages(fake, object, at, bytes, by->cpu_node);
		if (node < 0) {
			bytes = object->page_bytes;
			at = offset / bytes * bytes;
		}
	}
	if (node < 0)
		node = allocate_pages(fake, object, at, bytes, by->cpu_node);
	if (node < 0 && object->pool == POOL_BASE)
		fk_misuse(fake, "killed: out of memory");
	/* hugetlb_fault() raises SIGBUS, which is EFAULT here. */
	if (node < 0)
		return object->pool == POOL_BASE ? -ENOMEM : -EFAULT;
	if (reserved)
		fake->reserved[object->pool]--;
	memset(object->pages + at / object->page_bytes,
	       bytes > object->page_bytes ? PAGE_HUGE | (node + 1) : node + 1,
	       bytes / object->page_bytes);
	object->populated += bytes;
	by->zeroed += bytes;
	by->zeroed_by[node] += bytes;
	fake->zeroed_on_cpu[by->cpu] += bytes;
	return 0;
}

static int populate_pages(struct fake *fake, struct object *object, uint64_t first, uint64_t end,
			  struct faulter *by, uint64_t *budget)
{
	uint64_t next;

	for (uint64_t offset = first; offset < end; offset = next) {
		uint64_t page = offset / object->page_bytes;
		int error;

		next = min_u64((page + 1) * object->page_bytes, end);
		/* Beyond the end of a file. */
		if (page >= object->page_count || (object->is_file && offset >= object->bytes))
			return -EFAULT;
		if (next - offset > *budget)
			return -ENOMEM;
		if (object->pages[page] & PAGE_POISONED)
			return -EHWPOISON;
		if (!(object->pages[page] & PAGE_NODE)) {
			error = fault_page(fake, object, offset, by);
			if (error)
				return error;
		}
		if (*budget != NEVER)
			*budget -= next - offset;
	}
	return 0;
}

int fk_object_populate(struct fake *fake, struct object *object, uint64_t first, uint64_t end,
		       bool thp, uint64_t thp_first, uint64_t thp_end, uint64_t *budget,
		       uint64_t *zeroed)
{
	struct faulter by = faulter_self(fake);
	int error;

	by.thp = thp;
	by.thp_first = thp_first;
	by.thp_end = thp_end;
	need_pages(object, object->is_file ? object->bytes : thp_end);
	error = populate_pages(fake, object, first, end, &by, budget);
	*zeroed += by.zeroed;
	return error;
}

void fk_object_poison(struct object *object, uint64_t offset, uint64_t end)
{
	need_pages(object, end);
	object->pages[offset / object->page_bytes] |= PAGE_POISONED;
}

uint64_t fk_pool_used(const struct fake *fake, int pool)
{
	uint64_t bytes = 0;

	for (const struct object *object = fake->objects; object; object = object->next)
		if (object->pool == pool)
			bytes += object->populated;
	return bytes;
}

uint64_t fk_object_populated(const struct object *object, uint64_t first, uint64_t end)
{
	uint64_t bytes = 0;

	for (uint64_t offset = first; offset < end;) {
		uint64_t next = (offset / object->page_bytes + 1) * object->page_bytes;

		if (fk_object_page_node(object, offset) >= 0)
			bytes += min_u64(next, end) - offset;
		offset = next;
	}
	return bytes;
}

int fk_object_page_node(const struct object *object, uint64_t offset)
{
	uint64_t page = offset / object->page_bytes;

	if (page >= object->page_count || !(object->pages[page] & PAGE_NODE))
		return -ENOENT;
	return (object->pages[page] & PAGE_NODE) - 1;
}
