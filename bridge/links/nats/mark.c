#include "bridge/links/nats/mark.h"

/* Sequences stand with 0 in the second place, so these are none. */
void mark_put(const struct mark *m, struct entry_id ids[MARK_IDS])
{
    const uint64_t value[MARK_IDS] = { m->stream, m->floor, m->seq, m->consumer_seq, m->given_up };

    for (size_t i = 0; i < MARK_IDS; i++)
        ids[i] = (struct entry_id){ value[i], i + 1 };
}

bool mark_get(const struct commit *c, struct mark *ret)
{
    size_t n = 0;

    while (n < MARK_IDS && n < c->n && c->ids[n].seq == n + 1)
        n++;
    if (n < MARK_IDS_MIN)
        return false;
    *ret = (struct mark){ c->ids[0].ms, c->ids[1].ms, c->ids[2].ms, c->ids[3].ms,
        n == MARK_IDS ? c->ids[4].ms : 0 };
    return true;
}

bool mark_last(const struct committed *c, struct mark *ret)
{
    bool found = false;

    for (const struct commit *i = c->all; i; i = i->next)
        found = mark_get(i, ret) || found;
    return found;
}

void mark_drop_others(struct committed *c, uint64_t stream)
{
    struct mark m;

    for (struct commit *i = c->all; i; i = i->next) {
        if (mark_get(i, &m) && m.stream == stream)
            continue;
        i->n = 0;
        i->confirmed = i->confirmed || i->stored;
    }
}
