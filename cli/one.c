/* cli/one.c - the commands about one stream's snapshot: save, load, show. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

static const char schema_help[] =
    "schema versions that can be read, MIN or MIN-MAX (else the store's own range)";

/* ---- save ------------------------------------------------------------------------ */

static const struct arg_option save_options[] = {
    {"sequence", 0, ARG_NUMBER, true, offsetof(struct args, sequence), "N",
     "the last event folded into the state", 1, INT64_MAX},
    {"schema", 0, ARG_NUMBER, true, offsetof(struct args, schema), "V",
     "version of the state's layout", 1, UINT32_MAX},
    {"kind", 0, ARG_TEXT, false, offsetof(struct args, kind), "K",
     "kind of aggregate, to be asked for at load", 0, 0},
    {"anchor", 0, ARG_NUMBER, false, offsetof(struct args, anchor), "N",
     "hash of that event, decimal or 0x hexadecimal; 0: none", 0, UINT64_MAX},
    {"force", 0, ARG_FLAG, false, offsetof(struct args, force), NULL,
     "replace even a snapshot with a higher sequence", 0, 0},
    {NULL, 0, ARG_FLAG, false, 0, NULL, NULL, 0, 0},
};

/* {"stream", "status", "reason"}: how every single answer begins. */
static json_t *answer(const char *stream, int status, const struct mako_error *err)
{
    json_t *object = json_object();

    json_put(object, "stream", json_text(stream));
    json_put(object, "status", json_string(mako_status_name(status)));
    if (status != MAKO_OK)
        json_put(object, "reason", json_text(err->text));
    return object;
}

static int saved(const struct args *args, const struct mako_save *save, int status,
                 const struct mako_error *err)
{
    char *stream;

    if (args->json && status >= 0) {
        json_t *object = answer(args->operands[0], status, err);

        json_put(object, "sequence", json_count(save->seq));
        json_put(object, "schema", json_integer(save->schema));
        json_put(object, "size", json_count(save->state_len));
        json_print(stdout, object);
        return exit_of(status);
    }
    if (status == MAKO_STALE)
        return complain(EXIT_NOTHING, "%s: not saved: %s (--force replaces it)",
                        args->operands[0], err->text);
    if (status != MAKO_OK)
        return failed_on(args->operands[0], status, err);
    stream = printable(args->operands[0], strlen(args->operands[0]));
    printf("saved %s: sequence %" PRIu64 ", schema %" PRIu32 ", %zu bytes\n", stream,
           save->seq, save->schema, save->state_len);
    free(stream);
    return EXIT_DONE;
}

static int run_save(const struct args *args)
{
    struct mako_save save = {.struct_size = sizeof save,
                             .flags = args->force ? MAKO_SAVE_FORCE : 0,
                             .seq = args->sequence,
                             .anchor = args->anchor,
                             .schema = (uint32_t)args->schema,
                             .kind = args->kind};
    struct mako_info info = {.struct_size = sizeof info};
    struct mako_error err = {""};
    mako_store *store = NULL;
    char *state = NULL;
    int result = store_of(args, &store);

    if (result != EXIT_DONE)
        return result;
    mako_store_info(store, &info);
    /* One byte more than is allowed is enough for the store to refuse it. */
    result = read_all(args->operand_count > 1 ? args->operands[1] : "-",
                      (size_t)info.max_snapshot + 1, &state, &save.state_len);
    if (result == EXIT_DONE) {
        save.state = state;
        result = saved(args, &save,
                       mako_store_save(store, args->operands[0], &save, &err), &err);
    }
    free(state);
    mako_store_unref(store);
    return result;
}

const struct command command_save = {
    .name = "save",
    .operands = "STREAM [FILE|-]",
    .summary = "save a state from a file or standard input",
    .about = "Saves the bytes of FILE, or of standard input, as the snapshot of STREAM.",
    .options = save_options,
    .operands_min = 1,
    .operands_max = 2,
    .run = run_save,
};

/* ---- load ------------------------------------------------------------------------ */

static const struct arg_option load_options[] = {
    {"schema", 0, ARG_RANGE, false, offsetof(struct args, schema_min), "MIN[-MAX]",
     schema_help, 0, 0},
    {"kind", 0, ARG_TEXT, false, offsetof(struct args, kind), "K",
     "kind of aggregate that is expected (else any)", 0, 0},
    {"output", 0, ARG_TEXT, false, offsetof(struct args, output), "FILE",
     "write the state there instead of to standard output", 0, 0},
    {NULL, 0, ARG_FLAG, false, 0, NULL, NULL, 0, 0},
};

