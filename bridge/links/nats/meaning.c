#include "bridge/links/nats/meaning.h"

#include "bridge/links/nats/block.h"
#include "bridge/links/nats/answer.h"

#include <stdio.h>
#include <strings.h>

enum verdict { VERDICT_ADDRESS = 1, VERDICT_FINAL, VERDICT_NACK, VERDICT_BROKER };

/* Numbers of https://github.com/nats-io/nats-server/blob/main/server/errors.json. What is not
 * here is judged by its HTTP-like code. */
static const struct {
    int code;
    enum verdict verdict;
} verdicts[] = {
    { 10060, VERDICT_ADDRESS }, /* expected stream does not match */
    { 10059, VERDICT_ADDRESS }, /* stream not found */
    { 10054, VERDICT_FINAL },   /* message size exceeds maximum allowed */
    { 10097, VERDICT_FINAL },   /* header size exceeds maximum allowed */
    { 10165, VERDICT_FINAL },   /* invalid per-message TTL */
    { 10166, VERDICT_FINAL },   /* per-message TTL is disabled */
    { 10109, VERDICT_BROKER },  /* sealed */
    { 10077, VERDICT_BROKER },  /* could not be stored: full by messages or bytes, or its disk */
    { 10002, VERDICT_BROKER },  /* resource limits exceeded for account */
    { 10023, VERDICT_BROKER },  /* insufficient resources */
    { 10028, VERDICT_BROKER },  /* insufficient memory resources */
    { 10047, VERDICT_BROKER },  /* insufficient storage resources */
    { 10039, VERDICT_BROKER },  /* JetStream not enabled for account */
    { 10076, VERDICT_BROKER },  /* JetStream not enabled */
    { 10158, VERDICT_BROKER },  /* the same message id is being stored right now */
};

static void say(struct meaning *m, struct bytes words, const char *otherwise)
{
    if (words.n)
        (void)snprintf(m->text, sizeof m->text, "%.*s", (int)(words.n < 150 ? words.n : 150),
            (const char *)words.at);
    else
        (void)snprintf(m->text, sizeof m->text, "%s", otherwise);
}

static void refuse(struct meaning *m, enum verdict verdict, bool fixed)
{
    m->fate = FATE_REFUSED;
    m->cause = CAUSE_FINAL;
    if (verdict == VERDICT_NACK) {
        m->cause = CAUSE_NACK;
    } else if (verdict == VERDICT_BROKER) {
        m->fate = FATE_UNSENT;
        m->cause = CAUSE_BROKER;
    } else if (verdict == VERDICT_ADDRESS && fixed) {
        m->fate = FATE_UNSENT;
        m->cause = CAUSE_LOST;
        m->outage = true;
    } else if (verdict == VERDICT_ADDRESS) {
        m->cause = CAUSE_ADDRESS;
    }
}

static enum verdict verdict_of(int64_t number, int64_t code, struct bytes words)
{
    /* A limit for each subject is this subject's trouble, not the stream's. */
    if (number == 10077 && words.n &&
        memmem(words.at, words.n, "per subject", sizeof "per subject" - 1))
        return VERDICT_NACK;
    for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++)
        if (verdicts[i].code == number)
            return verdicts[i].verdict;
    return code == 400 ? VERDICT_FINAL : VERDICT_BROKER;
}

/* {"stream":"S","seq":7}, with more of it in any order. */
struct ack {
    struct bytes error, stream, seq;
    bool duplicate;
};

static void read_ack(struct bytes body, struct ack *ret)
{
    struct bytes name, value;

    *ret = (struct ack){ BYTES_NONE, BYTES_NONE, BYTES_NONE, false };
    while (answer_member(&body, &name, &value) == 1) {
        if (bytes_equal(name, bytes_text("stream")))
            ret->stream = value;
        else if (bytes_equal(name, bytes_text("seq")))
            ret->seq = value;
        else if (bytes_equal(name, bytes_text("error")))
            ret->error = value;
        else if (bytes_equal(name, bytes_text("duplicate")))
            ret->duplicate = bytes_equal(value, bytes_text("true"));
    }
}

/* A number above 0. */
static bool has_place(struct bytes seq)
{
    for (size_t i = 0; i < seq.n; i++)
        if (seq.at[i] < '0' || seq.at[i] > '9')
            return false;
    return seq.n && seq.at[0] != '0';
}

void meaning_of_ack(
    struct bytes headers, struct bytes body, bool fixed, const char *stream, struct meaning *ret)
{
    struct bytes words = BYTES_NONE;
    int status = bytes_present(headers) ? block_begin(&headers, &words) : 0;
    struct ack ack;

    read_ack(body, &ack);
    *ret = (struct meaning){ .code = status };
    if (status == 503) {
        refuse(ret, VERDICT_ADDRESS, fixed);
        say(ret, BYTES_NONE, "no stream takes this subject");
    } else if (bytes_present(ack.error)) {
        int64_t number = answer_int(ack.error, "err_code", 0);
        words = answer_find(ack.error, "description");
        refuse(ret, verdict_of(number, answer_int(ack.error, "code", 0), words), fixed);
        ret->code = number > 0 && number < INT32_MAX ? (int)number : 0;
        say(ret, words, "an error without words");
    } else if (bytes_equal(ack.stream, bytes_text(stream)) && has_place(ack.seq)) {
        ret->fate = FATE_DELIVERED;
        if (ack.duplicate)
            say(ret, BYTES_NONE, "the server had it already");
    } else {
        /* Somebody else than a stream answers on this subject. */
        refuse(ret, VERDICT_ADDRESS, fixed);
        say(ret, BYTES_NONE, "the answer is no acknowledgement of the stream");
    }
}

void meaning_of_reply(struct bytes headers, struct meaning *ret)
{
    struct block_line line;
    struct bytes words = BYTES_NONE;
    int status = bytes_present(headers) ? block_begin(&headers, &words) : 0;

    *ret = (struct meaning){ .fate = FATE_DELIVERED };
    if (status == 503) {
        *ret = (struct meaning){ .fate = FATE_REFUSED, .cause = CAUSE_UNROUTABLE, .code = status };
        say(ret, BYTES_NONE, "nobody answers on this subject");
        return;
    }
    /* How NATS services say that they failed:
     * https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-32.md */
    while (bytes_present(headers) && status >= 0 && block_next(&headers, &line) == 1) {
        if (!bytes_equal(line.name, bytes_text("Nats-Service-Error-Code")))
            continue;
        *ret = (struct meaning){ .fate = FATE_REFUSED, .cause = CAUSE_NACK };
        (void)snprintf(ret->text, sizeof ret->text, "the service answered with error %.*s",
            (int)(line.value.n < 100 ? line.value.n : 100), (const char *)line.value.at);
    }
}

bool meaning_denies(const char *error, const char *subject)
{
    static const char words[] = "Violation for Publish to ";
    const char *at = strcasestr(error, words);
    size_t n = strlen(subject);

    if (!at)
        return false;
    at += sizeof words - 1;
    at += *at == '"';
    return strncmp(at, subject, n) == 0 && (at[n] == '"' || at[n] == 0);
}

bool meaning_protocol(const char *last_words)
{
    static const char *const words[] = { "maximum payload", "maximum control line", "parser error",
        "unknown protocol", "invalid client protocol", "invalid subject", "message header",
        "maximum subscription" };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(last_words, words[i]))
            return true;
    return false;
}
