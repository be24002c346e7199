/* SPDX-License-Identifier: MIT */
#include "command.h"

static const struct command parts[] = {
	{"bar", bench_bar, "accessing a BAR and mapping it for devices, with each page size"},
	{"beside", bench_beside, "populating by each way, beside a thread that maps and unmaps"},
	{"density", bench_density, "how many guests fit whose memory is mapped on demand"},
	{"give-back", bench_give_back, "discarding and restoring blocks of mapped memory"},
	{"growth", bench_growth, "mapping one more range beside many, without a device"},
	{"events", bench_events, "events, with and without subscribers"},
	{"map", bench_map, "mapping and unmapping, with each backend and number of threads"},
	{"close", bench_close, "closing devices: one, all in parallel, all one after another"},
	{"on-demand", bench_on_demand, "requests to memory that is mapped when it is used"},
	{"open", bench_open, "opening devices: one, all in parallel, all one after another"},
	{"plan", bench_plan, "what a start would take on a host of any size, without that host"},
	{"populate", bench_populate, "populating memory, compared with the limit of the machine"},
	{"starts", bench_starts, "starting many guests at once, compared with one after another"},
	{"translate", bench_translate, "translating addresses, compared with a reader-writer lock"},
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
