/* cli/store.c - the store that the command line names, and the files next to it. */
#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int exit_of(int status)
{
    if (status >= 0)
        return status == MAKO_OK ? EXIT_DONE : EXIT_NOTHING;
    if (status == MAKO_E_INVALID || status == MAKO_E_CONFIG || status == MAKO_E_LIMIT)
        return EXIT_USAGE;
    return EXIT_STORE;
}

int failed(int status, const struct mako_error *err)
{
    return complain(exit_of(status), "%s", err->text);
}

int failed_on(const char *stream, int status, const struct mako_error *err)
{
    return complain(exit_of(status), "%s: %s", stream, err->text);
}

const char *config_path(const struct args *args)
{
    const char *path = secure_getenv("MAKO_SNAPSHOT_CONFIG");

    if (args->config)
        return args->config;
    return path && *path ? path : NULL;
}

int source_of(const struct args *args, struct mako_source *source)
{
    const char *path = config_path(args);

    if (!path)
        return complain(EXIT_USAGE, "no configuration: say -c FILE, or set "
                                    "MAKO_SNAPSHOT_CONFIG (see mako-snapshot --help)");
    *source = (struct mako_source){.struct_size = sizeof *source,
                                   .path = path,
                                   .name = args->store,
                                   .overrides = args->overrides};
    return EXIT_DONE;
}

static int open_store(const struct args *args, uint32_t flags, mako_store **store)
{
    struct mako_source source;
    struct mako_error err = {""};
    int status = source_of(args, &source);

    if (status != EXIT_DONE)
        return status;
    source.flags = flags;
    status = mako_store_open_source(&source, store, &err);
    if (status == MAKO_E_PLUGIN) /* the configuration names what is no store plugin */
        return complain(EXIT_USAGE, "%s", err.text);
    return status == MAKO_OK ? EXIT_DONE : failed(status, &err);
}

int store_of(const struct args *args, mako_store **store)
{
    return open_store(args, 0, store);
}

int store_to_read(const struct args *args, mako_store **store)
{
    return open_store(args, MAKO_SOURCE_READ_ONLY, store);
}

/* ---- listings ------------------------------------------------------------------ */

static bool listing_add(void *arg, struct mako_str stream, const struct mako_meta *meta,
                        uint64_t size)
{
    struct listing *listing = arg;

    if (listing->count == listing->room) {
        listing->room = listing->room ? 2 * listing->room : 256;
        listing->entries =
            must_alloc(listing->entries, listing->room * sizeof *listing->entries);
    }
    listing->entries[listing->count] =
        (struct listed){must_copy(stream.ptr, stream.len), *meta, size, listing->count};
    listing->count++;
    return true;
}

static int by_stream(const void *a, const void *b)
{
    const struct listed *left = a, *right = b;

    return strcmp(left->stream, right->stream);
}

static int by_stream_and_sight(const void *a, const void *b)
{
    const struct listed *left = a, *right = b;
    int order = by_stream(a, b);

    return order != 0 ? order
                      : (left->sight > right->sight) - (left->sight < right->sight);
}

/* A scan may show a stream twice; the later sight counts. */
static void listing_unique(struct listing *listing)
{
    size_t kept = 0;

    for (size_t i = 0; i < listing->count; i++) {
        struct listed *entry = &listing->entries[i];

        if (kept > 0 && by_stream(&listing->entries[kept - 1], entry) == 0)
            free(listing->entries[--kept].stream);
        listing->entries[kept++] = *entry;
    }
    listing->count = kept;
}

int listing_read(mako_store *store, const char *prefix, struct listing *listing)
{
    struct mako_error err = {""};
    int status;

    *listing = (struct listing){0};
    status = mako_store_scan(store, prefix, listing_add, listing, &err);
    if (status != MAKO_OK) {
        listing_free(listing);
        return failed(status, &err);
    }
    if (listing->count > 0)
        qsort(listing->entries, listing->count, sizeof *listing->entries,
              by_stream_and_sight);
    listing_unique(listing);
    return EXIT_DONE;
}

