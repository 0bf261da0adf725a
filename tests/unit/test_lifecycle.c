#include "bridge/base/lifecycle.h"
#include "tests/harness.h"

#define DEAD LIFECYCLE_DEAD_LETTER

static struct lifecycle *l;
static struct lifecycle_reader reader;

static void board(void)
{
    struct lifecycle_spec spec = { "00ff", "host" };
    struct fault why;

    CHECK_INT(lifecycle_open(&spec, 0, 1000, &l, &why), 0);
    reader =
        (struct lifecycle_reader){ .route = "own", .route_id = 1, .kinds = lifecycle_kinds("*") };
    lifecycle_listen(l, &reader);
}

static void done(void)
{
    lifecycle_leave(l, &reader);
    lifecycle_free(l);
}

static bool say(enum lifecycle_kind kind, const char *route, const char *text)
{
    struct lifecycle_note note = { .kind = kind, .route = route, .sink = "s" };
    struct buf *to = lifecycle_begin(l, &note);

    if (!to)
        return false;
    lifecycle_put(to, "text", text);
    lifecycle_end(l);
    return true;
}

/* Its body, "" when there is none; lent until the next call. */
static const char *next(void)
{
    static char text[4096];
    struct lifecycle_entry *e = lifecycle_next(l, &reader);

    text[0] = 0;
    if (e)
        (void)snprintf(text, sizeof text, "%.*s", (int)e->body.n, (const char *)e->body.at);
    lifecycle_unref(e);
    return text;
}

TEST(what_is_said_is_one_json_object_of_known_shape)
{
    board();
    CHECK(say(DEAD, "r", "a \"word\"\n"));
    CHECK_TEXT(next(),
        "{\"type\":\"integration.dead_letter_added\",\"id\":\"00ff-3e8-1\","
        "\"time\":\"1970-01-01T00:00:01.000Z\",\"since\":\"1970-01-01T00:00:01.000Z\","
        "\"service\":\"bascule\",\"version\":\"" BASCULE_VERSION
        "\",\"host\":\"host\",\"store\":\"00ff\",\"route\":\"r\",\"sink\":\"s\","
        "\"connection\":null,\"count\":1,\"details\":{\"text\":\"a \\\"word\\\"\\u000a\"}}");
    CHECK_TEXT(next(), "");
    done();
}

TEST(text_that_is_no_utf8_makes_json_all_the_same)
{
    board();
    CHECK(say(DEAD, "r", "caf\xe9"));
    CHECK_CONTAINS(next(), "{\"text\":\"caf?\"}");
    done();
}

TEST(one_subject_is_told_at_once_and_then_once_a_second_with_a_count)
{
    board();
    for (int i = 0; i < 5; i++)
        CHECK(say(DEAD, "r", "x"));
    CHECK(say(DEAD, "other", "x"));
    CHECK_CONTAINS(next(), "\"count\":1,");
    CHECK_CONTAINS(next(), "\"route\":\"other\"");
    CHECK_TEXT(next(), "");
    CHECK_INT(lifecycle_step(l, LIFECYCLE_FOLD_MS - 1, 1999), LIFECYCLE_FOLD_MS);
    CHECK_TEXT(next(), "");
    (void)lifecycle_step(l, LIFECYCLE_FOLD_MS, 2000);
    CHECK_CONTAINS(next(), "\"count\":4,");
    CHECK_TEXT(next(), "");
    (void)lifecycle_step(l, 5 * LIFECYCLE_FOLD_MS, 6000);
    CHECK(say(DEAD, "r", "x"));
    CHECK_CONTAINS(next(), "\"count\":1,");
    done();
}

TEST(of_two_that_undo_each_other_the_last_word_is_told_last)
{
    board();
    CHECK(say(LIFECYCLE_BREAKER_OPENED, "r", "x"));
    CHECK(say(LIFECYCLE_BREAKER_CLOSED, "r", "x"));
    CHECK(say(LIFECYCLE_BREAKER_OPENED, "r", "x"));
    CHECK(say(LIFECYCLE_BREAKER_CLOSED, "r", "last"));
    CHECK_CONTAINS(next(), "breaker_opened");
    (void)lifecycle_step(l, LIFECYCLE_FOLD_MS, 2000);
    CHECK_CONTAINS(next(), "breaker_closed");
    CHECK_TEXT(next(), "");
    done();
}

TEST(nothing_is_made_ready_for_nobody)
{
    board();
    CHECK(!say(DEAD, "own", "x"));                     /* a reader hears nothing of itself */
    CHECK(!say(LIFECYCLE_BREAKER_OPENED, "own", "x")); /* nobody else listens */
    reader.kinds = lifecycle_kinds("*registered");
    CHECK(!lifecycle_wanted(l, DEAD));
    CHECK(!say(DEAD, "r", "x"));
    CHECK(say(LIFECYCLE_UNREGISTERED, "r", "x"));
    done();
}

TEST(readers_hear_of_each_other_but_for_single_events)
{
    struct lifecycle_reader other = {
        .route = "other", .route_id = 2, .kinds = lifecycle_kinds("*")
    };

    board();
    lifecycle_listen(l, &other);
    CHECK(say(LIFECYCLE_BREAKER_OPENED, "other", "x"));
    CHECK(!say(DEAD, "other", "x"));
    CHECK(!say(LIFECYCLE_GAP, "other", "x"));
    CHECK(!say(LIFECYCLE_RATE_LIMIT, "other", "x"));
    CHECK_CONTAINS(next(), "breaker_opened");
    CHECK(!lifecycle_next(l, &other));
    lifecycle_leave(l, &other);
    done();
}

TEST(a_reader_that_is_too_slow_hears_how_many_it_lost)
{
    uint64_t said = 0, heard = 0;

    board();
    for (; said < 30000; said++)
        CHECK(say(LIFECYCLE_UNREGISTERED, "r", "x"));
    while (*next())
        heard++;
    CHECK(heard > 3000);
    CHECK(reader.lost > 0);
    CHECK_INT(heard + reader.lost, said);
    done();
}

TEST(a_reader_goes_on_where_another_of_its_route_is_done)
{
    struct lifecycle_reader again = {
        .route = "renamed", .route_id = 1, .kinds = lifecycle_kinds("*")
    };
    struct lifecycle_entry *e;

    board();
    for (int i = 0; i < 3; i++)
        CHECK(say(LIFECYCLE_UNREGISTERED, "r", "x"));
    CHECK_CONTAINS(next(), "00ff-3e8-1\"");
    CHECK_CONTAINS(next(), "00ff-3e8-2\"");
    lifecycle_done(l, &reader, 1);
    lifecycle_listen(l, &again);
    e = lifecycle_next(l, &again);
    CHECK(e);
    CHECK_INT(e->number, 2);
    lifecycle_unref(e);
    lifecycle_leave(l, &again);
    lifecycle_leave(l, &reader);
    lifecycle_listen(l, &again); /* nobody was there any more */
    CHECK(!lifecycle_next(l, &again));
    lifecycle_leave(l, &again);
    lifecycle_free(l);
}
