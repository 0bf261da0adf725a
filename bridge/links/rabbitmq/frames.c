#include "bridge/links/rabbitmq/frames.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* AMQP 0-9-1, 2.3.5: type, channel, size; then the payload; then one byte. */
#define HEAD_BYTES 7
#define END_BYTES 1
#define FRAME_MIN 4096   /* what every peer must take (4.2.3 there) */
#define CONTENT_BYTES 12 /* class, weight, size of the body */

static uint8_t *put_number(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
    return at + bytes;
}

/* Around a payload that stands at its place already. */
static void put_frame(struct buf *to, uint8_t type, uint16_t channel, size_t payload)
{
    uint8_t *at = to->at + to->n;

    at = put_number(at, type, 1);
    at = put_number(at, channel, 2);
    at = put_number(at, payload, 4);
    at[payload] = AMQP_FRAME_END;
    to->n += HEAD_BYTES + payload + END_BYTES;
}

static int put_method(
    struct buf *to, uint16_t channel, size_t frame_max, amqp_basic_publish_t *publish)
{
    uint8_t *at = buf_reserve(to, frame_max);
    int encoded;

    if (!at)
        return -1;
    at = put_number(at + HEAD_BYTES, AMQP_BASIC_PUBLISH_METHOD, 4);
    encoded = amqp_encode_method(AMQP_BASIC_PUBLISH_METHOD, publish,
        (amqp_bytes_t){ frame_max - HEAD_BYTES - 4 - END_BYTES, at });
    if (encoded < 0)
        return -1;
    put_frame(to, AMQP_FRAME_METHOD, channel, (size_t)encoded + 4);
    return 0;
}

static int put_header(struct buf *to, uint16_t channel, size_t frame_max,
    amqp_basic_properties_t *properties, uint64_t body_bytes)
{
    uint8_t *at = buf_reserve(to, frame_max);
    int encoded;

    if (!at)
        return -1;
    at = put_number(at + HEAD_BYTES, AMQP_BASIC_CLASS, 2);
    at = put_number(at, 0, 2);
    at = put_number(at, body_bytes, 8);
    encoded = amqp_encode_properties(AMQP_BASIC_CLASS, properties,
        (amqp_bytes_t){ frame_max - HEAD_BYTES - CONTENT_BYTES - END_BYTES, at });
    if (encoded < 0)
        return -1;
    put_frame(to, AMQP_FRAME_HEADER, channel, CONTENT_BYTES + (size_t)encoded);
    return 0;
}

static int put_body(struct buf *to, uint16_t channel, size_t frame_max, amqp_bytes_t body)
{
    size_t most = frame_max - HEAD_BYTES - END_BYTES;

    for (size_t from = 0; from < body.len;) {
        size_t n = body.len - from < most ? body.len - from : most;
        uint8_t *at = buf_reserve(to, HEAD_BYTES + n + END_BYTES);

        if (!at)
            return -1;
        memcpy(at + HEAD_BYTES, (const uint8_t *)body.bytes + from, n);
        put_frame(to, AMQP_FRAME_BODY, channel, n);
        from += n;
    }
    return 0;
}

int frames_publish(struct buf *to, uint16_t channel, size_t frame_max,
    amqp_basic_publish_t *publish, amqp_basic_properties_t *properties, amqp_bytes_t body)
{
    size_t began = to->n;

    if (frame_max >= FRAME_MIN && put_method(to, channel, frame_max, publish) == 0 &&
        put_header(to, channel, frame_max, properties, body.len) == 0 &&
        put_body(to, channel, frame_max, body) == 0)
        return 0;
    to->n = began;
    to->failed = false;
    return -1;
}

int frames_send(int fd, struct bytes bytes)
{
    while (bytes.n > 0) {
        ssize_t sent = send(fd, bytes.at, bytes.n, MSG_NOSIGNAL);
        struct pollfd p = { .fd = fd, .events = POLLOUT };

        if (sent >= 0)
            bytes = bytes_of(bytes.at + sent, bytes.n - (size_t)sent);
        else if (errno == EAGAIN)
            (void)poll(&p, 1, -1);
        else if (errno != EINTR)
            return -1;
    }
    return 0;
}
