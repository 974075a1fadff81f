/* tests/faults/cli_trial.c - see cli_trial.h.  The program's own files are linked in, and
 * its main() is cli_main(). */
#include "cli_trial.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int cli_main(int argc, char **argv);

/* ---- the commands --------------------------------------------------------------------
 */

#define SCHEMA       "--schema", "1"
#define LOADS(store) "-c", store, "load", "a/b", SCHEMA

const struct cli_command cli_trials[] = {
    {.words = {"-c", "c.json", "save", "a/b", "--sequence", "7", SCHEMA, "--kind",
               "thing", "state"},
     .shows = {LOADS("c.json")}},
    {.words = {"-c", "c.json", "save", "a/b", "--sequence", "2", SCHEMA, "--force",
               "--json", "-"},
     .in = "state",
     .shows = {LOADS("c.json")}},
    {.words = {LOADS("c.json")}},
    {.words = {LOADS("c.json"), "--json"}},
    {.words = {LOADS("c.json"), "--output", "copy"}, .writes = "copy"},
    {.words = {"-c", "c.json", "load", "big", SCHEMA}},
    {.words = {"-c", "c.json", "show", "a/b"}},
    {.words = {"-c", "c.json", "show", "a/b", "--json"}},
    {.words = {"-c", "c.json", "ls"}},
    {.words = {"-c", "c.json", "ls", "a/", "--json"}},
    {.words = {"-c", "c.json", "rm", "a/b"}, .shows = {LOADS("c.json")}},
    {.words = {"-c", "c.json", "rm", "--prefix", "a/", "--json"},
     .shows = {"-c", "c.json", "load", "a/c", SCHEMA}},
    {.words = {"-c", "c.json", "verify"}},
    {.words = {"-c", "c.json", "verify", "--json"}},
    {.words = {"-c", "c.json", "compact"}, .shows = {LOADS("c.json")}},
    {.words = {"-c", "c.json", "compact", "--json"}, .shows = {LOADS("c.json")}},
    {.words = {"-c", "c.json", "stats"}},
    {.words = {"-c", "c.json", "stats", "--json"}},
    {.words = {"-c", "c.json", "config"}},
    {.words = {"-c", "c.json", "config", "--json"}},
    {.words = {"-c", "c.json", "describe", "file"}},
    {.words = {"-c", "c.json", "describe", "file", "--json"}},
    {.words = {"-c", "noop.json", "replay", "log"}},
    {.words = {"-c", "noop.json", "replay", "log", "--json"}},
    {.words = {"-c", "c.json", "-s", "r", "replay", "log", "--verify", "--output",
               "copy"},
     .writes = "copy"},
    {.words = {"-c", "c.json", "-s", "r", "replay", "-"}, .in = "longer"},
    {.words = {"--version"}},
    {.words = {"rm", "--help"}},
    {.words = {"-c", "c.json", "load", "never/saved", SCHEMA}, .code = 1},
};

const unsigned cli_trial_count = sizeof cli_trials / sizeof cli_trials[0];

const char *cli_line(const struct cli_command *command)
{
    static char line[256];
    size_t used = 0;

    line[0] = '\0';
    for (const char *const *word = command->words; *word != NULL && used < 200; word++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%.40s",
                                 used > 0 ? " " : "", *word);
    return line;
}

/* ---- one run ------------------------------------------------------------------------
 */

struct start {
    const char *const *words;
    int in, out, err;
};

static int start_cli(void *arg)
{
    const struct start *start = arg;
    static char room[CLI_WORDS + 1][64];
    static char *argv[CLI_WORDS + 2];
    int argc = 0;

    if (dup2(start->in, STDIN_FILENO) < 0 || dup2(start->out, STDOUT_FILENO) < 0 ||
        dup2(start->err, STDERR_FILENO) < 0)
        _exit(99);
    (void)snprintf(room[argc], sizeof room[argc], "mako-snapshot");
    argv[argc] = room[argc];
    for (argc++; argc <= CLI_WORDS && start->words[argc - 1] != NULL; argc++) {
        (void)snprintf(room[argc], sizeof room[argc], "%s", start->words[argc - 1]);
        argv[argc] = room[argc];
    }
    return cli_main(argc, argv);
}

