#include "bridge/cli/doctor.h"
#include "tests/harness.h"

#include <linux/magic.h>

static struct doctor d;

/* What the last finding is. */
static const struct doctor_finding *last(void)
{
    CHECK(d.n > 0);
    return &d.at[d.n - 1];
}

static enum verdict library(const char *name)
{
    doctor_library(&d, name);
    return last()->verdict;
}

TEST(a_version_is_read_up_to_three_numbers)
{
    CHECK_INT(doctor_version("2.0.2"), 2000002);
    CHECK_INT(doctor_version("3.9"), 3009000);
    CHECK_INT(doctor_version("2.5.0-RC1"), 2005000);
    CHECK_INT(doctor_version("none"), 0);
    CHECK_INT(doctor_version("999.999.9999"), 999999999);
}

TEST(library_faults_are_told_for_the_versions_that_have_them)
{
    CHECK_INT(library("librdkafka 1.8.2"), VERDICT_FAIL);
    CHECK_INT(library("librdkafka 2.0.2"), VERDICT_OK);
    CHECK_CONTAINS(last()->text, "#4438");
    CHECK_INT(library("librdkafka 2.5.0"), VERDICT_WARN);
    CHECK_INT(library("librdkafka 2.5.3"), VERDICT_OK);
    CHECK_CONTAINS(last()->text, "no fault is known");
    CHECK_INT(library("librabbitmq 0.9.0"), VERDICT_FAIL);
    CHECK_INT(library("hiredis 0.14.0"), VERDICT_WARN);
    CHECK_INT(library("SQLite 3.40.1"), VERDICT_OK);
    CHECK_CONTAINS(last()->text, "WAL-reset");
    CHECK_INT(library("SQLite 3.44.6"), VERDICT_OK);
    CHECK_CONTAINS(last()->text, "no fault is known");
    CHECK_INT(library("SQLite 3.51.2"), VERDICT_OK);
    CHECK_CONTAINS(last()->text, "WAL-reset");
    CHECK_INT(library("unheard-of 1.0.0"), VERDICT_OK);
    CHECK_INT(library("no version"), VERDICT_OK);
    doctor_done(&d);
}

TEST(a_broker_too_old_for_what_routes_need_is_told)
{
    doctor_broker_version(&d, "cache", "Redis 4.0.9");
    CHECK_INT(last()->verdict, VERDICT_FAIL);
    doctor_broker_version(&d, "cache", "Redis 6.0.16");
    CHECK_INT(last()->verdict, VERDICT_WARN);
    doctor_broker_version(&d, "cache", "Redis 7.0.15");
    CHECK_INT(last()->verdict, VERDICT_OK);
    doctor_broker_version(&d, "rabbit", "RabbitMQ 4.1.0");
    CHECK_CONTAINS(last()->text, "dead-letter exchange");
    doctor_done(&d);
}

TEST(a_store_belongs_on_a_local_disk)
{
    char text[200];

    CHECK_INT(doctor_file_system(EXT4_SUPER_MAGIC, text, sizeof text), VERDICT_OK);
    CHECK_INT(doctor_file_system(TMPFS_MAGIC, text, sizeof text), VERDICT_FAIL);
    CHECK_INT(doctor_file_system(NFS_SUPER_MAGIC, text, sizeof text), VERDICT_FAIL);
    CHECK_CONTAINS(text, "nfs");
    /* A 32-bit kernel's number with the highest bit comes sign-extended. */
    CHECK_INT(doctor_file_system((int32_t)0xff534d42u, text, sizeof text), VERDICT_FAIL);
    CHECK_INT(doctor_file_system(OVERLAYFS_SUPER_MAGIC, text, sizeof text), VERDICT_WARN);
    CHECK_INT(doctor_file_system(0x12345678, text, sizeof text), VERDICT_WARN);
}

