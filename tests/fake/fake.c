/* SPDX-License-Identifier: MIT */
/* Creating and destroying the fake kernel: its machine and its devices. */
#include <unistd.h>

#include "model.h"

void *fk_xalloc(size_t bytes)
{
	void *memory = calloc(1, bytes ? bytes : 1);

	if (!memory)
		abort();
	return memory;
}

char *fk_xstrdup(const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		abort();
	return copy;
}

static void set_default(uint64_t *value, uint64_t standard)
{
	if (!*value)
		*value = standard;
}

static void set_defaults(struct fake_config *config)
{
	if (!config->nodes)
		config->nodes = 1;
	if (!config->cpus_per_node)
		config->cpus_per_node = 4;
	if (config->nodes > FAKE_NODES || config->nodes * config->cpus_per_node > CPU_SETSIZE)
		abort();
	for (int n = 0; n < FAKE_NODES; n++)
		set_default(&config->memory[n], 64 * FAKE_GIB);
	set_default(&config->memlock, UINT64_MAX);
	if (!config->dma_entry_limit)
		config->dma_entry_limit = 65535;
	if (!config->base_page)
		config->base_page = 4 * FAKE_KIB;
	set_default(&config->huge_bytes[0], 2 * FAKE_MIB);
	set_default(&config->huge_bytes[1], FAKE_GIB);
	if (config->spapr)
		config->no_iommufd = config->no_cdev = true;
	set_default(&config->spapr_window, UINT64_C(1) << 40);
	if (!config->iova_bits)
		config->iova_bits = 48;
	set_default(&config->zero_ns_per_gib, 250 * FAKE_MS);
	set_default(&config->map_call_ns, 10000);
	set_default(&config->pin_ns_per_gib, 20 * FAKE_MS);
	set_default(&config->unmap_ns_per_gib, 10 * FAKE_MS);
	set_default(&config->start_ns, 1000 * FAKE_MS);
	if (!config->watchdog_s)
		config->watchdog_s = 30;
}

static void build_nodes(struct fake *fake)
{
	const struct fake_config *config = &fake->config;
	cpu_set_t all;

	CPU_ZERO(&all);
	for (unsigned int n = 0; n < config->nodes; n++) {
		struct node *node = &fake->nodes[n];

		if (config->absent_nodes & (1u << n))
			continue;
		node->exists = true;
		node->free[POOL_BASE] = config->memory[n] / fk_page(fake);
		node->free[POOL_2M] = config->no_2m ? 0 : config->pages_2m[n];
		node->free[POOL_1G] = config->no_1g ? 0 : config->pages_1g[n];
		memcpy(node->total, node->free, sizeof(node->total));
		node->blocks[POOL_2M] = config->blocks_2m[n] ? config->blocks_2m[n] : NEVER;
		node->blocks[POOL_1G] = config->blocks_1g[n] ? config->blocks_1g[n] : NEVER;
		if (config->cpuless_nodes & (1u << n))
			continue;
		for (unsigned int i = 0; i < config->cpus_per_node; i++)
			CPU_SET(n * config->cpus_per_node + i, &node->cpus);
		CPU_OR(&all, &all, &node->cpus);
	}
	if (!CPU_COUNT(&config->affinity))
		fake->config.affinity = all;
}

/* A thread that was let in, or announced, has gone. */
static void thread_gone(void *arg)
{
	struct thread *thread = arg;
	struct fake *fake = thread->fake;

	pthread_mutex_lock(&fake->lock);
	fk_thread_remove(thread);
	pthread_mutex_unlock(&fake->lock);
}

struct fake *fake_create(const struct fake_config *config)
{
	struct fake *fake = fk_xalloc(sizeof(*fake));

	if (config)
		fake->config = *config;
	set_defaults(&fake->config);
	fake->process = 77;
	fake->file_lock.name = "a file that is locked";
	fake->namespace_lock.name = "a namespace that is locked";
	build_nodes(fake);
	fake->now = fake->config.start_ns;
	pthread_mutex_init(&fake->lock, NULL);
	if (pthread_key_create(&fake->key, thread_gone))
		abort();
	fk_files_table(&fake->sys);
	fk_memfd_table(&fake->sys);
	fk_memory_table(&fake->sys);
	fk_threads_table(&fake->sys);
	fk_machine_table(&fake->sys);
	fk_process_table(&fake->sys);
	fk_socket_table(&fake->sys);
	fk_faults_table(&fake->sys);
	pthread_mutex_lock(&fake->lock);
	fk_thread_add(fake, "main", true);
	pthread_mutex_unlock(&fake->lock);
	return fake;
}

const struct vfb_sys *fake_sys(struct fake *fake)
{
	return &fake->sys;
}

static void free_devices(struct fake *fake)
{
	fk_rescan(fake);
	while (fake->devices) {
		struct device *device = fake->devices;

		for (int i = 0; i < 6; i++)
			if (device->bar_fds[i] >= 0)
				close(device->bar_fds[i]);
		fk_irq_disable_all(device);
		fake->devices = device->next;
		free(device);
	}
	while (fake->groups) {
		struct group *group = fake->groups;

		fake->groups = group->next;
		free(group);
	}
	while (fake->locks) {
		struct shared_lock *lock = fake->locks;

		fake->locks = lock->next;
		free(lock);
	}
}

