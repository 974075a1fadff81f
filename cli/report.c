/* cli/report.c - what replay says at its end: states, summary, warnings, exit code. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fold.h"
#include "replay.h"

enum {
    NAMED_MAX = 20 /* streams that are named to people; machines get all */
};

/* ---- what is told
 * ---------------------------------------------------------------------- */

struct tally {
    uint64_t folded, spared;
    uint64_t loaded, failed_loads;
    uint64_t refused[MAKO_TOO_LARGE + 1]; /* by status */
};

static void count_snapshot(struct tally *tally, int status)
{
    if (status == MAKO_OK)
        tally->loaded++;
    else if (status < 0)
        tally->failed_loads++;
    else if (status != MAKO_NOT_FOUND && status <= MAKO_TOO_LARGE)
        tally->refused[status]++;
}

static struct tally count(const struct replay *replay)
{
    struct tally tally = {0};

    for (size_t i = 0; i < replay->streams.count; i++) {
        const struct stream *stream = replay->sorted[i];
        struct mako_how how = {.struct_size = sizeof how};

        mako_process_how(stream->process, &how);
        tally.folded += how.folded;
        tally.spared += how.spared;
        count_snapshot(&tally, stream->snapshot);
    }
    return tally;
}

static bool is_different(const struct stream *stream)
{
    return stream->differs;
}

static bool is_unresolved(const struct stream *stream)
{
    return stream->again;
}

/* ---- states
 * ----------------------------------------------------------------------------- */

static void write_stream(FILE *out, const struct stream *stream)
{
    json_t *id = json_string(stream->id);
    bool failed;

    fputs("{\"stream\":", out);
    failed = !id || json_dumpf(id, out, json_flags(out)) != 0;
    fprintf(out,
            ",\"sequence\":%" PRIu64 ",\"state\":", mako_process_seq(stream->process));
    failed |= json_dumpf(fold_document(mako_process_state(stream->process)), out,
                         JSON_COMPACT | JSON_SORT_KEYS | json_flags(out)) != 0;
    fputs("}\n", out);
    json_decref(id);
    if (failed && !ferror(out))
        no_memory();
}

static int write_states(const struct replay *replay)
{
    struct output output;
    int result = output_open(replay->args->output, &output);

    if (result != EXIT_DONE)
        return result;
    for (size_t i = 0; i < replay->streams.count && !ferror(output.file); i++)
        write_stream(output.file, replay->sorted[i]);
    return output_close(&output, true);
}

/* ---- the summary
 * ------------------------------------------------------------------------ */

static json_t *names(const struct replay *replay, bool (*which)(const struct stream *))
{
    json_t *array = json_array();

    for (size_t i = 0; i < replay->streams.count; i++)
        if (which(replay->sorted[i]) &&
            json_array_append_new(array, json_text(replay->sorted[i]->id)) != 0)
            no_memory();
    return array;
}

static json_t *refused_json(const struct tally *tally)
{
    json_t *object = json_object();

    for (int status = 0; status <= MAKO_TOO_LARGE; status++)
        if (tally->refused[status])
            json_put(object, mako_status_name(status),
                     json_count(tally->refused[status]));
    return object;
}

static void summary_json(FILE *out, const struct replay *replay,
                         const struct tally *tally)
{
    json_t *object = json_object();

    json_put(object, "streams", json_count(replay->streams.count));
    json_put(object, "events", json_count(replay->events));
    json_put(object, "folded", json_count(tally->folded));
    json_put(object, "spared", json_count(tally->spared));
    json_put(object, "loaded", json_count(tally->loaded));
    json_put(object, "refused", refused_json(tally));
    json_put(object, "failed_loads", json_count(tally->failed_loads));
    json_put(object, "taken", json_count(replay->taken));
    json_put(object, "kept_later", json_count(replay->kept_later));
    json_put(object, "failed_takes", json_count(replay->failed_takes));
    json_put(object, "longest", json_count(replay->longest));
    json_put(object, "seconds", json_real(replay->seconds));
    json_put(object, "verified", json_boolean(replay->args->verify));
    json_put(object, "different", names(replay, is_different));
    json_put(object, "unresolved", names(replay, is_unresolved));
    json_print(out, object);
}

/* "3 (2 DIVERGED, 1 AHEAD)" */
static void refused_line(FILE *out, const struct tally *tally)
{
    char text[256] = "";
    uint64_t sum = 0;
    size_t at = 0;

    for (int status = 0; status <= MAKO_TOO_LARGE; status++) {
        if (!tally->refused[status] || at >= sizeof text)
            continue;
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%" PRIu64 " %s",
                               at ? ", " : " (", tally->refused[status],
                               mako_status_name(status));
        sum += tally->refused[status];
    }
    fprintf(out, "%s%-18s%s  %" PRIu64 "%s%s\n", colour(out, COLOUR_BOLD),
            "snapshots refused", colour(out, COLOUR_PLAIN), sum, text, sum ? ")" : "");
}

