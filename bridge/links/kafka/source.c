#include "bridge/links/kafka/link.h"

#include "bridge/links/kafka/assign.h"
#include "bridge/links/kafka/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define COMMIT_EVERY_MS 1000
#define REVOKE_WAIT_MS 5000
#define ORIGIN_BYTES_MAX (249 + 2 * 21)
#define BATCH_EVENTS_MAX 4096
#define HEADERS_BYTES_MAX (64u << 20)
#define POSITION_BYTES_MAX 320

struct part {
    char *topic;
    int32_t partition;
    bool assigned, revoking, adopting, rewinding, dirty;
    uint32_t out;              /* batches that hold events of it */
    uint64_t epoch;            /* changes with each assignment */
    int64_t next, next_ts;     /* what to receive next; time of the last received */
    int64_t stored, stored_ts; /* as the store has it, -1: not */
    char prefix[256];          /* "TOPIC-PARTITION-" */
    size_t prefix_n;
};

struct range {
    size_t part;
    uint64_t epoch;
    int64_t first, next, ts;
};

/* A batch and all that its events point into. */
struct lent {
    struct batch batch; /* first: settle() gets its address */
    struct lent *next;
    rd_kafka_message_t **messages;
    size_t message_count;
    struct event *events;
    struct range *ranges;
    size_t range_count, range_capacity;
    struct position *positions;
    char *texts; /* names and values of positions */
    char *origins;
    struct buf headers;
    struct source_gap gap;
    size_t capacity;
};

struct source {
    struct source *next;
    struct link *link;
    struct source_spec spec;
    const struct kafka_source_options *options;
    struct kafka_handle *handle;
    rd_kafka_queue_t *records;
    struct part *parts;
    size_t part_count, part_last;
    bool had_positions;
    struct lent *out, *spare;
    size_t out_events, out_bytes;
    struct assign_job *assigning; /* looked up, waiting for its positions to be kept */
    bool looking_up, adopt_batch_due, adopt_out, adopt_commit;
    rd_kafka_topic_partition_list_t *revoking; /* a revoke that waits */
    int64_t revoke_until_ms, commit_ms;
    bool committing, revoke_commit, paused, draining, stopped;
    struct link_status status;
    rd_kafka_message_t *held; /* taken off the queue, did not fit the window */
};

static struct part *part_get(struct source *s, const char *topic, int32_t partition)
{
    struct part *p;

    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].partition == partition && strcmp(s->parts[i].topic, topic) == 0)
            return &s->parts[i];
    p = reallocarray(s->parts, s->part_count + 1, sizeof *p);
    if (!p)
        return NULL;
    s->parts = p;
    p += s->part_count;
    *p = (struct part){ .topic = strdup(topic),
        .partition = partition,
        .stored = -1,
        .stored_ts = -1,
        .next = -1,
        .next_ts = -1 };
    if (!p->topic)
        return NULL;
    p->prefix_n =
        (size_t)snprintf(p->prefix, sizeof p->prefix, "%.230s-%" PRId32 "-", topic, partition);
    s->part_count++;
    return p;
}

static void stop(struct source *s, const char *text)
{
    s->stopped = true;
    (void)snprintf(s->status.error, sizeof s->status.error, "%s", text);
    kafka_state_set(&s->status, LINK_STOPPED, s->link->now_ms);
}

static void metadata_text(const struct source *s, char *ret, size_t n)
{
    (void)snprintf(ret, n, "bascule:%s:%" PRIu64, s->spec.route ? s->link->spec.store_id : "",
        s->spec.route_id);
}

/* Commits what the store has, for parts of `only` (NULL: all assigned that moved). */
static bool commit(struct source *s, const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    char text[200];

    metadata_text(s, text, sizeof text);
    for (size_t i = 0; i < s->part_count; i++) {
        struct part *p = &s->parts[i];
        rd_kafka_topic_partition_t *e;

        if (!p->dirty || p->stored < 0 ||
            !(only ? rd_kafka_topic_partition_list_find(
                         (rd_kafka_topic_partition_list_t *)(uintptr_t)only, p->topic,
                         p->partition) != NULL
                   : p->assigned && !p->revoking))
            continue;
        e = rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
        e->offset = p->stored;
        e->metadata = strdup(text);
        e->metadata_size = e->metadata ? strlen(text) : 0;
        p->dirty = false;
    }
    if (list->cnt > 0 && rd_kafka_commit_queue(kafka_handle_rk(s->handle), list,
                             kafka_handle_events(s->handle), NULL, NULL) == 0)
        s->committing = true;
    s->commit_ms = s->link->now_ms;
    rd_kafka_topic_partition_list_destroy(list);
    return s->committing;
}

