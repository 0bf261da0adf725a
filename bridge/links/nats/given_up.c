#include "bridge/links/nats/given_up.h"

#include "bridge/base/encoding.h"
#include "bridge/base/header.h"
#include "bridge/links/nats/jet.h"
#include "bridge/links/nats/stream_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Events remembered as given up; of more, the oldest is forgotten. */
#define KEPT_MAX 10000
/* The consumer's count is believed when it is the same twice: what is under way to us is in it. */
#define LOOK_AGAIN_MS 1000
/* JSApiErr "no message found". */
#define NO_MESSAGE 10037

static const char *const advisories[GIVEN_UP_CAUSES] = {
    [GIVEN_UP_DELIVERIES] = "MAX_DELIVERIES", [GIVEN_UP_TERMINATED] = "MSG_TERMINATED"
};

int given_up_open(struct stream *t, const struct source_spec *spec, struct fault *why)
{
    struct given_up *g = &t->given_up;
    char subject[640];

    /* No stream's name has a blank. */
    (void)snprintf(g->name, sizeof g->name, "%.270s given-up", stream_name(t));
    if (committed_load(&g->committed, g->name, spec->positions, spec->position_count, why) != 0 ||
        committed_sort(&g->committed) != 0)
        return -1;
    for (size_t i = 0; i < GIVEN_UP_CAUSES; i++) {
        (void)snprintf(subject, sizeof subject, "$JS.EVENT.ADVISORY.CONSUMER.%s.%.255s.%.255s",
            advisories[i], stream_name(t), t->s.options->durable);
        /* One of those that share the durable takes it, or each would have its own dead letter. */
        g->ports[i] = wire_port_open(t->s.wire, subject, "bascule", GIVEN_UP_MAX, 0);
        if (!g->ports[i])
            return -1;
    }
    return 0;
}

void given_up_done(struct stream *t)
{
    struct given_up *g = &t->given_up;

    for (size_t i = 0; i < GIVEN_UP_CAUSES; i++)
        wire_port_close(t->s.wire, g->ports[i]);
    committed_done(&g->committed);
}

void given_up_leave(struct stream *t)
{
    struct given_up *g = &t->given_up;

    g->n = g->asked = g->seen = 0;
    g->old_number = g->committed.last;
}

bool given_up_known(const struct stream *t, uint64_t seq)
{
    struct entry_id id = { seq, 0 };

    return committed_has(&t->given_up.committed, &id);
}

void given_up_own(struct stream *t, uint64_t seq)
{
    struct given_up *g = &t->given_up;

    g->own[g->own_at++ % GIVEN_UP_OWN] = seq;
}

static bool own(const struct given_up *g, uint64_t seq)
{
    for (size_t i = 0; i < GIVEN_UP_OWN; i++)
        if (g->own[i] == seq)
            return true;
    return false;
}

/* ---- being told ---- */

static void told(struct stream *t, struct bytes advisory, enum given_up_cause cause)
{
    struct given_up *g = &t->given_up;
    struct given_up_one one = { answer_unsigned(advisory, "stream_seq"),
        answer_unsigned(advisory, "deliveries"), cause };

    if (one.seq == 0 || own(g, one.seq))
        return;
    for (size_t i = 0; i < g->n; i++)
        if (g->waiting[i].seq == one.seq)
            return;
    if (g->n < GIVEN_UP_MAX)
        g->waiting[g->n++] = one;
    else
        stream_note(t, 1, "the consumer gave up too many messages at once to log them all");
}

static void take(struct stream *t)
{
    struct wire_message *m = NULL;

    for (size_t i = 0; i < GIVEN_UP_CAUSES; i++)
        while ((m = wire_port_take(t->s.wire, t->given_up.ports[i]))) {
            told(t, m->body, (enum given_up_cause)i);
            wire_message_free(m);
        }
}

static void forget_first(struct given_up *g)
{
    memmove(&g->waiting[0], &g->waiting[1], --g->n * sizeof g->waiting[0]);
    g->asked = 0;
}

/* ---- fetching ---- */

/* A subject on which it can be acknowledged, as if it had been delivered to us. Place 0 among the
 * consumer's deliveries is nobody's: the server moves no floor by it. */
static void put_reply(
    const struct stream *t, uint64_t seq, uint64_t deliveries, int64_t time_ms, struct buf *to)
{
    buf_put_format(to, "$JS.ACK.%s.%s.%" PRIu64 ".%" PRIu64 ".0.%" PRId64 "000000.0",
        stream_name(t), t->s.options->durable, deliveries ? deliveries : 1, seq,
        time_ms > 0 ? time_ms : 0);
}

