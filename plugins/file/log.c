/* plugins/file/log.c - group commit, segments coming and going, and what follows a
 * failed write.
 *
 * Whoever leads owns all of struct log but the queue: the active segment, the numbers,
 * the batch.  The order within a batch is the order of log numbers and of publishing.
 *
 * A failed write or flush fails every operation that was not flushed, and seals the
 * segment where its last acknowledged record ends.  The next segment's header says so,
 * and is flushed before anything in it is acknowledged. */
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io.h"

#define BUCKETS     4096u
#define IOVECS      768u      /* three a record, in one write */
#define STAGING     0x40000u  /* heads of records in one write */
#define EXTEND      0x100000u /* by which a segment's file grows */
#define SMALLEST    0x100000u /* no segment is full before */
#define LIVE_PART   4         /* nor before it has this part of what is live */

#define GATHER_PART 4 /* of the time of a flush, for others to join the next */

#define SPINS       2000u /* looks of one who waits for a write without a flush */
#define YIELDS      10u   /* and more, before it sleeps */

enum call_state {
    CALL_WAITS,
    CALL_SLEEPS, /* until wake */
    CALL_LEADS,
    CALL_DONE
};

/* What one caller waits for. */
struct call {
    struct log_op *first, *last;
    struct call *next;
    sem_t wake;
    _Atomic int state; /* enum call_state */
};

struct log {
    struct log_setup setup;

    pthread_mutex_t lock; /* of the queue */
    struct call *queue, **queue_end;
    size_t queued; /* calls in it */
    bool leading;

    /* The leader's: */
    struct segment *active;
    int fd;               /* of the active segment */
    bool entered;         /* its directory entry is flushed */
    uint64_t end, extent; /* written so far; the file's size */
    uint64_t limit;       /* it is full at */
    uint64_t next_segment, next_number;
    struct format_recent recent;     /* of what was staged */
    struct format_tail tail;         /* of what was acknowledged */
    struct log_op *buckets[BUCKETS]; /* writes of this batch, by hash */
    struct iovec iov[IOVECS];
    size_t iov_count, staged;
    uint64_t iov_from; /* where in the segment iov goes */
    unsigned char *staging;
    size_t last_calls; /* calls in the last batch, and how long it took */
    int64_t last_ns;
    _Atomic bool unfenced; /* failed data may stand behind the tail */
    _Atomic uint64_t flushes, records;
    _Atomic uint64_t last; /* log number of the last acknowledged record */
};

struct log *log_new(const struct log_setup *setup)
{
    struct log *log = calloc(1, sizeof *log);

    if (log == NULL)
        return NULL;
    log->staging = malloc(STAGING);
    if (log->staging == NULL) {
        free(log);
        return NULL;
    }
    log->setup = *setup;
    log->fd = -1;
    log->queue_end = &log->queue;
    log->next_segment = setup->start.segment;
    log->next_number = setup->start.opening << FORMAT_OPENING_SHIFT;
    log->tail = setup->start.before;
    log->recent = log->tail.recent;
    atomic_init(&log->last, log->tail.last);
    (void)pthread_mutex_init(&log->lock, NULL);
    return log;
}

/* ---- segments ------------------------------------------------------------------- */

static void remove_file(struct log *log, const struct format_header *header, int fd)
{
    char name[SEGMENT_NAME];

    segment_name(header, name);
    io_close(fd);
    (void)io_unlink(log->setup.segments->dir, name);
}

/* Stop writing to the active segment, and cut off what was not acknowledged. */
static void seal(struct log *log)
{
    uint64_t length;

    if (log->active == NULL)
        return;
    length = atomic_load(&log->active->length);
    if (log->extent > length || log->end > length)
        (void)io_truncate(log->fd, length);
    io_close(log->fd);
    log->fd = -1;
    atomic_store(&log->active->sealed, true);
    log->active = NULL;
    log->setup.notify(log->setup.notify_arg);
}

/* Take back a segment in which nothing was acknowledged.  Should its file come back
 * after a power cut: the next segment names the one before it, and so voids it. */
static void discard(struct log *log)
{
    remove_file(log, &log->active->header, log->fd);
    segments_drop(log->setup.segments, log->active);
    log->fd = -1;
    log->active = NULL;
}

