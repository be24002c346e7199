/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <errno.h>
#include <grp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "host.h"
#include "metrics.h"
#include "packet.h"
#include "peer.h"
#include "reply.h"
#include "watch.h"

#define MAX_CLIENTS	 256
#define MAX_OF_USER	 64
#define FIRST_REQUEST_NS UINT64_C(10000000000)
/* A client that reads nothing for so long loses the rest of its answer. */
#define READ_NS UINT64_C(10000000000)
/* Nobody waits longer. */
#define WAIT_NS UINT64_C(3600000000000)

struct client {
	struct watch watch;
	struct peer peer;
	/* When it is sent away, or has waited long enough; UINT64_MAX: never. */
	uint64_t deadline_ns;
	/* The class that it waits for a slot of. */
	struct pool_class *waiting;
	/* The slot that was sent to it, "": none, or it has arrived. */
	char granted[VFB_WIRE_NAME];
	struct reply reply;
};

static struct {
	struct pool *pool;
	struct watch listen;
	struct client *clients[MAX_CLIENTS];
} server;

static uint64_t now_ns(void)
{
	return server.pool->host->now(server.pool->host);
}

static void drop(struct client *client)
{
	struct slot *slot = client->granted[0] ? pool_find_slot(server.pool, client->granted) :
						 NULL;

	if (slot)
		pool_lost(server.pool, slot);
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (server.clients[i] == client)
			server.clients[i] = NULL;
	watch_end(&client->watch);
	if (client->peer.pidfd >= 0)
		close(client->peer.pidfd);
	reply_end(&client->reply);
	free(client);
}

static int answer(struct client *client, enum vfb_wire_type type, int error, uint64_t value,
		  const char *text)
{
	return reply_send_result(client->watch.fd, type, error, value, text);
}

static int refuse(struct client *client, int error, const char *text)
{
	return answer(client, VFB_WIRE_FAILED, error, 0, text);
}

/* ---- Taking ---- */

/* The slot is used from now on, whether or not it arrives. */
static int hand_out(struct client *client, struct slot *slot)
{
	union vfb_wire message;
	int pidfd = dup(client->peer.pidfd), error;

	if (pidfd < 0 || !host_watch_tenant(slot, pidfd, client->peer.cgroup)) {
		if (pidfd >= 0)
			close(pidfd);
		pool_return(server.pool, slot);
		return refuse(client, -EMFILE, "vfioboostd cannot watch one process more");
	}
	server.pool->host->store(server.pool->host, slot);
	/* Its mode is 0600, and VMMs open it once more, by /proc/self/fd. */
	if (fchown(slot->fds[0], client->peer.uid, client->peer.gid)) {
		pool_return(server.pool, slot);
		return refuse(client, -errno, "cannot make the memory that user's");
	}
	memset(&message, 0, sizeof(message));
	message.grant = slot->grant;
	error = packet_send(client->watch.fd, &message, VFB_WIRE_GRANT, slot->fds, slot->fd_count);
	if (error)
		pool_return(server.pool, slot);
	else
		memcpy(client->granted, slot->name, sizeof(client->granted));
	return error;
}

/* Whether it was answered; if not, it may wait. */
static bool try_take(struct client *client, struct pool_class *class, bool is_last)
{
	char why[VFB_WIRE_TEXT];
	struct slot *slot;
	int error;

	slot = pool_take(server.pool, class, client->peer.pid, client->peer.uid, &error, why);
	if (slot) {
		hand_out(client, slot);
		return true;
	}
	if (error == -EAGAIN && !is_last && pool_may_get_ready(class))
		return false;
	refuse(client, error, why);
	return true;
}

