/* unload LIBRARY DIRECTORY: the library by dlopen() and dlclose(), as a plugin of another
 * program has it.  Closed after its stores, it can be opened again; closed before them,
 * it stays, for plugins have threads that call it and stores are used.  The program is
 * not linked with it. */
#include <mako/snapshot.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define FIND(name) find(&calls.name, "mako_" #name)

static struct {
    void *library;
    int (*store_open_json)(const char *, size_t, const char *, mako_store **,
                           struct mako_error *);
    void (*store_unref)(mako_store *);
    int (*store_save)(mako_store *, const char *, const struct mako_save *,
                      struct mako_error *);
    int (*store_peek)(mako_store *, const char *, struct mako_meta *,
                      struct mako_error *);
} calls;

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "FAILED: %s: %s\n", what, why);
    exit(1);
}

/* ISO C has no cast from an object's address to a function's. */
static void find(void *function, const char *name)
{
    void *symbol = dlsym(calls.library, name);

    if (symbol == NULL)
        die(name, dlerror());
    memcpy(function, &symbol, sizeof symbol);
}

static void load_library(const char *path)
{
    calls.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (calls.library == NULL)
        die(path, dlerror());
    FIND(store_open_json);
    FIND(store_unref);
    FIND(store_save);
    FIND(store_peek);
}

static void unload_library(void)
{
    if (dlclose(calls.library) != 0)
        die("dlclose", dlerror());
}

/* The file store has a thread, which this keeps awake. */
static mako_store *open_store(const char *dir)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    char text[1000];

    (void)snprintf(
        text, sizeof text,
        "{\"stores\": {\"a\": {\"plugin\": \"file\", \"durability\": \"crash\", "
        "\"options\": {\"dir\": \"%s\", \"erase_within\": \"20ms\"}}}}",
        dir);
    if (calls.store_open_json(text, strlen(text), "a", &store, &err) != MAKO_OK)
        die("open", err.text);
    return store;
}

static void save(mako_store *store, uint64_t seq)
{
    const struct mako_save saved = {.struct_size = sizeof saved,
                                    .seq = seq,
                                    .schema = 1,
                                    .state = "kept",
                                    .state_len = 4};
    struct mako_error err = {""};

    if (calls.store_save(store, "stream", &saved, &err) != MAKO_OK)
        die("save", err.text);
}

static void must_hold(mako_store *store, uint64_t seq)
{
    struct mako_meta meta = {.seq = 0};
    struct mako_error err = {"another sequence"};

    if (calls.store_peek(store, "stream", &meta, &err) != MAKO_OK || meta.seq != seq)
        die("peek", err.text);
}

int main(int argc, char **argv)
{
    mako_store *store;

    if (argc != 3)
        die("usage", "unload LIBRARY DIRECTORY");
    for (uint64_t seq = 1; seq <= 20; seq++) {
        load_library(argv[1]);
        store = open_store(argv[2]);
        if (seq > 1)
            must_hold(store, seq - 1);
        save(store, seq);
        calls.store_unref(store);
        unload_library();
    }
    load_library(argv[1]);
    store = open_store(argv[2]);
    unload_library();
    for (uint64_t seq = 21; seq <= 2000; seq++)
        save(store, seq);
    must_hold(store, 2000);
    return 0; /* open, as it is */
}
