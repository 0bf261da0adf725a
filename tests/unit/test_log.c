#include "bridge/base/log.h"
#include "tests/harness.h"

#include <fcntl.h>
#include <unistd.h>

static char said[65536];

static void catch_lines(void)
{
    int fd = open("said", O_RDWR | O_CREAT | O_TRUNC, 0600);

    CHECK(fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
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
    log_open(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    log_say(LOG_LEVEL_WARN, "orders", "live", "lost \"it\"\n\033[31m");
    CHECK_CONTAINS(
        lines(), "level=warn route=orders sink=live msg=\"lost \\\"it\\\"\\n\\u001b[31m\"\n");
}

TEST(a_line_below_the_level_is_not_said)
{
    catch_lines();
    log_open(LOG_LEVEL_WARN, LOG_FORMAT_LOGFMT);
    log_say(LOG_LEVEL_INFO, NULL, NULL, "quiet");
    CHECK_TEXT(lines(), "");
}

TEST(a_json_line_is_one_object)
{
    catch_lines();
    log_open(LOG_LEVEL_INFO, LOG_FORMAT_JSON);
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "a \\ b");
    CHECK_CONTAINS(lines(), "\"level\":\"error\",\"msg\":\"a \\\\ b\"}\n");
}

TEST(a_repeated_line_is_said_once)
{
    catch_lines();
    log_open(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
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
    log_open(LOG_LEVEL_INFO, LOG_FORMAT_LOGFMT);
    for (int i = 0; i < 3; i++)
        log_say(LOG_LEVEL_WARN, NULL, NULL, "again");
    for (int i = 0; i < 64; i++)
        log_say(LOG_LEVEL_WARN, NULL, NULL, "other %d", i);
    CHECK_CONTAINS(lines(), "msg=\"again\" repeated=2\n");
}