static void handle_take(struct client *client, const struct vfb_wire_request *request)
{
	struct pool_class *class = pool_find_class(server.pool, request->name);
	uint64_t wait = request->wait_ns < WAIT_NS ? request->wait_ns : WAIT_NS;
	char text[VFB_WIRE_TEXT];

	/* The same answer, as names of classes are nobody else's business. */
	if (!class || !peer_may_take(&client->peer, &class->config)) {
		bool exists = class && peer_is_admin(&client->peer);

		snprintf(text, sizeof(text),
			 "there is no class \"%s\" that user %u may take slots of: see "
			 "\"allow\" in slots.d(5)",
			 request->name, client->peer.uid);
		refuse(client, exists ? -EACCES : -ENOENT, text);
		return;
	}
	if (try_take(client, class, !wait))
		return;
	class->misses++;
	client->waiting = class;
	client->deadline_ns = now_ns() + wait;
}

/* Its own: what the process at the other end has taken. */
static struct slot *find_own(const struct client *client, const char *name)
{
	struct slot *slot = pool_find_slot(server.pool, name);

	return slot && slot->state == VFB_WIRE_TAKEN && slot->pid == client->peer.pid &&
			       slot->uid == client->peer.uid ?
		       slot :
		       NULL;
}

static void handle_arrived(struct client *client, const struct vfb_wire_request *request)
{
	struct slot *slot = find_own(client, request->name);

	if (slot)
		pool_arrived(server.pool, slot);
}

static void handle_return(struct client *client, const struct vfb_wire_request *request)
{
	struct slot *slot = find_own(client, request->name);

	if (slot)
		pool_return(server.pool, slot);
}

/* ---- Everything else ---- */

