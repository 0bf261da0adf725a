#include "tests/sim/hearing.h"

#include "bridge/base/header.h"
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>

static struct hearing *hearing_now; /* that the connector talks to */

/* ---- the connector of its sinks: takes each message at once, and answers the next time ---- */

struct link {
    char nothing;
};

struct sink {
    struct report reports[256];
    size_t n;
};

static int link_open(const struct link_spec *spec, struct link **ret, struct fault *why)
{
    (void)spec;
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : fault_set(why, FAULT_RETRY, 0, "out of memory");
}

static void link_free(struct link *l)
{
    free(l);
}

static int link_pollfd(const struct link *l)
{
    (void)l;
    return -1;
}

static int64_t link_step(struct link *l, int64_t now_ms, int64_t unix_ms)
{
    (void)l;
    (void)unix_ms;
    return now_ms + 5;
}

static void link_status(const struct link *l, struct link_status *ret)
{
    (void)l;
    *ret = (struct link_status){ .state = LINK_UP, .lag = -1 };
}

static int sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why)
{
    (void)l;
    (void)spec;
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : fault_set(why, FAULT_RETRY, 0, "out of memory");
}

static void copy(char *to, size_t n, struct bytes b)
{
    (void)snprintf(to, n, "%.*s", (int)b.n, b.n ? (const char *)b.at : "");
}

static void hear(struct hearing *h, const struct message *m)
{
    struct heard *e = &h->heard[h->count];
    struct header header;
    json_error_t error;

    CHECK(h->count < HEARD_MAX);
    h->count++;
    *e = (struct heard){ .hops = m->event->hops, .has_key = bytes_present(m->key) };
    copy(e->address, sizeof e->address, m->fields[0]);
    copy(e->key, sizeof e->key, m->key);
    copy(e->id, sizeof e->id, event_id(m->event));
    e->json = header_find(m->event->headers, bytes_text("content-type"), &header) &&
              bytes_equal(header.value.bytes, bytes_text("application/json"));
    e->body = json_loadb((const char *)m->event->body.at, m->event->body.n, 0, &error);
    if (!e->body)
        harness_fail(__FILE__, __LINE__, "%s in %.*s", error.text, (int)m->event->body.n,
            (const char *)m->event->body.at);
}

static size_t sink_publish(struct sink *s, const struct message *messages, size_t n)
{
    struct hearing *h = hearing_now;
    size_t i;

    for (i = 0; i < n && s->n < 256 && !h->deaf; i++) {
        s->reports[s->n++] = (struct report){ .ref = messages[i].ref,
            .fate = h->refuses || h->nacks ? FATE_REFUSED : FATE_DELIVERED,
            .cause = h->nacks     ? CAUSE_NACK
                     : h->refuses ? CAUSE_FINAL
                                  : CAUSE_NONE };
        if (!h->refuses && !h->nacks)
            hear(h, &messages[i]);
    }
    return i;
}

static size_t sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = s->n < limit ? s->n : limit;

    memcpy(ret, s->reports, n * sizeof *ret);
    memmove(s->reports, s->reports + n, (s->n - n) * sizeof *s->reports);
    s->n -= n;
    return n;
}

static void sink_abandon(struct sink *s)
{
    (void)s;
}

static void sink_status(const struct sink *s, struct link_status *ret)
{
    (void)s;
    *ret = (struct link_status){ .state = hearing_now->deaf ? LINK_DOWN : LINK_UP, .lag = -1 };
}

static void sink_free(struct sink *s)
{
    free(s);
}

static struct traits no_traits(const void *options)
{
    (void)options;
    return (struct traits){ 0 };
}

static void ear(const void *options, char *ret, size_t n)
{
    (void)options;
    (void)snprintf(ret, n, "ear");
}

static const struct option sink_options[] = {
    { .name = "address", .type = OPTION_TEMPLATE },
    { .name = NULL },
};

static const struct connector connector_hearing = {
    .type = "hearing",
    .sink_options = sink_options,
    .sink_options_bytes = sizeof(struct option_template),
    .sink_traits = no_traits,
    .sink_place = ear,
    .link_open = link_open,
    .link_free = link_free,
    .link_pollfd = link_pollfd,
    .link_step = link_step,
    .link_status = link_status,
    .sink_open = sink_open,
    .sink_publish = sink_publish,
    .sink_collect = sink_collect,
    .sink_abandon = sink_abandon,
    .sink_status = sink_status,
    .sink_free = sink_free,
};

