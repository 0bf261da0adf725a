#include "bridge/watchdog.h"
#include "tests/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LIMIT_MS 3000

static int manager_open(void)
{
    struct sockaddr_un where = { .sun_family = AF_UNIX, .sun_path = "notify" };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    char *path;

    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&where, sizeof where) == 0);
    path = realpath("notify", NULL);
    CHECK(path != NULL);
    (void)setenv("NOTIFY_SOCKET", path, 1);
    free(path);
    (void)setenv("WATCHDOG_USEC", "3000000", 1);
    return fd;
}

/* Datagrams that say `text`, all others too are taken. */
static int heard(int fd, const char *text)
{
    char line[256];
    ssize_t n;
    int ret = 0;

    while ((n = recv(fd, line, sizeof line - 1, 0)) >= 0) {
        line[n] = '\0';
        ret += strcmp(line, text) == 0;
    }
    return ret;
}

TEST(watchdog_is_fed_in_thirds_of_its_limit_while_the_writer_commits)
{
    int fd = manager_open();
    struct watchdog w;
    uint64_t committed = 0;
    int fed = 0;

    watchdog_init(&w, 0);
    for (int64_t now = 0; now < 4 * LIMIT_MS; now += 100) {
        (void)watchdog_step(&w, now, true, ++committed);
        fed += heard(fd, "WATCHDOG=1");
    }
    CHECK_INT(fed, 12);
    (void)close(fd);
}

TEST(watchdog_is_not_fed_while_one_commit_takes_longer_than_its_limit)
{
    int fd = manager_open();
    struct watchdog w;

    watchdog_init(&w, 0);
    for (int64_t now = 0; now < 4 * LIMIT_MS; now += 100)
        (void)watchdog_step(&w, now, true, 7);
    CHECK_INT(heard(fd, "WATCHDOG=1"), 3); /* at 0, 1 and 2 s */
    (void)watchdog_step(&w, 4 * LIMIT_MS, true, 8);
    CHECK_INT(heard(fd, "WATCHDOG=1"), 1);
    (void)close(fd);
}

TEST(watchdog_of_another_process_is_not_ours)
{
    int fd = manager_open();
    struct watchdog w;

    (void)setenv("WATCHDOG_PID", "1", 1);
    watchdog_init(&w, 0);
    CHECK(watchdog_step(&w, 0, false, 0) == INT64_MAX);
    CHECK_INT(heard(fd, "WATCHDOG=1"), 0);
    (void)close(fd);
}

TEST(a_long_start_asks_the_service_manager_for_more_time)
{
    int fd = manager_open();

    watchdog_extend_begin();
    watchdog_extend_end();
    CHECK_INT(heard(fd, "EXTEND_TIMEOUT_USEC=30000000"), 1);
    (void)close(fd);
}