int cli_plainly(int (*child)(void *arg), void *arg, void *plan)
{
    int status = -1;
    pid_t pid;

    (void)plan;
    (void)fflush(NULL);
    pid = fork();
    if (pid == 0)
        exit(child(arg));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status;
}

static void read_back(int fd, char text[CLI_ROOM])
{
    ssize_t got = pread(fd, text, CLI_ROOM - 1, 0);

    text[got > 0 ? got : 0] = '\0';
}

static void run_words(const char *const *words, const char *in, int out,
                      cli_launch *launch, void *plan, struct cli_outcome *outcome)
{
    struct start start = {.words = words,
                          .in = open(in != NULL ? in : "/dev/null", O_RDONLY | O_CLOEXEC),
                          .out = out,
                          .err = memfd_create("err", MFD_CLOEXEC)};
    int status = launch(start_cli, &start, plan);

    outcome->code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    outcome->out[0] = '\0';
    read_back(out, outcome->out);
    read_back(start.err, outcome->err);
    (void)close(start.in);
    (void)close(start.err);
}

/* Ages, durations and sizes differ between runs, and so does the width that they take. */
static void drop_numbers(char *text)
{
    char *to = text, *from = text;

    while (*from != '\0')
        if (strchr("0123456789.", *from) != NULL || (*from == ' ' && from[1] == ' '))
            from++;
        else if (strncmp(from, "e-", 2) == 0 || strncmp(from, "KiB", 3) == 0)
            from += 2;
        else if (strncmp(from, " min ", 5) == 0 && to > text && to[-1] == ' ')
            from += 5;
        else if (*from == ' ' && to > text && to[-1] == ' ')
            from++;
        else
            *to++ = *from++;
    *to = '\0';
}

void cli_run(const struct cli_command *command, int out, cli_launch *launch, void *plan,
             struct cli_outcome *outcome)
{
    int own = out < 0 ? memfd_create("out", MFD_CLOEXEC) : -1;

    run_words(command->words, command->in, out < 0 ? own : out, launch, plan, outcome);
    drop_numbers(outcome->out);
    if (own >= 0)
        (void)close(own);
}

/* ---- what it leaves ------------------------------------------------------------------
 */

/* What the command changes, as it is now. */
static void look(const struct cli_command *command, struct cli_outcome *shown)
{
    int fd = memfd_create("out", MFD_CLOEXEC);

    *shown = (struct cli_outcome){.code = -2};
    if (command->shows[0] != NULL)
        run_words(command->shows, NULL, fd, cli_plainly, NULL, shown);
    (void)close(fd);
    fd = command->writes != NULL ? open(command->writes, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    read_back(fd, shown->out);
    (void)close(fd);
}

static bool is_same(const struct cli_outcome *a, const struct cli_outcome *b)
{
    return a->code == b->code && strcmp(a->out, b->out) == 0;
}

void cli_run_usual(const struct cli_command *command, struct cli_usual *usual)
{
    look(command, &usual->before);
    cli_run(command, -1, cli_plainly, NULL, &usual->wanted);
    look(command, &usual->after);
    cli_restore();
}

bool cli_changes(const struct cli_command *command)
{
    return command->shows[0] != NULL || command->writes != NULL;
}

const char *cli_left_wrong(const struct cli_command *command,
                           const struct cli_usual *usual, const struct cli_outcome *got)
{
    static struct cli_outcome now, again;
    bool worked = got->code == usual->wanted.code;

    if (!cli_changes(command))
        return NULL;
    look(command, &now);
    if (!is_same(&now, &usual->after) && !is_same(&now, &usual->before))
        return "what it changes is neither as before nor as it should be";
    if (worked && !is_same(&now, &usual->after))
        return "it says that it worked, and has not";
    if (worked)
        return NULL;
    cli_run(command, -1, cli_plainly, NULL, &again);
    if (again.code != usual->wanted.code && again.code != 1)
        return "the same command fails afterwards";
    look(command, &now);
    return is_same(&now, &usual->after)
               ? NULL
               : "the same command does not do its work afterwards";
}

/* ---- the directory -------------------------------------------------------------------
 */

static char directory[64];

static bool write_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");

    return file != NULL && fputs(text, file) >= 0 && fclose(file) == 0;
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    char below[600];

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(below, sizeof below, "%.300s/%.255s", path, entry->d_name);
        if (unlink(below) != 0)
            remove_tree(below);
    }
    if (dir != NULL)
        (void)closedir(dir);
    (void)rmdir(path);
}

