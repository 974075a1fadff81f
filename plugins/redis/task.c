/* plugins/redis/task.c - attempts. */
#include "task.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "jitter.h"

/* A peer that moves fewer bytes than this in a millisecond counts as gone. */
#define BYTES_A_MS 4096
#define REDIRECTS  5

struct progress {
    struct store *store;
    struct task *task;
    int64_t deadline, pause;
    unsigned redirects;
    struct node *ask;    /* where an ASK sent us, for one attempt */
    struct node *unsafe; /* that could not make a save safe */
    bool lost_track;     /* an attempt went out and was not answered */
};

enum next {
    NEXT_FAIL,
    NEXT_NOW,
    NEXT_LATER
};

int64_t task_deadline(const struct store *store)
{
    const struct settings *settings = &store->settings;
    int64_t quick = settings->connect_timeout + settings->io_timeout;
    bool away = atomic_load_explicit(&store->away, memory_order_relaxed);

    if (away && quick < settings->op_timeout)
        return now_ms() + quick;
    return now_ms() + settings->op_timeout;
}

int64_t task_attempt(const struct store *store, size_t bytes, int64_t deadline)
{
    int64_t at = now_ms() + store->settings.io_timeout + (int64_t)(bytes / BYTES_A_MS);

    return at < deadline ? at : deadline;
}

int64_t task_attempt_at(const struct store *store, int64_t picked, size_t bytes,
                        int64_t deadline)
{
    int64_t at = task_attempt(store, bytes, deadline);
    int64_t late = picked + store->settings.io_timeout + (int64_t)(bytes / BYTES_A_MS);

    return store->settings.mode == MODE_SINGLE || at < late ? at : late;
}

bool task_is_late(const struct store *store, int64_t picked)
{
    return store->settings.mode != MODE_SINGLE &&
           now_ms() - picked > store->settings.io_timeout / 2;
}

void task_remember(struct store *store, int status)
{
    bool away = status == MAKO_E_UNAVAILABLE;

    if (atomic_load_explicit(&store->away, memory_order_relaxed) != away)
        atomic_store_explicit(&store->away, away, memory_order_relaxed);
}

void task_note(struct store *store, struct node *node, const struct trouble *trouble)
{
    switch (trouble->kind) {
    case TROUBLE_LOST:
    case TROUBLE_TIMEOUT:
    case TROUBLE_PROTOCOL:
    case TROUBLE_READONLY:
        node_drop(node, trouble);
        route_doubt(store->route);
        break;
    case TROUBLE_AWAY:
    case TROUBLE_UNSAFE:
        route_doubt(store->route);
        break;
    case TROUBLE_NONE:
    case TROUBLE_NOMEM:
    case TROUBLE_MOVED:
    case TROUBLE_ASK:
    case TROUBLE_TRYAGAIN:
    case TROUBLE_CONTENDED:
    case TROUBLE_NOSCRIPT:
    case TROUBLE_FULL:
    case TROUBLE_BROKEN:
    case TROUBLE_DENIED:
    case TROUBLE_UNKNOWN_COMMAND:
    case TROUBLE_WRONG_TYPE:
    case TROUBLE_TOO_LARGE:
    case TROUBLE_OTHER:
        break;
    }
}

/* MOVED and ASK, which may leave out the host: the one that answered. */
static enum next redirect(struct progress *p, const struct node *node,
                          struct trouble *trouble)
{
    struct store *store = p->store;
    struct trouble ignored;

    tally_add(&store->tally.redirects, 1);
    if (store->settings.mode != MODE_CLUSTER) {
        size_t len = strlen(trouble->text);

        trouble->kind = TROUBLE_OTHER;
        (void)snprintf(trouble->text + len, sizeof trouble->text - len,
                       " (a cluster: \"mode\": \"cluster\")");
        return NEXT_FAIL;
    }
    if (trouble->to.host[0] == '\0')
        memcpy(trouble->to.host, node_endpoint(node)->host, sizeof trouble->to.host);
    if (trouble->kind == TROUBLE_MOVED)
        (void)route_moved(store->route, trouble->slot, &trouble->to, &ignored);
    else
        (void)route_at(store->route, &trouble->to, &p->ask, &ignored);
    return ++p->redirects % REDIRECTS == 0 ? NEXT_LATER : NEXT_NOW;
}

/* A save that its master could not make safe is tried on another master, if the router
 * finds that there is one now; not on the same. */
static enum next after_unsafe(struct progress *p, struct node *node)
{
    if (!p->task->repeatable || p->store->settings.mode == MODE_SINGLE ||
        p->unsafe != NULL)
        return NEXT_FAIL;
    p->unsafe = node_ref(node);
    return NEXT_LATER;
}

