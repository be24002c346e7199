/* SPDX-License-Identifier: MIT */
/* Helper processes: they hold duplicates of devices' files until they are waited for. */
#include <fcntl.h>
#include <unistd.h>

#include "model.h"

static int op_pipe(const struct vfb_sys *sys, int ends[2])
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "pipe", NULL, EMFILE);

	if (!error && pipe2(ends, O_CLOEXEC))
		error = -errno;
	if (!error) {
		fk_file_install(fake, ends[0], FILE_PIPE, "pipe", NULL);
		fk_file_install(fake, ends[1], FILE_PIPE, "pipe", NULL);
	}
	kernel_leave(fake);
	return error;
}

static ssize_t op_write(const struct vfb_sys *sys, int fd, const void *buf, size_t bytes)
{
	struct fake *fake = kernel_enter(sys);
	struct file *file = fk_file_get(fake, fd);
	ssize_t done = fk_inject(fake, "write", NULL, EPIPE);

	if (!done)
		done = file && file->kind == FILE_FAULTS ?
			       fk_faults_write(fake, file->queue, buf, bytes) :
			       (ssize_t)bytes;
	if (file)
		fk_file_put(fake, file);
	kernel_leave(fake);
	return done;
}

static int do_spawn(struct fake *fake, const char *program, char *const *argv, const int *fds,
		    size_t count)
{
	struct helper *helper = &fake->helper;
	size_t used;

	if (helper->running)
		abort();
	helper->running = true;
	helper->count = 0;
	for (size_t i = 0; i < count; i++) {
		struct file *file = fk_file_get(fake, fds[i]);

		if (file && file->kind == FILE_DEVICE && helper->count < ARRAY_SIZE(helper->files))
			helper->files[helper->count++] = file;
		else if (file)
			fk_file_put(fake, file);
	}
	used = snprintf(helper->text, sizeof(helper->text), "%s", program);
	for (argv++; *argv; argv++)
		used += snprintf(helper->text + used, sizeof(helper->text) - used, " %s", *argv);
	return 1000;
}

static int op_spawn(const struct vfb_sys *sys, const char *program, char *const *argv,
		    const int *fds, size_t count, int *process)
{
	struct fake *fake = kernel_enter(sys);
	int error = fk_inject(fake, "spawn", NULL, ENOENT);

	if (!error)
		*process = do_spawn(fake, program, argv, fds, count);
	kernel_leave(fake);
	return error;
}

static void op_wait_process(const struct vfb_sys *sys, int process)
{
	struct fake *fake = kernel_enter(sys);

	(void)process;
	while (fake->helper.count)
		fk_file_put(fake, fake->helper.files[--fake->helper.count]);
	fake->helper.running = false;
	kernel_leave(fake);
}

static int op_process_id(const struct vfb_sys *sys)
{
	return fake_of(sys)->process;
}

void fake_set_process(struct fake *fake, int process)
{
	fake->process = process;
}

const char *fake_helper(struct fake *fake)
{
	return fake->helper.running ? fake->helper.text : NULL;
}

void fk_process_table(struct vfb_sys *sys)
{
	sys->pipe = op_pipe;
	sys->write = op_write;
	sys->spawn = op_spawn;
	sys->wait_process = op_wait_process;
	sys->process_id = op_process_id;
}
