/* Another configuration against the one that runs and against the store: what a reload would do,
 * and why it must not. */
#include "routes/compare.h"
#include "routes/memory.h"
#include "routes/problem.h"
#include "routes/relay_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KEYS_BYTES_MAX 65536

/* ---- who is who ---- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static void say_nothing(void *arg, const char *key)
{
    (void)arg;
    (void)key;
}

size_t relay_match_connection(const struct config *in, const char *name)
{
    for (size_t i = 0; i < in->connection_count; i++)
        if (in->connections[i].name && strcmp(in->connections[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

bool relay_connection_stays(const struct relay *r, const struct config *next, size_t i)
{
    const struct config *now = r->spec.config;
    size_t old = relay_match_connection(now, next->connections[i].name);

    return old != SIZE_MAX && compare_connection(&now->connections[old], &next->connections[i],
                                  say_nothing, NULL) == COMPARE_SAME;
}

/* A name counts before `was`: that one's route may have come back. */
size_t relay_match_old(const struct relay *r, const struct config_route *c)
{
    const char *const names[] = { c->name, c->was };

    for (size_t n = 0; n < 2; n++)
        for (size_t i = 0; names[n] && i < r->route_count; i++)
            if (strcmp(r->routes[i]->config->name, names[n]) == 0)
                return i;
    return SIZE_MAX;
}

size_t relay_match_new(const struct relay_route *route, const struct config *next)
{
    for (size_t i = 0; i < next->route_count; i++) {
        size_t old = relay_match_old(route->relay, &next->routes[i]);

        if (old != SIZE_MAX && route->relay->routes[old] == route)
            return i;
    }
    return SIZE_MAX;
}

static size_t match_sink(const struct config_route *old, const struct config_sink *c)
{
    const char *const names[] = { c->name, c->was };

    for (size_t n = 0; n < 2; n++)
        for (size_t i = 0; names[n] && i < old->sink_count; i++)
            if (strcmp(old->sinks[i].name, names[n]) == 0)
                return i;
    return SIZE_MAX;
}

static bool uses(const struct config_route *c, size_t connection)
{
    bool yes = c->connection == connection;

    for (size_t s = 0; s < c->sink_count; s++)
        yes = yes || c->sinks[s].connection == connection;
    return yes;
}

bool relay_must_swap(const struct relay_route *route, const struct config *next, size_t i)
{
    const struct config_route *c = &next->routes[i];

    if (route->config->going) /* it is back; its source was told to stop for good */
        return true;
    for (size_t k = 0; k < next->connection_count; k++)
        if (uses(c, k) && !relay_connection_stays(route->relay, next, k))
            return true;
    return compare_route(route->relay->spec.config, route->config, next, c, say_nothing, NULL) ==
           COMPARE_PARTS;
}

bool relay_source_stays(const struct relay_route *route, const struct config *next, size_t i)
{
    const struct config_route *c = &next->routes[i];

    return !route->config->going && !route->draining && route->intake->source &&
           relay_connection_stays(route->relay, next, c->connection) &&
           compare_sources(route->relay->spec.config, route->config, next, c);
}

/* ---- collecting ---- */

struct planning {
    struct relay *r;
    const struct config *next;
    const struct relay_reload_ask *ask;
    struct relay_plan *plan;
    struct config_problems *problems;
    bool no_memory;
};

static struct config_place nowhere(const struct planning *p)
{
    return (struct config_place){ p->next->file_count ? p->next->files[0] : NULL, 0, 0 };
}

static struct relay_change *add(struct planning *p, enum relay_change_of of,
    enum relay_change_kind kind, const char *route, const char *sink)
{
    static struct relay_change lost;
    struct relay_change *at = realloc(p->plan->at, (p->plan->n + 1) * sizeof *at);

    lost = (struct relay_change){ 0 };
    if (!at) {
        p->no_memory = true;
        return &lost;
    }
    p->plan->at = at;
    at = &at[p->plan->n++];
    *at = (struct relay_change){ .of = of, .kind = kind };
    (void)snprintf(at->name, sizeof at->name, "%s%s%s", route, sink ? "/" : "", sink ? sink : "");
    return at;
}

