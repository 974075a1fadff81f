/* plugins/redis/tls.c - hiredis_ssl makes the link, we drive it: the handshake and
 * every byte to a deadline, on a socket that does not block, with the peer's name
 * checked (hiredis_ssl itself checks no names). */
#include "tls.h"

#ifdef MAKO_REDIS_TLS

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

struct tls {
    SSL_CTX *context;
    const char *verify_name;
};

struct tls_link {
    SSL *ssl;
    redisContext *owner; /* frees ssl */
};

/* ---- signals ---------------------------------------------------------------------- */

/* OpenSSL writes with write(2): SIGPIPE is kept from this thread meanwhile, and taken
 * away again where we raised it. */
struct quiet {
    sigset_t pipe, before;
    bool pending;
};

static void quiet_begin(struct quiet *quiet)
{
    sigset_t pending;

    sigemptyset(&quiet->pipe);
    sigaddset(&quiet->pipe, SIGPIPE);
    sigemptyset(&pending);
    (void)sigpending(&pending);
    quiet->pending = sigismember(&pending, SIGPIPE) == 1;
    (void)pthread_sigmask(SIG_BLOCK, &quiet->pipe, &quiet->before);
}

static void quiet_end(struct quiet *quiet)
{
    static const struct timespec at_once = {0};
    int saved = errno;

    if (!quiet->pending)
        while (sigtimedwait(&quiet->pipe, NULL, &at_once) < 0 && errno == EINTR)
            ;
    (void)pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
    errno = saved;
}

/* ---- errors ----------------------------------------------------------------------- */

static const char *queued_error(void)
{
    unsigned long code = ERR_peek_error();
    const char *reason = NULL;

    if (code != 0)
        reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
                                        : ERR_reason_error_string(code);
    return reason != NULL ? reason : "TLS failed";
}

static void explain(struct tls_link *link, int result, int error, struct tls_need *need)
{
    long verdict = SSL_get_verify_result(link->ssl);

    need->events = 0;
    need->closed = false;
    switch (SSL_get_error(link->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        need->events = POLLIN;
        return;
    case SSL_ERROR_WANT_WRITE:
        need->events = POLLOUT;
        return;
    case SSL_ERROR_ZERO_RETURN:
        need->closed = true;
        (void)snprintf(need->why, sizeof need->why, "closed by the server");
        return;
    case SSL_ERROR_SYSCALL:
        need->closed = true;
        (void)snprintf(need->why, sizeof need->why, "%s",
                       error != 0 ? strerror(error) : "closed by the server");
        return;
    default:
        break;
    }
    if (verdict != X509_V_OK)
        (void)snprintf(need->why, sizeof need->why, "the server's certificate: %s",
                       X509_verify_cert_error_string(verdict));
    else
        (void)snprintf(need->why, sizeof need->why, "TLS: %s", queued_error());
}

/* ---- a store's part --------------------------------------------------------------- */

static int refused(struct mako_error *err, const char *what, const char *file)
{
    return mako_fail(err, MAKO_E_CONFIG, "\"%s\": %s: %s", what, file, queued_error());
}

static int load_files(SSL_CTX *context, const struct tls_setup *setup,
                      struct mako_error *err)
{
    if (setup->ca == NULL && SSL_CTX_set_default_verify_paths(context) != 1)
        return refused(err, "tls_ca", "the system's");
    if (setup->ca != NULL && SSL_CTX_load_verify_file(context, setup->ca) != 1)
        return refused(err, "tls_ca", setup->ca);
    if (setup->cert != NULL &&
        SSL_CTX_use_certificate_chain_file(context, setup->cert) != 1)
        return refused(err, "tls_cert", setup->cert);
    if (setup->key != NULL &&
        SSL_CTX_use_PrivateKey_file(context, setup->key, SSL_FILETYPE_PEM) != 1)
        return refused(err, "tls_key", setup->key);
    return MAKO_OK;
}

int tls_new(const struct tls_setup *setup, struct tls **out, struct mako_error *err)
{
    struct tls *tls = calloc(1, sizeof *tls);
    int status;

    if (tls == NULL)
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    /* Before anything else of OpenSSL's, unless the program was there first: exit() must
     * not clean up under threads that are inside calls. */
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    ERR_clear_error();
    tls->verify_name = setup->verify_name;
    tls->context = SSL_CTX_new(TLS_client_method());
    if (tls->context == NULL) {
        free(tls);
        return mako_fail(err, MAKO_E_NOMEM, "TLS: %s", queued_error());
    }
    SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
    SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, NULL);
    status = load_files(tls->context, setup, err);
    if (status != MAKO_OK) {
        tls_free(tls);
        return status;
    }
    *out = tls;
    return MAKO_OK;
}

void tls_free(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->context);
    free(tls);
}

/* ---- a connection's part ---------------------------------------------------------- */

static bool is_address(const char *host)
{
    unsigned char room[16];

    return inet_pton(AF_INET, host, room) == 1 || inet_pton(AF_INET6, host, room) == 1;
}

