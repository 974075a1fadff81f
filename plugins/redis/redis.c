/* plugins/redis/redis.c - the Redis store: one server, Sentinel, or Cluster.
 *
 * This file is the plugin as the host sees it: options, opening, the descriptor.  The
 * operations are in save.c, load.c, batch.c and scan.c; task.c tries them, route.c knows
 * the servers, pool.c the connections to each, conn.c the bytes, durable.c what makes a
 * save safe. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"
#include "tls.h"

enum {
    OPTION_MODE,
    OPTION_ENDPOINTS,
    OPTION_UNIX_SOCKET,
    OPTION_SENTINEL_MASTER,
    OPTION_SENTINEL_USERNAME,
    OPTION_SENTINEL_PASSWORD,
    OPTION_SENTINEL_PASSWORD_FILE,
    OPTION_SENTINEL_MAJORITY,
    OPTION_USERNAME,
    OPTION_PASSWORD,
    OPTION_PASSWORD_FILE,
    OPTION_DB,
    OPTION_TLS,
    OPTION_TLS_CA,
    OPTION_TLS_CERT,
    OPTION_TLS_KEY,
    OPTION_TLS_VERIFY_NAME,
    OPTION_KEY_PREFIX,
    OPTION_TTL,
    OPTION_WAIT_REPLICAS,
    OPTION_WAIT_TIMEOUT,
    OPTION_RECHECK,
    OPTION_ASSUME_DURABLE,
    OPTION_ALLOW_EVICTION,
    OPTION_CONNECT_TIMEOUT,
    OPTION_IO_TIMEOUT,
    OPTION_OP_TIMEOUT,
    OPTION_RETRY_BASE,
    OPTION_RETRY_MAX,
    OPTION_POOL_MAX,
    OPTION_POOL_IDLE,
    OPTION_INLINE_MAX,
    OPTION_TMP_TTL,
    OPTION_SPIN_US
};

#define HOUR_MS 3600000
#define YEAR_MS (366LL * 24 * HOUR_MS)

static const struct mako_option options[] = {
    {.name = "mode",
     .help = "one server, a master that sentinels watch, or a cluster",
     .fallback = "single",
     .choices = "single|sentinel|cluster",
     .type = MAKO_OPT_STRING},
    {.name = "endpoints",
     .help = "HOST:PORT, with commas between: the server, the sentinels, or some nodes",
     .fallback = "127.0.0.1",
     .type = MAKO_OPT_STRING},
    {.name = "unix_socket",
     .help = "path of the server's socket, instead of endpoints (mode single)",
     .type = MAKO_OPT_PATH},
    {.name = "sentinel_master",
     .help = "name of the master at the sentinels (mode sentinel)",
     .type = MAKO_OPT_STRING},
    {.name = "sentinel_username",
     .help = "user at the sentinels",
     .type = MAKO_OPT_STRING},
    {.name = "sentinel_password",
     .help = "password at the sentinels",
     .type = MAKO_OPT_STRING,
     .flags = MAKO_OPT_SECRET},
    {.name = "sentinel_password_file",
     .help = "file whose first line is the password at the sentinels",
     .type = MAKO_OPT_PATH},
    {.name = "sentinel_majority",
     .help = "believe a master only when more than half of the sentinels name it",
     .fallback = "false",
     .type = MAKO_OPT_BOOL},
    {.name = "username", .help = "user at the servers", .type = MAKO_OPT_STRING},
    {.name = "password",
     .help = "password at the servers; better: password_file",
     .type = MAKO_OPT_STRING,
     .flags = MAKO_OPT_SECRET},
    {.name = "password_file",
     .help = "file whose first line is the password, read for each new connection",
     .type = MAKO_OPT_PATH},
    {.name = "db",
     .help = "number of the database; 0 in a cluster",
     .fallback = "0",
     .type = MAKO_OPT_INT,
     .min = 0,
     .max = 65535},
    {.name = "tls",
     .help = "encrypt, and check the server's certificate and name",
     .fallback = "false",
     .type = MAKO_OPT_BOOL},
    {.name = "tls_ca",
     .help = "file of the certificates to trust, instead of the system's",
     .type = MAKO_OPT_PATH},
    {.name = "tls_cert", .help = "our own certificate, a file", .type = MAKO_OPT_PATH},
    {.name = "tls_key", .help = "its private key, a file", .type = MAKO_OPT_PATH},
    {.name = "tls_verify_name",
     .help = "the name the certificate must be for, instead of the endpoint's host",
     .type = MAKO_OPT_STRING},
    {.name = "key_prefix",
     .help = "begins every key; other data in the same database needs another one",
     .fallback = "snap:",
     .type = MAKO_OPT_STRING},
    {.name = "ttl",
     .help = "snapshots expire this long after their save; 0: never",
     .fallback = "0",
     .type = MAKO_OPT_DURATION,
     .min = 0,
     .max = 100 * YEAR_MS},
    {.name = "wait_replicas",
     .help = "replicas that must have a save before it counts; -1: 1 with sentinels and "
             "in a cluster, else 0",
     .fallback = "-1",
     .type = MAKO_OPT_INT,
     .min = -1,
     .max = 100},
    {.name = "wait_timeout",
     .help = "how long a save waits for disk and replicas; 0: 1.5 s, or 4 s where the "
             "server flushes each second",
     .fallback = "0",
     .type = MAKO_OPT_DURATION,
     .min = 0,
     .max = HOUR_MS},
    {.name = "recheck",
     .help = "how often a server is asked again whether it still flushes (power)",
     .fallback = "30s",
     .type = MAKO_OPT_DURATION,
     .min = 100,
     .max = 24 * HOUR_MS},
    {.name = "assume_durable",
     .help = "believe that a server flushes which refuses to say (CONFIG, INFO)",
     .fallback = "false",
     .type = MAKO_OPT_BOOL},
    {.name = "allow_eviction",
     .help = "accept a server that drops snapshots when its memory is full (power)",
     .fallback = "false",
     .type = MAKO_OPT_BOOL},
    {.name = "connect_timeout",
     .help = "for a connection to one address",
     .fallback = "1s",
     .type = MAKO_OPT_DURATION,
     .min = 10,
     .max = HOUR_MS},
    {.name = "io_timeout",
     .help = "for one answer; large snapshots get more",
     .fallback = "1.5s",
     .type = MAKO_OPT_DURATION,
     .min = 10,
     .max = HOUR_MS},
    {.name = "op_timeout",
     .help = "for an operation with all its attempts",
     .fallback = "10s",
     .type = MAKO_OPT_DURATION,
     .min = 10,
     .max = HOUR_MS},
    {.name = "retry_base",
     .help = "longest first pause between attempts; doubles",
     .fallback = "20ms",
     .type = MAKO_OPT_DURATION,
     .min = 1,
     .max = 60000},
    {.name = "retry_max",
     .help = "longest pause between attempts",
     .fallback = "500ms",
     .type = MAKO_OPT_DURATION,
     .min = 1,
     .max = 60000},
    {.name = "pool_max",
     .help = "most connections to one server",
     .fallback = "8",
     .type = MAKO_OPT_INT,
     .min = 1,
     .max = 1024},
    {.name = "pool_idle",
     .help = "connections unused for so long are closed",
     .fallback = "30s",
     .type = MAKO_OPT_DURATION,
     .min = 100,
     .max = 24 * HOUR_MS},
    {.name = "inline_max",
     .help = "larger snapshots go by way of a temporary key",
     .fallback = "8KiB",
     .type = MAKO_OPT_SIZE,
     .min = 0,
     .max = 1048576},
    {.name = "tmp_ttl",
     .help = "life of a temporary key that was left behind",
     .fallback = "60s",
     .type = MAKO_OPT_DURATION,
     .min = 1000,
     .max = HOUR_MS},
    {.name = "spin_us",
     .help = "microseconds that a thread looks for an answer before it sleeps; 0: none",
     .fallback = "100",
     .type = MAKO_OPT_INT,
     .min = 0,
     .max = 1000000},
    {.name = NULL},
};

/* ---- options ------------------------------------------------------------------------
 */