static enum next decide(struct progress *p, struct node *node, bool sent,
                        struct trouble *trouble)
{
    task_note(p->store, node, trouble);
    p->lost_track |= sent && trouble->kind < TROUBLE_MOVED;
    switch (trouble->kind) {
    case TROUBLE_MOVED:
    case TROUBLE_ASK:
        return redirect(p, node, trouble);
    case TROUBLE_TRYAGAIN:
        p->task->one_key = true;
        return ++p->redirects % REDIRECTS == 0 ? NEXT_LATER : NEXT_NOW;
    case TROUBLE_CONTENDED:
        return ++p->redirects % REDIRECTS == 0 ? NEXT_LATER : NEXT_NOW;
    case TROUBLE_LOST:
    case TROUBLE_TIMEOUT:
        return sent && !p->task->repeatable ? NEXT_FAIL : NEXT_LATER;
    case TROUBLE_AWAY:
    case TROUBLE_READONLY:
        return NEXT_LATER; /* an answer: it was not carried out */
    case TROUBLE_UNSAFE:
        return after_unsafe(p, node);
    case TROUBLE_NONE:
    case TROUBLE_PROTOCOL:
    case TROUBLE_NOMEM:
    case TROUBLE_NOSCRIPT:
    case TROUBLE_FULL:
    case TROUBLE_BROKEN:
    case TROUBLE_DENIED:
    case TROUBLE_UNKNOWN_COMMAND:
    case TROUBLE_WRONG_TYPE:
    case TROUBLE_TOO_LARGE:
    case TROUBLE_OTHER:
        return NEXT_FAIL;
    }
    return NEXT_FAIL;
}

/* It took long until there was a session, or until it could be believed: whether it is
 * still the right one. */
static bool pick_again(const struct progress *p, const struct session *session,
                       bool asking, int64_t *picked, struct trouble *trouble)
{
    struct node *node = NULL;
    bool same;

    route_doubt(p->store->route);
    same = !asking &&
           route_pick(p->store->route, p->task->key->slot, p->deadline, &node, trouble) &&
           node == session->node;
    node_unref(node);
    *picked = now_ms();
    return same || trouble_set(trouble, TROUBLE_AWAY, "%.110s: took long to connect to",
                               conn_name(session->conn));
}

/* True: done. */
static bool attempt_with(struct progress *p, struct session *session, bool asking,
                         int64_t picked, bool *sent, struct trouble *trouble)
{
    struct task *task = p->task;
    int64_t until = task_attempt(p->store, task->bytes, p->deadline);
    bool done;

    *sent = false;
    if (task->writes && !session_believed(session, until, trouble))
        return false;
    if (task->writes && task_is_late(p->store, picked) &&
        !pick_again(p, session, asking, &picked, trouble))
        return false;
    if (task->writes)
        until = task_attempt_at(p->store, picked, task->bytes, p->deadline);
    done = task->run(task, session, asking, until, trouble);
    *sent = conn_sent(session->conn);
    return done;
}

/* One attempt where the key is; what became of it. */
static bool attempt(struct progress *p, enum next *next, struct trouble *trouble)
{
    struct node *node = p->ask;
    bool asking = node != NULL, sent = false, done = false;
    struct session *session;
    int64_t picked;
    struct trouble of_route;

    p->ask = NULL;
    if (node == NULL &&
        !route_pick(p->store->route, p->task->key->slot, p->deadline, &node, &of_route)) {
        *trouble = of_route;
        *next = NEXT_LATER;
        return false;
    }
    picked = now_ms();
    if (node == p->unsafe) {
        *next = NEXT_FAIL;
        node_unref(node);
        return false;
    }
    if (node_borrow(node, p->deadline, &session, trouble)) {
        done = attempt_with(p, session, asking, picked, &sent, trouble);
        node_return(session);
    }
    if (!done)
        *next = decide(p, node, sent, trouble);
    node_unref(node);
    return done;
}

bool task_pause(const struct settings *settings, int64_t *pause, int64_t deadline)
{
    struct timespec span;
    int64_t ms;

    *pause = jitter_double(*pause, settings->retry_base, settings->retry_max);
    ms = 1 + jitter(*pause);
    if (now_ms() + ms >= deadline)
        return false;
    span = (struct timespec){.tv_sec = (time_t)(ms / 1000),
                             .tv_nsec = (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &span, &span) == EINTR)
        ;
    return true;
}

static int give_up(const struct progress *p, const struct trouble *trouble)
{
    int status = trouble_status(trouble->kind);
    bool unsure = p->task->writes &&
                  (p->lost_track || p->unsafe != NULL || trouble->kind == TROUBLE_UNSAFE);

    return mako_fail(p->task->err, status, "%s%s", trouble->text,
                     unsure ? "; it may have been done nevertheless" : "");
}

/* Attempts until one is done; false: no further one would help, or there is no time. */
static bool try_until_done(struct progress *p, struct trouble *trouble)
{
    enum next next = NEXT_FAIL;

    while (!attempt(p, &next, trouble)) {
        if (next == NEXT_FAIL || now_ms() >= p->deadline ||
            (next == NEXT_LATER &&
             !task_pause(&p->store->settings, &p->pause, p->deadline)))
            return false;
        tally_add(&p->store->tally.retries, 1);
    }
    return true;
}

int task_do(struct store *store, struct task *task, int64_t deadline)
{
    struct progress p = {.store = store, .task = task, .deadline = deadline};
    struct trouble trouble = {.kind = TROUBLE_NONE};

    task->store = store;
    task->limit = deadline;
    if (!try_until_done(&p, &trouble))
        task->status = give_up(&p, &trouble);
    node_unref(p.ask);
    node_unref(p.unsafe);
    task_remember(store, task->status);
    return task->status;
}
