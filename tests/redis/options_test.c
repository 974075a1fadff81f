/* tests/redis/options_test.c - what the Redis store makes of its options before it asks
 * any server: refusals that name the option, and lists of endpoints.  Where a server is
 * asked, nobody listens. */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

TestSuite(redis_options, .timeout = 120);

/* Ports 1 to 9 are nobody's; few words are lost when nobody is there. */
#define QUICK "\"connect_timeout\": \"100ms\", \"op_timeout\": \"200ms\", "

static void ends_with(int wanted, const char *options, const char *words)
{
    mako_store *store = NULL;
    struct mako_error err = {""};
    int status = open_with("memory", options, &store, &err);

    cr_assert_eq(status, wanted, "%.80s: %s: %s", options, mako_status_name(status),
                 err.text);
    cr_assert_null(store);
    has_words(err.text, words);
}

static void no_option(const char *options, const char *words)
{
    ends_with(MAKO_E_CONFIG, options, words);
}

/* An option with a value of len times c, after what stands before it. */
static void no_long(const char *before, const char *name, size_t len, char c,
                    const char *words)
{
    char value[1200] = "", all[1400];

    cr_assert_lt(len, sizeof value);
    memset(value, c, len);
    (void)snprintf(all, sizeof all, "%s\"%s\": \"%s\"", before, name, value);
    no_option(all, words);
}

Test(redis_options, endpoints)
{
    char many[400] = "";

    no_option("\"endpoints\": \"\"", "\"endpoints\"");
    no_option("\"endpoints\": \"a b:1\"", "\"endpoints\": 'a b:1' is no HOST:PORT");
    no_option("\"endpoints\": \"a:0\"", "'a:0' is no HOST:PORT");
    no_option("\"endpoints\": \"a:65536\"", "'a:65536' is no HOST:PORT");
    no_option("\"endpoints\": \"a:1x\"", "'a:1x' is no HOST:PORT");
    no_option("\"endpoints\": \":1\"", "':1' is no HOST:PORT");
    no_option("\"endpoints\": \"[::1:1\"", "'[::1:1' is no HOST:PORT");
    no_option("\"endpoints\": \"a[b]:1\"", "'a[b]:1' is no HOST:PORT");
    no_option("\"endpoints\": \"\u00e4:1\"", "is no HOST:PORT");
    no_option("\"endpoints\": \"a:1,,b:1\"", "'' is no HOST:PORT");
    no_option("\"endpoints\": \"a:1,b:1\"", "\"endpoints\": mode single has one server");
    no_long("", "endpoints", 300, 'a', "is no HOST:PORT");
    for (int i = 0; i < 65; i++)
        (void)snprintf(many + strlen(many), sizeof many - strlen(many), "%sa:1",
                       i == 0 ? "\"mode\": \"cluster\", \"endpoints\": \"" : ",");
    (void)snprintf(many + strlen(many), sizeof many - strlen(many), "\"");
    no_option(many, "\"endpoints\": more than 64");
}

/* Spaces are no part of a name: the server that is not there is named without. */
Test(redis_options, spaces_around_endpoints)
{
    ends_with(MAKO_E_UNAVAILABLE, QUICK "\"endpoints\": \"  127.0.0.1:9  \"",
              "127.0.0.1:9:");
    ends_with(MAKO_E_UNAVAILABLE,
              QUICK
              "\"mode\": \"cluster\", \"endpoints\": \"  127.0.0.1:9 , 127.0.0.1:9 \"",
              "redis): 127.0.0.1:9:");
}

Test(redis_options, unix_socket)
{
    no_option("\"mode\": \"cluster\", \"unix_socket\": \"/s\"",
              "\"unix_socket\": only in mode single");
    no_long("", "unix_socket", 120, '/', "\"unix_socket\": longer than the 107 bytes");
    no_option("\"unix_socket\": \"/s\", \"tls\": true", "\"tls\": not on a Unix socket");
    ends_with(MAKO_E_UNAVAILABLE, QUICK "\"unix_socket\": \"/nowhere/socket\"",
              "/nowhere/socket: No such file or directory");
}

Test(redis_options, logins)
{
    no_option("\"password\": \"a\", \"password_file\": \"f\"",
              "\"password\" and \"password_file\": one of them");
    no_option("\"username\": \"a\"",
              "\"username\" needs \"password_file\" or \"password\"");
    no_long("", "password", 1001, 'a', "\"password\": longer than 1000 bytes");
    no_option("\"sentinel_username\": \"a\"",
              "\"sentinel_username\" needs \"sentinel_password_file\" or "
              "\"sentinel_password\"");
    ends_with(MAKO_E_UNAVAILABLE,
              QUICK "\"endpoints\": \"127.0.0.1:9\", \"username\": \"a\", "
                    "\"password_file\": \"f\"",
              "127.0.0.1:9");
}

Test(redis_options, what_goes_together)
{
    no_option("\"sentinel_master\": \"m\"", "\"sentinel_master\": only in mode sentinel");
    no_option("\"mode\": \"sentinel\"", "\"sentinel_master\": needed in mode sentinel");
    no_option("\"mode\": \"cluster\", \"db\": 1", "\"db\": a cluster has database 0");
    no_option("\"retry_base\": \"2s\", \"retry_max\": \"1s\"",
              "\"retry_max\": less than retry_base");
    no_option("\"key_prefix\": \"a{b\"", "\"key_prefix\": must not contain '{'");
    no_option("\"key_prefix\": \"a\\nb\"", "\"key_prefix\": must not contain");
    no_long("", "key_prefix", 129, 'a', "\"key_prefix\": longer than 128 bytes");
    no_option("\"tls\": true, \"tls_cert\": \"c\"", "\"tls_cert\": goes together with");
    no_option("\"tls\": true, \"tls_key\": \"k\"", "\"tls_cert\": goes together with");
    no_option("\"tls_ca\": \"c\"", "\"tls\": false, but there are options for it");
    no_option("\"tls_cert\": \"c\", \"tls_key\": \"k\"", "\"tls\": false, but");
    no_option("\"tls_verify_name\": \"n\"", "\"tls\": false, but");
}
