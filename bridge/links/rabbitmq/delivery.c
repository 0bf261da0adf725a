#include "bridge/links/rabbitmq/delivery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bridge/links/rabbitmq/codec.h"

#define ORIGIN_QUEUE_MAX 200 /* so that an origin fits a short string */

static struct lot *filling(struct source *s)
{
    if (!s->filling)
        s->filling = calloc(1, sizeof *s->filling);
    return s->filling;
}

/* [io] The delivery that is still coming in moves out of the lot that is handed over. */
static int carry(struct source *s, struct lot *to)
{
    struct incoming *in = &s->in;
    struct bytes *parts[] = { &in->event.address, &in->event.origin, &in->event.headers,
        &in->event.id };
    uint8_t *at;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!bytes_present(*parts[i]))
            continue;
        parts[i]->at = arena_copy(&to->arena, parts[i]->at, parts[i]->n);
        if (!parts[i]->at)
            return -1;
    }
    if (!in->open)
        return 0;
    at = arena_get(&to->arena, in->body_bytes ? in->body_bytes : 1);
    if (!at)
        return -1;
    memcpy(at, in->body, in->body_got);
    in->body = at;
    return 0;
}

void delivery_push(struct source *s)
{
    struct lot *lot = s->filling;

    if (!lot || lot->count == 0)
        return;
    s->filling = NULL;
    if (s->in.announced || s->in.open) {
        struct lot *to = filling(s);

        if (!to || carry(s, to) != 0) {
            /* Closing drops what is in no batch yet; the broker gives all of it again. */
            lot_free(lot);
            (void)io_close_channel(&s->c, "out of memory");
            return;
        }
    }
    consumer_lock(s);
    s->ready_bytes += lot->bytes;
    if (s->newest && lot_merge(s->newest, lot)) {
        lot_free(lot);
    } else {
        lot->refs = 1;
        lot->next = NULL;
        if (s->newest)
            s->newest->next = lot;
        else
            s->ready = lot;
        s->newest = lot;
    }
    /* While the loop holds a batch it looks here by itself when it settles that one, and could not
     * commit these sooner: waking it for each read of the socket took more than the events. */
    if (s->lent_batches == 0)
        io_ring(s->c.io->link);
    consumer_unlock(s);
}

void delivery_drop(struct source *s)
{
    struct lot *lot;

    while ((lot = s->ready) != NULL) {
        s->ready = lot->next;
        lot_unref(lot);
    }
    s->newest = NULL;
    s->ready_bytes = 0;
    lot_free(s->filling);
    s->filling = NULL;
    s->in = (struct incoming){ 0 };
}

int delivery_begin(struct source *s, const amqp_basic_deliver_t *d)
{
    struct incoming *in = &s->in;
    struct lot *lot = filling(s);
    uint8_t *address =
        lot ? arena_copy(&lot->arena, d->routing_key.bytes, d->routing_key.len) : NULL;
    char origin[ORIGIN_QUEUE_MAX + 64];
    int n;

    if (in->announced || in->open)
        return io_close_channel(&s->c, "the broker began a delivery inside another");
    n = snprintf(origin, sizeof origin, "%.*s-%016" PRIx64 "-%" PRIu64, ORIGIN_QUEUE_MAX, s->queue,
        s->session_hex, d->delivery_tag);
    *in = (struct incoming){ .announced = true, .tag = d->delivery_tag };
    in->event.address = bytes_of(address, d->routing_key.len);
    if (lot)
        in->event.origin = bytes_of(arena_copy(&lot->arena, origin, (size_t)n), (size_t)n);
    if (!address || !in->event.origin.at)
        return io_close_channel(&s->c, "out of memory");
    if (d->redelivered)
        in->event.flags |= EVENT_REDELIVERED;
    (void)snprintf(in->exchange, sizeof in->exchange, "%.*s", (int)(d->exchange.len & 0xff),
        (const char *)d->exchange.bytes);
    return 0;
}

static int complete(struct source *s)
{
    struct incoming *in = &s->in;
    struct lot *lot = s->filling;

    in->open = false;
    in->event.body = bytes_of(in->body, in->body_bytes);
    if (lot_room(lot, lot->count + 1) != 0)
        return io_close_channel(&s->c, "out of memory");
    lot->events[lot->count] = in->event;
    lot->tags[lot->count++] = in->tag;
    lot->bytes += event_bytes(&in->event);
    if (lot->count >= LOT_EVENTS || lot->bytes >= LOT_BYTES)
        delivery_push(s);
    return 0;
}

static int oversize(struct source *s, uint64_t body_bytes)
{
    struct incoming *in = &s->in;
    int result;

    if (s->reject_oversize) {
        in->announced = false; /* its body frames find nothing open and are passed over */
        return amqp_basic_reject(s->c.io->amqp, s->c.number, in->tag, 0) == AMQP_STATUS_OK ? 0 : -1;
    }
    result = io_close_channel(&s->c,
        "a message of %" PRIu64
        " bytes waits, larger than max_event_bytes %zu: raise that, take the "
        "message away, or set oversize: reject",
        body_bytes, s->max_event_bytes);
    /* Who sees that it has stopped sees why. */
    consumer_lock(s);
    s->stopped = true;
    consumer_unlock(s);
    return result;
}

int delivery_head(struct source *s, const amqp_frame_t *f)
{
    struct incoming *in = &s->in;
    uint64_t body_bytes = f->payload.properties.body_size;
    struct codec_read read;
    struct fault why = { 0 };

    if (!in->announced)
        return 0;
    if (body_bytes > s->max_event_bytes)
        return oversize(s, body_bytes);
    buf_clear(&s->scratch);
    if (f->payload.properties.class_id != AMQP_BASIC_CLASS ||
        codec_read(
            f->payload.properties.decoded, bytes_text(in->exchange), &s->scratch, &read, &why) != 0)
        return io_close_channel(&s->c, "delivery %" PRIu64 ": %s", in->tag,
            why.text[0] ? why.text : "not a basic message");
    in->announced = false;
    in->open = true;
    in->body_bytes = (size_t)body_bytes;
    in->event.headers =
        (struct bytes){ arena_copy(&s->filling->arena, s->scratch.at, s->scratch.n), s->scratch.n };
    if (bytes_present(read.id))
        in->event.id =
            (struct bytes){ arena_copy(&s->filling->arena, read.id.at, read.id.n), read.id.n };
    in->body = arena_get(&s->filling->arena, in->body_bytes ? in->body_bytes : 1);
    if (!in->event.headers.at || (bytes_present(read.id) && !in->event.id.at) || !in->body)
        return io_close_channel(&s->c, "out of memory");
    in->event.time_ms = read.time_ms;
    in->event.hops = read.hops;
    return in->body_bytes ? 0 : complete(s);
}

int delivery_body(struct source *s, amqp_bytes_t part)
{
    struct incoming *in = &s->in;

    if (!in->open)
        return 0;
    if (part.len > in->body_bytes - in->body_got)
        return io_close_channel(&s->c, "the broker sent more body than it announced");
    if (part.len)
        memcpy(in->body + in->body_got, part.bytes, part.len);
    in->body_got += part.len;
    return in->body_got == in->body_bytes ? complete(s) : 0;
}
