#include "bridge/links/kafka/source.h"

#include <inttypes.h>
#include <stdlib.h>

#define COMMIT_EVERY_MS 1000
#define REVOKE_WAIT_MS 5000
/* After giving partitions up we join again. A commit in that time has the wrong generation, for
 * which the client library gives up all others too, uncommitted. An assignment ends it early. */
#define REJOIN_MS 10000

static char *text_of(const char *format, const char *topic, int32_t partition, size_t *n)
{
    char *text;
    int got = asprintf(&text, format, topic, partition);

    if (got < 0)
        return NULL;
    *n = (size_t)got;
    return text;
}

struct kafka_part *kafka_group_part(struct source *s, const char *topic, int32_t partition)
{
    struct kafka_part *p,
        new = { .partition = partition, .stored = -1, .stored_ts = -1, .next = -1, .next_ts = -1 };

    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].partition == partition && strcmp(s->parts[i].topic, topic) == 0)
            return &s->parts[i];
    p = reallocarray(s->parts, s->part_count + 1, sizeof *p);
    if (!p)
        return NULL;
    s->parts = p;
    new.topic = strdup(topic);
    new.topic_n = strlen(topic);
    new.name = text_of("%s/%" PRId32, topic, partition, &new.name_n);
    new.prefix = text_of("%s-%" PRId32 "-", topic, partition, &new.prefix_n);
    if (!new.topic || !new.name || !new.prefix) {
        free(new.topic);
        free(new.name);
        free(new.prefix);
        return NULL;
    }
    p[s->part_count] = new;
    return &p[s->part_count++];
}

static void metadata_text(const struct source *s, char *ret, size_t n)
{
    assign_metadata(s->link->spec.store_id, s->spec.route_id, ret, n);
}

void kafka_group_stop(struct source *s, const char *text)
{
    s->stopped = true;
    (void)snprintf(s->status.error, sizeof s->status.error, "%.255s", text);
    kafka_state_set(&s->status, LINK_STOPPED, s->link->now_ms);
    kafka_handle_wake(s->link->wake_fd);
}

void kafka_group_down(struct source *s, const char *text)
{
    if (s->stopped)
        return;
    (void)snprintf(s->status.error, sizeof s->status.error, "%.255s", text);
    kafka_state_set(&s->status, LINK_DOWN, s->link->now_ms);
    s->status.retry_ms = s->link->now_ms; /* librdkafka tries by itself, all the time */
    s->answers = kafka_handle_answers(s->handle);
}

static void group_up(struct source *s)
{
    if (s->stopped)
        return;
    if (s->status.state == LINK_DOWN)
        s->status.reconnects++;
    s->status.error[0] = '\0';
    s->status.retry_ms = 0;
    s->tries = 0;
    kafka_state_set(&s->status, LINK_UP, s->link->now_ms);
}

/* ---- commits ---- */

static bool list_has(const rd_kafka_topic_partition_list_t *list, const struct kafka_part *p)
{
    for (int i = 0; i < list->cnt; i++)
        if (list->elems[i].partition == p->partition && strcmp(list->elems[i].topic, p->topic) == 0)
            return true;
    return false;
}

static bool commit_wants(
    const struct source *s, const struct kafka_part *p, const rd_kafka_topic_partition_list_t *only)
{
    if (!p->dirty || p->stored < 0)
        return false;
    return (only && list_has(only, p)) ||
           ((!only || only == s->revoking) && p->assigned && !p->revoking);
}

/* Commits what the store has, for parts of `only` (NULL: all assigned that moved; those too when
 * `only` is what is revoked, since none can be committed while we join again). True: an answer
 * will come. */
bool kafka_group_commit(struct source *s, const rd_kafka_topic_partition_list_t *only)
{
    rd_kafka_topic_partition_list_t *list;
    char text[200];

    s->commit_ms = s->link->now_ms;
    if (!s->handle)
        return false;
    list = rd_kafka_topic_partition_list_new(8);
    metadata_text(s, text, sizeof text);
    for (size_t i = 0; i < s->part_count; i++) {
        struct kafka_part *p = &s->parts[i];
        rd_kafka_topic_partition_t *e;
        char *metadata;

        if (!commit_wants(s, p, only) || !(metadata = strdup(text)))
            continue;
        e = rd_kafka_topic_partition_list_add(list, p->topic, p->partition);
        e->offset = p->stored;
        e->metadata = metadata;
        e->metadata_size = strlen(text);
        p->dirty = false;
    }
    if (list->cnt > 0) {
        s->committing = rd_kafka_commit_queue(kafka_handle_rk(s->handle), list,
                            kafka_handle_events(s->handle), NULL, NULL) == 0;
        for (int i = 0; !s->committing && i < list->cnt; i++) {
            struct kafka_part *p =
                kafka_group_part(s, list->elems[i].topic, list->elems[i].partition);

            if (p)
                p->dirty = true;
        }
    }
    rd_kafka_topic_partition_list_destroy(list);
    return s->committing;
}

