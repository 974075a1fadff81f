/* tests/fuzz/segments.c - the file store's directory: whatever is in it, the store opens
 * or says why not, what it then gives was in the files, it takes new saves, and a second
 * opening finds what the first one gave.
 *
 * An input is a list of files.  Some are bytes as they are; of others it says what their
 * header and records hold, so that checksums are right and nothing else need be, and then
 * which bytes are wrong. */
#include "fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mako/store_plugin.h>

#include "format.h"
#include "segment.h"

enum {
    FILES_MAX = 6,
    FILE_MAX = 64 * 1024,
    RECORDS_MAX = 12,
    STREAMS_MAX = 256,
    ID_MAX = 1024
};

/* How the store is used: what the number of files leaves of an input's first byte. */
enum {
    USE_READER = 1, /* it is read before it is opened to write, and shows the same */
    USE_POWER = 2,
    USE_MAP = 4,     /* snapshots are lent */
    USE_CHANGES = 8, /* a removal and a batch besides */
    USE_THREAD = 16  /* dead bytes are given back unasked */
};

struct image {
    unsigned char *bytes;
    size_t len;
};

/* The segment that was made last, as other files should describe it, and the records of
 * all of them. */
struct made {
    struct format_header header;
    struct format_tail tail;
    struct image entries; /* of its index file */
    uint64_t count;
    bool spoilt; /* bytes of a record may not be those that its sum is of */
};

static void quiet(const struct mako_host *host, int level, const char *message)
{
    (void)host, (void)level;
    MUST(message && message[0] && !strchr(message, '\n'));
}

static const struct mako_host host = {.struct_size = sizeof host,
                                      .abi = MAKO_STORE_ABI,
                                      .store_name = "fuzz",
                                      .max_blob = 1 << 20,
                                      .log = quiet};

/* ---- making files
 * ---------------------------------------------------------------------- */

static unsigned char *image_room(struct image *image, size_t more)
{
    unsigned char *at;

    if (image->len + more > FILE_MAX)
        return NULL;
    at = image->bytes + image->len;
    memset(at, 0, more);
    image->len += more;
    return at;
}

static struct format_tail any_tail(struct feed *feed)
{
    return (struct format_tail){.number = feed_number(feed),
                                .id = feed_number(feed),
                                .length = feed_number(feed),
                                .acknowledged = feed_number(feed),
                                .last = feed_number(feed),
                                .recent = {{feed_number(feed), feed_number(feed)}}};
}

static struct format_header any_header(struct feed *feed, unsigned char shape,
                                       size_t file, const struct format_tail *before)
{
    struct format_header header = {.number = file + 1,
                                   .low = file + 1,
                                   .id = 77 + file,
                                   .kind = FORMAT_KIND_LOG,
                                   .durability = MAKO_DURABLE_CRASH,
                                   .first = 1ull << FORMAT_OPENING_SHIFT};

    if (shape & 1) {
        header.kind = FORMAT_KIND_COPY;
        header.low = feed_number(feed);
        header.generation = (uint32_t)feed_number(feed);
        header.clean = feed_number(feed);
        header.end = any_tail(feed);
    }
    if (shape & 2)
        header.number = feed_number(feed);
    if (shape & 4)
        header.first = feed_number(feed);
    if (shape & 8)
        header.before = any_tail(feed);
    if (shape & 16)
        header.id = feed_number(feed);
    if (shape & 32) {
        header.before = *before;
        header.first = before->last + 1;
    }
    if (shape & 64)
        header.durability = MAKO_DURABLE_POWER;
    return header;
}

/* What is true of a record that was added: for the next one, and for an index file. */
static void note_record(struct made *made, const struct format_frame *frame, size_t at,
                        size_t end, const char *id)
{
    unsigned char *entry =
        image_room(&made->entries, format_entry_size(frame->stream_len));

    made->tail.length = made->tail.acknowledged = end;
    made->tail.last = frame->number;
    made->tail.recent.streams[1] = made->tail.recent.streams[0];
    made->tail.recent.streams[0] = format_hash(id, frame->stream_len);
    if (entry == NULL)
        return;
    format_entry_write(entry, frame, at, id);
    made->count++;
}

