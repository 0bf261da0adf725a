#include "bridge/links/redis/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(s, m) offsetof(struct s, m)

static const struct option tls_table[] = {
    { .name = "ca_file",
        .type = OPTION_TEXT,
        .offset = AT(redis_tls_options, ca_file),
        .flags = OPTION_FILE,
        .help = "Authorities that may sign the server's certificate; else the system's." },
    { .name = "cert_file",
        .type = OPTION_TEXT,
        .offset = AT(redis_tls_options, cert_file),
        .flags = OPTION_FILE,
        .help = "Our own certificate, PEM." },
    { .name = "key_file",
        .type = OPTION_TEXT,
        .offset = AT(redis_tls_options, key_file),
        .flags = OPTION_FILE,
        .help = "Its key, PEM." },
    { .name = "server_name",
        .type = OPTION_TEXT,
        .offset = AT(redis_tls_options, server_name),
        .help = "Name that the certificate must hold; else the url's host." },
    { .name = "verify",
        .type = OPTION_BOOL,
        .offset = AT(redis_tls_options, verify),
        .default_text = "true",
        .help = "false trusts any certificate: for trials only." },
    { 0 },
};

const struct option redis_link_table[] = {
    { .name = "url",
        .type = OPTION_TEXT,
        .offset = AT(redis_link_options, url),
        .flags = OPTION_CREDENTIAL_URL,
        .help = "Address of the server: redis[s]://[user[:password]@]host[:port][/db]." },
    { .name = "urls",
        .type = OPTION_TEXT_LIST,
        .offset = AT(redis_link_options, urls),
        .flags = OPTION_CREDENTIAL_URL,
        .help = "Several addresses, tried in turn." },
    { .name = "tls",
        .type = OPTION_TABLE,
        .offset = AT(redis_link_options, tls),
        .table = tls_table,
        .help = "TLS for rediss URLs." },
    { .name = "username",
        .type = OPTION_TEXT,
        .offset = AT(redis_link_options, username),
        .help = "ACL user; overrides the one in the url." },
    { .name = "password",
        .type = OPTION_TEXT,
        .offset = AT(redis_link_options, password),
        .flags = OPTION_SECRET,
        .help = "Password of the user, or of the server." },
    { .name = "db",
        .type = OPTION_INT,
        .offset = AT(redis_link_options, db),
        .default_text = "-1",
        .min = -1,
        .max = 1 << 20,
        .help = "Database number; -1 takes the url's, else 0." },
    { .name = "connect_timeout",
        .type = OPTION_DURATION,
        .offset = AT(redis_link_options, connect_timeout_ms),
        .default_text = "10s",
        .min = 100,
        .max = 600000,
        .help = "Longest wait for connection and login." },
    { .name = "ping_interval",
        .type = OPTION_DURATION,
        .offset = AT(redis_link_options, ping_interval_ms),
        .default_text = "10s",
        .min = 100,
        .max = 600000,
        .help = "Silence after which the server is asked whether it lives." },
    { 0 },
};

static const char *const starts[] = { "oldest", "new", NULL };
static const char *const oversizes[] = { "stop", "skip", NULL };
static const char *const envelopes[] = { "none", "json", NULL };

const struct option redis_source_table[] = {
    { .name = "stream",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, stream),
        .help = "Stream to read, with group." },
    { .name = "group",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, group),
        .help = "Consumer group; made when it is not there." },
    { .name = "consumer",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, consumer),
        .help = "Name in the group; the store's id unless given." },
    { .name = "start",
        .type = OPTION_ENUM,
        .offset = AT(redis_source_options, start),
        .default_text = "oldest",
        .choices = starts,
        .help = "Where a new group begins." },
    { .name = "delete",
        .type = OPTION_BOOL,
        .offset = AT(redis_source_options, remove),
        .default_text = "false",
        .help = "Delete entries once they are acknowledged." },
    { .name = "claim_idle",
        .type = OPTION_DURATION,
        .offset = AT(redis_source_options, claim_idle_ms),
        .default_text = "0s",
        .min = 0,
        .max = 604800000,
        .help = "Take over other consumers' entries that were idle for so long; 0: never." },
    { .name = "oversize",
        .type = OPTION_ENUM,
        .offset = AT(redis_source_options, oversize),
        .default_text = "stop",
        .choices = oversizes,
        .help = "An entry or message above max_event_bytes: stop and wait for a person, or skip it "
                "as a gap." },
    { .name = "channels",
        .type = OPTION_TEXT_LIST,
        .offset = AT(redis_source_options, channels),
        .help = "Pub/sub channels to read; with * ? or [ they are patterns." },
    { .name = "sharded_channels",
        .type = OPTION_TEXT_LIST,
        .offset = AT(redis_source_options, sharded_channels),
        .help = "Sharded pub/sub channels to read (Redis 7)." },
    { .name = "body_field",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, body_field),
        .default_text = "body",
        .help = "Field of an entry that holds the body." },
    { .name = "id_field",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, id_field),
        .default_text = "message-id",
        .help = "Field of the event's id." },
    { .name = "key_field",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, key_field),
        .default_text = "key",
        .help = "Field of the record key." },
    { .name = "header_prefix",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, header_prefix),
        .default_text = "",
        .help = "What stands before a header's name in its field's name." },
    { 0 },
};

static const struct option wait_table[] = {
    { .name = "replicas",
        .type = OPTION_INT,
        .offset = AT(redis_wait_options, replicas),
        .default_text = "1",
        .min = 1,
        .max = 100,
        .help = "Replicas that must have an entry before it counts as delivered." },
    { .name = "timeout",
        .type = OPTION_DURATION,
        .offset = AT(redis_wait_options, timeout_ms),
        .default_text = "1s",
        .min = 1,
        .max = 60000,
        .help = "Longest wait for them." },
    { 0 },
};

