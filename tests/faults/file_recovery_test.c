/* tests/faults/file_recovery_test.c - opening what is left after crashes and damage:
 * torn tails, flipped bits, headers, files that are missing or do not belong. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "host.h"

enum {
    HEADER = 4096,
    FRAME = 80,
    BLOB = 100,
    RECORD = FRAME + 16 + 112
};

static struct box box;
static char segment[400]; /* the first segment's path */
static struct bytes whole;

/* Without flushes: what is on the disk is the same, and the rounds are many. */
static void make(void)
{
    box_make(&box);
    box.durability = MAKO_DURABLE_CRASH;
    box_must_open(&box);
}

static void clean(void)
{
    free(whole.data);
    box_free(&box);
}

TestSuite(file_recovery, .init = make, .fini = clean, .timeout = 400);

/* Close, and keep the first segment's bytes. */
static void keep_segment(void)
{
    box_close(&box);
    segment_path(&box, 0, segment, sizeof segment);
    whole = read_whole(segment);
}

/* Two records of the same stream. */
static void two_records(void)
{
    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 2, BLOB, 0), MAKO_OK);
    keep_segment();
    cr_assert_eq(whole.len, HEADER + 2 * RECORD);
}

/* Write the first segment and open. */
static void open_with(const void *data, size_t len)
{
    box_close(&box);
    write_whole(segment, data, len);
    box_must_open(&box);
}

Test(file_recovery, a_torn_tail_at_every_length)
{
    two_records();
    for (size_t len = HEADER + RECORD; len < whole.len; len++) {
        bool padding_only = len >= whole.len - (112 - BLOB);

        open_with(whole.data, len);
        cr_assert(holds(&box, "a", padding_only ? 2 : 1), "%zu bytes", len);
        cr_assert_null(strstr(box_log(), "W "), "%zu bytes: %s", len, box_log());
        cr_assert_eq(strstr(box_log(), "cut short") != NULL,
                     len > HEADER + RECORD && !padding_only, "%zu: %s", len, box_log());
    }
}

Test(file_recovery, the_store_goes_on_behind_a_torn_tail)
{
    two_records();
    for (size_t cut = 1; cut < RECORD; cut += 7) {
        char later[400];

        open_with(whole.data, whole.len - cut);
        cr_assert_eq(put(&box, "b", 9, 50, 0), MAKO_OK);
        box_reopen(&box);
        cr_assert(holds(&box, "a", cut > 112 - BLOB ? 1 : 2));
        cr_assert(holds(&box, "b", 9));
        cr_assert_null(strstr(box_log(), "W "), "%zu cut off: %s", cut, box_log());
        box_close(&box);
        segment_path(&box, 1, later, sizeof later);
        cr_assert_eq(unlink(later), 0);
    }
}

/* What a successor says of its predecessor holds even when the rest comes back. */
Test(file_recovery, nothing_counts_beyond_what_the_successor_names)
{
    two_records();
    open_with(whole.data, HEADER + RECORD);
    cr_assert_eq(put(&box, "b", 1, 50, 0), MAKO_OK);
    open_with(whole.data, whole.len);
    cr_assert(holds(&box, "a", 1));
    cr_assert(holds(&box, "b", 1));
}

Test(file_recovery, zeros_behind_the_end)
{
    unsigned char *longer;

    two_records();
    longer = calloc(1, whole.len + 100000);
    memcpy(longer, whole.data, whole.len);
    for (size_t more = 1; more < 100000; more += 9999) {
        open_with(longer, whole.len + more);
        cr_assert(holds(&box, "a", 2));
        cr_assert_str_empty(box_log());
    }
    free(longer);
}

/* Where in a record of the two a byte stands. */
static bool in_payload(size_t at)
{
    return at >= FRAME + 16 && at < FRAME + 16 + BLOB;
}