static void put_key(void *arg, const char *key)
{
    struct buf *keys = arg;

    if (keys->n)
        buf_put_byte(keys, '\n');
    buf_put_text(keys, key);
}

static void set_keys(struct planning *p, struct relay_change *c, struct buf *keys)
{
    c->keys = strdup(keys->n ? buf_text(keys) : "");
    p->no_memory = p->no_memory || !c->keys || keys->failed;
    buf_done(keys);
}

static uint64_t jobs_at(const struct relay *r, uint64_t route_id, uint64_t sink_id)
{
    uint64_t n = 0;

    for (const struct replay *j = r->replays; j; j = j->next) {
        bool is = false;

        for (size_t i = 0; i < j->job.leg_count; i++) {
            const struct store_leg *l = &j->job.legs[i];

            is = is || (replay_leg_open(j, i) &&
                           (sink_id ? l->sink_id == sink_id : l->route_id == route_id));
        }
        n += is;
    }
    return n;
}

static void count_sink(struct relay_change *c, const struct outflow *o)
{
    c->pending += outflow_pending(o) - o->counts.held;
    c->held += o->counts.held;
    c->dead += o->counts.dead;
}

/* ---- what is gone ---- */

static bool named(const char *const *names, size_t count, const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0 ||
            (strncmp(names[i], name, strlen(names[i])) == 0 && strlen(names[i]) < n &&
                name[strlen(names[i])] == '/'))
            return true;
    return false;
}

/* Draining goes over connections as they are. */
static bool keeps_connections(
    struct planning *p, const struct config_route *c, const struct config_sink *only)
{
    const struct config *now = p->r->spec.config;

    for (size_t k = 0; k < now->connection_count; k++) {
        size_t next = relay_match_connection(p->next, now->connections[k].name);
        bool used = only ? only->connection == k : uses(c, k);

        if (used && next != SIZE_MAX && !relay_connection_stays(p->r, p->next, next))
            return false;
    }
    return true;
}

static void judge_gone(struct planning *p, struct relay_change *c, const struct config_route *route,
    const struct config_sink *sink)
{
    const char *what = c->of == RELAY_ROUTE ? "route" : "sink";
    bool going = sink ? sink->going : route->going;

    c->discard = named(p->ask->discard, p->ask->discard_count, c->name);
    c->drain = !c->discard && (named(p->ask->drain, p->ask->drain_count, c->name) ||
                                  (going && c->pending + c->held + c->dead + c->jobs));
    if (c->drain && !keeps_connections(p, route, sink))
        problem_add(p->problems, PROBLEM_DRAIN, nowhere(p),
            "%s '%s' cannot drain while its connection changes: reload twice", what, c->name);
    if (c->drain && going)
        return;
    if (c->discard || c->pending + c->held + c->dead + c->jobs == 0)
        return;
    if (c->drain && c->pending + c->held == 0)
        c->drain = false; /* nothing to wait for */
    else if (c->drain && c->dead + c->jobs)
        problem_add(p->problems, PROBLEM_DRAIN, nowhere(p),
            "%s '%s' has %" PRIu64 " dead letters and %" PRIu64 " replays, which do not drain",
            what, c->name, c->dead, c->jobs);
    if (c->drain)
        return;
    problem_add(p->problems, PROBLEM_GONE, nowhere(p),
        "%s '%s' is gone, but %" PRIu64 " pending, %" PRIu64 " held, %" PRIu64
        " dead letters and %" PRIu64 " replays of it are not finished",
        what, c->name, c->pending, c->held, c->dead, c->jobs);
    problem_hint(p->problems, "give --drain %s, --discard %s, or was: %s at its new name", c->name,
        c->name, strchr(c->name, '/') ? strchr(c->name, '/') + 1 : c->name);
}

