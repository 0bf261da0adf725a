/* A JetStream stream as a source, through a durable pull consumer.
 *
 * A message belongs to whoever was given it until it is acknowledged or its time is over, whatever
 * connection brought it: what is in hand stays in hand over a reconnect. A message is known by its
 * stream sequence. One in hand, or on disk and not yet known to be acknowledged, is not taken a
 * second time; every other one is, also behind newer ones. */
#include "bridge/links/nats/jet.h"
#include "bridge/links/nats/stream_inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PACK_EVENTS 1000
#define PACK_BYTES (1u << 20)
#define PULL_MS 10000
#define HEARTBEAT_MS 2500
#define SILENCE_MS (3 * HEARTBEAT_MS)
#define TEXT_BYTES_MAX 65536
#define WORKING_MS_MIN 500

static struct stream *of(struct source *s)
{
    return (struct stream *)s;
}

/* ---- pulls ---- */

/* What the server says about a pull instead of a message:
 * https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-37.md */
static void pull_status(struct stream *t, const struct wire_message *m, uint64_t number)
{
    struct bytes block = m->headers, words = BYTES_NONE;
    int status = bytes_present(block) ? block_begin(&block, &words) : 0;
    char text[160];

    if (status == 100)
        return;
    for (size_t i = 0; i < t->pull_n; i++)
        if (t->pulls[i].number == number) {
            t->wanted -= t->pulls[i].left;
            memmove(&t->pulls[i], &t->pulls[i + 1], (t->pull_n - i - 1) * sizeof t->pulls[0]);
            t->pull_n--;
            break;
        }
    if (status == 404 || status == 408)
        return;
    (void)snprintf(text, sizeof text, "pulling from %.60s: %.*s (%d)", stream_name(t),
        (int)(words.n < 60 ? words.n : 60), words.at ? (const char *)words.at : "", status);
    if (memmem(words.at ? (const char *)words.at : "", words.n, "MaxRequestBatch", 15))
        t->pull_most = t->pull_most > 1 ? t->pull_most / 2 : 1;
    else
        stream_start_over(t, text);
}

/* ---- messages ---- */

static void say(struct stream *t, const struct wire_message *m, const char *what)
{
    struct wire_publish p = { .subject = m->reply, .body = bytes_text(what) };

    (void)wire_publish(t->s.wire, &p);
}

static void count_delivery(struct stream *t, const struct jet_place *at)
{
    bool next = at->consumer_seq == t->last_consumer_seq + 1;

    if (t->pull_n && t->wanted) {
        t->wanted--;
        if (--t->pulls[0].left == 0)
            memmove(&t->pulls[0], &t->pulls[1], --t->pull_n * sizeof t->pulls[0]);
    }
    if (at->deliveries != 1 || at->stream_seq <= t->last_seq) {
        t->last_consumer_seq =
            at->consumer_seq > t->last_consumer_seq ? at->consumer_seq : t->last_consumer_seq;
        return;
    }
    if (next && !t->filtered && !t->one_each && t->last_seq && at->stream_seq > t->last_seq + 1)
        stream_note(t, at->stream_seq - t->last_seq - 1,
            "messages were removed from the stream before they were read");
    t->last_seq = at->stream_seq;
    t->last_consumer_seq = at->consumer_seq;
    t->s.lag = (int64_t)at->pending;
}

static bool known(struct stream *t, uint64_t seq)
{
    struct entry_id id = { seq, 0 };

    return committed_has(&t->committed, &id) || given_up_known(t, seq);
}

bool stream_has(struct stream *t, uint64_t seq)
{
    return seqs_has(&t->held, seq) || known(t, seq);
}

static void stop_at(struct stream *t, const struct jet_place *at, size_t bytes)
{
    (void)snprintf(t->s.stopped, sizeof t->s.stopped,
        "stream %.80s: message %llu has %zu bytes, above max_event_bytes %lld: raise that, delete "
        "the message, or set oversize: skip",
        stream_name(t), (unsigned long long)at->stream_seq, bytes,
        (long long)t->s.spec.max_event_bytes);
}

