#include "bridge/links/rabbitmq/source.h"

#include <stdio.h>
#include <stdlib.h>

#include "bridge/links/rabbitmq/codec.h"
#include "bridge/links/rabbitmq/consumer.h"
#include "bridge/links/rabbitmq/link.h"

#define HEADERS_MAX (4u << 20) /* encoded, of one event; a frame holds less */

struct lent {
    struct batch batch;
    struct lot *lot;
    uint64_t session, last_tag;
    size_t first;
};

static char *own_text(struct source *s, const char *text)
{
    return (char *)arena_copy(&s->own, text, strlen(text) + 1);
}

static int bind_add(struct source *s, const char *exchange, const char *key,
    const struct option_map *arguments, struct fault *why)
{
    struct binding *b = &s->bindings[s->binding_count++];

    b->exchange = own_text(s, exchange);
    b->key = own_text(s, key);
    if (!b->exchange || !b->key)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    return codec_arguments(arguments, &s->own, &b->arguments, why);
}

static int bind_keys(struct source *s, const char *exchange, const struct option_list *keys,
    const struct option_map *arguments, struct fault *why)
{
    if (keys->n == 0)
        return bind_add(s, exchange, "", arguments, why);
    for (size_t i = 0; i < keys->n; i++)
        if (bind_add(s, exchange, keys->at[i], arguments, why) != 0)
            return -1;
    return 0;
}

static int bindings_init(struct source *s, const struct options_source *o, struct fault *why)
{
    const struct options_binding *b = o->bindings.at;
    const struct option_map none = { 0 };
    size_t n = 1 + o->binding_keys.n;

    for (size_t i = 0; i < o->bindings.n; i++)
        n += 1 + b[i].keys.n;
    s->bindings = arena_get(&s->own, n * sizeof *s->bindings);
    if (!s->bindings)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (o->exchange && bind_keys(s, o->exchange, &o->binding_keys, &none, why) != 0)
        return -1;
    for (size_t i = 0; i < o->bindings.n; i++)
        if (bind_keys(s, b[i].exchange, &b[i].keys, &b[i].arguments, why) != 0)
            return -1;
    return 0;
}

static int arguments_init(struct source *s, const struct options_source *o, struct fault *why)
{
    amqp_table_t *t = &s->queue_arguments;

    if (codec_arguments(&o->arguments, &s->own, t, why) != 0 ||
        codec_arguments(&o->consumer_arguments, &s->own, &s->consumer_arguments, why) != 0)
        return -1;
    /* codec_arguments leaves room for these. */
    t->entries[t->num_entries++] = (amqp_table_entry_t){ .key = amqp_cstring_bytes("x-queue-type"),
        .value = { .kind = AMQP_FIELD_KIND_UTF8,
            .value = {
                .bytes = amqp_cstring_bytes(o->type == OPTIONS_QUORUM ? "quorum" : "classic") } } };
    if (o->single_active)
        t->entries[t->num_entries++] =
            (amqp_table_entry_t){ .key = amqp_cstring_bytes("x-single-active-consumer"),
                .value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value = { .boolean = 1 } } };
    return 0;
}

static int init(struct source *s, const struct source_spec *spec, struct fault *why)
{
    const struct options_source *o = spec->options;
    char tag[240];

    (void)snprintf(tag, sizeof tag, "bascule.%.200s", spec->route);
    s->queue = own_text(s, o->queue);
    s->tag = own_text(s, o->consumer_tag ? o->consumer_tag : tag);
    if (!s->queue || !s->tag)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    s->declare = options_source_declare(o);
    s->durable = o->durable || o->type == OPTIONS_QUORUM;
    s->exclusive = o->exclusive;
    s->reject_oversize = o->oversize == OPTIONS_REJECT;
    s->target = o->prefetch > 0 ? (size_t)o->prefetch : 2000;
    s->prefetch = spec->clean_start ? s->target : 1;
    s->max_event_bytes = (size_t)spec->max_event_bytes;
    s->window_events = (size_t)spec->window_events;
    s->window_bytes = (size_t)spec->window_bytes;
    s->consumer = CONSUMER_OFF;
    s->lag = -1;
    buf_init(&s->scratch, HEADERS_MAX);
    if (arguments_init(s, o, why) != 0)
        return -1;
    return bindings_init(s, o, why);
}

int source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    struct source *s = calloc(1, sizeof *s);

    if (!s)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (init(s, spec, why) != 0)
        goto fail;
    if (!l->reader)
        l->reader = io_open(l, "consume", why);
    if (!l->reader)
        goto fail;
    s->c = (struct channel){ .ops = &consumer_ops,
        .state = CHANNEL_DOWN,
        .state_seen = CHANNEL_DOWN,
        .since_ms = l->now_ms };
    link_add(l, &s->c, l->reader);
    *ret = s;
    return 0;
fail:
    consumer_free(s);
    return -1;
}