/* What shape says of a record that is not as usual. */
static void shape_frame(struct feed *feed, unsigned char shape, struct made *made,
                        struct format_frame *frame)
{
    if (shape & 1)
        frame->number = feed_number(feed);
    if (shape & 2)
        frame->type = feed_byte(feed) % 5;
    if (shape & 4)
        frame->acknowledged = feed_number(feed);
    if (shape & 32) {
        frame->before = made->tail.recent;
        frame->acknowledged = made->tail.acknowledged;
    }
    if (shape & 64)
        frame->stream_len = (uint16_t)(1 + feed_number(feed) % ID_MAX);
}

/* A record whose sums are right, where shape does not say otherwise. */
static void add_record(struct feed *feed, struct image *image, struct made *made,
                       uint64_t nth)
{
    unsigned char shape = feed_byte(feed);
    char id[ID_MAX];
    struct format_frame frame = {.number = made->header.first + nth,
                                 .type = FORMAT_SAVE,
                                 .stream_len = 1,
                                 .acknowledged = FORMAT_HEADER};
    size_t at = image->len, blob_len = 0;
    const unsigned char *blob;
    unsigned char *out;

    memset(id, 'a' + feed_byte(feed) % 8, sizeof id);
    frame.meta = (struct mako_meta){.seq = 1 + feed_byte(feed), .schema = 1};
    blob = feed_bytes(feed, 600, &blob_len);
    shape_frame(feed, shape, made, &frame);
    if (frame.type != FORMAT_SAVE)
        blob_len = 0;
    frame.blob_len = shape & 8 ? feed_number(feed) : blob_len;
    frame.blob_xxh = shape & 16 ? feed_number(feed) : format_hash(blob, blob_len);
    made->spoilt = made->spoilt || shape & 16;
    out = image_room(image, (size_t)format_record_size(frame.stream_len, blob_len));
    if (!out)
        return;
    format_frame_write(out, made->header.id, at, &frame, id);
    if (blob_len > 0)
        memcpy(out + format_head_size(frame.stream_len), blob, blob_len);
    note_record(made, &frame, at, image->len, id);
}

/* Whether anything was. */
static bool spoil(struct feed *feed, struct image *image)
{
    bool spoilt = false;

    for (unsigned left = feed_byte(feed) % 4; left > 0 && image->len > 0; left--) {
        size_t at = (size_t)(feed_number(feed) % image->len);

        image->bytes[at] ^= feed_byte(feed);
        spoilt = true;
    }
    if (feed_byte(feed) % 8 == 0 && image->len > 0) {
        image->len = (size_t)(feed_number(feed) % image->len);
        spoilt = true;
    }
    return spoilt;
}

static void make_segment(struct feed *feed, struct image *image, size_t file,
                         struct made *made, char name[SEGMENT_NAME])
{
    unsigned char shape = feed_byte(feed);
    struct format_header header = any_header(feed, shape, file, &made->tail);
    unsigned records = feed_byte(feed) % RECORDS_MAX;

    made->header = header;
    made->tail = (struct format_tail){.number = header.number,
                                      .id = header.id,
                                      .length = FORMAT_HEADER,
                                      .acknowledged = FORMAT_HEADER,
                                      .last = header.before.last,
                                      .recent = header.before.recent};
    made->entries.len = made->count = 0;
    (void)image_room(image, FORMAT_HEADER);
    for (unsigned i = 0; i < records; i++)
        add_record(feed, image, made, i);
    if (shape & 128)
        header.end = made->tail;
    format_header_write(image->bytes, &header);
    segment_name(&header, name);
    made->spoilt = spoil(feed, image) || made->spoilt;
}

/* An entry that nothing was made for. */
static void any_entry(struct feed *feed, unsigned char shape, struct image *image,
                      const struct format_frame *frame)
{
    unsigned char *entry = image_room(image, format_entry_size(1));

    if (entry == NULL)
        return;
    format_entry_write(entry, frame, feed_number(feed), "a");
    if (shape & 16)
        entry[40] = feed_byte(feed); /* the length of the id */
}

