#include "bridge/base/header.h"
#include "bridge/base/log.h"
#include "tests/harness.h"

#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char said[65536];

static void catch_lines(void)
{
    int fd = open("said", O_RDWR | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
}

static void open_log(enum log_level level, enum log_format format)
{
    log_open(&(struct log_spec){ .level = level, .format = format });
}

static const char *lines(void)
{
    int fd = open("said", O_RDONLY);
    ssize_t n = read(fd, said, sizeof said - 1);

    said[n > 0 ? n : 0] = '\0';
    return said;
}

TEST(a_logfmt_line_names_level_route_and_sink)
{
    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_say(LOG_LEVEL_WARN, "orders", "live", "lost \"it\"\n\033[31m");
    CHECK_CONTAINS(
        lines(), "level=warn route=orders sink=live msg=\"lost \\\"it\\\"\\n\\u001b[31m\"\n");
}

TEST(a_line_below_the_level_is_not_said)
{
    catch_lines();
    open_log(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    log_say(LOG_LEVEL_INFO, NULL, NULL, "quiet");
    CHECK_TEXT(lines(), "");
}

TEST(a_json_line_is_one_object)
{
    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "a \\ b");
    CHECK_CONTAINS(lines(), "\"level\":\"error\",\"msg\":\"a \\\\ b\"}\n");
}

TEST(a_repeated_line_is_said_once)
{
    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    for (int i = 0; i < 100; i++)
        log_say(LOG_LEVEL_WARN, "orders", NULL, "down");
    log_say(LOG_LEVEL_WARN, "clicks", NULL, "down");
    CHECK_CONTAINS(lines(), "route=orders");
    CHECK(strstr(strstr(said, "route=orders") + 1, "route=orders") == NULL);
    CHECK_CONTAINS(said, "route=clicks");
}

TEST(folded_repeats_are_counted_when_their_place_is_needed)
{
    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    for (int i = 0; i < 3; i++)
        log_say(LOG_LEVEL_WARN, NULL, NULL, "again");
    for (int i = 0; i < 64; i++)
        log_say(LOG_LEVEL_WARN, NULL, NULL, "other %d", i);
    CHECK_CONTAINS(lines(), "msg=\"again\" repeated=2\n");
}

/* ---- folding ---- */

/* The log reads the clock itself; a test only goes on from there. */
static int64_t now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

TEST(folded_repeats_are_said_when_their_time_is_over_though_nothing_else_is)
{
    int64_t due;

    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    CHECK(log_step(now_ms()) == INT64_MAX);
    for (int i = 0; i < 5; i++)
        log_say(LOG_LEVEL_WARN, "orders", NULL, "down");
    due = log_step(now_ms());
    CHECK(due > now_ms() && due <= now_ms() + LOG_FOLD_MS);
    CHECK(strstr(lines(), "repeated") == NULL);
    CHECK(log_step(due) == INT64_MAX);
    CHECK_CONTAINS(lines(), "route=orders msg=\"down\" repeated=4\n");
    log_say(LOG_LEVEL_WARN, "orders", NULL, "down");
    CHECK(strstr(strstr(lines(), "repeated"), "msg=\"down\"\n") != NULL);
}

TEST(lines_that_differ_in_anything_are_not_folded)
{
    struct event one = { .id = bytes_text("id-1"), .seq = 1 };
    struct event two = { .id = bytes_text("id-2"), .seq = 1 };

    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_about(LOG_LEVEL_WARN, &(struct log_about){ .log = "r", .event = &one }, "refused");
    log_about(LOG_LEVEL_WARN, &(struct log_about){ .log = "r", .event = &two }, "refused");
    log_about(LOG_LEVEL_WARN, &(struct log_about){ .code = "312" }, "refused");
    log_about(LOG_LEVEL_WARN, &(struct log_about){ .code = "313" }, "refused");
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "refused");
    log_say(LOG_LEVEL_WARN, NULL, "live", "refused");
    log_say(LOG_LEVEL_WARN, "live", NULL, "refused");
    log_close();
    CHECK_CONTAINS(lines(), "event_id=id-1");
    CHECK_CONTAINS(said, "event_id=id-2");
    CHECK_CONTAINS(said, "code=312");
    CHECK_CONTAINS(said, "code=313");
    CHECK_CONTAINS(said, "level=error");
    CHECK_CONTAINS(said, " sink=live");
    CHECK_CONTAINS(said, " route=live");
    CHECK(strstr(said, "repeated") == NULL);
}

