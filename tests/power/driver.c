/* tests/power/driver.c - see driver.h. */
#include "driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "content.h"

static const struct mako_store_plugin *plugin;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char warnings[4096];

static void keep_warning(const struct mako_host *host, int level, const char *message)
{
    size_t len;

    (void)host;
    if (level > MAKO_LOG_WARN)
        return;
    (void)pthread_mutex_lock(&lock);
    len = strlen(warnings);
    (void)snprintf(warnings + len, sizeof warnings - len, "%s\n", message);
    (void)pthread_mutex_unlock(&lock);
}

static const struct mako_host host = {.struct_size = sizeof host,
                                      .abi = MAKO_STORE_ABI,
                                      .store_name = "power",
                                      .max_blob = 64u << 20,
                                      .log = keep_warning};

const char *driver_warnings(void)
{
    return warnings;
}

void driver_load(const char *path)
{
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    union {
        void *symbol;
        const struct mako_store_plugin *(*entry)(void);
    } found = {.symbol = NULL};

    if (object != NULL)
        found.symbol = dlsym(object, "mako_store_plugin_entry");
    if (found.symbol == NULL) {
        (void)fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    plugin = found.entry();
}

int driver_open(struct driver *driver)
{
    union mako_value values[] = {{.str = driver->path},
                                 {.num = 65536},
                                 {.num = 0},
                                 {.num = driver->dead_space},
                                 {.num = driver->erase_ms},
                                 {.num = 0},
                                 {.num = 0}};
    struct mako_traits traits = {.struct_size = sizeof traits,
                                 .flags = driver->read_only ? MAKO_OPEN_READ_ONLY : 0,
                                 .durability = MAKO_DURABLE_POWER,
                                 .threads = plugin->threads,
                                 .features = plugin->features};

    warnings[0] = '\0';
    driver->store = NULL;
    return plugin->open(&host, values, &traits, &driver->store, &driver->err);
}

void driver_close(struct driver *driver)
{
    if (driver->store != NULL)
        plugin->close(driver->store);
    driver->store = NULL;
}

/* ---- operations ------------------------------------------------------------------- */

struct name {
    char text[24];
};

static struct mako_str name_of(struct name *name, size_t stream)
{
    int len = snprintf(name->text, sizeof name->text, "process/%zu", stream);

    return (struct mako_str){.ptr = name->text, .len = (size_t)len};
}

static struct mako_record record_of(const struct item *item, struct name *name,
                                    unsigned char *bytes)
{
    content_make(bytes, item->len, item->version);
    return (struct mako_record){
        .stream = name_of(name, item->stream),
        .meta = {.seq = item->seq, .schema = 1, .created_ms = (int64_t)item->version},
        .flags = item->if_newer ? MAKO_SAVE_IF_NEWER : 0,
        .blob = bytes,
        .blob_len = item->len};
}

static void *must(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

int driver_save(struct driver *driver, const struct item *item, struct mako_error *err)
{
    unsigned char *bytes = must(malloc(item->len + 1u));
    struct name name;
    struct mako_record record = record_of(item, &name, bytes);
    int status = plugin->save(driver->store, &record, err);

    free(bytes);
    return status;
}

int driver_save_many(struct driver *driver, const struct item *items, size_t count,
                     int *statuses, struct mako_error *err)
{
    struct mako_record *records = must(calloc(count, sizeof *records));
    struct name *names = must(calloc(count, sizeof *names));
    unsigned char **bytes = must(calloc(count, sizeof(unsigned char *)));
    int status;

    for (size_t i = 0; i < count; i++) {
        bytes[i] = must(malloc(items[i].len + 1u));
        records[i] = record_of(&items[i], &names[i], bytes[i]);
    }
    status = plugin->save_many(driver->store, records, count, statuses, err);
    for (size_t i = 0; i < count; i++)
        free(bytes[i]);
    free(bytes);
    free(names);
    free(records);
    return status;
}

int driver_remove(struct driver *driver, size_t stream, struct mako_error *err)
{
    struct name name;

    return plugin->remove(driver->store, name_of(&name, stream), err);
}

struct room {
    struct mako_sink sink; /* first, so that the callback finds the rest */
    struct mako_meta meta;
    size_t len;
    unsigned char *bytes;
};

static void *accept_bytes(struct mako_sink *sink, const struct mako_meta *meta,
                          size_t len)
{
    union {
        struct mako_sink *sink;
        struct room *room;
    } both = {.sink = sink};

    if (meta == NULL || len > CONTENT_MAX)
        return NULL;
    both.room->meta = *meta;
    both.room->len = len;
    return both.room->bytes;
}

struct found driver_find(struct driver *driver, size_t stream, struct mako_error *err)
{
    static _Thread_local _Alignas(16) unsigned char bytes[CONTENT_MAX];
    static _Thread_local unsigned char expected[CONTENT_MAX];
    struct room room = {.sink = {.struct_size = sizeof room.sink, .accept = accept_bytes},
                        .bytes = bytes};
    struct found found = {.seq = 0};
    struct name name;

    found.status = plugin->load(driver->store, name_of(&name, stream), &room.sink, err);
    if (found.status != MAKO_OK)
        return found;
    found.version = (uint64_t)room.meta.created_ms;
    found.seq = room.meta.seq;
    found.len = room.len;
    content_make(expected, room.len, found.version);
    found.altered = memcmp(bytes, expected, room.len) != 0;
    return found;
}

static int go_on(struct mako_progress *progress, uint64_t done, uint64_t total)
{
    (void)progress;
    (void)done;
    (void)total;
    return 0;
}

int driver_compact(struct driver *driver, struct mako_error *err)
{
    struct mako_progress progress = {.struct_size = sizeof progress, .step = go_on};

    return plugin->compact(driver->store, &progress, err);
}
