#include "bridge/links/redis/source.h"

#include <stdio.h>
#include <stdlib.h>

void source_init(struct source *s, const struct source_kind *kind, struct link *l,
    const struct source_spec *spec)
{
    s->kind = kind;
    s->link = l;
    s->spec = *spec;
    s->spec.positions = NULL; /* lent during open only */
    s->spec.position_count = 0;
    s->options = spec->options;
    client_init(&s->reader, l->spec.options, l->spec.seed ^ spec->route_id, l->poll_fd);
    s->reader.owner = s;
    s->next = l->sources;
    l->sources = s;
}

int redis_source_open(
    struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why)
{
    const struct redis_source_options *o = spec->options;

    return (o->stream ? &stream_source : &channel_source)->open(l, spec, ret, why);
}

int64_t redis_sources_step(struct link *l)
{
    int64_t wake = INT64_MAX;

    for (struct source *s = l->sources; s; s = s->next) {
        int64_t due = client_step(&s->reader, l->now_ms, l->unix_ms);
        s->kind->step(s);
        client_watch(&s->reader);
        wake = due < wake ? due : wake;
    }
    return wake;
}

struct batch *redis_source_receive(struct source *s, size_t limit)
{
    if (s->draining)
        return NULL;
    return s->kind->receive(s, limit);
}

void redis_source_settle(struct source *s, struct batch *batch, bool kept)
{
    struct piece *p = batches_return(&s->batches, batch);

    if (!p)
        return;
    if (!kept)
        batches_keep_notes(&s->batches, p);
    s->kind->settle(s, p, kept);
    piece_free(p);
}

void redis_source_pause(struct source *s, bool paused)
{
    s->paused = paused;
    s->kind->step(s);
    client_watch(&s->reader);
}

bool redis_source_drain(struct source *s)
{
    s->draining = true;
    return s->kind->drained(s);
}

void redis_source_status(const struct source *s, struct link_status *ret)
{
    *ret = s->reader.status;
    ret->duplicates = s->duplicates;
    ret->reordered = s->reordered;
    ret->lag = s->kind->lag && s->reader.ready ? s->kind->lag(s) : -1;
    if (!s->stopped[0])
        return;
    ret->state = LINK_STOPPED;
    (void)snprintf(ret->error, sizeof ret->error, "%s", s->stopped);
}

void redis_source_free(struct source *s)
{
    if (!s)
        return;
    for (struct source **at = &s->link->sources; *at; at = &(*at)->next)
        if (*at == s) {
            *at = s->next;
            break;
        }
    if (s->link->commands.resp)
        resp_forget(s->link->commands.resp, s);
    if (s->reader.resp)
        resp_forget(s->reader.resp, s);
    client_done(&s->reader);
    s->kind->done(s);
    batches_done(&s->batches);
    free(s);
}
