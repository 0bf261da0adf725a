/* store check, stats, backup: on a live store through the socket; without a daemon, and with
 * --store, on the file. */
#include "bridge/admin/view.h"
#include "bridge/cli/client.h"
#include "bridge/cli/store_file.h"
#include "bridge/cli/table.h"
#include "bridge/digest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const struct table_column stats_columns[] = {
    { "route", "ROUTE", TABLE_TEXT },
    { "events", "EVENTS", TABLE_NUMBER },
    { "chunks", "CHUNKS", TABLE_NUMBER },
    { "bytes", "BYTES", TABLE_SIZE },
    { "raw_bytes", "RAW", TABLE_SIZE },
    { "first_seq", "FIRST", TABLE_NUMBER },
    { "last_seq", "LAST", TABLE_NUMBER },
    { "first_ms", "FROM", TABLE_TIME },
    { "last_ms", "TO", TABLE_TIME },
    { NULL, NULL, 0 },
};

static int print_stats(struct command *c, const json_t *answer)
{
    if (c->json) {
        command_print_json(answer);
        return 0;
    }
    table_print(c, stats_columns, json_object_get(answer, "rows"), 0);
    if (c->terminal && json_object_get(answer, "store")) {
        putchar('\n');
        table_print_object(c, json_object_get(answer, "store"), 0);
    }
    return 0;
}

static int stats(struct command *c)
{
    struct query_spec spec = { .kind = QUERY_STATS, .limit = 10000, .deadline_ms = 60000 };
    struct query_answer a = { 0 };
    struct fault why = { 0 };
    json_t *answer = NULL;
    char file[4096];
    int code = store_file_find(c, file, sizeof file);

    if (code != 0)
        return code;
    if (!file[0])
        code = command_ask(c, "GET", "/v1/store", NULL, &answer);
    else if (store_query_file(file, &spec, &a, &why) != 0)
        code = command_fail(why.kind == FAULT_RETRY ? DAEMON_LATER : DAEMON_IO, "%s", why.text);
    else if (a.failed)
        code = command_fail(DAEMON_IO, "%s", a.why.text);
    else
        answer = view_rows(&a.rows);
    if (file[0])
        query_answer_done(&a);
    if (code == 0)
        code = print_stats(c, answer);
    json_decref(answer);
    return code;
}

/* ---- check ---- */

static void say(void *arg, int severity, const char *line)
{
    static const char *const names[] = { "info", "warning", "damage" };
    struct buf safe;

    (void)arg;
    buf_init(&safe, 65536);
    table_put_safe(&safe, line, strlen(line));
    printf("%s\t%s\n", names[severity < 0 || severity > 2 ? 2 : severity], buf_text(&safe));
    buf_done(&safe);
}

static int verdict(struct command *c, int damages)
{
    if (c->json)
        printf("{\"damages\": %d}\n", damages);
    else
        printf("%d\tdamages\n", damages);
    return damages ? DAEMON_IO : DAEMON_OK;
}

static int check_file(struct command *c, const char *file, const char *salvage)
{
    struct fault why = { 0 };
    int damages = salvage ? store_salvage_file(file, salvage, digest_sha256, say, NULL, &why)
                          : store_check_file(file, say, NULL, &why);

    if (damages < 0)
        return command_fail(why.kind == FAULT_RETRY ? DAEMON_LATER : DAEMON_IO, "%s", why.text);
    return verdict(c, damages);
}

/* The daemon works elsewhere: it needs the whole name. */
static json_t *absolute(const char *path, const char *key)
{
    char *here = *path == '/' ? strdup("") : getcwd(NULL, 0);
    struct buf whole;
    json_t *ret;

    buf_init(&whole, 8192);
    buf_put_format(&whole, "%s%s%s", here ? here : "", *path == '/' ? "" : "/", path);
    ret = json_pack("{s:s}", key, buf_text(&whole));
    buf_done(&whole);
    free(here);
    return ret;
}

