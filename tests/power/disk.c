/* tests/power/disk.c - see disk.h.
 *
 * Changes are kept in the order of the trace.  A state takes those that its seed chooses,
 * in that order, upon what was flushed: of a write any sectors, and whether it made the
 * file longer; of sizes, names and unlinks each as a whole. */
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "content.h"

#define SECTOR 512u

/* A change of a file's bytes or size. */
struct change {
    size_t at;              /* event */
    bool is_size, doubtful; /* doubtful: its flush failed, another one says nothing */
    uint64_t offset, len;
    const unsigned char *bytes; /* of the trace */
};

struct buffer {
    unsigned char *data;
    size_t room;
    uint64_t size;
    uint64_t used; /* bytes behind it are zero; at least size */
};

struct file {
    struct buffer kept; /* flushed */
    struct change *changes;
    size_t count, room;
};

struct entry {
    char name[NAME_ROOM];
    uint32_t file;
};

struct entries {
    struct entry *all;
    size_t count, room;
};

/* A change of the store's directory. */
struct move {
    size_t at;
    uint8_t kind; /* EVENT_CREATE, EVENT_UNLINK or EVENT_RENAME */
    uint32_t file;
    char name[NAME_ROOM], to[NAME_ROOM];
};

/* How a state is chosen. */
struct choice {
    enum {
        LOSE,
        KEEP,
        IN_ORDER,
        ANY
    } mode;
    uint64_t random;
    size_t until; /* IN_ORDER: changes before this event are kept */
    unsigned writes, sectors, sizes, moves; /* ANY: percentages */
    char text[120];
};

struct disk {
    enum flush_kind without;
    size_t next; /* event */
    struct file *files;
    uint32_t file_count;
    struct entries entries; /* flushed */
    struct move *moves;
    size_t move_count, move_room;
    bool made, made_kept; /* the store's directory; its entry is flushed */
    size_t made_at;
    struct choice choice;
    /* The state that was chosen: */
    bool there;
    struct entries shown;
    struct buffer *contents; /* of shown, in order */
    size_t contents_room;
};

static void *grow(void *all, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return all;
    *room = *room == 0 ? 16 : *room * 2;
    all = realloc(all, *room * size);
    if (all == NULL)
        abort();
    return all;
}

struct disk *disk_new(enum flush_kind without)
{
    struct disk *disk = calloc(1, sizeof *disk);

    if (disk != NULL)
        disk->without = without;
    return disk;
}

void disk_free(struct disk *disk)
{
    if (disk == NULL)
        return;
    for (uint32_t i = 0; i < disk->file_count; i++) {
        free(disk->files[i].kept.data);
        free(disk->files[i].changes);
    }
    for (size_t i = 0; i < disk->contents_room; i++)
        free(disk->contents[i].data);
    free(disk->contents);
    free(disk->files);
    free(disk->entries.all);
    free(disk->shown.all);
    free(disk->moves);
    free(disk);
}

static struct file *file_of(struct disk *disk, uint32_t number)
{
    if (number >= disk->file_count) {
        uint32_t count = number + 16;

        disk->files = realloc(disk->files, count * sizeof *disk->files);
        if (disk->files == NULL)
            abort();
        memset(disk->files + disk->file_count, 0,
               (count - disk->file_count) * sizeof *disk->files);
        disk->file_count = count;
    }
    return &disk->files[number];
}

/* ---- bytes ------------------------------------------------------------------------ */

static void make_room(struct buffer *buffer, uint64_t end)
{
    size_t room = buffer->room == 0 ? 65536 : buffer->room;

    while (room < end)
        room *= 2;
    if (room == buffer->room)
        return;
    buffer->data = realloc(buffer->data, room);
    if (buffer->data == NULL)
        abort();
    memset(buffer->data + buffer->room, 0, room - buffer->room);
    buffer->room = room;
}

static void set_size(struct buffer *buffer, uint64_t size)
{
    make_room(buffer, size);
    if (buffer->used > size)
        memset(buffer->data + size, 0, buffer->used - size);
    buffer->size = buffer->used = size;
}