/* Threads that nobody joined, but which have ended; any other would go on in freed memory.
 * Gives up the lock. */
static void reap_threads(struct fake *fake)
{
	for (const struct thread *t = fake->threads; t; t = t->next)
		if (t->created && !t->exited) {
			fprintf(stderr, "fake_destroy: thread %s still runs\n", t->name);
			abort();
		}
	pthread_mutex_unlock(&fake->lock);
	while (fake->threads) {
		struct thread *thread = fake->threads;

		if (thread->created)
			pthread_join(thread->handle, NULL);
		fake->threads = thread->next;
		pthread_cond_destroy(&thread->cond);
		free(thread);
	}
}

void fake_destroy(struct fake *fake)
{
	if (!fake)
		return;
	fake_outside_end(fake);
	pthread_mutex_lock(&fake->lock);
	fk_memory_destroy(fake);
	for (size_t fd = 0; fd < fake->file_room; fd++)
		if (fake->files[fd])
			fk_file_close(fake, fd);
	reap_threads(fake);
	fk_faults_free(fake);
	free_devices(fake);
	pthread_key_delete(fake->key);
	pthread_mutex_destroy(&fake->lock);
	free(fake->files);
	free(fake);
}

/* ---- Devices ---- */

static struct shared_lock *lock_of(struct fake *fake, const char *kind, const char *key)
{
	char name[64];
	struct shared_lock *lock;

	snprintf(name, sizeof(name), "%s %s", kind, key);
	for (lock = fake->locks; lock; lock = lock->next)
		if (!strcmp(lock->key, name))
			return lock;
	lock = fk_xalloc(sizeof(*lock));
	memcpy(lock->key, name, sizeof(name));
	lock->lock.name = lock->key;
	lock->next = fake->locks;
	fake->locks = lock;
	return lock;
}

static struct group *group_of(struct fake *fake, unsigned int number)
{
	struct group *group = fk_group_find(fake, number);

	if (group)
		return group;
	group = fk_xalloc(sizeof(*group));
	group->number = number;
	snprintf(group->name, sizeof(group->name), "group %u", number);
	group->lock.name = group->name;
	group->next = fake->groups;
	fake->groups = group;
	return group;
}

static void device_defaults(struct fake_device *config)
{
	bool any = false;

	set_default(&config->reset_ns, 100 * FAKE_MS);
	if (!config->vendor_id)
		config->vendor_id = 0x1b36;
	if (!config->device_id)
		config->device_id = 0x0010;
	if (!config->class_code)
		config->class_code = 0x010802;
	if (!config->msix_vectors)
		config->msix_vectors = 64;
	for (int i = 0; i < 6; i++)
		any |= config->bars[i].bytes != 0;
	if (!any)
		config->bars[0].bytes = 16 * FAKE_KIB;
}

static struct device *device_new(struct fake *fake, const char *address)
{
	struct device **at = &fake->devices;
	struct device *device = fk_xalloc(sizeof(*device));

	snprintf(device->address, sizeof(device->address), "%s", address);
	for (int i = 0; i < 6; i++)
		device->bar_fds[i] = -1;
	while (*at)
		at = &(*at)->next;
	*at = device;
	return device;
}

static void device_set(struct fake *fake, struct device *device, const struct fake_device *config)
{
	const char *bridge = config->bridge;
	const char *set = config->dev_set;

	device->config = *config;
	device_defaults(&device->config);
	snprintf(device->driver, sizeof(device->driver), "%s",
		 config->driver ? config->driver : "");
	snprintf(device->bridge, sizeof(device->bridge), "%s", bridge ? bridge : "");
	snprintf(device->native, sizeof(device->native), "%s", device->driver);
	device->override[0] = '\0';
	snprintf(device->physfn, sizeof(device->physfn), "%s",
		 config->physfn ? config->physfn : "");
	snprintf(device->reset_method, sizeof(device->reset_method), "%s",
		 config->reset_method ? config->reset_method :
		 bridge		      ? "flr bus" :
					"flr");
	device->group = config->no_group ? NULL : group_of(fake, config->group);
	/* vfio_pci_core_register_device() */
	device->dev_set = lock_of(fake, "dev_set",
				  set			    ? set :
				  bridge && !config->physfn ? bridge :
							      device->address);
	if (fk_device_is_vfio(device) && !device->has_index) {
		device->index = fake->next_index++;
		device->has_index = true;
	}
	device->bridge_lock = bridge ? lock_of(fake, "bridge", bridge) : NULL;
	fk_region_reset(device);
}

void fake_add_device(struct fake *fake, const struct fake_device *config)
{
	struct device *device;

	pthread_mutex_lock(&fake->lock);
	device = fk_device_find(fake, config->address);
	if (!device)
		device = device_new(fake, config->address);
	device_set(fake, device, config);
	if (device->bridge[0] && !fk_device_find(fake, device->bridge)) {
		struct fake_device bridge = {
			.address = config->bridge,
			.no_group = true,
			.node = config->node,
			.driver = "pcieport",
			.device_id = 0x000c,
			.class_code = 0x060400,
		};

		device_set(fake, device_new(fake, config->bridge), &bridge);
	}
	pthread_mutex_unlock(&fake->lock);
}
