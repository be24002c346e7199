/* SPDX-License-Identifier: MIT */
#include "words.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#include "../parse.h"

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

bool words_size(const char *text, uint64_t *out)
{
	const char *rest;
	uint64_t bytes;

	if (!parse_size(text, &bytes, &rest) || *rest)
		return false;
	*out = bytes;
	return true;
}

int words_choice(const char *text, const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(text, names[i]))
			return i;
	return -1;
}