static int check_live(struct command *c, const char *salvage)
{
    json_t *body = salvage ? absolute(salvage, "salvage") : json_object(), *answer = NULL, *line;
    int code = command_ask(c, "POST", "/v1/store/check", body, &answer), damages = 0;
    bool running = true;
    size_t seen = 0, i;

    json_decref(body);
    json_decref(answer);
    while (code == 0 && running) {
        char path[64];

        (void)snprintf(path, sizeof path, "/v1/store/check?after=%zu", seen);
        code = command_ask(c, "GET", path, NULL, &answer);
        if (code != 0)
            break;
        json_array_foreach(json_object_get(answer, "lines"), i, line)
        {
            const char *severity = json_string_value(json_object_get(line, "severity"));

            say(NULL,
                strcmp(severity, "info") == 0      ? 0
                : strcmp(severity, "warning") == 0 ? 1
                                                   : 2,
                json_string_value(json_object_get(line, "line")));
            seen++;
        }
        running = json_is_true(json_object_get(answer, "running"));
        damages = (int)json_integer_value(json_object_get(answer, "damages"));
        if (!running && damages < 0)
            code =
                command_fail(DAEMON_IO, "%s", json_string_value(json_object_get(answer, "error")));
        json_decref(answer);
        if (running && !command_pause())
            return command_fail(DAEMON_LATER, "the check goes on in the daemon");
    }
    return code == 0 ? verdict(c, damages) : code;
}

static int check(struct command *c)
{
    const char *salvage = args_get(&c->args, "--salvage");
    char file[4096];
    int code = store_file_find(c, file, sizeof file);

    if (code != 0)
        return code;
    command_watch_interrupt();
    return file[0] ? check_file(c, file, salvage) : check_live(c, salvage);
}

/* ---- backup ---- */

static int backup(struct command *c)
{
    json_t *body = absolute(c->args.rest[0], "path"), *answer = NULL;
    int code = command_ask(c, "POST", "/v1/store/backup", body, &answer);
    bool done = false;

    json_decref(body);
    json_decref(answer);
    command_watch_interrupt();
    while (code == 0 && !done) {
        code = command_ask(c, "GET", "/v1/store/backup", NULL, &answer);
        if (code != 0)
            return code;
        done = json_is_true(json_object_get(answer, "done"));
        if (isatty(STDERR_FILENO))
            fprintf(stderr, "\r%3lld %%%s",
                (long long)json_integer_value(json_object_get(answer, "permille")) / 10,
                done ? "\n" : "");
        json_decref(answer);
        if (!done && !command_pause())
            return command_fail(DAEMON_LATER, "the backup goes on in the daemon");
    }
    if (code == 0)
        printf("%s\n", c->args.rest[0]);
    return code;
}

/* ---- restore ---- */

static int64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int restore(struct command *c)
{
    const char *to = args_get(&c->args, "--to"), *from = c->args.rest[0];
    struct store_restored restored;
    struct fault why = { 0 };
    char file[4096];
    json_t *all;
    int code = 0;

    if (to)
        (void)snprintf(file, sizeof file, "%s", to);
    else
        code = store_file_configured(c, file, sizeof file);
    if (code != 0)
        return code;
    if (store_restore_file(
            from, file, digest_sha256, now_ms(), (int64_t)getuid(), &restored, &why) != 0)
        return command_fail(why.code == EWOULDBLOCK || why.kind == FAULT_RETRY ? DAEMON_LATER
                            : why.code == EACCES                               ? DAEMON_PERMISSION
                            : why.kind == FAULT_INPUT                          ? DAEMON_DATA
                                                                               : DAEMON_IO,
            "%s", why.text);
    all = json_pack("{s:s, s:s, s:s}", "store", file, "id", restored.id, "was", restored.was);
    if (c->json)
        command_print_json(all);
    else
        table_print_object(c, all, 0);
    json_decref(all);
    return 0;
}

static const struct args_option restore_options[] = {
    { "--to", "NEWFILE", "where the store shall stand; else the configuration's store.path" },
    { NULL, NULL, NULL },
};
static const struct args_option check_options[] = {
    { "--store", "FILE",
        "this file, which no daemon has open; else the daemon's, or the configuration's" },
    { "--salvage", "NEWFILE", "copy all that can be read, say what cannot" },
    { NULL, NULL, NULL },
};
static const struct args_option stats_options[] = {
    { "--store", "FILE",
        "this file, which no daemon has open; else the daemon's, or the configuration's" },
    { NULL, NULL, NULL },
};

const struct verb verbs_store[] = {
    { "store check", "", "verify checksums, contiguity, cursors, sums",
        "bascule store check --store /var/lib/bascule/bascule.db --salvage /tmp/saved.db",
        check_options, 0, 0, check },
    { "store stats", "", "sizes by route", "bascule store stats", stats_options, 0, 0, stats },
    { "store backup", "FILE", "an online copy", "bascule store backup /backup/bascule.db", NULL, 1,
        1, backup },
    { "store restore", "FILE", "make a store of a backup, on this host or another; no daemon runs",
        "bascule store restore /backup/bascule.db", restore_options, 1, 1, restore },
    { 0 },
};