/* Puts it into the pack, or answers for it. False: no memory, it is not taken. */
static bool take(struct stream *t, struct pack *p, struct wire_message *m, struct jet_place *at)
{
    char origin[300];
    size_t bytes = m->body.n + m->headers.n + strlen(m->subject);
    int added = seqs_has(&t->held, at->stream_seq) ? 0 : 1;

    if (added == 0 || known(t, at->stream_seq)) {
        /* One in hand will be acknowledged when it is on disk. */
        if (added)
            say(t, m, "+ACK");
        t->s.duplicates++;
        wire_message_free(m);
        return true;
    }
    if (bytes > (size_t)t->s.spec.max_event_bytes) {
        if (t->s.options->oversize == NATS_OVERSIZE_STOP) {
            stop_at(t, at, bytes);
        } else {
            stream_note(t, 1, "a message above max_event_bytes was skipped");
            given_up_own(t, at->stream_seq);
            say(t, m, "+TERM");
        }
        wire_message_free(m);
        return true;
    }
    (void)snprintf(
        origin, sizeof origin, "%.250s-%llu", stream_name(t), (unsigned long long)at->stream_seq);
    if (seqs_add(&t->held, at->stream_seq) < 0)
        return false;
    if (source_put(&t->s, p, m, at->time_ms, origin) == 0) {
        if (at->deliveries > 1)
            p->events[p->n - 1].flags |= EVENT_REDELIVERED;
        /* Behind one that was taken, and for the first time: out of the stream's order. */
        if (at->stream_seq < t->newest_seq)
            t->s.reordered++;
        else
            t->newest_seq = at->stream_seq;
        return true;
    }
    seqs_remove(&t->held, at->stream_seq);
    return false;
}

static void ack_confirmed(struct stream *t, uint64_t number)
{
    struct ack_job *job = acks_confirmed(&t->acks, number);

    if (job)
        stream_rest(t, job);
}

/* Not a message of the stream: an answer to a request, a pull or an acknowledgement. */
static void other(struct stream *t, const struct wire_message *m)
{
    const char *rest = m->subject + strlen(t->inbox);
    uint64_t number = 0;

    if (strncmp(m->subject, t->inbox, strlen(t->inbox)) != 0 || rest[0] != '.' || !rest[1] ||
        rest[2] != '.')
        return;
    number = strtoull(rest + 3, NULL, 10);
    if (rest[1] == 'a' && number == t->asked)
        stream_answered(t, m);
    else if (rest[1] == 'm' && m->session == t->session)
        pull_status(t, m, number);
    else if (rest[1] == 'k')
        ack_confirmed(t, number);
    else if (rest[1] == 'd')
        given_up_answered(t, number, m);
}

/* All that came, up to one pack. */
static bool take_messages(struct stream *t)
{
    struct pack *p = source_pack(PACK_EVENTS);
    struct wire_message *m = NULL;
    struct jet_place at;
    size_t bytes = 0;
    bool full = false;

    if (!p)
        return false;
    while (!full && (m = wire_port_take(t->s.wire, t->port))) {
        t->heard_ms = t->s.link->now_ms;
        if (!m->reply || jet_place_parse(m->reply, &at) != 0 || at.stream_seq == 0) {
            other(t, m);
            wire_message_free(m);
            continue;
        }
        count_delivery(t, &at);
        bytes += m->body.n;
        if (!take(t, p, m, &at)) {
            wire_message_free(m); /* it comes again after its time */
            wire_fail(t->s.wire, "a message that cannot be read, or no memory for it");
            break;
        }
        full = p->n == PACK_EVENTS || bytes >= PACK_BYTES;
    }
    source_close_pack(p);
    p->from_ms = t->s.link->now_ms;
    if (p->n)
        batches_put(&t->s.batches, p);
    else
        pack_free(p);
    return full;
}