/* What shape says of an index file that is not as usual. */
static void shape_listing(struct feed *feed, unsigned char shape,
                          struct format_listing *listing)
{
    if (shape & 8) {
        listing->number = feed_number(feed);
        listing->low = feed_number(feed);
        listing->generation = (uint32_t)feed_number(feed);
        listing->count += feed_number(feed);
    }
    if (shape & 32) {
        listing->boot[0] = feed_number(feed);
        listing->boot[1] = feed_number(feed);
    }
}

/* An index file: of the segment that make_segment() makes at the place before, or, with
 * its own entries, of the one that was made last. */
static void make_listing(struct feed *feed, struct image *image, size_t file,
                         struct made *made, char name[SEGMENT_NAME])
{
    struct format_listing listing = {
        .number = file, .low = file, .id = 76 + file, .end = any_tail(feed)};
    struct format_frame frame = {.number = feed_number(feed),
                                 .type = feed_byte(feed) % 5,
                                 .stream_len = 1,
                                 .meta = {.seq = 1, .schema = 1},
                                 .blob_len = feed_number(feed)};
    unsigned char shape = feed_byte(feed);

    (void)image_room(image, FORMAT_LISTING);
    if (shape & 4) {
        listing = (struct format_listing){.number = made->header.number,
                                          .low = made->header.low,
                                          .id = made->header.id,
                                          .generation = made->header.generation,
                                          .end = made->tail,
                                          .count = made->count};
        memcpy(image_room(image, made->entries.len), made->entries.bytes,
               made->entries.len);
    }
    for (unsigned left = shape % 4; left > 0; left--) {
        any_entry(feed, shape, image, &frame);
        listing.count++;
    }
    shape_listing(feed, shape, &listing);
    listing.bytes = image->len - FORMAT_LISTING;
    listing.checksum = format_hash(image->bytes + FORMAT_LISTING, (size_t)listing.bytes);
    format_listing_write(image->bytes, &listing);
    segment_index_name(shape & 64 ? feed_number(feed) : listing.id, name);
    (void)spoil(feed, image);
}

static void make_bytes(struct feed *feed, struct image *image, size_t file,
                       char name[SEGMENT_NAME])
{
    const struct format_header header = {.number = file + 1, .low = file + 1};
    size_t len;
    const unsigned char *bytes = feed_bytes(feed, FILE_MAX, &len);

    if (len > 0)
        memcpy(image_room(image, len), bytes, len);
    segment_name(&header, name);
}

static void write_file(int dir, const char *name, const struct image *image)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    MUST(fd >= 0);
    MUST(write(fd, image->bytes, image->len) == (ssize_t)image->len);
    (void)close(fd);
}

/* False: the file is lost, and others may still tell of it. */
static bool make_file(struct feed *feed, struct image *image, size_t file,
                      struct made *made, char name[SEGMENT_NAME])
{
    unsigned char kind = feed_byte(feed);

    image->len = 0;
    switch (kind % 4) {
    case 0:
        make_bytes(feed, image, file, name);
        break;
    case 1:
        make_listing(feed, image, file, made, name);
        break;
    default:
        make_segment(feed, image, file, made, name);
    }
    return (kind & 4) == 0;
}

/* Returns whether bytes of a record may not be those that its sum is of. */
static bool make_files(struct feed *feed, int dir, unsigned files)
{
    struct image image = {.bytes = malloc(FILE_MAX)};
    struct made made = {.tail = {.last = (1ull << FORMAT_OPENING_SHIFT) - 1},
                        .entries = {.bytes = malloc(FILE_MAX)}};
    char name[SEGMENT_NAME];

    MUST(image.bytes && made.entries.bytes);
    for (size_t i = 0; i < files; i++) {
        if (make_file(feed, &image, i, &made, name))
            write_file(dir, name, &image);
    }
    free(made.entries.bytes);
    free(image.bytes);
    return made.spoilt;
}

/* ---- looking at the store
 * --------------------------------------------------------------- */

enum {
    LOAD_NOTHING = 0,
    LOAD_FAILED = 2
};

/* What a load gives; as a hash, which is odd, or one of those above. */
struct given {
    struct mako_sink sink; /* first, so that the callbacks find the rest */
    unsigned char *bytes;
    size_t len;
};

