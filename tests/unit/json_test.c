/* States that are JSON documents. */
#include "support.h"

#include <mako/json.h>

TestSuite(json, .timeout = 30);

static const struct mako_save first = {
    .struct_size = sizeof first, .seq = 3, .schema = 2};
static const struct mako_expect two = {
    .struct_size = sizeof two, .schema_min = 2, .schema_max = 2};

static json_t *parsed(const char *text)
{
    json_t *made = json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);

    cr_assert(made, "%s", text);
    return made;
}

/* What is stored of a document, as the plain load gives it. */
static void stored_is(mako_store *store, const char *want)
{
    mako_snapshot *snapshot = NULL;
    size_t len;
    const void *bytes;

    cr_assert_eq(mako_store_load(store, "a", &two, &snapshot, NULL, NULL), MAKO_OK);
    bytes = mako_snapshot_state(snapshot, &len);
    cr_assert(len == strlen(want) && memcmp(bytes, want, len) == 0, "%.*s", (int)len,
              (const char *)bytes);
    mako_snapshot_unref(snapshot);
}

Test(json, equal_documents_give_equal_bytes)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    json_t *state = parsed("{\"z\": [1, 2.5, null], \"a\": {\"y\": \"é\", \"b\": true}}");

    cr_assert_eq(mako_json_save(store, "a", &first, state, NULL), MAKO_OK);
    stored_is(store, "{\"a\":{\"b\":true,\"y\":\"é\"},\"z\":[1,2.5,null]}");
    json_decref(state);
    mako_store_unref(store);
    probe_clear(&p);
}

static void round_trip(mako_store *store, const char *text)
{
    json_t *out = parsed(text), *back = NULL;
    struct mako_meta meta = {0};
    struct mako_error err = {""};

    cr_assert_eq(mako_json_save(store, "a", &first, out, &err), MAKO_OK, "%s: %s", text,
                 err.text);
    cr_assert_eq(mako_json_load(store, "a", &two, &back, &meta, &err), MAKO_OK, "%s: %s",
                 text, err.text);
    cr_assert(json_equal(out, back), "%s", text);
    cr_assert(meta.seq == 3 && meta.schema == 2);
    json_decref(out);
    json_decref(back);
}

Test(json, documents_of_every_kind_come_back)
{
    static const char *const texts[] = {"{}",
                                        "[]",
                                        "null",
                                        "true",
                                        "0",
                                        "-1.5",
                                        "\"\"",
                                        "\"s\"",
                                        "[[]]",
                                        "{\"\": {\"\": []}}",
                                        "\"a\\u0000b\"",
                                        "\"日本\""};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        round_trip(store, texts[i]);
    mako_store_unref(store);
    probe_clear(&p);
}

Test(json, bytes_that_are_not_json_are_damage)
{
    static const char *const texts[] = {"{", "", "{\"a\":1} x", "\xff"};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    json_t *state = NULL;
    struct mako_meta meta = {.seq = 77, .schema = 88};
    struct mako_error err;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct mako_save save = first;

        save.state = texts[i];
        save.state_len = strlen(texts[i]);
        err.text[0] = '\0';
        cr_assert_eq(mako_store_save(store, "a", &save, NULL), MAKO_OK);
        cr_assert_eq(mako_json_load(store, "a", &two, &state, &meta, &err), MAKO_DAMAGED);
        cr_assert(strstr(err.text, "not JSON"), "%s", err.text);
        cr_assert(meta.seq == 77 && meta.schema == 88, "the output was touched");
        cr_assert_eq(mako_json_load(store, "a", &two, &state, NULL, NULL), MAKO_DAMAGED);
        cr_assert_null(state);
    }
    mako_store_unref(store);
    probe_clear(&p);
}

