/* loader.c - finds, checks and maps store plugins; a registry for the life of the
 * process.
 *
 * Every check that can be made is made before dlopen(), since constructors run inside it.
 * Nothing is ever unloaded: unmapping code is not safe in a threaded program.  The only
 * user of dlfcn.h. */
#include "loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

#define NAME_MAX_LEN 32u
#define OPTIONS_MAX  256u
#define LINKS_MAX    40u /* as the system has it */

/* A file that is checked. */
struct found {
    const char *path; /* as it was asked for: messages and its name are of that */
    char *real;       /* through no link: what was checked is what is opened */
    struct stat st;
};

struct entry {
    struct mako_plugin plugin;
    dev_t dev;
    ino_t ino;
    struct entry *next;
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *registry;

/* ---- names and places --------------------------------------------------------- */

static bool good_name(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    size_t len = strlen(name);

    return len > 0 && len <= NAME_MAX_LEN && strchr(first, name[0]) &&
           strspn(name, rest) == len;
}

/* Owner, and who else may write: what may not be changed by strangers. */
static int check_owner(const char *path, const struct stat *st, struct mako_error *err)
{
    bool by_root = st->st_uid == 0;

    if (!by_root && st->st_uid != geteuid())
        return mako_fail(err, MAKO_E_CONFIG,
                         "%s: owned by user %u, must be owned by root or user %u", path,
                         (unsigned)st->st_uid, (unsigned)geteuid());
    if (st->st_mode & S_IWOTH)
        return mako_fail(err, MAKO_E_CONFIG, "%s: writable by others (mode %04o)", path,
                         (unsigned)(st->st_mode & 07777));
    if ((st->st_mode & S_IWGRP) && !by_root && st->st_gid != getegid())
        return mako_fail(err, MAKO_E_CONFIG, "%s: writable by group %u (mode %04o)", path,
                         (unsigned)st->st_gid, (unsigned)(st->st_mode & 07777));
    return MAKO_OK;
}

static int check_directory_of(const char *path, struct mako_error *err)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash > path ? (size_t)(slash - path) : 1;
    struct stat st;

    if (len >= sizeof dir)
        return mako_fail(err, MAKO_E_CONFIG, "%.200s...: path too long", path);
    memcpy(dir, path, len);
    dir[len] = '\0';
    if (stat(dir, &st) != 0)
        return mako_fail(err, MAKO_E_CONFIG, "%s: %s", dir, strerror(errno));
    return check_owner(dir, &st, err);
}

static int cannot_find(const char *path, struct mako_error *err)
{
    return mako_fail(err, errno == ENOMEM ? MAKO_E_NOMEM : MAKO_E_CONFIG, "%s: %s", path,
                     strerror(errno));
}

/* Where the link at points to, in new memory; NULL if it is no link.  False: errno. */
static bool read_link(const char *at, char **next)
{
    char target[PATH_MAX];
    ssize_t len = readlink(at, target, sizeof target);
    int dir = (int)(strrchr(at, '/') + 1 - at);

    *next = NULL;
    if (len < 0)
        return errno == EINVAL;
    if (target[0] == '/')
        dir = 0;
    return asprintf(next, "%.*s%.*s", dir, at, (int)len, target) >= 0;
}

/* Who can write the directory of any link on the way from *at chooses the file.  *at is
 * then where the way ends. */
static int check_way(const char *path, char **at, struct mako_error *err)
{
    for (unsigned links = 0; links <= LINKS_MAX; links++) {
        char *next;
        int status;

        if (!read_link(*at, &next))
            return cannot_find(path, err);
        status = check_directory_of(*at, err);
        if (status != MAKO_OK || !next) {
            free(next);
            return status;
        }
        free(*at);
        *at = next;
    }
    errno = ELOOP;
    return cannot_find(path, err);
}

/* The dynamic loader would put something else there. */
static int check_dollar(const char *path, struct mako_error *err)
{
    if (!strchr(path, '$'))
        return MAKO_OK;
    return mako_fail(err, MAKO_E_CONFIG, "%s: a plugin's path may not contain '$'", path);
}

static int check_real(struct found *f, struct mako_error *err)
{
    int status = check_dollar(f->real, err);

    if (status != MAKO_OK)
        return status;
    if (stat(f->real, &f->st) != 0)
        return cannot_find(f->path, err);
    if (!S_ISREG(f->st.st_mode))
        return mako_fail(err, MAKO_E_CONFIG, "%s: not a regular file", f->path);
    status = check_owner(f->path, &f->st, err);
    if (status == MAKO_OK)
        status = check_directory_of(f->real, err);
    return status;
}

