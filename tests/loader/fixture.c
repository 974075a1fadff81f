/* tests/loader/fixture.c - see fixture.h. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534u

struct kept {
    struct kept *next;
    char bytes[];
};

static struct kept *kept_list;
static char directory[256];
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[8192];

/* ---- memory and directory ---------------------------------------------------- */

static void *keep(size_t size)
{
    struct kept *k = calloc(1, sizeof *k + size);

    cr_assert(k != NULL);
    k->next = kept_list;
    kept_list = k;
    return k->bytes;
}

const char *text(const char *format, ...)
{
    va_list args, again;
    char *made;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    cr_assert(len >= 0);
    made = keep((size_t)len + 1);
    (void)vsnprintf(made, (size_t)len + 1, format, again);
    va_end(again);
    return made;
}

static void capture(void *arg, int level, const char *message)
{
    size_t used;

    (void)arg, (void)level;
    pthread_mutex_lock(&log_lock);
    used = strlen(log_text);
    (void)snprintf(log_text + used, sizeof log_text - used, "%s\n", message);
    pthread_mutex_unlock(&log_lock);
}

bool logged(const char *fragment)
{
    bool found;

    pthread_mutex_lock(&log_lock);
    found = strstr(log_text, fragment) != NULL;
    pthread_mutex_unlock(&log_lock);
    return found;
}

void fixture_begin(void)
{
    const char *base = getenv("TMPDIR");
    char *made;

    (void)snprintf(directory, sizeof directory, "%s/mako-loader.XXXXXX",
                   base && base[0] == '/' ? base : "/tmp");
    made = mkdtemp(directory);
    cr_assert(made != NULL, "%s: %s", directory, strerror(errno));
    cr_assert(chmod(directory, 0755) == 0);
    unsetenv("MAKO_PLUGIN_PATH");
    unsetenv("MAKO_TEST_CONSTRUCTED");
    unsetenv("MAKO_TEST_ENTERED");
    mako_set_log(capture, NULL);
}

static int delete_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void fixture_end(void)
{
    mako_set_log(NULL, NULL);
    if (directory[0])
        (void)nftw(directory, delete_one, 16, FTW_DEPTH | FTW_PHYS);
    directory[0] = '\0';
    while (kept_list) {
        struct kept *next = kept_list->next;

        free(kept_list);
        kept_list = next;
    }
}

const char *scratch(void)
{
    return directory;
}

const char *below(const char *name)
{
    return text("%s/%s", directory, name);
}

/* ---- files -------------------------------------------------------------------- */

unsigned char *read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    unsigned char *bytes;
    struct stat st;
    size_t got = 0;

    cr_assert(fd >= 0 && fstat(fd, &st) == 0, "%s: %s", path, strerror(errno));
    bytes = keep((size_t)st.st_size + 1);
    while (got < (size_t)st.st_size) {
        ssize_t n = read(fd, bytes + got, (size_t)st.st_size - got);

        cr_assert(n > 0, "%s: short read", path);
        got += (size_t)n;
    }
    close(fd);
    *len = got;
    return bytes;
}

const char *make_file(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    size_t done = 0;

    cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
    while (done < len) {
        ssize_t n = write(fd, (const char *)bytes + done, len - done);

        cr_assert(n > 0, "%s: %s", path, strerror(errno));
        done += (size_t)n;
    }
    cr_assert(fchmod(fd, 0755) == 0);
    close(fd);
    return path;
}

const char *make_dir(const char *path)
{
    cr_assert(mkdir(path, 0755) == 0 && chmod(path, 0755) == 0, "%s: %s", path,
              strerror(errno));
    return path;
}

/* C names have underscores where plugins have dashes. */
static const char *built(const char *dir, const char *fault)
{
    char name[64];
    size_t i;

    for (i = 0; fault[i] && i + 1 < sizeof name; i++)
        name[i] = (char)(fault[i] == '_' ? '-' : fault[i]);
    name[i] = '\0';
    return text("%s/mako-store-%s.so", dir, name);
}

const char *copy_plugin(const char *fault, const char *path)
{
    size_t len;
    unsigned char *bytes = read_file(built(BAD_PLUGINS, fault), &len);

    return make_file(path, bytes, len);
}

const char *install_plugin(const char *fault)
{
    return copy_plugin(fault, built(directory, fault));
}

/* ---- asking -------------------------------------------------------------------- */

