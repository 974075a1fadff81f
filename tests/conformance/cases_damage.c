/* A bit flipped anywhere in what is stored never comes back as state.  For backends that
 * keep files under the case's own directory: every byte of them is tried, but for most of
 * the padding. */
#include "cases.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILES_MAX = 32
};

/* The backend's files as they were, to be put back after each try. */
static struct vault {
    struct {
        char path[PATH_MAX];
        unsigned char *bytes;
        size_t len;
    } files[FILES_MAX];
    size_t count;
    bool failed;
} vault;

static bool read_whole(const char *path, unsigned char *bytes, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, bytes, len);

    if (fd >= 0)
        (void)close(fd);
    return got == (ssize_t)len;
}

static bool write_whole(const char *path, const unsigned char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t put_len = fd < 0 ? -1 : write(fd, bytes, len);

    if (fd >= 0)
        (void)close(fd);
    return put_len == (ssize_t)len;
}

static int lock_away(const char *path, const struct stat *st, int type)
{
    size_t at = vault.count, len = (size_t)st->st_size;

    if (type != FTW_F)
        return 0;
    if (at == FILES_MAX || !(vault.files[at].bytes = malloc(len + 1)) ||
        !read_whole(path, vault.files[at].bytes, len))
        return 1;
    (void)snprintf(vault.files[at].path, PATH_MAX, "%s", path);
    vault.files[at].len = len;
    vault.count++;
    return 0;
}

static int drop_file(const char *path, const struct stat *st, int type)
{
    (void)st;
    return type == FTW_F ? unlink(path) : 0;
}

/* Everything as it was, but for one bit; SIZE_MAX: no bit. */
static enum verdict vault_restore(struct trial *t, size_t file, size_t bit)
{
    CHECK(ftw(t->data, drop_file, 8) == 0);
    for (size_t i = 0; i < vault.count; i++) {
        unsigned char mask = (unsigned char)(1u << bit % 8);
        bool flip = i == file && bit / 8 < vault.files[i].len;

        if (flip)
            vault.files[i].bytes[bit / 8] ^= mask;
        CHECKF(write_whole(vault.files[i].path, vault.files[i].bytes, vault.files[i].len),
               "%s: %s", vault.files[i].path, strerror(errno));
        if (flip)
            vault.files[i].bytes[bit / 8] ^= mask;
    }
    return PASS;
}

static void vault_empty(void)
{
    for (size_t i = 0; i < vault.count; i++)
        free(vault.files[i].bytes);
    vault.count = 0;
}

/* ---- the sample: streams with one right answer each
 * ------------------------------------ */

static const struct {
    const char *stream;
    uint64_t seq; /* 0: was removed */
    const char *state;
} truth[] = {
    {"account/1", 3, "the only right state"},
    {"account/2", 9, "another"},
    {"removed", 0, ""},
    {"account/3", 4, "the last"},
};
enum {
    TRUTHS = sizeof truth / sizeof truth[0]
};

static enum verdict fill(struct trial *t, bool with_history)
{
    if (with_history) {
        CHECK(put_text(t, "account/1", 1, "an older state") == MAKO_OK);
        CHECK(put_text(t, "account/1", 2, "an old state!") == MAKO_OK);
        CHECK(put_text(t, "account/2", 5, "older") == MAKO_OK);
        CHECK(put_text(t, "removed", 5, "gone") == MAKO_OK);
    }
    for (size_t i = 0; i < TRUTHS; i++)
        if (truth[i].seq > 0)
            CHECK(put_text(t, truth[i].stream, truth[i].seq, truth[i].state) == MAKO_OK);
        else if (with_history)
            CHECK(mako_store_remove(t->store, truth[i].stream, NULL) == MAKO_OK);
    return PASS;
}

/* The sample in files, and the files in the vault.  What is read back does not depend on
 * flushes, so the thousands of openings to come are spared them. */