static void error_free(rd_kafka_error_t *e)
{
    if (e)
        rd_kafka_error_destroy(e);
}

static void watch_assigned(struct source *s)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].assigned)
            (void)rd_kafka_topic_partition_list_add(list, s->parts[i].topic, s->parts[i].partition);
    kafka_handle_watch(s->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static void pause_list(struct source *s, bool paused)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].assigned)
            (void)rd_kafka_topic_partition_list_add(list, s->parts[i].topic, s->parts[i].partition);
    if (paused)
        (void)rd_kafka_pause_partitions(kafka_handle_rk(s->handle), list);
    else
        (void)rd_kafka_resume_partitions(kafka_handle_rk(s->handle), list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Every offset is in the store and, where a person or member had moved it, in the group: read on.
 */
static void assign_finish(struct source *s)
{
    struct assign_job *a = s->assigning;
    uint64_t one = 1;

    for (int i = 0; i < a->list->cnt; i++) {
        rd_kafka_topic_partition_t *e = &a->list->elems[i];
        struct part *p = part_get(s, e->topic, e->partition);
        rd_kafka_queue_t *q;

        e->offset = a->found[i].offset;
        if (!p)
            continue;
        *p = (struct part){ .topic = p->topic,
            .partition = p->partition,
            .assigned = true,
            .epoch = p->epoch + 1,
            .next = e->offset,
            .next_ts = p->stored_ts,
            .stored = p->stored,
            .stored_ts = p->stored_ts,
            .dirty = p->dirty,
            .prefix_n = p->prefix_n };
        p->prefix_n = (size_t)snprintf(
            p->prefix, sizeof p->prefix, "%.230s-%" PRId32 "-", p->topic, p->partition);
        q = rd_kafka_queue_get_partition(kafka_handle_rk(s->handle), e->topic, e->partition);
        if (q) {
            rd_kafka_queue_forward(q, s->records);
            rd_kafka_queue_destroy(q);
        }
    }
    rd_kafka_queue_io_event_enable(s->records, s->link->wake_fd, &one, sizeof one);
    error_free(rd_kafka_incremental_assign(kafka_handle_rk(s->handle), a->list));
    if (s->paused)
        pause_list(s, true);
    watch_assigned(s);
    s->assigning = NULL;
    assign_free(&a->job);
    s->status.session++;
    if (!s->stopped)
        kafka_state_set(&s->status, LINK_UP, s->link->now_ms);
}

static void assign_looked_up(struct source *s, struct assign_job *a)
{
    s->looking_up = false;
    s->assigning = a;
    if (a->trouble[0]) {
        stop(s, a->trouble);
        return;
    }
    for (int i = 0; i < a->list->cnt; i++) {
        struct part *p = part_get(s, a->list->elems[i].topic, a->list->elems[i].partition);

        if (!p || !a->found[i].adopt)
            continue;
        p->adopting = true;
        s->adopt_batch_due = true;
    }
    if (!s->adopt_batch_due)
        assign_finish(s);
}

static void assign_start(struct source *s, const rd_kafka_topic_partition_list_t *list)
{
    struct assign_job *a = assign_open(list);

    if (!a)
        return;
    (void)kafka_start_parse(s->options->start, &a->start);
    a->first_assignment = !s->had_positions;
    metadata_text(s, a->metadata, sizeof a->metadata);
    (void)snprintf(a->group, sizeof a->group, "%s", s->options->group);
    a->link = s->link->options;
    for (int i = 0; i < list->cnt; i++) {
        struct part *p = part_get(s, list->elems[i].topic, list->elems[i].partition);

        a->found[i].stored = p ? p->stored : -1;
        a->found[i].stored_ts = p ? p->stored_ts : -1;
    }
    s->looking_up = true;
    kafka_handle_post(s->handle, &a->job);
}

static void unassign(struct source *s)
{
    for (int i = 0; i < s->revoking->cnt; i++) {
        struct part *p = part_get(s, s->revoking->elems[i].topic, s->revoking->elems[i].partition);

        if (!p)
            continue;
        p->assigned = p->revoking = p->dirty = false;
        p->epoch++;
        p->out = 0;
    }
    error_free(rd_kafka_incremental_unassign(kafka_handle_rk(s->handle), s->revoking));
    rd_kafka_topic_partition_list_destroy(s->revoking);
    s->revoking = NULL;
    s->revoke_commit = false;
    s->status.session++;
    watch_assigned(s);
}

static void revoke_start(struct source *s, const rd_kafka_topic_partition_list_t *list)
{
    s->revoking = rd_kafka_topic_partition_list_copy(list);
    s->revoke_until_ms = s->link->now_ms + REVOKE_WAIT_MS;
    for (int i = 0; i < list->cnt; i++) {
        struct part *p = part_get(s, list->elems[i].topic, list->elems[i].partition);

        if (p)
            p->revoking = true;
    }
    if (rd_kafka_assignment_lost(kafka_handle_rk(s->handle)))
        unassign(s); /* another member may have them by now: nothing of ours may be committed */
}

static void revoke_step(struct source *s)
{
    bool waits = false;

    if (!s->revoking)
        return;
    for (size_t i = 0; i < s->part_count; i++)
        waits |= s->parts[i].revoking && s->parts[i].out > 0;
    if (s->link->now_ms >= s->revoke_until_ms) {
        unassign(s);
        return;
    }
    if (waits || s->committing)
        return;
    if (!s->revoke_commit) {
        s->revoke_commit = true;
        if (commit(s, s->revoking))
            return;
    }
    unassign(s);
}

static void commit_failed(struct source *s, rd_kafka_event_t *ev)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);

    for (int i = 0; list && i < list->cnt; i++) {
        struct part *p = part_get(s, list->elems[i].topic, list->elems[i].partition);

        if (p && p->assigned && !p->revoking)
            p->dirty = true;
    }
}

