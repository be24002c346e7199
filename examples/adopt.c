/* SPDX-License-Identifier: MIT */
/*
 * A device in two processes: a privileged one opens it and sends it to another, as a daemon does
 *for an unprivileged VMM:
 *
 *	adopt 0000:01:00.0
 *
 * The receiver adopts the device, maps memory for it, reads its registers, and leaves everything as
 * it was. The opener could also open the files without the library: a container and a device from a
 * group, or an iommufd and a device node that is bound and attached.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vfioboost.h>

#define MIB (UINT64_C(1) << 20)

/* ---- A message with two file descriptors (SCM_RIGHTS) ---- */

struct files {
	/* The container; or the iommufd, and the number of the I/O address space in it. */
	int space;
	uint32_t ioas;
	int device;
};

struct message {
	struct msghdr header;
	struct iovec data;
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} rights;
};

static void prepare(struct message *message, uint32_t *ioas)
{
	memset(message, 0, sizeof(*message));
	message->data.iov_base = ioas;
	message->data.iov_len = sizeof(*ioas);
	message->header.msg_iov = &message->data;
	message->header.msg_iovlen = 1;
	message->header.msg_control = &message->rights;
	message->header.msg_controllen = sizeof(message->rights);
}

static int send_files(int socket, struct files *files)
{
	int fds[2] = {files->space, files->device};
	struct message message;

	prepare(&message, &files->ioas);
	message.rights.header.cmsg_level = SOL_SOCKET;
	message.rights.header.cmsg_type = SCM_RIGHTS;
	message.rights.header.cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(&message.rights.header), fds, sizeof(fds));
	return sendmsg(socket, &message.header, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Nothing arrives if the opener has failed; it has printed the reason. */
static int receive_files(int socket, struct files *files)
{
	struct message message;
	int fds[2];

	prepare(&message, &files->ioas);
	if (recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC) != sizeof(files->ioas) ||
	    message.rights.header.cmsg_len != CMSG_LEN(sizeof(fds)))
		return -1;
	memcpy(fds, CMSG_DATA(&message.rights.header), sizeof(fds));
	files->space = fds[0];
	files->device = fds[1];
	return 0;
}

/* ---- The opener ---- */

/* Sends the files, and keeps the device open until the receiver has closed its end. */
static int share(struct vfb_space *space, struct vfb_device *device, int socket)
{
	struct vfb_device_info device_info = VFB_DEVICE_INFO_INIT;
	struct vfb_space_info space_info = VFB_SPACE_INFO_INIT;
	struct files files;
	char byte;

	vfb_space_info(space, &space_info);
	vfb_device_info(device, &device_info);
	files.space = space_info.fd;
	files.ioas = space_info.ioas;
	files.device = device_info.fd;
	if (send_files(socket, &files)) {
		perror("adopt: sending");
		return -1;
	}
	return read(socket, &byte, 1) == 0 ? 0 : -1;
}

static int run_opener(const char *address, int socket)
{
	struct vfb_space *space = NULL;
	struct vfb_device *device = NULL;
	struct vfb_ctx *ctx = NULL;
	int error;

	error = vfb_ctx_create(NULL, &ctx);
	if (!error)
		error = vfb_space_create(ctx, NULL, &space);
	if (!error)
		error = vfb_device_open(space, address, &device);
	if (error)
		fprintf(stderr, "adopt: the opener: %s\n", vfb_last_error());
	else
		error = share(space, device, socket);
	vfb_device_close(device);
	vfb_space_destroy(space);
	vfb_ctx_destroy(ctx);
	return error;
}

/* ---- The receiver ---- */

struct receiver {
	struct vfb_ctx *ctx;
	struct vfb_space *space;
	struct vfb_device *device;
	struct vfb_memory *memory;
};

static int adopt(struct receiver *receiver, const struct files *files, const char *address)
{
	struct vfb_device_adopt_opts opts = VFB_DEVICE_ADOPT_OPTS_INIT;
	int error;

	error = vfb_ctx_create(NULL, &receiver->ctx);
	if (!error)
		error = vfb_space_adopt(receiver->ctx, files->space, files->ioas, NULL,
					&receiver->space);
	opts.address = address;
	opts.space = receiver->space;
	if (!error)
		error = vfb_device_adopt(receiver->ctx, files->device, &opts, &receiver->device);
	return error;
}

static int use(struct receiver *receiver)
{
	struct vfb_memory_opts opts = VFB_MEMORY_OPTS_INIT;
	struct vfb_range range = {0};
	uint64_t identity = 0;
	int error;

	opts.bytes = 4 * MIB;
	error = vfb_memory_create(receiver->ctx, &opts, &receiver->memory);
	range.memory = receiver->memory;
	range.bytes = opts.bytes;
	if (!error)
		error = vfb_space_map(receiver->space, &range, 1, NULL);
	if (!error)
		error = vfb_region_load(receiver->device, VFB_REGION_CONFIG, 0, 4, &identity);
	if (!error)
		printf("device %04x:%04x reaches 4 MiB of the receiver\n",
		       (unsigned int)(identity & 0xffff), (unsigned int)(identity >> 16));
	return error;
}

/* Unmaps the memory. The files stay open, and the device is not reset. */
static int leave(struct receiver *receiver)
{
	int error = vfb_device_close(receiver->device);
	int unmapped = vfb_space_destroy(receiver->space);

	vfb_memory_destroy(receiver->memory);
	vfb_ctx_destroy(receiver->ctx);
	return error ? error : unmapped;
}

static int run_receiver(const char *address, int socket)
{
	struct receiver receiver = {0};
	struct files files;
	int error, left;

	if (receive_files(socket, &files))
		return -1;
	error = adopt(&receiver, &files, address);
	if (!error)
		error = use(&receiver);
	if (error)
		fprintf(stderr, "adopt: the receiver: %s\n", vfb_last_error());
	left = leave(&receiver);
	if (left)
		fprintf(stderr, "adopt: the receiver: %s\n", vfb_last_error());
	close(files.device);
	close(files.space);
	return error ? error : left;
}

int main(int argc, char **argv)
{
	int ends[2], status = 0, error;
	pid_t opener;

	if (argc != 2) {
		fprintf(stderr, "Usage: adopt BDF\n");
		return 2;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends)) {
		perror("adopt");
		return 1;
	}
	opener = fork();
	if (opener < 0) {
		perror("adopt");
		return 1;
	}
	if (!opener) {
		close(ends[0]);
		return run_opener(argv[1], ends[1]) ? 1 : 0;
	}
	close(ends[1]);
	error = run_receiver(argv[1], ends[0]);
	close(ends[0]);
	waitpid(opener, &status, 0);
	return error || status ? 1 : 0;
}