/* Fills f, of which the caller frees real, also on failure. */
static int check_file(const char *path, struct found *f, struct mako_error *err)
{
    int status = check_dollar(path, err);
    char *at;

    *f = (struct found){.path = path};
    if (status != MAKO_OK)
        return status;
    at = strdup(path);
    if (!at)
        return cannot_find(path, err);
    status = check_way(path, &at, err);
    if (status == MAKO_OK && !(f->real = realpath(at, NULL)))
        status = cannot_find(path, err);
    free(at);
    return status == MAKO_OK ? check_real(f, err) : status;
}

/* ---- its headers -------------------------------------------------------------- */

/* This library's own, made by the linker. */
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

/* len bytes at that offset, or as many as there are: their number, or -1 with errno. */
static ssize_t read_at(int fd, void *bytes, size_t len, off_t at)
{
    size_t done = 0;

    while (done < len) {
        ssize_t got = pread(fd, (char *)bytes + done, len - done, at + (off_t)done);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

static int unreadable(const char *path, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_CONFIG, "%s: cannot be read: %s", path, strerror(errno));
}

/* Whether every mapped part lies within the file: a file that is cut off would be mapped
 * all the same, and its missing pages raise SIGBUS. */
static int check_parts(const char *path, int fd, uint64_t size, const ElfW(Ehdr) * head,
                       struct mako_error *err)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < head->e_phnum; i++) {
        ElfW(Phdr) part;
        off_t at = (off_t)(head->e_phoff + i * sizeof part);
        ssize_t got = read_at(fd, &part, sizeof part, at);

        if (got < 0 && errno != EINVAL) /* of an offset beyond all files */
            return unreadable(path, err);
        if (got != (ssize_t)sizeof part)
            end = (uint64_t)at + sizeof part;
        else if (part.p_type == PT_LOAD)
            end = part.p_offset + part.p_filesz;
        if (end > size)
            return mako_fail(err, MAKO_E_PLUGIN,
                             "%s: cut off: %llu bytes, of at least %llu", path,
                             (unsigned long long)size, (unsigned long long)end);
    }
    return MAKO_OK;
}

static int check_headers(const char *path, int fd, uint64_t size, struct mako_error *err)
{
    ElfW(Ehdr) head;
    ssize_t got;

    memset(&head, 0, sizeof head);
    got = read_at(fd, &head, sizeof head, 0);
    if (got < 0)
        return unreadable(path, err);
    if (got < SELFMAG || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0)
        return mako_fail(err, MAKO_E_PLUGIN, "%s: not an ELF file", path);
    if (size < sizeof head)
        return mako_fail(err, MAKO_E_PLUGIN, "%s: cut off: %llu bytes, of at least %zu",
                         path, (unsigned long long)size, sizeof head);
    if (head.e_ident[EI_CLASS] != __ehdr_start.e_ident[EI_CLASS] ||
        head.e_ident[EI_DATA] != __ehdr_start.e_ident[EI_DATA] ||
        head.e_machine != __ehdr_start.e_machine)
        return mako_fail(err, MAKO_E_PLUGIN,
                         "%s: built for another machine (ELF machine %u class %u, "
                         "here %u class %u)",
                         path, head.e_machine, head.e_ident[EI_CLASS],
                         __ehdr_start.e_machine, __ehdr_start.e_ident[EI_CLASS]);
    return check_parts(path, fd, size, &head, err);
}

