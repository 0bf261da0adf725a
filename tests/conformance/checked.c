#include "tests/conformance/checked.h"

#include "bridge/base/header.h"
#include "tests/harness.h"

struct batch *checked_receive(struct checked *k, size_t limit)
{
    struct batch *b = k->c->source_receive(k->source, limit);

    if (!b)
        return NULL;
    CHECK(b->count <= limit);
    CHECK(b->count > 0 || b->position_count > 0 || b->gap_count > 0);
    for (size_t i = 0; i < b->count; i++) {
        const struct event *e = &b->events[i];
        CHECK(bytes_present(e->address) && bytes_present(event_id(e)));
        CHECK(header_valid(e->headers));
    }
    for (size_t i = 0; i < k->lent_count; i++)
        CHECK(k->lent[i] != b);
    CHECK(k->lent_count < CHECKED_BATCHES_MAX);
    k->lent[k->lent_count++] = b;
    k->lent_events += b->count;
    k->gaps += b->gap_count;
    for (size_t i = 0; i < b->gap_count; i++) {
        CHECK(b->gaps[i].start_ms > 0 && b->gaps[i].what.n && b->gaps[i].cause.n);
        k->lost += b->gaps[i].count;
    }
    CHECK((int64_t)k->lent_events <= k->source_window);
    return b;
}

void checked_settle(struct checked *k, struct batch *b, bool kept)
{
    CHECK(k->lent_count > 0 && k->lent[0] == b);
    if (k->c->source_copied)
        k->c->source_copied(k->source, b);
    k->lent_events -= b->count;
    memmove(k->lent, k->lent + 1, --k->lent_count * sizeof k->lent[0]);
    k->c->source_settle(k->source, b, kept);
}

size_t checked_publish(struct checked *k, const struct message *messages, size_t n)
{
    size_t taken = k->c->sink_publish(k->sink, messages, n);

    CHECK(taken <= n);
    for (size_t i = 0; i < taken; i++) {
        CHECK(messages[i].ref < CHECKED_REFS_MAX && !k->taken[messages[i].ref]);
        k->taken[messages[i].ref] = true;
    }
    k->in_flight += taken;
    CHECK((int64_t)k->in_flight <= k->sink_window);
    return taken;
}

static bool fits(const struct report *r)
{
    switch (r->fate) {
    case FATE_DELIVERED:
        return r->cause == CAUSE_NONE;
    case FATE_UNSENT:
        return r->cause == CAUSE_BROKER || r->cause == CAUSE_LOST || r->cause == CAUSE_DRAINED;
    case FATE_UNSURE:
        return r->cause == CAUSE_PROTOCOL || r->cause == CAUSE_TIMEOUT || r->cause == CAUSE_LOST;
    case FATE_REFUSED:
        return r->cause == CAUSE_FINAL || r->cause == CAUSE_UNROUTABLE || r->cause == CAUSE_NACK ||
               r->cause == CAUSE_ADDRESS || (r->cause == CAUSE_PROTOCOL && r->alone);
    case FATE_NONE:
        break;
    }
    return false;
}

size_t checked_collect(struct checked *k, struct report *ret, size_t limit)
{
    size_t n = k->c->sink_collect(k->sink, ret, limit);

    CHECK(n <= limit);
    for (size_t i = 0; i < n; i++) {
        if (!fits(&ret[i]))
            harness_fail(__FILE__, __LINE__, "fate %d does not go with cause %d (%s)",
                (int)ret[i].fate, (int)ret[i].cause, ret[i].text ? ret[i].text : "");
        CHECK(ret[i].ref < CHECKED_REFS_MAX && k->taken[ret[i].ref]);
        k->taken[ret[i].ref] = false;
    }
    CHECK(n <= k->in_flight);
    k->in_flight -= n;
    return n;
}
