/* A JetStream stream as a source, through a durable pull consumer.
 *
 * A message belongs to whoever was given it until it is acknowledged or its time is over, whatever
 * connection brought it: what is in hand stays in hand over a reconnect. A message is known by its
 * stream sequence. One in hand, or on disk and not yet known to be acknowledged, is not taken a
 * second time; every other one is, also behind newer ones. */
#include "bridge/links/nats/acks.h"
#include "bridge/links/nats/jet.h"
#include "bridge/links/nats/mark.h"
#include "bridge/links/nats/answer.h"
#include "bridge/links/nats/seqs.h"
#include "bridge/links/nats/source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PACK_EVENTS 1000
#define PACK_BYTES (1u << 20)
#define PULL_MS 10000
#define HEARTBEAT_MS 2500
#define SILENCE_MS (3 * HEARTBEAT_MS)
#define ANSWER_MS 5000
#define RETRY_MS 2000
#define INFO_MS 10000
#define TEXT_BYTES_MAX 65536
#define PULLS_MAX 8
#define WORKING_MS_MIN 500
/* A server that is killed forgets acknowledgements of its last 0.3 s, also those that it confirmed
 * (tried with 2.9.10): until it has them on disk, they are in our sets. */
#define REST_MS 2000

enum stage {
    STAGE_STREAM = 1, /* look whether the stream is there */
    STAGE_MAKE_STREAM,
    STAGE_CONSUMER,
    STAGE_MAKE_CONSUMER,
    STAGE_READING,
};

struct pull {
    uint64_t number;
    size_t left;
};

struct stream {
    struct source s;                /* first */
    struct nats_source_options own; /* a bucket's stream is named here */
    char bucket_stream[272], bucket_subject[272];
    struct wire_port *port;
    char inbox[224];
    enum stage stage;
    uint64_t session, asked, answered; /* number of the last request; 0: none is out */
    bool asked_info;                   /* that request is a look beside reading */
    int64_t asked_ms, info_ms;
    struct committed committed;
    struct entry_id *ids; /* scratch */
    size_t ids_capacity;
    struct acks acks, resting; /* resting: confirmed, and not forgotten yet */
    struct seqs held;
    struct pull pulls[PULLS_MAX];
    size_t pull_n, wanted, pull_most;
    uint64_t number; /* of pulls and requests */
    int64_t heard_ms, working_ms, ack_wait_ms;
    struct mark mark;    /* as the next set will be stored with */
    uint64_t old_number; /* batches up to this one came from an earlier stream */
    char stream_made[64];
    uint64_t first_seq, last_seq, last_consumer_seq; /* delivered to whom it may be */
    bool filtered, one_each;
    struct buf text, subject;
};

static struct stream *of(struct source *s)
{
    return (struct stream *)s;
}

static const char *name_of(const struct stream *t)
{
    return t->s.options->stream;
}

/* ---- state ---- */

static void start_over(struct stream *t, const char *text)
{
    t->stage = t->s.options->declare == NATS_DECLARE_NONE ? STAGE_READING : STAGE_STREAM;
    t->asked = 0;
    t->pull_n = t->wanted = 0;
    t->heard_ms = t->s.link->now_ms;
    if (text)
        (void)snprintf(t->s.trouble, sizeof t->s.trouble, "%s", text);
    t->s.retry_ms = text ? t->s.link->now_ms + RETRY_MS : 0;
}

static void note(struct stream *t, uint64_t count, const char *cause)
{
    int64_t now = t->s.link->unix_ms;

    source_note(&t->s, name_of(t), now, now, count, cause);
}

/* The sequences of what came from another stream mean others now: an acknowledgement of it that
 * went out late would be taken for one of them. */
static void leave_old(struct stream *t)
{
    seqs_done(&t->held);
    acks_done(&t->acks);
    acks_done(&t->resting);
    batches_drop_ready(&t->s.batches);
    t->old_number = t->committed.last;
    t->last_seq = t->last_consumer_seq = 0;
}

static uint64_t stream_sign(const struct stream *t)
{
    return bytes_hash(bytes_text(t->stream_made)) | 1;
}

/* Also after each reconnect: what was confirmed to us may have been forgotten by the server, if it
 * was killed. */
static void know_stream(struct stream *t)
{
    uint64_t stream = stream_sign(t);

    if (stream != t->mark.stream) {
        if (t->mark.stream)
            note(t, 0,
                "the stream is another one than before: what the old one had and was not read is "
                "lost");
        leave_old(t);
        t->mark = (struct mark){ .stream = stream };
        mark_drop_others(&t->committed, stream);
    }
    if (committed_sort(&t->committed) != 0)
        wire_fail(t->s.wire, "out of memory");
}

