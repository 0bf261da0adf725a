#include "bridge/links/batches.h"

#include <stdlib.h>

#define DATA_BYTES_MAX (1u << 30)
#define TEXT_BYTES_MAX (64u << 20)

struct pack *pack_new(size_t n)
{
    struct pack *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->refs = 1;
    p->events = calloc(n ? n : 1, sizeof *p->events);
    buf_init(&p->data, DATA_BYTES_MAX);
    if (p->events)
        return p;
    free(p);
    return NULL;
}

void pack_free(struct pack *p)
{
    if (!p || --p->refs > 0)
        return;
    if (p->reply)
        p->reply_free(p->reply);
    buf_done(&p->data);
    free(p->events);
    free(p->gone);
    free(p);
}

static void notes_free(struct note *n)
{
    while (n) {
        struct note *next = n->next;
        free(n);
        n = next;
    }
}

void piece_free(struct piece *p)
{
    if (!p)
        return;
    pack_free(p->pack);
    notes_free(p->notes);
    buf_done(&p->text);
    free(p->gaps);
    free(p->positions);
    free(p);
}

void batches_drop_ready(struct batches *b)
{
    while (b->ready) {
        struct pack *p = b->ready;
        b->ready = p->next;
        pack_free(p);
    }
    b->ready_events = b->ready_bytes = 0;
}

void batches_done(struct batches *b)
{
    batches_drop_ready(b);
    while (b->out) {
        struct piece *p = b->out;
        b->out = p->next;
        piece_free(p);
    }
    notes_free(b->notes);
    *b = (struct batches){ 0 };
}

void batches_put(struct batches *b, struct pack *p)
{
    struct pack **at = &b->ready;

    for (size_t i = 0; i < p->n; i++)
        b->ready_bytes += event_bytes(&p->events[i]);
    b->ready_events += p->n;
    while (*at)
        at = &(*at)->next;
    *at = p;
}

int batches_note(struct batches *b, const struct note *note)
{
    struct note *n = malloc(sizeof *n), **at = &b->notes;

    if (!n)
        return -1;
    *n = *note;
    n->next = NULL;
    while (*at)
        at = &(*at)->next;
    *at = n;
    return 0;
}

static int put_notes(struct piece *p, struct note *notes)
{
    size_t n = 0;

    for (struct note *i = notes; i; i = i->next)
        n++;
    p->gaps = calloc(n ? n : 1, sizeof *p->gaps);
    if (!p->gaps)
        return -1;
    for (struct note *i = notes; i; i = i->next)
        p->gaps[p->batch.gap_count++] = (struct source_gap){ i->start_ms, i->end_ms, i->count,
            bytes_text(i->what), bytes_text(i->cause) };
    p->batch.gaps = p->gaps;
    p->notes = notes;
    return 0;
}

/* As many of the oldest pack as fit; one alone may pass the bytes. */
static void put_events(struct batches *b, struct piece *p, size_t limit, size_t room, size_t bytes)
{
    struct pack *k = b->ready;

    limit = limit < room ? limit : room;
    p->batch.events = &k->events[k->at];
    while (k->at < k->n && p->batch.count < limit) {
        size_t more = event_bytes(&k->events[k->at]);
        if ((b->events_out || p->batch.count) && p->batch.bytes + more > bytes)
            break;
        p->batch.bytes += more;
        p->batch.count++;
        k->at++;
    }
    if (!k->gone_lent && k->gone_n) {
        p->gone = k->gone;
        p->gone_n = k->gone_n;
        k->gone_lent = true;
    }
    if (p->batch.count || p->gone_n) {
        p->pack = k;
        k->refs++;
    }
    b->ready_events -= p->batch.count;
    b->ready_bytes -= p->batch.bytes;
    if (k->at == k->n) {
        b->ready = k->next;
        pack_free(k);
    }
}

struct piece *batches_take(
    struct batches *b, size_t limit, const struct source_spec *spec, bool even_empty)
{
    size_t window = (size_t)spec->window_events, bytes = (size_t)spec->window_bytes;
    struct piece *p = NULL, **at = &b->out;

    if (limit == 0 || (!b->ready && !b->notes && !even_empty))
        return NULL;
    p = calloc(1, sizeof *p);
    if (!p || put_notes(p, b->notes) != 0) {
        free(p);
        return NULL;
    }
    b->notes = NULL;
    buf_init(&p->text, TEXT_BYTES_MAX);
    if (b->ready)
        put_events(b, p, limit, window > b->events_out ? window - b->events_out : 0,
            bytes > b->bytes_out ? bytes - b->bytes_out : 0);
    if (!p->pack && !p->notes && !even_empty) {
        piece_free(p);
        return NULL;
    }
    b->events_out += p->batch.count;
    b->bytes_out += p->batch.bytes;
    while (*at)
        at = &(*at)->next;
    *at = p;
    return p;
}

struct piece *batches_return(struct batches *b, struct batch *batch)
{
    struct piece **at = &b->out, *p = NULL;

    while (*at && &(*at)->batch != batch)
        at = &(*at)->next;
    p = *at;
    if (!p)
        return NULL;
    *at = p->next;
    p->next = NULL;
    b->events_out -= p->batch.count;
    b->bytes_out -= p->batch.bytes;
    return p;
}

void batches_keep_notes(struct batches *b, struct piece *p)
{
    struct note **at = &p->notes;

    while (*at)
        at = &(*at)->next;
    *at = b->notes;
    b->notes = p->notes;
    p->notes = NULL;
}
