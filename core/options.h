/* core/options.h - a plugin's declared options: from words in a file to checked values.
 */
#ifndef MAKO_CORE_OPTIONS_H
#define MAKO_CORE_OPTIONS_H

#include "config.h"

#include <mako/store_plugin.h>

/* Converted options, one value a row of the table; owns the strings. */
struct mako_options {
    union mako_value *values;
    char **strings; /* parallel to values: what to free, or NULL */
    size_t count;
};

/* Convert pairs by the table of count rows; relative paths start at dir.  Unknown and
 * missing keys, wrong types and values out of range are E_CONFIG; the text begins with
 * the key ("options.dir: ..."). */
MAKO_CHECKED int mako_options_convert(const struct mako_option *table, size_t count,
                                      const struct mako_pair *pairs, size_t pair_count,
                                      const char *dir, struct mako_options *options,
                                      struct mako_error *err);
void mako_options_free(struct mako_options *options);

/* Check a table itself: names, types, ranges, fallbacks.  MAKO_OK or E_PLUGIN. */
MAKO_CHECKED int mako_options_check(const struct mako_option *table, size_t count,
                                    struct mako_error *err);

/* "path", "size" ...; NULL for a number that is none. */
const char *mako_option_type_name(uint32_t type);

/* One value as people write it, into out; secrets are hidden, an absent one is "". */
const char *mako_option_show(const struct mako_option *row, const union mako_value *value,
                             char *out, size_t room);

#endif