static void gone_route(struct planning *p, const struct relay_route *route)
{
    struct relay_change *c = add(p, RELAY_ROUTE, RELAY_REMOVED, route->config->name, NULL);

    c->route_id = route->id;
    c->jobs = jobs_at(p->r, route->id, 0);
    for (size_t s = 0; s < route->config->sink_count; s++) {
        count_sink(c, route->outflows[s]);
        c->jobs += jobs_at(p->r, route->id, route->outflows[s]->id);
    }
    c->keys = strdup("");
    judge_gone(p, c, route->config, NULL);
}

static void gone_sinks(
    struct planning *p, const struct relay_route *route, const struct config_route *becomes)
{
    for (size_t s = 0; s < route->config->sink_count; s++) {
        struct relay_change *c;
        bool stays = false;

        for (size_t i = 0; i < becomes->sink_count; i++)
            stays = stays || match_sink(route->config, &becomes->sinks[i]) == s;
        if (stays)
            continue;
        c = add(p, RELAY_SINK, RELAY_REMOVED, becomes->name, route->config->sinks[s].name);
        c->route_id = route->id;
        c->sink_id = route->outflows[s]->id;
        c->jobs = jobs_at(p->r, route->id, c->sink_id);
        count_sink(c, route->outflows[s]);
        c->keys = strdup("");
        judge_gone(p, c, route->config, &route->config->sinks[s]);
    }
}

/* Gone since before: nothing is refused for it, but it may be given up now. */
static void orphan(struct planning *p, const struct store_known *k)
{
    char name[136];
    struct relay_change *c;

    (void)snprintf(name, sizeof name, "%s%s%s", k->route, k->sink_id ? "/" : "", k->sink);
    if (!named(p->ask->discard, p->ask->discard_count, name))
        return;
    c = add(p, k->sink_id ? RELAY_SINK : RELAY_ROUTE, RELAY_ORPHANED, name, NULL);
    c->route_id = k->route_id;
    c->sink_id = k->sink_id;
    c->pending = k->pending;
    c->held = k->held;
    c->dead = k->dead;
    c->jobs = k->jobs;
    c->discard = true;
    c->keys = strdup("");
}

static void check_names(struct planning *p, const char *const *names, size_t count, bool discard)
{
    for (size_t i = 0; i < count; i++) {
        bool found = false;

        for (size_t n = 0; n < p->plan->n; n++) {
            const struct relay_change *c = &p->plan->at[n];

            found = found || ((discard ? c->discard : c->drain || c->discard) &&
                                 named(&names[i], 1, c->name));
        }
        if (!found)
            problem_add(p->problems, PROBLEM_GONE_NAME, nowhere(p),
                "--%s %.140s: nothing of that name %s", discard ? "discard" : "drain", names[i],
                discard ? "is gone from the configuration" : "goes with this reload");
    }
}

/* ---- what comes and what differs ---- */

static void put_declares(const struct config *c, const struct config_route *route, struct buf *to)
{
    const struct connector *from = c->connections[route->connection].connector;

    if (route->enabled && from->source_declares && route->source_options)
        from->source_declares(route->source_options, to);
    for (size_t s = 0; route->enabled && s < route->sink_count; s++) {
        const struct config_sink *sink = &route->sinks[s];
        const struct connector *at = c->connections[sink->connection].connector;

        if (sink->enabled && at->sink_declares && sink->options)
            at->sink_declares(sink->options, to);
    }
}

static bool has_line(const char *text, const char *line, size_t n)
{
    for (; *text; text += strcspn(text, "\n"), text += *text == '\n')
        if (strcspn(text, "\n") == n && memcmp(text, line, n) == 0)
            return true;
    return false;
}