static void unless_zero(FILE *out, const char *key, uint64_t value)
{
    if (value)
        show_line(out, key, show_count(value).text);
}

static void summary_text(FILE *out, const struct replay *replay,
                         const struct tally *tally)
{
    double all = replay->events ? (double)replay->events : 1;
    char text[128];

    show_line(out, "streams", show_count(replay->streams.count).text);
    show_line(out, "events read", show_count(replay->events).text);
    show_line(out, "folded", show_count(tally->folded).text);
    (void)snprintf(text, sizeof text, "%" PRIu64 " (%.1f %%)", tally->spared,
                   100 * (double)tally->spared / all);
    show_line(out, "spared", text);
    show_line(out, "snapshots loaded", show_count(tally->loaded).text);
    refused_line(out, tally);
    show_line(out, "snapshots taken", show_count(replay->taken).text);
    unless_zero(out, "later ones kept", replay->kept_later);
    unless_zero(out, "failed loads", tally->failed_loads);
    unless_zero(out, "failed takes", replay->failed_takes);
    (void)snprintf(text, sizeof text, "%.2f s", replay->seconds);
    show_line(out, "time", text);
    if (replay->args->verify && replay->different == 0 && replay->unresolved == 0)
        fprintf(
            out, "%s%-18s%s  %sall %zu states agree with a fold without snapshots%s\n",
            colour(out, COLOUR_BOLD), "verify", colour(out, COLOUR_PLAIN),
            colour(out, COLOUR_GOOD), replay->streams.count, colour(out, COLOUR_PLAIN));
}

/* ---- complaints
 * --------------------------------------------------------------------------- */

/* Name the streams that which() picks, some of them. */
static void name_streams(const struct replay *replay,
                         bool (*which)(const struct stream *), uint64_t number,
                         const char *what)
{
    uint64_t named = 0;

    for (size_t i = 0; i < replay->streams.count && named < NAMED_MAX; i++) {
        const struct stream *stream = replay->sorted[i];

        if (!which(stream))
            continue;
        named++;
        (void)complain(EXIT_NOTHING, "stream '%s': %s (%s)", stream->id, what,
                       mako_status_name(stream->snapshot));
    }
    if (number > named)
        (void)complain(EXIT_NOTHING, "... and %" PRIu64 " more such streams",
                       number - named);
}

static void none_taken(const struct replay *replay, const struct tally *tally)
{
    struct mako_info info = {.struct_size = sizeof info};

    mako_store_info(replay->store, &info);
    if (replay->taken || replay->kept_later)
        return;
    if (replay->failed_takes)
        warn("NO SNAPSHOT WAS TAKEN: all %" PRIu64 " attempts failed",
             replay->failed_takes);
    else if (info.snapshot_every == 0)
        warn("NO SNAPSHOT WAS TAKEN: \"snapshot_every\" is 0, that is never");
    else if (replay->longest < info.snapshot_every)
        warn("NO SNAPSHOT WAS TAKEN: \"snapshot_every\" is %" PRIu64
             ", and the longest stream has %" PRIu64 " events",
             info.snapshot_every, replay->longest);
    else
        warn("NO SNAPSHOT WAS TAKEN: no stream has %" PRIu64
             " events after its snapshot (%" PRIu64 " loaded)",
             info.snapshot_every, tally->loaded);
}

int replay_report(struct replay *replay)
{
    struct tally tally = count(replay);
    const char *output = replay->args->output;
    bool right = replay->different == 0 && replay->unresolved == 0;
    FILE *out = output && strcmp(output, "-") == 0 ? stderr : stdout;
    int result = EXIT_DONE;

    name_streams(replay, is_unresolved, replay->unresolved,
                 "its snapshot is not of this log, and the log cannot be read again from "
                 "its start here: replay it from a file");
    name_streams(replay, is_different, replay->different,
                 "VERIFY FAILED: its state differs from a fold without snapshots");
    if (right && output)
        result = write_states(replay);
    else if (output)
        warn("%s is not written: not every state is right", output);
    if (replay->args->json)
        summary_json(out, replay, &tally);
    else
        summary_text(out, replay, &tally);
    none_taken(replay, &tally);
    if (!right)
        return EXIT_NOTHING;
    if (result == EXIT_DONE && (replay->failed_takes || tally.failed_loads))
        return EXIT_STORE;
    return result;
}
