/* tests/threads/places.h - stores in places of their own, whatever a plugin calls a
 * place. */
#ifndef MAKO_TESTS_PLACES_H
#define MAKO_TESTS_PLACES_H

#include <mako/snapshot.h>

/* The plugin's option that says where; NULL: each store is one of its own anyway. */
const char *place_option(const char *plugin);
/* Open the store "test" of a configuration file, whose plugin that is, in this place. */
int place_open(const char *conf, const char *plugin, const char *place,
               mako_store **store, struct mako_error *err);

#endif