static void event_take(struct source *s, rd_kafka_event_t *ev)
{
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_REBALANCE:
        if (rd_kafka_event_error(ev) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
            assign_start(s, rd_kafka_event_topic_partition_list(ev));
        else
            revoke_start(s, rd_kafka_event_topic_partition_list(ev));
        break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        s->committing = false;
        if (rd_kafka_event_error(ev) != 0 &&
            rd_kafka_event_error(ev) != RD_KAFKA_RESP_ERR__NO_OFFSET)
            commit_failed(s, ev);
        if (s->adopt_commit) {
            s->adopt_commit = false;
            assign_finish(s);
        }
        break;
    case RD_KAFKA_EVENT_ERROR:
        (void)snprintf(
            s->status.error, sizeof s->status.error, "kafka: %s", rd_kafka_event_error_string(ev));
        break;
    default:
        break;
    }
}

int64_t kafka_source_step(struct source *s)
{
    struct kafka_job *j;
    rd_kafka_event_t *ev;
    bool moved = false;

    while ((j = kafka_handle_done(s->handle)))
        assign_looked_up(s, (struct assign_job *)j);
    while ((ev = rd_kafka_queue_poll(kafka_handle_events(s->handle), 0))) {
        event_take(s, ev);
        rd_kafka_event_destroy(ev);
    }
    revoke_step(s);
    for (size_t i = 0; i < s->part_count; i++)
        moved |= s->parts[i].dirty && s->parts[i].assigned && !s->parts[i].revoking;
    if (moved && !s->committing && !s->revoking &&
        s->link->now_ms >= s->commit_ms + COMMIT_EVERY_MS)
        (void)commit(s, NULL);
    if (s->revoking)
        return s->revoke_until_ms;
    return moved ? s->commit_ms + COMMIT_EVERY_MS : s->link->now_ms + COMMIT_EVERY_MS;
}

/* ---- batches ---- */

static struct lent *lent_open(struct source *s)
{
    struct lent *b = s->spare;

    if (b) {
        s->spare = b->next;
        b->next = NULL;
        return b;
    }
    b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->capacity = BATCH_EVENTS_MAX;
    buf_init(&b->headers, HEADERS_BYTES_MAX);
    b->messages = calloc(b->capacity, sizeof(rd_kafka_message_t *));
    b->events = calloc(b->capacity, sizeof *b->events);
    b->origins = malloc(b->capacity * ORIGIN_BYTES_MAX);
    if (b->messages && b->events && b->origins)
        return b;
    free(b->messages);
    free(b->events);
    free(b->origins);
    free(b);
    return NULL;
}

