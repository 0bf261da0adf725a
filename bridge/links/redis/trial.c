#include "bridge/links/redis/trial.h"

#include "bridge/links/findings.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>

#define TURN_MS 50
#define ARGS_MAX 8

struct probe {
    struct link *link;
    int64_t end_ms;
    struct findings found;
    /* the last reply */
    bool answered, is_error, is_array, has_group;
    const char *group;
    int64_t seconds, micros; /* of TIME */
    char text[4096];
};

static bool turn(struct probe *p)
{
    struct epoll_event event;
    int64_t now = findings_clock_ms();

    if (now >= p->end_ms)
        return false;
    client_poll(p->link->poll_fd);
    (void)client_step(&p->link->commands, now, 0);
    if (p->link->commands.tries)
        return false; /* it failed or ended: one try is enough here */
    client_watch(&p->link->commands);
    if (!p->answered)
        (void)epoll_wait(p->link->poll_fd, &event, 1, TURN_MS);
    return true;
}

/* XINFO GROUPS: one list of names and values in turn for each group. */
static bool names_group(const struct resp_value *v, const char *group)
{
    for (size_t i = 0; i < v->n; i++)
        for (size_t k = 0; k + 1 < v->items[i].n; k += 2)
            if (bytes_equal(v->items[i].items[k].text, bytes_text("name")) &&
                bytes_equal(v->items[i].items[k + 1].text, bytes_text(group)))
                return true;
    return false;
}

/* A whole number that came as text. */
static int64_t number(const struct resp_value *v)
{
    int64_t ret = 0;

    for (size_t i = 0; i < v->text.n && i < 18 && v->text.at[i] >= '0' && v->text.at[i] <= '9'; i++)
        ret = ret * 10 + (v->text.at[i] - '0');
    return ret;
}

static void answer(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct probe *p = owner;

    (void)arg;
    (void)sent;
    if (!v)
        return;
    p->answered = true;
    p->is_error = v->type == RESP_ERROR;
    p->is_array = v->type == RESP_ARRAY;
    if (p->is_array && v->n == 2) {
        p->seconds = number(&v->items[0]);
        p->micros = number(&v->items[1]);
    }
    p->has_group = p->is_array && p->group && names_group(v, p->group);
    (void)snprintf(p->text, sizeof p->text, "%.*s",
        (int)(v->text.n < sizeof p->text ? v->text.n : sizeof p->text - 1),
        v->text.at ? (const char *)v->text.at : "");
}

/* Sends one command (texts up to NULL) and waits for its reply; false when none came. */
static bool ask(struct probe *p, ...)
{
    const char *args[ARGS_MAX];
    size_t n = 0;
    va_list list;

    va_start(list, p);
    while (n < ARGS_MAX && (args[n] = va_arg(list, const char *)))
        n++;
    va_end(list);
    p->answered = false;
    if (!p->link->commands.ready || resp_command(p->link->commands.resp, n, answer, p, 0) != 0)
        return false;
    for (size_t i = 0; i < n; i++)
        resp_arg_text(p->link->commands.resp, args[i]);
    while (!p->answered && turn(p))
        ;
    if (!p->answered)
        findings_add(&p->found, true, "no answer to %s", args[0]);
    return p->answered;
}

static bool says(const struct probe *p, const char *word)
{
    return p->is_error && strncmp(p->text, word, strlen(word)) == 0;
}

/* A request that would change nothing even where it is allowed: permissions are looked at before
 * its arguments. */
static void tell_forbidden(struct probe *p, const char *what, const char *place)
{
    if (says(p, "NOPERM") || says(p, "WRONGTYPE"))
        findings_add(&p->found, true, "%s '%s': %s", what, place, p->text);
}

static void probe_stream_source(struct probe *p, const struct redis_source_options *o)
{
    p->group = o->group;
    if (!ask(p, "XINFO", "GROUPS", o->stream, NULL))
        return;
    if (says(p, "WRONGTYPE"))
        findings_add(&p->found, true, "stream '%s': %s", o->stream, p->text);
    else if (says(p, "ERR no such key"))
        findings_add(&p->found, false, "stream '%s' does not exist yet: the first start makes it",
            o->stream);
    else if (p->is_array && !p->has_group)
        findings_add(&p->found, false,
            "stream '%s' has no group '%s' yet: the first start makes it", o->stream, o->group);
    if (ask(p, "XREADGROUP", "GROUP", o->group, "bascule-probe", "STREAMS", o->stream, "no-id",
            NULL))
        tell_forbidden(p, "reading stream", o->stream);
    if (!says(p, "WRONGTYPE") && ask(p, "XACK", o->stream, o->group, "0-1", NULL))
        tell_forbidden(p, "acknowledging on stream", o->stream);
    if (o->remove && ask(p, "XDEL", o->stream, "0-1", NULL))
        tell_forbidden(p, "deleting from stream", o->stream);
}

/* Subscribes for real: this connection is closed right after. */
static void probe_channels(struct probe *p, const struct redis_source_options *o)
{
    for (size_t i = 0; i < o->channels.n; i++) {
        const char *name = o->channels.at[i];
        if (ask(p, strpbrk(name, "*?[") ? "PSUBSCRIBE" : "SUBSCRIBE", name, NULL) && p->is_error)
            findings_add(&p->found, true, "channel '%s': %s", name, p->text);
    }
    for (size_t i = 0; i < o->sharded_channels.n; i++) {
        const char *name = o->sharded_channels.at[i];
        if (ask(p, "SSUBSCRIBE", name, NULL) && p->is_error)
            findings_add(&p->found, true, "sharded channel '%s': %s", name, p->text);
    }
}