static json_t *hex(const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;
    char *text = must_alloc(NULL, 2 * len + 1);
    json_t *value;

    text[0] = '\0';
    for (size_t i = 0; i < len; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", byte[i]);
    value = json_string(text);
    free(text);
    return value;
}

/* The state as a document where it is one, else its bytes in hexadecimal. */
static void put_state(json_t *object, const void *bytes, size_t len)
{
    const void *first = bytes ? bytes : "";
    json_t *state;

    errno = 0; /* says whether it is for memory that jansson fails */
    state = json_loadb(first, len,
                       JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    if (!state && errno == ENOMEM)
        no_memory();
    if (state)
        json_put(object, "state", state);
    else
        json_put(object, "state_hex", hex(first, len));
}

static void put_snapshot(json_t *object, const mako_snapshot *snapshot)
{
    struct mako_meta meta = mako_snapshot_meta(snapshot);
    uint64_t anchor = mako_snapshot_anchor(snapshot);
    size_t len = 0;

    (void)mako_snapshot_state(snapshot, &len);
    json_meta(object, &meta);
    json_put(object, "anchor",
             anchor ? json_string(show_anchor(anchor).text) : json_null());
    json_put(object, "size", json_count(len));
}

static int write_state(const struct args *args, const mako_snapshot *snapshot)
{
    struct output output;
    size_t len = 0;
    const void *state = mako_snapshot_state(snapshot, &len);
    int result = output_open(args->output ? args->output : "-", &output);

    if (result != EXIT_DONE)
        return result;
    if (args->json) {
        json_t *object = answer(args->operands[0], MAKO_OK, NULL);

        put_snapshot(object, snapshot);
        put_state(object, state, len);
        json_print(output.file, object);
    } else if (len > 0) {
        (void)fwrite(state, 1, len, output.file);
    }
    return output_close(&output, true);
}

static int not_loaded(const struct args *args, int status, const struct mako_meta *found,
                      const struct mako_error *err)
{
    json_t *object;

    if (status < 0 || !args->json)
        return failed_on(args->operands[0], status, err);
    object = answer(args->operands[0], status, err);
    if (found->seq != 0)
        json_meta(object, found);
    json_print(stdout, object);
    return exit_of(status);
}

static int run_load(const struct args *args)
{
    struct mako_expect expect = {.struct_size = sizeof expect,
                                 .schema_min = args->schema_min,
                                 .schema_max = args->schema_max,
                                 .kind = args->kind};
    struct mako_meta found = {0};
    struct mako_error err = {""};
    mako_snapshot *snapshot = NULL;
    mako_store *store = NULL;
    int status, result = store_to_read(args, &store);

    if (result != EXIT_DONE)
        return result;
    status = mako_store_load(store, args->operands[0], &expect, &snapshot, &found, &err);
    if (status == MAKO_OK)
        result = write_state(args, snapshot);
    else
        result = not_loaded(args, status, &found, &err);
    mako_snapshot_unref(snapshot);
    mako_store_unref(store);
    return result;
}

const struct command command_load = {
    .name = "load",
    .operands = "STREAM",
    .summary = "write a snapshot's state to standard output",
    .about = "Writes the state of STREAM's snapshot, byte for byte, to standard output.\n"
             "With --json: the state inside one document that also says where it stands.",
    .options = load_options,
    .operands_min = 1,
    .operands_max = 1,
    .run = run_load,
};

/* ---- show ------------------------------------------------------------------------ */

/* What show found: the index's word, and the envelope's after a full check. */
struct found {
    int peeked, loaded;
    struct mako_meta meta;
    struct mako_error peek_err, load_err;
    mako_snapshot *snapshot; /* NULL: not loaded */
};

static void look(mako_store *store, const char *stream, struct found *found)
{
    struct mako_expect any = {
        .struct_size = sizeof any, .schema_min = 1, .schema_max = UINT32_MAX};

    found->peeked = mako_store_peek(store, stream, &found->meta, &found->peek_err);
    found->loaded = found->peeked;
    found->load_err = found->peek_err;
    if (found->peeked >= 0 && found->peeked != MAKO_NOT_FOUND)
        found->loaded = mako_store_load(store, stream, &any, &found->snapshot, NULL,
                                        &found->load_err);
    if (found->loaded == MAKO_OK)
        found->meta = mako_snapshot_meta(found->snapshot);
}

static void show_json(const char *stream, const struct found *found)
{
    json_t *object = answer(stream, found->loaded, &found->load_err);

    json_put(object, "peek", json_string(mako_status_name(found->peeked)));
    if (found->snapshot)
        put_snapshot(object, found->snapshot);
    else if (found->meta.seq != 0)
        json_meta(object, &found->meta);
    json_print(stdout, object);
}

static void show_meta(const struct mako_meta *meta)
{
    struct shown age = show_age(meta->created_ms);

    show_line(stdout, "sequence", show_count(meta->seq).text);
    show_line(stdout, "schema", show_count(meta->schema).text);
    show_line(stdout, "created", show_time(meta->created_ms).text);
    show_line(stdout, "age", age.text);
}

static void show_text(const char *stream, const struct found *found)
{
    size_t len = 0;
    char size[64];

    show_line(stdout, "stream", stream);
    if (found->meta.seq != 0)
        show_meta(&found->meta);
    if (found->snapshot) {
        (void)mako_snapshot_state(found->snapshot, &len);
        (void)snprintf(size, sizeof size, "%zu bytes (%s)", len, show_size(len).text);
        show_line(stdout, "anchor",
                  show_anchor(mako_snapshot_anchor(found->snapshot)).text);
        show_line(stdout, "state", size);
    }
    show_line(stdout, "header", found->peeked == MAKO_OK ? "good" : found->peek_err.text);
    show_line(stdout, "check", found->snapshot ? "good" : found->load_err.text);
}

static int run_show(const struct args *args)
{
    struct found found = {0};
    mako_store *store = NULL;
    int result = store_to_read(args, &store);

    if (result != EXIT_DONE)
        return result;
    look(store, args->operands[0], &found);
    if (found.loaded >= 0 && args->json)
        show_json(args->operands[0], &found);
    else if (found.loaded >= 0 && found.peeked != MAKO_NOT_FOUND)
        show_text(args->operands[0], &found);
    if (found.loaded < 0 || (found.loaded > 0 && !args->json))
        result = failed_on(args->operands[0], found.loaded, &found.load_err);
    else
        result = exit_of(found.loaded);
    mako_snapshot_unref(found.snapshot);
    mako_store_unref(store);
    return result;
}

const struct command command_show = {
    .name = "show",
    .operands = "STREAM",
    .summary = "show everything known about one snapshot",
    .about =
        "Shows everything known about STREAM's snapshot, and checks it as a load does.",
    .operands_min = 1,
    .operands_max = 1,
    .run = run_show,
};