/* ---- reading ---- */

static size_t room(const struct stream *t)
{
    const struct batches *b = &t->s.batches;
    size_t held = b->ready_events + b->events_out + t->wanted;
    size_t window = (size_t)t->s.spec.window_events;

    if (b->ready_bytes + b->bytes_out >= (size_t)t->s.spec.window_bytes || t->acks.waiting > window)
        return 0;
    return held < window ? window - held : 0;
}

/* Several pulls may be open, so that the next messages are on their way while these are stored. */
static void pull(struct stream *t)
{
    size_t n = room(t), window = (size_t)t->s.spec.window_events;
    char reply[256];
    struct wire_publish p = { .reply = reply };

    n = n < t->pull_most ? n : t->pull_most;
    if (t->pull_n == STREAM_PULLS_MAX || n == 0 ||
        (t->pull_n && n < window / 4 && n < t->pull_most / 4))
        return;
    (void)snprintf(reply, sizeof reply, "%s.m.%" PRIu64, t->inbox, t->number + 1);
    jet_subject(
        JET_PULL, t->s.link->options, t->s.options->stream, t->s.options->durable, &t->subject);
    jet_pull(n, PULL_MS, HEARTBEAT_MS, &t->text);
    p.subject = buf_text(&t->subject);
    p.body = buf_bytes(&t->text);
    if (wire_publish(t->s.wire, &p) == 0)
        return;
    if (t->pull_n == 0)
        t->heard_ms = t->s.link->now_ms;
    t->pulls[t->pull_n++] = (struct pull){ ++t->number, n };
    t->wanted += n;
}

static void say_for(
    struct stream *t, const struct pack *p, size_t from, size_t to, const char *what)
{
    for (size_t i = from; i < to; i++)
        say(t, source_message(p, &p->events[i]), what);
}

