/* tests/redis/proxy.c - connections passed on, each by a thread of its own. */
#include "proxy.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

enum {
    CHUNK = 16384,
    LINES = 8192,
    TICK_MS = 20,
    PATIENCE_MS = 60000
};

/* One connection. */
struct line {
    struct proxy *proxy;
    unsigned number;
    int client, server;
    size_t heard;  /* bytes of the client since the rule was made */
    size_t said;   /* bytes of the server since */
    unsigned rule; /* that these are counted for */
    bool lied;
    char *held; /* NULL: nothing, or it was handed over */
    size_t held_len;
    bool kept; /* something was held once */
    pthread_t thread;
};

struct proxy {
    int listener;
    uint16_t port, server_port;
    pthread_t thread;
    pthread_mutex_t lock;
    struct proxy_rule rule;
    unsigned rule_number, spared; /* lines from here on are spared by a rule for once */
    struct line *lines[LINES];
    unsigned count;
    atomic_uint held; /* lines that kept something, until they end */
    atomic_bool stop;
};

/* ---- sockets --------------------------------------------------------------------------
 */

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool say(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, bytes, len, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        bytes += sent;
        len -= (size_t)sent;
    }
    return true;
}

static void hang_up(int *fd, bool reset)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};

    if (*fd < 0)
        return;
    if (reset)
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    (void)close(*fd);
    *fd = -1;
}

static void pause_ms(long ms)
{
    const struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    (void)nanosleep(&span, NULL);
}

/* ---- one connection -------------------------------------------------------------------
 */

/* The rule as it is for this line now. */
static struct proxy_rule rule_of(struct line *line)
{
    static const struct proxy_rule pass = {.fault = PROXY_PASS};
    struct proxy *proxy = line->proxy;
    struct proxy_rule rule;

    (void)pthread_mutex_lock(&proxy->lock);
    rule = proxy->rule;
    if (line->rule != proxy->rule_number) {
        line->rule = proxy->rule_number;
        line->heard = line->said = 0;
        line->lied = false;
    }
    if (rule.once && line->number >= proxy->spared)
        rule = pass;
    (void)pthread_mutex_unlock(&proxy->lock);
    return rule;
}

/* Where words stand in bytes; NULL: nowhere. */
static char *find(char *bytes, size_t len, const char *words)
{
    return words ? memmem(bytes, len, words, strlen(words)) : NULL;
}

static void replace(char *bytes, size_t len, const struct proxy_rule *rule)
{
    char *at;

    while ((at = find(bytes, len, rule->from)) != NULL)
        memcpy(at, rule->to, strlen(rule->to));
}

/* True while the line lives. */
static bool lie(struct line *line, const struct proxy_lie *lie)
{
    bool heard = say(line->client, lie->text, lie->len);

    line->lied = true;
    while (lie->endless && heard && !atomic_load(&line->proxy->stop))
        heard = say(line->client, lie->text, lie->len);
    if (lie->close)
        hang_up(&line->client, false);
    return heard && !lie->close;
}

/* So many bytes of the client go through; what then happens to the rest. */
static bool pass_some(struct line *line, const struct proxy_rule *rule, const char *bytes,
                      size_t len)
{
    size_t room = rule->after > line->heard ? rule->after - line->heard : 0;
    size_t pass = len < room ? len : room;

    line->heard += len;
    if (rule->fault == PROXY_PASS || rule->fault >= PROXY_CUT_ANSWER ||
        rule->fault == PROXY_MUTE)
        pass = len;
    if (!say(line->server, bytes, pass))
        return false;
    if (line->heard < rule->after || pass == len)
        return true;
    if (rule->fault == PROXY_RESET || rule->fault == PROXY_CLOSE) {
        hang_up(&line->client, rule->fault == PROXY_RESET);
        return false;
    }
    if (rule->fault == PROXY_HALF_CLOSE)
        (void)shutdown(line->client, SHUT_WR);
    return true;
}