Test(file_recovery, a_flipped_bit_at_every_byte)
{
    two_records();
    for (size_t at = 0; at < whole.len; at++) {
        size_t in_second = at - HEADER - RECORD;
        bool second = at >= HEADER + RECORD;
        uint64_t seq = 0;
        int status;

        whole.data[at] ^= (unsigned char)(1u << (at % 8));
        open_with(whole.data, whole.len);
        status = get(&box, "a", &seq);
        whole.data[at] ^= (unsigned char)(1u << (at % 8));
        if (second && in_payload(in_second)) {
            cr_assert_eq(status, MAKO_DAMAGED, "byte %zu: %d", at, status);
            cr_assert_not_null(strstr(box.err.text, "0000000000000001.seg: the record at "
                                                    "offset 4304: its checksum does not "
                                                    "match"),
                               "%s", box.err.text);
            cr_assert_not_null(strstr(box_log(), "of stream a, sequence 2"));
        } else {
            cr_assert_eq(status, MAKO_OK, "byte %zu: %d", at, status);
            cr_assert_eq(seq, second && in_second < FRAME + 16 ? 1 : 2, "byte %zu", at);
        }
    }
}

Test(file_recovery, a_bad_frame_in_the_middle_is_damage_and_what_follows_is_found)
{
    for (uint64_t i = 1; i <= 3; i++) {
        char stream[2] = {(char)('a' + i - 1), '\0'};

        cr_assert_eq(put(&box, stream, i, BLOB, 0), MAKO_OK);
    }
    keep_segment();
    for (size_t at = HEADER + RECORD; at < HEADER + RECORD + FRAME + 16; at++) {
        whole.data[at] ^= 0x10;
        open_with(whole.data, whole.len);
        whole.data[at] ^= 0x10;
        cr_assert(holds(&box, "a", 1));
        cr_assert(holds(&box, "b", 0));
        cr_assert(holds(&box, "c", 3));
        cr_assert_not_null(strstr(box_log(), "W "), "byte %zu", at);
        cr_assert_not_null(strstr(box_log(), "0000000000000001.seg: damaged: offsets "
                                             "4304 to 4512; the streams in it are "
                                             "unknown"),
                           "%s", box_log());
    }
}

/* A frame that is lost is still known by those that follow, so that what its record
 * replaced, or removed, does not show again. */
Test(file_recovery, no_older_record_shows_in_place_of_a_lost_frame)
{
    uint64_t seq = 0;

    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "c", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 2, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 2, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "d", 1, BLOB, 0), MAKO_OK);
    keep_segment();
    for (size_t first = 3; first <= 4; first++)
        for (size_t last = first; last <= 4; last++) {
            struct bytes bad = {.data = malloc(whole.len), .len = whole.len};

            memcpy(bad.data, whole.data, whole.len);
            for (size_t i = first; i <= last; i++)
                memset(bad.data + HEADER + i * RECORD, 0xff, FRAME);
            open_with(bad.data, bad.len);
            cr_assert_eq(get(&box, "a", &seq), first == 3 ? MAKO_DAMAGED : MAKO_OK);
            cr_assert_eq(get(&box, "b", &seq), last == 4 ? MAKO_DAMAGED : MAKO_OK);
            cr_assert(holds(&box, "c", 1));
            cr_assert(holds(&box, "d", 1));
            cr_assert_eq(put(&box, "a", 3, BLOB, MAKO_SAVE_IF_NEWER), MAKO_OK);
            cr_assert(holds(&box, "a", 3));
            box_close(&box);
            segment_path(&box, 1, segment, sizeof segment);
            cr_assert_eq(unlink(segment), 0);
            segment_path(&box, 0, segment, sizeof segment);
            free(bad.data);
        }
}

/* Likewise at the end of a segment that another one follows. */
Test(file_recovery, the_last_frames_are_known_by_the_next_segment)
{
    uint64_t seq = 0;

    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 2, BLOB, 0), MAKO_OK);
    cr_assert_eq(drop(&box, "a"), MAKO_OK);
    keep_segment();
    box_must_open(&box);
    cr_assert_eq(put(&box, "b", 1, BLOB, 0), MAKO_OK);
    whole.data[whole.len - 1 - 16] ^= 1;
    open_with(whole.data, whole.len);
    cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
    cr_assert(holds(&box, "b", 1));
}

Test(file_recovery, a_damaged_stream_heals_by_a_forced_save)
{
    two_records();
    whole.data[HEADER + RECORD + FRAME + 16] ^= 1;
    open_with(whole.data, whole.len);
    cr_assert_eq(counter(&box, "damaged"), 1);
    cr_assert_eq(put(&box, "a", 1, BLOB, MAKO_SAVE_IF_NEWER), MAKO_STALE);
    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert(holds(&box, "a", 1));
    cr_assert_eq(counter(&box, "damaged"), 0);
    box_reopen(&box);
    cr_assert(holds(&box, "a", 1));
}

