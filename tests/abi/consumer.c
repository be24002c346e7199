/* SPDX-License-Identifier: MIT */
/*
 * A program as somebody else would write it, in the language that C and C++ share: it is built
 * through pkg-config against the installed library.
 */
#include <stdio.h>
#include <vfioboost.h>

int main(void)
{
	struct vfb_ctx_opts opts = VFB_CTX_OPTS_INIT;
	struct vfb_ctx *ctx = NULL;

	opts.threads = 1;
	if (vfb_ctx_create(&opts, &ctx)) {
		fprintf(stderr, "%s\n", vfb_last_error());
		return 1;
	}
	printf("%s\n", vfb_version());
	return vfb_ctx_destroy(ctx) ? 1 : 0;
}
