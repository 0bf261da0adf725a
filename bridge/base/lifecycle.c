#include "bridge/base/lifecycle.h"
#include "bridge/base/encoding.h"

#include <assert.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Of one event's details; what would be longer is told without them. */
#define DETAILS_MAX (64 << 10)

static const struct kind {
    const char *type;
    int subject; /* kinds of one are folded together, so that the last word is the last; 0: never */
    bool single; /* of one event, so there may be thousands */
} kinds[LIFECYCLE_KINDS] = {
    [LIFECYCLE_NONE] = { "", 0, false },
    [LIFECYCLE_REGISTERED] = { "integration.registered", 0, false },
    [LIFECYCLE_UNREGISTERED] = { "integration.unregistered", 0, false },
    [LIFECYCLE_HEALTH_CHECK] = { "integration.health_check", 1, false },
    [LIFECYCLE_BREAKER_OPENED] = { "integration.circuit_breaker_opened", 2, false },
    [LIFECYCLE_BREAKER_CLOSED] = { "integration.circuit_breaker_closed", 2, false },
    [LIFECYCLE_RATE_LIMIT] = { "integration.rate_limit_exceeded", 3, true },
    [LIFECYCLE_DEAD_LETTER] = { "integration.dead_letter_added", 4, true },
    [LIFECYCLE_GAP] = { "integration.gap_recorded", 5, true },
    [LIFECYCLE_RELOADED] = { "integration.reloaded", 0, false },
    [LIFECYCLE_RELOAD_REFUSED] = { "integration.reload_refused", 0, false },
    [LIFECYCLE_STORE_FULL] = { "integration.store_full", 6, false },
    [LIFECYCLE_STORE_RESUMED] = { "integration.store_resumed", 6, false },
    [LIFECYCLE_PAUSED] = { "integration.paused", 7, false },
    [LIFECYCLE_RESUMED] = { "integration.resumed", 7, false },
};

/* What is told in one event. */
struct telling {
    enum lifecycle_kind kind;
    const char *route, *sink, *connection;
    uint64_t count;
    int64_t first_ms, last_ms; /* unix ms */
    uint32_t hops;             /* the least: what has not gone round must not be taken for a loop */
    struct buf details;
};

/* What one subject has to say next. */
struct fold {
    struct fold *next;
    char *key;       /* of subject, route, sink and connection */
    int64_t free_ms; /* monotonic: from then on the next is told at once */
    char *names[3];
    struct telling t; /* t.count 0: nothing waits; details and hops are of the newest */
};

struct lifecycle {
    char store_id[64], host[256];
    uint64_t boot, last;
    int64_t now_ms, unix_ms;
    bool told;
    struct lifecycle_entry *first, **end;
    size_t bytes;
    struct lifecycle_reader *readers;
    struct fold *folds;
    struct lifecycle_note note; /* between begin and end */
    struct buf details;
};

const char *lifecycle_type(enum lifecycle_kind kind)
{
    return kinds[kind].type;
}

unsigned lifecycle_kinds(const char *pattern)
{
    unsigned ret = 0;

    for (int k = LIFECYCLE_NONE + 1; k < LIFECYCLE_KINDS; k++)
        if (fnmatch(pattern, kinds[k].type, 0) == 0)
            ret |= 1u << k;
    return ret;
}

int lifecycle_open(const struct lifecycle_spec *spec, int64_t now_ms, int64_t unix_ms,
    struct lifecycle **ret, struct fault *why)
{
    struct lifecycle *l = calloc(1, sizeof *l);

    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    (void)snprintf(l->store_id, sizeof l->store_id, "%s", spec->store_id);
    (void)snprintf(l->host, sizeof l->host, "%s", spec->host ? spec->host : "");
    l->boot = (uint64_t)unix_ms;
    l->now_ms = now_ms;
    l->unix_ms = unix_ms;
    l->end = &l->first;
    buf_init(&l->details, DETAILS_MAX);
    *ret = l;
    return 0;
}

static void fold_free(struct fold *f)
{
    buf_done(&f->t.details);
    free(f->key);
    for (size_t i = 0; i < 3; i++)
        free(f->names[i]);
    free(f);
}

void lifecycle_free(struct lifecycle *l)
{
    if (!l)
        return;
    assert(!l->readers);
    while (l->first) {
        struct lifecycle_entry *e = l->first;

        l->first = e->next;
        lifecycle_unref(e);
    }
    while (l->folds) {
        struct fold *f = l->folds;

        l->folds = f->next;
        fold_free(f);
    }
    buf_done(&l->details);
    free(l);
}