/* Said again after each reconnect: the server takes it from its list of those given up. */
static void acknowledge(struct stream *t, uint64_t seq)
{
    struct wire_publish p = { .body = bytes_text("+ACK") };

    buf_clear(&t->subject);
    put_reply(t, seq, 1, 0, &t->subject);
    p.subject = buf_text(&t->subject);
    (void)wire_publish(t->s.wire, &p);
}

static void acknowledge_all(struct stream *t)
{
    for (const struct commit *c = t->given_up.committed.all; c; c = c->next)
        for (size_t i = 0; c->stored && !c->confirmed && i < c->n; i++)
            if (c->ids[i].seq == 0)
                acknowledge(t, c->ids[i].ms);
}

static void ask(struct stream *t)
{
    struct given_up *g = &t->given_up;
    char reply[256];
    struct wire_publish p = { .reply = reply };

    (void)snprintf(reply, sizeof reply, "%s.d.%" PRIu64, t->inbox, t->number + 1);
    jet_subject(JET_GET, t->s.link->options, stream_name(t), NULL, &t->subject);
    buf_clear(&t->text);
    buf_put_format(&t->text, "{\"seq\":%" PRIu64 "}", g->waiting[0].seq);
    p.subject = buf_text(&t->subject);
    p.body = buf_bytes(&t->text);
    if (wire_publish(t->s.wire, &p) == 0)
        return;
    g->asked = ++t->number;
    g->asked_ms = t->s.link->now_ms;
}

int64_t given_up_step(struct stream *t)
{
    struct given_up *g = &t->given_up;
    const struct batches *b = &t->s.batches;

    take(t);
    if (g->session != t->session)
        acknowledge_all(t);
    g->session = t->session;
    if (g->asked && t->s.link->now_ms - g->asked_ms >= STREAM_ANSWER_MS)
        g->asked = 0;
    while (g->n && !g->asked) {
        uint64_t seq = g->waiting[0].seq;
        bool stored = given_up_known(t, seq);
        if (stored)
            acknowledge(t, seq);
        /* What is in hand, or on disk as an ordinary event, is not lost. */
        if (!stored && !stream_has(t, seq))
            break;
        forget_first(g);
    }
    if (!g->n)
        return INT64_MAX;
    if (!g->asked && !t->s.paused && !t->s.draining &&
        b->ready_events + b->events_out < (size_t)t->s.spec.window_events)
        ask(t);
    return g->asked ? g->asked_ms + STREAM_ANSWER_MS : INT64_MAX;
}

/* ---- its answer ---- */

/* A message as if it had been delivered: subject, acknowledgement, headers, body in one block. */
static struct wire_message *message_of(
    const struct stream *t, struct bytes answer, const struct given_up_one *one, int64_t time_ms)
{
    struct wire_message *m = calloc(1, sizeof *m);
    size_t reply = 0, headers = 0, body = 0;
    bool ok = m != NULL;
    struct buf text;

    buf_init(&text, 1u << 30);
    ok = ok && answer_string(answer, "message.subject", &text);
    buf_put_byte(&text, 0);
    reply = text.n;
    put_reply(t, one->seq, one->deliveries, time_ms, &text);
    buf_put_byte(&text, 0);
    headers = text.n;
    if (bytes_present(answer_find(answer, "message.hdrs")))
        ok = ok && encoding_base64_decode(answer_find(answer, "message.hdrs"), &text) == 0;
    body = text.n;
    if (bytes_present(answer_find(answer, "message.data")))
        ok = ok && encoding_base64_decode(answer_find(answer, "message.data"), &text) == 0;
    if (!ok || text.failed) {
        buf_done(&text);
        free(m);
        return NULL;
    }
    m->made = text.at; /* wire_message_free() frees it */
    m->session = t->session;
    m->subject = (const char *)text.at;
    m->reply = (const char *)text.at + reply;
    m->headers = body > headers ? bytes_of(text.at + headers, body - headers) : BYTES_NONE;
    m->body = bytes_of(text.at + body, text.n - body);
    return m;
}

static void put_refusal(struct pack *p, const struct given_up_one *one)
{
    struct event *e = &p->events[p->n - 1];
    size_t from = p->data.n;
    char words[120];

    (void)snprintf(words, sizeof words,
        one->cause == GIVEN_UP_TERMINATED
            ? "terminated by a client of the consumer (deliveries: %" PRIu64 ")"
            : "not acknowledged after max_deliver (%" PRIu64 ") deliveries",
        one->deliveries);
    header_put_refusal(&p->data, 0, words);
    e->headers.n += p->data.n - from;
    e->flags |= EVENT_REFUSED;
}

