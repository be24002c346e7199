/* SPDX-License-Identifier: MIT */
#include "liar.h"

#include "sys/uapi.h"

static struct liar *liar_of(const struct vfb_sys *sys)
{
	return (struct liar *)(uintptr_t)sys;
}

#define UNTIMED(type, name, parameters, ...)                       \
	static type honest_##name parameters                       \
	{                                                          \
		const struct vfb_sys *inner = liar_of(sys)->inner; \
                                                                   \
		return inner->name(inner, ##__VA_ARGS__);          \
	}
#define UNTIMED_VOID(name, parameters, ...)                        \
	static void honest_##name parameters                       \
	{                                                          \
		const struct vfb_sys *inner = liar_of(sys)->inner; \
                                                                   \
		inner->name(inner, ##__VA_ARGS__);                 \
	}
#define TIMED(type, name, parameters, operation, bytes, ...) \
	UNTIMED(type, name, parameters, ##__VA_ARGS__)
#define TIMED_VOID(name, parameters, operation, ...) UNTIMED_VOID(name, parameters, ##__VA_ARGS__)
#include "sys/calls.def"

/* Overwrites up to four words of a struct, the first of which is its size. */
static void change_struct(struct input *input, unsigned char *arg, uint32_t room)
{
	for (unsigned int changes = input_below(input, 5); changes; changes--) {
		uint32_t at = input_u8(input) * 4 % room;
		uint32_t value = input_chance(input, 2) ? input_u32(input) : input_u8(input);

		if (room - at >= sizeof(value))
			memcpy(arg + at, &value, sizeof(value));
	}
}

static bool is_info(unsigned long request)
{
	static const unsigned long infos[] = {
		VFIO_DEVICE_GET_INFO,
		VFIO_DEVICE_GET_REGION_INFO,
		VFIO_DEVICE_GET_IRQ_INFO,
		VFIO_IOMMU_GET_INFO,
		VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
		VFB_IOMMU_IOAS_IOVA_RANGES,
		VFIO_GROUP_GET_STATUS,
	};

	for (size_t i = 0; i < sizeof(infos) / sizeof(infos[0]); i++)
		if (request == infos[i])
			return true;
	return false;
}

static int lie_ioctl(const struct vfb_sys *sys, int fd, unsigned long request, void *arg)
{
	struct liar *liar = liar_of(sys);
	uint32_t room = 0;
	int result;

	if (is_info(request))
		memcpy(&room, arg, sizeof(room));
	result = liar->inner->ioctl(liar->inner, fd, request, arg);
	if (room < sizeof(room))
		return result;
	pthread_mutex_lock(&liar->lock);
	if (input_left(&liar->input))
		change_struct(&liar->input, arg, room);
	pthread_mutex_unlock(&liar->lock);
	return result;
}

/* Registers of the device: its configuration, and its table of interrupts. */
static ssize_t lie_pread(const struct vfb_sys *sys, int fd, void *buf, size_t bytes, off_t offset)
{
	struct liar *liar = liar_of(sys);
	ssize_t done = liar->inner->pread(liar->inner, fd, buf, bytes, offset);

	pthread_mutex_lock(&liar->lock);
	if (done > 0 && done <= 8 && input_chance(&liar->input, 3))
		input_read(&liar->input, buf, done);
	pthread_mutex_unlock(&liar->lock);
	return done;
}

void liar_init(struct liar *liar, const struct vfb_sys *inner, struct input input)
{
	*liar = (struct liar){.inner = inner, .input = input};
	pthread_mutex_init(&liar->lock, NULL);
	liar->sys = (struct vfb_sys){
#define TIMED(type, name, ...)	 .name = honest_##name,
#define TIMED_VOID(name, ...)	 .name = honest_##name,
#define UNTIMED(type, name, ...) .name = honest_##name,
#define UNTIMED_VOID(name, ...)	 .name = honest_##name,
#include "sys/calls.def"
	};
	liar->sys.ioctl = lie_ioctl;
	liar->sys.pread = lie_pread;
}