static void lent_clear(struct lent *b)
{
    for (size_t i = 0; i < b->message_count; i++)
        rd_kafka_message_destroy(b->messages[i]);
    b->message_count = b->range_count = 0;
    b->batch = (struct batch){ 0 };
    buf_clear(&b->headers);
}

static void lent_free(struct lent *b)
{
    lent_clear(b);
    buf_done(&b->headers);
    free(b->messages);
    free(b->events);
    free(b->origins);
    free(b->ranges);
    free(b->positions);
    free(b->texts);
    free(b);
}

static struct range *range_get(struct source *s, struct lent *b, size_t part, int64_t first)
{
    for (size_t i = 0; i < b->range_count; i++)
        if (b->ranges[i].part == part)
            return &b->ranges[i];
    if (b->range_count == b->range_capacity) {
        size_t n = b->range_capacity ? 2 * b->range_capacity : 8;
        struct range *more = reallocarray(b->ranges, n, sizeof *more);

        if (!more)
            return NULL;
        b->ranges = more;
        b->range_capacity = n;
    }
    b->ranges[b->range_count] =
        (struct range){ part, s->parts[part].epoch, first, first, s->parts[part].next_ts };
    s->parts[part].out++;
    return &b->ranges[b->range_count++];
}

/* Positions of all ranges, as "TOPIC/PARTITION" and "NEXT TIME". */
static int positions_fill(struct source *s, struct lent *b)
{
    struct position *positions = reallocarray(b->positions, b->range_count + 1, sizeof *positions);
    char *texts;

    if (!positions)
        return -1;
    b->positions = positions;
    texts = reallocarray(b->texts, b->range_count + 1, POSITION_BYTES_MAX);
    if (!texts)
        return -1;
    b->texts = texts;
    for (size_t i = 0; i < b->range_count; i++) {
        const struct part *p = &s->parts[b->ranges[i].part];
        char *at = texts + i * POSITION_BYTES_MAX;
        size_t n = (size_t)snprintf(at, 264, "%.249s/%" PRId32, p->topic, p->partition);
        size_t m = (size_t)snprintf(at + n, POSITION_BYTES_MAX - n, "%" PRId64 " %" PRId64,
            b->ranges[i].next, b->ranges[i].ts);

        positions[i] = (struct position){ bytes_of(at, n), bytes_of(at + n, m) };
    }
    b->batch.positions = positions;
    b->batch.position_count = b->range_count;
    return 0;
}

static size_t number_put(char *at, int64_t v)
{
    char digits[20];
    size_t n = 0, i = 0;

    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    while (n > 0)
        at[i++] = digits[--n];
    return i;
}

