/* SPDX-License-Identifier: MIT */
/* The sizes of the public structs are those that scripts/check-abi recorded. */
#include <stdio.h>
#include <vfioboost.h>

#define SIZE(name, bytes) {"struct " #name, sizeof(struct name), bytes},

int main(void)
{
	static const struct {
		const char *name;
		size_t bytes, recorded;
	} structs[] = {
#include "sizes.def"
	};
	int failed = 0;

	/* They were recorded on a machine with pointers of 64 bits. */
	if (sizeof(void *) != 8)
		return 77;
	for (size_t i = 0; i < sizeof(structs) / sizeof(structs[0]); i++) {
		if (structs[i].bytes == structs[i].recorded)
			continue;
		fprintf(stderr, "%s has %zu bytes instead of %zu: scripts/check-abi --update\n",
			structs[i].name, structs[i].bytes, structs[i].recorded);
		failed = 1;
	}
	return failed;
}
