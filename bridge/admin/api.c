#include "bridge/admin/access.h"
#include "bridge/admin/call.h"
#include "bridge/admin/endpoints.h"
#include "bridge/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define REFUSED_ROWS_A_MINUTE 10
#define JSON_DEPTH_FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)

struct api {
    struct api_spec spec;
    struct api_taps taps;
    struct call *waiting;   /* for an answer of the store */
    struct call *unwritten; /* replies to changes that are not on disk yet */
    struct store_known *known;
    size_t known_count;
    uint64_t next_tag;
    int64_t now_ms, unix_ms, configured_ms;
    bool changed;
    int64_t refused_ms;       /* when this minute's refusals began */
    uint32_t refused, untold; /* in it; those without an audit row */
};

#define ENDPOINT(method, path, role, handle) { method, path, CONFIG_ROLE_##role, handle },
const struct api_endpoint api_endpoints[] = { API_ENDPOINTS(ENDPOINT){
    NULL, NULL, CONFIG_ROLE_NONE, NULL } };
static const struct api_endpoint public_endpoints[] = { API_PUBLIC_ENDPOINTS(ENDPOINT){
    NULL, NULL, CONFIG_ROLE_NONE, NULL } };
#undef ENDPOINT

int api_open(const struct api_spec *spec, struct api **ret, struct fault *why)
{
    struct api *a = calloc(1, sizeof *a);

    if (!a)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    a->spec = *spec;
    a->configured_ms = spec->started_ms;
    a->taps.relay = spec->relay;
    if (store_known(spec->store, &a->known, &a->known_count, why) != 0) {
        free(a);
        return -1;
    }
    *ret = a;
    return 0;
}

static void call_free(struct call *c)
{
    for (size_t i = 0; i < CALL_VALUES_MAX; i++)
        free(c->values[i]);
    json_decref(c->body);
    json_decref(c->kept);
    json_decref(c->late);
    free(c);
}

static void calls_free(struct call *c)
{
    while (c) {
        struct call *next = c->next;

        call_free(c);
        c = next;
    }
}

void api_free(struct api *a)
{
    if (!a)
        return;
    calls_free(a->waiting);
    calls_free(a->unwritten);
    free(a->known);
    free(a);
}

/* ---- finding the endpoint ---- */

int api_match(const char *pattern, const char *path, char **values, size_t limit)
{
    size_t count = 0;

    while (*pattern && *path) {
        size_t n;

        if (*pattern != '{') {
            if (*pattern++ != *path++)
                goto no;
            continue;
        }
        n = strstr(pattern, "...}") ? strlen(path) : strcspn(path, "/");
        if (n == 0 || count == limit || !(values[count] = strndup(path, n)))
            goto no;
        count++;
        path += n;
        pattern = strchr(pattern, '}') + 1;
    }
    if (!*pattern && !*path)
        return (int)count;
no:
    while (count) {
        free(values[--count]);
        values[count] = NULL;
    }
    return -1;
}

/* The server leaves out the body that a HEAD does not want. */
static bool is_method(const struct api_endpoint *e, const char *method)
{
    return strcmp(e->method, strcmp(method, "HEAD") == 0 ? "GET" : method) == 0;
}

static const struct api_endpoint *find(
    struct call *c, const struct api_endpoint *among, bool *path_known)
{
    for (const struct api_endpoint *e = among; e->path; e++) {
        if (api_match(e->path, http_path(c->request), c->values, CALL_VALUES_MAX) < 0)
            continue;
        if (is_method(e, http_method(c->request)))
            return e;
        *path_known = true;
        for (size_t i = 0; i < CALL_VALUES_MAX; i++) {
            free(c->values[i]);
            c->values[i] = NULL;
        }
    }
    return NULL;
}

/* ---- who may ---- */

/* Who keeps asking must not fill the audit. */
static void audit_refused(struct call *c, const char *text)
{
    struct api *a = c->api;
    struct buf asked;
    char untold[64] = "";

    if (a->unix_ms - a->refused_ms >= 60000 || a->unix_ms < a->refused_ms) {
        a->refused_ms = a->unix_ms;
        a->refused = 0;
    }
    if (a->refused++ >= REFUSED_ROWS_A_MINUTE) {
        a->untold++;
        return;
    }
    if (a->untold)
        (void)snprintf(untold, sizeof untold, " (%u refusals before it have no row)", a->untold);
    a->untold = 0;
    buf_init(&asked, 8192);
    buf_put_format(&asked, "%s %s", http_method(c->request), http_path(c->request));
    call_audit(c, "refused", asked.failed ? "" : buf_text(&asked), text,
        untold[0] ? untold + 1 : "refused");
    buf_done(&asked);
}

