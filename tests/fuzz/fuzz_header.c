/* Any bytes as an encoded list of headers, and what everybody does with one: look up, show, send to
 * Kafka, Redis and NATS (fuzz_amqp.c has RabbitMQ). */
#include "bridge/admin/view.h"
#include "bridge/base/header.h"
#include "bridge/links/kafka/codec.h"
#include "bridge/links/nats/block.h"
#include "bridge/links/redis/fields.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void use_values(struct bytes list)
{
    struct buf text;
    struct header h;

    buf_init(&text, 1 << 20);
    while (header_next(&list, &h) == 1) {
        struct header again;

        (void)header_value_text(&h.value, &text);
        (void)header_find(list, h.name, &again);
        (void)header_find_any_case(list, h.name, &again);
    }
    buf_done(&text);
}

static void put(void *to, struct bytes name, struct bytes value)
{
    buf_put_bytes(to, name);
    buf_put_bytes(to, value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct event e = { .headers = bytes_of(data, n), .body = bytes_text("b") };
    struct message m = { .event = &e, .token = bytes_text("t/1/2/3/0") };
    struct fields names = fields_of(NULL, NULL, NULL, NULL, NULL);
    const struct block_names lines = { bytes_text("message-id"), bytes_text("key"), true };
    struct buf scratch, out;
    struct bytes words;
    int32_t code;

    (void)header_valid(e.headers);
    (void)header_refusal(e.headers, &code, &words);
    use_values(e.headers);
    json_decref(view_headers(e.headers));
    buf_init(&scratch, 1 << 20);
    buf_init(&out, 1 << 20);
    (void)kafka_codec_write(&e, false, &scratch, put, &out);
    buf_clear(&scratch);
    (void)fields_plan(&names, &m, &scratch);
    fields_envelope(&m, &out);
    buf_clear(&scratch);
    (void)block_write(&lines, &m, &scratch, &out);
    buf_done(&scratch);
    buf_done(&out);
    return 0;
}
