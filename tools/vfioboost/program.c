/* SPDX-License-Identifier: MIT */
#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Interpreters of interpreters. */
#define MAX_SCRIPTS 5

/* A file that is there but may not be run is remembered, as execvp(3) does. */
static int find(const char *name, char path[PATH_MAX])
{
	const char *rest = getenv("PATH");
	int error = ENOENT;

	if (strchr(name, '/')) {
		snprintf(path, PATH_MAX, "%s", name);
		return access(path, X_OK) ? errno : 0;
	}
	for (rest = rest ? rest : "/bin:/usr/bin"; *name && rest; rest = strchr(rest, ':')) {
		int length;

		rest += *rest == ':';
		length = strcspn(rest, ":");
		snprintf(path, PATH_MAX, "%.*s%s%s", length, rest, length ? "/" : "./", name);
		if (!access(path, X_OK))
			return 0;
		if (errno != ENOENT && errno != ENOTDIR)
			error = errno;
	}
	return error;
}

/* The dynamic linker ignores LD_PRELOAD for these: ld.so(8), secure-execution mode. */
static bool is_privileged(int fd, const struct stat *file)
{
	return (file->st_mode & S_ISUID && file->st_uid != getuid()) ||
	       (file->st_mode & S_ISGID && file->st_gid != getgid()) ||
	       fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

/* What keeps an ELF file from being preloaded into. */
static const char *check_elf(int fd, const Elf64_Ehdr *header)
{
	Elf64_Phdr segment;

	if (header->e_ident[EI_CLASS] != ELFCLASS64)
		return "is a 32-bit program, for which there is no object to preload";
	for (size_t i = 0; i < header->e_phnum; i++) {
		if (pread(fd, &segment, sizeof(segment), header->e_phoff + i * sizeof(segment)) !=
		    (ssize_t)sizeof(segment))
			return "is damaged";
		if (segment.p_type == PT_INTERP)
			return NULL;
	}
	return "is statically linked, so nothing can be preloaded into it";
}

static const char *check_program(const char *name, char path[PATH_MAX], int depth);

/* The interpreter of a script is what counts. */
static const char *check_script(const char *line, int depth)
{
	char interpreter[PATH_MAX], path[PATH_MAX];

	/* The kernel fails with ELOOP then, after the same number: exec_binprm(). */
	if (depth > MAX_SCRIPTS || sscanf(line, "#! %4095s", interpreter) != 1)
		return NULL;
	return check_program(interpreter, path, depth + 1);
}

static const char *check_file(int fd, int depth)
{
	union {
		Elf64_Ehdr elf;
		char text[PATH_MAX];
	} begin = {0};
	struct stat file;

	if (fstat(fd, &file) || !S_ISREG(file.st_mode))
		return "is not a file";
	if (is_privileged(fd, &file))
		return "is set-uid, set-gid or has file capabilities, so that the system preloads "
		       "nothing into it: run vfioboost itself with those rights, on a copy "
		       "without them";
	if (pread(fd, &begin, sizeof(begin) - 1, 0) < 2)
		return NULL;
	if (!memcmp(begin.elf.e_ident, ELFMAG, SELFMAG))
		return check_elf(fd, &begin.elf);
	return begin.text[0] == '#' && begin.text[1] == '!' ? check_script(begin.text, depth) :
							      NULL;
}

static const char *check_program(const char *name, char path[PATH_MAX], int depth)
{
	const char *problem;
	int error = find(name, path), fd;

	if (error)
		return error == ENOENT ? "was not found" : "may not be executed";
	fd = open(path, O_RDONLY | O_CLOEXEC);
	/* Without permission to read it may still run, and can't be looked at. */
	if (fd < 0)
		return NULL;
	problem = check_file(fd, depth);
	close(fd);
	return problem;
}

const char *program_check(const char *name, char path[PATH_MAX])
{
	return check_program(name, path, 0);
}

const char *program_beside(const char *name, char path[PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *last;

	path[length > 0 ? length : 0] = '\0';
	last = strrchr(path, '/');
	if (!last)
		return NULL;
	snprintf(last + 1, PATH_MAX - (last + 1 - path), "%s", name);
	return access(path, R_OK) ? NULL : path;
}

const char *program_part(const char *beside, const char *installed, char path[PATH_MAX])
{
	const char *found = program_beside(beside, path);

	if (found || !access(installed, R_OK))
		return found ? found : installed;
	fprintf(stderr, "vfioboost: %s is missing: install it\n", installed);
	return NULL;
}

/* LD_PRELOAD is a list with colons. */
bool program_preload(const char *beside, const char *installed)
{
	const char *others = getenv("LD_PRELOAD"), *preload;
	char path[PATH_MAX], all[3 * PATH_MAX];

	preload = program_part(beside, installed, path);
	if (!preload)
		return false;
	snprintf(all, sizeof(all), "%s%s%s", preload, others && *others ? ":" : "",
		 others ? others : "");
	return !setenv("LD_PRELOAD", all, 1);
}