/* What was not declared by the route as it runs; old NULL: everything. */
static void set_declares(struct planning *p, struct relay_change *to,
    const struct config_route *old, const struct config_route *new)
{
    struct buf before, after, fresh;

    buf_init(&before, KEYS_BYTES_MAX);
    buf_init(&after, KEYS_BYTES_MAX);
    buf_init(&fresh, KEYS_BYTES_MAX);
    if (old)
        put_declares(p->r->spec.config, old, &before);
    put_declares(p->next, new, &after);
    for (const char *line = buf_text(&after); *line;) {
        size_t n = strcspn(line, "\n");

        if (!has_line(buf_text(&before), line, n))
            buf_put_format(&fresh, "%s%.*s", fresh.n ? "\n" : "", (int)n, line);
        line += n + (line[n] == '\n');
    }
    to->declares = fresh.n ? strdup(buf_text(&fresh)) : NULL;
    p->no_memory =
        p->no_memory || before.failed || after.failed || fresh.failed || (fresh.n && !to->declares);
    buf_done(&before);
    buf_done(&after);
    buf_done(&fresh);
}

static void added_route(struct planning *p, const struct config_route *c)
{
    struct relay_change *to = add(p, RELAY_ROUTE, RELAY_ADDED, c->name, NULL);

    to->keys = strdup("");
    set_declares(p, to, NULL, c);
    if (c->was)
        (void)snprintf(to->was, sizeof to->was, "%s", c->was);
}

static void added_sinks(
    struct planning *p, const struct relay_route *route, const struct config_route *becomes)
{
    for (size_t i = 0; i < becomes->sink_count; i++) {
        const struct config_sink *c = &becomes->sinks[i];
        size_t old = match_sink(route->config, c);

        if (old == SIZE_MAX)
            add(p, RELAY_SINK, RELAY_ADDED, becomes->name, c->name)->keys = strdup("");
        else if (route->config->sinks[old].fallback_only != c->fallback_only)
            problem_add(p->problems, PROBLEM_ROLE, c->place,
                "sink '%s' of route '%s' cannot %s `only: fallback` while it is known", c->name,
                becomes->name, c->fallback_only ? "become" : "cease to be");
    }
}

static void put_connections(struct planning *p, const struct config_route *c, struct buf *keys)
{
    for (size_t k = 0; k < p->next->connection_count; k++) {
        char key[120];

        if (!uses(c, k) || relay_connection_stays(p->r, p->next, k) ||
            relay_match_connection(p->r->spec.config, p->next->connections[k].name) == SIZE_MAX)
            continue;
        (void)snprintf(key, sizeof key, "(connection %s)", p->next->connections[k].name);
        put_key(keys, key);
    }
}

static void kept_route(struct planning *p, const struct relay_route *route, size_t i)
{
    const struct config_route *c = &p->next->routes[i];
    struct relay_change *to;
    struct buf keys;

    buf_init(&keys, KEYS_BYTES_MAX);
    (void)compare_route(p->r->spec.config, route->config, p->next, c, put_key, &keys);
    put_connections(p, c, &keys);
    if (keys.n == 0) {
        buf_done(&keys);
        return;
    }
    to = add(p, RELAY_ROUTE, relay_must_swap(route, p->next, i) ? RELAY_CHANGED : RELAY_SETTINGS,
        c->name, NULL);
    if (!same_text(c->name, route->config->name))
        (void)snprintf(to->was, sizeof to->was, "%s", route->config->name);
    set_keys(p, to, &keys);
    set_declares(p, to, route->config, c);
    to->route_id = route->id;
    to->jobs = jobs_at(p->r, route->id, 0);
    for (size_t s = 0; s < route->config->sink_count; s++)
        count_sink(to, route->outflows[s]);
    added_sinks(p, route, c);
    gone_sinks(p, route, c);
}

static void plan_connections(struct planning *p)
{
    const struct config *now = p->r->spec.config;

    for (size_t i = 0; i < p->next->connection_count; i++) {
        const struct config_connection *c = &p->next->connections[i];
        size_t old = relay_match_connection(now, c->name);
        struct buf keys;

        if (c->built_in)
            continue;
        buf_init(&keys, KEYS_BYTES_MAX);
        if (old == SIZE_MAX)
            set_keys(p, add(p, RELAY_CONNECTION, RELAY_ADDED, c->name, NULL), &keys);
        else if (compare_connection(&now->connections[old], c, put_key, &keys) != COMPARE_SAME)
            set_keys(p, add(p, RELAY_CONNECTION, RELAY_CHANGED, c->name, NULL), &keys);
        buf_done(&keys);
    }
    for (size_t i = 0; i < now->connection_count; i++)
        if (relay_match_connection(p->next, now->connections[i].name) == SIZE_MAX &&
            !now->connections[i].going && !now->connections[i].built_in)
            add(p, RELAY_CONNECTION, RELAY_REMOVED, now->connections[i].name, NULL)->keys =
                strdup("");
}