/* The rest follows when the client has read what it has got, see client_ready(). */
static void continue_reply(struct client *client)
{
	int error = reply_continue(&client->reply, server.pool, &client->peer, client->watch.fd);
	bool again = error == -EAGAIN;

	client->deadline_ns = again ? now_ns() + READ_NS : UINT64_MAX;
	watch_change(&client->watch, again ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void handle_metrics(struct client *client)
{
	char *text = metrics_text(server.pool);

	if (!text) {
		refuse(client, -ENOMEM, "vfioboostd is out of memory");
		return;
	}
	reply_begin_text(&client->reply, text);
	continue_reply(client);
}

static void handle_list(struct client *client, const struct vfb_wire_request *request)
{
	reply_begin_list(&client->reply, request->name);
	continue_reply(client);
}

static void handle_admin(struct client *client, const struct vfb_wire_request *request)
{
	struct pool_class *class = pool_find_class(server.pool, request->name);
	bool all = request->header.type == VFB_WIRE_SHRINK && !request->name[0];
	char text[VFB_WIRE_TEXT] = "";
	uint64_t value = 0;
	int error = 0;

	if (!peer_is_admin(&client->peer)) {
		refuse(client, -EPERM, "only root may do this");
		return;
	}
	if (!class && !all) {
		snprintf(text, sizeof(text), "there is no class \"%s\"", request->name);
		refuse(client, -ENOENT, text);
		return;
	}
	if (request->header.type == VFB_WIRE_ADD)
		error = pool_resize(server.pool, class, request->amount, text);
	else if (request->header.type == VFB_WIRE_DRAIN)
		pool_drain(server.pool, class);
	else
		value = pool_shrink(server.pool, class,
				    request->amount > 0 ? (uint64_t)request->amount : UINT64_MAX);
	if (error)
		refuse(client, error, text);
	else
		answer(client, VFB_WIRE_DONE, 0, class ? class->target : value, "");
}

static void handle(struct client *client, const struct vfb_wire_request *request)
{
	switch (request->header.type) {
	case VFB_WIRE_TAKE:
		handle_take(client, request);
		break;
	case VFB_WIRE_ARRIVED:
		handle_arrived(client, request);
		break;
	case VFB_WIRE_RETURN:
		handle_return(client, request);
		break;
	case VFB_WIRE_LIST:
		handle_list(client, request);
		break;
	case VFB_WIRE_METRICS:
		handle_metrics(client);
		break;
	default:
		handle_admin(client, request);
	}
}

static void client_ready(struct watch *watch)
{
	struct client *client = (struct client *)((char *)watch - offsetof(struct client, watch));
	union vfb_wire message;
	size_t no_fds = 0;
	int result = packet_receive(watch->fd, &message, NULL, &no_fds);

	if (result == -EAGAIN) {
		if (client->reply.active)
			continue_reply(client);
		return;
	}
	if (result == -EPROTONOSUPPORT)
		refuse(client, result, "this vfioboostd speaks version 1 of the protocol");
	else if (result < 0)
		refuse(client, result, "the request is invalid");
	/* Whoever waits has nothing to say. */
	if (result <= 0 || message.header.type >= VFB_WIRE_FAILED || client->waiting ||
	    client->reply.active) {
		drop(client);
		return;
	}
	client->deadline_ns = UINT64_MAX;
	handle(client, &message.request);
}

static bool has_room(const struct peer *peer)
{
	size_t all = 0, same = 0;

	for (size_t i = 0; i < MAX_CLIENTS; i++) {
		all += server.clients[i] != NULL;
		same += server.clients[i] && server.clients[i]->peer.uid == peer->uid;
	}
	return all < MAX_CLIENTS && (same < MAX_OF_USER || peer_is_admin(peer));
}

static void add_client(int socket)
{
	struct client *client = calloc(1, sizeof(*client));
	bool known = client && peer_read(socket, &client->peer);

	if (!known || !has_room(&client->peer) ||
	    !watch_begin(&client->watch, socket, EPOLLIN, client_ready)) {
		if (known)
			close(client->peer.pidfd);
		free(client);
		close(socket);
		return;
	}
	client->deadline_ns = now_ns() + FIRST_REQUEST_NS;
	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (!server.clients[i]) {
			server.clients[i] = client;
			return;
		}
}

static void listen_ready(struct watch *watch)
{
	int socket = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (socket >= 0)
		add_client(socket);
}

bool server_init(struct pool *pool, int socket)
{
	server.pool = pool;
	return watch_begin(&server.listen, socket, EPOLLIN, listen_ready);
}

/* True: it has been answered, or sent away. */
static bool step_client(struct client *client, uint64_t now)
{
	struct pool_class *class = client->waiting;

	if (!class) {
		if (now >= client->deadline_ns)
			drop(client);
		return now >= client->deadline_ns;
	}
	if (!try_take(client, class, now >= client->deadline_ns))
		return false;
	client->waiting = NULL;
	client->deadline_ns = UINT64_MAX;
	return true;
}

void server_step(void)
{
	uint64_t now = now_ns();

	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (server.clients[i])
			step_client(server.clients[i], now);
}

int server_timeout_ms(void)
{
	uint64_t next = UINT64_MAX, now = now_ns();

	for (size_t i = 0; i < MAX_CLIENTS; i++)
		if (server.clients[i] && server.clients[i]->deadline_ns < next)
			next = server.clients[i]->deadline_ns;
	if (next == UINT64_MAX)
		return -1;
	next = next > now ? (next - now + 999999) / 1000000 : 0;
	return next < 60000 ? (int)next : 60000;
}

static bool set_access(const char *path, const char *group)
{
	const struct group *found = group ? getgrnam(group) : NULL;

	if (group && !found) {
		errno = ENOENT;
		return false;
	}
	return !found || (!chown(path, -1, found->gr_gid) && !chmod(path, 0660));
}

/* An old socket is in the way, if nobody listens there. */
static bool bind_socket(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	mode_t before;
	bool bound;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return false;
	}
	strcpy(address.sun_path, path);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		errno = EADDRINUSE;
		return false;
	}
	if (errno == ECONNREFUSED)
		unlink(path);
	before = umask(0177);
	bound = !bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(before);
	return bound;
}

int server_listen(const char *path, const char *group)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

	if (fd < 0)
		return -1;
	if (bind_socket(fd, path) && set_access(path, group) && !listen(fd, 64))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}