/* A power cut writes sectors of an unflushed batch in any order. */
Test(file_recovery, a_record_with_an_unwritten_sector_is_torn_not_damaged)
{
    enum {
        LONG = 3000
    };
    size_t start;

    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 2, LONG, 0), MAKO_OK);
    keep_segment();
    start = HEADER + RECORD;
    for (size_t sector = 4608; sector + 512 < whole.len; sector += 512) {
        unsigned char *torn = malloc(whole.len);

        memcpy(torn, whole.data, whole.len);
        memset(torn + sector, 0, 512);
        cr_assert_gt(sector, start + FRAME + 16);
        open_with(torn, whole.len);
        cr_assert(holds(&box, "a", 1), "sector at %zu", sector);
        free(torn);
    }
}

/* The same zeros in what was acknowledged when the next batch was written. */
Test(file_recovery, an_acknowledged_record_that_lost_a_sector_is_damaged)
{
    uint64_t seq = 0;

    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 2, 3000, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 1, BLOB, 0), MAKO_OK);
    keep_segment();
    memset(whole.data + 5120, 0, 512);
    open_with(whole.data, whole.len);
    cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
    cr_assert(holds(&box, "b", 1));
}

/* And a torn record in the middle of a batch stays torn at later openings. */
Test(file_recovery, torn_in_mid_batch_stays_torn)
{
    unsigned char bytes[2][3000];
    struct mako_record records[2] = {
        {.stream = {"a", 1}, .meta = {2, 1, 0, 0}, .blob = bytes[0], .blob_len = 3000},
        {.stream = {"b", 1}, .meta = {1, 1, 0, 0}, .blob = bytes[1], .blob_len = 3000}};
    int statuses[2];

    pattern(bytes[0], 3000, "a", 2);
    pattern(bytes[1], 3000, "b", 1);
    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(box.plugin->save_many(box.store, records, 2, statuses, &box.err), 0);
    keep_segment();
    memset(whole.data + 5120, 0, 512);
    open_with(whole.data, whole.len);
    for (int round = 0; round < 3; round++) {
        cr_assert(holds(&box, "a", 1));
        cr_assert(holds(&box, "b", 1));
        cr_assert_eq(put(&box, "c", 1, 10, 0), MAKO_OK);
        box_reopen(&box);
    }
}

/* What an opening finds of a damaged record and of a torn one behind it, the next one
 * finds too, when a later segment says where this one ends. */
Test(file_recovery, damaged_before_torn_stays_so)
{
    enum {
        LONG = 3000
    };
    uint64_t seq = 0;
    size_t a;

    cr_assert_eq(put(&box, "b", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 1, BLOB, 0), MAKO_OK);
    cr_assert_eq(put(&box, "a", 2, LONG, 0), MAKO_OK);
    cr_assert_eq(put(&box, "b", 2, LONG, 0), MAKO_OK);
    keep_segment();
    a = HEADER + 2 * RECORD + FRAME + 16;
    memset(whole.data + a + 512 - a % 512, 0, 512);
    a += LONG + 8 + FRAME + 16; /* now where the blob of b begins */
    memset(whole.data + a + 512 - a % 512, 0, 512);
    open_with(whole.data, whole.len);
    for (int round = 0; round < 3; round++) {
        cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
        cr_assert(holds(&box, "b", 1), "opening %d", round);
        cr_assert_eq(put(&box, "c", 1, 10, 0), MAKO_OK);
        box_reopen(&box);
    }
}

/* A power cut may keep the last records of a write and lose the first: that is no damage,
 * for nothing of it was acknowledged. */
Test(file_recovery, the_first_record_of_a_write_that_was_cut_short)
{
    static const char blob[300] = "{}";
    struct mako_record records[3];
    int statuses[3];

    for (size_t i = 0; i < 3; i++)
        records[i] = (struct mako_record){.stream = {.ptr = &"abc"[i], .len = 1},
                                          .meta = {.seq = 1, .schema = 1},
                                          .blob = blob,
                                          .blob_len = sizeof blob};
    cr_assert_eq(box.plugin->save_many(box.store, records, 3, statuses, &box.err),
                 MAKO_OK);
    keep_segment();
    memset(whole.data + HEADER, 0, FRAME + 16 + 304);
    open_with(whole.data, whole.len);
    cr_assert_null(strstr(box_log(), "W "), "%s", box_log());
    cr_assert_not_null(strstr(box_log(), "cut short at offset 4096 is ignored"));
    cr_assert(holds(&box, "a", 0));
    cr_assert_eq(counter(&box, "streams"), 2);
}