bool call_need(struct call *c, enum config_role role)
{
    char who[128], text[256];

    if (c->role >= role)
        return true;
    (void)snprintf(text, sizeof text, "this needs the role '%s'; %s has %s%s%s", access_text(role),
        call_who(c, who), c->role ? "the role '" : "no role here",
        c->role ? access_text(c->role) : "", c->role ? "'" : "");
    if (strcmp(http_method(c->request), "GET") != 0 && strcmp(http_method(c->request), "HEAD") != 0)
        audit_refused(c, text);
    call_fail(c, 403, "forbidden", "%s", text);
    return false;
}

enum http_rank api_rank(void *arg, const struct http_peer *peer)
{
    const struct api *a = arg;

    switch (access_role(a->spec.config, peer)) {
    case CONFIG_ROLE_NONE:
        return HTTP_RANK_STRANGER;
    case CONFIG_ROLE_ADMIN:
        return HTTP_RANK_FIRST;
    default:
        return HTTP_RANK_KNOWN;
    }
}

static void handle(struct api *a, struct http_request *q, const struct api_endpoint *among)
{
    struct http_peer peer = http_peer(q);
    struct call *c = calloc(1, sizeof *c);
    const struct api_endpoint *e;
    struct bytes body = http_body(q);
    bool path_known = false;

    if (!c) {
        http_reply(q, 503, bytes_text("{\"code\":\"no_memory\",\"message\":\"out of memory\"}"));
        return;
    }
    *c = (struct call){ .api = a,
        .request = q,
        .relay = a->spec.relay,
        .store = a->spec.store,
        .config = a->spec.config,
        .reload = a->spec.reload,
        .taps = &a->taps,
        .turns = a->spec.turns,
        .traces = a->spec.traces,
        .port = a->spec.port,
        .now_ms = a->now_ms,
        .unix_ms = a->unix_ms,
        .role = among == public_endpoints ? CONFIG_ROLE_VIEW : access_role(a->spec.config, &peer) };
    e = find(c, among, &path_known);
    if (body.n)
        c->body = json_loadb((const char *)body.at, body.n, JSON_DEPTH_FLAGS, NULL);
    if (!e)
        call_fail(c, path_known ? 405 : 404, path_known ? "bad_method" : "not_found", "%s %s: %s",
            http_method(q), http_path(q), path_known ? "not by this method" : "no such path");
    else if (!call_need(c, e->role))
        return;
    else if (body.n && !json_is_object(c->body))
        call_fail(c, 400, "bad_request", "the body is not a JSON object");
    else
        e->handle(c);
}

void api_handle(void *arg, struct http_request *q)
{
    handle(arg, q, api_endpoints);
}

void api_handle_public(void *arg, struct http_request *q)
{
    handle(arg, q, public_endpoints);
}

/* ---- arguments ---- */

const char *call_text(struct call *c, const char *name)
{
    const char *text = json_string_value(json_object_get(c->body, name));

    if (!text)
        text = http_argument(c->request, name);
    return text && *text ? text : NULL;
}

int call_number(struct call *c, const char *name, int64_t absent, int64_t *ret)
{
    json_t *value = json_object_get(c->body, name);
    const char *text = call_text(c, name);
    char *end;

    *ret = absent;
    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
    } else if (text) {
        errno = 0;
        *ret = strtoll(text, &end, 10);
        if (errno || *end)
            goto bad;
    } else if (value && !json_is_null(value)) {
        goto bad;
    }
    if (*ret >= 0)
        return 0;
bad:
    call_fail(c, 400, "bad_request", "%s is not a number from 0 on", name);
    return -1;
}

bool call_flag(struct call *c, const char *name)
{
    const char *text = call_text(c, name);

    return json_is_true(json_object_get(c->body, name)) ||
           (text && (strcmp(text, "true") == 0 || strcmp(text, "1") == 0));
}