static int check_object(const struct found *f, struct mako_error *err)
{
    int fd = open(f->real, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    int status;

    if (fd < 0)
        return mako_fail(err, MAKO_E_CONFIG, "%s: %s", f->path, strerror(errno));
    status = check_headers(f->path, fd, (uint64_t)f->st.st_size, err);
    (void)close(fd);
    return status;
}

/* ---- what a plugin says of itself --------------------------------------------- */

static int check_required(const struct mako_store_plugin *ops, struct mako_error *err)
{
    const struct {
        const char *name;
        bool there;
    } required[] = {{"open", ops->open != NULL},
                    {"close", ops->close != NULL},
                    {"save", ops->save != NULL},
                    {"load", ops->load != NULL},
                    {"remove", ops->remove != NULL}};

    for (size_t i = 0; i < sizeof required / sizeof required[0]; i++)
        if (!required[i].there)
            return mako_fail(err, MAKO_E_PLUGIN, "the required %s is NULL",
                             required[i].name);
    return MAKO_OK;
}

/* mako-store-NAME.so must be NAME; a file called otherwise may be anything. */
static int check_name(const char *path, const char *asked, const char *name,
                      struct mako_error *err)
{
    static const char prefix[] = "mako-store-";
    const char *base = strrchr(path, '/') + 1;
    size_t len;

    if (!name || !good_name(name))
        return mako_fail(err, MAKO_E_PLUGIN, "its name is %s%.64s%s", name ? "'" : "",
                         name ? name : "NULL", name ? "', which no plugin may have" : "");
    if (asked && strcmp(asked, name) != 0)
        return mako_fail(err, MAKO_E_PLUGIN, "it calls itself '%s', asked for was '%s'",
                         name, asked);
    len = strlen(base);
    if (strncmp(base, prefix, sizeof prefix - 1) != 0 || len < sizeof prefix + 2 ||
        strcmp(base + len - 3, ".so") != 0)
        return MAKO_OK;
    base += sizeof prefix - 1;
    len -= sizeof prefix - 1 + 3;
    if (strlen(name) != len || strncmp(base, name, len) != 0)
        return mako_fail(err, MAKO_E_PLUGIN, "it calls itself '%s', its file says '%.*s'",
                         name, (int)len, base);
    return MAKO_OK;
}

static int check_promises(const struct mako_store_plugin *ops, struct mako_error *err)
{
    if (ops->durability > MAKO_DURABLE_POWER)
        return mako_fail(err, MAKO_E_PLUGIN, "unknown durability %u, the highest is %u",
                         (unsigned)ops->durability, (unsigned)MAKO_DURABLE_POWER);
    if (ops->threads > MAKO_THREADS_PARALLEL)
        return mako_fail(err, MAKO_E_PLUGIN, "unknown thread model %u, the highest is %u",
                         (unsigned)ops->threads, (unsigned)MAKO_THREADS_PARALLEL);
    return MAKO_OK;
}

/* The rows may be longer than ours, a newer header's, or shorter: an older one's, but not
 * than the first had.  Copied with their own stride; what they say is checked by
 * options.c. */
static int copy_options(struct mako_plugin *plugin, struct mako_error *err)
{
    const char *rows = (const char *)plugin->ops.options;
    const size_t first = MAKO_FIRST_SIZE(mako_option, max);
    size_t stride = plugin->ops.option_size, ours = sizeof *plugin->options, count = 0;

    if (!rows)
        return MAKO_OK;
    if (stride < first || stride % sizeof(void *) != 0)
        return mako_fail(err, MAKO_E_PLUGIN,
                         "option rows of %zu bytes, must be a multiple of %zu and at "
                         "least %zu",
                         stride, sizeof(void *), first);
    plugin->options = calloc(OPTIONS_MAX + 1, sizeof *plugin->options);
    if (!plugin->options)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    for (; count <= OPTIONS_MAX; count++) {
        memcpy(&plugin->options[count], rows + count * stride,
               stride < ours ? stride : ours);
        if (!plugin->options[count].name)
            break;
    }
    if (count > OPTIONS_MAX) {
        free(plugin->options);
        plugin->options = NULL;
        return mako_fail(err, MAKO_E_PLUGIN, "more than %u options", OPTIONS_MAX);
    }
    plugin->option_count = count;
    return MAKO_OK;
}

/* The version first: of another ABI the rest cannot be read. */
static int copy_descriptor(const struct mako_store_plugin *theirs,
                           struct mako_plugin *plugin, struct mako_error *err)
{
    size_t size;

    if (!theirs)
        return mako_fail(err, MAKO_E_PLUGIN, "mako_store_plugin_entry returned NULL");
    if (theirs->abi != MAKO_STORE_ABI)
        return mako_fail(err, MAKO_E_PLUGIN,
                         "built for store ABI %u, this core speaks %u%s",
                         (unsigned)theirs->abi, MAKO_STORE_ABI,
                         theirs->abi > MAKO_STORE_ABI ? ": upgrade the core" : "");
    size = theirs->struct_size;
    if (size < MAKO_STORE_PLUGIN_MIN_SIZE)
        return mako_fail(err, MAKO_E_PLUGIN,
                         "a descriptor of %zu bytes, ABI %u has at least %zu", size,
                         MAKO_STORE_ABI, MAKO_STORE_PLUGIN_MIN_SIZE);
    if (size > sizeof plugin->ops)
        size = sizeof plugin->ops;
    size -= (size - MAKO_STORE_PLUGIN_MIN_SIZE) % sizeof(void *); /* no half pointer */
    memcpy(&plugin->ops, theirs, size);
    plugin->built_size = theirs->struct_size;
    return MAKO_OK;
}

static int check_descriptor(const struct mako_store_plugin *theirs,
                            struct mako_plugin *plugin, const char *path,
                            const char *asked, struct mako_error *err)
{
    int status = copy_descriptor(theirs, plugin, err);

    if (status == MAKO_OK)
        status = check_required(&plugin->ops, err);
    if (status == MAKO_OK)
        status = check_name(path, asked, plugin->ops.name, err);
    if (status == MAKO_OK)
        status = check_promises(&plugin->ops, err);
    if (status == MAKO_OK)
        status = copy_options(plugin, err);
    return status;
}

/* ---- mapping ------------------------------------------------------------------ */

typedef const struct mako_store_plugin *(*entry_function)(void);

/* dlerror() begins with the file that it is about: this, or something that it needs. */
static int say_unloadable(const struct found *f, const char *why, struct mako_error *err)
{
    size_t len = strlen(f->real);

    if (why && strncmp(why, f->real, len) == 0 && why[len] == ':')
        return mako_fail(err, MAKO_E_PLUGIN, "%s%s", f->path, why + len);
    return mako_fail(err, MAKO_E_PLUGIN, "%s: %s (a missing dependency? ldd shows them)",
                     f->path, why ? why : "cannot be loaded");
}

static int map_file(const struct found *f, entry_function *function,
                    struct mako_error *err)
{
    void *handle, *symbol;

    (void)dlerror();
    errno = 0; /* without memory dlopen() may as well say that there is no such file */
    handle = dlopen(f->real, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle && errno == ENOMEM)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", f->path);
    if (!handle)
        return say_unloadable(f, dlerror(), err);
    symbol = dlsym(handle, "mako_store_plugin_entry");
    if (!symbol)
        return mako_fail(err, MAKO_E_PLUGIN,
                         "%s: no store plugin: it does not export "
                         "mako_store_plugin_entry",
                         f->path);
    memcpy(function, &symbol, sizeof symbol); /* ISO C has no cast for this */
    return MAKO_OK;
}

static void init_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
    pthread_mutex_init(lock, &attr);
    pthread_mutexattr_destroy(&attr);
}