static void error_free(rd_kafka_error_t *e)
{
    if (e)
        rd_kafka_error_destroy(e);
}

static rd_kafka_topic_partition_list_t *assigned_list(const struct source *s)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

    for (size_t i = 0; i < s->part_count; i++)
        if (s->parts[i].assigned)
            (void)rd_kafka_topic_partition_list_add(list, s->parts[i].topic, s->parts[i].partition);
    return list;
}

static void watch_assigned(struct source *s)
{
    rd_kafka_topic_partition_list_t *list = assigned_list(s);

    kafka_handle_watch(s->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
}

void kafka_group_pause(struct source *s, bool paused)
{
    rd_kafka_topic_partition_list_t *list;

    if (!s->handle)
        return;
    list = assigned_list(s);
    if (paused)
        (void)rd_kafka_pause_partitions(kafka_handle_rk(s->handle), list);
    else
        (void)rd_kafka_resume_partitions(kafka_handle_rk(s->handle), list);
    rd_kafka_topic_partition_list_destroy(list);
}

/* ---- assignments ---- */

static void part_assign(struct source *s, const rd_kafka_topic_partition_t *e)
{
    struct kafka_part *p = kafka_group_part(s, e->topic, e->partition);
    rd_kafka_queue_t *q;

    if (!p)
        return;
    p->assigned = true;
    p->revoking = p->adopting = p->astray = false;
    p->rewinds = 0;
    p->epoch++;
    p->out = 0;
    p->next = e->offset;
    p->next_ts = p->stored_ts;
    q = rd_kafka_queue_get_partition(kafka_handle_rk(s->handle), e->topic, e->partition);
    if (!q)
        return;
    rd_kafka_queue_forward(q, s->records);
    rd_kafka_queue_destroy(q);
}

/* Every offset is in the store and, where a person or member had moved it, in the group: read on.
 */
static void assign_finish(struct source *s)
{
    struct assign_job *a = s->assigning;
    uint64_t one = 1;

    s->assigning = NULL;
    s->adopt_ms = 0;
    for (int i = 0; i < a->list->cnt; i++) {
        a->list->elems[i].offset = a->found[i].offset;
        part_assign(s, &a->list->elems[i]);
    }
    rd_kafka_queue_io_event_enable(s->records, s->link->wake_fd, &one, sizeof one);
    error_free(rd_kafka_incremental_assign(kafka_handle_rk(s->handle), a->list));
    if (s->paused)
        kafka_group_pause(s, true);
    watch_assigned(s);
    (void)snprintf(s->status.peer, sizeof s->status.peer, "%s", a->peer);
    assign_free(&a->job);
    s->status.session++;
    group_up(s);
    kafka_handle_wake(s->link->wake_fd);
}

static void assign_again(struct source *s, struct assign_job *a)
{
    int64_t wait = backoff_wait_ms(&backoff_connect, ++s->tries, &s->link->random);

    s->asking = a;
    s->ask_ms = s->link->now_ms + wait;
    kafka_group_down(s, a->trouble);
    s->status.retry_ms = s->ask_ms;
}

static void assign_looked_up(struct source *s, struct assign_job *a)
{
    if (a->round != s->round || s->stopped) {
        assign_free(&a->job);
        return;
    }
    if (a->result == ASSIGN_AGAIN) {
        assign_again(s, a);
        return;
    }
    if (a->result == ASSIGN_DOUBT) {
        kafka_group_stop(s, a->trouble);
        assign_free(&a->job);
        return;
    }
    s->assigning = a;
    for (int i = 0; i < a->list->cnt; i++) {
        struct kafka_part *p =
            kafka_group_part(s, a->list->elems[i].topic, a->list->elems[i].partition);

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
    struct assign_job *a = assign_open(list, s->link->options, s->options->group);

    s->round++;
    s->rejoin_until_ms = 0;
    if (!a) {
        kafka_group_stop(s, "kafka: no memory for an assignment");
        return;
    }
    (void)kafka_start_parse(s->options->start, &a->start);
    a->round = s->round;
    a->first_assignment = !s->had_positions;
    a->store_id = s->link->spec.store_id;
    a->store_was = s->link->spec.store_was;
    a->route_id = s->spec.route_id;
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_part *p = kafka_group_part(s, list->elems[i].topic, list->elems[i].partition);

        a->found[i].stored = p ? p->stored : -1;
        a->found[i].stored_ts = p ? p->stored_ts : -1;
    }
    kafka_handle_post(s->handle, &a->job);
}

/* An assignment that was taken back before it was taken up. */
static void assign_forget(struct source *s)
{
    s->round++;
    s->adopt_batch_due = s->adopt_commit = false;
    s->adopt_ms = 0;
    if (s->asking)
        assign_free(&s->asking->job);
    if (s->assigning)
        assign_free(&s->assigning->job);
    s->asking = s->assigning = NULL;
    for (size_t i = 0; i < s->part_count; i++)
        s->parts[i].adopting = false;
}

static void adopt_commit(struct source *s)
{
    s->adopt_ms = 0;
    s->adopt_commit = kafka_group_commit(s, s->assigning->list);
    if (!s->adopt_commit)
        s->adopt_ms =
            s->link->now_ms + backoff_wait_ms(&backoff_connect, ++s->tries, &s->link->random);
}

void kafka_group_adopted(struct source *s, bool kept)
{
    if (!s->assigning)
        return;
    if (!kept)
        s->adopt_batch_due = true;
    else if (s->committing)
        s->adopt_ms = s->link->now_ms; /* one commit at a time: its answers are told apart so */
    else
        adopt_commit(s);
}

/* The group's answer to an adopted offset. It is in the store by now, so it only must not be read
 * on from before the group knows; without membership there is nobody to wait for. */
static void adopt_answered(struct source *s, rd_kafka_resp_err_t e)
{
    s->adopt_commit = false;
    if (!s->assigning)
        return;
    if (e == 0 || e == RD_KAFKA_RESP_ERR__NO_OFFSET || e == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
        e == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || e == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID) {
        assign_finish(s);
        return;
    }
    s->adopt_ms = s->link->now_ms + backoff_wait_ms(&backoff_connect, ++s->tries, &s->link->random);
    kafka_group_down(s, rd_kafka_err2str(e));
    s->status.retry_ms = s->adopt_ms;
}

/* ---- revokes ---- */

void kafka_group_carry_drop(struct source *s, const struct kafka_part *p)
{
    size_t n = s->carry_at;

    for (size_t i = s->carry_at; i < s->carry_n; i++) {
        rd_kafka_message_t *m = s->carry[i];

        if (m->partition == p->partition && m->rkt &&
            strcmp(rd_kafka_topic_name(m->rkt), p->topic) == 0)
            rd_kafka_message_destroy(m);
        else
            s->carry[n++] = m;
    }
    s->carry_n = n;
}

static void unassign(struct source *s)
{
    for (int i = 0; i < s->revoking->cnt; i++) {
        struct kafka_part *p =
            kafka_group_part(s, s->revoking->elems[i].topic, s->revoking->elems[i].partition);

        if (!p)
            continue;
        kafka_group_carry_drop(s, p);
        p->assigned = p->revoking = p->dirty = false;
        p->epoch++;
        p->out = 0;
    }
    error_free(rd_kafka_incremental_unassign(kafka_handle_rk(s->handle), s->revoking));
    rd_kafka_topic_partition_list_destroy(s->revoking);
    s->revoking = NULL;
    s->revoke_commit = false;
    s->rejoin_until_ms = s->link->now_ms + REJOIN_MS;
    s->status.session++;
    watch_assigned(s);
}

static void revoke_start(struct source *s, const rd_kafka_topic_partition_list_t *list)
{
    if (s->asking || s->assigning)
        assign_forget(s);
    if (s->revoking)
        unassign(s);
    s->revoking = rd_kafka_topic_partition_list_copy(list);
    s->revoke_until_ms = s->link->now_ms + REVOKE_WAIT_MS;
    for (int i = 0; i < list->cnt; i++) {
        struct kafka_part *p = kafka_group_part(s, list->elems[i].topic, list->elems[i].partition);

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
    if (s->link->now_ms < s->revoke_until_ms) {
        if (waits || s->committing)
            return;
        if (!s->revoke_commit) {
            s->revoke_commit = true;
            if (kafka_group_commit(s, s->revoking))
                return;
        }
    }
    unassign(s);
}

/* ---- events ---- */

static void commit_answered(struct source *s, rd_kafka_event_t *ev)
{
    const rd_kafka_topic_partition_list_t *list = rd_kafka_event_topic_partition_list(ev);
    rd_kafka_resp_err_t e = rd_kafka_event_error(ev);

    s->committing = false;
    for (int i = 0; list && i < list->cnt; i++) {
        struct kafka_part *p = kafka_group_part(s, list->elems[i].topic, list->elems[i].partition);

        if (e == 0)
            e = list->elems[i].err;
        if (p && (rd_kafka_event_error(ev) != 0 || list->elems[i].err != 0) && !p->revoking &&
            rd_kafka_event_error(ev) != RD_KAFKA_RESP_ERR__NO_OFFSET)
            p->dirty = p->assigned || s->adopt_commit;
    }
    if (s->adopt_commit)
        adopt_answered(s, e);
    else if (e == 0 && s->status.state == LINK_DOWN && !s->asking && !s->adopt_ms)
        group_up(s);
}

static void event_take(struct source *s, rd_kafka_event_t *ev)
{
    char text[256];

    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_REBALANCE:
        if (rd_kafka_event_error(ev) == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
            assign_start(s, rd_kafka_event_topic_partition_list(ev));
        else
            revoke_start(s, rd_kafka_event_topic_partition_list(ev));
        break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        commit_answered(s, ev);
        break;
    case RD_KAFKA_EVENT_ERROR:
        (void)snprintf(text, sizeof text, "kafka: %.240s", rd_kafka_event_error_string(ev));
        /* One broker of several may be away without any harm: only all of them are an outage. */
        if (rd_kafka_event_error(ev) != RD_KAFKA_RESP_ERR__TRANSPORT)
            kafka_group_down(s, text);
        break;
    default:
        break;
    }
}

/* Down for a while, and the brokers answer again. */
static void well_again(struct source *s)
{
    if (s->status.state == LINK_DOWN && !s->asking && !s->adopt_ms &&
        kafka_handle_answers(s->handle) != s->answers)
        group_up(s);
}

static int64_t waits_until(const struct source *s, bool moved)
{
    int64_t next = s->link->now_ms + COMMIT_EVERY_MS, due = s->commit_ms + COMMIT_EVERY_MS;

    /* Else its answer, or the end of the revoke, comes as an event. */
    if (moved && !s->committing && !s->revoking && s->rejoin_until_ms <= due && due < next)
        next = due;
    if (s->asking && s->ask_ms < next)
        next = s->ask_ms;
    if (s->adopt_ms && s->adopt_ms < next)
        next = s->adopt_ms;
    if (s->revoking && s->revoke_until_ms < next)
        next = s->revoke_until_ms;
    return next;
}

static void timers(struct source *s)
{
    int64_t now = s->link->now_ms;

    if (s->asking && now >= s->ask_ms) {
        kafka_handle_post(s->handle, &s->asking->job);
        s->asking = NULL;
    }
    if (s->adopt_ms && now >= s->adopt_ms && !s->committing && s->assigning)
        adopt_commit(s);
}

/* A stopped route leaves its group, or it would hold up the others' rebalances. */
static void leave(struct source *s)
{
    if (s->out || s->committing)
        return;
    kafka_group_free(s);
    for (size_t i = 0; i < s->part_count; i++)
        s->parts[i].assigned = s->parts[i].revoking = s->parts[i].dirty = false;
}

int64_t kafka_group_step(struct source *s)
{
    struct kafka_job *j;
    rd_kafka_event_t *ev;
    bool moved = false;

    if (s->status.since_ms == 0)
        s->status.since_ms = s->link->now_ms;
    if (!s->handle)
        return INT64_MAX;
    while ((j = kafka_handle_done(s->handle)))
        assign_looked_up(s, (struct assign_job *)j);
    while ((ev = rd_kafka_queue_poll(kafka_handle_events(s->handle), 0))) {
        event_take(s, ev);
        rd_kafka_event_destroy(ev);
    }
    timers(s);
    revoke_step(s);
    well_again(s);
    for (size_t i = 0; i < s->part_count; i++)
        moved |= commit_wants(s, &s->parts[i], NULL);
    if (moved && !s->committing && !s->revoking && s->link->now_ms >= s->rejoin_until_ms &&
        (s->stopped || s->link->now_ms >= s->commit_ms + COMMIT_EVERY_MS))
        (void)kafka_group_commit(s, NULL);
    if (s->stopped)
        leave(s);
    return waits_until(s, moved);
}

void kafka_group_free(struct source *s)
{
    assign_forget(s);
    if (s->revoking)
        rd_kafka_topic_partition_list_destroy(s->revoking);
    s->revoking = NULL;
    for (; s->carry_at < s->carry_n; s->carry_at++)
        rd_kafka_message_destroy(s->carry[s->carry_at]);
    if (s->records) {
        rd_kafka_queue_io_event_enable(s->records, -1, NULL, 0);
        rd_kafka_queue_destroy(s->records);
    }
    s->records = NULL;
    kafka_handle_free(s->handle);
    s->handle = NULL;
}
