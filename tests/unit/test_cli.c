#include "bridge/cli/args.h"
#include "bridge/cli/table.h"
#include "bridge/cli/when.h"
#include "bridge/cli/command.h"
#include "tests/harness.h"

static const struct args_option options[] = {
    { "--route", "ROUTE", "" },
    { "--all", NULL, "" },
    { NULL, NULL, NULL },
};

static int parse(struct args *a, char error[256], int argc, const char **argv)
{
    return args_parse(options, NULL, argc, (char **)(uintptr_t)argv, a, error);
}

TEST(options_and_words_may_mix)
{
    const char *argv[] = { "17", "--route", "a", "--all", "--route=b=c", "--", "--all" };
    struct args a;
    char error[256];

    CHECK_INT(parse(&a, error, 7, argv), 0);
    CHECK_TEXT(args_get(&a, "--route"), "b=c");
    CHECK_TEXT(args_nth(&a, "--route", 0), "a");
    CHECK(args_have(&a, "--all"));
    CHECK_INT(a.rest_count, 2);
    CHECK_TEXT(a.rest[1], "--all");
}

TEST(a_wrong_option_is_named)
{
    const char *unknown[] = { "--rout", "x" }, *bare[] = { "--route" },
               *switched[] = { "--all=yes" };
    struct args a;
    char error[256];

    CHECK_INT(parse(&a, error, 2, unknown), -1);
    CHECK_TEXT(error, "unknown option: --rout");
    CHECK_INT(parse(&a, error, 1, bare), -1);
    CHECK_TEXT(error, "needs a value: --route");
    CHECK_INT(parse(&a, error, 1, switched), -1);
    CHECK_TEXT(error, "takes no value: --all");
}

TEST(times_are_rfc_3339_or_ago)
{
    CHECK_INT(when_parse("1970-01-02", 0), 86400000);
    CHECK_INT(when_parse("1970-01-01T00:00:01.5Z", 0), 1500);
    CHECK_INT(when_parse("1970-01-01T02:00:00+02:00", 0), 0);
    CHECK_INT(when_parse("10m", 1000000), 400000);
    CHECK_INT(when_parse("1.5s", 2000), 500);
    CHECK_INT(when_parse("tomorrow", 0), -1);
    CHECK_INT(when_parse("10", 0), -1);
    CHECK_INT(when_parse("1970-01-01T00:00:00Zx", 0), -1);
}

TEST(nothing_printed_moves_the_terminal)
{
    static const char bad[] = "a\033[2J\n\xc2\x9b \xff";
    struct buf b;

    buf_init(&b, 1024);
    table_put_safe(&b, "gr\xc3\xbc\xc3\x9f", 6);
    CHECK_TEXT(buf_text(&b), "gr\xc3\xbc\xc3\x9f");
    buf_clear(&b);
    table_put_safe(&b, bad, sizeof bad - 1);
    CHECK_TEXT(buf_text(&b), "a\\x1b[2J\\n\\xc2\\x9b \\xff");
    buf_done(&b);
}

TEST(a_table_that_is_no_terminal_is_tab_separated)
{
    static const struct table_column columns[] = { { "a", "A", TABLE_TEXT },
        { "b.c", "C", TABLE_SIZE }, { NULL, NULL, 0 } };
    struct command c = { 0 };
    json_t *rows = json_pack("[{s:s, s:{s:i}}]", "a", "x\ty", "b", "c", 2048);
    char text[64] = "";
    FILE *f = freopen("out", "w+", stdout);

    CHECK(f != NULL);
    table_print(&c, columns, rows, 0);
    rewind(f);
    CHECK(fgets(text, sizeof text, f) != NULL);
    CHECK_TEXT(text, "x\\ty\t2048\n");
    json_decref(rows);
}

TEST(explain_knows_the_numbers_and_says_which_it_does_not)
{
    char *known[] = { "bascule", "explain", "bsc-0110", NULL };
    char *all[] = { "bascule", "explain", "--json", NULL };
    char *unknown[] = { "bascule", "explain", "BSC-0099", NULL };
    char *rubbish[] = { "bascule", "explain", "BSC-", NULL };
    char *group[] = { "bascule", "dlq", "drop", "--group", "x", NULL };

    CHECK_INT(command_main(3, known), DAEMON_OK);
    CHECK_INT(command_main(3, all), DAEMON_OK);
    CHECK_INT(command_main(3, unknown), DAEMON_DATA);
    CHECK_INT(command_main(3, rubbish), DAEMON_USAGE);
    CHECK_INT(command_main(5, group), DAEMON_USAGE);
}