/* The answer's message as a pack of one event. -1: no memory, or it cannot be read. */
static int hand_over(struct stream *t, struct bytes answer, const struct given_up_one *one)
{
    int64_t time_ms = answer_time_ms(answer, "message.time");
    struct wire_message *m = message_of(t, answer, one, time_ms);
    struct pack *p = m ? source_pack(1) : NULL;
    char origin[300];

    (void)snprintf(origin, sizeof origin, "%.250s-%" PRIu64, stream_name(t), one->seq);
    if (!p || seqs_add(&t->held, one->seq) < 0)
        goto fail;
    if (source_put(&t->s, p, m, time_ms, origin) != 0) {
        seqs_remove(&t->held, one->seq);
        goto fail;
    }
    put_refusal(p, one);
    source_close_pack(p);
    p->from_ms = t->s.link->now_ms;
    batches_put(&t->s.batches, p);
    return 0;
fail:
    if (p)
        pack_free(p);
    wire_message_free(m);
    return -1;
}

void given_up_answered(struct stream *t, uint64_t number, const struct wire_message *m)
{
    struct given_up *g = &t->given_up;
    int64_t error = answer_int(m->body, "error.err_code", 0);

    if (!g->asked || number != g->asked)
        return;
    /* No responders, or an error that may pass: asked again when the answer would be overdue. */
    if (bytes_present(m->headers) || (error && error != NO_MESSAGE))
        return;
    if (stream_has(t, g->waiting[0].seq)) {
        forget_first(g);
        return;
    }
    if (error)
        stream_note(t, 1, "a message that the consumer gave up was gone before it could be logged");
    else if (answer_find(m->body, "message.data").n > (size_t)t->s.spec.max_event_bytes / 3 * 4 + 4)
        stream_note(t, 1, "a message that the consumer gave up is above max_event_bytes");
    else if (hand_over(t, m->body, &g->waiting[0]) != 0)
        stream_note(t, 1, "a message that the consumer gave up cannot be read");
    forget_first(g);
}

/* ---- what nobody was told of ---- */

/* Messages that the stream does not have any more need not be known. */
static void forget_gone(struct stream *t)
{
    size_t n = 0;

    for (const struct commit *c = t->given_up.committed.all; c; c = c->next)
        n += !c->confirmed;
    for (struct commit *c = t->given_up.committed.all; c; c = c->next) {
        bool gone = n > KEPT_MAX;
        for (size_t i = 0; i < c->n; i++)
            gone = gone || (c->ids[i].seq == 0 && c->ids[i].ms < t->first_seq);
        if (!c->stored || c->confirmed || !gone)
            continue;
        c->confirmed = true;
        n--;
    }
}

/* With nothing unanswered, those that were delivered more than once and are not acknowledged are
 * those given up; the ones that we logged were acknowledged by us. */
void given_up_look(struct stream *t, struct bytes info)
{
    struct given_up *g = &t->given_up;
    uint64_t left = answer_unsigned(info, "num_redelivered");
    bool quiet = answer_unsigned(info, "num_ack_pending") == 0 && !g->n && !t->held.n;

    forget_gone(t);
    if (!quiet)
        return;
    if (left < t->mark.given_up)
        t->mark.given_up = left;
    if (left > t->mark.given_up && left == g->seen) {
        stream_note(t, left - t->mark.given_up,
            "the consumer gave messages up (max_deliver) while nobody heard of it: which ones "
            "cannot be told");
        t->mark.given_up = left;
    } else if (left > t->mark.given_up) {
        t->info_ms += LOOK_AGAIN_MS - STREAM_INFO_MS;
    }
    g->seen = left;
}

/* ---- lending ---- */

bool given_up_piece(const struct piece *p)
{
    return p->batch.count && p->batch.events[0].flags & EVENT_REFUSED;
}

int given_up_lend(struct stream *t, struct piece *p)
{
    struct entry_id ids[MARK_IDS + 1];
    struct jet_place at = { 0 };

    mark_put(&t->mark, ids);
    (void)jet_place_parse(source_message(p->pack, &p->batch.events[0])->reply, &at);
    ids[MARK_IDS] = (struct entry_id){ at.stream_seq, 0 };
    p->number = committed_add(&t->given_up.committed, t->given_up.name, ids, MARK_IDS + 1,
        &p->positions, &p->batch.position_count, &p->text);
    p->batch.positions = p->positions;
    return p->number ? 0 : -1;
}

void given_up_settle(struct stream *t, struct piece *p, bool kept)
{
    struct given_up *g = &t->given_up;
    struct jet_place at = { 0 };
    bool old = p->number <= g->old_number;

    (void)jet_place_parse(source_message(p->pack, &p->batch.events[0])->reply, &at);
    committed_settle(&g->committed, p->number, kept);
    if (old)
        return;
    if (committed_sort(&g->committed) != 0)
        wire_fail(t->s.wire, "out of memory");
    seqs_remove(&t->held, at.stream_seq);
    if (kept)
        acknowledge(t, at.stream_seq);
}