static enum verdict store_sample(struct trial *t, bool with_history)
{
    if (!outlives(t))
        return trial_skip(t, "nothing outlives the process");
    trial_close(t);
    TRY(trial_open_with(t, "\"durability\": \"crash\""));
    TRY(fill(t, with_history));
    trial_close(t);
    CHECKF(ftw(t->data, lock_away, 8) == 0, "%s: %s", t->data, strerror(errno));
    if (vault.count == 0)
        return trial_skip(t, "this backend keeps no files here");
    return PASS;
}

/* Whether what is loaded is the truth; "there is none" always may be. */
static enum verdict still_true(struct trial *t, size_t i)
{
    mako_snapshot *snapshot = NULL;
    struct mako_error err = {""};
    int status = get(t, truth[i].stream, &snapshot, &err);
    size_t len = 0;
    const void *state;

    if (status != MAKO_OK) {
        CHECKF(status == MAKO_NOT_FOUND || status == MAKO_DAMAGED ||
                   status == MAKO_FOREIGN || status == MAKO_E_IO,
               "'%s': %s: %s", truth[i].stream, mako_status_name(status), err.text);
        return PASS;
    }
    CHECKF(truth[i].seq > 0, "'%s' is back", truth[i].stream);
    CHECKF(mako_snapshot_meta(snapshot).seq == truth[i].seq, "'%s': sequence %llu",
           truth[i].stream, (unsigned long long)mako_snapshot_meta(snapshot).seq);
    state = mako_snapshot_state(snapshot, &len);
    CHECKF(len == strlen(truth[i].state) && memcmp(state, truth[i].state, len) == 0,
           "'%s': other bytes", truth[i].stream);
    CHECK(mako_snapshot_meta(snapshot).schema == 1 &&
          mako_snapshot_anchor(snapshot) == 0);
    mako_snapshot_unref(snapshot);
    return PASS;
}

static void be_quiet(void *arg, int level, const char *message)
{
    (void)arg, (void)level, (void)message;
}

/* Open what is there now; a refusal to open is an answer too. */
static enum verdict try_open(struct trial *t)
{
    struct mako_error err = {""};
    int status = mako_store_open(t->opened, "test", &t->store, &err);

    CHECKF(status == MAKO_OK || (status < 0 && status != MAKO_E_PLUGIN && err.text[0]),
           "opening: %s: %s", mako_status_name(status), err.text);
    return PASS;
}

static enum verdict try_bit(struct trial *t, size_t file, size_t bit)
{
    enum verdict verdict;

    TRY(vault_restore(t, file, bit));
    TRY(try_open(t));
    verdict = PASS;
    for (size_t i = 0; t->store && i < TRUTHS && verdict == PASS; i++)
        verdict = still_true(t, i);
    trial_close(t);
    if (verdict == FAIL) {
        size_t used = strlen(t->message);

        (void)snprintf(t->message + used, sizeof t->message - used,
                       " (bit %zu of byte %zu of %s)", bit % 8, bit / 8,
                       vault.files[file].path);
    }
    return verdict;
}

/* Long runs of zeros are padding: every eighth byte of those will do. */
static bool is_padding(size_t file, size_t at)
{
    static const unsigned char zeros[64];
    const unsigned char *bytes = vault.files[file].bytes;

    return at % 8 != 0 && at >= 32 && at + 32 <= vault.files[file].len &&
           memcmp(bytes + at - 32, zeros, 64) == 0;
}

static enum verdict try_file(struct trial *t, size_t file)
{
    for (size_t at = 0; at < vault.files[file].len; at++)
        if (!is_padding(file, at))
            TRY(try_bit(t, file, 8 * at + at % 8));
    return PASS;
}

static enum verdict flip_everywhere(struct trial *t, bool with_history)
{
    enum verdict verdict;

