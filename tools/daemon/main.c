/* SPDX-License-Identifier: MIT */
/* vfioboostd: keeps slots ready, see vfioboostd(8). */
#include <argp.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../parse.h"
#include "cgroup.h"
#include "config.h"
#include "host.h"
#include "keeper.h"
#include "pressure.h"
#include "privileges.h"
#include "server.h"
#include "store.h"
#include "watch.h"
#include "words.h"

#define CONFIG "/etc/vfioboost/slots.d"
#define CGROUP "/sys/fs/cgroup/vfioboost"
/* While slots are returning. */
#define SOON_MS 60
#define IDLE_MS 1000

struct options {
	const char *config, *socket, *group, *cgroup, *filler;
	unsigned int fillers;
	bool keep, check;
};

static const char doc[] =
	"Keep slots ready: guests' memory, populated and mapped, with open devices."
	"\v"
	"Classes of slots are described by the files *.conf in " CONFIG ", see slots.d(5). Needs "
	"root and cgroups of version 2.\n\n"
	"Exit status: 0 after SIGTERM or SIGINT, 1 on failure, 2 on bad usage.";

enum {
	OPTION_CGROUP = 256,
	OPTION_FILLERS,
	OPTION_FILLER,
	OPTION_KEEP,
	OPTION_CHECK,
	OPTION_VERSION,
};

static const struct argp_option argp_options[] = {
	{"config", 'c', "FOLDER", 0, "Where the classes are described (" CONFIG ")", 0},
	{"socket", 's', "PATH", 0, "Where to listen (" VFB_WIRE_SOCKET ")", 0},
	{"group", 'g', "GROUP", 0, "Who may connect, besides root (nobody)", 0},
	{"cgroup", OPTION_CGROUP, "FOLDER", 0, "Where to make a cgroup for each slot (" CGROUP ")",
	 0},
	{"fillers", OPTION_FILLERS, "N", 0, "Fill so many slots at a time (2)", 0},
	{"filler", OPTION_FILLER, "PROGRAM", 0, "The program that fills a slot", 0},
	{"keep", OPTION_KEEP, NULL, 0,
	 "Start it in a second process, and start it anew with all its slots if it is killed, as a "
	 "service manager would",
	 0},
	{"check", OPTION_CHECK, NULL, 0, "Only check the configuration", 0},
	{"version", OPTION_VERSION, NULL, 0, "Print the version", 0},
	{0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *options = state->input;

	switch (key) {
	case 'c':
		options->config = arg;
		return 0;
	case 's':
		options->socket = arg;
		return 0;
	case 'g':
		options->group = arg;
		return 0;
	case OPTION_CGROUP:
		options->cgroup = arg;
		return 0;
	case OPTION_FILLERS:
		if (!parse_number(arg, 1, 64, &options->fillers))
			argp_error(state, "--fillers wants a number from 1 to 64, not \"%s\"", arg);
		return 0;
	case OPTION_FILLER:
		options->filler = arg;
		return 0;
	case OPTION_KEEP:
		options->keep = true;
		return 0;
	case OPTION_CHECK:
		options->check = true;
		return 0;
	case OPTION_VERSION:
		printf("vfioboostd %s\n", vfb_version());
		exit(0);
	case ARGP_KEY_ARG:
		argp_error(state, "\"%s\" is too much", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int fail(const char *text)
{
	fprintf(stderr, "vfioboostd: %s\n", text);
	return 1;
}

/* Where it was built, or installed. */
static const char *find_filler(void)
{
	static char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 32);
	char *name;

	if (length > 0) {
		path[length] = '\0';
		name = strrchr(path, '/') + 1;
		strcpy(name, "vfioboost-fill");
		if (!access(path, X_OK))
			return path;
	}
	return FILL_PATH;
}

static bool stopped;

static void signal_ready(struct watch *watch)
{
	struct signalfd_siginfo info;

	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGCHLD)
		host_reap();
	else
		stopped = true;
}

static bool watch_signals(void)
{
	static struct watch watch;
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd >= 0 && watch_begin(&watch, fd, EPOLLIN, signal_ready);
}

/* Several files for each slot. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

static void run_loop(struct pool *pool)
{
	while (!stopped) {
		int timeout = pool_is_returning(pool) ? SOON_MS : IDLE_MS;

		timeout = sooner(timeout, server_timeout_ms());
		watch_wait(sooner(timeout, pressure_step()));
		pool_step(pool);
		server_step();
	}
}

static int fail_to_listen(const struct options *options)
{
	char text[512];

	snprintf(text, sizeof(text), "cannot listen at %.300s: %s", options->socket,
		 strerror(errno));
	return fail(text);
}

static int serve(struct pool *pool, const struct options *options)
{
	static struct host host;
	char text[512];
	int socket;

	host_init(&host, pool, options->filler ? options->filler : find_filler());
	pool->host = &host.ops;
	if (!watch_init() || !watch_signals() || !host_prepare(&host))
		return fail(strerror(errno));
	if (!cgroup_init(options->cgroup, text))
		return fail(text);
	socket = store_socket();
	if (socket < 0)
		socket = server_listen(options->socket, options->group);
	if (socket < 0 || !server_init(pool, socket))
		return fail_to_listen(options);
	if (!privileges_drop())
		return fail("cannot drop privileges");
	host_restore(&host);
	pressure_init(pool);
	store_notify("READY=1");
	pool_step(pool);
	run_loop(pool);
	store_notify("STOPPING=1");
	return 0;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {argp_options, parse_option, NULL, doc, NULL, NULL, NULL};
	struct options options = {
		.config = CONFIG,
		.socket = VFB_WIRE_SOCKET,
		.cgroup = CGROUP,
		.fillers = 2,
	};
	static struct slot_class classes[MAX_CLASSES];
	struct pool pool;
	char text[512];
	int count;

	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, &options);
	count = config_read_folder(options.config, classes, text);
	if (count < 0)
		return fail(text);
	if (!count)
		fprintf(stderr, "vfioboostd: there are no classes of slots in %s\n",
			options.config);
	if (options.check)
		return 0;
	raise_limits();
	/* A service manager does it already. */
	if (options.keep && !getenv("NOTIFY_SOCKET")) {
		int socket = server_listen(options.socket, options.group);

		if (socket < 0)
			return fail_to_listen(&options);
		if (!keeper_run(socket))
			return 0;
	}
	if (!pool_init(&pool, NULL, classes, count))
		return fail("out of memory");
	pool.max_fillers = options.fillers;
	return serve(&pool, &options);
}