static int bad_option(struct mako_error *err, const char *name, const char *why)
{
    return mako_fail(err, MAKO_E_CONFIG, "\"%s\": %s", name, why);
}

static enum mode read_mode(const char *text)
{
    if (strcmp(text, "sentinel") == 0)
        return MODE_SENTINEL;
    return strcmp(text, "cluster") == 0 ? MODE_CLUSTER : MODE_SINGLE;
}

/* One endpoint of a list, spaces around it taken off. */
static int add_endpoint(struct settings *settings, const char *text, size_t len,
                        uint16_t port, struct mako_error *err)
{
    while (len > 0 && text[0] == ' ') {
        text++;
        len--;
    }
    while (len > 0 && text[len - 1] == ' ')
        len--;
    if (settings->endpoint_count == ENDPOINTS_MAX)
        return bad_option(err, "endpoints", "more than 64");
    if (!endpoint_parse(text, len, port, &settings->endpoints[settings->endpoint_count]))
        return mako_fail(err, MAKO_E_CONFIG, "\"endpoints\": '%.*s' is no HOST:PORT",
                         len > 100 ? 100 : (int)len, text);
    settings->endpoint_count++;
    return MAKO_OK;
}

static int read_endpoints(struct settings *settings, const char *list,
                          struct mako_error *err)
{
    uint16_t port = settings->mode == MODE_SENTINEL ? 26379 : 6379;

