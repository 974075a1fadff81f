/* What a program changes around its stores: the working directory, the umask, the locale,
 * the standard descriptors; being a daemon; and files that others cut short. */
#include "life.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <mako/json.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the working directory and the umask ------------------------------------------ */

static enum verdict move_about(struct trial *t, const struct work *work)
{
    char gone[sizeof t->root + 8];
    const char *const places[] = {"/", t->root, t->data, "/proc/self", gone};
    const mode_t masks[] = {0, 022, 077, 0177};
    uint64_t seed = life_seed;

    (void)snprintf(gone, sizeof gone, "%s/gone", t->root);
    for (unsigned long i = 0; i < life_rounds; i++) {
        CHECK(mkdir(gone, 0700) == 0 || errno == EEXIST);
        CHECK(chdir(places[life_draw(&seed) % 5]) == 0);
        (void)rmdir(gone); /* with a process in it or not */
        (void)umask(masks[life_draw(&seed) % 4]);
        ledger_wait(work->ledger, 5);
    }
    CHECK(chdir(t->root) == 0);
    (void)umask(022);
    return PASS;
}

static enum verdict directories_and_masks_change(struct trial *t)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 3};
    enum verdict verdict;

    TRY(work_start(&work));
    verdict = move_about(t, &work);
    work_stop(&work);
    if (verdict == PASS)
        verdict = ledger_check(t, work.ledger);
    if (verdict != PASS || !outlives(t))
        return verdict;
    TRY(trial_reopen(t));
    return ledger_check(t, work.ledger);
}

static enum verdict write_text(struct trial *t, const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    CHECK(file != NULL && fputs(text, file) >= 0);
    CHECK(fclose(file) == 0);
    return PASS;
}

/* Paths in a file are relative to the file, in a text to where it was opened. */
static enum verdict relative_paths(struct trial *t)
{
    static const char file[] = "{\"stores\": {\"test\": {\"plugin\": \"file\", "
                               "\"durability\": \"crash\", \"options\": {\"dir\": "
                               "\"here\"}}}}";
    struct work work = {.t = t, .ledger = ledger_new(), .count = 2};
    struct mako_error err = {""};

    if (strcmp(t->info.plugin, "file") != 0)
        return trial_skip(t, "has no paths");
    trial_close(t);
    CHECK(chdir(t->root) == 0);
    TRY(write_text(t, "relative.json", file));
    CHECKF(mako_store_open("relative.json", NULL, &t->store, &err) == MAKO_OK, "%s",
           err.text);
    CHECK(chdir("/") == 0);
    TRY(work_start(&work));
    ledger_wait(work.ledger, 100);
    work_stop(&work);
    trial_close(t);
    CHECK(chdir(t->root) == 0);
    CHECK(mako_store_open_json(file, sizeof file - 1, NULL, &t->store, &err) == MAKO_OK);
    CHECK(chdir(t->data) == 0);
    return ledger_check(t, work.ledger);
}

/* Every file below path is the user's alone. */
static enum verdict check_modes(struct trial *t, const char *path, unsigned *seen)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    enum verdict verdict = PASS;

    CHECK(dir != NULL);
    while (verdict == PASS && (entry = readdir(dir)) != NULL) {
        char below[PATH_MAX];
        struct stat st;

        if (entry->d_name[0] == '.')
            continue;
        CHECK(snprintf(below, sizeof below, "%s/%s", path, entry->d_name) > 0);
        CHECK(lstat(below, &st) == 0);
        ++*seen;
        if ((st.st_mode & 07777) != (S_ISDIR(st.st_mode) ? 0700 : 0600))
            verdict = trial_fail(t, __FILE__, __LINE__, "%s has mode %o", below,
                                 (unsigned)st.st_mode & 07777);
        else if (S_ISDIR(st.st_mode))
            verdict = check_modes(t, below, seen);
    }
    (void)closedir(dir);
    return verdict;
}

static enum verdict no_mask_opens_files_to_others(struct trial *t)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 2};
    char other[sizeof t->data + 8];
    unsigned seen = 0;

    (void)snprintf(other, sizeof other, "%s/open", t->data);
    CHECK(mkdir(other, 0700) == 0 && setenv("MAKO_TEST_DIR", other, 1) == 0);
    (void)umask(0);
    TRY(trial_reopen(t));
    TRY(work_start(&work));
    ledger_wait(work.ledger, 100);
    work_stop(&work);
    trial_close(t);
    TRY(check_modes(t, other, &seen));
    CHECK(seen > 0 || strcmp(t->info.plugin, "file") != 0);
    return PASS;
}

