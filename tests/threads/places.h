/* tests/threads/places.h - how a store is told to open elsewhere. */
#ifndef MAKO_TESTS_PLACES_H
#define MAKO_TESTS_PLACES_H

#include <stddef.h>
#include <string.h>

/* The plugin's option that says where; NULL: each store is one of its own anyway. */
static inline const char *place_option(const char *plugin)
{
    if (strcmp(plugin, "file") == 0 || strcmp(plugin, "mutant") == 0)
        return "dir";
    return strcmp(plugin, "redis") == 0 ? "key_prefix" : NULL;
}

#endif