static int load_new(const struct found *f, const char *asked, struct mako_plugin **out,
                    struct mako_error *err)
{
    const char *path = f->path;
    struct entry *e;
    entry_function function = NULL;
    char where[400];
    int status = check_object(f, err);

    if (status == MAKO_OK)
        status = map_file(f, &function, err);
    if (status != MAKO_OK)
        return status;
    e = calloc(1, sizeof *e);
    if (e)
        e->plugin.path = strdup(path);
    if (!e || !e->plugin.path) {
        free(e);
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", path);
    }
    status = check_descriptor(function(), &e->plugin, path, asked, err);
    if (status != MAKO_OK) {
        (void)snprintf(where, sizeof where, "%s: ", path);
        mako_error_prefix(err, where);
        free(e->plugin.path);
        free(e);
        return status;
    }

    init_lock(&e->plugin.lock);
    e->dev = f->st.st_dev;
    e->ino = f->st.st_ino;
    e->next = registry;
    registry = e;
    *out = &e->plugin;
    return MAKO_OK;
}

static int load_file(const struct found *f, const char *asked, struct mako_plugin **out,
                     struct mako_error *err)
{
    char where[400];
    int status;

    for (struct entry *e = registry; e; e = e->next) {
        if (e->dev != f->st.st_dev || e->ino != f->st.st_ino)
            continue;
        status = check_name(f->path, asked, e->plugin.ops.name, err);
        if (status != MAKO_OK) {
            (void)snprintf(where, sizeof where, "%s: ", f->path);
            mako_error_prefix(err, where);
            return status;
        }
        *out = &e->plugin;
        return MAKO_OK;
    }
    return load_new(f, asked, out, err);
}

/* asked is NULL where an absolute path was. */
static int load_path(const char *path, const char *asked, struct mako_plugin **out,
                     struct mako_error *err)
{
    struct found f;
    int status = check_file(path, &f, err);

    if (status == MAKO_OK)
        status = load_file(&f, asked, out, err);
    free(f.real);
    return status;
}

/* ---- the search --------------------------------------------------------------- */

/* Where plugins are installed: beside the library itself, so that a tree can be moved,
 * else where it was configured to be. */
