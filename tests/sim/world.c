#include "tests/sim/world.h"

#include "bridge/base/header.h"
#include "tests/harness.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct world *world_now;

void world_publish(struct world *w, size_t n)
{
    for (; n && w->count < WORLD_EVENTS_MAX; n--, w->count++)
        w->events[w->count].key = (int)random_below(&w->random, WORLD_KEYS);
}

void world_source_lost(struct world *w)
{
    w->next = 0;
    w->source_session++;
    for (size_t i = 0; i < w->count; i++)
        w->events[i].lent = false;
    for (size_t i = 0; i < w->gap_count; i++)
        w->gaps[i].lent = false;
}

/* One with positions goes on behind what it gave; a queue gives again what was not acknowledged. */
void world_source_up(struct world *w, bool up)
{
    w->source_up = up;
    if (!up && !w->keep_position)
        world_source_lost(w);
}

void world_gap(struct world *w, int64_t unix_ms)
{
    if (w->gap_count < WORLD_GAPS_MAX)
        w->gaps[w->gap_count] = (struct world_gap){
            .start_ms = unix_ms - 1000 * (int64_t)WORLD_GAPS_MAX + (int64_t)w->gap_count,
            .count = random_below(&w->random, 100),
        };
    w->gap_count += w->gap_count < WORLD_GAPS_MAX;
}

int world_number(struct bytes body)
{
    char text[32] = { 0 };
    int number;

    memcpy(text, body.at, body.n < sizeof text ? body.n : sizeof text - 1);
    return sscanf(text, "event %d", &number) == 1 ? number : -1;
}

/* ---- link ---- */

struct link {
    int64_t now_ms;
};

static int link_open(const struct link_spec *spec, struct link **ret, struct fault *why)
{
    (void)spec;
    world_now->link_opens++;
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
    (void)unix_ms;
    l->now_ms = now_ms;
    return now_ms + 5;
}

static void link_status(const struct link *l, struct link_status *ret)
{
    (void)l;
    *ret = (struct link_status){ .state = LINK_UP, .lag = -1 };
}

/* ---- source ---- */

struct lent {
    struct batch batch;
    struct lent *next; /* of those that are out */
    struct event events[64];
    char texts[64][3][40];
    size_t numbers[64];
    uint64_t session; /* of the source */
    struct source_gap gap;
    struct world_gap *of_gap; /* NULL: none */
    struct position position;
    char value[24];
};

struct source {
    bool paused, drained;
    size_t out; /* batches */
    struct lent *lent;
    int64_t window, lent_events;
};

static int source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct world *w = world_now;
    struct source *s = calloc(1, sizeof *s);

    (void)l;
    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->window = spec->window_events;
    w->source_opens++;
    world_source_lost(w);
    if (w->keep_position && spec->position_count) {
        char text[24] = { 0 };

        memcpy(text, spec->positions[0].value.at, spec->positions[0].value.n);
        w->next = strtoul(text, NULL, 10);
        /* The stored position is the promise here; the group's own commit may have been lost. */
        for (size_t i = 0; i < w->next; i++)
            w->events[i].acknowledged = true;
    }
    *ret = s;
    return 0;
}

static bool given_up(size_t number)
{
    return world_now->give_up_every && number % (size_t)world_now->give_up_every == 2;
}

static struct bytes refusal(void)
{
    static struct buf text = { .max = 256 };

    if (text.n == 0)
        header_put_refusal(&text, 7, WORLD_GIVEN_UP);
    return buf_bytes(&text);
}

static void fill(struct lent *t, size_t slot, size_t number)
{
    struct world_event *e = &world_now->events[number];

    (void)snprintf(t->texts[slot][0], 40, "event %zu", number);
    (void)snprintf(t->texts[slot][1], 40, "key-%d", e->key);
    (void)snprintf(t->texts[slot][2], 40, "origin-%zu", number);
    t->numbers[slot] = number;
    t->events[slot] = (struct event){
        .address = bytes_text("from"),
        .key = e->key ? bytes_text(t->texts[slot][1]) : BYTES_NONE,
        .origin = bytes_text(t->texts[slot][2]),
        .id = world_now->ids ? bytes_text(t->texts[slot][2]) : BYTES_NONE,
        .body = bytes_text(t->texts[slot][0]),
        .flags = (e->receipts ? EVENT_REDELIVERED : 0u) | (given_up(number) ? EVENT_REFUSED : 0u),
        .hops = world_now->hops,
        .headers = given_up(number) ? refusal() : world_now->headers,
    };
    e->lent = true;
    e->receipts++;
}

