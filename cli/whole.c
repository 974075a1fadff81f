/* cli/whole.c - the commands about many snapshots: ls, rm, verify, compact. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

/* ---- ls -------------------------------------------------------------------------- */

static void ls_json(const struct listing *listing)
{
    json_t *array = json_array();

    for (size_t i = 0; i < listing->count; i++) {
        const struct listed *entry = &listing->entries[i];
        json_t *object = json_object();

        json_put(object, "stream", json_text(entry->stream));
        if (entry->meta.schema != 0)
            json_meta(object, &entry->meta);
        json_put(object, "size", json_count(entry->size));
        if (json_array_append_new(array, object) != 0)
            no_memory();
    }
    json_print(stdout, array);
}

/* One row; stream is printable, width the column's. */
static void ls_row(const char *stream, size_t width, const char *sequence,
                   const char *schema, const char *age, const char *size)
{
    size_t used = columns(stream);

    printf("%s%*s  %10s  %6s  %12s  %10s\n", stream,
           (int)(used < width ? width - used : 0), "", sequence, schema, age, size);
}

static void ls_text(const struct listing *listing)
{
    char **names = must_alloc(NULL, listing->count * sizeof *names);
    size_t width = strlen("STREAM");

    for (size_t i = 0; i < listing->count; i++) {
        const char *stream = listing->entries[i].stream;

        names[i] = printable(stream, strlen(stream));
        if (columns(names[i]) > width)
            width = columns(names[i]);
    }
    width = width < 60 ? width : 60;
    printf("%s", colour(stdout, COLOUR_BOLD));
    ls_row("STREAM", width, "SEQUENCE", "SCHEMA", "AGE", "SIZE");
    printf("%s", colour(stdout, COLOUR_PLAIN));
    for (size_t i = 0; i < listing->count; i++) {
        const struct listed *entry = &listing->entries[i];
        bool known = entry->meta.schema != 0;

        ls_row(names[i], width, known ? show_count(entry->meta.seq).text : "?",
               known ? show_count(entry->meta.schema).text : "?",
               show_age(entry->meta.created_ms).text, show_size(entry->size).text);
        free(names[i]);
    }
    free(names);
}

static int run_ls(const struct args *args)
{
    struct listing listing;
    mako_store *store = NULL;
    int result = store_to_read(args, &store);

    if (result != EXIT_DONE)
        return result;
    result =
        listing_read(store, args->operand_count ? args->operands[0] : NULL, &listing);
    if (result == EXIT_DONE) {
        if (args->json)
            ls_json(&listing);
        else
            ls_text(&listing);
        listing_free(&listing);
    }
    mako_store_unref(store);
    return result;
}

const struct command command_ls = {
    .name = "ls",
    .operands = "[PREFIX]",
    .summary = "list snapshots: sequence, schema, age, size",
    .about = "Lists the snapshots of all streams, or of those that begin with PREFIX.",
    .operands_min = 0,
    .operands_max = 1,
    .run = run_ls,
};

/* ---- rm -------------------------------------------------------------------------- */

static const struct arg_option rm_options[] = {
    {"prefix", 0, ARG_TEXT, false, offsetof(struct args, prefix), "P",
     "remove the snapshots of all streams that begin with P", 0, 0},
    {NULL, 0, ARG_FLAG, false, 0, NULL, NULL, 0, 0},
};

static int removed(const struct args *args, uint64_t count)
{
    json_t *object;

    if (args->json) {
        object = json_object();
        json_put(object, "removed", json_count(count));
        json_print(stdout, object);
    } else if (count > 0) {
        printf("removed %" PRIu64 " snapshot%s\n", count, count == 1 ? "" : "s");
    }
    if (count == 0 && !args->json)
        return complain(EXIT_NOTHING, "no snapshot %s%s",
                        args->prefix ? "of a stream that begins with " : "of ",
                        args->prefix ? args->prefix : args->operands[0]);
    return count ? EXIT_DONE : EXIT_NOTHING;
}

/* Remove one; counts it where it was there. */
static int rm_stream(mako_store *store, const char *stream, uint64_t *count)
{
    struct mako_error err = {""};
    int status = mako_store_remove(store, stream, &err);

    if (status < 0)
        return failed_on(stream, status, &err);
    *count += status == MAKO_OK;
    return EXIT_DONE;
}

static int rm_prefix(mako_store *store, const char *prefix, uint64_t *count)
{
    struct listing listing;
    int result = listing_read(store, prefix, &listing);

    if (result != EXIT_DONE)
        return result;
    for (size_t i = 0; i < listing.count && result == EXIT_DONE; i++)
        result = rm_stream(store, listing.entries[i].stream, count);
    listing_free(&listing);
    return result;
}

static int run_rm(const struct args *args)
{
    uint64_t count = 0;
    mako_store *store = NULL;
    int result;

    if (!args->prefix == !args->operand_count)
        return usage_error(&command_rm, "either STREAM or --prefix P is needed");
    if (args->prefix && !*args->prefix)
        return usage_error(&command_rm, "--prefix: an empty one would remove everything");
    result = store_of(args, &store);
    if (result != EXIT_DONE)
        return result;
    result = args->prefix ? rm_prefix(store, args->prefix, &count)
                          : rm_stream(store, args->operands[0], &count);
    mako_store_unref(store);
    return result == EXIT_DONE ? removed(args, count) : result;
}

const struct command command_rm = {
    .name = "rm",
    .operands = "STREAM | --prefix P",
    .summary = "remove snapshots",
    .about = "Removes the snapshot of STREAM, or those of all streams that begin with P.",
    .options = rm_options,
    .operands_min = 0,
    .operands_max = 1,
    .run = run_rm,
};

