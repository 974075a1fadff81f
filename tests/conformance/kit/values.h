/* tests/conformance/kit/values.h - from an option's text to what the plugin is given. */
#ifndef MAKO_KIT_VALUES_H
#define MAKO_KIT_VALUES_H

#include <mako/store_plugin.h>

/* text may be NULL: absent.  A text value points to text. */
union mako_value value_of(const struct mako_option *row, const char *text);

#endif
