/* One RESP connection against a socket of the test's own. */
#include "tests/harness.h"

#include "bridge/links/resp.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct resp *r;
static int peer;
static struct fault why;
static char seen[400];

static void put(const struct resp_value *v)
{
    size_t at = strlen(seen);

    switch (v->type) {
    case RESP_ARRAY:
        (void)snprintf(seen + at, sizeof seen - at, "[");
        for (size_t i = 0; i < v->n; i++)
            put(&v->items[i]);
        at = strlen(seen);
        (void)snprintf(seen + at, sizeof seen - at, "]");
        break;
    case RESP_INT:
        (void)snprintf(seen + at, sizeof seen - at, "%lld ", (long long)v->i);
        break;
    case RESP_NIL:
        (void)snprintf(seen + at, sizeof seen - at, "nil ");
        break;
    default:
        (void)snprintf(seen + at, sizeof seen - at, "%d:%.*s ", (int)v->type, (int)v->text.n,
            (const char *)v->text.at);
    }
}

static void replied(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    size_t at = strlen(seen);

    (void)owner;
    if (v)
        put(v);
    else
        (void)snprintf(seen + at, sizeof seen - at, "lost %d %d ", (int)arg, sent);
}

/* Steps until the socket says nothing more. Returns what the last step did. */
static int step(void)
{
    struct pollfd p = { .events = POLLIN };

    do {
        if (resp_step(r, &why) != 0)
            return -1;
        p.fd = resp_fd(r);
    } while (!resp_connected(r) || poll(&p, 1, 0) > 0);
    return 0;
}

static void dial(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    CHECK_INT(bind(listener, (struct sockaddr *)&a, n), 0);
    CHECK_INT(listen(listener, 1), 0);
    CHECK_INT(getsockname(listener, (struct sockaddr *)&a, &n), 0);
    r = resp_open(&(struct resp_spec){ "127.0.0.1", ntohs(a.sin_port), 1 << 20, NULL }, &why);
    CHECK(r != NULL);
    CHECK_INT(step(), 0);
    peer = accept(listener, NULL, NULL);
    CHECK(peer >= 0);
    (void)close(listener);
}

static void ping(uint64_t arg)
{
    CHECK_INT(resp_command(r, 1, replied, NULL, arg), 0);
    resp_arg_text(r, "PING");
}

TEST(resp_replies_may_come_byte_by_byte)
{
    static const char reply[] =
        "*4\r\n$2\r\na\n\r\n*2\r\n:-7\r\n$-1\r\n$0\r\n\r\n*-1\r\n-ERR no\r\n";

    dial();
    ping(1);
    ping(2);
    CHECK_INT(step(), 0);
    for (size_t i = 0; i + 1 < sizeof reply; i++) {
        struct pollfd p = { .fd = resp_fd(r), .events = POLLIN };
        CHECK_INT(write(peer, reply + i, 1), 1);
        CHECK_INT(poll(&p, 1, 10000), 1);
        CHECK_INT(step(), 0);
    }
    CHECK_TEXT(seen, "[1:a\n [-7 nil ]1: nil ]3:ERR no ");
    resp_free(r);
}

TEST(resp_commands_are_written_as_lengths_and_bytes)
{
    char got[200] = "";

    dial();
    CHECK_INT(resp_command(r, 4, replied, NULL, 0), 0);
    resp_arg_text(r, "SET");
    resp_arg(r, bytes_of("", 0));
    resp_arg_joined(r, bytes_text("ab"), bytes_text("cdefghij"));
    resp_arg_int(r, -5);
    CHECK_INT(step(), 0);
    CHECK(read(peer, got, sizeof got - 1) > 0);
    CHECK_TEXT(got, "*4\r\n$3\r\nSET\r\n$0\r\n\r\n$10\r\nabcdefghij\r\n$2\r\n-5\r\n");
    resp_free(r);
}