/* Bytes behind the size stay, for a size that comes later. */
static void put_bytes(struct buffer *buffer, uint64_t offset, const unsigned char *bytes,
                      uint64_t len, bool longer)
{
    if (len == 0)
        return;
    make_room(buffer, offset + len);
    memcpy(buffer->data + offset, bytes, len);
    if (offset + len > buffer->used)
        buffer->used = offset + len;
    if (longer && offset + len > buffer->size)
        buffer->size = offset + len;
}

static void apply(struct buffer *buffer, const struct change *change)
{
    if (change->is_size)
        set_size(buffer, change->len);
    else
        put_bytes(buffer, change->offset, change->bytes, change->len, true);
}

/* Without what is behind the size. */
static void copy_bytes(struct buffer *to, const struct buffer *from)
{
    set_size(to, from->size);
    if (from->size != 0)
        memcpy(to->data, from->data, from->size);
}

/* ---- names ------------------------------------------------------------------------ */

static size_t find_entry(const struct entries *entries, const char *name)
{
    size_t i = 0;

    while (i < entries->count && strcmp(entries->all[i].name, name) != 0)
        i++;
    return i;
}

static void set_entry(struct entries *entries, const char *name, uint32_t file)
{
    size_t i = find_entry(entries, name);

    if (i == entries->count) {
        entries->all =
            grow(entries->all, entries->count, &entries->room, sizeof *entries->all);
        (void)snprintf(entries->all[entries->count++].name, NAME_ROOM, "%s", name);
    }
    entries->all[i].file = file;
}

/* Only if it is still file. */
static void drop_entry(struct entries *entries, const char *name, uint32_t file)
{
    size_t i = find_entry(entries, name);

    if (i < entries->count && entries->all[i].file == file)
        entries->all[i] = entries->all[--entries->count];
}

static void move_entry(struct entries *entries, const struct move *move)
{
    if (move->kind == EVENT_CREATE)
        set_entry(entries, move->name, move->file);
    if (move->kind == EVENT_UNLINK || move->kind == EVENT_RENAME)
        drop_entry(entries, move->name, move->file);
    if (move->kind == EVENT_RENAME)
        set_entry(entries, move->to, move->file);
}

static void copy_entries(struct entries *to, const struct entries *from)
{
    to->count = 0;
    for (size_t i = 0; i < from->count; i++) {
        to->all = grow(to->all, to->count, &to->room, sizeof *to->all);
        to->all[to->count++] = from->all[i];
    }
}

/* ---- events ----------------------------------------------------------------------- */

static void add_change(struct disk *disk, const struct trace *trace, size_t at)
{
    const struct event *event = &trace->events[at];
    struct file *file = file_of(disk, event->file);

    file->changes = grow(file->changes, file->count, &file->room, sizeof *file->changes);
    file->changes[file->count++] = (struct change){.at = at,
                                                   .is_size = event->kind == EVENT_SIZE,
                                                   .offset = event->offset,
                                                   .len = event->len,
                                                   .bytes = trace->bytes + event->bytes};
}

static void add_move(struct disk *disk, const struct trace *trace, size_t at)
{
    const struct event *event = &trace->events[at];
    struct move *move;

    disk->moves =
        grow(disk->moves, disk->move_count, &disk->move_room, sizeof *disk->moves);
    move = &disk->moves[disk->move_count++];
    *move = (struct move){.at = at, .kind = event->kind, .file = event->file};
    memcpy(move->name, event->name, NAME_ROOM);
    memcpy(move->to, event->to, NAME_ROOM);
}

/* A size that is flushed cuts off what failed before it. */
static void clip(struct file *file, size_t n, uint64_t size)
{
    for (size_t i = 0; i < n; i++) {
        struct change *change = &file->changes[i];

        if (change->is_size || change->offset + change->len <= size)
            continue;
        change->len = change->offset < size ? size - change->offset : 0;
    }
}