/* Acknowledged, and known to us for a while still. */
static void rest(struct stream *t, struct ack_job *job)
{
    for (size_t i = 0; i < job->n; i++)
        seqs_remove(&t->held, job->at[i].seq);
    job->sent_ms = t->s.link->now_ms;
    acks_add(&t->resting, job);
}

static void forget_rested(struct stream *t)
{
    struct ack_job *job = NULL;

    while ((job = t->resting.first) && t->s.link->now_ms - job->sent_ms >= REST_MS) {
        committed_confirm(&t->committed, job->number);
        ack_job_free(acks_confirmed(&t->resting, job->number));
    }
}

/* Everything at or below the floor is acknowledged, whoever did it. */
static void set_floor(struct stream *t, uint64_t floor)
{
    t->mark.floor = floor > t->mark.floor ? floor : t->mark.floor;
    for (struct commit *m = t->committed.all; m; m = m->next) {
        struct ack_job *job = NULL;
        uint64_t most = 0;
        for (size_t i = MARK_IDS; i < m->n; i++)
            most = m->ids[i].ms > most ? m->ids[i].ms : most;
        if (!m->stored || m->confirmed || most > floor || m->n == 0)
            continue;
        job = acks_confirmed(&t->acks, m->number);
        if (job)
            rest(t, job);
        else if (!acks_has(&t->resting, m->number))
            m->confirmed = true;
    }
}

/* ---- asking ---- */

static void request(struct stream *t, enum jet_request what, struct bytes body)
{
    const struct nats_source_options *o = t->s.options;
    char reply[256];
    struct wire_publish p = { .reply = reply, .body = body };

    (void)snprintf(reply, sizeof reply, "%s.a.%" PRIu64, t->inbox, t->number + 1);
    jet_subject(what, t->s.link->options, o->stream, o->durable, &t->subject);
    p.subject = buf_text(&t->subject);
    if (wire_publish(t->s.wire, &p) == 0)
        return;
    t->asked = ++t->number;
    t->asked_ms = t->s.link->now_ms;
}

/* A consumer that was there before on this stream is made again where it stood; 0: by `start`. */
static uint64_t resume_at(const struct stream *t)
{
    return t->mark.stream == stream_sign(t) ? t->mark.floor + 1 : 0;
}

static void ask(struct stream *t)
{
    const struct nats_source_options *o = t->s.options;

    switch (t->stage) {
    case STAGE_STREAM:
        request(t, JET_STREAM_INFO, bytes_text(""));
        break;
    case STAGE_MAKE_STREAM:
        jet_stream_config(o, &t->text);
        request(t, JET_STREAM_CREATE, buf_bytes(&t->text));
        break;
    case STAGE_CONSUMER:
        request(t, JET_CONSUMER_INFO, bytes_text(""));
        break;
    case STAGE_MAKE_CONSUMER:
        jet_consumer_config(o, t->filtered, resume_at(t), t->s.spec.window_events * 2, &t->text);
        request(t, JET_CONSUMER_CREATE, buf_bytes(&t->text));
        break;
    case STAGE_READING:
        break;
    }
}

/* ---- answers ---- */

static void trouble(struct stream *t, const char *what, struct bytes body)
{
    char words[160], text[240];

    (void)snprintf(text, sizeof text, "%s %s: %s", what, name_of(t),
        answer_text(body, "error.description", words, sizeof words));
    start_over(t, text);
}

static void learn_stream(struct stream *t, struct bytes body)
{
    (void)answer_text(body, "created", t->stream_made, sizeof t->stream_made);
    t->filtered = !jet_covers(&t->s.options->subjects, answer_find(body, "config.subjects"));
    t->one_each = answer_int(body, "config.max_msgs_per_subject", -1) > 0;
    t->first_seq = answer_unsigned(body, "state.first_seq");
    t->stage = STAGE_CONSUMER;
}

/* Messages behind the last one that we had, less those that the consumer has handed to whom it may
 * be since, which the stream does not have any more. */
static void look_for_trim(struct stream *t, uint64_t consumer_seq)
{
    uint64_t behind = t->first_seq > t->last_seq + 1 ? t->first_seq - t->last_seq - 1 : 0;
    uint64_t others = consumer_seq > t->last_consumer_seq ? consumer_seq - t->last_consumer_seq : 0;

    if (t->last_seq == 0 || behind <= others || t->one_each)
        return;
    /* With a filter they may all have been for somebody else; not, if there was nothing to come. */
    if (!t->filtered || t->s.lag != 0)
        note(t, t->filtered ? 0 : behind - others,
            "messages were removed from the stream before they were read");
    t->last_seq = t->first_seq - 1;
}

