/* What a store hands to the library, and what a program hands to it, against the one who
 * reads: lengths that lie take no memory, and no text of the library does anything to a
 * terminal or a log.  The backend is the test plugin, whose records the test rewrites. */
#include "../unit/support.h"

#include <sys/resource.h>
#include <unistd.h>

#include <xxhash.h>

#include "envelope.h"

TestSuite(hostile, .timeout = 60);

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define MIB ((rlim_t)1 << 20)

/* From here on the process gets four MiB and no more.  The sanitizers map more than a
 * limit allows; the address sanitizer ends a program that asks for what is impossible. */
static void limit_memory(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    struct rlimit limit;
    unsigned long pages = 0;

    if (SANITIZED)
        return;
    cr_assert(file != NULL && fscanf(file, "%lu", &pages) == 1);
    (void)fclose(file);
    limit.rlim_cur = pages * (rlim_t)sysconf(_SC_PAGESIZE) + 4 * MIB;
    limit.rlim_max = limit.rlim_cur;
    cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static void expect_load(mako_store *store, int want)
{
    struct mako_error err = {""};
    int status = load_any(store, "a", &err);

    cr_expect_eq(status, want, "%s, not %s: %s", mako_status_name(status),
                 mako_status_name(want), err.text);
}

/* The plugin announces more than there can be: declined before there is room for it. */
Test(hostile, announced_lengths_take_no_memory)
{
    static const size_t lengths[] = {(size_t)17 << 20, (size_t)1 << 32, (size_t)1 << 40,
                                     SIZE_MAX / 2, SIZE_MAX};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    size_t honest;

    cr_assert_eq(save_text(store, "a", 5, "state", NULL), MAKO_OK);
    honest = p.records->blob_len;
    limit_memory();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        p.records->blob_len = lengths[i];
        expect_load(store, MAKO_TOO_LARGE);
    }
    p.records->blob_len = honest;
    expect_load(store, MAKO_OK);
    mako_store_unref(store);
    probe_clear(&p);
}

static void put64(unsigned char *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

/* The envelope of stream "a" says that its state has len bytes, with right checksums. */
static void seal(unsigned char *blob, uint64_t len)
{
    put64(blob + 56, len);
    put64(blob + 64, len);
    put64(blob + 88, 0);
    put64(blob + 88, XXH3_64bits(blob, MAKO_ENVELOPE_HEADER + 16));
}

/* The envelope says that there is more than was handed over: nothing believes it. */
Test(hostile, lengths_in_the_envelope_take_no_memory)
{
    static const uint64_t lengths[] = {
        0, 6, 1u << 20, UINT32_MAX, (uint64_t)1 << 40, UINT64_MAX - 200, UINT64_MAX};
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);

    cr_assert_eq(save_text(store, "a", 5, "state", NULL), MAKO_OK);
    seal(p.records->blob, 5);
    expect_load(store, MAKO_OK);
    limit_memory();
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        seal(p.records->blob, lengths[i]);
        expect_load(store, MAKO_DAMAGED);
    }
    mako_store_unref(store);
    probe_clear(&p);
}

/* ---- texts ------------------------------------------------------------------------- */

/* An escape, a line break, DEL, and C1's CSI. */
#define EVIL "a\033[31m\n\x7f\xc2\x9b\x32J"

static void is_harmless(const char *what, const char *text)
{
    cr_expect(*text != '\0', "%s: no text", what);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];

        cr_expect(c >= 0x20 && c != 0x7f, "%s: control character %02x", what, c);
        cr_expect(!(c == 0xc2 && next >= 0x80 && next < 0xa0), "%s: C1", what);
    }
}

static void expect_text(const char *what, int status, int want,
                        const struct mako_error *err)
{
    cr_expect_eq(status, want, "%s: %s, not %s", what, mako_status_name(status),
                 mako_status_name(want));
    is_harmless(what, err->text);
}

/* A stream's id is shown in the text of every status. */
Test(hostile, ids_in_messages)
{
    struct probe p = PROBE_INITIAL;
    struct heard heard = {0, -1, ""};
    mako_store *store = must_open("probe", &p, CRASH);
    const struct mako_expect none = {.struct_size = sizeof none};
    struct mako_error err = {""};
    mako_snapshot *snapshot = NULL;

    mako_set_log(hear, &heard);
    expect_text("nothing", load_any(store, EVIL, &err), MAKO_NOT_FOUND, &err);
    p.orders.load = MAKO_NOT_FOUND; /* without a word of its own: the library's */
    expect_text("silence", load_any(store, EVIL, &err), MAKO_NOT_FOUND, &err);
    p.orders.load = MAKO_OK;
    expect_text("range", mako_store_load(store, EVIL, &none, &snapshot, NULL, &err),
                MAKO_E_INVALID, &err);
    expect_text("sequence", save_text(store, EVIL, 0, "x", &err), MAKO_E_INVALID, &err);
    cr_assert_eq(save_text(store, EVIL, 5, "state", NULL), MAKO_OK);
    expect_text("older", save_text(store, EVIL, 4, "x", &err), MAKO_STALE, &err);
    p.records->blob[p.records->blob_len - 1] ^= 1;
    expect_text("damage", load_any(store, EVIL, &err), MAKO_DAMAGED, &err);
    cr_expect_eq(heard.count, 1);
    is_harmless("log", heard.text);
    mako_store_unref(store);
    probe_clear(&p);
}

/* A plugin's texts are shown to people as well, and so is the store's name. */
Test(hostile, texts_of_plugins_and_configurations)
{
    struct probe p = PROBE_INITIAL;
    mako_store *store = must_open("probe", &p, CRASH);
    struct mako_error err = {""};
    static const char json[] = "{\"stores\": {\"s\\n\\u001b[31m\\u009b\": {\"plugin\": "
                               "\"../x\\u009b\\n\", \"durability\": \"none\"}}}";

    p.text = EVIL;
    p.orders.load = MAKO_E_IO;
    expect_text("plugin", load_any(store, "a", &err), MAKO_E_IO, &err);
    mako_store_unref(store);
    store = NULL;
    expect_text("configuration",
                mako_store_open_json(json, sizeof json - 1, NULL, &store, &err),
                MAKO_E_CONFIG, &err);
}
