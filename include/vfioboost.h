/* SPDX-License-Identifier: MIT */
#ifndef VFIOBOOST_H
#define VFIOBOOST_H

#include <vfioboost/bar.h>
#include <vfioboost/context.h>
#include <vfioboost/device.h>
#include <vfioboost/dirty.h>
#include <vfioboost/discard.h>
#include <vfioboost/doctor.h>
#include <vfioboost/event.h>
#include <vfioboost/irq.h>
#include <vfioboost/job.h>
#include <vfioboost/layout.h>
#include <vfioboost/memory.h>
#include <vfioboost/on_demand.h>
#include <vfioboost/pci.h>
#include <vfioboost/reaper.h>
#include <vfioboost/region.h>
#include <vfioboost/seccomp.h>
#include <vfioboost/slot.h>
#include <vfioboost/space.h>
#include <vfioboost/stats.h>
#include <vfioboost/trace.h>
#include <vfioboost/translate.h>

#endif
