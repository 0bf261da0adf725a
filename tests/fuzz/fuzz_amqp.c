/* Any bytes as the properties of an AMQP message, tables and all. What was read and written once is
 * read and written the same again. */
#include "bridge/links/rabbitmq/codec.h"

#include <stdlib.h>

#define RAW_MAX (1 << 17) /* a frame's size, as RabbitMQ has it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* One round: properties as sent, to headers, and to properties again, as sent, in *to. False when
 * they are none, or cannot be sent. */
static bool there_and_back(struct bytes raw, struct buf *to)
{
    static const struct codec_rules rules = { .header_bytes = RAW_MAX };
    amqp_pool_t pool;
    amqp_bytes_t encoded = { raw.n, (void *)(uintptr_t)raw.at };
    struct event e = { .body = bytes_text("b") };
    struct message m = { .event = &e, .token = bytes_text("t/1/2/3/0") };
    amqp_basic_properties_t back;
    struct codec_read read;
    struct arena arena = { 0 };
    struct buf headers;
    struct fault why;
    void *decoded;
    bool result = false;

    init_amqp_pool(&pool, 4096);
    buf_init(&headers, 1 << 20);
    if (amqp_decode_properties(AMQP_BASIC_CLASS, &pool, encoded, &decoded) == 0 &&
        codec_read(decoded, BYTES_NONE, &headers, &read, &why) == 0) {
        if (!header_valid(buf_bytes(&headers)))
            abort();
        e.headers = buf_bytes(&headers);
        e.id = read.id;
        e.time_ms = read.time_ms;
        e.hops = read.hops;
        result = codec_write(&m, &rules, &arena, &back, &why) == 0 && codec_raw(&back, to) == 0;
    }
    buf_done(&headers);
    arena_done(&arena);
    empty_amqp_pool(&pool);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf one, two;

    buf_init(&one, RAW_MAX);
    buf_init(&two, RAW_MAX);
    if (n && there_and_back(bytes_of(data, n), &one) &&
        (!there_and_back(buf_bytes(&one), &two) || !bytes_equal(buf_bytes(&one), buf_bytes(&two))))
        abort();
    buf_done(&one);
    buf_done(&two);
    return 0;
}
