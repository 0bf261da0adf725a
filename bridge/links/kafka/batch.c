#include "bridge/links/kafka/source.h"

#include "bridge/links/kafka/codec.h"

#include <inttypes.h>
#include <stdlib.h>

#define HEADERS_BYTES_MAX (64u << 20)
#define HEADERS_FEW 64
/* RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET, which older headers lack; older libraries give the broker's
 * own error in its place. */
#define ERR_AUTO_OFFSET_RESET (-140)
#define VALUE_BYTES_MAX (2 * KAFKA_NUMBER_BYTES_MAX + 2)

enum take { TAKE_EVENT, TAKE_NOTHING, TAKE_FULL };

struct kafka_lent *kafka_batch_open(struct source *s)
{
    struct kafka_lent *b = s->spare;

    if (b) {
        s->spare = b->next;
        b->next = NULL;
        return b;
    }
    b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    buf_init(&b->headers, HEADERS_BYTES_MAX);
    b->messages = calloc(KAFKA_BATCH_EVENTS_MAX, sizeof(rd_kafka_message_t *));
    b->events = calloc(KAFKA_BATCH_EVENTS_MAX, sizeof *b->events);
    if (b->messages && b->events)
        return b;
    kafka_batch_free(b);
    return NULL;
}

/* They hold the whole of the fetches that they came with. */
void kafka_batch_drop_messages(struct kafka_lent *b)
{
    for (size_t i = 0; i < b->message_count; i++)
        rd_kafka_message_destroy(b->messages[i]);
    b->message_count = 0;
}

static void clear(struct kafka_lent *b)
{
    kafka_batch_drop_messages(b);
    b->range_count = b->gap_count = b->origins_n = 0;
    b->batch = (struct batch){ 0 };
    b->adopts = false;
    buf_clear(&b->headers);
}

void kafka_batch_close(struct source *s, struct kafka_lent *b)
{
    clear(b);
    b->next = s->spare;
    s->spare = b;
}

void kafka_batch_free(struct kafka_lent *b)
{
    clear(b);
    buf_done(&b->headers);
    free(b->messages);
    free(b->events);
    free(b->origins);
    free(b->ranges);
    free(b->positions);
    free(b->values);
    free(b->gaps);
    free(b);
}

/* Room for one more of `size` bytes in *at. */
static int grow(void **at, size_t n, size_t *capacity, size_t size)
{
    size_t more = *capacity ? 2 * *capacity : 8;
    void *moved;

    if (n < *capacity)
        return 0;
    moved = reallocarray(*at, more, size);
    if (!moved)
        return -1;
    *at = moved;
    *capacity = more;
    return 0;
}

struct kafka_range *kafka_batch_range(
    struct source *s, struct kafka_lent *b, size_t part, int64_t first)
{
    struct kafka_part *p = &s->parts[part];
    void *ranges = b->ranges;

    /* Records come partition by partition: the last one is nearly always it. */
    for (size_t i = b->range_count; i > 0; i--)
        if (b->ranges[i - 1].part == part)
            return &b->ranges[i - 1];
    if (grow(&ranges, b->range_count, &b->range_capacity, sizeof *b->ranges) != 0)
        return NULL;
    b->ranges = ranges;
    b->ranges[b->range_count] = (struct kafka_range){ part, p->epoch, first, first, p->next_ts };
    p->out++;
    return &b->ranges[b->range_count++];
}

