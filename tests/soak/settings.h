/* tests/soak/settings.h - the backends, and how a store on one of them is configured for
 * one opening: drawn by lot among the legal values of every option. */
#ifndef MAKO_TESTS_SOAK_SETTINGS_H
#define MAKO_TESTS_SOAK_SETTINGS_H

#include "model.h"

struct backend {
    const char *name;
    const char *plugin;
    const char *mode; /* of redis, else NULL */
    struct rules rules;
    bool shared; /* by both workers */
    bool compacts;
    bool explained; /* no operation fails but for a fault */
    bool fallible;  /* so that openings may fail with it */
    int64_t
        grace_ms; /* after a fault has ended operations may still fail because of it */
};

/* NULL: no such backend.  Names: the name of each, until NULL. */
const struct backend *backend_find(const char *name);
const char *backend_name(unsigned number);

/* Where the store is. */
struct site {
    const char *plugins;   /* directory of the plugins */
    char dir[300];         /* file: of the slot's store */
    const char *endpoints; /* redis */
    const char *proxied;   /* redis: the same behind the proxy; NULL: there is none */
};

struct settings {
    char json[3000];
    size_t max_snapshot;
    uint32_t schema_min, schema_max; /* 0: the store says nothing */
    bool replaces;                   /* "stale_saves" */
    bool fails;                      /* "on_load_failure" */
};

void settings_draw(struct settings *settings, const struct backend *backend,
                   const struct site *site, uint64_t *random);

#endif
