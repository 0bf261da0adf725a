#include "bridge/links/nats/probe.h"

#include "bridge/links/findings.h"
#include "bridge/links/nats/answer.h"
#include "bridge/links/nats/block.h"
#include "bridge/links/nats/jet.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define TURN_MS 50

struct probe {
    struct link *link;
    struct wire *wire;
    int64_t end_ms;
    struct findings found;
    struct wire_port *port;
    char reply[224];
    struct wire_message *answer; /* the last one */
    struct buf subject;
};

static bool turn(struct probe *p)
{
    struct epoll_event event;
    int64_t now = findings_clock_ms();

    if (now >= p->end_ms)
        return false;
    (void)wire_step(p->wire, now, 0);
    if (wire_status(p->wire)->error[0])
        return false; /* it failed or ended: one try is enough here */
    (void)epoll_wait(p->link->poll_fd, &event, 1, TURN_MS);
    return true;
}

static struct bytes body(const struct probe *p)
{
    return p->answer ? p->answer->body : BYTES_NONE;
}

static int64_t error_number(const struct probe *p)
{
    return answer_int(body(p), "error.err_code", 0);
}

/* One request to JetStream; false when no answer of its API came, which is told. */
static bool ask(struct probe *p, enum jet_request what, const char *stream, const char *consumer)
{
    struct wire_publish out = { .reply = p->reply, .body = bytes_text("") };
    char words[200];

    wire_message_free(p->answer);
    p->answer = NULL;
    jet_subject(what, p->link->options, stream, consumer, &p->subject);
    out.subject = buf_text(&p->subject);
    if (wire_publish(p->wire, &out) == 0)
        return false;
    while (!p->answer && turn(p)) {
        p->answer = wire_port_take(p->wire, p->port);
        if (!p->answer && wire_take_error(p->wire, words, sizeof words)) {
            findings_add(&p->found, true, "%s", words);
            return false;
        }
    }
    if (!p->answer)
        findings_add(&p->found, true, "no answer to %s", out.subject);
    else if (bytes_present(p->answer->headers))
        findings_add(
            &p->found, true, "nobody answers for JetStream: it is not enabled for this account");
    else
        return true;
    return false;
}

/* Tells any error but "not there", which *missing gets. */
static bool is_there(struct probe *p, const char *what, const char *name, bool *missing)
{
    char words[200];
    int64_t number = error_number(p);

    *missing = number == JET_STREAM_NOT_FOUND || number == JET_CONSUMER_NOT_FOUND;
    if (*missing || !bytes_present(answer_find(body(p), "error")))
        return !*missing;
    findings_add(&p->found, true, "%s '%s': %s", what, name,
        answer_text(body(p), "error.description", words, sizeof words));
    return false;
}

/* Part by part: * is any one, > is all that is left. */
static bool matches(const char *subject, struct bytes pattern)
{
    const char *at = (const char *)pattern.at, *end = at + pattern.n;

    while (at < end && *subject) {
        size_t n = strcspn(subject, "."), k = 0;
        while (at + k < end && at[k] != '.')
            k++;
        if (k == 1 && *at == '>')
            return true;
        if (!(k == 1 && *at == '*') && (k != n || memcmp(at, subject, n) != 0))
            return false;
        subject += n;
        at += k;
        if ((*subject == '.') != (at < end))
            return false;
        subject += *subject == '.';
        at += at < end;
    }
    return at == end && !*subject;
}

bool nats_probe_taken(const char *subject, struct bytes stream_subjects)
{
    struct bytes item;

    while (answer_item(&stream_subjects, &item) == 1)
        if (matches(subject, item))
            return true;
    return false;
}

static void probe_bucket(struct probe *p, const char *bucket)
{
    char stream[272];
    bool missing = false;

    (void)snprintf(stream, sizeof stream, "KV_%.255s", bucket);
    if (ask(p, JET_STREAM_INFO, stream, NULL) && !is_there(p, "bucket", bucket, &missing) &&
        missing)
        findings_add(&p->found, true, "bucket '%s' does not exist", bucket);
}

static void probe_stream_sink(struct probe *p, const struct nats_sink_options *o)
{
    struct bytes config;
    bool missing = false;

    if (!ask(p, JET_STREAM_INFO, o->stream, NULL))
        return;
    if (!is_there(p, "stream", o->stream, &missing)) {
        if (missing)
            findings_add(&p->found, true, "stream '%s' does not exist", o->stream);
        return;
    }
    config = answer_find(body(p), "config");
    if (o->subject.fixed && !nats_probe_taken(o->subject.text, answer_find(config, "subjects")))
        findings_add(
            &p->found, true, "stream '%s' does not take subject '%s'", o->stream, o->subject.text);
    if (answer_true(config, "sealed"))
        findings_add(&p->found, true, "stream '%s' is sealed", o->stream);
    if (answer_true(config, "no_ack"))
        findings_add(&p->found, true,
            "stream '%s' does not acknowledge: nothing would ever count as delivered", o->stream);
    if (bytes_equal(answer_find(config, "storage"), bytes_text("memory")))
        findings_add(&p->found, false,
            "stream '%s' is kept in memory: what it confirms is gone with its server", o->stream);
}