static bool keep(struct line *line, const char *bytes, size_t len)
{
    char *held = realloc(line->held, line->held_len + len);

    if (!held)
        return false;
    memcpy(held + line->held_len, bytes, len);
    line->held = held;
    line->held_len += len;
    if (!line->kept)
        atomic_fetch_add(&line->proxy->held, 1);
    line->kept = true;
    return true;
}

/* What was held, once that is no longer the rule. */
static bool hand_over(struct line *line)
{
    bool said;

    if (!line->held || rule_of(line).fault == PROXY_HOLD)
        return true;
    said = say(line->server, line->held, line->held_len);
    free(line->held);
    line->held = NULL;
    line->held_len = 0;
    if (line->client < 0)
        (void)shutdown(line->server, SHUT_WR);
    return said;
}

/* The client is gone.  A reset would cut what was held: the server reads to the end. */
static bool outlive(struct line *line)
{
    if (!line->kept)
        return false;
    hang_up(&line->client, false);
    if (!line->held)
        (void)shutdown(line->server, SHUT_WR);
    return true;
}

static bool from_client(struct line *line)
{
    char bytes[CHUNK];
    ssize_t got = recv(line->client, bytes, sizeof bytes, 0);
    struct proxy_rule rule = rule_of(line);

    if (got <= 0)
        return outlive(line);
    if (line->lied)
        return true;
    if (line->held || (rule.fault == PROXY_HOLD && find(bytes, (size_t)got, rule.hold)))
        return keep(line, bytes, (size_t)got);
    if (find(bytes, (size_t)got, rule.lie.words))
        return lie(line, &rule.lie);
    replace(bytes, (size_t)got, &rule);
    return pass_some(line, &rule, bytes, (size_t)got);
}

static bool drip(struct line *line, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len && !atomic_load(&line->proxy->stop); i++) {
        if (!say(line->client, bytes + i, 1))
            return false;
        pause_ms(TICK_MS);
    }
    return true;
}

static bool cut(struct line *line, const char *bytes, size_t len, bool reset)
{
    (void)say(line->client, bytes, (len + 1) / 2);
    if (reset)
        pause_ms(TICK_MS); /* a reset overtakes what was sent */
    hang_up(&line->client, reset);
    return false;
}

static bool to_client(struct line *line, const struct proxy_rule *rule, char *bytes,
                      size_t len)
{
    size_t at = rule->at - line->said;

    switch (rule->fault) {
    case PROXY_CUT_ANSWER:
    case PROXY_RESET_ANSWER:
        return cut(line, bytes, len, rule->fault == PROXY_RESET_ANSWER);
    case PROXY_DRIP:
        return drip(line, bytes, len);
    case PROXY_TWICE:
        return say(line->client, bytes, len) && say(line->client, bytes, len);
    case PROXY_FLIP:
        if (rule->at >= line->said && at < len)
            bytes[at] = (char)(bytes[at] ^ rule->flip);
        line->said += len;
        return say(line->client, bytes, len);
    case PROXY_SWALLOW:
    case PROXY_MUTE:
    case PROXY_RESET:
    case PROXY_CLOSE:
    case PROXY_HALF_CLOSE:
        return line->heard < rule->after ? say(line->client, bytes, len) : true;
    case PROXY_PASS:
    case PROXY_HOLD:
        break;
    }
    return say(line->client, bytes, len);
}

static bool from_server(struct line *line)
{
    char bytes[CHUNK];
    ssize_t got = recv(line->server, bytes, sizeof bytes, 0);
    struct proxy_rule rule = rule_of(line);

    return got > 0 &&
           (line->lied || line->client < 0 || to_client(line, &rule, bytes, (size_t)got));
}