    for (;;) {
        size_t len = strcspn(list, ",");
        int status = add_endpoint(settings, list, len, port, err);

        if (status != MAKO_OK)
            return status;
        if (list[len] == '\0')
            break;
        list += len + 1;
    }
    if (settings->mode == MODE_SINGLE && settings->endpoint_count != 1)
        return bad_option(err, "endpoints", "mode single has one server");
    return MAKO_OK;
}

static int read_socket(struct settings *settings, const char *path,
                       struct mako_error *err)
{
    if (settings->mode != MODE_SINGLE)
        return bad_option(err, "unix_socket", "only in mode single");
    if (strlen(path) > 107)
        return bad_option(err, "unix_socket",
                          "longer than the 107 bytes a socket allows");
    memcpy(settings->endpoints[0].host, path, strlen(path) + 1);
    settings->endpoint_count = 1;
    return MAKO_OK;
}

static int check_login(const struct credentials *login, const char *prefix,
                       struct mako_error *err)
{
    if (login->password != NULL && login->password_file != NULL)
        return mako_fail(err, MAKO_E_CONFIG,
                         "\"%spassword\" and \"%spassword_file\": one of them", prefix,
                         prefix);
    if (login->username != NULL && login->password == NULL &&
        login->password_file == NULL)
        return mako_fail(err, MAKO_E_CONFIG,
                         "\"%susername\" needs \"%spassword_file\" or \"%spassword\"",
                         prefix, prefix, prefix);
    if (login->password != NULL && strlen(login->password) > 1000)
        return mako_fail(err, MAKO_E_CONFIG, "\"%spassword\": longer than 1000 bytes",
                         prefix);
    return MAKO_OK;
}

static int check_options(const struct settings *settings, const union mako_value *values,
                         struct mako_error *err)
{
    bool sentinel = settings->mode == MODE_SENTINEL;

    if (sentinel != (settings->sentinel_master != NULL))
        return bad_option(err, "sentinel_master",
                          sentinel ? "needed in mode sentinel" : "only in mode sentinel");
    if (settings->mode == MODE_CLUSTER && settings->db != 0)
        return bad_option(err, "db", "a cluster has database 0 alone");
    if (settings->key_prefix_len > KEY_PREFIX_MAX)
        return bad_option(err, "key_prefix", "longer than 128 bytes");
    if (strpbrk(settings->key_prefix, "{\r\n") != NULL)
        return bad_option(err, "key_prefix", "must not contain '{' or line ends");
    if (settings->retry_max < settings->retry_base)
        return bad_option(err, "retry_max", "less than retry_base");
    if ((values[OPTION_TLS_CERT].str == NULL) != (values[OPTION_TLS_KEY].str == NULL))
        return bad_option(err, "tls_cert", "goes together with tls_key");
    return MAKO_OK;
}