Test(json, other_statuses_come_through)
{
    struct probe p = PROBE_INITIAL;
    struct mako_expect three = two;
    mako_store *store = must_open("probe", &p, CRASH);
    json_t *state = NULL, *out = parsed("{}");
    struct mako_save bad = first;
    struct mako_meta meta = {0};
    struct mako_error err = {""};

    three.schema_min = three.schema_max = 3;
    cr_assert_eq(mako_json_load(store, "a", &two, &state, NULL, &err), MAKO_NOT_FOUND);
    cr_assert_eq(mako_json_save(store, "a", &first, out, NULL), MAKO_OK);
    cr_assert_eq(mako_json_load(store, "a", &three, &state, &meta, &err),
                 MAKO_SCHEMA_OLDER);
    cr_assert_eq(meta.schema, 2);
    cr_assert_null(state);
    bad.seq = 0;
    cr_assert_eq(mako_json_save(store, "a", &bad, out, &err), MAKO_E_INVALID);
    bad.struct_size = 3;
    cr_assert_eq(mako_json_save(store, "a", &bad, out, &err), MAKO_E_INVALID);
    cr_assert_eq(mako_json_save(store, "a", &first, NULL, &err), MAKO_E_INVALID);
    cr_assert(strstr(err.text, "JSON"), "%s", err.text);
    json_decref(out);
    mako_store_unref(store);
    probe_clear(&p);
}

/* ---- for an aggregate's encode and decode
 * ---------------------------------------------- */

static void *create(void *app)
{
    (void)app;
    return json_object();
}

static void destroy(void *app, void *state)
{
    (void)app;
    json_decref(state);
}

static int apply(void *app, void *state, const struct mako_event *event,
                 struct mako_error *err)
{
    (void)app, (void)err;
    return json_object_set_new(state, "last", json_integer((json_int_t)event->seq));
}

static int encode(void *app, const void *state, mako_bytes *out, struct mako_error *err)
{
    (void)app;
    return mako_json_encode(state, out, err);
}

static int decode(void *app, uint32_t schema, const void *bytes, size_t len, void **state,
                  struct mako_error *err)
{
    json_t *made = NULL;
    int status = mako_json_decode(bytes, len, &made, err);

    (void)app, (void)schema;
    if (status == MAKO_OK)
        *state = made;
    return status;
}

Test(json, an_aggregate_whose_state_is_a_document)
{
    static const struct mako_aggregate aggregate = {.struct_size = sizeof aggregate,
                                                    .schema = 2,
                                                    .create = create,
                                                    .destroy = destroy,
                                                    .apply = apply,
                                                    .encode = encode,
                                                    .decode = decode};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    mako_process *process = NULL;

    cr_assert_eq(mako_process_open(store, &aggregate, "a", NULL, &process, NULL),
                 MAKO_OK);
    for (uint64_t seq = 1; seq <= 5; seq++) {
        struct mako_event event = {.seq = seq};

        cr_assert_eq(mako_process_push(process, &event, NULL), MAKO_OK);
    }
    cr_assert_eq(mako_process_take(process, MAKO_TAKE_NOW, NULL), MAKO_OK);
    mako_process_close(process);
    stored_is(store, "{\"last\":5}");
    cr_assert_eq(mako_process_open(store, &aggregate, "a", NULL, &process, NULL),
                 MAKO_OK);
    cr_assert_eq(json_integer_value(json_object_get(mako_process_state(process), "last")),
                 5);
    mako_process_close(process);
    mako_store_unref(store);
    probe_clear(&p);
}

Test(json, decode_says_what_is_wrong)
{
    json_t *state = NULL;
    struct mako_error err = {""};

    cr_assert_eq(mako_json_decode("[1,", 3, &state, &err), MAKO_E_CALLBACK);
    cr_assert(strstr(err.text, "not JSON"), "%s", err.text);
    cr_assert_null(state);
    cr_assert_eq(mako_json_decode("[1]", 3, &state, &err), MAKO_OK);
    json_decref(state);
}

/* What was stored is no document, and nobody asks why. */
Test(json, no_document_and_no_error_to_fill)
{
    static const struct mako_save save = {
        .struct_size = sizeof save, .seq = 3, .schema = 2, .state = "{", .state_len = 1};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    json_t *back = NULL;

    cr_assert_eq(mako_store_save(store, "a", &save, NULL), MAKO_OK);
    cr_assert_neq(mako_json_load(store, "a", &two, &back, NULL, NULL), MAKO_OK);
    cr_assert_null(back);
    mako_store_unref(store);
    probe_clear(&p);
}