static void *take(struct mako_sink *sink, const struct mako_meta *meta, size_t len)
{
    struct given *given = (struct given *)(void *)sink;

    MUST(meta && len <= 1 << 20);
    free(given->bytes);
    given->bytes = aligned_alloc(16, (len + 16) & ~(size_t)15);
    given->len = len;
    return given->bytes;
}

/* Copied, so that a sanitizer sees what is not there. */
static int borrow(struct mako_sink *sink, const struct mako_meta *meta, const void *blob,
                  size_t len, void (*release)(void *cookie), void *cookie)
{
    void *room = take(sink, meta, len);

    MUST(room);
    if (len > 0)
        memcpy(room, blob, len);
    release(cookie);
    return 0;
}

static uint64_t load(void *store, const char *stream)
{
    const struct mako_store_plugin *plugin = mako_store_plugin_entry();
    struct given given = {
        .sink = {.struct_size = sizeof given.sink, .accept = take, .lend = borrow}};
    struct mako_error err = {""};
    int status =
        plugin->load(store, (struct mako_str){stream, strlen(stream)}, &given.sink, &err);
    uint64_t hash = LOAD_NOTHING;

    MUST(status == MAKO_OK || status == MAKO_NOT_FOUND || status == MAKO_DAMAGED ||
         status == MAKO_REFUSED || status < 0);
    if (status == MAKO_OK)
        hash = format_hash(given.bytes, given.len) | 1;
    else if (status != MAKO_NOT_FOUND)
        hash = LOAD_FAILED;
    free(given.bytes);
    return hash;
}

struct walk {
    struct mako_visitor visitor;
    size_t streams;
};

static int count_entry(struct mako_visitor *visitor, struct mako_str stream,
                       const struct mako_meta *meta, uint64_t blob_len)
{
    struct walk *walk = (struct walk *)(void *)visitor;

    (void)meta, (void)blob_len;
    MUST(stream.len > 0 && stream.len <= 1024 && stream.ptr[stream.len] == '\0');
    return ++walk->streams > STREAMS_MAX;
}

static void scan(void *store)
{
    struct walk walk = {
        .visitor = {.struct_size = sizeof walk.visitor, .entry = count_entry}};
    struct mako_error err = {""};
    int status = mako_store_plugin_entry()->scan(store, (struct mako_str){"", 0},
                                                 &walk.visitor, &err);

    must_say(status, &err);
}

static int open_store(const char *dir, unsigned use, uint32_t flags, void **store)
{
    const union mako_value values[] = {{.str = dir},
                                       {.num = 65536},
                                       {.num = 0},
                                       {.num = use & USE_THREAD ? 10 : 100},
                                       {.num = 0},
                                       {.num = 0},
                                       {.num = (use & USE_MAP) != 0}};
    const struct mako_store_plugin *plugin = mako_store_plugin_entry();
    struct mako_traits traits = {.struct_size = sizeof traits,
                                 .flags = flags,
                                 .durability = use & USE_POWER ? MAKO_DURABLE_POWER
                                                               : MAKO_DURABLE_CRASH,
                                 .threads = plugin->threads,
                                 .features = plugin->features};
    struct mako_error err = {""};
    int status = plugin->open(&host, values, &traits, store, &err);

    must_say(status, &err);
    return status;
}

static void load_all(void *store, uint64_t found[8])
{
    for (size_t i = 0; i < 8; i++)
        found[i] = load(store, (const char[]){(char)('a' + i), '\0'});
}

static void save_one(void *store)
{
    const struct mako_record record = {.stream = {"new", 3},
                                       .meta = {.seq = 1, .schema = 1},
                                       .blob = "bytes",
                                       .blob_len = 5};
    struct mako_error err = {""};
    int status = mako_store_plugin_entry()->save(store, &record, &err);

    MUST(status == MAKO_OK);
    MUST(load(store, "new") == (format_hash("bytes", 5) | 1));
}