static void learn_consumer(struct stream *t, struct bytes body)
{
    uint64_t delivered = answer_unsigned(body, "delivered.stream_seq");
    uint64_t consumer_seq = answer_unsigned(body, "delivered.consumer_seq");
    int64_t wait_ms = answer_int(body, "config.ack_wait", 0) / 1000000;

    if (bytes_present(answer_find(body, "config.deliver_subject"))) {
        (void)snprintf(t->s.stopped, sizeof t->s.stopped,
            "consumer %.60s of stream %.60s pushes: a durable pull consumer is needed",
            t->s.options->durable, name_of(t));
        return;
    }
    if (bytes_equal(answer_find(body, "config.ack_policy"), bytes_text("none"))) {
        (void)snprintf(t->s.stopped, sizeof t->s.stopped,
            "consumer %.60s of stream %.60s takes no acknowledgements: what it hands out would be "
            "lost with us",
            t->s.options->durable, name_of(t));
        return;
    }
    t->ack_wait_ms = wait_ms > 0 ? wait_ms : t->s.options->ack_wait_ms;
    if (t->stage != STAGE_READING)
        know_stream(t);
    /* Of another consumer than the one that we had. */
    if (consumer_seq < t->last_consumer_seq)
        t->last_consumer_seq = t->mark.consumer_seq = consumer_seq;
    set_floor(t, answer_unsigned(body, "ack_floor.stream_seq"));
    look_for_trim(t, consumer_seq);
    t->s.lag = answer_int(body, "num_pending", -1);
    if (t->stage != STAGE_READING && (!t->last_seq || consumer_seq > t->last_consumer_seq)) {
        t->last_seq = delivered > t->last_seq ? delivered : t->last_seq;
        t->last_consumer_seq = consumer_seq;
    }
    t->stage = STAGE_READING;
    t->info_ms = t->heard_ms = t->s.link->now_ms;
    t->s.trouble[0] = 0;
}

static bool may_create(const struct stream *t)
{
    return t->s.options->declare == NATS_DECLARE_CREATE;
}

/* An answer of JetStream's API. */
static void answered(struct stream *t, const struct wire_message *m)
{
    int64_t number = answer_int(m->body, "error.err_code", 0);
    bool failed = bytes_present(answer_find(m->body, "error"));

    t->asked = 0;
    if (bytes_present(m->headers)) {
        start_over(t, "JetStream does not answer: no responders");
    } else if (t->stage == STAGE_STREAM && failed) {
        if (number == JET_STREAM_NOT_FOUND && may_create(t) && !t->s.options->bucket)
            t->stage = STAGE_MAKE_STREAM;
        else
            trouble(t, "stream", m->body);
    } else if (t->stage == STAGE_STREAM || t->stage == STAGE_MAKE_STREAM) {
        if (failed)
            trouble(t, "making stream", m->body);
        else
            learn_stream(t, m->body);
    } else if (t->stage == STAGE_CONSUMER && failed && number == JET_CONSUMER_NOT_FOUND &&
               may_create(t)) {
        t->stage = STAGE_MAKE_CONSUMER;
    } else if (failed) {
        trouble(t, "consumer on stream", m->body);
    } else if (t->asked_info && answer_find(m->body, "state").at) {
        t->first_seq = answer_unsigned(m->body, "state.first_seq");
        t->asked_info = false;
        request(t, JET_CONSUMER_INFO, bytes_text(""));
    } else {
        learn_consumer(t, m->body);
    }
}

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
    (void)snprintf(text, sizeof text, "pulling from %.60s: %.*s (%d)", name_of(t),
        (int)(words.n < 60 ? words.n : 60), words.at ? (const char *)words.at : "", status);
    if (memmem(words.at ? (const char *)words.at : "", words.n, "MaxRequestBatch", 15))
        t->pull_most = t->pull_most > 1 ? t->pull_most / 2 : 1;
    else
        start_over(t, text);
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
        note(t, at->stream_seq - t->last_seq - 1,
            "messages were removed from the stream before they were read");
    t->last_seq = at->stream_seq;
    t->last_consumer_seq = at->consumer_seq;
    t->s.lag = (int64_t)at->pending;
}