TEST(closing_the_log_says_what_was_folded)
{
    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_say(LOG_LEVEL_WARN, NULL, NULL, "again");
    log_say(LOG_LEVEL_WARN, NULL, NULL, "again");
    log_close();
    CHECK_CONTAINS(lines(), "\"msg\":\"again\",\"repeated\":1}\n");
}

/* ---- what a line concerns ---- */

static struct event traced_event(struct buf *headers)
{
    buf_init(headers, 4096);
    header_put_text(headers, HEADER_PROPERTY, "correlation-id", bytes_text("order 7"));
    header_put_text(headers, HEADER_USER, "traceparent",
        bytes_text("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    header_put_text(headers, HEADER_USER, "x-token", bytes_text("header-secret"));
    return (struct event){ .id = bytes_of("a\0b\xff", 4),
        .seq = 17,
        .headers = buf_bytes(headers),
        .body = bytes_text("body-secret") };
}

TEST(a_line_about_an_event_names_it_and_neither_its_body_nor_its_headers)
{
    struct buf headers;
    struct event e = traced_event(&headers);
    struct log_about about = { "orders", "live", "312", "orders", &e };
    json_t *line;

    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_about(LOG_LEVEL_WARN, &about, "refused");
    line = json_loads(lines(), 0, NULL);
    CHECK_TEXT(json_string_value(json_object_get(line, "event")), "orders@17");
    CHECK_TEXT(json_string_value(json_object_get(line, "event_id")), "a?b\xef\xbf\xbd");
    CHECK_TEXT(json_string_value(json_object_get(line, "code")), "312");
    CHECK_TEXT(json_string_value(json_object_get(line, "correlation_id")), "order 7");
    CHECK_TEXT(json_string_value(json_object_get(line, "traceparent")),
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    CHECK(strstr(said, "secret") == NULL);
    json_decref(line);
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_about(LOG_LEVEL_INFO, &about, "sent");
    CHECK_CONTAINS(lines(), " code=312 event=orders@17 event_id=\"a?b\\ufffd\" "
                            "correlation_id=\"order 7\" traceparent=00-0af7");
    buf_done(&headers);
}

TEST(a_correlation_id_has_more_than_one_name)
{
    struct buf headers;
    struct event e = { .id = bytes_text("id-1"), .seq = 1 };

    buf_init(&headers, 1000);
    header_put_text(&headers, HEADER_USER, "X-Correlation-ID", bytes_text("c-9"));
    header_put_text(&headers, HEADER_USER, "Traceparent", bytes_text("00-aa"));
    e.headers = buf_bytes(&headers);
    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_about(LOG_LEVEL_INFO, &(struct log_about){ .log = "r", .event = &e }, "sent");
    CHECK_CONTAINS(lines(), "event=r@1 event_id=id-1 correlation_id=c-9 traceparent=00-aa msg=");
    buf_done(&headers);
}

TEST(a_line_of_nothing_but_escapes_is_cut_and_whole)
{
    char noise[2000];
    json_t *line;

    memset(noise, '\033', sizeof noise - 1);
    noise[sizeof noise - 1] = '\0';
    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_say(LOG_LEVEL_WARN, noise, noise, "%s", noise);
    CHECK(strlen(lines()) <= 4096);
    line = json_loads(said, 0, NULL);
    CHECK(line != NULL);
    json_decref(line);
}

/* ---- the journal ---- */

static int journal_open(const char *path)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    (void)snprintf(where.sun_path, sizeof where.sun_path, "%s", path);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&where, sizeof where) == 0);
    return fd;
}

