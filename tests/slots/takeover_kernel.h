/* SPDX-License-Identifier: MIT */
#ifndef TAKEOVER_KERNEL_H
#define TAKEOVER_KERNEL_H

/* What has reached the kernel, as text: "unmap 200000-300000;". Shared with children. */
const char *kernel_calls(void);
void kernel_forget(void);

/* Calls it once, after the next close(2) and before that returns. */
void kernel_after_close(void (*call)(void));

#endif