static void copy_file(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    char bytes[16384];
    ssize_t got;

    while (in >= 0 && out >= 0 && (got = read(in, bytes, sizeof bytes)) > 0)
        if (write(out, bytes, (size_t)got) != got)
            abort();
    (void)close(in);
    (void)close(out);
}

/* The files of a directory that has nothing else. */
static void copy_files(const char *from, const char *to)
{
    DIR *dir = opendir(from);
    struct dirent *entry;
    char old[600], new[600];

    (void)mkdir(to, 0700);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(old, sizeof old, "%.300s/%.255s", from, entry->d_name);
        (void)snprintf(new, sizeof new, "%.300s/%.255s", to, entry->d_name);
        copy_file(old, new);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

void cli_restore(void)
{
    remove_tree("store");
    remove_tree("replays");
    (void)unlink("copy");
    copy_files("store.kept", "store");
    copy_files("replays.kept", "replays");
}

#define EVENT(stream, sequence, data)                   \
    "{\"stream\":\"" stream "\",\"sequence\":" sequence \
    ",\"type\":\"T\",\"time\":\"t\","                   \
    "\"data\":" data "}\n"

static bool write_files(void)
{
    static char big[20001];

    memset(big, 'b', sizeof big - 1);
    return write_file("c.json",
                      "{\"stores\":{\"default\":{\"plugin\":\"file\",\"durability\":"
                      "\"crash\",\"options\":{\"dir\":\"store\",\"dead_space\":100}},"
                      "\"r\":{\"plugin\":\"file\",\"durability\":\"crash\","
                      "\"options\":{\"dir\":\"replays\"}}}}") &&
           write_file("first.json",
                      "{\"stores\":{\"r\":{\"plugin\":\"file\",\"durability\":\"crash\","
                      "\"snapshot_every\":1,\"options\":{\"dir\":\"replays\"}}}}") &&
           write_file("noop.json", "{\"stores\":{\"s\":{\"plugin\":\"noop\","
                                   "\"durability\":\"none\"}}}") &&
           write_file("old", "{\"old\":true}") && write_file("big", big) &&
           write_file("state", "{\"a\":[1,2,3],\"b\":{\"c\":\"d\"}}") &&
           write_file("log", EVENT("a", "1", "{\"n\":1}") EVENT("b", "1", "{\"n\":{}}")
                                 EVENT("a", "2", "{\"k\":{\"v\":[1]}}")) &&
           write_file("longer", EVENT("a", "1", "{\"n\":1}") EVENT("b", "1", "{\"n\":{}}")
                                    EVENT("a", "2", "{\"k\":{\"v\":[1]}}")
                                        EVENT("b", "2", "{\"m\":2}"));
}

/* What is there before each command. */
static const struct cli_command first_commands[] = {
    {.words = {"-c", "c.json", "save", "a/b", "--sequence", "4", SCHEMA, "state"}},
    {.words = {"-c", "c.json", "save", "a/b", "--sequence", "5", SCHEMA, "old"}},
    {.words = {"-c", "c.json", "save", "a/c", "--sequence", "1", SCHEMA, "old"}},
    {.words = {"-c", "c.json", "save", "big", "--sequence", "1", SCHEMA, "big"}},
    {.words = {"-c", "first.json", "replay", "longer"}},
};

bool cli_prepare(void)
{
    static struct cli_outcome outcome;

    (void)snprintf(directory, sizeof directory, "%s/mako-cli.XXXXXX",
                   access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(directory) == NULL || chdir(directory) != 0 ||
        setenv("MAKO_PLUGIN_PATH", MAKO_PLUGINS, 1) != 0 || setenv("TZ", "", 1) != 0 ||
        !write_files())
        return false;
    for (size_t i = 0; i < sizeof first_commands / sizeof first_commands[0]; i++) {
        cli_run(&first_commands[i], -1, cli_plainly, NULL, &outcome);
        if (outcome.code != 0) {
            (void)fprintf(stderr, "%s: %s\n", cli_line(&first_commands[i]), outcome.err);
            return false;
        }
    }
    return rename("store", "store.kept") == 0 && rename("replays", "replays.kept") == 0 &&
           ((void)cli_restore(), true);
}

void cli_clean_up(void)
{
    if (chdir("/") == 0)
        remove_tree(directory);
}
