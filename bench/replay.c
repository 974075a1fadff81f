/* bench/replay.c - the command line tool replaying a long event log into the file store.
 *
 * 262 000 events of some 500 bytes over 13 000 interleaved streams are written to a file,
 * the same ones every time; then "mako-snapshot replay" is timed as a whole process, with
 * a snapshot every 10 events and durability "crash", into an empty store each time. */
#include "groups.h"
#include "workload.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FULL_EVENTS 262000u
#define INTERVAL    "10"

struct replay {
    size_t events, streams;
    size_t fullest; /* the stream with the most events; it must have a snapshot */
    char *tool, *log, *config, *store_dir, *output;
};

/* ---- the event log ------------------------------------------------------------------
 */

static const char *const types[] = {
    "Receipt confirmed",   "Receipt checked",   "Advice needed",    "Advice asked",
    "Advice kept waiting", "Advice received",   "Terms laid down",  "Terms withdrawn",
    "Document printed",    "Document reviewed", "Case handed over", "Case closed",
};

static void print_event(FILE *file, size_t stream, uint64_t sequence, uint64_t noise)
{
    unsigned n = (unsigned)(noise >> 16);

    (void)fprintf(
        file,
        "{\"stream\":\"process/acme/case-%05zu\",\"sequence\":%llu,\"type\":\"%s\","
        "\"time\":\"2031-%02u-%02u %02u:%02u:%02u.%03u000+02:00\",\"data\":{"
        "\"channel\":\"Internet\",\"deadline\":\"2031-11-26 00:00:00+01:00\","
        "\"department\":\"General\",\"enddate\":\"2031-11-12 13:40:%02u.661000+01:00\","
        "\"enddate_planned\":\"2031-11-26 00:00:00.010000+01:00\","
        "\"responsible\":\"Resource%02u\",\"startdate\":\"2031-10-01 00:00:00+02:00\","
        "\"instance\":\"task-%u\",\"transition\":\"complete\",\"group\":\"Group %u\","
        "\"resource\":\"Resource%02u\"}}\n",
        stream, (unsigned long long)sequence, types[n % 12], n % 12 + 1, n % 28 + 1,
        n % 24, n % 60, n / 7 % 60, n % 1000, n % 60, n % 41, n % 100000, n % 9,
        n / 3 % 41);
}

static int write_events(struct replay *replay, FILE *file, uint64_t *sequences)
{
    struct bench_rng rng = bench_rng_make(262);

    for (size_t i = 0; i < replay->events; i++) {
        size_t stream = bench_rng_pick(&rng, replay->streams);

        print_event(file, stream, ++sequences[stream], bench_rng_next(&rng));
        if (sequences[stream] > sequences[replay->fullest])
            replay->fullest = stream;
    }
    return ferror(file) ? -1 : 0;
}

static int make_log(struct replay *replay, struct mako_error *err)
{
    uint64_t *sequences = calloc(replay->streams, sizeof *sequences);
    FILE *file = fopen(replay->log, "we");
    int bad = !file || !sequences || write_events(replay, file, sequences) != 0;

    if (file && fclose(file) != 0)
        bad = 1;
    free(sequences);
    if (bad)
        return mako_fail(err, MAKO_E_IO, "%s: %s", replay->log, strerror(errno));
    return MAKO_OK;
}

static int make_config(const struct replay *replay, struct mako_error *err)
{
    FILE *file = fopen(replay->config, "we");
    int bad = !file || fputs("{\"stores\":{\"replay\":{\"plugin\":\"file\","
                             "\"durability\":\"crash\",\"snapshot_every\":" INTERVAL ","
                             "\"options\":{\"dir\":\"replay\"}}}}\n",
                             file) < 0;

    if (file && fclose(file) != 0)
        bad = 1;
    if (bad)
        return mako_fail(err, MAKO_E_IO, "%s: %s", replay->config, strerror(errno));
    return MAKO_OK;
}

/* ---- one run of the tool --------------------------------------------------------------
 */

/* What the tool said last, to explain its failure. */
static void last_words(const char *path, char *line, size_t room)
{
    char text[256];
    FILE *file = fopen(path, "re");

    line[0] = '\0';
    if (!file)
        return;
    while (fgets(text, sizeof text, file))
        (void)snprintf(line, room, "%.*s", (int)strcspn(text, "\n"), text);
    (void)fclose(file);
}

