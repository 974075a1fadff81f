/* tests/faults/host.c - see host.h. */
#include "host.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAX 4096

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[65536];

static void keep_line(const struct mako_host *host, int level, const char *message)
{
    static const char letters[] = "EWID";
    size_t len;

    (void)host;
    (void)pthread_mutex_lock(&log_lock);
    len = strlen(log_text);
    (void)snprintf(log_text + len, sizeof log_text - len, "%c %s\n", letters[level],
                   message);
    (void)pthread_mutex_unlock(&log_lock);
}

static const struct mako_host host = {.struct_size = sizeof host,
                                      .abi = MAKO_STORE_ABI,
                                      .store_name = "test",
                                      .max_blob = 64u << 20,
                                      .log = keep_line};

const char *box_log(void)
{
    static _Thread_local char copy[sizeof log_text];

    (void)pthread_mutex_lock(&log_lock);
    memcpy(copy, log_text, strlen(log_text) + 1);
    (void)pthread_mutex_unlock(&log_lock);
    return copy;
}

static void forget_log(void)
{
    (void)pthread_mutex_lock(&log_lock);
    log_text[0] = '\0';
    (void)pthread_mutex_unlock(&log_lock);
}

bool box_logged(const char *text)
{
    bool logged;

    (void)pthread_mutex_lock(&log_lock);
    logged = strstr(log_text, text) != NULL;
    (void)pthread_mutex_unlock(&log_lock);
    return logged;
}

