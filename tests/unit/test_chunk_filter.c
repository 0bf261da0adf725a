#include "store/chunk.h"
#include "tests/harness.h"

#include <stdio.h>

#define EVENTS 1000

static void event_of(int number, struct event *ret, char texts[2][32])
{
    (void)snprintf(texts[0], 32, "orders-3-%d", number);
    (void)snprintf(texts[1], 32, "customer-%d", number);
    *ret = (struct event){ .origin = bytes_text(texts[0]), .key = bytes_text(texts[1]) };
}

TEST(a_filter_knows_every_id_and_key_and_few_others)
{
    static struct event events[EVENTS];
    static char texts[EVENTS][2][32];
    struct buf filter;
    struct block *b;
    struct fault why;
    int wrong = 0;

    for (int i = 0; i < EVENTS; i++)
        event_of(i, &events[i], texts[i]);
    CHECK_INT(block_open(1, 1, 1, events, EVENTS, &b, &why), 0);
    buf_init(&filter, 1 << 20);
    chunk_filter(b, &filter);
    for (int i = 0; i < EVENTS; i++) {
        CHECK(chunk_filter_may(buf_bytes(&filter), chunk_hash_id(events[i].origin)));
        CHECK(chunk_filter_may(buf_bytes(&filter), chunk_hash_key(events[i].key)));
    }
    for (int i = EVENTS; i < 11 * EVENTS; i++) {
        struct event other;
        char other_texts[2][32];

        event_of(i, &other, other_texts);
        wrong += chunk_filter_may(buf_bytes(&filter), chunk_hash_id(other.origin));
    }
    CHECK(wrong < 10 * EVENTS / 50); /* 1.2 % are expected */
    buf_done(&filter);
    block_unref(b);
}

TEST(a_filter_of_events_without_keys_takes_half_the_bytes)
{
    static struct event events[EVENTS];
    static char texts[EVENTS][2][32];
    size_t bytes[2];

    for (int keys = 0; keys < 2; keys++) {
        struct buf filter;
        struct block *b;
        struct fault why;

        for (int i = 0; i < EVENTS; i++) {
            event_of(i, &events[i], texts[i]);
            events[i].key = keys ? events[i].key : BYTES_NONE;
        }
        CHECK_INT(block_open(1, 1, 1, events, EVENTS, &b, &why), 0);
        buf_init(&filter, 1 << 20);
        chunk_filter(b, &filter);
        bytes[keys] = filter.n;
        for (int i = 0; i < EVENTS; i++)
            CHECK(chunk_filter_may(buf_bytes(&filter), chunk_hash_id(events[i].origin)));
        buf_done(&filter);
        block_unref(b);
    }
    CHECK_INT(2 * bytes[0], bytes[1]);
}