/* ---- the locale ------------------------------------------------------------------- */

/* A locale whose numbers have a comma, and nothing else, which takes no time to make. */
static enum verdict take_locale(struct trial *t)
{
    char path[PATH_MAX + 16], command[5 * PATH_MAX], text[16];

    (void)snprintf(path, sizeof path, "%.4000s/source", t->root);
    TRY(write_text(t, path, "LC_NUMERIC\ncopy \"de_DE\"\nEND LC_NUMERIC\n"));
    (void)snprintf(command, sizeof command,
                   "localedef -c -i '%s' -f ISO-8859-1 '%s/comma' >'%s/said' 2>&1; "
                   "test -e '%s/comma/LC_NUMERIC'",
                   path, t->root, t->root, t->root);
    if (system(command) != 0)
        return trial_skip(t, "no localedef, or no locale de_DE (package locales)");
    CHECK(setenv("LOCPATH", t->root, 1) == 0);
    CHECK(unsetenv("LC_ALL") == 0 && setlocale(LC_NUMERIC, "comma") != NULL);
    (void)snprintf(text, sizeof text, "%.1f", 0.5);
    CHECK(strcmp(text, "0,5") == 0);
    return PASS;
}

static enum verdict save_number(struct trial *t)
{
    struct mako_save save = save_of((struct sample){.seq = 1});
    json_t *number = json_pack("{s:f}", "half", 0.5);
    struct mako_error err;

    CHECK(number != NULL);
    STATUS(mako_json_save(t->store, "number", &save, number, &err), MAKO_OK);
    json_decref(number);
    return PASS;
}

static enum verdict load_number(struct trial *t)
{
    static const char want[] = "{\"half\":0.5}";
    struct mako_expect any = expect_range(1, 1);
    struct mako_error err;
    json_t *number;

    TRY(holds_text(t, "number", 1, want));
    if (!keeps(t))
        return PASS;
    STATUS(mako_json_load(t->store, "number", &any, &number, NULL, &err), MAKO_OK);
    CHECK(json_real_value(json_object_get(number, "half")) == 0.5);
    json_decref(number);
    return PASS;
}

static enum verdict numbers_in_configurations(struct trial *t)
{
    static const char text[] =
        "{\"_share\": 0.25, \"stores\": {\"a\": {\"plugin\": \"memory\", \"durability\": "
        "\"memory\", \"retry_after\": \"1.5s\", \"max_snapshot\": \"2MiB\"}}}";
    struct mako_info info = {.struct_size = sizeof info};
    mako_store *store;
    struct mako_error err = {""};

    CHECKF(mako_store_open_json(text, sizeof text - 1, "a", &store, &err) == MAKO_OK,
           "%s", err.text);
    mako_store_info(store, &info);
    CHECK(info.retry_after_ms == 1500 && info.max_snapshot == 2 << 20);
    mako_store_unref(store);
    return PASS;
}

static enum verdict a_comma_in_numbers(struct trial *t)
{
    struct worker w = {.index = 3, .seed = life_seed, .state = malloc(LEN_MAX)};
    struct work work = {.t = t, .ledger = ledger_new(), .count = 0};

    CHECK(w.state != NULL);
    w.work = &work;
    TRY(take_locale(t));
    TRY(numbers_in_configurations(t));
    TRY(save_number(t));
    TRY(load_number(t));
    if (outlives(t))
        TRY(trial_reopen(t));
    for (unsigned long i = 0; i < life_rounds; i++)
        work_once(&w);
    CHECK(setlocale(LC_ALL, "C") != NULL);
    TRY(load_number(t));
    free(w.state);
    return ledger_check(t, work.ledger);
}

/* ---- the standard descriptors ----------------------------------------------------- */

/* Somebody prints, whoever has descriptors 0, 1 and 2 now. */
static void print_blindly(void)
{
    static const char text[] = "somebody prints and does not look\n";

    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (write(fd, text, sizeof text - 1) < 0)
            continue;
}

static enum verdict work_without_descriptors(struct trial *t)
{
    struct work work = {.t = t, .ledger = ledger_new(), .count = 3};

    TRY(trial_open(t));
    TRY(work_start(&work));
    for (unsigned long i = 0; i < life_rounds; i++) {
        ledger_wait(work.ledger, 3);
        print_blindly();
    }
    work_stop(&work);
    TRY(ledger_check(t, work.ledger));
    if (!outlives(t))
        return PASS;
    TRY(trial_reopen(t));
    print_blindly();
    return ledger_check(t, work.ledger);
}