/* A thread that spins must leave the server a processor, where that is here, too. */
static unsigned spinners(void)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    (void)sched_getaffinity(0, sizeof set, &set);
    return (unsigned)CPU_COUNT(&set) / 2;
}

static void read_numbers(struct settings *settings, const union mako_value *values)
{
    settings->db = values[OPTION_DB].num;
    settings->ttl = values[OPTION_TTL].num;
    settings->wait_replicas = values[OPTION_WAIT_REPLICAS].num;
    if (settings->wait_replicas < 0)
        settings->wait_replicas = settings->mode == MODE_SINGLE ? 0 : 1;
    settings->wait_timeout = values[OPTION_WAIT_TIMEOUT].num;
    settings->recheck = values[OPTION_RECHECK].num;
    settings->assume_durable = values[OPTION_ASSUME_DURABLE].num != 0;
    settings->allow_eviction = values[OPTION_ALLOW_EVICTION].num != 0;
    settings->sentinel_majority = values[OPTION_SENTINEL_MAJORITY].num != 0;
    settings->connect_timeout = values[OPTION_CONNECT_TIMEOUT].num;
    settings->io_timeout = values[OPTION_IO_TIMEOUT].num;
    settings->op_timeout = values[OPTION_OP_TIMEOUT].num;
    settings->retry_base = values[OPTION_RETRY_BASE].num;
    settings->retry_max = values[OPTION_RETRY_MAX].num;
    settings->pool_max = values[OPTION_POOL_MAX].num;
    settings->pool_idle = values[OPTION_POOL_IDLE].num;
    settings->inline_max = values[OPTION_INLINE_MAX].num;
    settings->tmp_ttl = values[OPTION_TMP_TTL].num;
    settings->spin = values[OPTION_SPIN_US].num * 1000;
    settings->spinners = spinners();
}

static void read_names(struct settings *settings, const union mako_value *values)
{
    settings->mode = read_mode(values[OPTION_MODE].str);
    settings->sentinel_master = values[OPTION_SENTINEL_MASTER].str;
    settings->key_prefix = values[OPTION_KEY_PREFIX].str;
    settings->key_prefix_len = strlen(settings->key_prefix);
    settings->login =
        (struct credentials){.username = values[OPTION_USERNAME].str,
                             .password = values[OPTION_PASSWORD].str,
                             .password_file = values[OPTION_PASSWORD_FILE].str};
    settings->sentinel_login =
        (struct credentials){.username = values[OPTION_SENTINEL_USERNAME].str,
                             .password = values[OPTION_SENTINEL_PASSWORD].str,
                             .password_file = values[OPTION_SENTINEL_PASSWORD_FILE].str};
}

static int read_tls(struct settings *settings, const union mako_value *values,
                    struct mako_error *err)
{
    const struct tls_setup setup = {.ca = values[OPTION_TLS_CA].str,
                                    .cert = values[OPTION_TLS_CERT].str,
                                    .key = values[OPTION_TLS_KEY].str,
                                    .verify_name = values[OPTION_TLS_VERIFY_NAME].str};

    if (values[OPTION_TLS].num == 0)
        return setup.ca == NULL && setup.cert == NULL && setup.verify_name == NULL
                   ? MAKO_OK
                   : bad_option(err, "tls", "false, but there are options for it");
    if (values[OPTION_UNIX_SOCKET].str != NULL)
        return bad_option(err, "tls", "not on a Unix socket");
    return tls_new(&setup, &settings->tls, err);
}

static int read_options(struct settings *settings, const union mako_value *values,
                        struct mako_error *err)
{
    int status;