static const char *journal_read(int fd)
{
    ssize_t n = recv(fd, said, sizeof said - 1, 0);

    said[n > 0 ? n : 0] = '\0';
    return said;
}

static void open_journal(void)
{
    log_open(&(struct log_spec){ LOG_LEVEL_INFO, LOG_FORMAT_JOURNAL, "journal" });
}

TEST(the_journal_gets_each_field_on_its_own)
{
    struct buf headers;
    struct event e = traced_event(&headers);
    int journal = journal_open("journal");

    catch_lines();
    open_journal();
    e.id = bytes_text("id-1");
    log_about(LOG_LEVEL_WARN, &(struct log_about){ "orders", "live", "312", "orders", &e }, "lost");
    CHECK_CONTAINS(journal_read(journal), "PRIORITY=4\n");
    CHECK_CONTAINS(said, "\nROUTE=orders\nSINK=live\nCODE=312\nEVENT=orders@17\nEVENT_ID=id-1\n"
                         "CORRELATION_ID=order 7\nTRACEPARENT=00-0af7");
    CHECK_CONTAINS(said, "\nMESSAGE=lost\n");
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "two\nlines");
    CHECK_CONTAINS(journal_read(journal), "PRIORITY=3\n");
    CHECK(memmem(said, 100, "MESSAGE\n\x09\0\0\0\0\0\0\0two\nlines\n", 26) != NULL);
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "two\nlines");
    log_close();
    CHECK_CONTAINS(journal_read(journal), "REPEATED=1\n");
    CHECK_TEXT(lines(), "");
    buf_done(&headers);
    (void)close(journal);
}

TEST(without_the_journals_socket_lines_go_to_its_stream_with_their_priority)
{
    catch_lines();
    open_journal();
    log_say(LOG_LEVEL_WARN, "orders", NULL, "lost");
    CHECK_CONTAINS(lines(), "<4>time=");
    CHECK_CONTAINS(said, "route=orders msg=\"lost\"\n");
}

/* ---- nobody waits ---- */

/* Standard error is a pipe that nobody reads until it is full. */
static int full_pipe(void)
{
    struct log_status s;
    int ends[2];

    CHECK(pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) >= 0 && close(ends[1]) == 0);
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    do {
        static int i;

        log_say(LOG_LEVEL_INFO, NULL, NULL, "line %d", i++);
        log_status(&s);
    } while (s.lost < 10);
    return ends[0];
}