    TRY(store_sample(t, with_history));
    mako_set_log(be_quiet, NULL);
    verdict = try_bit(t, 0, SIZE_MAX);
    for (size_t file = 0; file < vault.count && verdict == PASS; file++)
        verdict = try_file(t, file);
    mako_set_log(NULL, NULL);
    vault_empty();
    return verdict;
}

static enum verdict a_flipped_bit_is_never_a_state(struct trial *t)
{
    return flip_everywhere(t, false);
}

/* Nor does an older record serve in its place, nor is a removed stream back. */
static enum verdict a_flipped_bit_never_brings_back_the_past(struct trial *t)
{
    return flip_everywhere(t, true);
}

/* ---- files cut short -----------------------------------------------------------------
 */

static enum verdict try_cut(struct trial *t, size_t file, size_t len)
{
    enum verdict verdict = PASS;

    TRY(vault_restore(t, SIZE_MAX, 0));
    CHECK(truncate(vault.files[file].path, (off_t)len) == 0);
    TRY(try_open(t));
    for (size_t i = 0; t->store && i < TRUTHS && verdict == PASS; i++)
        verdict = still_true(t, i);
    trial_close(t);
    return verdict;
}

/* A cut tail may lose what was at the end; it never makes up a state. */
static enum verdict a_cut_file_is_never_a_state(struct trial *t)
{
    enum verdict verdict = PASS;

    TRY(store_sample(t, false));
    mako_set_log(be_quiet, NULL);
    for (size_t file = 0; file < vault.count && verdict == PASS; file++)
        for (size_t len = 0; len < vault.files[file].len && verdict == PASS; len++)
            if (!is_padding(file, len))
                verdict = try_cut(t, file, len);
    mako_set_log(NULL, NULL);
    vault_empty();
    return verdict;
}

/* ---- damage is mended by the next save
 * -------------------------------------------------- */

/* Where a flip made a stream DAMAGED, a later save replaces it for good. */
static enum verdict mend(struct trial *t, size_t file, size_t bit, unsigned *mended)
{
    struct mako_error err;
    mako_snapshot *snapshot = NULL;
    struct sample s = {.seq = 1, .state = "mended", .len = 6, .flags = MAKO_SAVE_FORCE};

    TRY(vault_restore(t, file, bit));
    TRY(try_open(t));
    if (!t->store || get(t, truth[0].stream, &snapshot, NULL) != MAKO_DAMAGED) {
        mako_snapshot_unref(snapshot);
        trial_close(t);
        return PASS;
    }
    STATUS(put(t, truth[0].stream, s, &err), MAKO_OK);
    TRY(holds(t, truth[0].stream, s));
    trial_close(t);
    TRY(trial_reopen(t));
    TRY(holds(t, truth[0].stream, s));
    trial_close(t);
    ++*mended;
    return PASS;
}

static enum verdict damage_is_mended_by_a_forced_save(struct trial *t)
{
    enum verdict verdict = PASS;
    unsigned mended = 0;

    TRY(store_sample(t, false));
    mako_set_log(be_quiet, NULL);
    for (size_t file = 0; file < vault.count && verdict == PASS; file++)
        for (size_t at = 0; at < vault.files[file].len && verdict == PASS; at += 5)
            if (!is_padding(file, at))
                verdict = mend(t, file, 8 * at + at % 8, &mended);
    mako_set_log(NULL, NULL);
    vault_empty();
    TRY(verdict);
    CHECKF(mended > 0, "no flip ever made '%s' DAMAGED", truth[0].stream);
    return PASS;
}

const struct test_case cases_damage[] = {
    {"a_flipped_bit_is_never_a_state", a_flipped_bit_is_never_a_state},
    {"a_flipped_bit_never_brings_back_the_past",
     a_flipped_bit_never_brings_back_the_past},
    {"a_cut_file_is_never_a_state", a_cut_file_is_never_a_state},
    {"damage_is_mended_by_a_forced_save", damage_is_mended_by_a_forced_save},
    {NULL, NULL},
};