/* The changes before the event at are on the medium. */
static void flush_file(struct file *file, size_t at)
{
    size_t left = 0;

    for (size_t i = 0; i < file->count; i++) {
        struct change change = file->changes[i];

        if (change.at >= at || change.doubtful) {
            file->changes[left++] = change;
            continue;
        }
        apply(&file->kept, &change);
        if (change.is_size)
            clip(file, left, change.len);
    }
    file->count = left;
}

/* They are, or not: no later flush says more of them.  Sizes are not of that kind; a file
 * system has them in its log. */
static void fail_flush(struct file *file, size_t at)
{
    for (size_t i = 0; i < file->count; i++)
        if (file->changes[i].at < at && !file->changes[i].is_size)
            file->changes[i].doubtful = true;
}

static void flush_dir(struct disk *disk, size_t at)
{
    size_t left = 0;

    for (size_t i = 0; i < disk->move_count; i++)
        if (disk->moves[i].at >= at)
            disk->moves[left++] = disk->moves[i];
        else
            move_entry(&disk->entries, &disk->moves[i]);
    disk->move_count = left;
}

static void flushed(struct disk *disk, const struct event *event)
{
    if (disk->without != FLUSH_NONE && event->flush == disk->without)
        return;
    if (event->file == DIR_ROOT && event->status == 0)
        disk->made_kept = disk->made && disk->made_at < event->at;
    else if (event->file == DIR_STORE && event->status == 0)
        flush_dir(disk, event->at);
    else if (event->file > DIR_STORE && event->status == 0)
        flush_file(file_of(disk, event->file), event->at);
    else if (event->file > DIR_STORE)
        fail_flush(file_of(disk, event->file), event->at);
}

static void take(struct disk *disk, const struct trace *trace, size_t at)
{
    const struct event *event = &trace->events[at];
    size_t len;

    if (event->kind == EVENT_WRITE || event->kind == EVENT_SIZE) {
        add_change(disk, trace, at);
    } else if (event->kind >= EVENT_CREATE && event->kind <= EVENT_RENAME) {
        add_move(disk, trace, at);
    } else if (event->kind == EVENT_MKDIR) {
        disk->made = true;
        disk->made_at = at;
    } else if (event->kind == EVENT_FLUSHED) {
        flushed(disk, event);
    } else if (event->kind == EVENT_FORGET) {
        (void)disk_forget(disk, event->file, event->offset, &len);
    } else if (event->kind == EVENT_CUT) {
        disk_cut(disk, event->offset);
        disk_settle(disk);
    }
}

void disk_advance(struct disk *disk, const struct trace *trace, size_t to)
{
    for (; disk->next < to; disk->next++)
        take(disk, trace, disk->next);
}

const unsigned char *disk_forget(struct disk *disk, uint32_t number, uint64_t seed,
                                 size_t *len)
{
    static struct buffer now;
    struct file *file = file_of(disk, number);
    size_t left = 0;

    for (size_t i = 0; i < file->count; i++) {
        struct change change = file->changes[i];

        if (!change.doubtful)
            file->changes[left++] = change;
        else if (random_chance(&seed, 50))
            put_bytes(&file->kept, change.offset, change.bytes, change.len, true);
    }
    file->count = left;
    copy_bytes(&now, &file->kept);
    for (size_t i = 0; i < file->count; i++)
        apply(&now, &file->changes[i]);
    *len = now.size;
    return now.data;
}

/* ---- choosing --------------------------------------------------------------------- */

static size_t oldest_change(const struct disk *disk)
{
    size_t oldest = disk->next;

    for (uint32_t i = 0; i < disk->file_count; i++)
        if (disk->files[i].count != 0 && disk->files[i].changes[0].at < oldest)
            oldest = disk->files[i].changes[0].at;
    if (disk->move_count != 0 && disk->moves[0].at < oldest)
        oldest = disk->moves[0].at;
    return oldest;
}

static unsigned any_percent(uint64_t *random)
{
    static const unsigned percents[] = {0, 10, 50, 90, 100};

    return percents[random_below(random, 5)];
}

