#include "bridge/links/rabbitmq/frames.h"
#include "tests/harness.h"

#include <amqp_tcp_socket.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_BYTES 4096
#define MANY_BYTES 1000000

struct sample {
    amqp_basic_publish_t publish;
    amqp_basic_properties_t properties;
    amqp_bytes_t body;
};

static amqp_bytes_t text(const char *t)
{
    return amqp_cstring_bytes(t);
}

static struct sample sample(amqp_table_entry_t *header, void *body, size_t n)
{
    struct sample s = {
        .publish = { .exchange = text("orders"), .routing_key = text("order.new"), .mandatory = 1 },
        .properties = { ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                                  AMQP_BASIC_HEADERS_FLAG,
            .delivery_mode = 2,
            .message_id = text("id-1"),
            .headers = { 1, header } },
        .body = { n, body }
    };

    *header =
        (amqp_table_entry_t){ text("token"), { .kind = 'S', .value.bytes = text("store/1/2") } };
    return s;
}

/* What the client library itself writes. */
static size_t library_bytes(const struct sample *s, uint8_t *ret, size_t n, size_t *frame_max)
{
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c);
    size_t got = 0;
    ssize_t part;
    int fds[2], room = 1 << 20;

    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_INT(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room), 0);
    amqp_tcp_socket_set_sockfd(socket, fds[0]);
    *frame_max = (size_t)amqp_get_frame_max(c);
    CHECK_INT(amqp_basic_publish(c, 7, s->publish.exchange, s->publish.routing_key,
                  s->publish.mandatory, 0, &s->properties, s->body),
        AMQP_STATUS_OK);
    while (got < n && (part = recv(fds[1], ret + got, n - got, MSG_DONTWAIT)) > 0)
        got += (size_t)part;
    (void)amqp_destroy_connection(c);
    (void)close(fds[1]);
    return got;
}

/* Returns how long a frame may be where nobody agreed on less. */
static size_t check_same(size_t body_bytes)
{
    uint8_t *theirs = malloc(MANY_BYTES), *body = malloc(body_bytes + 1);
    amqp_table_entry_t header;
    struct sample s;
    struct buf ours;
    size_t n, frame_max;

    CHECK(theirs && body);
    for (size_t i = 0; i < body_bytes; i++)
        body[i] = (uint8_t)(i * 31);
    s = sample(&header, body, body_bytes);
    n = library_bytes(&s, theirs, MANY_BYTES, &frame_max);
    buf_init(&ours, MANY_BYTES);
    buf_put_text(&ours, "before");
    CHECK_INT(frames_publish(&ours, 7, frame_max, &s.publish, &s.properties, s.body), 0);
    CHECK_INT(ours.n, n + 6);
    CHECK(memcmp(ours.at + 6, theirs, n) == 0);
    buf_done(&ours);
    free(body);
    free(theirs);
    return frame_max;
}

TEST(rabbitmq_publishes_have_the_bytes_that_the_client_library_writes)
{
    size_t frame_max = check_same(256);

    (void)check_same(0);
    (void)check_same(1);
    (void)check_same(frame_max - 8);
    (void)check_same(frame_max - 7);
}

TEST(rabbitmq_a_publish_that_no_frame_holds_leaves_nothing_behind)
{
    static uint8_t large[FRAME_BYTES];
    amqp_table_entry_t header;
    struct sample s = sample(&header, large, 10);
    struct buf ours;

    buf_init(&ours, 1 << 20);
    buf_put_text(&ours, "before");
    header.value.value.bytes = (amqp_bytes_t){ sizeof large, large };
    CHECK_INT(frames_publish(&ours, 7, FRAME_BYTES, &s.publish, &s.properties, s.body), -1);
    CHECK_INT(ours.n, 6);
    header.value.value.bytes = text("small");
    CHECK_INT(frames_publish(&ours, 7, 100, &s.publish, &s.properties, s.body), -1);
    CHECK_INT(ours.n, 6);
    buf_done(&ours);
    buf_init(&ours, 20);
    CHECK_INT(frames_publish(&ours, 7, FRAME_BYTES, &s.publish, &s.properties, s.body), -1);
    CHECK_INT(ours.n, 0);
    CHECK(!ours.failed);
    buf_done(&ours);
}
