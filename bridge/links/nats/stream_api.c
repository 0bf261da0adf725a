/* What JetStream's API is asked of a stream and its consumer, and what its answers change: which
 * stream it is, what is acknowledged, what was removed unread. */
#include "bridge/links/nats/answer.h"
#include "bridge/links/nats/jet.h"
#include "bridge/links/nats/stream_inside.h"

#include <inttypes.h>
#include <stdio.h>

#define RETRY_MS 2000
/* A server that is killed forgets acknowledgements of its last 0.3 s, also those that it confirmed
 * (tried with 2.9.10): until it has them on disk, they are in our sets. */
#define REST_MS 2000

/* ---- state ---- */

void stream_start_over(struct stream *t, const char *text)
{
    t->stage = t->s.options->declare == NATS_DECLARE_NONE ? STAGE_READING : STAGE_STREAM;
    t->asked = t->given_up.asked = 0;
    t->pull_n = t->wanted = 0;
    t->heard_ms = t->s.link->now_ms;
    if (text)
        (void)snprintf(t->s.trouble, sizeof t->s.trouble, "%s", text);
    t->s.retry_ms = text ? t->s.link->now_ms + RETRY_MS : 0;
}

void stream_note(struct stream *t, uint64_t count, const char *cause)
{
    int64_t now = t->s.link->unix_ms;

    source_note(&t->s, stream_name(t), now, now, count, cause);
}

/* The sequences of what came from another stream mean others now: an acknowledgement of it that
 * went out late would be taken for one of them. */
static void leave_old(struct stream *t)
{
    seqs_done(&t->held);
    acks_done(&t->acks);
    acks_done(&t->resting);
    batches_drop_ready(&t->s.batches);
    given_up_leave(t);
    t->old_number = t->committed.last;
    t->last_seq = t->last_consumer_seq = t->newest_seq = 0;
}

static uint64_t sign_of(const struct stream *t)
{
    return bytes_hash(bytes_text(t->stream_made)) | 1;
}

/* Also after each reconnect: what was confirmed to us may have been forgotten by the server, if it
 * was killed. */
static void know_stream(struct stream *t)
{
    uint64_t stream = sign_of(t);

    if (stream != t->mark.stream) {
        if (t->mark.stream)
            stream_note(t, 0,
                "the stream is another one than before: what the old one had and was not read is "
                "lost");
        leave_old(t);
        t->mark = (struct mark){ .stream = stream };
        mark_drop_others(&t->committed, stream);
        mark_drop_others(&t->given_up.committed, stream);
    }
    if (committed_sort(&t->committed) != 0 || committed_sort(&t->given_up.committed) != 0)
        wire_fail(t->s.wire, "out of memory");
}

void stream_rest(struct stream *t, struct ack_job *job)
{
    for (size_t i = 0; i < job->n; i++)
        seqs_remove(&t->held, job->at[i].seq);
    job->sent_ms = t->s.link->now_ms;
    acks_add(&t->resting, job);
}

void stream_forget(struct stream *t)
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
        for (size_t i = 0; i < m->n; i++)
            if (m->ids[i].seq == 0)
                most = m->ids[i].ms > most ? m->ids[i].ms : most;
        if (!m->stored || m->confirmed || most > floor || m->n == 0)
            continue;
        job = acks_confirmed(&t->acks, m->number);
        if (job)
            stream_rest(t, job);
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
    return t->mark.stream == sign_of(t) ? t->mark.floor + 1 : 0;
}

void stream_ask(struct stream *t)
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

    (void)snprintf(text, sizeof text, "%s %s: %s", what, stream_name(t),
        answer_text(body, "error.description", words, sizeof words));
    stream_start_over(t, text);
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
        stream_note(t, t->filtered ? 0 : behind - others,
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
            t->s.options->durable, stream_name(t));
        return;
    }
    if (bytes_equal(answer_find(body, "config.ack_policy"), bytes_text("none"))) {
        (void)snprintf(t->s.stopped, sizeof t->s.stopped,
            "consumer %.60s of stream %.60s takes no acknowledgements: what it hands out would be "
            "lost with us",
            t->s.options->durable, stream_name(t));
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
    given_up_look(t, body);
    t->s.trouble[0] = 0;
}

static bool may_create(const struct stream *t)
{
    return t->s.options->declare == NATS_DECLARE_CREATE;
}

void stream_answered(struct stream *t, const struct wire_message *m)
{
    int64_t number = answer_int(m->body, "error.err_code", 0);
    bool failed = bytes_present(answer_find(m->body, "error"));

    t->asked = 0;
    if (bytes_present(m->headers)) {
        stream_start_over(t, "JetStream does not answer: no responders");
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

void stream_look(struct stream *t)
{
    if (t->asked || t->s.options->declare == NATS_DECLARE_NONE ||
        t->s.link->now_ms < t->info_ms + STREAM_INFO_MS)
        return;
    t->info_ms = t->s.link->now_ms;
    t->asked_info = true;
    request(t, JET_STREAM_INFO, bytes_text(""));
}

void stream_await(struct stream *t)
{
    if (t->asked && t->s.link->now_ms - t->asked_ms >= STREAM_ANSWER_MS)
        stream_start_over(t, "JetStream's API does not answer in time");
}
