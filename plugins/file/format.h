/* plugins/file/format.h - the bytes of a segment: its header and the frames of its
 * records.  Pure functions; docs/file-format.md has the layout and the reasons.
 *
 * Everything is little endian.  A record is a frame header, the stream's id padded with
 * zeros to 16, the blob padded likewise, so that records and blobs are 16-aligned. */
#ifndef MAKO_FILE_FORMAT_H
#define MAKO_FILE_FORMAT_H

#include <stdbool.h>

#include <mako/types.h>

#define FORMAT_VERSION  1u
#define FORMAT_HEADER   4096u /* the segment's first record begins here */
#define FORMAT_FRAME    80u
#define FORMAT_ALIGN    16u
#define FORMAT_STREAM   1024u /* longest id */
#define FORMAT_BLOB_MAX 0xfffff000u

/* Log numbers: the opening that wrote, and a count within it. */
#define FORMAT_OPENING_SHIFT 40

enum format_kind {
    FORMAT_KIND_LOG = 1, /* a piece of the log, as it was written */
    FORMAT_KIND_COPY = 2 /* what compaction kept of a run of segments */
};
enum format_type {
    FORMAT_SAVE = 1,
    FORMAT_REMOVAL = 2,
    FORMAT_DAMAGED = 3 /* a save whose bytes went bad; has none any more */
};

/* The streams of two records in a row, the later first, as hashes of their ids: each
 * frame names those before it, so that streams are known whose own frames are lost. */
struct format_recent {
    uint64_t streams[2]; /* 0: there is none */
};

/* Where the log ended before a segment was begun. */
struct format_tail {
    uint64_t number, id;   /* of the segment before; number 0: there is none */
    uint64_t length;       /* its records end here; what lies beyond never counts */
    uint64_t acknowledged; /* up to here nothing can be a write that was cut short */
    uint64_t last;         /* log number of its last record */
    struct format_recent recent; /* its last records */
};

struct format_header {
    uint64_t number; /* as in its file's name; a copy's: the last that it stands for */
    uint64_t low;    /* the first that it stands for; number, where it is no copy */
    uint64_t id;     /* random; every frame's checksum depends on it */
    uint32_t generation; /* of copies of a run, the highest counts; 0: no copy */
    uint32_t kind;       /* enum format_kind */
    uint32_t durability; /* enum mako_durability of the opening that wrote it */
    uint64_t first;      /* the least log number in it; holds the opening's number */
    int64_t created_ms;
    struct format_tail before;
    /* Of copies: */
    uint64_t clean;         /* removals up to this log number are carried out in it */
    struct format_tail end; /* length, last and recent: its own */
};

struct format_frame {
    uint64_t number; /* log number */
    uint8_t type;    /* enum format_type */
    uint16_t stream_len;
    struct mako_meta meta;
    uint64_t acknowledged; /* the segment's acknowledged length before this batch */
    uint64_t blob_len, blob_xxh;
    struct format_recent before; /* the records before this one */
};

/* ---- index files ------------------------------------------------------------------ */

#define FORMAT_LISTING 160u /* bytes before the entries */
#define FORMAT_ENTRY   48u  /* of an entry, before the stream's id */

/* What an index file says of its segment, before its entries. */
struct format_listing {
    uint64_t number, low, id; /* of the segment */
    uint32_t generation;
    uint64_t boot[2]; /* valid until the machine starts again; zero: always */
    struct format_tail end;
    uint64_t count, bytes, checksum; /* of the entries */
};

enum format_verdict {
    FORMAT_GOOD,
    FORMAT_BAD,
    FORMAT_UNKNOWN
};

void format_header_write(unsigned char block[FORMAT_HEADER],
                         const struct format_header *header);
/* GOOD fills header.  UNKNOWN: of another version, which goes to *version. */
enum format_verdict format_header_read(const unsigned char block[FORMAT_HEADER],
                                       struct format_header *header, uint32_t *version);
/* The highest log number that a record of the segment can have: numbers beyond its
 * opening's would use up those of later ones. */
uint64_t format_last_number(const struct format_header *header);

/* n rounded up to FORMAT_ALIGN. */
uint64_t format_pad(uint64_t n);
/* Bytes before the blob, and of the whole record. */
uint64_t format_head_size(uint64_t stream_len);
uint64_t format_record_size(uint64_t stream_len, uint64_t blob_len);

uint64_t format_hash(const void *bytes, size_t len);

/* Write format_head_size() bytes of a record that will stand at offset of segment id. */
void format_frame_write(unsigned char *out, uint64_t id, uint64_t offset,
                        const struct format_frame *frame, const char *stream);
/* Check and decode the head of a record of which len bytes are at hand. */
bool format_frame_read(const unsigned char *in, size_t len, uint64_t id, uint64_t offset,
                       struct format_frame *frame);
/* Whether a frame may begin with these 4 bytes. */
bool format_frame_begins(const unsigned char *in);

void format_listing_write(unsigned char block[FORMAT_LISTING],
                          const struct format_listing *listing);
bool format_listing_read(const unsigned char block[FORMAT_LISTING],
                         struct format_listing *listing);
/* An entry: what of a frame an opening needs, and where the record stands. */
size_t format_entry_size(size_t stream_len);
void format_entry_write(unsigned char *out, const struct format_frame *frame,
                        uint64_t offset, const char *stream);
/* Of len bytes at hand; *stream points into them.  False: there is no whole one. */
bool format_entry_read(const unsigned char *in, size_t len, struct format_frame *frame,
                       uint64_t *offset, const char **stream);

#endif
