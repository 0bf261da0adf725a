#include "bridge/links/redis/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define AT(s, m) offsetof(struct s, m)

const struct option redis_link_table[] = {
    { .name = "url",
        .type = OPTION_TEXT,
        .offset = AT(redis_link_options, url),
        .flags = OPTION_REQUIRED | OPTION_CREDENTIAL_URL,
        .help = "Address of the server: redis://[user[:password]@]host[:port][/db]." },
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

const struct option redis_source_table[] = {
    { .name = "stream",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, stream),
        .flags = OPTION_REQUIRED,
        .help = "Stream to read." },
    { .name = "group",
        .type = OPTION_TEXT,
        .offset = AT(redis_source_options, group),
        .flags = OPTION_REQUIRED,
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
    { 0 },
};

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

int redis_url_parse(const char *url, struct redis_url *ret, struct fault *why)
{
    char *at = ret->text, *user = NULL, *part = NULL;
    int64_t port = 6379;

    *ret = (struct redis_url){ .db = -1 };
    if (strncmp(url, "redis://", 8) != 0)
        return fault_set(why, FAULT_INPUT, 0, "the url must begin with redis://");
    if (strlen(url + 8) >= sizeof ret->text)
        return fault_set(why, FAULT_INPUT, 0, "the url is longer than %zu", sizeof ret->text);
    memcpy(at, url + 8, strlen(url + 8) + 1);
    part = strrchr(at, '@');
    if (part) {
        *part = 0;
        user = at;
        at = part + 1;
        part = strchr(user, ':');
        if (part) {
            *part = 0;
            ret->password = part + 1;
        }
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