/* Subscribes for real, and this connection is closed right after. In no queue group: as a member
 * it would take messages from those who read them. */
static bool try_subscribe(struct probe *p, const char *subject)
{
    return wire_port_open(p->wire, subject, NULL, 1, 1) != NULL;
}

/* What the server said against the subscriptions. */
static void tell_errors(struct probe *p, bool is_error, const char *after)
{
    char words[200];
    uint64_t before = wire_flushes(p->wire);

    wire_flush(p->wire);
    while (wire_flushes(p->wire) == before && turn(p))
        ;
    while (wire_take_error(p->wire, words, sizeof words))
        findings_add(&p->found, is_error, "%s%s", words, after);
}

static void probe_given_up(struct probe *p, const struct nats_source_options *o, int64_t most)
{
    char subject[320];

    findings_add(&p->found, false,
        "consumer '%s' gives a message up after %lld deliveries: it is a dead letter of reason "
        "'source' then, and while the store stands that may come to many",
        o->durable, (long long)most);
    (void)snprintf(subject, sizeof subject,
        "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.%.120s.%.120s", o->stream, o->durable);
    if (try_subscribe(p, subject))
        tell_errors(p, false, ": what the consumer gives up will not be heard of");
}

static void probe_consumer(struct probe *p, const struct nats_source_options *o, int64_t window)
{
    bool missing = false;
    struct bytes config;
    int64_t most = 0;

    if (!ask(p, JET_CONSUMER_INFO, o->stream, o->durable))
        return;
    if (!is_there(p, "consumer", o->durable, &missing)) {
        if (missing)
            findings_add(&p->found, o->declare != NATS_DECLARE_CREATE,
                "stream '%s' has no consumer '%s'%s", o->stream, o->durable,
                o->declare == NATS_DECLARE_CREATE ? " yet: the first start makes it" : "");
        return;
    }
    config = answer_find(body(p), "config");
    if (bytes_present(answer_find(config, "deliver_subject")))
        findings_add(
            &p->found, true, "consumer '%s' pushes: a pull consumer is needed", o->durable);
    if (bytes_equal(answer_find(config, "ack_policy"), bytes_text("none")))
        findings_add(&p->found, true, "consumer '%s' takes no acknowledgements", o->durable);
    most = answer_int(config, "max_deliver", -1);
    if (most > 0)
        probe_given_up(p, o, most);
    most = answer_int(config, "max_ack_pending", -1);
    if (most > 0 && most < window)
        findings_add(&p->found, false,
            "consumer '%s' hands out %lld messages at a time, less than the window", o->durable,
            (long long)most);
}

static void probe_stream_source(
    struct probe *p, const struct nats_source_options *o, int64_t window)
{
    bool missing = false;

    if (!ask(p, JET_STREAM_INFO, o->stream, NULL))
        return;
    if (is_there(p, "stream", o->stream, &missing))
        probe_consumer(p, o, window);
    else if (missing)
        findings_add(&p->found, o->declare != NATS_DECLARE_CREATE, "stream '%s' does not exist%s",
            o->stream, o->declare == NATS_DECLARE_CREATE ? " yet: the first start makes it" : "");
}

/* Without the group it may be less than is allowed. */
static void probe_subjects(struct probe *p, const struct nats_source_options *o)
{
    for (size_t i = 0; i < o->subjects.n; i++)
        if (!try_subscribe(p, o->subjects.at[i]))
            return;
    tell_errors(p, !o->queue_group, o->queue_group ? " (asked without the queue group)" : "");
}

size_t nats_probe_run(struct link *l, const struct nats_source_options *source, int64_t window,
    const struct nats_sink_options *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    struct probe p = { .link = l,
        .wire = l->shared,
        .end_ms = findings_clock_ms() + timeout_ms,
        .found = { ret, 0, limit } };

    buf_init(&p.subject, 4096);
    (void)snprintf(p.reply, sizeof p.reply, "%.200s.probe", wire_inbox(p.wire));
    p.port = wire_port_open(p.wire, p.reply, NULL, 0, 0);
    while (!wire_ready(p.wire) && turn(&p))
        ;
    if (!p.port || !wire_ready(p.wire)) {
        const char *words = wire_status(p.wire)->error;
        findings_add(&p.found, true, "%s", *words ? words : "no answer in time");
        return p.found.n;
    }
    if (sink && sink->bucket)
        probe_bucket(&p, sink->bucket);
    if (source && source->bucket)
        probe_bucket(&p, source->bucket);
    if (sink && sink->stream)
        probe_stream_sink(&p, sink);
    if (source && source->stream)
        probe_stream_source(&p, source, window);
    else if (source)
        probe_subjects(&p, source);
    wire_message_free(p.answer);
    buf_done(&p.subject);
    return p.found.n;
}