TEST(sync_times_are_judged_by_their_median_and_their_slowest)
{
    int64_t us[100];

    for (int i = 0; i < 100; i++)
        us[i] = 1000 + (99 - i) * 10;
    doctor_sync_times(&d, "/var", us, 100);
    CHECK_INT(last()->verdict, VERDICT_OK);
    CHECK_TEXT(last()->text, "100 syncs of 4 KiB: median 1.50 ms, 99 of 100 within 1.98 ms");
    us[98] = us[99] = 600000;
    doctor_sync_times(&d, "/var", us, 100);
    CHECK_INT(last()->verdict, VERDICT_WARN);
    for (int i = 0; i < 100; i++)
        us[i] = 30000;
    doctor_sync_times(&d, "/var", us, 100);
    CHECK_INT(last()->verdict, VERDICT_WARN);
    us[0] = 5;
    doctor_sync_times(&d, "/var", us, 1);
    CHECK_INT(last()->verdict, VERDICT_OK);
    doctor_done(&d);
}

TEST(limits_of_a_process_are_read_by_name)
{
    static const char text[] =
        "Limit                     Soft Limit           Hard Limit           Units     \n"
        "Max core file size        0                    unlimited            bytes     \n"
        "Max open files            1024                 4096                 files     \n"
        "Max locked memory         unlimited            unlimited            bytes     \n";

    CHECK_INT(doctor_limit(text, "Max core file size"), 0);
    CHECK_INT(doctor_limit(text, "Max open files"), 1024);
    CHECK(doctor_limit(text, "Max locked memory") == INT64_MAX);
    CHECK_INT(doctor_limit(text, "Max nothing"), -1);
}

TEST(a_brokers_clock_may_be_off_by_what_the_answer_took)
{
    doctor_clock_broker(&d, "cache", 900, 0);
    CHECK_INT(last()->verdict, VERDICT_OK);
    doctor_clock_broker(&d, "cache", -5000, 4500);
    CHECK_INT(last()->verdict, VERDICT_OK);
    doctor_clock_broker(&d, "cache", -5000, 10);
    CHECK_INT(last()->verdict, VERDICT_WARN);
    CHECK_CONTAINS(last()->text, "behind ours");
    doctor_clock_broker(&d, "cache", 3600000, 10);
    CHECK_INT(last()->verdict, VERDICT_FAIL);
    doctor_done(&d);
}

TEST(a_certificate_is_judged_by_its_end)
{
    d.unix_ms = 1000000000000;
    doctor_certificate(&d, "kafka", "peer", d.unix_ms - 1);
    CHECK_INT(last()->verdict, VERDICT_FAIL);
    CHECK_TEXT(last()->text, "ended on 2001-09-09");
    doctor_certificate(&d, "kafka", "peer", d.unix_ms + 29 * 86400000LL);
    CHECK_INT(last()->verdict, VERDICT_WARN);
    doctor_certificate(&d, "kafka", "peer", d.unix_ms + 31 * 86400000LL);
    CHECK_INT(last()->verdict, VERDICT_OK);
    CHECK_TEXT(last()->subject, "kafka peer");
    doctor_done(&d);
}

TEST(the_first_failure_that_is_a_cause_gives_the_exit_code)
{
    CHECK_INT(doctor_exit(&d), DAEMON_OK);
    doctor_say(&d, DOCTOR_CLOCK, VERDICT_WARN, "", "x");
    CHECK_INT(doctor_exit(&d), DAEMON_OK);
    doctor_say(&d, DOCTOR_WORK, VERDICT_FAIL, "", "x");
    CHECK_INT(doctor_exit(&d), DAEMON_LATER);
    doctor_say(&d, DOCTOR_SPACE, VERDICT_FAIL, "", "x");
    doctor_say(&d, DOCTOR_CONFIG, VERDICT_FAIL, "", "x");
    CHECK_INT(doctor_exit(&d), DAEMON_IO);
    doctor_done(&d);
}
