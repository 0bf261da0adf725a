#include "bridge/loop.h"
#include "tests/harness.h"

#include <signal.h>
#include <unistd.h>

TEST(a_readable_descriptor_ends_the_wait)
{
    struct fault why;
    struct loop *l = NULL;
    int ends[2];

    CHECK(pipe(ends) == 0 && loop_open(&l, &why) == 0);
    CHECK_INT(loop_watch(l, ends[0], &why), 0);
    CHECK_INT(write(ends[1], "x", 1), 1);
    CHECK_INT(loop_wait(l, INT64_MAX, &why), 0);
    loop_free(l);
}

TEST(a_signal_is_read_and_does_not_kill)
{
    struct fault why;
    struct loop *l = NULL;

    CHECK_INT(loop_open(&l, &why), 0);
    CHECK_INT(loop_signal(l), 0);
    CHECK_INT(kill(getpid(), SIGTERM), 0);
    CHECK_INT(loop_wait(l, INT64_MAX, &why), 0);
    CHECK_INT(loop_signal(l), SIGTERM);
    CHECK_INT(loop_signal(l), 0);
    loop_free(l);
}

TEST(a_wait_until_the_past_only_looks)
{
    struct fault why;
    struct loop *l = NULL;
    int64_t until;

    CHECK_INT(loop_open(&l, &why), 0);
    CHECK_INT(loop_wait(l, 0, &why), 0);
    until = loop_now_ms() + 20;
    CHECK_INT(loop_wait(l, until, &why), 0);
    CHECK(loop_now_ms() >= until);
    loop_free(l);
}

TEST(watching_a_closed_descriptor_is_a_fault)
{
    struct fault why;
    struct loop *l = NULL;

    CHECK_INT(loop_open(&l, &why), 0);
    CHECK_INT(loop_watch(l, 1000000, &why), -1);
    CHECK_INT(why.kind, FAULT_BROKEN);
    loop_free(l);
}