static size_t number_put(char *at, int64_t v)
{
    char digits[KAFKA_NUMBER_BYTES_MAX];
    size_t n = 0, i = 0;
    uint64_t left = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    if (v < 0)
        at[i++] = '-';
    do {
        digits[n++] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    while (n > 0)
        at[i++] = digits[--n];
    return i;
}

/* Appends "TOPIC-PARTITION-OFFSET"; its place is kept until the batch is whole. */
static int origin_put(
    struct kafka_lent *b, const struct kafka_part *p, int64_t offset, struct event *e)
{
    size_t need = p->prefix_n + KAFKA_NUMBER_BYTES_MAX, n;
    char *at;

    if (b->origins_capacity - b->origins_n < need) {
        size_t more = 2 * b->origins_capacity + 64 * need;

        at = realloc(b->origins, more);
        if (!at)
            return -1;
        b->origins = at;
        b->origins_capacity = more;
    }
    at = b->origins + b->origins_n;
    memcpy(at, p->prefix, p->prefix_n);
    n = p->prefix_n + number_put(at + p->prefix_n, offset);
    e->origin = (struct bytes){ (const uint8_t *)(uintptr_t)b->origins_n, n };
    b->origins_n += n;
    return 0;
}

/* The encoded list grows in one buffer that may move: its place is kept until the batch is whole.
 */
static int headers_read(const rd_kafka_message_t *m, struct kafka_lent *b, struct event *e)
{
    struct codec_field few[HEADERS_FEW], *at = few;
    rd_kafka_headers_t *list;
    size_t n, start = b->headers.n;

    e->headers = (struct bytes){ (const uint8_t *)(uintptr_t)start, 0 };
    if (rd_kafka_message_headers(m, &list) != 0)
        return 0;
    n = rd_kafka_header_cnt(list);
    if (n > HEADERS_FEW && !(at = calloc(n, sizeof *at)))
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *name = "";
        const void *value = NULL;
        size_t bytes = 0;

        (void)rd_kafka_header_get_all(list, i, &name, &value, &bytes); /* i is within the count */
        at[i] = (struct codec_field){ bytes_text(name), { value, value ? bytes : 0 } };
    }
    kafka_codec_read(at, n, &b->headers, e);
    if (at != few)
        free(at);
    if (b->headers.failed) {
        b->headers.failed = false;
        b->headers.n = start;
        return -1;
    }
    e->headers.n = b->headers.n - start;
    return 0;
}

static int event_put(struct kafka_lent *b, const rd_kafka_message_t *m, const struct kafka_part *p)
{
    struct event *e = &b->events[b->batch.count];
    rd_kafka_timestamp_type_t type;

    *e = (struct event){ .address = { (const uint8_t *)p->topic, p->topic_n },
        .key = { m->key, m->key ? m->key_len : 0 },
        .body = { m->payload, m->payload ? m->len : 0 },
        .time_ms = rd_kafka_message_timestamp(m, &type) };
    if (e->time_ms < 0)
        e->time_ms = 0;
    if (headers_read(m, b, e) != 0 || origin_put(b, p, m->offset, e) != 0)
        return -1;
    b->batch.bytes += event_bytes(e);
    b->batch.count++;
    return 0;
}

static struct kafka_part *part_of(struct source *s, const rd_kafka_message_t *m)
{
    const char *topic = m->rkt ? rd_kafka_topic_name(m->rkt) : "";

    if (s->part_last < s->part_count && s->parts[s->part_last].partition == m->partition &&
        strcmp(s->parts[s->part_last].topic, topic) == 0)
        return &s->parts[s->part_last];
    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].partition == m->partition && strcmp(s->parts[i].topic, topic) == 0) {
            s->part_last = i;
            return &s->parts[i];
        }
    return NULL;
}