/* ---- verify ---------------------------------------------------------------------- */

struct checked {
    uint64_t good, outside, gone;
    json_t *bad; /* [{"stream", "status", "reason"}] */
    int worst;   /* exit code */
};

static void bad_snapshot(struct checked *checked, const char *stream, int status,
                         const struct mako_error *err)
{
    json_t *object = json_object();

    json_put(object, "stream", json_text(stream));
    json_put(object, "status", json_string(mako_status_name(status)));
    json_put(object, "reason", json_text(err->text));
    if (json_array_append_new(checked->bad, object) != 0)
        no_memory();
    (void)complain(EXIT_NOTHING, "%s: %s: %s", stream, mako_status_name(status),
                   err->text);
    if (checked->worst != EXIT_STORE)
        checked->worst = status < 0 ? EXIT_STORE : EXIT_NOTHING;
}

/* False: the store does not answer; going on is no use. */
static bool check_stream(mako_store *store, const char *stream, struct checked *checked)
{
    struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = UINT32_MAX};
    struct mako_error err = {""};
    mako_snapshot *snapshot = NULL;
    int status = mako_store_load(store, stream, &any, &snapshot, NULL, &err);

    if (status == MAKO_OK)
        checked->good++;
    else if (status == MAKO_NOT_FOUND)
        checked->gone++;
    else if (status == MAKO_SCHEMA_OLDER || status == MAKO_SCHEMA_NEWER)
        checked->outside++;
    else
        bad_snapshot(checked, stream, status, &err);
    mako_snapshot_unref(snapshot);
    return status != MAKO_E_UNAVAILABLE;
}

static void verified(const struct args *args, const struct checked *checked)
{
    size_t bad = json_array_size(checked->bad);

    if (args->json) {
        json_t *object = json_object();

        json_put(object, "good", json_count(checked->good));
        json_put(object, "outside_range", json_count(checked->outside));
        json_put(object, "bad", json_incref(checked->bad));
        json_print(stdout, object);
        return;
    }
    printf("%s%" PRIu64 " good, %zu bad%s",
           colour(stdout, bad ? COLOUR_BAD : COLOUR_GOOD), checked->good, bad,
           colour(stdout, COLOUR_PLAIN));
    if (checked->outside)
        printf(", %" PRIu64 " outside the store's configured schema range (not read)",
               checked->outside);
    printf("\n");
}

static int run_verify(const struct args *args)
{
    struct checked checked = {.bad = json_array()};
    struct listing listing;
    mako_store *store = NULL;
    bool going = true;
    int result = store_to_read(args, &store);

    if (result == EXIT_DONE)
        result = listing_read(store, NULL, &listing);
    if (result == EXIT_DONE) {
        for (size_t i = 0; i < listing.count && going; i++) {
            progress("verify", (double)i / (double)listing.count);
            going = check_stream(store, listing.entries[i].stream, &checked);
        }
        progress_end();
        verified(args, &checked);
        result = checked.worst;
        listing_free(&listing);
    }
    json_decref(checked.bad);
    mako_store_unref(store);
    return result;
}

const struct command command_verify = {
    .name = "verify",
    .operands = "",
    .summary = "read and check every snapshot",
    .about = "Reads every snapshot of the store and checks it whole; names each bad one.",
    .run = run_verify,
};

/* ---- compact --------------------------------------------------------------------- */

/* What the plugin says of its size; either stays where it does not. */
struct size {
    uint64_t bytes, live;
};

static void note_size(void *arg, const char *name, uint64_t value)
{
    struct size *size = arg;

    if (strcmp(name, "plugin.bytes") == 0)
        size->bytes = value;
    else if (strcmp(name, "plugin.bytes_live") == 0)
        size->live = value;
}

static bool compact_progress(void *arg, uint64_t done, uint64_t total)
{
    (void)arg;
    progress("compact", total != 0 ? (double)done / (double)total : 1);
    return true;
}

static void compacted(const struct args *args, const struct size *before,
                      const struct size *after)
{
    uint64_t freed = before->bytes > after->bytes ? before->bytes - after->bytes : 0;
    json_t *object;

    if (!args->json) {
        printf("freed %s, %s are left\n", show_size(freed).text,
               show_size(after->bytes).text);
        return;
    }
    object = json_object();
    json_put(object, "freed", json_count(freed));
    json_put(object, "bytes", json_count(after->bytes));
    json_put(object, "bytes_live", json_count(after->live));
    json_print(stdout, object);
}

static int run_compact(const struct args *args)
{
    struct size before = {0}, after = {0};
    struct mako_error err = {""};
    mako_store *store = NULL;
    int status, result = store_of(args, &store);

    if (result != EXIT_DONE)
        return result;
    status = mako_store_stats(store, note_size, &before, &err);
    if (status == MAKO_OK)
        status = mako_store_compact(store, compact_progress, NULL, &err);
    progress_end();
    if (status == MAKO_OK)
        status = mako_store_stats(store, note_size, &after, &err);
    if (status == MAKO_OK)
        compacted(args, &before, &after);
    else
        result = failed(status, &err);
    mako_store_unref(store);
    return result;
}

const struct command command_compact = {
    .name = "compact",
    .operands = "",
    .summary = "give back what replaced and removed snapshots take",
    .about =
        "Removes replaced and removed snapshots from the store's files for good, and "
        "says how many bytes that freed.",
    .run = run_compact,
};