/* At most one with a batch. */
static void tell_gap(struct lent *t)
{
    for (size_t i = 0; i < world_now->gap_count && !t->of_gap; i++) {
        struct world_gap *gap = &world_now->gaps[i];

        if (gap->kept || gap->lent)
            continue;
        gap->lent = true;
        t->of_gap = gap;
        t->gap = (struct source_gap){ gap->start_ms, gap->start_ms + 500, gap->count,
            bytes_text("channel"), bytes_text("the connection was lost") };
        t->batch.gaps = &t->gap;
        t->batch.gap_count = 1;
    }
}

static struct batch *source_receive(struct source *s, size_t limit)
{
    struct world *w = world_now;
    size_t most = 1 + random_below(&w->random, 64);
    struct lent *t;

    if (s->paused || s->drained || !w->source_up || s->lent_events >= s->window)
        return NULL;
    t = calloc(1, sizeof *t);
    assert(t);
    for (; w->next < w->count && t->batch.count < most && t->batch.count < limit; w->next++)
        if (w->keep_position || !w->events[w->next].acknowledged)
            fill(t, t->batch.count++, w->next);
    t->session = w->source_session;
    tell_gap(t);
    if (t->batch.count == 0 && !t->of_gap) {
        free(t);
        return NULL;
    }
    t->batch.events = t->events;
    t->batch.bytes = t->batch.count * 40;
    (void)snprintf(t->value, sizeof t->value, "%zu", w->next);
    t->position = (struct position){ bytes_text("p/0"), bytes_text(t->value) };
    if (w->keep_position) {
        t->batch.positions = &t->position;
        t->batch.position_count = 1;
    }
    s->lent_events += (int64_t)t->batch.count;
    t->next = s->lent;
    s->lent = t;
    s->out++;
    return &t->batch;
}

/* Who reads them once more finds nothing that could be taken for an event. */
static void source_copied(struct source *s, struct batch *batch)
{
    struct lent *t = (struct lent *)(void *)batch;

    (void)s;
    memset(t->events, 0xa5, sizeof t->events);
    memset(t->texts, 0xa5, sizeof t->texts);
}

static void source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct lent *t = (struct lent *)(void *)batch;
    struct lent **at;

    for (at = &s->lent; *at != t; at = &(*at)->next)
        assert(*at);
    *at = t->next;
    assert(s->out > 0);
    s->out--;
    s->lent_events -= (int64_t)batch->count;
    /* An acknowledgement of a session before this one is void; a position needs none. */
    kept = kept && (world_now->keep_position || t->session == world_now->source_session);
    for (size_t i = 0; kept && i < batch->count; i++)
        world_now->events[t->numbers[i]].acknowledged = true;
    if (t->of_gap) {
        t->of_gap->kept = t->of_gap->kept || kept;
        t->of_gap->lent = t->of_gap->lent && t->session != world_now->source_session;
    }
    free(t);
}

static void source_pause(struct source *s, bool paused)
{
    s->paused = paused;
}

static bool source_drain(struct source *s)
{
    s->drained = true;
    return s->out == 0;
}

static void source_status(const struct source *s, struct link_status *ret)
{
    (void)s;
    *ret = (struct link_status){ .state = world_now->source_up ? LINK_UP : LINK_DOWN,
        .lag = -1,
        .reordered = world_now->reordered };
}

static void source_free(struct source *s)
{
    while (s->lent) {
        struct lent *next = s->lent->next;

        free(s->lent);
        s->lent = next;
    }
    free(s);
}

/* ---- sink ---- */

#define IN_FLIGHT_MAX 512

struct sent {
    uint64_t ref, session;
    uint64_t seq; /* 0: no first delivery, or too far to keep in mind */
    int number;
    bool replay, alone;
    int64_t due_ms;
};

