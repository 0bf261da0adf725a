#include "bridge/links/rabbitmq/jobs.h"

#include <stdlib.h>

void jobs_free(struct job *j)
{
    if (!j)
        return;
    arena_done(&j->arena);
    free(j);
}

void jobs_report(struct sink *s, struct report r, size_t bytes, const char *text)
{
    struct told *t = ring_at(&s->told, s->told_end++);

    *t = (struct told){ .report = r, .bytes = bytes, .text = text ? strdup(text) : NULL };
    io_ring(s->c.io->link);
}

void jobs_tell(struct sink *s, struct job *j, enum fate fate, enum cause cause, int code,
    bool alone, const char *text)
{
    if (j->reported)
        return;
    j->reported = true;
    if (j->tag)
        s->unreported--;
    jobs_report(s,
        (struct report){ .ref = j->ref,
            .fate = fate,
            .cause = cause,
            .code = code,
            .alone = alone,
            .later_confirmed = j->tag && s->confirmed > j->tag },
        j->bytes, text);
}

struct job **jobs_at(const struct sink *s, uint64_t tag)
{
    return &s->ring[tag & (s->ring_room - 1)];
}

int jobs_grow(struct sink *s)
{
    size_t room = s->ring_room ? s->ring_room * 2 : 256;
    struct job **ring = calloc(room, sizeof *ring);

    if (!ring)
        return -1;
    for (uint64_t tag = s->oldest; tag < s->next; tag++)
        ring[tag & (room - 1)] = *jobs_at(s, tag);
    free(s->ring);
    s->ring = ring;
    s->ring_room = room;
    return 0;
}

void jobs_put(struct sink *s, struct job *j)
{
    j->tag = s->next++;
    *jobs_at(s, j->tag) = j;
    s->unreported++;
}

static void ring_trim(struct sink *s)
{
    while (s->oldest < s->next && !*jobs_at(s, s->oldest))
        s->oldest++;
    if (s->timeout_at < s->oldest)
        s->timeout_at = s->oldest;
}

static void settle_one(struct sink *s, uint64_t tag, bool ack)
{
    struct job *j = *jobs_at(s, tag);

    if (!j)
        return;
    *jobs_at(s, tag) = NULL;
    if (ack && tag > s->confirmed)
        s->confirmed = tag;
    if (!ack)
        jobs_tell(s, j, FATE_REFUSED, CAUSE_NACK, 0, false, "the broker refused it (basic.nack)");
    else if (j->returned)
        jobs_tell(s, j, FATE_REFUSED, CAUSE_UNROUTABLE, j->return_code, false, j->return_text);
    else
        jobs_tell(s, j, FATE_DELIVERED, CAUSE_NONE, 0, false, NULL);
    jobs_free(j);
}

int jobs_confirm(struct sink *s, uint64_t tag, bool multiple, bool ack)
{
    publisher_lock(s);
    if (tag >= s->next || (tag == 0 && !multiple)) {
        publisher_unlock(s);
        return io_close_channel(&s->c, "the broker confirmed what was never sent");
    }
    if (multiple)
        for (uint64_t t = s->oldest; t <= (tag ? tag : s->next - 1); t++)
            settle_one(s, t, ack);
    else if (tag >= s->oldest)
        settle_one(s, tag, ack);
    ring_trim(s);
    publisher_unlock(s);
    return 0;
}