static struct part *part_of(struct source *s, const rd_kafka_message_t *m)
{
    const char *topic = rd_kafka_topic_name(m->rkt);

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

static void headers_read(const rd_kafka_message_t *m, struct lent *b, struct event *e)
{
    struct codec_field fields[256], *at = fields;
    rd_kafka_headers_t *list;
    size_t n, start = b->headers.n;

    if (rd_kafka_message_headers(m, &list) != 0)
        return;
    n = rd_kafka_header_cnt(list);
    if (n > sizeof fields / sizeof fields[0] && !(at = calloc(n, sizeof *at)))
        return;
    for (size_t i = 0; i < n; i++) {
        const char *name;
        const void *value;
        size_t bytes;

        if (rd_kafka_header_get_all(list, i, &name, &value, &bytes) != 0)
            break;
        at[i] = (struct codec_field){ bytes_text(name), { value, value ? bytes : 0 } };
    }
    kafka_codec_read(at, n, &b->headers, e);
    /* The buffer may move while it grows: kept as a place until the batch is whole. */
    e->headers = (struct bytes){ (const uint8_t *)(uintptr_t)(start + 1), b->headers.n - start };
    if (at != fields)
        free(at);
}

static void event_fill(struct lent *b, const rd_kafka_message_t *m, const struct part *p)
{
    struct event *e = &b->events[b->batch.count];
    char *origin = b->origins + b->batch.count * ORIGIN_BYTES_MAX;
    rd_kafka_timestamp_type_t type;

    memcpy(origin, p->prefix, p->prefix_n);
    *e = (struct event){ .address = bytes_of(p->topic, strlen(p->topic)),
        .key = { m->key, m->key ? m->key_len : 0 },
        .body = { m->payload, m->payload ? m->len : 0 },
        .origin = {
            (uint8_t *)origin, p->prefix_n + number_put(origin + p->prefix_n, m->offset) } };
    e->time_ms = rd_kafka_message_timestamp(m, &type);
    if (e->time_ms < 0)
        e->time_ms = 0;
    headers_read(m, b, e);
    b->batch.bytes += event_bytes(e);
    b->batch.count++;
}

static void record_error(struct source *s, const rd_kafka_message_t *m)
{
    char text[256];

    (void)snprintf(text, sizeof text, "kafka: %s/%" PRId32 ": %s", rd_kafka_topic_name(m->rkt),
        m->partition, rd_kafka_message_errstr(m));
    if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET ||
        m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
        stop(s, text);
    else
        (void)snprintf(s->status.error, sizeof s->status.error, "%.255s", text);
}

/* True when the record became an event of the batch (which then owns it). */
static bool record_take(struct source *s, struct lent *b, rd_kafka_message_t *m)
{
    struct part *p = part_of(s, m);
    struct range *r;
    rd_kafka_timestamp_type_t type;

    if (m->err != 0) {
        record_error(s, m);
        return false;
    }
    if (!p || !p->assigned || p->revoking || s->stopped)
        return false;
    if (p->rewinding && m->offset > p->next)
        return false; /* fetched before the seek */
    p->rewinding = false;
    if (m->offset < p->next)
        return false;
    if (m->len > (size_t)s->spec.max_event_bytes && s->options->oversize == KAFKA_OVERSIZE_STOP) {
        char text[256];

        (void)snprintf(text, sizeof text,
            "kafka: %.120s/%" PRId32 " offset %" PRId64
            ": %zu bytes are more than the log takes; see oversize",
            p->topic, p->partition, m->offset, m->len);
        stop(s, text);
        return false;
    }
    r = range_get(s, b, (size_t)(p - s->parts), m->offset);
    if (!r) {
        stop(s, "kafka: out of memory");
        return false;
    }
    p->next = r->next = m->offset + 1;
    p->next_ts = r->ts = rd_kafka_message_timestamp(m, &type);
    if (m->len > (size_t)s->spec.max_event_bytes) {
        b->gap = (struct source_gap){ .start_ms = s->link->unix_ms,
            .end_ms = s->link->unix_ms,
            .count = b->gap.count + 1,
            .what = bytes_text(p->topic),
            .cause = bytes_text("a record was larger than the log takes") };
        b->batch.gaps = &b->gap;
        b->batch.gap_count = 1;
        return false;
    }
    event_fill(b, m, p);
    return true;
}

static struct batch *lend(struct source *s, struct lent *b)
{
    struct lent **at = &s->out;

    if (positions_fill(s, b) != 0) {
        stop(s, "kafka: out of memory");
        lent_free(b);
        return NULL;
    }
    for (size_t i = 0; i < b->batch.count; i++)
        if (b->events[i].headers.n)
            b->events[i].headers.at = b->headers.at + (uintptr_t)b->events[i].headers.at - 1;
        else
            b->events[i].headers = BYTES_NONE;
    b->batch.events = b->events;
    s->out_events += b->batch.count;
    s->out_bytes += b->batch.bytes;
    while (*at)
        at = &(*at)->next;
    *at = b;
    return &b->batch;
}

/* The offsets that a person, another member or `start` chose, before anything is read from there.
 */
static struct batch *adopt_lend(struct source *s)
{
    struct assign_job *a = s->assigning;
    struct lent *b = lent_open(s);

    if (!b)
        return NULL;
    for (int i = 0; i < a->list->cnt; i++) {
        struct part *p = part_get(s, a->list->elems[i].topic, a->list->elems[i].partition);
        struct range *r;

        if (!p || !p->adopting)
            continue;
        r = range_get(s, b, (size_t)(p - s->parts), a->found[i].offset);
        if (!r)
            continue;
        r->next = a->found[i].offset;
        r->ts = -1;
    }
    s->adopt_batch_due = false;
    s->adopt_out = true;
    return lend(s, b);
}

struct batch *kafka_source_receive(struct source *s, size_t limit)
{
    size_t room = (size_t)s->spec.window_events - s->out_events;
    struct lent *b;
    ssize_t n;