struct sink {
    struct link *link;
    struct world_sink *to;
    struct sent sent[IN_FLIGHT_MAX];
    size_t n, window;
    uint64_t session;
    int64_t last_due_ms; /* answers come in the order of the messages, as on one channel */
    struct report told;  /* one of those that were given */
};

static int sink_open(
    struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why)
{
    const struct scripted_sink_options *options = spec->options;
    struct sink *s = world_now->refuse_sinks ? NULL : calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->link = l;
    s->to = &world_now->sinks[options->index];
    s->to->opens++;
    memset(s->to->again, 0, sizeof s->to->again);
    memset(s->to->again_of_key, 0, sizeof s->to->again_of_key);
    s->session = s->to->session;
    s->window =
        (size_t)spec->window_events < IN_FLIGHT_MAX ? (size_t)spec->window_events : IN_FLIGHT_MAX;
    *ret = s;
    return 0;
}

/* A retry of a mended dead letter sends what a person made of it; nothing else does. */
static void check_mended(const struct world_sink *to, const struct message *m, uint64_t seq)
{
    struct bytes body = m->event->body;
    bool mended = memmem(body.at, body.n, WORLD_MENDED, strlen(WORLD_MENDED));
    uint8_t known = seq < WORLD_SEQS_MAX ? to->mended[seq] : 0;

    if (m->flags & MESSAGE_REPLAY)
        return;
    if (mended && !(known && to->generation))
        harness_fail(__FILE__, __LINE__, "event %" PRIu64 " goes as edited and was not", seq);
    if (!mended && (known & WORLD_IS_MENDED) && to->generation)
        harness_fail(__FILE__, __LINE__, "event %" PRIu64 " goes as if nobody had edited it", seq);
}

/* STORE/ROUTE/SEQ/SINK/GENERATION */
static uint64_t seq_of(struct world_sink *to, const struct message *m)
{
    unsigned long long route, seq, sink, generation;
    char text[128] = { 0 };

    memcpy(text, m->token.at, m->token.n < sizeof text ? m->token.n : sizeof text - 1);
    if (sscanf(text, "%*[0-9a-f]/%llu/%llu/%llu/%llu", &route, &seq, &sink, &generation) != 4)
        harness_fail(__FILE__, __LINE__, "this is no token: '%s'", text);
    to->generation = generation;
    check_mended(to, m, seq);
    return generation == 0 && seq < WORLD_SEQS_MAX ? seq : 0;
}

/* What holds for every first delivery, whatever happened before. */
static void check_sent(struct sink *s, const struct message *m, const struct sent *now)
{
    struct world_sink *to = s->to;
    int key = world_now->events[now->number].key;
    bool fresh;

    if (now->seq == 0 || now->replay)
        return;
    if (given_up((size_t)now->number))
        harness_fail(__FILE__, __LINE__,
            "event %d goes though its source gave it up and nobody asked for it", now->number);
    if (to->named[now->seq] && to->named[now->seq] != now->number + 1)
        harness_fail(__FILE__, __LINE__, "the token of event %d names event %d as well",
            to->named[now->seq] - 1, now->number);
    to->named[now->seq] = (uint16_t)(now->number + 1);
    if (to->maybe[now->seq] && (!(m->flags & MESSAGE_RESEND) || m->first_sent_ms == 0))
        harness_fail(__FILE__, __LINE__,
            "event %d (%" PRIu64 ") may have arrived before and goes as if it never had",
            now->number, now->seq);
    /* What may have been tried before a crash goes with those that were. */
    fresh = to->ordered && key && !to->tried[now->seq] && !(m->flags & MESSAGE_RESEND);
    for (uint64_t i = 0; fresh && to->again_of_key[key] && i < now->seq; i++)
        if (to->again[i] && world_now->events[to->named[i] - 1].key == key)
            harness_fail(__FILE__, __LINE__,
                "event %d goes for the first time while %d of its key has failed and is not "
                "finished",
                now->number, to->named[i] - 1);
    to->tried[now->seq] = true;
    for (size_t i = 0; to->ordered && key && i < s->n; i++)
        if (world_now->events[s->sent[i].number].key == key && s->sent[i].seq > now->seq)
            harness_fail(__FILE__, __LINE__,
                "event %d goes while a younger one of its key, %d, is in flight", now->number,
                s->sent[i].number);
}

