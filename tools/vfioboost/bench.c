/* SPDX-License-Identifier: MIT */
#include "command.h"

static const struct command parts[] = {
	{"bar", bench_bar, "reaching a BAR and mapping it for devices, with pages of each size"},
	{"growth", bench_growth, "what one more range costs beside many, without a device"},
	{"events", bench_events, "what subscribers cost, and what it costs when there is none"},
	{"map", bench_map, "mapping and unmapping, by each backend and number of threads"},
	{"close", bench_close, "letting go of devices: one, all at once, all in turn"},
	{"open", bench_open, "opening devices: one, all at once, all in turn"},
	{"populate", bench_populate, "zeroing memory, against the machine's limit"},
	{"translate", bench_translate, "looking addresses up, against a reader-writer lock"},
};

int command_bench(int argc, char **argv)
{
	static const struct command_group group = {
		.name = "vfioboost bench",
		.purpose = "Measure one part at a time: medians of repeated runs.",
		.commands = parts,
		.count = sizeof(parts) / sizeof(parts[0]),
		.options = "",
	};

	return command_group_run(&group, argc, argv);
}
