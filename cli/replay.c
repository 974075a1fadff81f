/* cli/replay.c - the command replay: folds an event log on top of the store's snapshots.
 *
 * Two passes at most.  In the first every event is pushed to its stream's process; the
 * store's snapshots spare what they stand for.  A stream whose snapshot turns out to be
 * of another log, or to lie beyond this one, is folded from the start in the second.
 * Nothing is remembered between runs but snapshots, so that a run may end anywhere. */
#include "replay.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "fold.h"

static struct mako_event as_pushed(const struct event *event)
{
    return (struct mako_event){event->sequence, event->anchor, event};
}

/* ---- the first pass ------------------------------------------------------------------
 */

static int in_order(const struct replay *replay, const struct stream *stream,
                    const struct event *event, struct mako_error *err)
{
    if (event->sequence == stream->last + 1)
        return MAKO_OK;
    return mako_fail(err, MAKO_E_INVALID,
                     "%s:%" PRIu64 ": %s: sequence %" PRIu64 " of stream '%.200s', "
                     "where %" PRIu64 " is next",
                     events_name(replay->log), event->line,
                     event->sequence > stream->last ? "a gap" : "a repeat",
                     event->sequence, stream->id, stream->last + 1);
}

/* Load the stream's snapshot; say what became of it. */
static int open_stream(struct replay *replay, struct stream *stream,
                       struct mako_error *err)
{
    struct mako_how how = {.struct_size = sizeof how};
    int status = mako_process_open(replay->store, &replay->aggregate, stream->id, NULL,
                                   &stream->process, err);

    if (status != MAKO_OK)
        return status;
    mako_process_how(stream->process, &how);
    stream->snapshot = how.snapshot;
    if (!replay->args->verify)
        return MAKO_OK;
    return mako_process_open(NULL, &replay->aggregate, stream->id, NULL, &stream->plain,
                             err);
}

/* The policy decides.  A failed take leaves states right and is told once, and counted.
 */
static void take(struct replay *replay, struct stream *stream)
{
    struct mako_error err = {""};
    int status = mako_process_take(stream->process, 0, &err);

    replay->taken += status == MAKO_OK;
    replay->kept_later += status == MAKO_STALE;
    if (status < 0 && replay->failed_takes++ == 0)
        warn("a snapshot could not be saved: %s (going on without; further failures are "
             "only counted)",
             err.text);
}

/* Its snapshot was refused after all: back to the start. */
static void fold_again(struct replay *replay, struct stream *stream, int status)
{
    stream->snapshot = status;
    stream->again = true;
    replay->again++;
}

static int push(struct replay *replay, struct stream *stream, const struct event *event,
                struct mako_error *err)
{
    struct mako_event pushed = as_pushed(event);
    int status = mako_process_push(stream->process, &pushed, err);

    if (status == MAKO_DIVERGED && event->sequence == 1) {
        stream->snapshot = status; /* the start is at hand */
        status = mako_process_push(stream->process, &pushed, err);
    }
    if (status == MAKO_DIVERGED) {
        fold_again(replay, stream, status);
        return MAKO_OK;
    }
    if (status == MAKO_OK && mako_process_seq(stream->process) == event->sequence)
        take(replay, stream);
    return status;
}

static int first_event(struct replay *replay, const struct event *event,
                       struct mako_error *err)
{
    struct stream *stream =
        streams_find(&replay->streams, event->stream, event->stream_len);
    struct mako_event pushed = as_pushed(event);
    int status = in_order(replay, stream, event, err);

    if (status == MAKO_OK && stream->last == 0)
        status = open_stream(replay, stream, err);
    if (status != MAKO_OK)
        return status;
    stream->last = event->sequence;
    replay->events++;
    if (stream->last > replay->longest)
        replay->longest = stream->last;
    if (stream->plain)
        status = mako_process_push(stream->plain, &pushed, err);
    if (status != MAKO_OK || stream->again)
        return status;
    return push(replay, stream, event, err);
}

/* ---- the second pass ------------------------------------------------------------------
 */

static int changed(const struct replay *replay, struct mako_error *err)
{
    return mako_fail(err, MAKO_E_INVALID, "%s: the log changed while it was read",
                     events_name(replay->log));
}

static int second_event(struct replay *replay, const struct event *event,
                        struct mako_error *err)
{
    struct stream *stream =
        streams_find(&replay->streams, event->stream, event->stream_len);
    struct mako_event pushed = as_pushed(event);
    int status;

    if (event->sequence > stream->last)
        return changed(replay, err);
    if (!stream->again)
        return MAKO_OK;
    status = mako_process_push(stream->process, &pushed, err);
    if (status == MAKO_E_INVALID || status > 0)
        return changed(replay, err);
    if (status == MAKO_OK)
        take(replay, stream);
    return status;
}

/* ---- passes
 * ----------------------------------------------------------------------------- */