    if (s->adopt_batch_due && !s->draining)
        return adopt_lend(s);
    if (limit > room)
        limit = room;
    if (limit > BATCH_EVENTS_MAX)
        limit = BATCH_EVENTS_MAX;
    if (s->paused || s->draining || s->stopped || limit == 0 ||
        (s->out_events > 0 && s->out_bytes >= (size_t)s->spec.window_bytes))
        return NULL;
    b = lent_open(s);
    if (!b)
        return NULL;
    n = rd_kafka_consume_batch_queue(s->records, 0, b->messages, limit);
    for (ssize_t i = 0; i < n; i++)
        if (record_take(s, b, b->messages[i]))
            b->messages[b->message_count++] = b->messages[i];
        else
            rd_kafka_message_destroy(b->messages[i]);
    kafka_handle_busy(s->handle, n > 0);
    if (n > 0)
        kafka_handle_wake(s->link->wake_fd); /* the queue tells only when it was empty before */
    if (b->range_count > 0)
        return lend(s, b);
    lent_clear(b);
    b->next = s->spare;
    s->spare = b;
    return NULL;
}

/* Given back as never seen: read again from the batch's first record. */
static void rewind_range(struct source *s, const struct range *r)
{
    struct part *p = &s->parts[r->part];
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

    if (r->first < p->next) {
        rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = r->first;
        error_free(rd_kafka_seek_partitions(kafka_handle_rk(s->handle), list, 0));
        p->next = r->first;
        p->rewinding = true;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static void adopt_settled(struct source *s, bool kept)
{
    s->adopt_out = false;
    if (!s->assigning)
        return;
    if (!kept) {
        s->adopt_batch_due = true;
        return;
    }
    s->had_positions = true;
    s->adopt_commit = commit(s, s->assigning->list);
    if (!s->adopt_commit)
        assign_finish(s);
}

void kafka_source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct lent *b = (struct lent *)batch;
    struct lent **at = &s->out;
    bool adopt = s->adopt_out && batch->count == 0;

    while (*at && *at != b)
        at = &(*at)->next;
    if (*at)
        *at = b->next;
    for (size_t i = 0; i < b->range_count; i++) {
        const struct range *r = &b->ranges[i];
        struct part *p = &s->parts[r->part];

        if (kept) {
            p->stored = r->next; /* the store has it, whoever owns the partition now */
            p->stored_ts = r->ts;
            s->had_positions = true;
        }
        if (p->epoch != r->epoch)
            continue;
        p->out--;
        if (kept)
            p->dirty = true;
        else if (!adopt)
            rewind_range(s, r);
    }
    s->out_events -= batch->count;
    s->out_bytes -= batch->bytes;
    lent_clear(b);
    b->next = s->spare;
    s->spare = b;
    if (adopt)
        adopt_settled(s, kept);
    kafka_handle_wake(s->link->wake_fd);
}

void kafka_source_pause(struct source *s, bool paused)
{
    if (s->paused == paused)
        return;
    s->paused = paused;
    pause_list(s, paused);
    kafka_handle_wake(s->link->wake_fd);
}

bool kafka_source_drain(struct source *s)
{
    bool dirty = false;

    s->draining = true;
    for (size_t i = 0; i < s->part_count; i++)
        dirty |= s->parts[i].dirty && s->parts[i].assigned;
    if (dirty && !s->committing)
        (void)commit(s, NULL);
    return !s->out && !s->committing;
}

void kafka_source_status(const struct source *s, struct link_status *ret)
{
    *ret = s->status;
    ret->lag = -1;
    for (size_t i = 0; i < s->part_count; i++) {
        const struct part *p = &s->parts[i];
        int64_t high = p->assigned ? kafka_handle_high(s->handle, p->topic, p->partition) : -1;

        if (high >= 0 && p->next >= 0)
            ret->lag = (ret->lag < 0 ? 0 : ret->lag) + (high > p->next ? high - p->next : 0);
    }
}

struct source *kafka_source_next(const struct source *s)
{
    return s->next;
}

static int positions_read(struct source *s, const struct source_spec *spec)
{
    for (size_t i = 0; i < spec->position_count; i++) {
        char name[264], value[64], *slash;
        struct bytes n = spec->positions[i].name, v = spec->positions[i].value;
        struct part *p;
        int64_t next, ts;

        if (n.n >= sizeof name || v.n >= sizeof value || !bytes_present(v))
            continue;
        memcpy(name, n.at, n.n);
        name[n.n] = '\0';
        memcpy(value, v.at, v.n);
        value[v.n] = '\0';
        slash = strrchr(name, '/');
        if (!slash || sscanf(value, "%" SCNd64 " %" SCNd64, &next, &ts) != 2 || next < 0)
            continue;
        *slash = '\0';
        p = part_get(s, name, (int32_t)strtol(slash + 1, NULL, 10));
        if (!p)
            return -1;
        p->stored = next;
        p->stored_ts = ts;
        s->had_positions = true;
    }
    return 0;
}

static int dial(struct source *s, struct fault *why)
{
    rd_kafka_conf_t *conf = kafka_conf_open(s->link->options, true, why);
    rd_kafka_topic_partition_list_t *topics;
    rd_kafka_resp_err_t e;

    if (!conf)
        return -1;
    rd_kafka_conf_set_events(
        conf, RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_ERROR);
    /* A paused route, or a full disk, may take hours and must not lose its membership; a process
     * that died is still noticed by its missing heartbeats. */
    if (kafka_conf_set(conf, "group.id", s->options->group, why) != 0 ||
        kafka_conf_set(conf, "max.poll.interval.ms", "86400000", why) != 0 ||
        kafka_conf_set(conf, "enable.auto.commit", "false", why) != 0 ||
        kafka_conf_set(conf, "enable.auto.offset.store", "false", why) != 0 ||
        kafka_conf_set(conf, "auto.offset.reset", "error", why) != 0 ||
        kafka_conf_set(conf, "partition.assignment.strategy", "cooperative-sticky", why) != 0 ||
        kafka_conf_set(conf, "isolation.level", kafka_isolations[s->options->isolation], why) !=
            0) {
        rd_kafka_conf_destroy(conf);
        return -1;
    }
    if (kafka_handle_open(conf, true, s->link->wake_fd, &s->handle, why) != 0)
        return -1;
    s->records = rd_kafka_queue_new(kafka_handle_rk(s->handle));
    topics = rd_kafka_topic_partition_list_new((int)s->options->topics.n);
    for (size_t i = 0; i < s->options->topics.n; i++)
        (void)rd_kafka_topic_partition_list_add(
            topics, s->options->topics.at[i], RD_KAFKA_PARTITION_UA);
    e = rd_kafka_subscribe(kafka_handle_rk(s->handle), topics);
    rd_kafka_topic_partition_list_destroy(topics);
    return e == 0 ? 0 : fault_set(why, FAULT_INPUT, e, "kafka: %s", rd_kafka_err2str(e));
}

int kafka_source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct source *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->link = l;
    s->spec = *spec;
    s->options = spec->options;
    s->status.state = LINK_CONNECTING;
    s->status.since_ms = l->now_ms;
    if (positions_read(s, spec) != 0) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory");
        goto fail;
    }
    if (dial(s, why) != 0)
        goto fail;
    s->next = l->sources;
    l->sources = s;
    *ret = s;
    return 0;
fail:
    kafka_source_free(s);
    return -1;
}

void kafka_source_free(struct source *s)
{
    struct source **at;

    if (!s)
        return;
    for (at = &s->link->sources; *at && *at != s; at = &(*at)->next)
        ;
    if (*at)
        *at = s->next;
    for (struct lent *b = s->out, *next; b; b = next) {
        next = b->next;
        lent_free(b);
    }
    for (struct lent *b = s->spare, *next; b; b = next) {
        next = b->next;
        lent_free(b);
    }
    if (s->assigning)
        assign_free(&s->assigning->job);
    if (s->revoking)
        rd_kafka_topic_partition_list_destroy(s->revoking);
    if (s->records) {
        rd_kafka_queue_io_event_enable(s->records, -1, NULL, 0);
        rd_kafka_queue_destroy(s->records);
    }
    kafka_handle_free(s->handle);
    for (size_t i = 0; i < s->part_count; i++)
        free(s->parts[i].topic);
    free(s->parts);
    free(s);
}
