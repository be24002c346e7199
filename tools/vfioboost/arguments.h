/* SPDX-License-Identifier: MIT */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vfioboost.h>

/* What the subcommands' options have in common. */

/* The words for enum vfb_page_size and enum vfb_backend, in their order; NULL ends them. */
extern const char *const page_size_names[];
extern const char *const backend_names[];

/* The position of @text among @names, or a usage error. */
int argument_choice(struct argp_state *state, const char *option, const char *text,
		    const char *const *names);

/* What a parser returns for a key that it does not know; a word that belongs to no option is a
 * usage error. */
error_t argument_unknown(int key, const char *arg, struct argp_state *state);

/* The keys of options without a letter: the one that all commands have, and where a command's own
 * begin. */
enum {
	OPTION_JSON = 256,
	OPTION_OWN,
};

#define MAX_REPEAT 1000

/* What a parser returns for a key that may be that of --repeat ('r', up to MAX_REPEAT) or --json;
 * for others as argument_unknown(). */
error_t argument_bench(int key, char *arg, struct argp_state *state, unsigned int *repeat,
		       bool *json);

/* Bytes, more than 0, or a usage error. */
uint64_t argument_size(struct argp_state *state, const char *option, const char *text);

/* A number from @low to @high, or a usage error. */
unsigned int argument_number(struct argp_state *state, const char *option, const char *text,
			     unsigned int low, unsigned int high);

/* The most that a context can have. */
#define MAX_THREADS 4096

#define MAX_THREAD_COUNTS 16

/* A list of numbers of threads. */
struct thread_counts {
	unsigned int all[MAX_THREAD_COUNTS];
	size_t count;
};

/* The numbers of "1,2,4" behind those that there are, or a usage error. */
void argument_threads(struct argp_state *state, struct thread_counts *threads, char *text);

#define MAX_DEVICES 64

/* One more device, or a usage error. */
void argument_device(struct argp_state *state, const char *devices[MAX_DEVICES], size_t *count,
		     const char *address);

/* Reads "2G", "512MiB", "4096": bytes, with K, M, G, T for powers of 1024. False: it is none. */
bool size_parse(const char *text, uint64_t *bytes);

/* A decimal number and nothing else. */
bool number_parse(const char *text, unsigned int *number);

#endif
