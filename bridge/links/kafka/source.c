#include "bridge/links/kafka/source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define REWINDS_MAX 3
/* So many at once: there is a backlog, and its fetcher may sleep for 1 s over a full queue. */
#define FAST_RECORDS 256
#define FAST_MS 1500
/* So much taken makes room for a fetch below the library's limit (queued.max.messages.kbytes). */
#define NUDGE_BYTES ((size_t)512 * 1024)

static struct batch *lend(struct source *s, struct kafka_lent *b)
{
    b->next = NULL;
    *s->out_end = b;
    s->out_end = &b->next;
    s->out_events += b->batch.count;
    s->out_bytes += b->batch.bytes;
    return &b->batch;
}

static void seek(struct source *s, struct kafka_part *p)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_error_t *e;

    rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->next;
    e = rd_kafka_seek_partitions(kafka_handle_rk(s->handle), list, 0);
    if (e)
        rd_kafka_error_destroy(e);
    rd_kafka_topic_partition_list_destroy(list);
    kafka_group_carry_drop(s, p);
    p->astray = false;
}

/* Given back as never seen: read again from the batch's first record. */
static void rewind_range(struct source *s, const struct kafka_range *r)
{
    struct kafka_part *p = &s->parts[r->part];

    if (r->first >= p->next || !s->handle)
        return;
    p->next = r->first;
    p->next_ts = r->first == p->stored ? p->stored_ts : -1;
    p->rewinds = REWINDS_MAX;
    seek(s, p);
}

/* A seek has no answer without waiting. The record it was for exists unless it was compacted away
 * meanwhile, so another one means a failed seek, but not for ever. */
static void seek_again(struct source *s)
{
    for (size_t i = 0; s->astray && i < s->part_count; i++) {
        struct kafka_part *p = &s->parts[i];

        if (!p->astray)
            continue;
        p->rewinds--;
        seek(s, p);
    }
    s->astray = false;
}

static void ranges_end(struct source *s, const struct kafka_lent *b, bool kept)
{
    for (size_t i = 0; i < b->range_count; i++) {
        const struct kafka_range *r = &b->ranges[i];
        struct kafka_part *p = &s->parts[r->part];

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
        else if (!b->adopts)
            rewind_range(s, r);
    }
}

/* The offsets that a person, another member or `start` chose, before anything is read from there.
 */
static struct batch *adopt_lend(struct source *s)
{
    struct assign_job *a = s->assigning;
    struct kafka_lent *b = kafka_batch_open(s);

    if (!b)
        return NULL;
    b->adopts = true;
    for (int i = 0; i < a->list->cnt; i++) {
        struct kafka_part *p =
            kafka_group_part(s, a->list->elems[i].topic, a->list->elems[i].partition);
        struct kafka_range *r;

        if (!p || !p->adopting)
            continue;
        r = kafka_batch_range(s, b, (size_t)(p - s->parts), a->found[i].offset);
        if (!r)
            goto fail;
        r->ts = -1;
    }
    if (kafka_batch_finish(s, b) != 0)
        goto fail;
    s->adopt_batch_due = false;
    return lend(s, b);
fail:
    ranges_end(s, b, false);
    kafka_batch_close(s, b);
    return NULL;
}

static void records_take(struct source *s)
{
    ssize_t n;

    if (s->carry_at < s->carry_n)
        return;
    s->carry_at = s->carry_n = 0;
    n = rd_kafka_consume_batch_queue(s->records, 0, s->carry, KAFKA_BATCH_EVENTS_MAX);
    s->carry_n = n > 0 ? (size_t)n : 0;
    for (size_t i = 0; i < s->carry_n; i++)
        s->taken_bytes += s->carry[i]->len + s->carry[i]->key_len;
    if (s->taken_bytes >= NUDGE_BYTES) {
        s->taken_bytes = 0;
        kafka_handle_nudge(s->handle);
    }
    if (s->carry_n >= FAST_RECORDS)
        s->fast_until_ms = s->link->now_ms + FAST_MS;
    kafka_handle_busy(s->handle, s->link->now_ms < s->fast_until_ms);
    if (n > 0)
        kafka_handle_wake(s->link->wake_fd); /* the queue tells only when it was empty before */
}

