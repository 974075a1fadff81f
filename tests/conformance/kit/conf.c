/* The configuration: which file the plugin is, and what one case gets to open.
 *
 * What is written for a case stands in another directory than the original, so that all
 * that is relative is made absolute. */
#include "kit.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

static json_t *read_conf(const struct kit_options *options, json_t **entry,
                         struct mako_error *err)
{
    json_error_t why;
    json_t *root = json_load_file(options->conf, 0, &why);

    if (!root) {
        (void)mako_fail(err, MAKO_E_CONFIG, "%s:%d: %s", options->conf, why.line,
                        why.text);
        return NULL;
    }
    *entry = json_object_get(json_object_get(root, "stores"), "test");
    if (!json_is_object(*entry)) {
        (void)mako_fail(err, MAKO_E_CONFIG, "%s: there is no store 'test'",
                        options->conf);
        json_decref(root);
        return NULL;
    }
    return root;
}

/* Where relative paths of the configuration start, with a slash behind it. */
static void conf_dir(const struct kit_options *options, char *out, size_t room)
{
    const char *slash = strrchr(options->conf, '/');

    (void)snprintf(out, room, "%.*s", slash ? (int)(slash + 1 - options->conf) : 0,
                   options->conf);
}

/* Texts that begin with a variable are left alone: what is in it is absolute. */
static json_t *absolute(const char *dir, const char *text)
{
    bool relative = text[0] && text[0] != '/' && !(text[0] == '$' && text[1] == '{');

    return json_sprintf("%s%s", relative ? dir : "", text);
}

/* ---- the plugin's file ------------------------------------------------------------ */

static bool is_there(const char *dir, const char *name, char *out)
{
    int len = snprintf(out, PATH_MAX, "%s/mako-store-%s.so", dir, name);

    return len > 0 && len < PATH_MAX && access(out, R_OK) == 0;
}

static bool among_dirs(const struct kit_options *options, const json_t *dirs,
                       const char *name, char *out)
{
    char base[PATH_MAX], dir[PATH_MAX];
    json_t *item;
    size_t i;

    conf_dir(options, base, sizeof base);
    json_array_foreach((json_t *)(uintptr_t)dirs, i, item)
    {
        const char *text = json_string_value(item);

        (void)snprintf(dir, sizeof dir, "%.2000s%.2000s",
                       text && text[0] != '/' ? base : "", text ? text : "");
        if (text && is_there(dir, name, out))
            return true;
    }
    return false;
}

static bool among_environment(const char *name, char *out)
{
    const char *value = getenv("MAKO_PLUGIN_PATH");
    char *copy = value ? strdup(value) : NULL, *rest = copy, *dir;
    bool found = false;

    while (rest && !found && (dir = strsep(&rest, ":")) != NULL)
        found = *dir && is_there(dir, name, out);
    free(copy);
    return found;
}

/* Beside the library, as the library itself looks for them. */
static bool beside_library(const char *name, char *out)
{
    char dir[PATH_MAX];
    Dl_info info;
    void *symbol = dlsym(RTLD_DEFAULT, "mako_version");
    char *real = NULL, *slash;

    if (symbol && dladdr(symbol, &info) != 0 && info.dli_fname)
        real = realpath(info.dli_fname, NULL);
    slash = real ? strrchr(real, '/') : NULL;
    if (slash)
        *slash = '\0';
    (void)snprintf(dir, sizeof dir, "%.4000s/mako-snapshot", slash ? real : "");
    free(real);
    return is_there(dir, name, out);
}

static bool find_plugin(struct kit_options *options, const json_t *root,
                        const char *named, struct mako_error *err)
{
    const char *path = options->plugin ? options->plugin : named;
    struct stat st;

    if (!path) {
        (void)mako_fail(err, MAKO_E_CONFIG, "%s: the store 'test' names no plugin",
                        options->conf);
        return false;
    }
    if (options->plugin || path[0] == '/') {
        if (!realpath(path, options->binary) || stat(options->binary, &st) != 0 ||
            !S_ISREG(st.st_mode)) {
            (void)mako_fail(err, MAKO_E_CONFIG, "%s: no such file", path);
            return false;
        }
        return true;
    }
    if (among_dirs(options, json_object_get(root, "plugin_dirs"), path,
                   options->binary) ||
        among_environment(path, options->binary) || beside_library(path, options->binary))
        return true;
    (void)mako_fail(err, MAKO_E_CONFIG,
                    "%s: no mako-store-%s.so in \"plugin_dirs\", MAKO_PLUGIN_PATH or "
                    "beside the library",
                    options->conf, path);
    return false;
}