static void record_error(struct source *s, const rd_kafka_message_t *m)
{
    char text[256];

    (void)snprintf(text, sizeof text, "kafka: %.120s/%" PRId32 ": %.100s",
        m->rkt ? rd_kafka_topic_name(m->rkt) : "", m->partition, rd_kafka_message_errstr(m));
    if ((int)m->err == ERR_AUTO_OFFSET_RESET || m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
        kafka_group_stop(s, text);
    else if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
        kafka_group_down(s, text);
}

static bool wanted(struct source *s, struct kafka_part *p, const rd_kafka_message_t *m)
{
    if (m->err != 0) {
        record_error(s, m);
        return false;
    }
    if (!p || !p->assigned || p->revoking || s->stopped)
        return false;
    if (m->offset < p->next)
        return false; /* fetched before the seek */
    if (m->offset > p->next && p->rewinds > 0) {
        p->astray = s->astray = true;
        return false;
    }
    p->rewinds = 0;
    return true;
}

/* Returns false when the route must stop over it. */
static bool oversize_allowed(
    struct source *s, const struct kafka_part *p, const rd_kafka_message_t *m)
{
    char text[256];

    if (s->options->oversize == KAFKA_OVERSIZE_SKIP)
        return true;
    (void)snprintf(text, sizeof text,
        "kafka: %.120s offset %" PRId64 ": %zu bytes are more than the log takes; see oversize",
        p->name, m->offset, m->len);
    kafka_group_stop(s, text);
    return false;
}

/* One gap per partition and batch. */
static int gap_put(struct source *s, struct kafka_lent *b, const struct kafka_part *p)
{
    void *gaps = b->gaps;
    struct bytes what = bytes_of(p->name, p->name_n);

    for (size_t i = 0; i < b->gap_count; i++)
        if (bytes_equal(b->gaps[i].what, what)) {
            b->gaps[i].count++;
            return 0;
        }
    if (grow(&gaps, b->gap_count, &b->gap_capacity, sizeof *b->gaps) != 0)
        return -1;
    b->gaps = gaps;
    b->gaps[b->gap_count++] = (struct source_gap){ .start_ms = s->link->unix_ms,
        .end_ms = s->link->unix_ms,
        .count = 1,
        .what = what,
        .cause = bytes_text("a record was larger than the log takes") };
    return 0;
}

static size_t record_bytes(const rd_kafka_message_t *m)
{
    return m->len + m->key_len;
}

static enum take record_take(struct source *s, struct kafka_lent *b, const rd_kafka_message_t *m)
{
    struct kafka_part *p = part_of(s, m);
    struct kafka_range *r;
    rd_kafka_timestamp_type_t type;
    bool oversize;

    if (!wanted(s, p, m))
        return TAKE_NOTHING;
    oversize = m->len > (size_t)s->spec.max_event_bytes;
    if (oversize && !oversize_allowed(s, p, m))
        return TAKE_NOTHING;
    r = kafka_batch_range(s, b, (size_t)(p - s->parts), m->offset);
    if (!r || (oversize ? gap_put(s, b, p) : event_put(b, m, p)) != 0)
        return TAKE_FULL;
    p->next = r->next = m->offset + 1;
    p->next_ts = r->ts = rd_kafka_message_timestamp(m, &type);
    return oversize ? TAKE_NOTHING : TAKE_EVENT;
}

int kafka_batch_fill(struct source *s, struct kafka_lent *b, size_t limit)
{
    size_t window = (size_t)s->spec.window_bytes;

    while (s->carry_at < s->carry_n && b->batch.count < limit) {
        rd_kafka_message_t *m = s->carry[s->carry_at];
        enum take got;

        if (s->out_events + b->batch.count > 0 &&
            s->out_bytes + b->batch.bytes + record_bytes(m) > window)
            break;
        got = record_take(s, b, m);
        if (got == TAKE_FULL)
            return b->batch.count > 0 || b->gap_count > 0 ? 0 : -1;
        s->carry_at++;
        if (got == TAKE_EVENT)
            b->messages[b->message_count++] = m;
        else
            rd_kafka_message_destroy(m);
    }
    return 0;
}

static int positions_fill(struct source *s, struct kafka_lent *b)
{
    struct position *positions = reallocarray(b->positions, b->range_count + 1, sizeof *positions);
    char *values;

    if (!positions)
        return -1;
    b->positions = positions;
    values = reallocarray(b->values, b->range_count + 1, VALUE_BYTES_MAX);
    if (!values)
        return -1;
    b->values = values;
    for (size_t i = 0; i < b->range_count; i++) {
        const struct kafka_part *p = &s->parts[b->ranges[i].part];
        char *at = values + i * VALUE_BYTES_MAX;
        size_t n = number_put(at, b->ranges[i].next);

        at[n++] = ' ';
        n += number_put(at + n, b->ranges[i].ts);
        positions[i] = (struct position){ bytes_of(p->name, p->name_n), bytes_of(at, n) };
    }
    b->batch.positions = positions;
    b->batch.position_count = b->range_count;
    return 0;
}

int kafka_batch_finish(struct source *s, struct kafka_lent *b)
{
    if (positions_fill(s, b) != 0)
        return -1;
    for (size_t i = 0; i < b->batch.count; i++) {
        struct event *e = &b->events[i];

        e->origin.at = (const uint8_t *)b->origins + (uintptr_t)e->origin.at;
        if (e->headers.n)
            e->headers.at = b->headers.at + (uintptr_t)e->headers.at;
        else
            e->headers = BYTES_NONE;
    }
    b->batch.events = b->events;
    b->batch.gaps = b->gaps;
    b->batch.gap_count = b->gap_count;
    return 0;
}
