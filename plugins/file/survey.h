/* plugins/file/survey.h - which files of a directory make up the log.
 *
 * From names and headers alone: each segment names the one before it, and copies stand
 * for runs of segments.  Recovery reads what is in them. */
#ifndef MAKO_FILE_SURVEY_H
#define MAKO_FILE_SURVEY_H

#include "listing.h"
#include "recovery.h"

/* A file with a segment's name. */
struct found {
    struct format_header name; /* low, number and generation, as its name has them */
    struct format_header header;
    uint64_t size;
    bool good;                /* header is */
    bool blank;               /* nothing stands where the header should */
    bool counts;              /* it is a part of the log */
    bool covered;             /* a copy that counts stands for it */
    bool last;                /* no other counts after it */
    uint64_t limit;           /* records end here at the latest */
    struct format_tail bound; /* what is known of its end; else zero */
    struct listing listing;   /* of one that is lost: what its index file says of it */
    bool lost;
};

struct survey {
    const struct recovery_setup *setup;
    struct mako_error *err;
    struct found *files;
    size_t count, room;
    uint64_t *listings; /* ids of the index files */
    size_t listing_count, listing_room;
    uint64_t missing; /* of those who only read: stands for all gaps of the chain */
    bool changed;     /* likewise: a file came or went meanwhile */
};

/* Fills files and listings. */
int take_survey(struct survey *survey);
void survey_done(struct survey *survey);

/* Of those who only read: whether the directory may have changed meanwhile. */
bool survey_in_vain(const struct survey *survey);
/* Likewise: put down what this look found; vanished: a file was not there any more when
 * it was to be read. */
void survey_looked(const struct survey *survey, bool vanished);

/* What only takes space: files that copies stand for, index files of no segment, what a
 * compaction left unfinished. */
void survey_sweep(const struct survey *survey);

/* The numbers that come next, from what every file says: see docs/file-format.md on why
 * that is enough. */
int survey_start(const struct survey *survey, struct log_start *start);

__attribute__((format(printf, 4, 5))) void survey_say(const struct recovery_setup *setup,
                                                      int level, const char *name,
                                                      const char *format, ...);
int survey_failed(const struct recovery_setup *setup, const char *name, int error,
                  struct mako_error *err);

#endif