static void probe_stream_sink(struct probe *p, const struct redis_sink_options *o)
{
    const char *stream = o->stream.text;

    if (!o->stream.fixed)
        return;
    if (ask(p, "TYPE", stream, NULL) && !p->is_error && strcmp(p->text, "none") != 0 &&
        strcmp(p->text, "stream") != 0)
        findings_add(&p->found, true, "stream '%s' is a key of type %s", stream, p->text);
    if (ask(p, "XADD", stream, "no-id", "f", "v", NULL))
        tell_forbidden(p, "adding to stream", stream);
    if ((o->token_field && !*o->token_field) || o->wait.set ||
        !ask(p, "XRANGE", stream, "no-id", "+", NULL) || !says(p, "NOPERM"))
        return;
    findings_add(&p->found, false,
        "stream '%s' may not be read: after a lost reply an entry may be added twice", stream);
}

/* Nothing can be published for a trial: only the server's own rehearsal tells, where we may ask. */
static void probe_channel_sink(struct probe *p, const struct redis_sink_options *o)
{
    bool sharded = o->sharded_channel.text;
    const struct option_template *t = sharded ? &o->sharded_channel : &o->channel;
    char user[256];

    if (!t->fixed || !ask(p, "ACL", "WHOAMI", NULL) || p->is_error)
        return;
    (void)snprintf(user, sizeof user, "%.255s", p->text);
    if (ask(p, "ACL", "DRYRUN", user, sharded ? "SPUBLISH" : "PUBLISH", t->text, "x", NULL) &&
        !p->is_error && strcmp(p->text, "OK") != 0)
        findings_add(&p->found, true, "channel '%s': %s", t->text, p->text);
}

/* "name:value" of an answer to INFO; "" when it is not there. */
static const char *info(const struct probe *p, const char *name, char *ret, size_t limit)
{
    const char *at = strstr(p->text, name);

    ret[0] = '\0';
    if (at && at[strlen(name)] == ':')
        (void)snprintf(
            ret, limit, "%.*s", (int)strcspn(at + strlen(name) + 1, "\r\n"), at + strlen(name) + 1);
    return ret;
}

/* Streams are keys: a server that may take any key away may take events that nobody read. */
static void probe_eviction(struct probe *p)
{
    char limit[32], policy[48];

    if (!ask(p, "INFO", "memory", NULL) || p->is_error)
        return;
    if (strcmp(info(p, "maxmemory", limit, sizeof limit), "0") != 0 && *limit &&
        strncmp(info(p, "maxmemory_policy", policy, sizeof policy), "allkeys", 7) == 0)
        findings_add(&p->found, false,
            "the server evicts any key when its memory is full (maxmemory-policy %s): "
            "streams and their entries may vanish",
            policy);
}

static int64_t unix_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int trial_facts(struct link *l, int64_t timeout_ms, struct link_facts *ret, struct fault *why)
{
    struct probe p = { .link = l, .end_ms = findings_clock_ms() + timeout_ms };
    const struct link_status *s = &l->commands.status;
    char version[48];
    int64_t before;

    while (!l->commands.ready && turn(&p))
        ;
    if (!l->commands.ready)
        return fault_set(why, FAULT_RETRY, 0, "%s", *s->error ? s->error : "no answer in time");
    *ret = (struct link_facts){ .peer_expires_ms = s->peer_expires_ms };
    (void)snprintf(ret->peer, sizeof ret->peer, "%.*s", (int)strcspn(s->peer, ","), s->peer);
    if (ask(&p, "INFO", "server", NULL) && *info(&p, "redis_version", version, sizeof version))
        (void)snprintf(ret->version, sizeof ret->version, "Redis %s", version);
    before = unix_ms();
    if (ask(&p, "TIME", NULL) && p.seconds) {
        int64_t after = unix_ms();

        ret->has_clock = true;
        ret->clock_unsure_ms = after - before;
        ret->clock_ahead_ms = p.seconds * 1000 + p.micros / 1000 - (before + (after - before) / 2);
    }
    if (l->commands.resp)
        resp_forget(l->commands.resp, &p);
    return 0;
}

size_t trial_run(struct link *l, const struct redis_source_options *source,
    const struct redis_sink_options *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    struct probe p = {
        .link = l, .end_ms = findings_clock_ms() + timeout_ms, .found = { ret, 0, limit }
    };
    const char *error = l->commands.status.error;

    while (!l->commands.ready && turn(&p))
        ;
    if (!l->commands.ready) {
        findings_add(&p.found, true, "%s", *error ? error : "no answer in time");
        return p.found.n;
    }
    if (ask(&p, "INFO", "cluster", NULL) && strstr(p.text, "cluster_enabled:1"))
        findings_add(&p.found, true, "the server is part of a cluster, which this link cannot use");
    if ((sink && sink->stream.text) || (source && source->stream))
        probe_eviction(&p);
    if (sink && sink->stream.text)
        probe_stream_sink(&p, sink);
    else if (sink)
        probe_channel_sink(&p, sink);
    if (source && source->stream)
        probe_stream_source(&p, source);
    else if (source)
        probe_channels(&p, source);
    if (l->commands.resp)
        resp_forget(l->commands.resp, &p);
    return p.found.n;
}