static void *run_line(void *arg)
{
    struct line *line = arg;
    struct pollfd fds[2] = {{.fd = line->client, .events = POLLIN},
                            {.fd = line->server, .events = POLLIN}};
    bool alive = true;

    while (alive && !atomic_load(&line->proxy->stop)) {
        alive = hand_over(line);
        fds[0].fd = line->client;
        if (!alive || poll(fds, 2, TICK_MS) <= 0)
            continue;
        if (fds[0].revents)
            alive = from_client(line);
        if (alive && fds[1].revents)
            alive = from_server(line);
    }
    hang_up(&line->client, false);
    hang_up(&line->server, false);
    free(line->held);
    if (line->kept)
        atomic_fetch_sub(&line->proxy->held, 1);
    return NULL;
}

/* ---- all of them ----------------------------------------------------------------------
 */

static bool start_line(struct proxy *proxy, int client)
{
    const struct sockaddr_in to = loopback(proxy->server_port);
    struct line *line = calloc(1, sizeof *line);

    cr_assert(line && proxy->count < LINES);
    line->proxy = proxy;
    line->client = client;
    line->server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(line->server, (const struct sockaddr *)&to, sizeof to) != 0) {
        hang_up(&line->client, false);
        hang_up(&line->server, false);
        free(line);
        return false;
    }
    (void)pthread_mutex_lock(&proxy->lock);
    line->number = proxy->count;
    line->rule = proxy->rule_number;
    proxy->lines[proxy->count++] = line;
    (void)pthread_mutex_unlock(&proxy->lock);
    cr_assert_eq(pthread_create(&line->thread, NULL, run_line, line), 0);
    return true;
}

static void *run_proxy(void *arg)
{
    struct proxy *proxy = arg;
    struct pollfd fd = {.fd = proxy->listener, .events = POLLIN};

    while (!atomic_load(&proxy->stop)) {
        int client;

        if (poll(&fd, 1, TICK_MS) <= 0)
            continue;
        client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
        if (client >= 0)
            (void)start_line(proxy, client);
    }
    return NULL;
}

struct proxy *proxy_start(uint16_t server_port)
{
    struct sockaddr_in at = loopback(0);
    socklen_t len = sizeof at;
    struct proxy *proxy = calloc(1, sizeof *proxy);

    cr_assert_not_null(proxy);
    proxy->server_port = server_port;
    proxy->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(proxy->listener, (struct sockaddr *)&at, len), 0);
    cr_assert_eq(listen(proxy->listener, 64), 0);
    cr_assert_eq(getsockname(proxy->listener, (struct sockaddr *)&at, &len), 0);
    proxy->port = ntohs(at.sin_port);
    (void)pthread_mutex_init(&proxy->lock, NULL);
    cr_assert_eq(pthread_create(&proxy->thread, NULL, run_proxy, proxy), 0);
    return proxy;
}

uint16_t proxy_port(const struct proxy *proxy)
{
    return proxy->port;
}

void proxy_rule(struct proxy *proxy, const struct proxy_rule *rule)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->rule = *rule;
    proxy->rule_number++;
    proxy->spared = proxy->count;
    (void)pthread_mutex_unlock(&proxy->lock);
}

unsigned proxy_held(const struct proxy *proxy)
{
    return atomic_load(&proxy->held);
}

void proxy_release(struct proxy *proxy)
{
    const struct proxy_rule pass = {.fault = PROXY_PASS};

    proxy_rule(proxy, &pass);
    for (unsigned waited = 0; proxy_held(proxy) > 0; waited += TICK_MS) {
        cr_assert_lt(waited, PATIENCE_MS, "%u are still held", proxy_held(proxy));
        pause_ms(TICK_MS);
    }
}

void proxy_stop(struct proxy *proxy)
{
    atomic_store(&proxy->stop, true);
    (void)pthread_join(proxy->thread, NULL);
    for (unsigned i = 0; i < proxy->count; i++) {
        (void)pthread_join(proxy->lines[i]->thread, NULL);
        free(proxy->lines[i]);
    }
    (void)close(proxy->listener);
    (void)pthread_mutex_destroy(&proxy->lock);
    free(proxy);
}
