/* SPDX-License-Identifier: MIT */
#ifndef MACHINE_REAL_H
#define MACHINE_REAL_H

/* Ends the program for the errno of @what. */
__attribute__((noreturn)) void die(const char *what);

#endif