static bool known(struct stream *t, uint64_t seq)
{
    struct entry_id id = { seq, 0 };

    return committed_has(&t->committed, &id);
}

static void stop_at(struct stream *t, const struct jet_place *at, size_t bytes)
{
    (void)snprintf(t->s.stopped, sizeof t->s.stopped,
        "stream %.80s: message %llu has %zu bytes, above max_event_bytes %lld: raise that, delete "
        "the message, or set oversize: skip",
        name_of(t), (unsigned long long)at->stream_seq, bytes,
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
            note(t, 1, "a message above max_event_bytes was skipped");
            say(t, m, "+TERM");
        }
        wire_message_free(m);
        return true;
    }
    (void)snprintf(
        origin, sizeof origin, "%.250s-%llu", name_of(t), (unsigned long long)at->stream_seq);
    if (seqs_add(&t->held, at->stream_seq) < 0)
        return false;
    if (source_put(&t->s, p, m, at->time_ms, origin) == 0) {
        if (at->deliveries > 1)
            p->events[p->n - 1].flags |= EVENT_REDELIVERED;
        return true;
    }
    seqs_remove(&t->held, at->stream_seq);
    return false;
}

static void ack_confirmed(struct stream *t, uint64_t number)
{
    struct ack_job *job = acks_confirmed(&t->acks, number);

    if (job)
        rest(t, job);
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
        answered(t, m);
    else if (rest[1] == 'm' && m->session == t->session)
        pull_status(t, m, number);
    else if (rest[1] == 'k')
        ack_confirmed(t, number);
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
    if (t->pull_n == PULLS_MAX || n == 0 || (t->pull_n && n < window / 4 && n < t->pull_most / 4))
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

static void look_around(struct stream *t)
{
    if (t->asked || t->s.options->declare == NATS_DECLARE_NONE ||
        t->s.link->now_ms < t->info_ms + INFO_MS)
        return;
    t->info_ms = t->s.link->now_ms;
    t->asked_info = true;
    request(t, JET_STREAM_INFO, bytes_text(""));
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
    look_around(t);
    if (t->asked && now - t->asked_ms >= ANSWER_MS)
        start_over(t, "JetStream's API does not answer in time");
    if (!t->s.paused && !t->s.draining && !t->s.stopped[0])
        pull(t);
    wake = earlier(wake, t->info_ms + INFO_MS);
    return t->pull_n ? earlier(wake, t->heard_ms + SILENCE_MS) : wake;
}

static int64_t stream_step(struct source *s)
{
    struct stream *t = of(s);
    const struct link_status *status = wire_status(s->wire);
    int64_t now = s->link->now_ms, wake = INT64_MAX;
    char prefix[240];

    forget_rested(t);
    while (s->batches.ready_events < (size_t)s->spec.window_events && take_messages(t))
        ;
    if (!wire_ready(s->wire))
        return INT64_MAX;
    if (t->session != status->session) {
        t->session = status->session;
        start_over(t, NULL);
    }
    (void)snprintf(prefix, sizeof prefix, "%s.k", t->inbox);
    wake = acks_step(&t->acks, s->wire, prefix, now);
    wake = earlier(wake, tell_working(t));
    if (s->stopped[0])
        return wake;
    if (t->stage == STAGE_READING)
        return read_on(t, wake);
    if (t->asked && now - t->asked_ms >= ANSWER_MS)
        start_over(t, "JetStream's API does not answer in time");
    if (s->retry_ms > now)
        return earlier(wake, s->retry_ms);
    if (!t->asked)
        ask(t);
    return earlier(wake, t->asked_ms + ANSWER_MS);
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
    p->number = committed_add(
        &t->committed, name_of(t), t->ids, n, &p->positions, &p->batch.position_count, &p->text);
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
    struct ack_job *job = kept && n ? acks_job(p->number, n) : NULL;

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
    start_over(t, NULL);
    (void)snprintf(t->inbox, sizeof t->inbox, "%.200s.r%llu", wire_inbox(l->shared),
        (unsigned long long)spec->route_id);
    (void)snprintf(subject, sizeof subject, "%s.>", t->inbox);
    if (committed_load(&t->committed, name_of(t), spec->positions, spec->position_count, why) ==
        0) {
        (void)mark_last(&t->committed, &t->mark);
        mark_drop_others(&t->committed, t->mark.stream);
        if (committed_sort(&t->committed) == 0)
            t->port = wire_port_open(l->shared, subject, NULL, 0, 0);
    }
    if (!t->port) {
        nats_source_free(&t->s);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    t->last_seq = t->mark.seq;
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