/* The last of the streams is removed, two others are saved at once. */
static void change(void *store, uint64_t found[8])
{
    const struct mako_store_plugin *plugin = mako_store_plugin_entry();
    const struct mako_record records[2] = {{.stream = {"a", 1},
                                            .meta = {.seq = UINT64_MAX, .schema = 1},
                                            .blob = "batch",
                                            .blob_len = 5},
                                           {.stream = {"b", 1},
                                            .meta = {.seq = UINT64_MAX, .schema = 1},
                                            .blob = "",
                                            .blob_len = 0}};
    struct mako_error err = {""};
    int statuses[2] = {1, 1},
        status = plugin->remove(store, (struct mako_str){"h", 1}, &err);

    MUST(status == MAKO_OK || (status == MAKO_NOT_FOUND && found[7] == LOAD_NOTHING));
    MUST(plugin->save_many(store, records, 2, statuses, &err) == MAKO_OK);
    MUST(statuses[0] == MAKO_OK && statuses[1] == MAKO_OK);
    found[0] = format_hash("batch", 5) | 1;
    found[1] = format_hash("", 0) | 1;
    found[7] = LOAD_NOTHING;
}

static int no_step(struct mako_progress *progress, uint64_t done, uint64_t total)
{
    (void)progress;
    MUST(done <= total);
    return 0;
}

/* Compaction may fail on what it finds; what loads give stays the same. */
static void compact(void *store)
{
    struct mako_progress progress = {.struct_size = sizeof progress, .step = no_step};
    struct mako_error err = {""};
    int status = mako_store_plugin_entry()->compact(store, &progress, &err);

    must_say(status, &err);
}

/* Loads leave it to the host to look at the bytes of what an index file tells of, and
 * compaction looks at them itself: what is spoilt may turn out so. */
static void must_be(const uint64_t found[8], const uint64_t wanted[8], bool spoilt)
{
    for (size_t i = 0; i < 8; i++)
        MUST(found[i] == wanted[i] ||
             (spoilt && wanted[i] != LOAD_NOTHING && found[i] == LOAD_FAILED));
}

static void must_load_all(void *store, const uint64_t wanted[8], bool spoilt)
{
    uint64_t found[8];

    load_all(store, found);
    must_be(found, wanted, spoilt);
}

/* One that reads; false: it does not open. */
static bool read_store(const char *dir, unsigned use, uint64_t found[8])
{
    void *store;

    if (open_store(dir, use, MAKO_OPEN_READ_ONLY, &store) != MAKO_OK)
        return false;
    scan(store);
    load_all(store, found);
    mako_store_plugin_entry()->close(store);
    return true;
}

static void use_store(const char *dir, unsigned use, bool spoilt)
{
    uint64_t read[8], found[8];
    bool is_read = use & USE_READER && read_store(dir, use, read);
    void *store;
    int status;

    if (open_store(dir, use, 0, &store) != MAKO_OK)
        return;
    scan(store);
    load_all(store, found);
    if (is_read)
        must_be(found, read, spoilt);
    save_one(store);
    if (use & USE_CHANGES)
        change(store, found);
    compact(store);
    must_load_all(store, found, spoilt);
    mako_store_plugin_entry()->close(store);
    status = open_store(dir, use, 0, &store);
    MUST(status == MAKO_OK || status == MAKO_E_LIMIT); /* a name may have the last one */
    if (status != MAKO_OK)
        return;
    must_load_all(store, found, spoilt);
    MUST(load(store, "new") == (format_hash("bytes", 5) | 1));
    mako_store_plugin_entry()->close(store);
}

/* ---- a directory of its own
 * --------------------------------------------------------------- */

static void empty(int dir)
{
    DIR *listing = fdopendir(dup(dir));
    const struct dirent *entry;

    MUST(listing);
    rewinddir(listing);
    while ((entry = readdir(listing)) != NULL)
        if (entry->d_name[0] != '.' || strlen(entry->d_name) > 2)
            (void)unlinkat(dir, entry->d_name, 0);
    (void)closedir(listing);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *tmp = getenv("TMPDIR");
    struct feed feed = {data, size};
    unsigned char first = feed_byte(&feed);
    char path[256];
    bool spoilt;
    int dir;

    (void)snprintf(path, sizeof path, "%s/mako-fuzz.XXXXXX", tmp ? tmp : "/tmp");
    MUST(mkdtemp(path));
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    MUST(dir >= 0);
    spoilt = make_files(&feed, dir, first % FILES_MAX);
    use_store(path, first / FILES_MAX, spoilt);
    empty(dir);
    (void)close(dir);
    (void)rmdir(path);
    return 0;
}