    read_names(settings, values);
    read_numbers(settings, values);
    status = values[OPTION_UNIX_SOCKET].str != NULL
                 ? read_socket(settings, values[OPTION_UNIX_SOCKET].str, err)
                 : read_endpoints(settings, values[OPTION_ENDPOINTS].str, err);
    if (status == MAKO_OK)
        status = check_login(&settings->login, "", err);
    if (status == MAKO_OK)
        status = check_login(&settings->sentinel_login, "sentinel_", err);
    if (status == MAKO_OK)
        status = check_options(settings, values, err);
    return status == MAKO_OK ? read_tls(settings, values, err) : status;
}

/* ---- opening ------------------------------------------------------------------------
 */

static void redis_close(void *handle)
{
    struct store *store = handle;

    route_free(store->route);
    tls_free(store->settings.tls);
    free(store);
}

/* What a refusal of the server's means while opening: mostly that the configuration is
 * not made for it. */
static int open_failed(const struct trouble *trouble, struct mako_error *err)
{
    int status = trouble_status(trouble->kind);

    if (trouble->kind == TROUBLE_DENIED || trouble->kind == TROUBLE_OTHER ||
        trouble->kind == TROUBLE_UNKNOWN_COMMAND)
        status = MAKO_E_CONFIG;
    return mako_fail(err, status, "%s", trouble->text);
}

/* What a server says it is, or NULL.  Valkey has another word for it. */
static const char *kind_in(const struct reply *info)
{
    static const char *const words[] = {"\nredis_mode:", "\nserver_mode:"};
    const char *found = NULL;

    for (size_t i = 0; i < 2 && found == NULL && reply_is_text(info); i++) {
        found = strstr(info->text, words[i]);
        if (found != NULL)
            found += strlen(words[i]);
    }
    return found;
}

/* The kind of server must be the one that the mode is for.  One that does not tell is
 * believed. */
static bool check_kind(const struct settings *settings, struct session *session,
                       int64_t deadline, struct trouble *trouble)
{
    static const char *const kinds[] = {"standalone", "standalone", "cluster"};
    const char *wanted = kinds[settings->mode], *found;
    struct conn *conn = session->conn;
    struct reply *reply;
    bool fits = true;

    conn_begin(conn, deadline, false);
    conn_command(conn, "INFO", 1);
    conn_arg_text(conn, "server");
    if (!conn_send(conn) || (reply = conn_reply(conn)) == NULL)
        return conn_trouble(conn, trouble);
    found = kind_in(reply);
    if (reply->type == REPLY_ERROR && strncmp(reply->text, "NOAUTH", 6) == 0)
        fits = trouble_answer(trouble, conn_name(conn), reply->text, reply->len);
    else if (found != NULL && strncmp(found, wanted, strlen(wanted)) != 0) {
        char mode[20];

        clean_text(mode, sizeof mode, found, strcspn(found, "\r\n"));
        fits = trouble_set(trouble, TROUBLE_OTHER,
                           "%.110s: is a server of mode %s, \"mode\" asks for %s",
                           conn_name(conn), mode, wanted);
    }
    reply_free(reply);
    return fits;
}

/* One master.  A lack of durability is no failure here: it lowers the promise. */
static bool check_master(struct store *store, struct node *node, int64_t deadline,
                         struct proof *proof, struct trouble *trouble)
{
    struct session *session;
    bool fine;

    if (!node_borrow(node, deadline, &session, trouble))
        return false;
    fine = check_kind(&store->settings, session, deadline, trouble);
    if (fine && store->settings.power) {
        fine = session_believed(session, deadline, trouble) ||
               trouble->kind == TROUBLE_BROKEN;
        if (fine && !session->proof.proven && proof->proven)
            *proof = session->proof;
    }
    node_return(session);
    return fine;
}

/* Every master that can be reached; at least one must be.  The others are looked at when
 * they come back. */
static bool check_masters(struct store *store, int64_t deadline, struct proof *proof,
                          struct trouble *trouble)
{
    struct node **masters;
    size_t count, fine = 0;
    bool wrong = false;

    masters = route_masters(store->route, deadline, &count, trouble);
    for (size_t i = 0; i < count; i++) {
        if (!wrong && check_master(store, masters[i], deadline, proof, trouble))
            fine++;
        else
            wrong |= trouble_status(trouble->kind) != MAKO_E_UNAVAILABLE;
        node_unref(masters[i]);
    }
    free(masters);
    return !wrong && fine > 0;
}