/* ---- the queue ---- */

/* `route` NULL: it is about the whole bridge. */
static bool wants(const struct lifecycle_reader *r, enum lifecycle_kind kind, const char *route)
{
    bool listed = !r->routes || r->routes->n == 0;

    if (!(r->kinds & 1u << kind) || (route && strcmp(route, r->route) == 0))
        return false;
    for (size_t i = 0; route && !listed && i < r->routes->n; i++)
        listed = fnmatch(r->routes->at[i], route, 0) == 0;
    return listed;
}

static bool anybody_wants(const struct lifecycle *l, enum lifecycle_kind kind, const char *route)
{
    for (const struct lifecycle_reader *r = l->readers; r; r = r->next)
        if (wants(r, kind, route))
            return true;
    return false;
}

/* Entries keep their route with a NUL behind it. */
static const char *route_of(const struct lifecycle_entry *e)
{
    return (const char *)e->route.at;
}

static void lose(struct lifecycle_reader *r, int64_t at_ms)
{
    if (r->lost++ == 0)
        r->lost_from_ms = at_ms;
    r->lost_until_ms = at_ms;
}

/* There was no memory for it. */
static void lost_by_all(
    struct lifecycle *l, enum lifecycle_kind kind, const char *route, int64_t at_ms)
{
    for (struct lifecycle_reader *r = l->readers; r; r = r->next)
        if (wants(r, kind, route))
            lose(r, at_ms);
}

static void drop_first(struct lifecycle *l)
{
    struct lifecycle_entry *e = l->first;

    l->first = e->next;
    if (!l->first)
        l->end = &l->first;
    l->bytes -= e->bytes;
    lifecycle_unref(e);
}

static void drop_oldest(struct lifecycle *l)
{
    const struct lifecycle_entry *e = l->first;

    for (struct lifecycle_reader *r = l->readers; r; r = r->next) {
        r->done = r->done < e->number ? e->number : r->done;
        if (r->seen >= e->number)
            continue;
        r->seen = e->number;
        if (wants(r, e->kind, route_of(e)))
            lose(r, e->time_ms);
    }
    drop_first(l);
}

/* What all are through with. */
static void drop_read(struct lifecycle *l)
{
    uint64_t least = UINT64_MAX;

    for (const struct lifecycle_reader *r = l->readers; r; r = r->next)
        least = r->done < least ? r->done : least;
    while (l->first && l->first->number <= least)
        drop_first(l);
}

/* ---- JSON ---- */

static void put_json(struct buf *to, const char *text)
{
    struct buf clean;

    if (!text) {
        buf_put_text(to, "null");
        return;
    }
    if (encoding_utf8(bytes_text(text))) {
        encoding_json(bytes_text(text), to);
        return;
    }
    buf_init(&clean, DETAILS_MAX);
    for (; *text; text++)
        buf_put_byte(&clean, (uint8_t)*text < 0x80 ? (uint8_t)*text : '?');
    encoding_json(buf_bytes(&clean), to);
    to->failed = to->failed || clean.failed;
    buf_done(&clean);
}

