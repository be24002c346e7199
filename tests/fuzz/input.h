/* SPDX-License-Identifier: MIT */
/* What every fuzz target shares: its entry point, and reading decisions out of the input. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer calls it with each input. It returns 0; what is wrong ends the process. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The rest of an input. Past its end everything that is read is zero. */
struct input {
	const uint8_t *at, *end;
};

static inline size_t input_left(const struct input *input)
{
	return input->end - input->at;
}

static inline void input_read(struct input *input, void *into, size_t bytes)
{
	size_t given = input_left(input) < bytes ? input_left(input) : bytes;

	memset(into, 0, bytes);
	if (given)
		memcpy(into, input->at, given);
	input->at += given;
}

static inline uint8_t input_u8(struct input *input)
{
	uint8_t value;

	input_read(input, &value, sizeof(value));
	return value;
}

static inline uint32_t input_u32(struct input *input)
{
	uint32_t value;

	input_read(input, &value, sizeof(value));
	return value;
}

static inline uint64_t input_u64(struct input *input)
{
	uint64_t value;

	input_read(input, &value, sizeof(value));
	return value;
}

/* A number below @count, which is not 0. */
static inline unsigned int input_below(struct input *input, unsigned int count)
{
	return count > 256 ? input_u32(input) % count : input_u8(input) % count;
}

/* True once in @n. */
static inline int input_chance(struct input *input, unsigned int n)
{
	return input_below(input, n) == n - 1;
}

/* The next @bytes of the input as an input of their own. */
static inline struct input input_cut(struct input *input, size_t bytes)
{
	struct input part = {input->at, input->at};

	if (bytes > input_left(input))
		bytes = input_left(input);
	input->at += bytes;
	part.end += bytes;
	return part;
}

#endif