static size_t room(const struct source *s, size_t limit)
{
    size_t window = (size_t)s->spec.window_events;

    window = window > s->out_events ? window - s->out_events : 0;
    limit = limit < window ? limit : window;
    if (s->out_events > 0 && s->out_bytes >= (size_t)s->spec.window_bytes)
        return 0;
    return limit < KAFKA_BATCH_EVENTS_MAX ? limit : KAFKA_BATCH_EVENTS_MAX;
}

struct batch *kafka_source_receive(struct source *s, size_t limit)
{
    struct kafka_lent *b;
    bool full;

    if (s->draining || s->stopped)
        return NULL;
    if (s->adopt_batch_due)
        return adopt_lend(s);
    limit = room(s, limit);
    if (s->paused || limit == 0 || !(b = kafka_batch_open(s)))
        return NULL;
    records_take(s);
    full = kafka_batch_fill(s, b, limit) != 0;
    seek_again(s);
    if (!full && b->range_count > 0 && kafka_batch_finish(s, b) == 0)
        return lend(s, b);
    ranges_end(s, b, false);
    kafka_batch_close(s, b);
    return NULL;
}

static void out_remove(struct source *s, struct kafka_lent *b)
{
    struct kafka_lent **at = &s->out;

    while (*at && *at != b)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = b->next;
    if (!*at)
        s->out_end = at;
}

void kafka_source_copied(struct source *s, struct batch *batch)
{
    (void)s;
    kafka_batch_drop_messages((struct kafka_lent *)batch);
}

void kafka_source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct kafka_lent *b = (struct kafka_lent *)batch;
    bool adopts = b->adopts;

    out_remove(s, b);
    ranges_end(s, b, kept);
    s->out_events -= batch->count;
    s->out_bytes -= batch->bytes;
    kafka_batch_close(s, b);
    if (adopts)
        kafka_group_adopted(s, kept);
    kafka_handle_wake(s->link->wake_fd);
}

int64_t kafka_source_step(struct source *s)
{
    return kafka_group_step(s);
}

void kafka_source_pause(struct source *s, bool paused)
{
    if (s->paused == paused)
        return;
    s->paused = paused;
    kafka_group_pause(s, paused);
    kafka_handle_wake(s->link->wake_fd);
}

bool kafka_source_drain(struct source *s)
{
    bool dirty = false;

    s->draining = true;
    for (size_t i = 0; i < s->part_count; i++)
        dirty |= s->parts[i].dirty && s->parts[i].assigned;
    if (dirty && !s->committing && s->handle)
        (void)kafka_group_commit(s, NULL);
    return !s->out && !s->committing;
}

void kafka_source_status(const struct source *s, struct link_status *ret)
{
    *ret = s->status;
    ret->lag = -1;
    ret->peer_expires_ms = s->handle ? kafka_handle_peer_expires(s->handle) : 0;
    for (size_t i = 0; s->handle && i < s->part_count; i++) {
        const struct kafka_part *p = &s->parts[i];
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
        char name[320], value[64], *slash;
        struct bytes n = spec->positions[i].name, v = spec->positions[i].value;
        struct kafka_part *p;
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
        p = kafka_group_part(s, name, (int32_t)strtol(slash + 1, NULL, 10));
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
    rd_kafka_topic_partition_list_t *topics;
    rd_kafka_conf_t *conf;
    rd_kafka_resp_err_t e;
    char name[200];

    /* A member with a name of its own comes back after a crash as the one it was: without it the
     * group would wait for the dead one's session to end (45 s) before it gives its partitions to
     * anybody. */
    (void)snprintf(
        name, sizeof name, "bascule-%.100s-%" PRIu64, s->link->spec.store_id, s->spec.route_id);
    conf =
        kafka_conf_consumer(s->link->options, s->options->group, name, s->options->isolation, why);
    if (!conf)
        return -1;
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
    s->out_end = &s->out;
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
    for (struct kafka_lent *b = s->out, *next; b; b = next) {
        next = b->next;
        kafka_batch_free(b);
    }
    for (struct kafka_lent *b = s->spare, *next; b; b = next) {
        next = b->next;
        kafka_batch_free(b);
    }
    kafka_group_free(s);
    for (size_t i = 0; i < s->part_count; i++) {
        free(s->parts[i].topic);
        free(s->parts[i].name);
        free(s->parts[i].prefix);
    }
    free(s->parts);
    free(s);
}
