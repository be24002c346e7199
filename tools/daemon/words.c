/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

char *words_trim(char *text)
{
	char *end = text + strlen(text);

	while (isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return text;
}

char *words_next(char **rest)
{
	static const char separators[] = " \t\r\n,";
	char *word = *rest + strspn(*rest, separators), *end;

	if (!*word)
		return NULL;
	end = word + strcspn(word, separators);
	*rest = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

bool words_number(const char *text, unsigned int low, unsigned int high, unsigned int *out)
{
	unsigned long value;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value < low || value > high)
		return false;
	*out = value;
	return true;
}

bool words_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	unsigned long long value;
	unsigned int shift = 0;
	const char *unit;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1])
			return false;
		shift = 10 * (unit - units + 1);
	}
	if (value > UINT64_MAX >> shift)
		return false;
	*out = (uint64_t)value << shift;
	return true;
}

int words_choice(const char *text, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(text, names[i]))
			return i;
	return -1;
}
