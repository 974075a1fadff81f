/* core/units.h - numbers with units, as people write them in a configuration. */
#ifndef MAKO_CORE_UNITS_H
#define MAKO_CORE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "65536", "64KiB", "1.5MB" in bytes; "1500", "1.5s", "2 min" in milliseconds.  At most
 * nine decimals and INT64_MAX.  False: not one, *out untouched. */
bool mako_parse_size(const char *text, uint64_t *bytes);
bool mako_parse_duration(const char *text, uint64_t *ms);

/* In the largest unit that divides it, so that what is shown reads back the same. */
void mako_show_size(uint64_t bytes, char *out, size_t room);
void mako_show_duration(uint64_t ms, char *out, size_t room);

#endif
