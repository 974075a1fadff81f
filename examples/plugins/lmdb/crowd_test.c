/* crowd_test - processes that open, use and close one store all at the same time, while
 * its map grows: none is refused, none sees less than it saved.
 *
 *     crowd_test CONFIGURATION
 *
 * As in the conformance kit, the store is called "test", and ${MAKO_TEST_DIR} is a new
 * directory. */
#include <mako/snapshot.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PROCESSES = 6,
    ROUNDS = 12,
    SAVES = 25,
    LARGEST = 60000
};

static int failed(const char *what, const struct mako_error *err)
{
    fprintf(stderr, "%s: %s\n", what, err->text);
    return 1;
}

/* Of every length, so that pages come free in pieces; a letter for each sequence. */
static size_t make_state(char *state, uint64_t seq)
{
    size_t len = (size_t)(seq * 7919 % LARGEST);

    memset(state, 'a' + (int)(seq % 26), len);
    return len;
}

static int save(mako_store *store, const char *stream, uint64_t seq)
{
    static char state[LARGEST];
    struct mako_save what = {
        .struct_size = sizeof what, .seq = seq, .schema = 1, .state = state};
    struct mako_error err;

    what.state_len = make_state(state, seq);
    return mako_store_save(store, stream, &what, &err) == MAKO_OK ? 0
                                                                  : failed("save", &err);
}

static int check(mako_store *store, const char *stream, uint64_t seq)
{
    static char state[LARGEST];
    struct mako_expect expect = {
        .struct_size = sizeof expect, .schema_min = 1, .schema_max = 1};
    mako_snapshot *snapshot = NULL;
    struct mako_error err;
    size_t len = make_state(state, seq), found;
    const void *bytes;
    int wrong;

    if (mako_store_load(store, stream, &expect, &snapshot, NULL, &err) != MAKO_OK)
        return failed("load", &err);
    bytes = mako_snapshot_state(snapshot, &found);
    wrong = mako_snapshot_meta(snapshot).seq != seq || found != len ||
            memcmp(bytes, state, len) != 0;
    if (wrong)
        fprintf(stderr, "%s: not what was saved last\n", stream);
    mako_snapshot_unref(snapshot);
    return wrong;
}

/* Nobody else has its stream. */
static int use(mako_store *store, int who, int round)
{
    char stream[40];
    uint64_t seq = (uint64_t)round * SAVES;
    int wrong = 0;

    (void)snprintf(stream, sizeof stream, "of/%d", who);
    if (round > 0)
        wrong = check(store, stream, seq);
    for (int i = 0; i < SAVES && !wrong; i++) {
        wrong = save(store, stream, ++seq);
        if (!wrong)
            wrong = check(store, stream, seq);
    }
    return wrong;
}

static int one_of_them(const char *conf, int who)
{
    int wrong = 0;

    for (int round = 0; round < ROUNDS && !wrong; round++) {
        mako_store *store = NULL;
        struct mako_error err;

        if (mako_store_open(conf, "test", &store, &err) != MAKO_OK)
            return failed("open", &err);
        wrong = use(store, who, round);
        mako_store_unref(store);
    }
    return wrong;
}

static int all_of_them(const char *conf)
{
    int status, wrong = 0;

    for (int who = 0; who < PROCESSES; who++)
        if (fork() == 0)
            _exit(one_of_them(conf, who));
    while (wait(&status) > 0)
        wrong |= status;
    return wrong != 0;
}

static void remove_dir(const char *dir)
{
    if (fork() == 0) {
        (void)execlp("rm", "rm", "-r", dir, (char *)NULL);
        _exit(1);
    }
    (void)wait(NULL);
}

int main(int argc, char **argv)
{
    const char *tmp = getenv("TMPDIR");
    char dir[4096];
    int wrong;

    (void)snprintf(dir, sizeof dir, "%s/crowd.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (argc != 2 || !mkdtemp(dir) || setenv("MAKO_TEST_DIR", dir, 1) != 0)
        return 2;
    wrong = all_of_them(argv[1]);
    remove_dir(dir);
    return wrong;
}