/* From here on 0, 1 and 2 are closed; told is where the verdict goes. */
static _Noreturn void be_without_descriptors(struct trial *t, int told)
{
    enum verdict verdict;

    (void)signal(SIGPIPE, SIG_IGN); /* of what is printed */
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        (void)close(fd);
    verdict = work_without_descriptors(t);
    trial_close(t);
    if (verdict != PASS)
        (void)dprintf(told, "%s", t->message);
    _exit(verdict == PASS ? 0 : 1);
}

/* What a child that has no standard descriptors says, by way of a pipe. */
static enum verdict ask_child(struct trial *t, void (*be)(struct trial *t, int told))
{
    int ends[2];
    ssize_t got;
    pid_t child;
    int code;

    trial_close(t);
    CHECK(pipe(ends) == 0);
    child = fork();
    if (child == 0)
        be(t, ends[1]);
    (void)close(ends[1]);
    code = life_wait(child);
    got = read(ends[0], t->message, sizeof t->message - 1);
    t->message[got > 0 ? got : 0] = '\0';
    (void)close(ends[0]);
    if (code != 0 && got <= 0)
        return trial_fail(t, __FILE__, __LINE__, "the process ended with %d", code);
    return code == 0 ? PASS : FAIL;
}

static enum verdict without_standard_descriptors(struct trial *t)
{
    return ask_child(t, be_without_descriptors);
}

/* Twice a child, in a session of its own, at the root, without a terminal. */
static void daemon_of(struct trial *t, int told)
{
    pid_t child;

    (void)setsid();
    child = fork();
    if (child > 0)
        _exit(life_wait(child));
    (void)umask(0);
    if (chdir("/") != 0)
        _exit(2);
    be_without_descriptors(t, told);
}

static enum verdict a_daemon(struct trial *t)
{
    return ask_child(t, daemon_of);
}

/* ---- files that are cut short ----------------------------------------------------- */

/* Those that are longer lose all but their first 4096 bytes. */
static enum verdict cut_files(struct trial *t, const char *path, unsigned *cut)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;

    CHECK(dir != NULL);
    while ((entry = readdir(dir)) != NULL) {
        struct stat st;
        int fd = openat(dirfd(dir), entry->d_name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 4096) {
            CHECK(ftruncate(fd, 4096) == 0);
            ++*cut;
        }
        if (fd >= 0)
            (void)close(fd);
    }
    (void)closedir(dir);
    return PASS;
}

static void no_log(void *arg, int level, const char *message)
{
    (void)arg, (void)level, (void)message;
}

/* Without the option "map" nothing raises SIGBUS: what is gone is damaged. */
static enum verdict files_are_cut_short(struct trial *t)
{
    char path[sizeof t->data + 8];
    struct mako_error err = {""};
    unsigned cut = 0, damaged = 0;
    char stream[20];

    if (strcmp(t->info.plugin, "file") != 0)
        return trial_skip(t, "has no files");
    for (unsigned i = 0; i < 50; i++) {
        (void)snprintf(stream, sizeof stream, "cut/%u", i);
        CHECK(put_text(t, stream, 1, "will be gone") == MAKO_OK);
    }
    (void)snprintf(path, sizeof path, "%s/store", t->data);
    TRY(cut_files(t, path, &cut));
    CHECK(cut > 0);
    mako_set_log(no_log, NULL);
    for (unsigned i = 0; i < 50; i++) {
        mako_snapshot *snapshot = NULL;
        int status;

        (void)snprintf(stream, sizeof stream, "cut/%u", i);
        status = get(t, stream, &snapshot, &err);
        CHECKF(status != MAKO_OK && err.text[0] != '\0', "%s: %d", stream, status);
        damaged += status == MAKO_DAMAGED;
    }
    CHECKF(damaged > 0, "%s", err.text);
    CHECK(mako_store_compact(t->store, NULL, NULL, &err) != MAKO_E_PLUGIN);
    CHECK(put_text(t, "cut/0", 2, "is there again") == MAKO_OK);
    return holds_text(t, "cut/0", 2, "is there again");
}

static const struct test_case cases[] = {
    {"directories_and_masks_change", directories_and_masks_change},
    {"relative_paths", relative_paths},
    {"no_mask_opens_files_to_others", no_mask_opens_files_to_others},
    {"a_comma_in_numbers", a_comma_in_numbers},
    {"without_standard_descriptors", without_standard_descriptors},
    {"a_daemon", a_daemon},
    {"files_are_cut_short", files_are_cut_short},
    {NULL, NULL}};

int main(int argc, char **argv)
{
    return life_main(argc, argv, cases, 60);
}