static void choose(struct disk *disk, uint64_t seed)
{
    struct choice *choice = &disk->choice;
    uint64_t kind = random_below(&seed, 10), oldest;

    *choice = (struct choice){.mode = kind == 0   ? LOSE
                                      : kind == 1 ? KEEP
                                      : kind <= 4 ? IN_ORDER
                                                  : ANY};
    oldest = oldest_change(disk);
    choice->until = oldest + random_below(&seed, disk->next - oldest + 1);
    choice->writes = any_percent(&seed);
    choice->sectors = any_percent(&seed);
    choice->sizes = any_percent(&seed);
    choice->moves = any_percent(&seed);
    choice->random = random_next(&seed);
    if (choice->mode == ANY)
        (void)snprintf(choice->text, sizeof choice->text,
                       "any of what was not flushed: %u%% of writes whole, else %u%% of "
                       "sectors, %u%% of sizes, %u%% of names",
                       choice->writes, choice->sectors, choice->sizes, choice->moves);
    else if (choice->mode == IN_ORDER)
        (void)snprintf(choice->text, sizeof choice->text,
                       "what was not flushed is kept up to event %zu, in order",
                       choice->until);
    else
        (void)snprintf(choice->text, sizeof choice->text,
                       "all that was not flushed is %s",
                       choice->mode == KEEP ? "kept" : "lost");
}

const char *disk_choice(const struct disk *disk)
{
    return disk->choice.text;
}

/* Whether a change at an event is kept as a whole, where percent of them are. */
static bool keeps(struct choice *choice, size_t at, unsigned percent)
{
    switch (choice->mode) {
    case LOSE:
        return false;
    case KEEP:
        return true;
    case IN_ORDER:
        return at < choice->until;
    case ANY:
    default:
        return random_chance(&choice->random, percent);
    }
}

/* Some sectors of a write. */
static void tear(struct choice *choice, struct buffer *buffer,
                 const struct change *change, unsigned percent)
{
    uint64_t at = change->offset, end = at + change->len, next;
    bool longer = random_chance(&choice->random, choice->sizes);

    for (; at < end; at = next) {
        next = at - at % SECTOR + SECTOR;
        if (next > end)
            next = end;
        if (random_chance(&choice->random, percent))
            put_bytes(buffer, at, change->bytes + (at - change->offset), next - at,
                      longer);
    }
}

static void choose_change(struct choice *choice, struct buffer *buffer,
                          const struct change *change)
{
    if (change->is_size) {
        if (keeps(choice, change->at, choice->sizes))
            set_size(buffer, change->len);
    } else if (change->doubtful && choice->mode == IN_ORDER) {
        tear(choice, buffer, change, 50);
    } else if (keeps(choice, change->at, choice->writes)) {
        put_bytes(buffer, change->offset, change->bytes, change->len, true);
    } else if (choice->mode == IN_ORDER && change->at == choice->until) {
        tear(choice, buffer, change, 50);
    } else if (choice->mode == ANY) {
        tear(choice, buffer, change, choice->sectors);
    }
}

static struct buffer *content_of(struct disk *disk, size_t n)
{
    while (n >= disk->contents_room) {
        size_t before = disk->contents_room;

        disk->contents =
            grow(disk->contents, before, &disk->contents_room, sizeof *disk->contents);
        memset(disk->contents + before, 0,
               (disk->contents_room - before) * sizeof *disk->contents);
    }
    return &disk->contents[n];
}

void disk_cut(struct disk *disk, uint64_t seed)
{
    choose(disk, seed);
    disk->there = disk->made_kept ||
                  (disk->made && keeps(&disk->choice, disk->made_at, disk->choice.moves));
    copy_entries(&disk->shown, &disk->entries);
    for (size_t i = 0; i < disk->move_count; i++)
        if (keeps(&disk->choice, disk->moves[i].at, disk->choice.moves))
            move_entry(&disk->shown, &disk->moves[i]);
    if (!disk->there)
        disk->shown.count = 0;
    for (size_t i = 0; i < disk->shown.count; i++) {
        const struct file *file = file_of(disk, disk->shown.all[i].file);
        struct buffer *content = content_of(disk, i);

        copy_bytes(content, &file->kept);
        for (size_t n = 0; n < file->count; n++)
            choose_change(&disk->choice, content, &file->changes[n]);
    }
}

