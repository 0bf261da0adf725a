#include "bridge/certificates.h"
#include "bridge/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DAY_MS (24LL * 3600 * 1000)
#define SAID_MAX 1024 /* certificates whose last warning is remembered */

/* ---- which there are ---- */

static void keep_earliest(int64_t *at, const struct link_status *s)
{
    if (s->peer_expires_ms && (!*at || s->peer_expires_ms < *at))
        *at = s->peer_expires_ms;
}

static void keep_named(
    int64_t *peers, const struct config *config, const char *name, const struct link_status *s)
{
    if (!s->peer_expires_ms)
        return;
    for (size_t i = 0; i < config->connection_count; i++)
        if (strcmp(config->connections[i].name, name) == 0)
            keep_earliest(&peers[i], s);
}

/* A source or a sink may have a socket, and so a broker, of its own. */
static void read_peers(const struct relay *relay, const struct config *config, int64_t *peers)
{
    for (size_t i = 0; i < config->connection_count; i++) {
        struct link_status s;

        relay_connection_status(relay, i, &s);
        keep_earliest(&peers[i], &s);
    }
    for (size_t i = 0; i < relay_route_count(relay); i++) {
        struct relay_route_status r;

        relay_route_status(relay, i, &r);
        keep_named(peers, config, r.connection, &r.link);
        for (size_t k = 0; k < r.sink_count; k++) {
            struct relay_sink_status s;

            relay_sink_status(relay, i, k, &s);
            keep_named(peers, config, s.connection, &s.link);
        }
    }
}

int certificates_read(
    const struct relay *relay, const struct config *config, struct certificates *ret)
{
    size_t limit = config->connection_count * (CONFIG_CERTIFICATES_MAX + 1) + 1;
    int64_t *peers = calloc(config->connection_count + 1, sizeof *peers);

    *ret = (struct certificates){ .at = calloc(limit, sizeof *ret->at) };
    if (!peers || !ret->at) {
        free(peers);
        certificates_done(ret);
        return -1;
    }
    read_peers(relay, config, peers);
    for (size_t i = 0; i < config->connection_count; i++) {
        const struct config_connection *c = &config->connections[i];

        for (size_t k = 0; k < c->certificate_count; k++)
            ret->at[ret->n++] = (struct certificate){ c->name, c->certificates[k].key,
                c->certificates[k].path, c->certificates[k].expires_ms };
        if (peers[i])
            ret->at[ret->n++] = (struct certificate){ c->name, "peer", NULL, peers[i] };
    }
    free(peers);
    return 0;
}

void certificates_done(struct certificates *c)
{
    free(c->at);
    *c = (struct certificates){ 0 };
}

int64_t certificates_days(int64_t expires_ms, int64_t unix_ms)
{
    int64_t left = expires_ms - unix_ms;

    return left >= 0 ? left / DAY_MS : -((-left + DAY_MS - 1) / DAY_MS);
}

bool certificates_near(int64_t expires_ms, int64_t unix_ms)
{
    return expires_ms - unix_ms < CERTIFICATES_WARN_DAYS * DAY_MS;
}

/* ---- saying it ---- */

struct said {
    char name[160]; /* "kafka cert_file" */
    int64_t unix_ms;
};

struct certificates_watch {
    struct said said[SAID_MAX];
    size_t n;
};

int certificates_watch_open(struct certificates_watch **ret, struct fault *why)
{
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : fault_set(why, FAULT_RETRY, 0, "out of memory");
}

void certificates_watch_free(struct certificates_watch *w)
{
    free(w);
}

/* Whether a day has passed since it was said; then it counts as said now. */
static bool due(struct certificates_watch *w, const struct certificate *c, int64_t unix_ms)
{
    char name[sizeof w->said->name];
    size_t i = 0;

    (void)snprintf(name, sizeof name, "%s %s", c->connection, c->which);
    while (i < w->n && strcmp(w->said[i].name, name) != 0)
        i++;
    if (i == SAID_MAX)
        return false;
    /* A clock that was set back must not keep it quiet. */
    if (i < w->n && unix_ms - w->said[i].unix_ms < DAY_MS && unix_ms >= w->said[i].unix_ms)
        return false;
    memcpy(w->said[i].name, name, sizeof name);
    w->said[i].unix_ms = unix_ms;
    w->n += i == w->n;
    return true;
}

static void say(const struct certificate *c, int64_t unix_ms)
{
    int64_t days = certificates_days(c->expires_ms, unix_ms);
    time_t end = (time_t)(c->expires_ms / 1000);
    char date[40] = "", what[400];
    struct tm tm;

    if (gmtime_r(&end, &tm))
        (void)strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (c->path)
        (void)snprintf(what, sizeof what, "%s %.300s", c->which, c->path);
    else
        (void)snprintf(what, sizeof what, "the broker's own certificate");
    if (c->expires_ms < unix_ms)
        log_say(LOG_LEVEL_ERROR, NULL, NULL, "connection '%s': %s expired on %s", c->connection,
            what, date);
    else
        log_say(LOG_LEVEL_WARN, NULL, NULL, "connection '%s': %s expires in %lld day%s, on %s",
            c->connection, what, (long long)days, days == 1 ? "" : "s", date);
}

void certificates_watch_look(
    struct certificates_watch *w, const struct certificates *all, int64_t unix_ms)
{
    for (size_t i = 0; i < all->n; i++)
        if (certificates_near(all->at[i].expires_ms, unix_ms) && due(w, &all->at[i], unix_ms))
            say(&all->at[i], unix_ms);
}