/* ---- headers and files ------------------------------------------------------------ */

Test(file_recovery, an_unfinished_segment_is_left_behind_quietly)
{
    static const size_t sizes[] = {0, 1, 511, 512, 4095, 4096, 5000};
    unsigned char zeros[5000] = {0};
    char second[400];

    two_records();
    (void)snprintf(second, sizeof second, "%s/0000000000000002.seg", box.path);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        write_whole(second, zeros, sizes[i]);
        box_reopen(&box);
        cr_assert(holds(&box, "a", 2));
        cr_assert_not_null(strstr(box_log(), "was never begun"));
        cr_assert_null(strstr(box_log(), "W "));
    }
    cr_assert_eq(put(&box, "b", 1, 10, 0), MAKO_OK);
    box_reopen(&box);
    cr_assert_str_empty(box_log());
    cr_assert(holds(&box, "b", 1));
    cr_assert_eq(segment_count(&box), 3);
}

Test(file_recovery, a_header_that_lost_both_copies)
{
    two_records();
    box_must_open(&box);
    cr_assert_eq(put(&box, "b", 1, 10, 0), MAKO_OK);
    whole.data[20] ^= 1;
    whole.data[2048 + 20] ^= 1;
    open_with(whole.data, whole.len);
    cr_assert(holds(&box, "b", 1));
    cr_assert(holds(&box, "a", 0));
    cr_assert_not_null(strstr(box_log(),
                              "0000000000000001.seg: the header is damaged; its "
                              "snapshots are lost, and older or removed ones "
                              "may show in their place"),
                       "%s", box_log());
}

/* Until a copy stands for it. */
Test(file_recovery, a_missing_segment_is_said)
{
    two_records();
    box_must_open(&box);
    cr_assert_eq(put(&box, "b", 1, 10, 0), MAKO_OK);
    box_close(&box);
    cr_assert_eq(unlink(segment), 0);
    for (int i = 0; i < 2; i++) {
        box_must_open(&box);
        cr_assert(holds(&box, "b", 1));
        cr_assert_not_null(
            strstr(box_log(), "0000000000000001.seg: missing; its snapshots"), "%s",
            box_log());
        if (i == 1)
            cr_assert_eq(compact(&box), MAKO_OK, "%s", box.err.text);
        box_close(&box);
    }
    box_must_open(&box);
    cr_assert(holds(&box, "b", 1));
    cr_assert_str_empty(box_log());
}

Test(file_recovery, a_shortened_segment_is_said)
{
    two_records();
    box_must_open(&box);
    cr_assert_eq(put(&box, "b", 1, 10, 0), MAKO_OK);
    open_with(whole.data, HEADER + RECORD);
    cr_assert(holds(&box, "b", 1));
    cr_assert_not_null(
        strstr(box_log(), "damaged: has 4304 bytes, but 4512 were written"), "%s",
        box_log());
}

static void put_version(unsigned char version)
{
    whole.data[8] = version;
    whole.data[2048 + 8] = version;
}

Test(file_recovery, an_unknown_version_is_refused)
{
    two_records();
    put_version(2);
    write_whole(segment, whole.data, whole.len);
    cr_assert_eq(box_open(&box), MAKO_E_UNSUPPORTED);
    cr_assert_not_null(strstr(box.err.text,
                              "/0000000000000001.seg: format version 2, this "
                              "plugin reads version 1"),
                       "%s", box.err.text);
    put_version(1);
    open_with(whole.data, whole.len);
    cr_assert(holds(&box, "a", 2));
}

static void put_sum(unsigned char *at, uint64_t sum)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(sum >> 8 * i);
}