void listing_free(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        free(listing->entries[i].stream);
    free(listing->entries);
    *listing = (struct listing){0};
}

/* ---- files --------------------------------------------------------------------- */

static int cannot(const char *what, const char *name, int error)
{
    return complain(EXIT_USAGE, "cannot %s %s: %s", what, name, strerror(error));
}

int read_all(const char *name, size_t limit, char **bytes, size_t *len)
{
    FILE *opened = NULL, *in = stdin;
    char *buffer = NULL;
    size_t room = 0, used = 0;
    int result = EXIT_DONE;

    if (strcmp(name, "-") != 0) {
        in = opened = fopen(name, "re");
        if (!opened)
            return cannot("open", name, errno);
    }
    while (!feof(in) && !ferror(in) && used < limit) {
        if (room - used < 4096)
            buffer = must_alloc(buffer, room = 2 * room + 8192);
        used += fread(buffer + used, 1, room - used, in);
    }
    if (ferror(in))
        result = cannot("read", name, errno);
    if (opened)
        (void)fclose(opened);
    if (result != EXIT_DONE) {
        free(buffer);
        return result;
    }
    *bytes = buffer;
    *len = used < limit ? used : limit;
    return EXIT_DONE;
}

/* mkstemp() makes files for their owner only; this one is as any other new file. */
static void usual_mode(int fd)
{
    mode_t mask = umask(0);

    (void)umask(mask);
    (void)fchmod(fd, 0666 & ~mask);
}

/* For the same people as the file whose place it takes, as far as we may.  Another group
 * than that may do what everybody may. */
static void same_mode(int fd, const struct stat *old)
{
    mode_t mode = old->st_mode & 0777;

    if (fchown(fd, old->st_uid, old->st_gid) != 0 &&
        fchown(fd, (uid_t)-1, old->st_gid) != 0)
        mode = (mode & 0707) | (mode & 07) << 3;
    (void)fchmod(fd, mode);
}

/* old is the file that is there, or NULL. */
static int output_beside(const char *path, const struct stat *old, struct output *output)
{
    char *real = realpath(path, NULL); /* through links */
    char *name, *temporary;
    size_t len;
    int fd;

    if (!real && errno != ENOENT)
        return cannot("write", path, errno);
    name = real ? real : must_copy(path, strlen(path)); /* a new file */
    len = strlen(name);
    temporary = must_alloc(NULL, len + sizeof ".XXXXXX");
    memcpy(temporary, name, len);
    memcpy(temporary + len, ".XXXXXX", sizeof ".XXXXXX");
    fd = mkstemp(temporary);
    if (fd < 0) {
        free(temporary);
        free(name);
        return cannot("write beside", path, errno);
    }
    if (old)
        same_mode(fd, old);
    else
        usual_mode(fd);
    *output = (struct output){fdopen(fd, "w"), name, temporary};
    if (!output->file)
        no_memory();
    return EXIT_DONE;
}

int output_open(const char *path, struct output *output)
{
    struct stat old;
    bool there;

    *output = (struct output){stdout, NULL, NULL};
    if (strcmp(path, "-") == 0)
        return EXIT_DONE;
    there = stat(path, &old) == 0;
    if (there ? S_ISREG(old.st_mode) : errno == ENOENT)
        return output_beside(path, there ? &old : NULL, output);
    output->file = fopen(path, "we");
    return output->file ? EXIT_DONE : cannot("write", path, errno);
}

int output_close(struct output *output, bool keep)
{
    int result = EXIT_DONE;
    bool broken = ferror(output->file) != 0;

    if ((output->file == stdout ? fflush(stdout) : fclose(output->file)) != 0 || broken)
        result = complain(EXIT_USAGE, "cannot write %s: %s",
                          output->path ? output->path : "the output", strerror(errno));
    if (output->temporary) {
        if (!keep || result != EXIT_DONE)
            (void)unlink(output->temporary);
        else if (rename(output->temporary, output->path) != 0)
            result = cannot("write", output->path, errno);
    }
    free(output->temporary);
    free(output->path);
    return result;
}