static int spawn(const struct replay *replay, pid_t *child)
{
    char *argv[] = {replay->tool,       (char[]){"-c"}, replay->config,
                    (char[]){"replay"}, replay->log,    NULL};
    posix_spawn_file_actions_t actions;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0)
        return error;
    error = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, replay->output,
                                             O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    if (error == 0)
        error = posix_spawn(child, replay->tool, &actions, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int run_tool(const struct replay *replay, struct mako_error *err)
{
    char words[256];
    pid_t child;
    int how = 0, error = spawn(replay, &child);

    if (error != 0)
        return mako_fail(err, MAKO_E_IO, "%s: %s", replay->tool, strerror(error));
    while (waitpid(child, &how, 0) < 0)
        if (errno != EINTR)
            return mako_fail(err, MAKO_E_IO, "%s: %s", replay->tool, strerror(errno));
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return MAKO_OK;

    last_words(replay->output, words, sizeof words);
    return mako_fail(err, MAKO_E_PLUGIN, "%s failed (wait status %d): %s", replay->tool,
                     how, words);
}

/* A run that took no snapshot would be fast and prove nothing. */
static int check_taken(const struct replay *replay, struct mako_error *err)
{
    struct mako_meta meta;
    mako_store *store;
    char id[BENCH_ID_ROOM];
    int status = bench_open("file", "crash", replay->store_dir, &store, err);

    if (status != MAKO_OK)
        return status;
    (void)snprintf(id, sizeof id, "process/acme/case-%05zu", replay->fullest);
    status = mako_store_peek(store, id, &meta, err);
    mako_store_unref(store);
    return status <= 0 ? status
                       : mako_fail(err, MAKO_E_PLUGIN, "'%s' has no snapshot: %s", id,
                                   mako_status_name(status));
}

static int run_replay(void *arg, double *seconds, struct mako_error *err)
{
    const struct replay *replay = arg;
    uint64_t begin;
    int status = bench_remove_tree(replay->store_dir, err);

    if (status != MAKO_OK)
        return status;
    begin = bench_now();
    status = run_tool(replay, err);
    *seconds = (double)(bench_now() - begin) / 1e9;
    return status == MAKO_OK ? check_taken(replay, err) : status;
}

/* ---- the group
 * ---------------------------------------------------------------------------- */

static int measure(struct bench *bench, struct replay *replay, struct mako_error *err)
{
    static const struct bench_spec time_spec = {"replay.262k_s", "s", BENCH_BELOW, 10};
    static const struct bench_spec speed_spec = {"replay.events_per_s", "1/s",
                                                 BENCH_NO_TARGET, 0};
    struct bench_side side = {run_replay, replay};
    double times[3], speeds[3];
    size_t rounds = bench_size(bench, 3, 1);
    int status = make_log(replay, err);

    if (status == MAKO_OK)
        status = make_config(replay, err);
    if (status == MAKO_OK)
        status = bench_rounds(&side, 1, rounds, times, err);
    for (size_t i = 0; status == MAKO_OK && i < rounds; i++) {
        speeds[i] = (double)replay->events / times[i];
        times[i] = FULL_EVENTS / speeds[i]; /* as it is; extrapolated in a quick run */
    }
    if (status == MAKO_OK)
        status = bench_report(bench, &time_spec, times, rounds, err);
    return status == MAKO_OK ? bench_report(bench, &speed_spec, speeds, rounds, err)
                             : status;
}

int bench_replay(struct bench *bench, struct mako_error *err)
{
    struct replay replay = {
        .events = bench_size(bench, FULL_EVENTS, 2000),
        .streams = bench_size(bench, 13000, 100),
        .tool = bench_path(bench->tools_dir, "mako-snapshot"),
        .log = bench_path(bench->dir, "events.jsonl"),
        .config = bench_path(bench->dir, "replay.json"),
        .store_dir = bench_path(bench->dir, "replay"),
        .output = bench_path(bench->dir, "replay.log"),
    };
    int status =
        replay.tool && replay.log && replay.config && replay.store_dir && replay.output
            ? measure(bench, &replay, err)
            : mako_fail(err, MAKO_E_NOMEM, "no memory for a path");

    free(replay.tool);
    free(replay.log);
    free(replay.config);
    free(replay.store_dir);
    free(replay.output);
    return status;
}