static const struct mako_store_plugin *load_plugin(void)
{
    void *object = dlopen(MAKO_FILE_PLUGIN, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    union {
        void *symbol;
        const struct mako_store_plugin *(*entry)(void);
    } found;

    cr_assert_not_null(object, "%s", dlerror());
    found.symbol = dlsym(object, "mako_store_plugin_entry");
    cr_assert_not_null(found.symbol);
    return found.entry();
}

void box_make(struct box *box)
{
    const char *tmp = getenv("TMPDIR");

    *box = (struct box){.plugin = load_plugin(),
                        .segment_size = 65536,
                        .dead_space = 100,
                        .durability = MAKO_DURABLE_POWER};
    (void)snprintf(box->dir, sizeof box->dir, "%s/mako-faults.XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(box->dir));
    (void)snprintf(box->path, sizeof box->path, "%s/store", box->dir);
}

static void remove_tree(const char *path)
{
    char command[320];

    (void)snprintf(command, sizeof command, "rm -rf '%s'", path);
    cr_assert_eq(system(command), 0);
}

void box_free(struct box *box)
{
    box_close(box);
    remove_tree(box->dir);
}

/* The files whose names have part in them. */
static void remove_files(const struct box *box, const char *part)
{
    char path[600];
    DIR *dir = opendir(box->path);
    const struct dirent *entry;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' && strstr(entry->d_name, part) != NULL) {
            (void)snprintf(path, sizeof path, "%s/%s", box->path, entry->d_name);
            (void)unlink(path);
        }
    if (dir != NULL)
        (void)closedir(dir);
}

void box_wipe(struct box *box)
{
    remove_files(box, "");
    (void)rmdir(box->path);
}

int box_open(struct box *box)
{
    union mako_value values[] = {{.str = box->path},      {.num = box->segment_size},
                                 {.num = box->lock_wait}, {.num = box->dead_space},
                                 {.num = box->erase_ms},  {.num = box->rate},
                                 {.num = box->map}};
    struct mako_traits traits = {.struct_size = sizeof traits,
                                 .flags = box->read_only ? MAKO_OPEN_READ_ONLY : 0,
                                 .durability = box->durability,
                                 .threads = box->plugin->threads,
                                 .features = box->plugin->features};
    int status;

    forget_log();
    if (!box->keep_indexes)
        remove_files(box, ".idx");
    status = box->plugin->open(&host, values, &traits, &box->store, &box->err);
    if (status == MAKO_OK)
        cr_assert_eq(traits.durability, box->durability);
    return status;
}

void box_close(struct box *box)
{
    if (box->store != NULL)
        box->plugin->close(box->store);
    box->store = NULL;
}

void box_must_open(struct box *box)
{
    int status = box_open(box);

    cr_assert_eq(status, MAKO_OK, "open: %d %s", status, box->err.text);
}

void box_reopen(struct box *box)
{
    box_close(box);
    box_must_open(box);
}

void pattern(unsigned char *bytes, size_t len, const char *stream, uint64_t seq)
{
    uint64_t state = seq * 0x9e3779b97f4a7c15u + 1;

    for (; *stream != '\0'; stream++)
        state = (state ^ (unsigned char)*stream) * 0x100000001b3u;
    for (size_t i = 0; i < len; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        bytes[i] = (unsigned char)(1 + (state >> 33) % 255); /* never zero */
    }
}

static struct mako_str str_of(const char *text)
{
    return (struct mako_str){.ptr = text, .len = strlen(text)};
}

/* Threads share the box; the text is the last one's. */
static void keep_error(struct box *box, const struct mako_error *err)
{
    (void)pthread_mutex_lock(&log_lock);
    box->err = *err;
    (void)pthread_mutex_unlock(&log_lock);
}

static void keep_length(struct box *box, size_t len)
{
    (void)pthread_mutex_lock(&log_lock);
    box->got = len;
    (void)pthread_mutex_unlock(&log_lock);
}

int put(struct box *box, const char *stream, uint64_t seq, size_t len, uint32_t flags)
{
    unsigned char *bytes = malloc(len + 1);
    struct mako_record record = {.stream = str_of(stream),
                                 .meta = {.seq = seq, .schema = 1, .created_ms = 1000},
                                 .flags = flags,
                                 .blob = bytes,
                                 .blob_len = len};
    struct mako_error err = {.text = ""};
    int status;

    pattern(bytes, len, stream, seq);
    status = box->plugin->save(box->store, &record, &err);
    free(bytes);
    if (status != MAKO_OK)
        keep_error(box, &err);
    return status;
}

struct room {
    struct mako_sink sink; /* first, so that the callbacks find the rest */
    struct mako_meta meta;
    void *bytes;
    size_t len;
};

static void *accept_bytes(struct mako_sink *sink, const struct mako_meta *meta,
                          size_t blob_len)
{
    union {
        struct mako_sink *sink;
        struct room *room;
    } both = {.sink = sink};
    struct room *room = both.room;

    cr_assert_not_null(meta, "EARLY_META was promised");
    free(room->bytes);
    room->meta = *meta;
    room->len = blob_len;
    room->bytes = aligned_alloc(16, (blob_len + 16) & ~(size_t)15);
    return room->bytes;
}

/* Copies, so that what is lent is let go at once. */
static int lend_bytes(struct mako_sink *sink, const struct mako_meta *meta,
                      const void *blob, size_t blob_len, void (*release)(void *cookie),
                      void *cookie)
{
    void *bytes = accept_bytes(sink, meta, blob_len);

    memcpy(bytes, blob, blob_len);
    release(cookie);
    return 0;
}

int get(struct box *box, const char *stream, uint64_t *seq)
{
    struct room room = {.sink = {.struct_size = sizeof room.sink,
                                 .accept = accept_bytes,
                                 .lend = lend_bytes}};
    struct mako_error err = {.text = ""};
    int status = box->plugin->load(box->store, str_of(stream), &room.sink, &err);
    unsigned char *expected;

    if (status != MAKO_OK) {
        free(room.bytes);
        cr_assert(status == MAKO_NOT_FOUND || err.text[0] != '\0',
                  "status %d without a text", status);
        keep_error(box, &err);
        return status;
    }
    expected = malloc(room.len + 1);
    pattern(expected, room.len, stream, room.meta.seq);
    if (room.len != 0 && memcmp(expected, room.bytes, room.len) != 0)
        status = ALTERED;
    *seq = room.meta.seq;
    keep_length(box, room.len);
    free(expected);
    free(room.bytes);
    return status;
}

int drop(struct box *box, const char *stream)
{
    return box->plugin->remove(box->store, str_of(stream), &box->err);
}

static int go_on(struct mako_progress *progress, uint64_t done, uint64_t total)
{
    (void)progress;
    cr_assert_leq(done, total);
    return 0;
}

int compact(struct box *box)
{
    struct mako_progress progress = {.struct_size = sizeof progress, .step = go_on};

    return box->plugin->compact(box->store, &progress, &box->err);
}

bool holds(struct box *box, const char *stream, uint64_t seq)
{
    uint64_t found = 0;
    int status = get(box, stream, &found);

    if (seq == 0 ? status == MAKO_NOT_FOUND : status == MAKO_OK && found == seq)
        return true;
    (void)fprintf(stderr, "%s: status %d, sequence %llu, expected %llu (%s)\n", stream,
                  status, (unsigned long long)found, (unsigned long long)seq,
                  status != MAKO_OK ? box->err.text : "");
    return false;
}

struct wanted {
    struct mako_counters counters;
    const char *name;
    uint64_t value;
    bool found;
};

static void add_counter(struct mako_counters *counters, const char *name, uint64_t value)
{
    union {
        struct mako_counters *counters;
        struct wanted *wanted;
    } both = {.counters = counters};

    if (strcmp(name, both.wanted->name) == 0) {
        both.wanted->value = value;
        both.wanted->found = true;
    }
}

uint64_t counter(struct box *box, const char *name)
{
    struct wanted wanted = {
        .counters = {.struct_size = sizeof wanted.counters, .add = add_counter},
        .name = name};

    cr_assert_eq(box->plugin->stats(box->store, &wanted.counters, &box->err), MAKO_OK);
    cr_assert(wanted.found, "no counter %s", name);
    return wanted.value;
}

size_t descriptors(void)
{
    size_t count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* ---- files ------------------------------------------------------------------------ */

static int by_name(const void *left, const void *right)
{
    return strcmp(left, right);
}

static size_t list_segments(const struct box *box, char (*names)[64])
{
    DIR *dir = opendir(box->path);
    const struct dirent *entry;
    size_t count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        if (strstr(entry->d_name, ".seg") != NULL &&
            strlen(entry->d_name) < sizeof names[0]) {
            cr_assert_lt(count, NAMES_MAX);
            (void)snprintf(names[count++], sizeof names[0], "%.63s", entry->d_name);
        }
    if (dir != NULL)
        (void)closedir(dir);
    qsort(names, count, sizeof names[0], by_name);
    return count;
}

size_t segment_count(const struct box *box)
{
    char(*names)[64] = malloc(NAMES_MAX * sizeof *names);
    size_t count = list_segments(box, names);

    free(names);
    return count;
}

void segment_path(const struct box *box, size_t number, char *path, size_t room)
{
    char(*names)[64] = malloc(NAMES_MAX * sizeof *names);
    size_t count = list_segments(box, names);

    cr_assert_lt(number, count, "no segment %zu", number);
    (void)snprintf(path, room, "%s/%s", box->path, names[number]);
    free(names);
}

struct bytes read_whole(const char *path)
{
    struct bytes bytes = {.data = NULL};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(fstat(fd, &st), 0);
    bytes.len = (size_t)st.st_size;
    bytes.data = malloc(bytes.len + 1);
    cr_assert_eq(read(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
    (void)close(fd);
    return bytes;
}

void write_whole(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(write(fd, data, len), (ssize_t)len);
    (void)close(fd);
}