TEST(resp_flush_sends_without_a_step)
{
    char got[64] = "";

    dial();
    ping(1);
    CHECK(resp_wants_write(r));
    resp_flush(r);
    CHECK(!resp_wants_write(r));
    CHECK_INT(read(peer, got, sizeof got - 1), 14);
    CHECK_TEXT(got, "*1\r\n$4\r\nPING\r\n");
    resp_free(r);
}

TEST(resp_flush_into_a_closed_connection_ends_it_at_the_next_step)
{
    struct linger hard = { 1, 0 };

    dial();
    CHECK_INT(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    CHECK_INT(close(peer), 0);
    ping(7);
    resp_flush(r);
    CHECK(resp_wants_write(r));
    CHECK_INT(resp_step(r, &why), -1);
    resp_free(r);
    CHECK_CONTAINS(seen, "lost 7");
}

static const struct resp_value *taken[8];
static size_t taken_n;

static void take(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    (void)owner;
    (void)arg;
    (void)sent;
    if (!v)
        return;
    resp_take(r);
    taken[taken_n++] = v;
}

/* As one socket takes only so much at a time, the two ends move in turn. */
static void answer(const char *text, size_t n)
{
    while (n > 0) {
        ssize_t k = send(peer, text, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        CHECK(k > 0 || errno == EAGAIN);
        text += k > 0 ? k : 0;
        n -= k > 0 ? (size_t)k : 0;
        CHECK_INT(step(), 0);
    }
}

/* Eight replies of 2,000 texts each: many blocks, some of which serve twice. */
TEST(resp_taken_replies_keep_their_bytes_and_outlive_the_connection)
{
    enum { TEXTS = 2000, LINE = 8 + 202 };
    static char text[16 + TEXTS * LINE];
    size_t n = (size_t)snprintf(text, sizeof text, "*%d\r\n", TEXTS);

    for (int i = 0; i < TEXTS; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "$200\r\n%0200d\r\n", i);
    dial();
    for (size_t k = 0; k < 8; k++) {
        CHECK_INT(resp_command(r, 1, take, NULL, 0), 0);
        resp_arg_text(r, "PING");
        answer(text, n);
        for (int64_t end = 0; taken_n == k && end < 1000; end++) {
            struct pollfd p = { .fd = resp_fd(r), .events = POLLIN };
            (void)poll(&p, 1, 10);
            CHECK_INT(step(), 0);
        }
        CHECK_INT(taken_n, k + 1);
        if (k % 2)
            resp_value_free((void *)(uintptr_t)taken[k]);
    }
    resp_free(r);
    for (size_t k = 0; k < 8; k += 2) {
        CHECK_INT(taken[k]->n, TEXTS);
        for (int i = 0; i < TEXTS; i++)
            CHECK_INT(strtol((const char *)taken[k]->items[i].text.at, NULL, 10), i);
        resp_value_free((void *)(uintptr_t)taken[k]);
    }
}

TEST(resp_end_tells_each_command_whether_it_left)
{
    dial();
    ping(1);
    CHECK_INT(step(), 0);
    ping(2);
    resp_free(r);
    CHECK_TEXT(seen, "lost 1 1 lost 2 0 ");
}

static void rubbish(const char *reply)
{
    struct pollfd p;

    dial();
    ping(1);
    CHECK_INT(step(), 0);
    CHECK(write(peer, reply, strlen(reply)) > 0);
    p = (struct pollfd){ .fd = resp_fd(r), .events = POLLIN };
    CHECK_INT(poll(&p, 1, 10000), 1);
    CHECK_INT(step(), -1);
    resp_free(r);
    (void)close(peer);
}

TEST(resp_rubbish_ends_the_connection)
{
    rubbish("HTTP/1.1 400 Bad Request\r\n");
    rubbish("*2000000000\r\n");
    rubbish("*-5\r\n");
    rubbish("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n");
    rubbish("+PONG\r\n+PONG\r\n");
}
