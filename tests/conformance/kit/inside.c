/* What happens in a case's own process: directories, the case, and what it left. */
#include "kit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not of the plugin's business: a directory that must stay as empty as it is given. */
static const char *const empty_dirs[] = {"tmp", "work", NULL};

static enum verdict make_dirs(struct trial *t, const char *root)
{
    char path[PATH_MAX];

    for (const char *const *name = empty_dirs; *name; name++) {
        (void)snprintf(path, sizeof path, "%.4000s/%s", root, *name);
        CHECKF(mkdir(path, 0700) == 0, "%s: %s", path, strerror(errno));
        if (strcmp(*name, "tmp") == 0)
            CHECK(setenv("TMPDIR", path, 1) == 0);
        else
            CHECKF(chdir(path) == 0, "%s: %s", path, strerror(errno));
    }
    return PASS;
}

/* ---- what is left ----------------------------------------------------------------- */

static enum verdict nothing_in(struct trial *t, const char *root, const char *name)
{
    char path[PATH_MAX], found[256] = "";
    struct dirent *entry;
    DIR *d;

    (void)snprintf(path, sizeof path, "%.4000s/%s", root, name);
    d = opendir(path);
    CHECKF(d, "%s: %s", path, strerror(errno));
    while ((entry = readdir(d)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)snprintf(found, sizeof found, "%s", entry->d_name);
    (void)closedir(d);
    CHECKF(!found[0], "the file '%s' was left in the %s directory", found,
           strcmp(name, "tmp") == 0 ? "temporary" : "working");
    return PASS;
}

/* Descendants whose parents ended are given to this process, so none hides. */
static enum verdict no_child(struct trial *t)
{
    int status;
    pid_t child = waitpid(-1, &status, WNOHANG);

    CHECKF(child <= 0, "a process was started and never waited for");
    CHECKF(child < 0, "a process was left running");
    return PASS;
}

static enum verdict what_is_left(struct trial *t, const char *root,
                                 const struct place *before)
{
    char why[1500];

    CHECKF(place_same(before, true, why, sizeof why), "after the case %s", why);
    TRY(no_child(t));
    for (const char *const *name = empty_dirs; *name; name++)
        TRY(nothing_in(t, root, *name));
    return PASS;
}

/* ---- the case --------------------------------------------------------------------- */

enum verdict kit_inside_case(const struct kit_options *options, const struct kit_case *c,
                             const char *root, struct trial *t)
{
    bool raw = strcmp(c->level, "raw") == 0;
    struct mako_error err = {""};
    struct place before;
    char conf[PATH_MAX];
    enum verdict verdict;

    (void)snprintf(conf, sizeof conf, "%.4000s/conf.json", root);
    TRY(trial_prepare(t, conf, root));
    TRY(make_dirs(t, root));
    CHECKF(kit_conf_write(options, conf, !raw, &err), "%s", err.text);
    place_note(&before);
    verdict = raw ? kit_raw_case(c->test, options->binary, t) : trial_run(c->test, t);
    return verdict == FAIL || options->in_process   ? verdict
           : what_is_left(t, root, &before) == FAIL ? FAIL
                                                    : verdict;
}

static void signals_as_usual(void)
{
    sigset_t none;

    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)signal(SIGXFSZ, SIG_DFL);
}

/* The verdict's first byte, the message behind it. */
int kit_inside(struct kit_options *options)
{
    const struct kit_case *c = kit_case_named(options->one);
    int fd = (int)strtol(options->verdict_descriptor, NULL, 10);
    static struct trial t;
    char letter = 'F';

    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    signals_as_usual();
    (void)snprintf(options->binary, sizeof options->binary, "%s", options->plugin);
    if (c)
        letter = "PFS"[kit_inside_case(options, c, options->root, &t)];
    if (write(fd, &letter, 1) != 1 ||
        write(fd, t.message, strlen(t.message)) != (ssize_t)strlen(t.message))
        return 2;
    return 0;
}

static int drop_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

void kit_clear(const char *root)
{
    (void)nftw(root, drop_entry, 16, FTW_DEPTH | FTW_PHYS);
}