TEST(lines_that_nobody_takes_are_lost_counted_and_that_is_said)
{
    int fd = full_pipe();
    ssize_t n, all = 0;

    CHECK(log_step(now_ms()) <= now_ms() + 1000);
    CHECK(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    while ((n = read(fd, said, sizeof said)) > 0)
        all += n;
    CHECK(all > 0);
    CHECK(log_step(now_ms() + 1000) == INT64_MAX);
    n = read(fd, said, sizeof said - 1);
    said[n > 0 ? n : 0] = '\0';
    CHECK_CONTAINS(said, "10 lines of this log were lost");
    log_say(LOG_LEVEL_INFO, NULL, NULL, "well again");
    n = read(fd, said, sizeof said - 1);
    said[n > 0 ? n : 0] = '\0';
    CHECK_CONTAINS(said, "well again");
    CHECK(strstr(said, "lost") == NULL);
}

TEST(a_journal_that_does_not_read_is_not_waited_for)
{
    int journal = journal_open("journal"), fd = full_pipe();
    struct log_status s = { 0 };

    open_journal();
    for (int i = 0; i < 100000 && s.lost < 20; i++) {
        log_say(LOG_LEVEL_INFO, NULL, NULL, "event %d", i);
        log_status(&s);
    }
    CHECK_INT(s.lost, 20);
    while (*journal_read(journal))
        ;
    log_say(LOG_LEVEL_INFO, NULL, NULL, "well again");
    CHECK_CONTAINS(journal_read(journal), "10 lines of this log were lost");
    CHECK_CONTAINS(journal_read(journal), "MESSAGE=well again\n");
    (void)close(fd);
    (void)close(journal);
}

/* ---- level ---- */

TEST(a_persons_level_holds_until_its_time_whatever_is_configured_meanwhile)
{
    struct log_status s;
    int64_t now = now_ms();

    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_level_set(LOG_LEVEL_DEBUG, now + 60000);
    open_log(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    log_say(LOG_LEVEL_DEBUG, NULL, NULL, "seen");
    CHECK_INT(log_step(now), now + 60000);
    log_status(&s);
    CHECK_INT(s.level, LOG_LEVEL_DEBUG);
    CHECK_INT(s.configured, LOG_LEVEL_WARN);
    CHECK(log_step(now + 60000) == INT64_MAX);
    CHECK(!log_wants(LOG_LEVEL_INFO) && log_wants(LOG_LEVEL_WARN));
    log_say(LOG_LEVEL_DEBUG, NULL, NULL, "unseen");
    CHECK_CONTAINS(lines(), "msg=\"seen\"");
    CHECK(strstr(said, "unseen") == NULL);
    log_level_set(LOG_LEVEL_DEBUG, INT64_MAX);
    CHECK(log_step(now + 86400000) == INT64_MAX);
    CHECK(log_wants(LOG_LEVEL_DEBUG));
    log_level_set(LOG_LEVEL_NONE, 0);
    CHECK(!log_wants(LOG_LEVEL_INFO) && log_wants(LOG_LEVEL_WARN));
}

TEST(the_environment_goes_over_the_configuration)
{
    struct log_spec spec = { .level = LOG_LEVEL_INFO, .format = LOG_FORMAT_AUTO };
    struct fault why;

    (void)setenv("BASCULE_LOG_LEVEL", "", 1);
    CHECK_INT(log_environment(&spec, &why), 0);
    CHECK_INT(spec.level, LOG_LEVEL_INFO);
    (void)setenv("BASCULE_LOG_LEVEL", "debug", 1);
    (void)setenv("BASCULE_LOG_FORMAT", "json", 1);
    CHECK_INT(log_environment(&spec, &why), 0);
    CHECK_INT(spec.level, LOG_LEVEL_DEBUG);
    CHECK_INT(spec.format, LOG_FORMAT_JSON);
    (void)setenv("BASCULE_LOG_FORMAT", "xml", 1);
    CHECK_INT(log_environment(&spec, &why), -1);
    CHECK_CONTAINS(why.text, "BASCULE_LOG_FORMAT: 'xml' is not one of auto, logfmt, json, journal");
    (void)setenv("BASCULE_LOG_LEVEL", "none", 1);
    CHECK_INT(log_environment(&spec, &why), -1);
    CHECK_CONTAINS(why.text, "BASCULE_LOG_LEVEL: 'none' is not one of error, warn, info, debug");
}

/* ---- threads ---- */

#define THREADS 4
#define LINES_EACH 500

static void *say_lines(void *arg)
{
    for (int i = 0; i < LINES_EACH; i++)
        log_say(LOG_LEVEL_WARN, arg, NULL, "line %d", i / 5);
    return NULL;
}

TEST(threads_lose_no_line_while_the_level_changes)
{
    static const char *const names[] = { "a", "b", "c", "d" };
    pthread_t threads[THREADS];
    int told = 0;

    catch_lines();
    open_log(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, say_lines, (void *)names[i]), 0);
    for (int i = 0; i < 100; i++) {
        log_level_set(i % 2 ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, INT64_MAX);
        (void)log_step(now_ms());
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    log_close();
    for (FILE *f = fopen("said", "r"); f && fgets(said, sizeof said, f);) {
        const char *repeated = strstr(said, "repeated=");

        told += repeated ? (int)strtol(repeated + 9, NULL, 10) : 1;
    }
    CHECK_INT(told, THREADS * LINES_EACH);
}