/* That nobody is there is said at once.  A server that is starting, or a master that is
 * being replaced, gets until the deadline. */
static int reach(struct store *store, struct proof *proof, struct mako_error *err)
{
    const struct settings *settings = &store->settings;
    int64_t deadline = now_ms() + settings->op_timeout, pause = 0;
    struct trouble trouble;

    for (;;) {
        bool learnt = route_learn(store->route, deadline, &trouble);
        bool hopeless;

        *proof = (struct proof){.proven = true};
        if (learnt && check_masters(store, deadline, proof, &trouble))
            return MAKO_OK;
        hopeless =
            trouble.kind == TROUBLE_LOST && (!learnt || settings->mode == MODE_SINGLE);
        if (hopeless || trouble_status(trouble.kind) != MAKO_E_UNAVAILABLE ||
            !task_pause(settings, &pause, deadline))
            return open_failed(&trouble, err);
    }
}

static int start(struct store *store, struct mako_traits *traits, struct mako_error *err)
{
    struct proof proof;
    int status;

    store->route = route_new(&store->settings);
    if (store->route == NULL)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    status = reach(store, &proof, err);
    if (status != MAKO_OK)
        return status;
    if (store->settings.power && !proof.proven) {
        traits->durability = MAKO_DURABLE_CRASH;
        (void)mako_fail(err, MAKO_OK, "%s", proof.reason);
    }
    return MAKO_OK;
}

static int redis_open(const struct mako_host *host, const union mako_value *values,
                      struct mako_traits *traits, void **handle, struct mako_error *err)
{
    struct store *store;
    int status;

    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown open flags %#x",
                         (unsigned)traits->flags);
    store = calloc(1, sizeof *store);
    if (store == NULL)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    store->settings.host = host;
    store->settings.tally = &store->tally;
    store->settings.power = traits->durability >= MAKO_DURABLE_POWER;
    status = read_options(&store->settings, values, err);
    if (status == MAKO_OK)
        status = start(store, traits, err);
    if (status != MAKO_OK) {
        redis_close(store);
        return status;
    }
    *handle = store;
    return MAKO_OK;
}

/* ---- the descriptor -------------------------------------------------------------------
 */

static int redis_stats(void *handle, struct mako_counters *counters,
                       struct mako_error *err)
{
    struct tally *tally = &((struct store *)handle)->tally;
    const struct {
        const char *name;
        atomic_uint_fast64_t *value;
    } rows[] = {{"connections", &tally->connections},
                {"connects", &tally->connects},
                {"reconnects", &tally->reconnects},
                {"round_trips", &tally->round_trips},
                {"retries", &tally->retries},
                {"redirects", &tally->redirects},
                {"refreshes", &tally->refreshes},
                {"scripts_loaded", &tally->scripts_loaded},
                {"bytes_in", &tally->bytes_in},
                {"bytes_out", &tally->bytes_out},
                {"spins", &tally->spins},
                {"spins_missed", &tally->spins_missed}};

    (void)err;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        counters->add(counters, rows[i].name,
                      atomic_load_explicit(rows[i].value, memory_order_relaxed));
    return MAKO_OK;
}

static const struct mako_store_plugin redis = {
    MAKO_STORE_PLUGIN_HEAD,
    .name = "redis",
    .version = "0.1.0",
    .summary = "keeps snapshots in Redis: one server, Sentinel or Cluster",
    .durability = MAKO_DURABLE_POWER,
    .threads = MAKO_THREADS_PARALLEL,
    .features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_SHARED | MAKO_FEATURE_IF_NEWER,
    .options = options,
    .open = redis_open,
    .close = redis_close,
    .save = redis_save,
    .load = redis_load,
    .remove = redis_remove,
    .scan = redis_scan,
    .save_many = redis_save_many,
    .load_many = redis_load_many,
    .stats = redis_stats,
};
MAKO_EXPORT_STORE_PLUGIN(redis)