/* ---- the routes ---- */

static char *text(const char *of)
{
    return (char *)(uintptr_t)of;
}

void hearing_of(struct hearing *h, size_t i, const char *kind, const char *route)
{
    h->patterns[i][0] = text(kind);
    h->patterns[i][1] = text(route);
    h->options[i].kinds = (struct option_list){ &h->patterns[i][0], 1 };
    h->options[i].routes = (struct option_list){ &h->patterns[i][1], route ? 1 : 0 };
}

static void route_make(struct hearing *h, size_t i)
{
    static const char *const names[] = { "audit", "second", "third" };
    struct config_sink *s = &h->sinks[i];
    struct config_route *r = &h->routes[1 + i];
    struct fault why;

    *s = h->rig.sinks[0];
    s->name = text("ear");
    s->connection = 2;
    s->options = &h->address;
    s->key = NULL;
    CHECK_INT(template_open("${address}", &s->fields[0], &why), 0);
    *r = h->rig.route;
    r->name = text(names[i]);
    r->connection = 1;
    r->source_options = &h->options[i];
    r->sinks = s;
    r->sink_count = 1;
    hearing_of(h, i, "*", NULL);
}

void hearing_init(struct hearing *h, uint64_t seed, size_t sinks, size_t routes)
{
    memset(h, 0, sizeof *h);
    hearing_now = h;
    rig_init(&h->rig, seed, sinks);
    h->connections[0] = h->rig.connection;
    h->connections[1] = (struct config_connection){
        .name = text(CONFIG_INTERNAL), .connector = &connector_internal, .built_in = true
    };
    h->connections[2] =
        (struct config_connection){ .name = text("ears"), .connector = &connector_hearing };
    h->rig.connections = h->connections;
    h->rig.connection_count = 3;
    h->routes[0] = h->rig.route;
    for (size_t i = 0; i < HEARING_ROUTES; i++)
        route_make(h, i);
    h->rig.routes = h->routes;
    h->rig.route_count = 1 + routes;
}

void hearing_done(struct hearing *h)
{
    for (size_t i = 0; i < h->count; i++)
        json_decref(h->heard[i].body);
    for (size_t i = 0; i < HEARING_ROUTES; i++)
        template_free(h->sinks[i].fields[0]);
    rig_done(&h->rig);
}

void hearing_turns(struct hearing *h, int64_t ms)
{
    for (int64_t until = h->rig.now_ms + ms; h->rig.now_ms < until;)
        rig_turn(&h->rig, false);
}

/* ---- what was heard ---- */

size_t hearing_count(const struct hearing *h, const char *type)
{
    size_t n = 0;

    for (size_t i = 0; i < h->count; i++)
        n += strcmp(h->heard[i].address, type) == 0;
    return n;
}

int64_t hearing_sum(const struct hearing *h, const char *type)
{
    int64_t n = 0;

    for (size_t i = 0; i < h->count; i++)
        if (strcmp(h->heard[i].address, type) == 0)
            n += heard_number(&h->heard[i], "count");
    return n;
}

const struct heard *hearing_last(const struct hearing *h, const char *type)
{
    for (size_t i = h->count; i-- > 0;)
        if (strcmp(h->heard[i].address, type) == 0)
            return &h->heard[i];
    harness_fail(__FILE__, __LINE__, "nothing was heard of %s", type);
}

static const json_t *member(const struct heard *e, const char *name)
{
    const json_t *ret = json_object_get(e->body, name);

    if (!ret)
        ret = json_object_get(json_object_get(e->body, "details"), name);
    if (!ret)
        harness_fail(__FILE__, __LINE__, "no %s in %s", name, e->address);
    return ret;
}

const char *heard_text(const struct heard *e, const char *name)
{
    const char *ret = json_string_value(member(e, name));

    if (!ret)
        harness_fail(__FILE__, __LINE__, "%s is no text in %s", name, e->address);
    return ret;
}

int64_t heard_number(const struct heard *e, const char *name)
{
    CHECK(json_is_integer(member(e, name)));
    return json_integer_value(member(e, name));
}

bool heard_null(const struct heard *e, const char *name)
{
    return json_is_null(member(e, name));
}