/* After seq_of(), which tells whether a person sends it. */
static int number_of(const struct world_sink *to, const struct message *m)
{
    int number = world_number(m->event->body);

    if (number >= 0 && number < WORLD_FOREIGN)
        return number;
    if (to->generation == 0 && !(m->flags & MESSAGE_REPLAY))
        harness_fail(__FILE__, __LINE__, "nobody published such a body");
    return WORLD_FOREIGN;
}

static void remember(struct world_sink *to, const struct message *m)
{
    size_t n = m->event->headers.n;

    to->header_bytes = n < sizeof to->headers ? n : 0;
    if (to->header_bytes)
        memcpy(to->headers, m->event->headers.at, n);
    (void)snprintf(to->key, sizeof to->key, "%.*s", (int)m->key.n, (const char *)m->key.at);
}

static size_t sink_publish(struct sink *s, const struct message *messages, size_t n)
{
    size_t i;

    if (!s->to->up || s->to->blocked || s->session != s->to->session)
        return 0;
    for (i = 0; i < n && s->n < s->window; i++) {
        int64_t due = s->link->now_ms + (int64_t)random_below(&world_now->random, 8);
        uint64_t seq = seq_of(s->to, &messages[i]);

        s->last_due_ms = due > s->last_due_ms ? due : s->last_due_ms;
        assert(messages[i].token.n > 0);
        assert(bytes_present(messages[i].fields[0]));
        s->sent[s->n] = (struct sent){
            .ref = messages[i].ref,
            .seq = seq,
            .session = s->session,
            .number = number_of(s->to, &messages[i]),
            .replay = messages[i].flags & MESSAGE_REPLAY,
            .alone = messages[i].flags & MESSAGE_ALONE,
            .due_ms = s->last_due_ms,
        };
        check_sent(s, &messages[i], &s->sent[s->n]);
        remember(s->to, &messages[i]);
        s->n++;
        if (s->n > s->to->most_in_flight)
            s->to->most_in_flight = s->n;
    }
    return i;
}

static void arrive(struct world_sink *to, const struct sent *m)
{
    if (m->replay) {
        to->replayed++;
        return;
    }
    /* What a person sends again comes when they say. */
    if (to->arrived[m->number]++ == 0 && m->seq)
        to->first_order[m->number] = ++to->order;
}

static void goes_again(struct world_sink *to, const struct sent *m, bool again)
{
    int key = world_now->events[m->number].key;

    if (m->seq == 0 || m->replay || to->again[m->seq] == again)
        return;
    to->again[m->seq] = again;
    to->again_of_key[key] += again ? 1 : UINT32_MAX;
}

static bool chance(int per_thousand)
{
    return (int)random_below(&world_now->random, 1000) < per_thousand;
}

static struct report answer(struct sink *s, const struct sent *m)
{
    struct world_sink *to = s->to;
    struct report r = { .ref = m->ref, .fate = FATE_REFUSED };

    if (m->session != to->session) {
        r.fate = chance(300) ? FATE_UNSENT : FATE_UNSURE;
        r.cause = CAUSE_LOST;
        if (r.fate == FATE_UNSURE && chance(400))
            arrive(to, m);
    } else if (to->refuse_every && m->number % to->refuse_every == 3) {
        r.cause = CAUSE_FINAL;
        r.code = 311;
        r.text = "too large";
    } else if (chance(to->unroutable)) {
        r.cause = CAUSE_UNROUTABLE;
        to->charges++;
    } else if (chance(to->nack) || to->sick) {
        r.cause = CAUSE_NACK;
        to->charges++;
    } else if (chance(to->broker_state)) {
        r.fate = FATE_UNSENT;
        r.cause = CAUSE_BROKER;
    } else if (chance(to->timeout)) {
        r.fate = FATE_UNSURE;
        r.cause = CAUSE_TIMEOUT;
        r.later_confirmed = chance(500);
        to->charges += r.later_confirmed;
        if (chance(500))
            arrive(to, m);
    } else {
        r.fate = FATE_DELIVERED;
        arrive(to, m);
    }
    goes_again(to, m,
        r.fate == FATE_UNSENT ||
            (r.fate == FATE_UNSURE && !(r.cause == CAUSE_TIMEOUT && r.later_confirmed)));
    if (m->seq)
        to->maybe[m->seq] = r.fate == FATE_UNSURE || r.fate == FATE_DELIVERED ||
                            (to->maybe[m->seq] && r.fate == FATE_UNSENT);
    return r;
}

