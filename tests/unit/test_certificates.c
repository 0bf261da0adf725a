#include "bridge/base/log.h"
#include "bridge/certificates.h"
#include "tests/harness.h"

#define DAY_MS (24LL * 3600 * 1000)

TEST(a_certificates_days_are_whole_and_negative_after_its_end)
{
    CHECK_INT(certificates_days(30 * DAY_MS, 0), 30);
    CHECK_INT(certificates_days(30 * DAY_MS - 1, 0), 29);
    CHECK_INT(certificates_days(1, 0), 0);
    CHECK_INT(certificates_days(0, 1), -1);
    CHECK_INT(certificates_days(0, DAY_MS + 1), -2);
}

TEST(a_certificate_is_near_its_end_thirty_days_before)
{
    CHECK(!certificates_near(30 * DAY_MS, 0));
    CHECK(certificates_near(30 * DAY_MS - 1, 0));
    CHECK(certificates_near(0, DAY_MS));
}

/* Lines on stderr that hold the part. */
static int lines_with(const char *part)
{
    FILE *f = fopen("log", "r");
    char line[1024];
    int n = 0;

    CHECK(f != NULL);
    while (fgets(line, sizeof line, f))
        n += strstr(line, part) != NULL;
    (void)fclose(f);
    return n;
}

TEST(a_certificate_is_warned_of_once_a_day)
{
    struct certificate two[] = { { "kafka", "cert_file", "/c.pem", 5 * DAY_MS },
        { "kafka", "peer", NULL, 400 * DAY_MS } };
    struct certificates all = { two, 2 };
    struct certificates_watch *w;
    struct fault why;

    log_open(&(struct log_spec){ .level = LOG_LEVEL_INFO, .format = LOG_FORMAT_LOGFMT });
    CHECK(freopen("log", "w", stderr) != NULL);
    CHECK_INT(certificates_watch_open(&w, &why), 0);
    for (int64_t at = 0; at < 3 * DAY_MS; at += DAY_MS / 4)
        certificates_watch_look(w, &all, at);
    (void)fflush(stderr);
    CHECK_INT(lines_with("/c.pem expires in"), 3);
    CHECK_INT(lines_with("broker's own"), 0);
    two[1].expires_ms = 0;
    certificates_watch_look(w, &all, DAY_MS * 3);
    (void)fflush(stderr);
    CHECK_INT(lines_with("the broker's own certificate expired on 1970-01-01"), 1);
    certificates_watch_free(w);
}