/* ---- one case's file -------------------------------------------------------------- */

struct path_options {
    json_t *options;
    char dir[PATH_MAX];
};

/* A line of mako_plugin_describe(): "option.NAME.type" is "path". */
static void note_path(void *arg, const char *key, const char *value)
{
    struct path_options *paths = arg;
    size_t len = strlen(key);
    const char *text;
    char name[100];

    if (strncmp(key, "option.", 7) != 0 || len < 13 ||
        strcmp(key + len - 5, ".type") != 0 || strcmp(value, "path") != 0)
        return;
    (void)snprintf(name, sizeof name, "%.*s", (int)(len - 12), key + 7);
    text = json_string_value(json_object_get(paths->options, name));
    if (text)
        (void)json_object_set_new(paths->options, name, absolute(paths->dir, text));
}

static void make_dirs_absolute(json_t *root, const char *dir)
{
    json_t *dirs = json_object_get(root, "plugin_dirs"), *item;
    size_t i;

    json_array_foreach(dirs, i, item)
    {
        const char *text = json_string_value(item);

        if (text)
            (void)json_array_set_new(dirs, i, absolute(dir, text));
    }
}

bool kit_conf_write(const struct kit_options *options, const char *path, bool paths,
                    struct mako_error *err)
{
    struct path_options p = {.options = NULL};
    json_t *entry = NULL, *root = read_conf(options, &entry, err);
    int failed;

    if (!root)
        return false;
    conf_dir(options, p.dir, sizeof p.dir);
    make_dirs_absolute(root, p.dir);
    p.options = json_object_get(entry, "options");
    /* Where this fails, so does opening, which says why. */
    if (paths && p.options &&
        mako_plugin_describe(NULL, options->binary, note_path, &p, NULL) != MAKO_OK)
        err->text[0] = '\0';
    failed = json_object_set_new(entry, "plugin", json_string(options->binary)) ||
             json_object_set_new(root, "_conf_dir", json_string(p.dir)) ||
             json_dump_file(root, path, JSON_INDENT(2));
    json_decref(root);
    if (failed)
        (void)mako_fail(err, MAKO_E_IO, "%s: cannot be written", path);
    return !failed;
}

/* ---- before anything runs --------------------------------------------------------- */

static void no_line(void *arg, const char *key, const char *value)
{
    (void)arg, (void)key, (void)value;
}

/* In a child, for the plugin may be anything.  What is wrong with the plugin is found by
 * the cases; what is wrong with the configuration goes to the pipe. */
static _Noreturn void try_conf(const struct kit_options *options, const char *path,
                               int out)
{
    struct mako_source source = {
        .struct_size = sizeof source, .path = path, .name = "test"};
    struct mako_error err = {""};
    int status;

    (void)alarm(options->timeout);
    (void)setenv("MAKO_TEST_DIR", "/nonexistent", 1);
    if (!kit_conf_write(options, path, true, &err))
        status = MAKO_E_CONFIG;
    else
        status = mako_config_describe(&source, no_line, NULL, &err);
    if (status == MAKO_E_CONFIG || status == MAKO_E_INVALID)
        (void)!write(out, err.text, strlen(err.text));
    _exit(0);
}

static bool accepted(const struct kit_options *options, struct mako_error *err)
{
    const char *tmp = getenv("TMPDIR");
    char path[PATH_MAX];
    int ends[2], fd;
    ssize_t got;
    pid_t child;

    (void)snprintf(path, sizeof path, "%s/mako-conformance.XXXXXX",
                   tmp && *tmp ? tmp : "/tmp");
    fd = mkstemp(path);
    if (fd < 0 || pipe(ends) != 0) {
        (void)mako_fail(err, MAKO_E_IO, "%s: cannot be made", path);
        return false;
    }
    (void)close(fd);
    child = fork();
    if (child == 0)
        try_conf(options, path, ends[1]);
    (void)close(ends[1]);
    got = read(ends[0], err->text, sizeof err->text - 1);
    err->text[got > 0 ? got : 0] = '\0';
    (void)close(ends[0]);
    (void)waitpid(child, NULL, 0);
    (void)unlink(path);
    return err->text[0] == '\0';
}

bool kit_conf_check(struct kit_options *options, struct mako_error *err)
{
    json_t *entry = NULL, *root = read_conf(options, &entry, err);
    bool found;

    if (!root)
        return false;
    found = find_plugin(options, root,
                        json_string_value(json_object_get(entry, "plugin")), err);
    json_decref(root);
    return found && accepted(options, err);
}