static void builtin_dir(char *out, size_t room)
{
    static const int here;
    Dl_info info;
    struct stat st;
    char *real = NULL, *slash;

    if (dladdr(&here, &info) != 0 && info.dli_fname)
        real = realpath(info.dli_fname, NULL);
    slash = real ? strrchr(real, '/') : NULL;
    if (slash) {
        *slash = '\0';
        (void)snprintf(out, room, "%s/%s", real, MAKO_PLUGIN_SUBDIR);
        if (stat(out, &st) == 0 && S_ISDIR(st.st_mode)) {
            free(real);
            return;
        }
    }
    free(real);
    (void)snprintf(out, room, "%s", MAKO_PLUGIN_DIR);
}

struct search {
    const char *name;
    struct mako_plugin **out;
    struct mako_error *err;
    char tried[320]; /* for the message */
    int status;
};

/* True: the search has ended, with s->status. */
static bool search_in(struct search *s, const char *dir)
{
    char path[PATH_MAX];
    size_t used = strlen(s->tried);
    int len;

    if (dir[0] != '/') {
        s->status =
            mako_fail(s->err, MAKO_E_CONFIG,
                      "plugin '%s': the plugin directory '%s' is relative", s->name, dir);
        return true;
    }
    len = snprintf(path, sizeof path, "%s/mako-store-%s.so", dir, s->name);
    errno = ENAMETOOLONG;
    if (len > 0 && (size_t)len < sizeof path && access(path, F_OK) == 0) {
        s->status = load_path(path, s->name, s->out, s->err);
        return true;
    }
    (void)snprintf(s->tried + used, sizeof s->tried - used, "%s%s%s%s%s",
                   used ? ", " : "", dir, errno != ENOENT ? " (" : "",
                   errno != ENOENT ? strerror(errno) : "", errno != ENOENT ? ")" : "");
    return false;
}

static bool search_environment(struct search *s)
{
    const char *value = secure_getenv("MAKO_PLUGIN_PATH");
    char *copy, *rest, *dir;
    bool ended = false;

    if (!value || !*value)
        return false;
    copy = strdup(value);
    if (!copy) {
        s->status = mako_fail(s->err, MAKO_E_NOMEM, "no memory");
        return true;
    }
    rest = copy;
    while (!ended && (dir = strsep(&rest, ":")) != NULL)
        if (*dir)
            ended = search_in(s, dir);
    free(copy);
    return ended;
}

static int search_all(char *const *dirs, const char *name, struct mako_plugin **out,
                      struct mako_error *err)
{
    struct search s = {.name = name, .out = out, .err = err};
    char builtin[PATH_MAX];

    for (; dirs && *dirs; dirs++)
        if (search_in(&s, *dirs))
            return s.status;
    if (search_environment(&s))
        return s.status;
    builtin_dir(builtin, sizeof builtin);
    if (search_in(&s, builtin))
        return s.status;
    return mako_fail(err, MAKO_E_CONFIG, "plugin '%s': no mako-store-%s.so in %s", name,
                     name, s.tried);
}

int mako_loader_get(char *const *dirs, const char *plugin, struct mako_plugin **out,
                    struct mako_error *err)
{
    int status;

    if (plugin[0] != '/' && !good_name(plugin))
        return mako_fail(err, MAKO_E_CONFIG,
                         "plugin '%.80s': neither a name ([a-z0-9][a-z0-9-]*, at most "
                         "%u) nor an absolute path",
                         plugin, NAME_MAX_LEN);
    if (strlen(plugin) >= PATH_MAX)
        return mako_fail(err, MAKO_E_CONFIG, "plugin '%.80s...': path too long", plugin);

    pthread_mutex_lock(&registry_lock);
    if (plugin[0] == '/')
        status = load_path(plugin, NULL, out, err);
    else
        status = search_all(dirs, plugin, out, err);
    pthread_mutex_unlock(&registry_lock);
    return status;
}

/* ---- forks -------------------------------------------------------------------- */

void mako_loader_hold(void)
{
    pthread_mutex_lock(&registry_lock);
}

void mako_loader_release(void)
{
    pthread_mutex_unlock(&registry_lock);
}

/* To hold all these locks across the fork instead would make it wait for calls, and lock
 * them in an order that programs need not keep. */
void mako_loader_forked(void)
{
    for (struct entry *e = registry; e; e = e->next) {
        if (pthread_mutex_trylock(&e->plugin.lock) == 0)
            pthread_mutex_unlock(&e->plugin.lock);
        else
            e->plugin.cut_off = true;
    }
}