/* The second record gets a type, and the index file says the same. */
static void put_type(unsigned char type)
{
    static const size_t LISTING = 160, ENTRY = 64; /* with its id */
    unsigned char *frame = whole.data + HEADER + RECORD;
    struct bytes listing;
    char path[600];
    uint64_t id;

    memcpy(&id, whole.data + 24, sizeof id);
    frame[4] = type;
    put_sum(frame + 8, 0);
    put_sum(frame + 8, XXH3_64bits_withSeed(frame, FRAME + 16, id + HEADER + RECORD));
    write_whole(segment, whole.data, whole.len);
    (void)snprintf(path, sizeof path, "%s/%016" PRIx64 ".idx", box.path, id);
    listing = read_whole(path);
    cr_assert_eq(listing.len, LISTING + ENTRY);
    listing.data[LISTING + 42] = type;
    put_sum(listing.data + 104, XXH3_64bits(listing.data + LISTING, ENTRY));
    put_sum(listing.data + 152, XXH3_64bits(listing.data, 152));
    write_whole(path, listing.data, listing.len);
    free(listing.data);
}

Test(file_recovery, an_unknown_type_is_refused_with_an_index_file_and_without)
{
    two_records();
    put_type(9);
    for (int round = 0; round < 2; round++) {
        box.keep_indexes = round == 0;
        cr_assert_eq(box_open(&box), MAKO_E_UNSUPPORTED);
        cr_assert_not_null(strstr(box.err.text,
                                  "/0000000000000001.seg: a record of type 9 at offset "
                                  "4304, of a newer version"),
                           "%s", box.err.text);
    }
}

/* Since when something has been dead in it is not known: since now. */
Test(file_recovery, a_segment_of_a_time_that_cannot_be)
{
    static const int64_t times[] = {INT64_MIN, INT64_MIN / 2, -1, INT64_MAX};
    struct timespec pause = {.tv_nsec = 50000000};

    two_records();
    box.erase_ms = 3600000;
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        put_sum(whole.data + 48, (uint64_t)times[i]);
        put_sum(whole.data + 248, XXH3_64bits(whole.data, 248));
        memcpy(whole.data + 2048, whole.data, 256);
        open_with(whole.data, whole.len);
        (void)nanosleep(&pause, NULL);
        cr_assert_eq(counter(&box, "compactions"), 0);
        cr_assert_str_empty(box_log());
        cr_assert(holds(&box, "a", 2));
    }
}

Test(file_recovery, foreign_files_are_ignored)
{
    static const char *const names[] = {"notes.txt",
                                        "1.seg",
                                        "000000000000000G.seg",
                                        "0000000000000001.SEG",
                                        "00000000000000AA.seg",
                                        "0000000000000000.seg",
                                        "0000000000000001.seg~",
                                        " 00000000000001.seg",
                                        "+000000000000001.seg"};
    char path[400];

    two_records();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", box.path, names[i]);
        write_whole(path, "garbage", 7);
    }
    box_must_open(&box);
    cr_assert_str_empty(box_log());
    cr_assert(holds(&box, "a", 2));
}

Test(file_recovery, a_segment_under_another_name_is_not_taken)
{
    char other[400];

    two_records();
    (void)snprintf(other, sizeof other, "%s/0000000000000007.seg", box.path);
    write_whole(other, whole.data, whole.len);
    box_must_open(&box);
    cr_assert(holds(&box, "a", 2));
    cr_assert_not_null(strstr(box_log(), "0000000000000007.seg: is a copy of segment "
                                         "0000000000000001 under another name; ignored"),
                       "%s", box_log());
}

/* A record copied to another place of its segment, or into another, is no record. */
Test(file_recovery, a_record_counts_only_where_it_was_written)
{
    unsigned char *copy;

    two_records();
    copy = malloc(whole.len + RECORD);
    memcpy(copy, whole.data, whole.len);
    memcpy(copy + whole.len, whole.data + HEADER, RECORD); /* sequence 1 again */
    copy[HEADER + RECORD] ^= 1;                            /* and not 2 */
    open_with(copy, whole.len + RECORD);
    cr_assert(holds(&box, "a", 1));
    cr_assert_not_null(strstr(box_log(), "cut short at offset 4304"), "%s", box_log());
    free(copy);
}

Test(file_recovery, a_file_that_shrinks_under_an_open_store)
{
    uint64_t seq = 0;

    two_records();
    box_must_open(&box);
    cr_assert_eq(truncate(segment, HEADER + RECORD + FRAME + 16 + BLOB - 1), 0);
    cr_assert_eq(get(&box, "a", &seq), MAKO_DAMAGED);
    cr_assert_not_null(strstr(box.err.text, "0000000000000001.seg: the record at offset "
                                            "4304: the file ends within it"),
                       "%s", box.err.text);
}