int call_texts(struct call *c, const char *name, const char **ret, size_t limit)
{
    json_t *list = json_object_get(c->body, name), *item;
    size_t i;

    if (!list)
        return 0;
    json_array_foreach(list, i, item)
    {
        if (i < limit)
            ret[i] = json_string_value(item);
        if (i >= limit || !ret[i])
            break;
    }
    if (json_is_array(list) && i == json_array_size(list))
        return (int)i;
    call_fail(c, 400, "bad_request", "%s is not a list of at most %zu texts", name, limit);
    return -1;
}

int call_selection(struct call *c, struct selection *ret)
{
    int64_t first, last;

    *ret = (struct selection){ .route = call_text(c, "route"),
        .sink = call_text(c, "sink"),
        .id = call_text(c, "id"),
        .key = bytes_text(call_text(c, "key")),
        .header_name = call_text(c, "header_name"),
        .header_value = call_text(c, "header_value"),
        .match = call_text(c, "match"),
        .fate = call_text(c, "fate") };
    if (call_number(c, "since_ms", 0, &ret->since_ms) != 0 ||
        call_number(c, "until_ms", 0, &ret->until_ms) != 0 ||
        call_number(c, "first_seq", 0, &first) != 0 || call_number(c, "last_seq", 0, &last) != 0)
        return -1;
    ret->first_seq = (uint64_t)first;
    ret->last_seq = (uint64_t)last;
    return 0;
}

int call_page(struct call *c, struct query_spec *spec)
{
    int64_t after, limit;

    if (call_number(c, "after", 0, &after) != 0 ||
        call_number(c, "limit", CALL_LIMIT_DEFAULT, &limit) != 0)
        return -1;
    if (limit < 1 || limit > CALL_LIMIT_MAX) {
        call_fail(c, 400, "bad_request", "limit is not within 1 and %d", CALL_LIMIT_MAX);
        return -1;
    }
    spec->after = (uint64_t)after;
    spec->limit = (size_t)limit;
    return 0;
}

/* ---- replies ---- */

static void reply_now(struct call *c, unsigned status, json_t *json)
{
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    if (text)
        http_reply(c->request, status, bytes_text(text));
    else
        http_reply(
            c->request, 503, bytes_text("{\"code\":\"no_memory\",\"message\":\"out of memory\"}"));
    free(text);
    json_decref(json);
    call_free(c);
}

/* What was changed is on disk, and for all to see, before it is answered. */
static void reply(struct call *c, unsigned status, json_t *json)
{
    if (c->written <= store_committed(c->store)) {
        reply_now(c, status, json);
        return;
    }
    c->status = status;
    c->late = json;
    c->next = c->api->unwritten;
    c->api->unwritten = c;
}

static void reply_written(struct api *a)
{
    struct call **at = &a->unwritten;

    while (*at) {
        struct call *c = *at;
        json_t *late = c->late;

        if (c->written > store_committed(a->spec.store)) {
            at = &c->next;
            continue;
        }
        *at = c->next;
        c->late = NULL;
        reply_now(c, c->status, late);
    }
}

void call_reply(struct call *c, json_t *json)
{
    reply(c, 200, json);
}

void call_reply_status(struct call *c, unsigned status, json_t *json)
{
    reply(c, status, json);
}

void call_reply_text(struct call *c, const char *content_type, struct bytes text)
{
    http_reply_as(c->request, 200, content_type, text);
    call_free(c);
}

void call_stream(struct call *c, const struct http_stream_spec *spec)
{
    http_stream(c->request, spec);
    call_free(c);
}

void call_refuse(
    struct call *c, unsigned status, const char *code, const char *message, json_t *details)
{
    reply(c, status,
        json_pack("{s:s, s:o, s:o}", "code", code, "message", view_bytes(bytes_text(message)),
            "details", details));
}

void call_fail(struct call *c, unsigned status, const char *code, const char *format, ...)
{
    char text[600];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    reply(c, status,
        json_pack(
            "{s:s, s:o, s:n}", "code", code, "message", view_bytes(bytes_text(text)), "details"));
}

void call_fault(struct call *c, const struct fault *why)
{
    switch (why->kind) {
    case FAULT_INPUT:
        call_fail(c, 400, "bad_request", "%s", why->text);
        return;
    case FAULT_RETRY:
        call_fail(c, 503, "try_later", "%s", why->text);
        return;
    case FAULT_FULL:
        call_fail(c, 507, "store_full", "%s", why->text);
        return;
    default:
        call_fail(c, 500, "broken", "%s", why->text);
    }
}

