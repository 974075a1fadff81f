/* How a store is told to open elsewhere: an override of its configuration. */
#include "places.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

const char *place_option(const char *plugin)
{
    if (strcmp(plugin, "file") == 0 || strcmp(plugin, "mutant") == 0)
        return "dir";
    return strcmp(plugin, "redis") == 0 ? "key_prefix" : NULL;
}

int place_open(const char *conf, const char *plugin, const char *place,
               mako_store **store, struct mako_error *err)
{
    char option[PATH_MAX + 160] = "";
    const char *const overrides[] = {option, NULL};
    const char *key = place_option(plugin);
    struct mako_source source = {
        .struct_size = sizeof source, .path = conf, .name = "test"};

    if (key) {
        (void)snprintf(option, sizeof option, "%s=%s", key, place);
        source.overrides = overrides;
    }
    return mako_store_open_source(&source, store, err);
}