static void plan_routes(struct planning *p)
{
    for (size_t i = 0; i < p->next->route_count; i++) {
        size_t old = relay_match_old(p->r, &p->next->routes[i]);

        if (old == SIZE_MAX)
            added_route(p, &p->next->routes[i]);
        else
            kept_route(p, p->r->routes[old], i);
    }
    for (size_t i = 0; i < p->r->route_count; i++)
        if (relay_match_new(p->r->routes[i], p->next) == SIZE_MAX)
            gone_route(p, p->r->routes[i]);
    for (size_t i = 0; i < p->r->orphan_count; i++)
        orphan(p, &p->r->orphans[i]);
}

/* What was opened once, at start, and is not opened again. */
static void check_fixed(struct planning *p)
{
    const struct config *now = p->r->spec.config, *next = p->next;
    const struct {
        const char *key;
        bool same;
    } fixed[] = {
        { "store.path", same_text(now->store_path, next->store_path) },
        { "admin.socket", same_text(now->admin_socket, next->admin_socket) },
        { "admin.group", same_text(now->admin_group, next->admin_group) },
        { "admin.http", same_text(now->admin_http, next->admin_http) },
        /* Connections that came through a socket open to all must not outlive the lists. */
        { "admin.roles", now->roles_set == next->roles_set },
    };

    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (!fixed[i].same)
            problem_add(p->problems, PROBLEM_RESTART, nowhere(p),
                "'%s' differs from what runs; a reload cannot change it, a restart can",
                fixed[i].key);
}

/* What the daemon takes over while it runs. */
static void plan_daemon(struct planning *p)
{
    const struct config *now = p->r->spec.config, *next = p->next;
    const struct {
        const char *key;
        bool same;
    } settings[] = {
        { "store.max_size", now->store_max_size == next->store_max_size },
        { "store.retain.age", now->retain_age_ms == next->retain_age_ms },
        { "store.retain.size", now->retain_bytes == next->retain_bytes },
        { "log.level", now->log_level == next->log_level },
        { "log.format", now->log_format == next->log_format },
        { "admin.roles", config_roles_equal(now, next) },
        { "trace", compare_trace(&now->trace, &next->trace) },
    };
    struct buf keys;

    buf_init(&keys, KEYS_BYTES_MAX);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (!settings[i].same)
            put_key(&keys, settings[i].key);
    if (keys.n)
        set_keys(p, add(p, RELAY_DAEMON, RELAY_SETTINGS, "bascule", NULL), &keys);
    buf_done(&keys);
}

int relay_plan(struct relay *r, const struct config *next, const struct relay_reload_ask *ask,
    struct relay_plan *ret, struct config_problems *problems)
{
    struct planning p = { r, next, ask, ret, problems, false };
    size_t before = problems->error_count;

    *ret = (struct relay_plan){ 0 };
    if (memory_begin() != 0) { /* problems come from it */
        problems->error_count++;
        return -1;
    }
    check_fixed(&p);
    plan_daemon(&p);
    plan_connections(&p);
    plan_routes(&p);
    check_names(&p, ask->discard, ask->discard_count, true);
    check_names(&p, ask->drain, ask->drain_count, false);
    for (size_t i = 0; i < ret->n; i++)
        p.no_memory = p.no_memory || !ret->at[i].keys;
    if (memory_end() || p.no_memory)
        problems->error_count++;
    return problems->error_count == before ? 0 : -1;
}

void relay_plan_done(struct relay_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->at[i].keys);
        free(p->at[i].declares);
    }
    free(p->at);
    *p = (struct relay_plan){ 0 };
}