void call_ask(struct call *c, const struct query_spec *spec,
    void (*then)(struct call *c, struct query_answer *a))
{
    struct query_spec timed = *spec;

    timed.deadline_ms = CALL_DEADLINE_MS;
    c->then = then;
    c->tag = ++c->api->next_tag;
    if (store_query(c->store, c->tag, &timed) != 0) {
        call_fail(c, 503, "try_later", "out of memory");
        return;
    }
    c->next = c->api->waiting;
    c->api->waiting = c;
}

void call_reply_rows(struct call *c, struct query_answer *a)
{
    call_reply(c, view_rows(&a->rows));
}

void call_hold(struct call *c, void (*then)(struct call *c, struct query_answer *a))
{
    c->then = then;
    c->tag = 0;
    c->next = c->api->waiting;
    c->api->waiting = c;
}

static void resume(struct api *a, struct call **at, struct query_answer *answer)
{
    struct call *c = *at;

    *at = c->next;
    c->now_ms = a->now_ms;
    c->unix_ms = a->unix_ms;
    c->config = a->spec.config;
    if (answer && answer->failed)
        call_fault(c, &answer->why);
    else
        c->then(c, answer);
}

void api_reloaded(struct api *a)
{
    struct call **at = &a->waiting;

    while (*at)
        if ((*at)->tag == 0)
            resume(a, at, NULL);
        else
            at = &(*at)->next;
}

void api_reconfigure(struct api *a, const struct config *config, int64_t unix_ms)
{
    struct store_known *known = NULL;
    struct fault why;
    size_t count = 0;

    a->spec.config = config;
    a->configured_ms = unix_ms;
    api_taps_reloaded(&a->taps, config->hash);
    if (store_known(a->spec.store, &known, &count, &why) != 0) {
        log_say(LOG_LEVEL_WARN, NULL, NULL, "reload: names for replays: %s", why.text);
        free(known);
        return;
    }
    free(a->known);
    a->known = known;
    a->known_count = count;
}

void api_stop(struct api *a)
{
    if (a)
        api_taps_stop(&a->taps);
}

static void answer(struct api *a, struct query_answer *answer)
{
    struct call **at = &a->waiting;

    while (*at && (*at)->tag != answer->tag)
        at = &(*at)->next;
    if (*at)
        resume(a, at, answer);
}

bool api_turn(struct api *a, int64_t now_ms, int64_t unix_ms)
{
    struct query_answer one = { 0 };
    bool changed = a->changed;

    a->now_ms = now_ms;
    a->unix_ms = unix_ms;
    a->changed = false;
    while (store_query_next(a->spec.store, &one)) {
        answer(a, &one);
        query_answer_done(&one);
        one = (struct query_answer){ 0 };
    }
    reply_written(a);
    api_taps_turn(&a->taps, now_ms, unix_ms);
    changed = changed || a->changed;
    a->changed = false;
    return changed;
}

/* ---- what calls share ---- */

void call_audit(
    struct call *c, const char *what, const char *object, const char *detail, const char *result)
{
    struct http_peer who = http_peer(c->request);

    store_audit_put(
        c->store, c->unix_ms, who.uid, who.pid, what, object, detail ? detail : "", result);
    c->written = store_filling(c->store);
    c->api->changed = true;
}

const char *call_route_name(const struct call *c, uint64_t route_id)
{
    for (size_t i = 0; i < c->api->known_count; i++)
        if (c->api->known[i].route_id == route_id)
            return c->api->known[i].route;
    return "";
}

const char *call_sink_name(const struct call *c, uint64_t sink_id, const char **route)
{
    for (size_t i = 0; i < c->api->known_count; i++)
        if (c->api->known[i].sink_id == sink_id) {
            *route = c->api->known[i].route;
            return c->api->known[i].sink;
        }
    *route = "";
    return "";
}

int64_t call_configured_ms(const struct call *c)
{
    return c->api->configured_ms;
}

int64_t call_started_ms(const struct call *c)
{
    return c->api->spec.started_ms;
}

/* Without the account's name: looking that up may ask a network directory and block the loop. */
const char *call_who(struct call *c, char ret[128])
{
    struct http_peer who = http_peer(c->request);

    (void)snprintf(ret, 128, "uid %lld, pid %lld", (long long)who.uid, (long long)who.pid);
    return ret;
}