void disk_settle(struct disk *disk)
{
    for (uint32_t i = 0; i < disk->file_count; i++)
        disk->files[i].count = 0;
    for (size_t i = 0; i < disk->shown.count; i++)
        copy_bytes(&file_of(disk, disk->shown.all[i].file)->kept, &disk->contents[i]);
    copy_entries(&disk->entries, &disk->shown);
    disk->move_count = 0;
    disk->made = disk->made_kept = disk->there;
    disk->made_at = 0;
}

/* ---- files ------------------------------------------------------------------------ */

static bool write_file(const char *path, const struct buffer *content, struct stat *st)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0 &&
                (content->size == 0 ||
                 write(fd, content->data, content->size) == (ssize_t)content->size) &&
                fstat(fd, st) == 0;

    if (fd >= 0)
        (void)close(fd);
    return good;
}

static void know(struct trace *trace, const struct stat *st, uint32_t file)
{
    if (trace->known_count == KNOWN_MAX)
        abort();
    trace->known[trace->known_count++] =
        (struct known){.dev = st->st_dev, .ino = st->st_ino, .file = file};
}

bool disk_write(struct disk *disk, const char *root, struct trace *trace)
{
    char path[512];
    struct stat st;

    if (!disk->there)
        return true;
    (void)snprintf(path, sizeof path, "%s/store", root);
    if (mkdir(path, 0700) != 0 || stat(path, &st) != 0)
        return false;
    if (trace != NULL)
        know(trace, &st, DIR_STORE);
    for (size_t i = 0; i < disk->shown.count; i++) {
        (void)snprintf(path, sizeof path, "%s/store/%s", root, disk->shown.all[i].name);
        if (!write_file(path, &disk->contents[i], &st))
            return false;
        if (trace != NULL)
            know(trace, &st, disk->shown.all[i].file);
    }
    return true;
}

bool disk_shows(struct disk *disk, bool (*is_erased)(void *arg, uint64_t version),
                void *arg, uint64_t *version)
{
    for (size_t i = 0; i < disk->shown.count; i++) {
        const struct buffer *content = &disk->contents[i];
        const unsigned char *at = content->data;

        while (at != NULL &&
               (at = content_find(at, content->size - (size_t)(at - content->data),
                                  version)) != NULL) {
            if (is_erased(arg, *version))
                return true;
            at++;
        }
    }
    return false;
}

/* ---- comparing -------------------------------------------------------------------- */

static bool same_file(const char *path, const struct buffer *content)
{
    unsigned char *bytes = malloc(content->size + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same = fd >= 0 && bytes != NULL &&
                read(fd, bytes, content->size + 1) == (ssize_t)content->size &&
                (content->size == 0 || memcmp(bytes, content->data, content->size) == 0);

    if (fd >= 0)
        (void)close(fd);
    free(bytes);
    return same;
}

static size_t count_files(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    size_t count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir != NULL)
        (void)closedir(dir);
    return count;
}

bool disk_agrees(struct disk *disk, const char *root, char *text, size_t room)
{
    char path[512];

    disk->there = disk->made;
    copy_entries(&disk->shown, &disk->entries);
    for (size_t i = 0; i < disk->move_count; i++)
        move_entry(&disk->shown, &disk->moves[i]);
    for (size_t i = 0; i < disk->shown.count; i++) {
        const struct file *file = file_of(disk, disk->shown.all[i].file);
        struct buffer *content = content_of(disk, i);

        copy_bytes(content, &file->kept);
        for (size_t n = 0; n < file->count; n++)
            apply(content, &file->changes[n]);
        (void)snprintf(path, sizeof path, "%s/store/%s", root, disk->shown.all[i].name);
        if (!same_file(path, content)) {
            (void)snprintf(text, room, "%s differs from the model", path);
            return false;
        }
    }
    (void)snprintf(path, sizeof path, "%s/store", root);
    if (count_files(path) == disk->shown.count)
        return true;
    (void)snprintf(text, room, "%s: %zu files, the model has %zu", path,
                   count_files(path), disk->shown.count);
    return false;
}