const struct option redis_sink_table[] = {
    { .name = "channel",
        .type = OPTION_TEMPLATE,
        .offset = AT(redis_sink_options, channel),
        .help = "Pub/sub channel to publish to." },
    { .name = "stream",
        .type = OPTION_TEMPLATE,
        .offset = AT(redis_sink_options, stream),
        .help = "Stream to add to." },
    { .name = "sharded_channel",
        .type = OPTION_TEMPLATE,
        .offset = AT(redis_sink_options, sharded_channel),
        .help = "Sharded pub/sub channel to publish to (Redis 7)." },
    { .name = "maxlen",
        .type = OPTION_INT,
        .offset = AT(redis_sink_options, maxlen),
        .default_text = "0",
        .min = 0,
        .max = INT64_MAX,
        .help = "Entries to keep; 0 keeps all." },
    { .name = "maxlen_exact",
        .type = OPTION_BOOL,
        .offset = AT(redis_sink_options, maxlen_exact),
        .default_text = "false",
        .help = "Trim exactly, not to whole nodes." },
    { .name = "require_receiver",
        .type = OPTION_BOOL,
        .offset = AT(redis_sink_options, require_receiver),
        .default_text = "false",
        .help = "A channel without subscribers refuses the event." },
    { .name = "envelope",
        .type = OPTION_ENUM,
        .offset = AT(redis_sink_options, envelope),
        .default_text = "none",
        .choices = envelopes,
        .help = "json: channels get id, key, headers, time and body as one object, not the bare "
                "body." },
    { .name = "wait",
        .type = OPTION_TABLE,
        .offset = AT(redis_sink_options, wait),
        .table = wait_table,
        .help = "Count an entry as delivered only when replicas have it." },
    { .name = "body_field",
        .type = OPTION_TEXT,
        .offset = AT(redis_sink_options, body_field),
        .default_text = "body",
        .help = "Field of an entry that holds the body." },
    { .name = "id_field",
        .type = OPTION_TEXT,
        .offset = AT(redis_sink_options, id_field),
        .default_text = "message-id",
        .help = "Field of the event's id." },
    { .name = "key_field",
        .type = OPTION_TEXT,
        .offset = AT(redis_sink_options, key_field),
        .default_text = "key",
        .help = "Field of the record key." },
    { .name = "header_prefix",
        .type = OPTION_TEXT,
        .offset = AT(redis_sink_options, header_prefix),
        .default_text = "",
        .help = "What stands before a header's name in its field's name." },
    { .name = "token_field",
        .type = OPTION_TEXT,
        .offset = AT(redis_sink_options, token_field),
        .default_text = "bascule-token",
        .help = "Field of the token by which a repeat is found after a lost reply; empty: none." },
    { 0 },
};

size_t redis_url_count(const struct redis_link_options *o)
{
    return o->url ? 1 : o->urls.n;
}

const char *redis_url_at(const struct redis_link_options *o, size_t i)
{
    return o->url ? o->url : o->urls.at[i];
}

static int parse_number(const char *text, int64_t min, int64_t max, int64_t *ret)
{
    char *end = NULL;
    long long n = 0;

    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno || end == text || *end || n < min || n > max)
        return -1;
    *ret = n;
    return 0;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place; a % that begins no number of two digits, or a zero byte, stays as it is. */
static void unescape(char *text)
{
    char *to = text;

    while (*text) {
        int high = *text == '%' ? hex(text[1]) : -1, low = high >= 0 ? hex(text[2]) : -1;
        if (low >= 0 && (high || low)) {
            *to++ = (char)(high * 16 + low);
            text += 3;
        } else {
            *to++ = *text++;
        }
    }
    *to = 0;
}

int redis_url_parse(const char *url, struct redis_url *ret, struct fault *why)
{
    char *at = ret->text, *user = NULL, *part = NULL;
    int64_t port = 6379;

    *ret = (struct redis_url){ .db = -1 };
    ret->tls = strncmp(url, "rediss://", 9) == 0;
    if (!ret->tls && strncmp(url, "redis://", 8) != 0)
        return fault_set(why, FAULT_INPUT, 0, "the url must begin with redis:// or rediss://");
    url += ret->tls ? 9 : 8;
    if (strlen(url) >= sizeof ret->text)
        return fault_set(why, FAULT_INPUT, 0, "the url is longer than %zu", sizeof ret->text);
    memcpy(at, url, strlen(url) + 1);
    part = strrchr(at, '@');
    if (part) {
        *part = 0;
        user = at;
        at = part + 1;
        part = strchr(user, ':');
        if (part) {
            *part = 0;
            unescape(part + 1);
            ret->password = part + 1;
        }
        unescape(user);
        ret->username = *user ? user : NULL;
    }
    part = strchr(at, '/');
    if (part && part[1] && parse_number(part + 1, 0, 1 << 20, &ret->db) != 0)
        return fault_set(why, FAULT_INPUT, 0, "the url's database is no number");
    if (part)
        *part = 0;
    part = strrchr(at, ':');
    if (part && at[0] == '[' && part < strrchr(at, ']'))
        part = NULL;
    if (part) {
        *part = 0;
        if (parse_number(part + 1, 1, 65535, &port) != 0)
            return fault_set(why, FAULT_INPUT, 0, "the url's port is not 1 to 65535");
    }
    if (at[0] == '[' && at[1] && at[strlen(at) - 1] == ']') {
        at[strlen(at) - 1] = 0;
        at++;
    }
    if (!*at)
        return fault_set(why, FAULT_INPUT, 0, "the url names no host");
    ret->host = at;
    ret->port = (int)port;
    return 0;
}
