#include "bridge/links/listened.h"

#include <stdio.h>
#include <stdlib.h>

/* The place that is stored is only a time. */
#define SEEN_NAME "listened-until"
#define SEEN_EVERY_MS 60000

void listened_init(struct listened *l, struct batches *batches, const struct source_spec *spec)
{
    char text[24];

    *l = (struct listened){ .batches = batches };
    for (size_t i = 0; i < spec->position_count; i++) {
        const struct position *p = &spec->positions[i];

        if (!bytes_equal(p->name, bytes_text(SEEN_NAME)) || p->value.n >= sizeof text)
            continue;
        (void)snprintf(text, sizeof text, "%.*s", (int)p->value.n, (const char *)p->value.at);
        l->seen_ms = strtoll(text, NULL, 10);
    }
}

void listened_name(struct listened *l, const struct option_list *names)
{
    for (size_t i = 0; i < names->n; i++) {
        size_t at = strlen(l->what);

        (void)snprintf(l->what + at, sizeof l->what - at, "%s%s", at ? "," : "", names->at[i]);
    }
}

void listened_note(
    struct listened *l, int64_t start_ms, int64_t end_ms, uint64_t count, const char *cause)
{
    struct note n = { .start_ms = start_ms, .end_ms = end_ms, .count = count };

    memcpy(n.what, l->what, sizeof n.what);
    (void)snprintf(n.cause, sizeof n.cause, "%.199s", cause);
    if (batches_note(l->batches, &n) != 0)
        l->no_memory = true;
}

void listened_end(struct listened *l, int64_t at_ms, const char *cause)
{
    l->on = false;
    l->missing_ms = at_ms;
    (void)snprintf(l->cause, sizeof l->cause, "%.199s", cause);
    listened_note(l, at_ms, 0, 0, l->cause);
}

void listened_begin(struct listened *l, int64_t now_ms)
{
    l->on = true;
    if (l->missing_ms)
        listened_note(l, l->missing_ms, now_ms, 0, l->cause);
    else if (l->seen_ms)
        listened_note(l, l->seen_ms, now_ms, 0,
            "nobody listened: the bridge was not running or not connected");
    l->missing_ms = l->seen_ms = l->stored_ms = 0;
    if (!l->base_ms)
        l->base_ms = now_ms;
}

struct listened_origin listened_next(struct listened *l)
{
    struct listened_origin ret;

    (void)snprintf(ret.text, sizeof ret.text, "%lld-%llu", (long long)l->base_ms,
        (unsigned long long)++l->number);
    return ret;
}

/* Without the place it is only told less exactly where a later gap begins. */
static void put_place(struct listened *l, struct piece *p, int64_t now_ms, int64_t heard_ms)
{
    const struct pack *ready = l->batches->ready;
    int64_t seen = l->missing_ms ? l->missing_ms
                   : p->pack     ? p->pack->from_ms
                   : ready       ? ready->from_ms
                                 : heard_ms;

    p->positions = calloc(1, sizeof *p->positions);
    if (!p->positions)
        return;
    buf_put_format(&p->text, "%lld", (long long)seen);
    if (p->text.failed)
        return;
    p->positions[0] =
        (struct position){ .name = bytes_text(SEEN_NAME), .value = buf_bytes(&p->text) };
    p->batch.positions = p->positions;
    p->batch.position_count = 1;
    l->stored_ms = now_ms;
}

struct batch *listened_take(struct listened *l, const struct source_spec *spec, size_t limit,
    int64_t now_ms, int64_t heard_ms)
{
    bool due = l->on && now_ms - l->stored_ms >= SEEN_EVERY_MS;
    struct piece *p = batches_take(l->batches, limit, spec, due);

    if (!p)
        return NULL;
    if (l->on || l->missing_ms)
        put_place(l, p, now_ms, heard_ms);
    return &p->batch;
}

void listened_lost(struct listened *l, const struct piece *p, int64_t now_ms)
{
    if (p->batch.count)
        listened_note(
            l, p->pack->from_ms, now_ms, p->batch.count, "messages came that could not be stored");
}