/* The store is slow, or stands: whoever hands out the messages hears that they are worked on. */
static int64_t tell_working(struct stream *t)
{
    const struct batches *b = &t->s.batches;
    int64_t every = t->ack_wait_ms / 3 > WORKING_MS_MIN ? t->ack_wait_ms / 3 : WORKING_MS_MIN;
    int64_t now = t->s.link->now_ms;

    if (b->ready_events + b->events_out == 0) {
        t->working_ms = now + every;
        return INT64_MAX;
    }
    if (now < t->working_ms)
        return t->working_ms;
    t->working_ms = now + every;
    for (const struct piece *i = b->out; i; i = i->next)
        if (i->pack && i->pack->from_ms + every <= now)
            say_for(t, i->pack, (size_t)(i->batch.events - i->pack->events),
                (size_t)(i->batch.events - i->pack->events) + i->batch.count, "+WPI");
    for (const struct pack *p = b->ready; p; p = p->next)
        if (p->from_ms + every <= now)
            say_for(t, p, p->at, p->n, "+WPI");
    return t->working_ms;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t read_on(struct stream *t, int64_t wake)
{
    int64_t now = t->s.link->now_ms;

    if (t->pull_n && now - t->heard_ms >= SILENCE_MS) {
        t->pull_n = t->wanted = 0; /* whoever had the pulls is gone */
        t->heard_ms = now;
    }
    stream_look(t);
    stream_await(t);
    if (!t->s.paused && !t->s.draining && !t->s.stopped[0])
        pull(t);
    wake = earlier(wake, given_up_step(t));
    wake = earlier(wake, t->info_ms + STREAM_INFO_MS);
    return t->pull_n ? earlier(wake, t->heard_ms + SILENCE_MS) : wake;
}

static int64_t stream_step(struct source *s)
{
    struct stream *t = of(s);
    const struct link_status *status = wire_status(s->wire);
    int64_t now = s->link->now_ms, wake = INT64_MAX;
    char prefix[240];

    stream_forget(t);
    while (s->batches.ready_events < (size_t)s->spec.window_events && take_messages(t))
        ;
    if (!wire_ready(s->wire))
        return INT64_MAX;
    if (t->session != status->session) {
        t->session = status->session;
        stream_start_over(t, NULL);
    }
    (void)snprintf(prefix, sizeof prefix, "%s.k", t->inbox);
    wake = acks_step(&t->acks, s->wire, prefix, now);
    wake = earlier(wake, tell_working(t));
    if (s->stopped[0])
        return wake;
    if (t->stage == STAGE_READING)
        return read_on(t, wake);
    stream_await(t);
    if (s->retry_ms > now)
        return earlier(wake, s->retry_ms);
    if (!t->asked)
        stream_ask(t);
    return earlier(wake, t->asked_ms + STREAM_ANSWER_MS);
}

/* ---- lending ---- */

static struct batch *give_up(struct stream *t, struct piece *p)
{
    batches_keep_notes(&t->s.batches, p);
    for (size_t i = 0; i < p->batch.count; i++) {
        struct jet_place at;
        const struct wire_message *m = source_message(p->pack, &p->batch.events[i]);
        say(t, m, "-NAK");
        if (jet_place_parse(m->reply, &at) == 0)
            seqs_remove(&t->held, at.stream_seq);
    }
    piece_free(batches_return(&t->s.batches, &p->batch));
    return NULL;
}

static struct jet_place place_of(const struct piece *p, size_t i)
{
    struct jet_place at = { 0 };

    (void)jet_place_parse(source_message(p->pack, &p->batch.events[i])->reply, &at);
    return at;
}

static struct batch *stream_receive(struct source *s, size_t limit)
{
    struct stream *t = of(s);
    struct piece *p = NULL;
    size_t n = 0;

    if (s->paused)
        return NULL;
    p = batches_take(&s->batches, limit, &s->spec, false);
    if (!p)
        return NULL;
    if (given_up_piece(p))
        return given_up_lend(t, p) == 0 ? &p->batch : give_up(t, p);
    n = p->batch.count + MARK_IDS;
    if (n > t->ids_capacity) {
        struct entry_id *ids = realloc(t->ids, n * sizeof *ids);
        if (!ids)
            return give_up(t, p);
        t->ids = ids;
        t->ids_capacity = n;
    }
    for (size_t i = MARK_IDS; i < n; i++) {
        struct jet_place at = place_of(p, i - MARK_IDS);
        t->ids[i] = (struct entry_id){ at.stream_seq, 0 };
        t->mark.seq = at.stream_seq > t->mark.seq ? at.stream_seq : t->mark.seq;
        t->mark.consumer_seq =
            at.consumer_seq > t->mark.consumer_seq ? at.consumer_seq : t->mark.consumer_seq;
    }
    mark_put(&t->mark, t->ids);
    p->number = committed_add(&t->committed, stream_name(t), t->ids, n, &p->positions,
        &p->batch.position_count, &p->text);
    if (p->number == 0)
        return give_up(t, p);
    p->batch.positions = p->positions;
    return &p->batch;
}

static void stream_settle(struct source *s, struct piece *p, bool kept)
{
    struct stream *t = of(s);
    bool old = p->number <= t->old_number; /* nobody waits for its answers */
    size_t n = old ? 0 : p->batch.count;
    struct ack_job *job = NULL;

    if (given_up_piece(p)) {
        given_up_settle(t, p, kept);
        return;
    }
    job = kept && n ? acks_job(p->number, n) : NULL;
    committed_settle(&t->committed, p->number, kept);
    for (size_t i = 0; i < n; i++) {
        const struct wire_message *m = source_message(p->pack, &p->batch.events[i]);
        uint64_t seq = place_of(p, i).stream_seq;
        if (job && acks_put(job, m->reply, seq) == 0)
            continue;
        /* Without memory for the acknowledgement the message comes again, and is known then. */
        seqs_remove(&t->held, seq);
        if (!kept)
            say(t, m, "-NAK");
    }
    if (job)
        acks_add(&t->acks, job);
    else if (kept && n == 0)
        committed_confirm(&t->committed, p->number);
    else if (kept && committed_sort(&t->committed) != 0)
        wire_fail(s->wire, "out of memory");
    (void)stream_step(s);
}

static void give_back_ready(struct stream *t)
{
    for (const struct pack *p = t->s.batches.ready; p; p = p->next)
        say_for(t, p, p->at, p->n, "-NAK");
    batches_drop_ready(&t->s.batches);
}

/* What came and was not lent is given back at the end only: while a pull is open it would come
 * right back. */
static bool stream_drained(struct source *s)
{
    return of(s)->acks.first == NULL;
}

/* What was in hand is given back, so that it need not wait for the end of its time; after nobody
 * listens any more, or the server would hand it to our own open pulls. */
static void stream_done(struct source *s)
{
    struct stream *t = of(s);

    if (t->port)
        wire_port_close(s->wire, t->port);
    for (struct piece *i = s->batches.out; i; i = i->next)
        for (size_t k = 0; k < i->batch.count; k++)
            say(t, source_message(i->pack, &i->batch.events[k]), "-NAK");
    give_back_ready(t);
    given_up_done(t);
    committed_done(&t->committed);
    acks_done(&t->acks);
    acks_done(&t->resting);
    seqs_done(&t->held);
    buf_done(&t->text);
    buf_done(&t->subject);
    free(t->ids);
}

/* A bucket is a stream by convention, and its changes are the stream's messages. */
static void read_bucket(struct stream *t)
{
    t->own = *t->s.options;
    (void)snprintf(t->bucket_stream, sizeof t->bucket_stream, "KV_%.255s", t->own.bucket);
    (void)snprintf(t->bucket_subject, sizeof t->bucket_subject, "$KV.%.255s.", t->own.bucket);
    t->own.stream = t->bucket_stream;
    t->s.options = &t->own;
    t->s.bucket = bytes_text(t->bucket_subject);
}

static int stream_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    const struct nats_source_options *o = spec->options;
    struct stream *t = calloc(1, sizeof *t);
    char subject[240];

    if (!t)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    source_common(&t->s, &nats_stream_source, l, spec);
    if (o->bucket)
        read_bucket(t);
    t->s.wire = l->shared;
    buf_init(&t->text, TEXT_BYTES_MAX);
    buf_init(&t->subject, TEXT_BYTES_MAX);
    acks_init(&t->acks);
    acks_init(&t->resting);
    t->pull_most = (size_t)spec->window_events;
    t->ack_wait_ms = o->ack_wait_ms;
    stream_start_over(t, NULL);
    (void)snprintf(t->inbox, sizeof t->inbox, "%.200s.r%llu", wire_inbox(l->shared),
        (unsigned long long)spec->route_id);
    (void)snprintf(subject, sizeof subject, "%s.>", t->inbox);
    if (committed_load(&t->committed, stream_name(t), spec->positions, spec->position_count, why) ==
        0) {
        (void)mark_last(&t->committed, &t->mark);
        mark_drop_others(&t->committed, t->mark.stream);
        if (committed_sort(&t->committed) == 0 && given_up_open(t, spec, why) == 0)
            t->port = wire_port_open(l->shared, subject, NULL, 0, 0);
    }
    if (!t->port) {
        nats_source_free(&t->s);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    t->last_seq = t->newest_seq = t->mark.seq;
    t->last_consumer_seq = t->mark.consumer_seq;
    *ret = &t->s;
    return 0;
}

const struct source_kind nats_stream_source = {
    .open = stream_open,
    .step = stream_step,
    .receive = stream_receive,
    .settle = stream_settle,
    .drained = stream_drained,
    .done = stream_done,
};