/* [lock] How many of the first lot fit the windows. */
static size_t slice(const struct source *s, const struct lot *lot, size_t limit, size_t *bytes)
{
    size_t room = s->window_events > s->lent_events ? s->window_events - s->lent_events : 0, n = 0;

    *bytes = 0;
    if (limit > room)
        limit = room;
    if (limit > lot->count - lot->taken)
        limit = lot->count - lot->taken;
    for (; n < limit; n++) {
        size_t more = event_bytes(&lot->events[lot->taken + n]);

        if (s->lent_bytes + *bytes + more > s->window_bytes && (n > 0 || s->lent_batches > 0))
            break;
        *bytes += more;
    }
    return n;
}

struct batch *source_receive(struct source *s, size_t limit)
{
    struct lent *lent = NULL;
    size_t n = 0, bytes = 0;
    struct lot *lot;

    consumer_lock(s);
    lot = s->ready;
    if (lot && !s->draining && !s->paused)
        n = slice(s, lot, limit, &bytes);
    if (n > 0)
        lent = calloc(1, sizeof *lent);
    if (lent) {
        *lent = (struct lent){ .lot = lot,
            .session = s->c.session,
            .first = lot->taken,
            .last_tag = lot->tags[lot->taken + n - 1] };
        lent->batch =
            (struct batch){ .events = lot->events + lot->taken, .count = n, .bytes = bytes };
        lot->refs++;
        lot->taken += n;
        s->ready_bytes -= bytes;
        if (lot->taken == lot->count) {
            s->ready = lot->next;
            if (!s->ready)
                s->newest = NULL;
            lot_unref(lot);
        }
        s->lent_events += n;
        s->lent_bytes += bytes;
        s->lent_batches++;
        if (s->choked && s->ready_bytes < consumer_resume_bytes(s))
            io_wake(s->c.io);
    }
    consumer_unlock(s);
    return lent ? &lent->batch : NULL;
}

/* [lock] One by one, where a cumulative acknowledgement would take in a forgotten delivery. */
static void ack_singly(struct source *s, const struct lent *lent)
{
    size_t n = s->single_count + lent->batch.count;

    if (n > s->single_room) {
        uint64_t *more = realloc(s->single_tags, n * 2 * sizeof *more);

        if (!more)
            return; /* not acknowledged: it comes again */
        s->single_tags = more;
        s->single_room = n * 2;
    }
    memcpy(s->single_tags + s->single_count, lent->lot->tags + lent->first,
        lent->batch.count * sizeof *s->single_tags);
    s->single_count = n;
}

/* [lock] */
static void ack(struct source *s, const struct lent *lent)
{
    if (s->forgotten)
        ack_singly(s, lent);
    else
        s->ack_tag = lent->last_tag;
    s->acks_wanted++;
    if (s->prefetch < s->target)
        s->prefetch = s->prefetch * 2 < s->target ? s->prefetch * 2 : s->target;
}

void source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct lent *lent = (struct lent *)(void *)((char *)batch - offsetof(struct lent, batch));
    bool current;

    consumer_lock(s);
    current = lent->session == s->c.session && s->c.state == CHANNEL_UP;
    if (current && kept)
        ack(s, lent);
    else if (current)
        s->forgotten = true;
    s->lent_events -= batch->count;
    s->lent_bytes -= batch->bytes;
    s->lent_batches--;
    /* Forgotten deliveries fill the prefetch: a new session gives them back, once nothing is out.
     */
    if (s->forgotten && current && s->lent_batches == 0 && !s->ready && !s->draining) {
        s->c.wanted = false;
        s->c.retry_ms =
            s->c.io->link->now_ms + backoff_wait_ms(&backoff_connect, 3, &s->c.io->link->random);
    }
    if (s->c.state != CHANNEL_UP || !s->c.wanted)
        io_ring(s->c.io->link); /* a new session may have waited for it */
    io_wake(s->c.io);
    lot_unref(lent->lot);
    consumer_unlock(s);
    free(lent);
}

void source_pause(struct source *s, bool paused)
{
    consumer_lock(s);
    s->paused = paused;
    io_wake(s->c.io);
    consumer_unlock(s);
}

bool source_drain(struct source *s)
{
    bool done;

    consumer_lock(s);
    if (!s->draining) {
        s->draining = true;
        io_wake(s->c.io);
    }
    done = s->c.state != CHANNEL_UP || (s->off && s->acks_out == s->acks_wanted);
    consumer_unlock(s);
    return done;
}

void source_status(const struct source *s, struct link_status *ret)
{
    consumer_lock(s);
    link_channel_status(&s->c, ret);
    if (ret->state == LINK_UP && !s->consuming && !s->paused)
        ret->state = LINK_CONNECTING;
    if (s->stopped)
        ret->state = LINK_STOPPED;
    ret->lag = s->lag;
    consumer_unlock(s);
}

void source_free(struct source *s)
{
    if (s)
        link_remove(&s->c);
}