const char *config_of(const char *plugin, const char *members)
{
    return text("{\"plugin_dirs\": [\"%s\"], \"stores\": {\"test\": {\"plugin\": \"%s\""
                "%s%s}}}",
                directory, plugin, *members ? ", " : "", members);
}

int open_plugin(const char *plugin, const char *options, mako_store **store,
                struct mako_error *err)
{
    const char *json = config_of(plugin, text("\"durability\": \"memory\", "
                                              "\"schema\": {\"min\": 1, \"max\": 9}, "
                                              "\"stale_saves\": \"replace\", "
                                              "\"options\": {%s}",
                                              options));

    return mako_store_open_json(json, strlen(json), "test", store, err);
}

struct wanted {
    const char *key, *value;
};

static void look(void *arg, const char *key, const char *value)
{
    struct wanted *w = arg;

    if (strcmp(key, w->key) == 0)
        w->value = text("%s", value);
}

const char *config_file(const char *dirs)
{
    static int made;
    const char *json = text("{\"plugin_dirs\": [%s], \"stores\": {\"test\": {\"plugin\": "
                            "\"noop\", \"durability\": \"none\"}}}",
                            dirs);

    return make_file(text("%s/config-%d.json", directory, made++), json, strlen(json));
}

int describe(const char *config, const char *plugin, const char *key, const char **value,
             struct mako_error *err)
{
    struct wanted w = {.key = key};
    int status = mako_plugin_describe(config, plugin, look, &w, err);

    if (value)
        *value = w.value;
    return status;
}

const char *described(const char *config, const char *plugin, const char *key)
{
    struct mako_error err = {{0}};
    const char *value = NULL;
    int status = describe(config, plugin, key, &value, &err);

    cr_assert(status == MAKO_OK, "%s: %s", plugin, err.text);
    return value;
}

void has(const char *got, const char *const *fragments)
{
    for (; *fragments; fragments++)
        cr_expect(strstr(got, *fragments) != NULL, "'%s' is missing in: %s", *fragments,
                  got);
    cr_expect(strchr(got, '\n') == NULL, "more than one line: %s", got);
}

static size_t open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;

    cr_assert(dir != NULL);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

void refused(const char *plugin, int status, const char *const *fragments)
{
    struct mako_error err = {{0}};
    mako_store *untouched = (mako_store *)&err, *store = untouched;
    size_t before = open_descriptors();
    int got = open_plugin(plugin, "", &store, &err);

    cr_expect(got == status, "open: %s, not %s: %s", mako_status_name(got),
              mako_status_name(status), err.text);
    cr_expect(store == untouched, "the output was touched");
    has(err.text, fragments);

    (void)snprintf(err.text, sizeof err.text, "(empty)");
    got = describe(NULL, plugin, "", NULL, &err);
    cr_expect(got == status, "describe: %s, not %s: %s", mako_status_name(got),
              mako_status_name(status), err.text);
    has(err.text, fragments);
    cr_expect(open_descriptors() == before, "a descriptor stayed open");
}

static int counted(const char *name)
{
    const char *value = getenv(name);

    return value ? value[0] - '0' : 0;
}

int constructed(void)
{
    return counted("MAKO_TEST_CONSTRUCTED");
}

int entered(void)
{
    return counted("MAKO_TEST_ENTERED");
}

/* ---- the trace ------------------------------------------------------------------ */

struct trace make_trace(void)
{
    int ends[2];

    cr_assert(pipe2(ends, O_CLOEXEC) == 0);
    return (struct trace){.out = ends[1], .in = ends[0]};
}

char next_letter(const struct trace *trace, int ms)
{
    struct pollfd p = {.fd = trace->in, .events = POLLIN};
    char letter = '\0';

    if (poll(&p, 1, ms) == 1)
        cr_assert(read(trace->in, &letter, 1) == 1);
    return letter;
}

const char *letters(const struct trace *trace)
{
    char all[64] = "";
    size_t len = 0;

    while (len + 1 < sizeof all && (all[len] = next_letter(trace, 0)) != '\0')
        len++;
    all[len] = '\0';
    return text("%s", all);
}

void skip(const char *why)
{
    fixture_end();
    cr_skip("%s", why);
}

void become_nobody(void)
{
    if (geteuid() != 0)
        skip("only root can become another user");
    cr_assert(chown(directory, NOBODY, NOBODY) == 0);
    if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 ||
        setresuid(NOBODY, NOBODY, NOBODY) != 0)
        skip("cannot become another user here");
}