typedef int event_call(struct replay *replay, const struct event *event,
                       struct mako_error *err);

/* Hand every event, at most limit of them, to call. */
static int pass(struct replay *replay, const char *what, uint64_t limit, event_call *call,
                struct mako_error *err)
{
    struct event event;
    int status = MAKO_OK;

    for (uint64_t count = 0; count < limit && status == MAKO_OK; count++) {
        status = events_next(replay->log, &event, err);
        if (status != MAKO_OK)
            break;
        status = call(replay, &event, err);
        event_done(&event);
        if (count % 512 == 0)
            progress(what, events_part(replay->log));
    }
    progress_end();
    return status == MAKO_NOT_FOUND ? MAKO_OK : status;
}

/* The log is at its end: is every snapshot within it? */
static int end_streams(struct replay *replay, struct mako_error *err)
{
    for (size_t i = 0; i < replay->streams.count; i++) {
        struct stream *stream = replay->sorted[i];
        int status = MAKO_OK;

        if (!stream->again)
            status = mako_process_end(stream->process, stream->last, err);
        if (status == MAKO_AHEAD)
            fold_again(replay, stream, status);
        else if (status != MAKO_OK)
            return status < 0 ? status : changed(replay, err);
    }
    return MAKO_OK;
}

static int second_pass(struct replay *replay, struct mako_error *err)
{
    int status = events_rewind(replay->log, err);

    if (status == MAKO_OK)
        status = pass(replay, "replay, second pass", replay->events, second_event, err);
    for (size_t i = 0; i < replay->streams.count && status == MAKO_OK; i++) {
        struct stream *stream = replay->sorted[i];

        if (!stream->again)
            continue;
        if (mako_process_seq(stream->process) != stream->last)
            return changed(replay, err);
        stream->again = false;
    }
    return status;
}

/* Fold everything; positive never. */
static int fold_log(struct replay *replay, struct mako_error *err)
{
    int status = pass(replay, "replay", UINT64_MAX, first_event, err);

    replay->sorted = streams_sorted(&replay->streams);
    if (status == MAKO_OK)
        status = end_streams(replay, err);
    if (status != MAKO_OK || replay->again == 0)
        return status;
    if (events_again(replay->log))
        return second_pass(replay, err);
    replay->unresolved = replay->again;
    return MAKO_OK;
}

/* ---- the command
 * ------------------------------------------------------------------------- */

static void compare(struct replay *replay)
{
    for (size_t i = 0; i < replay->streams.count; i++) {
        struct stream *stream = replay->sorted[i];

        if (!stream->plain || stream->again)
            continue;
        stream->differs = mako_process_seq(stream->process) != stream->last ||
                          !json_equal(fold_document(mako_process_state(stream->process)),
                                      fold_document(mako_process_state(stream->plain)));
        replay->different += stream->differs;
    }
}

static double now(void)
{
    struct timespec at;

    (void)clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static int run(struct replay *replay)
{
    struct mako_error err = {""};
    double begin = now();
    int status = fold_log(replay, &err);

    if (status != MAKO_OK)
        return failed(status, &err);
    compare(replay);
    replay->seconds = now() - begin;
    return replay_report(replay);
}

static int run_replay(const struct args *args)
{
    struct replay replay = {.args = args,
                            .aggregate = fold_aggregate((uint32_t)args->schema)};
    struct mako_error err = {""};
    int result;

    if (events_open(args->operands[0], &replay.log, &err) != MAKO_OK)
        return complain(EXIT_USAGE, "%s", err.text);
    result = store_of(args, &replay.store);
    if (result == EXIT_DONE)
        result = run(&replay);
    streams_free(&replay.streams);
    free(replay.sorted);
    mako_store_unref(replay.store);
    events_close(replay.log);
    return result;
}

static const struct arg_option replay_options[] = {
    {"schema", 0, ARG_NUMBER, false, offsetof(struct args, schema), "N",
     "schema version of the states, written and accepted (1)", 1, UINT32_MAX},
    {"output", 0, ARG_TEXT, false, offsetof(struct args, output), "FILE",
     "write one line a stream: stream, sequence, state", 0, 0},
    {"verify", 0, ARG_FLAG, false, offsetof(struct args, verify), NULL,
     "fold everything also without snapshots, and compare", 0, 0},
    {NULL, 0, ARG_FLAG, false, 0, NULL, NULL, 0, 0},
};

const struct command command_replay = {
    .name = "replay",
    .operands = "EVENTS|-",
    .summary = "fold an event log on top of the store's snapshots",
    .about =
        "Folds an event log into one state a stream, beginning at the store's\n"
        "snapshots, and takes new ones when they are due.  EVENTS has one event a\n"
        "line, plain or gzip: {\"stream\", \"sequence\", \"type\", \"time\", \"data\"}.",
    .options = replay_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_replay,
};