/* The name or address that the certificate must be for. */
static bool expect_name(SSL *ssl, const char *host)
{
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

static struct tls_link *failed(struct tls_link *link, SSL *ssl, struct tls_need *need)
{
    long verdict = ssl != NULL ? SSL_get_verify_result(ssl) : X509_V_OK;

    if (verdict != X509_V_OK)
        (void)snprintf(need->why, sizeof need->why, "the server's certificate: %s",
                       X509_verify_cert_error_string(verdict));
    else
        (void)snprintf(need->why, sizeof need->why, "TLS: %s",
                       link != NULL && link->owner != NULL && link->owner->err != 0
                           ? link->owner->errstr
                           : queued_error());
    SSL_free(ssl);
    if (link != NULL && link->owner != NULL) {
        link->owner->fd = REDIS_INVALID_FD;
        redisFree(link->owner);
    }
    free(link);
    return NULL;
}

struct tls_link *tls_start(struct tls *tls, int fd, const char *host,
                           struct tls_need *need)
{
    struct tls_link *link = calloc(1, sizeof *link);
    SSL *ssl;
    struct quiet quiet;
    int made;

    *need = (struct tls_need){0};
    ERR_clear_error();
    ssl = SSL_new(tls->context);
    if (link == NULL || ssl == NULL ||
        !expect_name(ssl, tls->verify_name != NULL ? tls->verify_name : host))
        return failed(link, ssl, need);
    link->owner = redisConnectFd(fd);
    if (link->owner == NULL)
        return failed(link, ssl, need);
    link->owner->flags &= ~REDIS_BLOCK;
    quiet_begin(&quiet);
    made = redisInitiateSSL(link->owner, ssl);
    quiet_end(&quiet);
    if (made != REDIS_OK)
        return failed(link, ssl, need);
    link->ssl = ssl;
    return link;
}

void tls_stop(struct tls_link *link)
{
    if (link == NULL)
        return;
    link->owner->fd = REDIS_INVALID_FD; /* the socket is not ours */
    redisFree(link->owner);
    free(link);
}

bool tls_handshake(struct tls_link *link, struct tls_need *need)
{
    struct quiet quiet;
    int result, error;

    quiet_begin(&quiet);
    ERR_clear_error();
    errno = 0;
    result = SSL_do_handshake(link->ssl);
    error = errno;
    quiet_end(&quiet);
    if (result != 1)
        explain(link, result, error, need);
    return result == 1;
}

static int at_most_int(size_t len)
{
    return len > INT_MAX ? INT_MAX : (int)len;
}

ssize_t tls_read(struct tls_link *link, void *to, size_t len, struct tls_need *need)
{
    struct quiet quiet;
    int result, error;

    quiet_begin(&quiet);
    ERR_clear_error();
    errno = 0;
    result = SSL_read(link->ssl, to, at_most_int(len));
    error = errno;
    quiet_end(&quiet);
    if (result > 0)
        return result;
    explain(link, result, error, need);
    return -1;
}

ssize_t tls_write(struct tls_link *link, const void *from, size_t len,
                  struct tls_need *need)
{
    struct quiet quiet;
    int result, error;

    quiet_begin(&quiet);
    ERR_clear_error();
    errno = 0;
    result = SSL_write(link->ssl, from, at_most_int(len));
    error = errno;
    quiet_end(&quiet);
    if (result > 0)
        return result;
    explain(link, result, error, need);
    return -1;
}

/* Session tickets may lie about unread, so that a look at the socket would not do. */
bool tls_quiet(struct tls_link *link)
{
    struct tls_need need = {0};
    struct quiet quiet;
    char byte;
    int result, error;

    quiet_begin(&quiet);
    ERR_clear_error();
    errno = 0;
    result = SSL_peek(link->ssl, &byte, 1);
    error = errno;
    quiet_end(&quiet);
    if (result > 0)
        return false;
    explain(link, result, error, &need);
    return need.events == POLLIN;
}

#else /* no hiredis_ssl */

int tls_new(const struct tls_setup *setup, struct tls **tls, struct mako_error *err)
{
    (void)setup;
    (void)tls;
    return mako_fail(err, MAKO_E_UNSUPPORTED,
                     "\"tls\": this plugin was built without hiredis_ssl (hiredis 1.0 or "
                     "later); build it with that, or put stunnel in front of the server");
}

void tls_free(struct tls *tls)
{
    (void)tls;
}

struct tls_link *tls_start(struct tls *tls, int fd, const char *host,
                           struct tls_need *need)
{
    (void)tls;
    (void)fd;
    (void)host;
    *need = (struct tls_need){.why = "built without TLS"};
    return NULL;
}

void tls_stop(struct tls_link *link)
{
    (void)link;
}

bool tls_handshake(struct tls_link *link, struct tls_need *need)
{
    (void)link;
    need->events = 0;
    return false;
}

ssize_t tls_read(struct tls_link *link, void *to, size_t len, struct tls_need *need)
{
    (void)link;
    (void)to;
    (void)len;
    need->events = 0;
    return -1;
}

ssize_t tls_write(struct tls_link *link, const void *from, size_t len,
                  struct tls_need *need)
{
    (void)link;
    (void)from;
    (void)len;
    need->events = 0;
    return -1;
}

bool tls_quiet(struct tls_link *link)
{
    (void)link;
    return false;
}

#endif
