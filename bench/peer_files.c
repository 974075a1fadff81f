/* bench/peer_files.c - a file for each snapshot, replaced by rename: what people write
 * themselves.
 *
 * A durable save is the sequence that rename(2) and fsync(2) call for: write a new file,
 * flush it, rename it over the old one, flush the directory.  256 directories, by a hash
 * of the id, so that none grows too large and threads seldom flush the same one. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRS 256u

struct files_peer {
    bool durable;
    size_t len, threads;
    int dirs[DIRS];
    unsigned char **rooms; /* one a thread, for loading */
};

static void close_files(void *self)
{
    struct files_peer *peer = self;

    for (size_t i = 0; i < DIRS; i++)
        if (peer->dirs[i] >= 0)
            (void)close(peer->dirs[i]);
    for (size_t i = 0; peer->rooms && i < peer->threads; i++)
        free(peer->rooms[i]);
    free(peer->rooms);
    free(peer);
}

static int fail(const char *what, const char *id, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_IO, "files: %s of '%s': %s", what, id, strerror(errno));
}

static int open_dirs(struct files_peer *peer, const char *parent, struct mako_error *err)
{
    char path[PATH_MAX];

    if (mkdir(parent, 0700) != 0 && errno != EEXIST)
        return fail("mkdir", parent, err);
    for (unsigned i = 0; i < DIRS; i++) {
        (void)snprintf(path, sizeof path, "%s/%02x", parent, i);
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return fail("mkdir", path, err);
        peer->dirs[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (peer->dirs[i] < 0)
            return fail("open", path, err);
    }
    return MAKO_OK;
}

static int open_files(const struct bench_peer_use *use, void **self,
                      struct mako_error *err)
{
    struct files_peer *peer = calloc(1, sizeof *peer);
    bool whole;
    int status;

    if (!peer)
        return mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    *peer = (struct files_peer){
        .durable = use->durable, .len = use->len, .threads = use->threads};
    memset(peer->dirs, -1, sizeof peer->dirs);
    peer->rooms = calloc(use->threads, sizeof *peer->rooms);
    whole = peer->rooms != NULL;
    for (size_t i = 0; whole && i < use->threads; i++)
        whole = (peer->rooms[i] = malloc(use->len)) != NULL;
    status = whole ? open_dirs(peer, use->dir, err)
                   : mako_fail(err, MAKO_E_NOMEM, "%s: no memory", use->dir);
    if (status != MAKO_OK)
        close_files(peer);
    else
        *self = peer;
    return status;
}

/* The directory of a stream; name gets the id without slashes, which files cannot have.
 */
static int place(const struct files_peer *peer, const char *id, char name[NAME_MAX + 1])
{
    uint32_t hash = 2166136261u;
    size_t i;

    for (i = 0; i < NAME_MAX - 8 && id[i]; i++) {
        name[i] = id[i];
        if (id[i] == '/')
            name[i] = '%';
        hash = (hash ^ (unsigned char)id[i]) * 16777619u;
    }
    name[i] = '\0';
    return peer->dirs[hash % DIRS];
}

static int write_file(const struct files_peer *peer, int dir, const char *name,
                      const void *state)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int bad;

    if (fd < 0)
        return -1;
    bad = write(fd, state, peer->len) != (ssize_t)peer->len ||
          (peer->durable && fdatasync(fd) != 0);
    return close(fd) != 0 || bad ? -1 : 0;
}

static int save(void *self, size_t thread, const struct bench_put *put,
                struct mako_error *err)
{
    const struct files_peer *peer = self;
    char name[NAME_MAX + 1], temporary[NAME_MAX + 1];
    int dir = place(peer, put->id, name);

    (void)snprintf(temporary, sizeof temporary, ".%zu", thread);
    if (write_file(peer, dir, temporary, put->state) != 0 ||
        renameat(dir, temporary, dir, name) != 0 || (peer->durable && fsync(dir) != 0))
        return fail("save", put->id, err);
    return MAKO_OK;
}

static int save_many(void *self, size_t thread, const struct bench_put *puts,
                     size_t count, struct mako_error *err)
{
    int status = MAKO_OK;

    for (size_t i = 0; i < count && status == MAKO_OK; i++)
        status = save(self, thread, &puts[i], err);
    return status;
}

static int load(void *self, size_t thread, const char *id, uint64_t *digest,
                struct mako_error *err)
{
    struct files_peer *peer = self;
    char name[NAME_MAX + 1];
    int dir = place(peer, id, name), fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    ssize_t got;

    if (fd < 0)
        return fail("load", id, err);
    got = read(fd, peer->rooms[thread], peer->len);
    (void)close(fd);
    if (got != (ssize_t)peer->len)
        return fail("load", id, err);
    *digest = bench_digest(peer->rooms[thread], peer->len);
    return MAKO_OK;
}

const struct bench_peer bench_peer_files = {
    .name = "files",
    .open = open_files,
    .save = save,
    .save_many = save_many,
    .load = load,
    .close = close_files,
};
