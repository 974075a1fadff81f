/* tests/unit/plugins/probe.h - the remote control of the test plugin "probe".
 *
 * The plugin keeps its records in one of these, which the test owns and names in the
 * option "control" by address (probe_option()).  So the test sees every call, tells the
 * next ones how to go wrong, and reaches into what is stored; the records outlive the
 * store.  Without the option the plugin is a plain in-memory store. */
#ifndef MAKO_TESTS_PROBE_H
#define MAKO_TESTS_PROBE_H

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <mako/store_plugin.h>

/* One stored record; older is the one that it replaced, or NULL. */
struct probe_record {
    struct probe_record *next, *older;
    char stream[1025];
    size_t stream_len;
    struct mako_meta meta;
    unsigned char *blob;
    size_t blob_len;
};

/* What a call returns instead of doing its work: a status, MAKO_OK for the work. */
struct probe_orders {
    _Atomic int open, save, load, remove, scan, save_many, load_many, stats;
};

struct probe {
    pthread_mutex_t lock;
    struct probe_record *records;
    struct probe_orders orders;
    const char *text;               /* of an ordered status; NULL: leaves err alone */
    _Atomic bool accept_nothing;    /* load: MAKO_OK without a word to the sink */
    _Atomic bool lend;              /* load: lend instead of accept */
    _Atomic bool lend_for_good;     /* likewise what is stored, with no release */
    _Atomic bool lend_null;         /* load: lend NULL in its stead */
    _Atomic bool serial;            /* open: lower the thread model to PLUGIN */
    _Atomic bool hold;              /* calls stay inside until it is false again */
    _Atomic bool linger;            /* give other threads a chance to overlap */
    _Atomic uint32_t gives, enters; /* durability given plus 1, 0: as asked; asked for */
    _Atomic uint64_t opens, closes, saves, loads, removes, scans, batches, releases;
    _Atomic uint64_t if_newer;                        /* saves with that flag */
    _Atomic uint64_t store_overlaps, plugin_overlaps; /* calls seen inside one another */
};

#define PROBE_INITIAL                     \
    {                                     \
        .lock = PTHREAD_MUTEX_INITIALIZER \
    }

/* The option's value for p, into text. */
static inline const char *probe_option(const struct probe *p, char text[32])
{
    (void)snprintf(text, 32, "%" PRIxPTR, (uintptr_t)p);
    return text;
}

static inline void probe_record_free(struct probe_record *record)
{
    while (record) {
        struct probe_record *older = record->older;

        free(record->blob);
        free(record);
        record = older;
    }
}

/* Forget everything that is stored. */
static inline void probe_clear(struct probe *p)
{
    while (p->records) {
        struct probe_record *next = p->records->next;

        probe_record_free(p->records);
        p->records = next;
    }
}

/* Where the record of stream hangs, or the place for a new one. */
static inline struct probe_record **probe_find(struct probe *p, const char *stream,
                                               size_t len)
{
    struct probe_record **at = &p->records;

    while (*at && ((*at)->stream_len != len || memcmp((*at)->stream, stream, len) != 0))
        at = &(*at)->next;
    return at;
}

#endif
