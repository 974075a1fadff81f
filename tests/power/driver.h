/* tests/power/driver.h - the file plugin's binary, driven by numbered streams and
 * versions.  A plain program's host: that of tests/faults is Criterion's. */
#ifndef MAKO_TESTS_POWER_DRIVER_H
#define MAKO_TESTS_POWER_DRIVER_H

#include <mako/store_plugin.h>

#include "trace.h"

#define CONTENT_MAX 80000 /* bytes of a snapshot */

struct driver {
    char path[300]; /* the store's directory */
    int64_t dead_space, erase_ms;
    bool read_only;
    void *store; /* NULL: closed */
    struct mako_error err;
};

struct item {
    uint64_t version, seq;
    uint32_t len;
    uint16_t stream;
    bool if_newer;
};

/* What a load brought. */
struct found {
    int status;
    uint64_t version, seq; /* 0: nothing */
    size_t len;
    bool altered; /* its bytes are not those of the version */
};

/* Once, before anything else; ends the program where it fails. */
void driver_load(const char *plugin);

int driver_open(struct driver *driver);
void driver_close(struct driver *driver);
/* Warnings of the last opening, a line each; openings by several threads mix. */
const char *driver_warnings(void);

int driver_save(struct driver *driver, const struct item *item, struct mako_error *err);
int driver_save_many(struct driver *driver, const struct item *items, size_t count,
                     int *statuses, struct mako_error *err);
int driver_remove(struct driver *driver, size_t stream, struct mako_error *err);
struct found driver_find(struct driver *driver, size_t stream, struct mako_error *err);
int driver_compact(struct driver *driver, struct mako_error *err);

#endif
