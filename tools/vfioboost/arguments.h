/* SPDX-License-Identifier: MIT */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include <argp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vfioboost.h>

/* What the subcommands' options have in common. */

/* ---- A command's options as a table ---- */

/* What an option's value is, and the field that it goes into. */
enum argument_kind {
	ARGUMENT_IS_FLAG,    /* no value: bool */
	ARGUMENT_IS_TEXT,    /* const char * */
	ARGUMENT_IS_SIZE,    /* uint64_t */
	ARGUMENT_IS_NUMBER,  /* from low to high: unsigned int */
	ARGUMENT_IS_NUMBERS, /* "1,2,4": struct number_list */
	ARGUMENT_IS_CHOICE,  /* of names: an enum, which begins with low */
	ARGUMENT_IS_CHOICES, /* "4k,2m", each once: struct number_list of such */
	ARGUMENT_IS_DEVICE,  /* to be repeated: struct device_list */
};

struct argument {
	const char *name;
	/* The letter, or 0. */
	int letter;
	/* What --help calls its value, or NULL; and what it says of it. */
	const char *value, *help;
	enum argument_kind kind;
	size_t offset;
	bool is_required;
	const char *const *names;
	unsigned int low, high;
};

struct arguments {
	/* "vfioboost bench map" */
	const char *command;
	/* As of struct argp: what stands above the options, \v, what stands below. */
	const char *doc;
	/* A name that is NULL ends them. */
	const struct argument *all;
	/* Called in the end, to check what belongs together; or NULL. */
	void (*check)(struct argp_state *state, void *options);
};

/* Reads the command line into @options, or ends with a usage error. */
void arguments_parse(const struct arguments *arguments, int argc, char **argv, void *options);

/* Ends of @doc. */
#define DOC_SIZES "A size is a number of bytes, or a number with K, M, G or T (powers of 1024).\n\n"
#define DOC_EXIT  "Exit status: 0 on success, 1 on failure, 2 on bad usage."

#define MAX_REPEAT 1000

/* Where the value goes: a field of struct options. */
#define FIELD(type, field) .kind = ARGUMENT_IS_##type, .offset = offsetof(struct options, field)

/* Options that several commands have. */
#define ARGUMENT_FLAG(field, name, help)                               \
	{                                                              \
		name, 0, NULL, help, FIELD(FLAG, field), .names = NULL \
	}
#define ARGUMENT_DEVICE                                                                          \
	{                                                                                        \
		"device", 'd', "BDF", "A PCI device bound to vfio-pci, 0000:01:00.0 (required)", \
			FIELD(TEXT, device), .is_required = true                                 \
	}
#define ARGUMENT_REPEAT(help)                                                                 \
	{                                                                                     \
		"repeat", 'r', "N", help, FIELD(NUMBER, repeat), .low = 1, .high = MAX_REPEAT \
	}
#define ARGUMENT_JSON ARGUMENT_FLAG(json, "json", "Print one JSON object")
#define ARGUMENTS_END        \
	{                    \
		.name = NULL \
	}

/* ---- Values ---- */

/* The words for enum vfb_page_size and enum vfb_backend, in their order; NULL ends them. */
extern const char *const page_size_names[];
/* What the host calls such pages: "4k" stands for base pages, which may have another size. */
const char *page_size_name(enum vfb_page_size page_size);
/* Bytes of a base page. */
uint64_t base_page_bytes(void);
extern const char *const backend_names[];

/* The keys of options without a letter: the one that all commands have, and where a command's own
 * begin. */
enum {
	OPTION_JSON = 256,
	OPTION_OWN,
};

/* A number from @low to @high, or a usage error. */
unsigned int argument_number(struct argp_state *state, const char *option, const char *text,
			     unsigned int low, unsigned int high);

/* The most that a context can have. */
#define MAX_THREADS 4096

#define MAX_NUMBERS 64

struct number_list {
	unsigned int all[MAX_NUMBERS];
	size_t count;
};

#define MAX_DEVICES 64

struct device_list {
	const char *all[MAX_DEVICES];
	size_t count;
};

/* One more device, or a usage error. */
void argument_device(struct argp_state *state, const char *devices[MAX_DEVICES], size_t *count,
		     const char *address);

/* Reads "2G", "512MiB", "4096": bytes, with K, M, G, T for powers of 1024. False: it is no size. */
bool size_parse(const char *text, uint64_t *bytes);

#endif