void log_free(struct log *log)
{
    if (log == NULL)
        return;
    seal(log);
    (void)pthread_mutex_destroy(&log->lock);
    free(log->staging);
    free(log);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int write_header(int fd, const struct format_header *header)
{
    unsigned char block[FORMAT_HEADER];
    struct iovec iov = {.iov_base = block, .iov_len = sizeof block};

    format_header_write(block, header);
    return io_write(fd, &iov, 1, 0);
}

/* Make the file of a new segment; its number is used up whatever happens. */
static int make_file(struct log *log, struct format_header *header, int *fd)
{
    char name[SEGMENT_NAME];
    int error = io_random(&header->id, sizeof header->id);

    if (error != 0)
        return error;
    segment_name(header, name);
    error = io_open(log->setup.segments->dir, name, O_RDWR | O_CREAT | O_EXCL, fd);
    if (error == EMFILE || error == ENFILE) {
        segments_spare_fd(log->setup.segments);
        error = io_open(log->setup.segments->dir, name, O_RDWR | O_CREAT | O_EXCL, fd);
    }
    if (error != 0)
        return error;
    error = write_header(*fd, header);
    if (error != 0)
        remove_file(log, header, *fd);
    return error;
}

/* Where the next segment is full.  While little is live small ones will do: what is dead
 * in the active one cannot be given back. */
static uint64_t next_limit(struct log *log)
{
    uint64_t limit = segments_sum(log->setup.segments).live / LIVE_PART;

    if (limit < SMALLEST)
        limit = SMALLEST;
    return limit < log->setup.segment_size ? limit : log->setup.segment_size;
}

/* The next segment becomes the active one. */
static int start_segment(struct log *log)
{
    struct format_header header = {.number = log->next_segment,
                                   .low = log->next_segment++,
                                   .kind = FORMAT_KIND_LOG,
                                   .durability = log->setup.flush ? MAKO_DURABLE_POWER
                                                                  : MAKO_DURABLE_CRASH,
                                   .first = log->next_number,
                                   .created_ms = now_ms(),
                                   .before = log->tail};
    int fd, error = make_file(log, &header, &fd);

    if (error != 0)
        return error;
    log->active = segments_add(log->setup.segments, &header, FORMAT_HEADER);
    if (log->active == NULL) {
        remove_file(log, &header, fd);
        return ENOMEM;
    }
    log->fd = fd;
    log->entered = false;
    log->end = log->extent = FORMAT_HEADER;
    log->limit = next_limit(log);
    return 0;
}

/* Whether a record of size goes into the active segment.  A larger one than a segment
 * has one of its own.  An opening's numbers never run into the next opening's. */
static bool fits(const struct log *log, uint64_t size)
{
    return log->active != NULL &&
           (log->end == FORMAT_HEADER || log->end + size <= log->limit) &&
           log->next_number >> FORMAT_OPENING_SHIFT ==
               log->active->header.first >> FORMAT_OPENING_SHIFT;
}

/* ---- writing -------------------------------------------------------------------- */

/* Let the file grow in steps: a flush after an append within its size is cheaper than
 * one that has to record a new size as well. */
static void extend(struct log *log)
{
    uint64_t limit = log->limit, extent;

    if (log->end <= log->extent || !log->setup.flush)
        return;
    extent = log->end + EXTEND < limit ? log->end + EXTEND : limit;
    if (extent > log->end && io_truncate(log->fd, extent) == 0)
        log->extent = extent;
}

/* Write what was gathered. */
static int write_out(struct log *log)
{
    size_t count = log->iov_count;

    if (count == 0)
        return 0;
    log->iov_count = log->staged = 0;
    extend(log);
    return io_write(log->fd, log->iov, count, log->iov_from);
}

static void gather(struct log *log, const void *bytes, size_t len)
{
    union {
        const void *in;
        void *out;
    } address = {.in = bytes}; /* struct iovec serves readers too */

    if (len != 0)
        log->iov[log->iov_count++] =
            (struct iovec){.iov_base = address.out, .iov_len = len};
}

/* Number op, give it its place at the end, and add its bytes to what will be written. */
static void stage(struct log *log, struct log_op *op)
{
    static const unsigned char zeros[FORMAT_ALIGN];
    unsigned char *head = log->staging + log->staged;
    size_t head_size = (size_t)format_head_size(op->stream.len);
    struct format_frame frame = {.number = log->next_number++,
                                 .type = op->type,
                                 .stream_len = (uint16_t)op->stream.len,
                                 .meta = op->meta,
                                 .acknowledged = atomic_load(&log->active->length),
                                 .blob_len = op->blob_len,
                                 .blob_xxh = op->blob_xxh,
                                 .before = log->recent};

    if (log->iov_count == 0)
        log->iov_from = log->end;
    format_frame_write(head, log->active->header.id, log->end, &frame, op->stream.ptr);
    gather(log, head, head_size);
    gather(log, op->blob, op->blob_len);
    gather(log, zeros, (size_t)(format_pad(op->blob_len) - op->blob_len));
    op->place = place_of(log->active, &frame, log->end);
    log->recent.streams[1] = log->recent.streams[0];
    log->recent.streams[0] = op->hash;
    log->staged += head_size;
    log->end += format_record_size(op->stream.len, op->blob_len);
}

/* Whether another record can be staged beside those gathered. */
static bool can_stage(const struct log *log)
{
    return log->iov_count + 3 <= IOVECS &&
           log->staged + FORMAT_FRAME + FORMAT_STREAM <= STAGING;
}

/* The medium has everything that was written. */
static int flush(struct log *log)
{
    int error;

    if (!log->setup.flush)
        return 0;
    error = io_flush(log->fd);
    (void)atomic_fetch_add(&log->flushes, 1);
    if (error == 0 && !log->entered) {
        error = io_flush_dir(log->setup.segments->dir);
        log->entered = error == 0;
    }
    return error;
}

/* ---- a batch -------------------------------------------------------------------- */

static void publish(struct log *log, struct log_op *op)
{
    if (op->type == FORMAT_REMOVAL) {
        (void)atomic_fetch_add(&op->place.segment->tombs,
                               format_record_size(op->stream.len, 0));
        index_remove(log->setup.index, op->stream, op->hash);
    } else {
        index_publish(log->setup.index, op->reserved, op->hash, &op->place);
        op->reserved = NULL;
    }
    (void)atomic_fetch_add(&log->records, 1);
    atomic_store(&log->last, op->place.number);
}

/* What was staged is as durable as the log is: it counts, and the log ends behind it. */
static void acknowledge(struct log *log)
{
    atomic_store(&log->active->length, log->end);
    atomic_store(&log->unfenced, false);
    log->tail = (struct format_tail){.number = log->active->header.number,
                                     .id = log->active->header.id,
                                     .length = log->end,
                                     .acknowledged = log->end,
                                     .last = log->next_number - 1,
                                     .recent = log->recent};
}

/* Write and flush; then the operations up to, not including, end are acknowledged. */
static int commit(struct log *log, struct log_op **from, struct log_op *end)
{
    int error = write_out(log);

    if (error == 0 && log->active != NULL &&
        log->end > atomic_load(&log->active->length)) {
        error = flush(log);
        if (error == 0)
            acknowledge(log);
    }
    if (error != 0)
        return error;
    for (; *from != end; *from = (*from)->next)
        if ((*from)->writes)
            publish(log, *from);
    return 0;
}

/* Stage op where there is room for it; what came before it in *from may be committed. */
static int append(struct log *log, struct log_op *op, struct log_op **from)
{
    int error = 0;

    if (!fits(log, format_record_size(op->stream.len, op->blob_len))) {
        error = commit(log, from, op);
        if (error == 0) {
            seal(log);
            error = start_segment(log);
        }
    } else if (!can_stage(log)) {
        error = write_out(log);
    }
    if (error == 0)
        stage(log, op);
    return error;
}

/* What came before op is committed, and the segment done with. */
static int rotate(struct log *log, struct log_op *op, struct log_op **from)
{
    int error = commit(log, from, op);

    op->status = MAKO_OK;
    if (error == 0)
        seal(log);
    return error;
}

static struct log_op **bucket_of(struct log *log, const struct log_op *op)
{
    return &log->buckets[op->hash % BUCKETS];
}

/* The last write of this batch to op's stream. */
static struct log_op *last_write(struct log *log, const struct log_op *op)
{
    struct log_op *write = *bucket_of(log, op);

    while (write != NULL &&
           (write->hash != op->hash || write->stream.len != op->stream.len ||
            memcmp(write->stream.ptr, op->stream.ptr, op->stream.len) != 0))
        write = write->peer;
    return write;
}

/* What becomes of op where a snapshot of sequence seq is stored, or none is. */
static int judge(const struct log_op *op, bool stored, uint64_t seq)
{
    if (op->type == FORMAT_REMOVAL)
        return stored ? MAKO_OK : MAKO_NOT_FOUND;
    if (!op->if_newer || !stored || seq <= op->meta.seq)
        return MAKO_OK;
    return mako_fail(op->err, MAKO_STALE,
                     "stream '%.100s': %" PRIu64 " is kept, %" PRIu64 " came",
                     op->stream.ptr, seq, op->meta.seq);
}

/* Judge by what is acknowledged. */
static int judge_published(struct log *log, const struct log_op *op)
{
    uint64_t seq = 0, number;
    bool stored = op->reserved != NULL
                      ? index_stored(log->setup.index, op->reserved, op->hash, &seq)
                      : index_peek(log->setup.index, op->stream, op->hash, &seq, &number);

    /* A save that failed may come back until another segment fences it off. */
    if (op->type == FORMAT_REMOVAL && atomic_load(&log->unfenced))
        return MAKO_OK;
    return judge(op, stored, seq);
}

static void decide(struct log *log, struct log_op *op)
{
    op->rests = last_write(log, op);
    op->status = op->rests != NULL
                     ? judge(op, op->rests->type == FORMAT_SAVE, op->rests->meta.seq)
                     : judge_published(log, op);
    op->writes = op->status == MAKO_OK;
    if (op->writes) {
        op->peer = *bucket_of(log, op);
        *bucket_of(log, op) = op;
    }
}

/* What was not acknowledged has failed, from op on.  Those that gave way to a write
 * that has now failed stand to be decided again; returns them. */
static struct log_op *fail(struct log *log, struct log_op *op, struct log_op *undecided,
                           int error)
{
    struct log_op *again = NULL, **end = &again;
    char name[SEGMENT_NAME];
    bool decided = true;

    segment_name(log->active != NULL
                     ? &log->active->header
                     : &(struct format_header){.number = log->next_segment - 1},
                 name);
    for (; op != NULL; op = op->next) {
        decided = decided && op != undecided;
        if (decided && !op->writes) {
            if (op->rests != NULL && op->rests->status < 0) {
                *end = op;
                end = &op->next;
            }
            continue;
        }
        op->status = mako_fail(op->err, io_status(error), "%s/%s: %s",
                               log->setup.segments->path, name, strerror(error));
    }
    *end = NULL;
    return again;
}

/* After a failed write or flush nothing is known of what it should have written: leave
 * it behind, never to be flushed again. */
static void abandon(struct log *log)
{
    log->iov_count = log->staged = 0;
    log->recent = log->tail.recent;
    atomic_store(&log->unfenced, true);
    if (log->active == NULL)
        return;
    if (atomic_load(&log->active->length) == FORMAT_HEADER)
        discard(log);
    else
        seal(log);
}

/* Carry out a batch; returns the operations to be decided again. */
static struct log_op *run(struct log *log, struct log_op *first)
{
    struct log_op *from = first, *op = first, *again = NULL;
    int error = 0;

    for (; op != NULL && error == 0; op = op->next) {
        if (op->type == 0) {
            error = rotate(log, op, &from);
            continue;
        }
        decide(log, op);
        if (op->writes)
            error = append(log, op, &from);
    }
    if (error == 0)
        error = commit(log, &from, NULL);
    for (struct log_op *each = first; each != NULL; each = each->next)
        *bucket_of(log, each) = NULL;
    if (error != 0) {
        again = fail(log, from, op, error);
        abandon(log);
        if (io_status(error) == MAKO_E_NO_SPACE)
            log->setup.notify(log->setup.notify_arg);
    }
    return again;
}

static void run_all(struct log *log, struct log_op *first)
{
    while (first != NULL)
        first = run(log, first);
}

/* ---- callers -------------------------------------------------------------------- */

/* Queue call.  True: nobody leads, so the caller does. */
static bool enqueue(struct log *log, struct call *call)
{
    bool leads;

    (void)pthread_mutex_lock(&log->lock);
    *log->queue_end = call;
    log->queue_end = &call->next;
    log->queued++;
    leads = !log->leading;
    log->leading = true;
    (void)pthread_mutex_unlock(&log->lock);
    return leads;
}

/* All who wait. */
static struct call *take_queue(struct log *log)
{
    struct call *calls;

    (void)pthread_mutex_lock(&log->lock);
    calls = log->queue;
    log->queue = NULL;
    log->queue_end = &log->queue;
    log->last_calls = log->queued;
    log->queued = 0;
    (void)pthread_mutex_unlock(&log->lock);
    return calls;
}

/* It may be gone afterwards. */
static void tell(struct call *call, enum call_state state)
{
    if (atomic_exchange(&call->state, state) == CALL_SLEEPS)
        (void)sem_post(&call->wake);
}

/* Hand the lead to one who came meanwhile, before the others are woken: the medium
 * should not wait for them. */
static void hand_over(struct log *log)
{
    struct call *next;

    (void)pthread_mutex_lock(&log->lock);
    next = log->queue;
    log->leading = next != NULL;
    (void)pthread_mutex_unlock(&log->lock);
    if (next != NULL)
        tell(next, CALL_LEADS);
}

static int64_t now_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t count_queue(struct log *log)
{
    size_t queued;

    (void)pthread_mutex_lock(&log->lock);
    queued = log->queued;
    (void)pthread_mutex_unlock(&log->lock);
    return queued;
}

/* Those whom the last batch woke are about to come again: a short wait for them makes
 * batches twice as large.  Never longer than a fraction of what a flush takes; one
 * thread alone pays for a single look. */
static void gather_calls(struct log *log)
{
    int64_t deadline = now_ns() + log->last_ns / GATHER_PART;
    size_t before, queued = count_queue(log);

    do {
        before = queued;
        (void)sched_yield();
        queued = count_queue(log);
    } while ((queued > before || queued < log->last_calls) && now_ns() < deadline);
}

static void lead(struct log *log, const struct call *own)
{
    struct call *calls;
    int64_t began;

    if (log->setup.flush)
        gather_calls(log);
    calls = take_queue(log);
    for (struct call *call = calls; call->next != NULL; call = call->next)
        call->last->next = call->next->first;
    began = now_ns();
    run_all(log, calls->first);
    log->last_ns = now_ns() - began;
    hand_over(log);
    while (calls != NULL) {
        struct call *next = calls->next; /* calls may be gone once it is woken */

        if (calls != own)
            tell(calls, CALL_DONE);
        calls = next;
    }
}

/* A write takes less time than to fall asleep and be woken; a flush does not. */
static void spin(const struct log *log, const struct call *call)
{
    unsigned looks = 0;

    while (!log->setup.flush && looks < SPINS + YIELDS &&
           atomic_load(&call->state) == CALL_WAITS) {
        if (++looks > SPINS)
            (void)sched_yield();
        else
            atomic_thread_fence(memory_order_seq_cst); /* a pause on every processor */
    }
}

/* Wait for the end of what others do.  True: the caller is to lead. */
static bool wait_told(const struct log *log, struct call *call)
{
    int waits = CALL_WAITS;

    spin(log, call);
    if (atomic_compare_exchange_strong(&call->state, &waits, CALL_SLEEPS))
        while (sem_wait(&call->wake) != 0)
            ;
    return atomic_load(&call->state) == CALL_LEADS;
}

/* Share a write, and its flush, with whoever else is here. */
static void run_grouped(struct log *log, struct log_op *first, struct log_op *last)
{
    struct call call = {.first = first, .last = last};

    (void)sem_init(&call.wake, 0, 0);
    if (enqueue(log, &call) || wait_told(log, &call))
        lead(log, &call);
    (void)sem_destroy(&call.wake);
}

/* What can be done beforehand, in parallel.  False: op is settled already. */
static bool prepare(struct log *log, struct log_op *op, bool alone)
{
    op->next = NULL;
    op->writes = false;
    op->status = MAKO_OK;
    if (op->type == 0)
        return true;
    if (op->type != FORMAT_REMOVAL) {
        op->reserved = index_reserve(log->setup.index, op->stream, op->hash);
        if (op->reserved == NULL)
            op->status =
                mako_fail(op->err, MAKO_E_NOMEM,
                          "stream '%.100s': no memory for the index", op->stream.ptr);
    }
    if (op->status == MAKO_OK && alone)
        op->status = judge_published(log, op);
    if (op->status == MAKO_OK)
        op->blob_xxh = format_hash(op->blob, op->blob_len);
    return op->status == MAKO_OK;
}

void log_apply(struct log *log, struct log_op *ops, size_t count)
{
    struct log_op *first = NULL, **end = &first, *last = NULL;

    for (size_t i = 0; i < count; i++) {
        if (!prepare(log, &ops[i], count == 1))
            continue;
        *end = last = &ops[i];
        end = &ops[i].next;
    }
    if (first != NULL)
        run_grouped(log, first, last);
    for (size_t i = 0; i < count; i++)
        index_unreserve(log->setup.index, ops[i].reserved, ops[i].hash);
}

void log_rotate(struct log *log)
{
    struct mako_error err;
    struct log_op op = {.err = &err};

    log_apply(log, &op, 1);
}

uint64_t log_last(struct log *log)
{
    return atomic_load(&log->last);
}

void log_count(struct log *log, uint64_t *flushes, uint64_t *records)
{
    *flushes = atomic_load(&log->flushes);
    *records = atomic_load(&log->records);
}