static struct report told(struct sink *s, struct report r)
{
    if (r.fate == FATE_DELIVERED && (s->told.fate == FATE_NONE || chance(100)))
        s->told = r;
    return r;
}

/* A poisoned message closes the session: all in flight are told so, none was named. */
static bool closes(const struct sink *s, const struct sent *m)
{
    return s->to->poison_every && m->number % s->to->poison_every == 5;
}

static size_t close_all(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0;
    bool alone = s->n == 1;

    if (s->n > limit)
        return 0;
    for (size_t i = 0; i < s->n; i++) {
        goes_again(s->to, &s->sent[i], !alone);
        if (s->sent[i].seq)
            s->to->maybe[s->sent[i].seq] = !alone;
        ret[n++] = (struct report){
            .ref = s->sent[i].ref,
            .fate = alone ? FATE_REFUSED : FATE_UNSURE,
            .cause = CAUSE_PROTOCOL,
            .code = 406,
            .alone = alone,
            .text = "PRECONDITION_FAILED",
        };
    }
    s->n = 0;
    s->to->session++;
    return n;
}

static size_t sink_collect(struct sink *s, struct report *ret, size_t limit)
{
    size_t n = 0, left = 0;

    for (size_t i = 0; i < s->n; i++)
        if (s->session == s->to->session && closes(s, &s->sent[i]) &&
            s->sent[i].due_ms <= s->link->now_ms && !s->to->silent)
            return close_all(s, ret, limit);
    if (chance(s->to->lose))
        s->to->session++;
    /* No link should, but a late word on what is long finished must not finish something else. */
    if (s->told.fate && n < limit && chance(s->to->echo))
        ret[n++] = s->told;
    for (size_t i = 0; i < s->n; i++) {
        struct sent m = s->sent[i];

        if (n < limit &&
            ((m.due_ms <= s->link->now_ms && !s->to->silent) || m.session != s->to->session))
            ret[n++] = told(s, answer(s, &m));
        else
            s->sent[left++] = m;
    }
    s->n = left;
    if (s->n == 0 && s->to->up)
        s->session = s->to->session;
    return n;
}

static void sink_abandon(struct sink *s)
{
    s->to->session++;
}

static void sink_status(const struct sink *s, struct link_status *ret)
{
    *ret = (struct link_status){ .state = s->to->up ? LINK_UP : LINK_DOWN, .lag = -1 };
}

static void sink_free(struct sink *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->sent[i].seq)
            s->to->maybe[s->sent[i].seq] = true;
    free(s);
}

static struct traits keeping(const void *options)
{
    (void)options;
    return (struct traits){ .set = TRAIT_KEEPS };
}

static struct traits no_traits(const void *options)
{
    (void)options;
    return (struct traits){ 0 };
}

static void no_place(const void *options, char *ret, size_t n)
{
    (void)options;
    (void)snprintf(ret, n, "world");
}

static const struct option sink_options[] = {
    { .name = "address", .type = OPTION_TEMPLATE },
    { .name = "index", .type = OPTION_INT, .offset = sizeof(struct option_template) },
    { .name = NULL },
};

const struct connector connector_scripted = {
    .type = "scripted",
    .sink_options = sink_options,
    .sink_options_bytes = sizeof(struct scripted_sink_options),
    .source_traits = keeping,
    .sink_traits = no_traits,
    .source_place = no_place,
    .sink_place = no_place,
    .link_open = link_open,
    .link_free = link_free,
    .link_pollfd = link_pollfd,
    .link_step = link_step,
    .link_status = link_status,
    .source_open = source_open,
    .source_receive = source_receive,
    .source_copied = source_copied,
    .source_settle = source_settle,
    .source_pause = source_pause,
    .source_drain = source_drain,
    .source_status = source_status,
    .source_free = source_free,
    .sink_open = sink_open,
    .sink_publish = sink_publish,
    .sink_collect = sink_collect,
    .sink_abandon = sink_abandon,
    .sink_status = sink_status,
    .sink_free = sink_free,
};