static void put_time(struct buf *to, int64_t unix_ms)
{
    time_t seconds = (time_t)(unix_ms / 1000);
    char text[32] = "";
    struct tm tm;

    if (gmtime_r(&seconds, &tm))
        (void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_put_format(to, "\"%s.%03dZ\"", text, (int)(unix_ms % 1000));
}

void lifecycle_put_name(struct buf *to, const char *name)
{
    buf_put_format(to, "%s\"%s\":", to->n && to->at[to->n - 1] != '{' ? "," : "", name);
}

void lifecycle_put(struct buf *to, const char *name, const char *text)
{
    lifecycle_put_name(to, name);
    put_json(to, text);
}

void lifecycle_put_number(struct buf *to, const char *name, int64_t value)
{
    lifecycle_put_name(to, name);
    buf_put_format(to, "%" PRId64, value);
}

void lifecycle_put_time(struct buf *to, const char *name, int64_t unix_ms)
{
    lifecycle_put_name(to, name);
    put_time(to, unix_ms);
}

static void put_body(
    const struct lifecycle *l, const struct telling *t, const char *id, struct buf *to)
{
    buf_put_byte(to, '{');
    lifecycle_put(to, "type", kinds[t->kind].type);
    lifecycle_put(to, "id", id);
    lifecycle_put_time(to, "time", t->last_ms);
    lifecycle_put_time(to, "since", t->first_ms);
    lifecycle_put(to, "service", "bascule");
    lifecycle_put(to, "version", BASCULE_VERSION);
    lifecycle_put(to, "host", l->host);
    lifecycle_put(to, "store", l->store_id);
    lifecycle_put(to, "route", t->route);
    lifecycle_put(to, "sink", t->sink);
    lifecycle_put(to, "connection", t->connection);
    lifecycle_put_number(to, "count", (int64_t)t->count);
    lifecycle_put_name(to, "details");
    buf_put_byte(to, '{');
    if (!t->details.failed)
        buf_put_bytes(to, buf_bytes(&t->details));
    buf_put_text(to, "}}");
}

/* ---- telling ---- */

/* One block of memory, with its texts behind it. */
static struct lifecycle_entry *entry_make(
    const struct telling *t, uint64_t number, const char *id, const struct buf *body)
{
    size_t route = t->route ? strlen(t->route) + 1 : 0, id_bytes = strlen(id);
    size_t bytes = sizeof(struct lifecycle_entry) + route + id_bytes + body->n;
    struct lifecycle_entry *e = body->failed ? NULL : malloc(bytes);
    uint8_t *at;

    if (!e)
        return NULL;
    at = (uint8_t *)(e + 1);
    *e = (struct lifecycle_entry){ .refs = 1,
        .number = number,
        .kind = t->kind,
        .time_ms = t->last_ms,
        .hops = t->hops,
        .bytes = bytes };
    if (route) {
        memcpy(at, t->route, route);
        e->route = bytes_of(at, route - 1);
    }
    memcpy(at + route, id, id_bytes);
    e->id = bytes_of(at + route, id_bytes);
    memcpy(at + route + id_bytes, body->at, body->n);
    e->body = bytes_of(at + route + id_bytes, body->n);
    return e;
}

static void tell(struct lifecycle *l, const struct telling *t)
{
    struct lifecycle_entry *e;
    struct buf body;
    char id[128];

    if (!anybody_wants(l, t->kind, t->route)) {
        return;
    }
    l->last++;
    l->told = true;
    (void)snprintf(id, sizeof id, "%s-%" PRIx64 "-%" PRIu64, l->store_id, l->boot, l->last);
    buf_init(&body, (size_t)2 * DETAILS_MAX);
    put_body(l, t, id, &body);
    e = entry_make(t, l->last, id, &body);
    buf_done(&body);
    if (!e) {
        lost_by_all(l, t->kind, t->route, t->last_ms);
        return;
    }
    *l->end = e;
    l->end = &e->next;
    l->bytes += e->bytes;
    while (l->bytes > LIFECYCLE_BYTES_MAX)
        drop_oldest(l);
}

static void fold_tell(struct lifecycle *l, struct fold *f)
{
    tell(l, &f->t);
    f->t.count = 0;
    f->free_ms = l->now_ms + LIFECYCLE_FOLD_MS;
}

int64_t lifecycle_step(struct lifecycle *l, int64_t now_ms, int64_t unix_ms)
{
    struct fold **at = &l->folds;
    int64_t wake = INT64_MAX;

    l->now_ms = now_ms;
    l->unix_ms = unix_ms;
    l->told = false;
    while (*at) {
        struct fold *f = *at;

        if (now_ms >= f->free_ms && f->t.count == 0) {
            *at = f->next;
            fold_free(f);
            continue;
        }
        if (now_ms >= f->free_ms)
            fold_tell(l, f);
        wake = f->free_ms < wake ? f->free_ms : wake;
        at = &f->next;
    }
    return wake;
}

void lifecycle_flush(struct lifecycle *l)
{
    for (struct fold *f = l->folds; f; f = f->next)
        if (f->t.count)
            fold_tell(l, f);
}

bool lifecycle_told(const struct lifecycle *l)
{
    return l->told;
}

/* ---- saying ---- */

bool lifecycle_wanted(const struct lifecycle *l, enum lifecycle_kind kind)
{
    for (const struct lifecycle_reader *r = l->readers; r; r = r->next)
        if (r->kinds & 1u << kind)
            return true;
    return false;
}

static bool reads_here(const struct lifecycle *l, const char *route)
{
    for (const struct lifecycle_reader *r = l->readers; route && r; r = r->next)
        if (strcmp(r->route, route) == 0)
            return true;
    return false;
}

struct buf *lifecycle_begin(struct lifecycle *l, const struct lifecycle_note *note)
{
    if (!anybody_wants(l, note->kind, note->route) ||
        (kinds[note->kind].single && reads_here(l, note->route)))
        return NULL;
    l->note = *note;
    buf_clear(&l->details);
    return &l->details;
}

static char *key_of(const struct lifecycle_note *n)
{
    char *key = NULL;

    /* Names hold no slash. */
    if (asprintf(&key, "%d/%s/%s/%s", kinds[n->kind].subject, n->route ? n->route : "",
            n->sink ? n->sink : "", n->connection ? n->connection : "") < 0)
        return NULL;
    return key;
}

static const char *copy_name(struct fold *f, size_t i, const char *name, bool *failed)
{
    f->names[i] = name ? strdup(name) : NULL;
    *failed = *failed || (name && !f->names[i]);
    return f->names[i];
}

static struct fold *fold_make(struct lifecycle *l, const struct lifecycle_note *n)
{
    struct fold *f = calloc(1, sizeof *f);
    bool failed = false;

    if (!f)
        return NULL;
    f->free_ms = l->now_ms;
    f->t.route = copy_name(f, 0, n->route, &failed);
    f->t.sink = copy_name(f, 1, n->sink, &failed);
    f->t.connection = copy_name(f, 2, n->connection, &failed);
    buf_init(&f->t.details, DETAILS_MAX);
    if (failed) {
        fold_free(f);
        return NULL;
    }
    f->next = l->folds;
    l->folds = f;
    return f;
}

static struct fold *fold_of(struct lifecycle *l, const struct lifecycle_note *n)
{
    char *key = key_of(n);
    struct fold *f = key ? l->folds : NULL;

    while (f && strcmp(f->key, key) != 0)
        f = f->next;
    if (!f && key && (f = fold_make(l, n)) != NULL) {
        f->key = key;
        return f;
    }
    free(key);
    return f;
}

static void fold_add(struct lifecycle *l, struct fold *f)
{
    const struct lifecycle_note *n = &l->note;
    struct telling *t = &f->t;

    if (t->count++ == 0) {
        t->first_ms = l->unix_ms;
        t->hops = n->hops;
    }
    t->last_ms = l->unix_ms;
    t->kind = n->kind;
    t->hops = n->hops < t->hops ? n->hops : t->hops;
    buf_clear(&t->details);
    buf_put_bytes(&t->details, buf_bytes(&l->details));
    t->details.failed = t->details.failed || l->details.failed;
    if (l->now_ms >= f->free_ms)
        fold_tell(l, f);
}

void lifecycle_end(struct lifecycle *l)
{
    const struct lifecycle_note *n = &l->note;
    const struct telling once = { n->kind, n->route, n->sink, n->connection, 1, l->unix_ms,
        l->unix_ms, n->hops, l->details };
    struct fold *f;

    if (kinds[n->kind].subject == 0)
        tell(l, &once);
    else if ((f = fold_of(l, n)) != NULL)
        fold_add(l, f);
    else
        lost_by_all(l, n->kind, n->route, l->unix_ms);
}

/* ---- reading ---- */

void lifecycle_listen(struct lifecycle *l, struct lifecycle_reader *r)
{
    r->done = l->last;
    r->lost = 0;
    for (const struct lifecycle_reader *other = l->readers; other; other = other->next) {
        if (other->route_id != r->route_id)
            continue;
        r->done = other->done;
        r->lost = other->lost;
        r->lost_from_ms = other->lost_from_ms;
        r->lost_until_ms = other->lost_until_ms;
    }
    r->seen = r->done;
    r->next = l->readers;
    l->readers = r;
}

void lifecycle_leave(struct lifecycle *l, struct lifecycle_reader *r)
{
    struct lifecycle_reader **at = &l->readers;

    while (*at && *at != r)
        at = &(*at)->next;
    if (*at)
        *at = r->next;
    drop_read(l);
}

void lifecycle_unref(struct lifecycle_entry *e)
{
    if (e && --e->refs == 0)
        free(e);
}

void lifecycle_done(struct lifecycle *l, struct lifecycle_reader *r, uint64_t number)
{
    r->done = number > r->done ? number : r->done;
    drop_read(l);
}

struct lifecycle_entry *lifecycle_next(struct lifecycle *l, struct lifecycle_reader *r)
{
    for (struct lifecycle_entry *e = l->first; e; e = e->next) {
        if (e->number <= r->seen)
            continue;
        r->seen = e->number;
        if (!wants(r, e->kind, route_of(e)))
            continue;
        e->refs++;
        return e;
    }
    return NULL;
}
