#include "bridge/base/span.h"
#include "bridge/base/header.h"
#include "bridge/base/random.h"

/* "00-" trace id "-" parent id "-" flags; a later version may have more behind it. */
#define PARENT_BYTES 55
#define FLAG_SAMPLED 1

static int digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Lower case only, and not all zero, as the standard says. */
static bool take_hex(const uint8_t *from, size_t n, uint8_t *ret)
{
    uint8_t any = 0;

    for (size_t i = 0; i < n; i++) {
        int high = digit(from[2 * i]), low = digit(from[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
        any |= ret[i];
    }
    return any != 0;
}

bool span_parse(struct bytes text, struct span *ret, bool *sampled)
{
    const uint8_t *at = text.at;
    uint8_t trace_id[16], parent[8];
    int version, flags;

    if (text.n < PARENT_BYTES || at[2] != '-' || at[35] != '-' || at[52] != '-' ||
        digit(at[0]) < 0 || digit(at[1]) < 0 || digit(at[53]) < 0 || digit(at[54]) < 0)
        return false;
    version = digit(at[0]) << 4 | digit(at[1]);
    flags = digit(at[53]) << 4 | digit(at[54]);
    if (version == 0xff || (version == 0 && text.n != PARENT_BYTES) ||
        (text.n > PARENT_BYTES && at[PARENT_BYTES] != '-') || !take_hex(at + 3, 16, trace_id) ||
        !take_hex(at + 36, 8, parent))
        return false;
    memcpy(ret->trace_id, trace_id, sizeof trace_id);
    memcpy(ret->parent, parent, sizeof parent);
    *sampled = flags & FLAG_SAMPLED;
    return true;
}

static struct bytes header_text(const struct event *e, const char *name)
{
    struct header h;

    if (!header_find_any_case(e->headers, bytes_text(name), &h) ||
        (h.value.type != HEADER_TEXT && h.value.type != HEADER_BYTES))
        return BYTES_NONE;
    return h.value.bytes;
}

static void put_id(uint64_t value, uint8_t ret[8])
{
    value = value ? value : 1; /* all zero would be none */
    for (size_t i = 0; i < 8; i++)
        ret[i] = (uint8_t)(value >> (56 - 8 * i));
}

/* A number of its own for each event of each store. */
static struct random place_random(const struct tracer *t, uint64_t route_id, uint64_t seq)
{
    struct random r = { t->seed ^ route_id * 0x9e3779b97f4a7c15u };

    r.state = random_next(&r) ^ seq * 0xd1342543de82ef95u;
    r.state = random_next(&r);
    return r;
}

bool span_begin(const struct tracer *t, uint64_t route_id, const struct event *e, struct span *ret)
{
    struct random r = place_random(t, route_id, e->seq);
    struct bytes state;
    uint64_t low;
    bool sampled;

    if (span_parse(header_text(e, "traceparent"), ret, &sampled)) {
        state = header_text(e, "tracestate");
        if (sampled && bytes_present(state) && state.n < sizeof ret->tracestate &&
            !memchr(state.at, 0, state.n))
            memcpy(ret->tracestate, state.at, state.n);
        return sampled;
    }
    put_id(random_next(&r), ret->trace_id);
    low = random_next(&r);
    put_id(low, ret->trace_id + 8);
    return (double)(low >> 11) * 0x1p-53 < t->ratio;
}

void span_id(const struct tracer *t, uint64_t route_id, uint64_t seq, enum span_kind kind,
    uint64_t number, uint8_t ret[8])
{
    struct random r = place_random(t, route_id, seq);

    r.state ^= random_next(&r) + (uint64_t)kind * 0xa0761d6478bd642fu;
    r.state ^= random_next(&r) + number * 0xe7037ed1a0b428dbu;
    put_id(random_next(&r), ret);
}
