/* audit verify: on a live store through the socket; without a daemon, and with --store, on the
 * file.
 */
#include "bridge/admin/view.h"
#include "bridge/cli/client.h"
#include "bridge/cli/store_file.h"
#include "bridge/cli/table.h"
#include "bridge/digest.h"

#include <stdio.h>

#define FINDINGS_MAX 1000
#define HEAD_TEXT (2 * STORE_DIGEST_BYTES)

static int verify_file(struct command *c, const char *file, const char *expect, json_t **ret)
{
    struct query_spec spec = {
        .kind = QUERY_AUDIT_VERIFY, .digest = digest_sha256, .text = expect, .limit = FINDINGS_MAX
    };
    struct query_answer a = { 0 };
    struct fault why = { 0 };

    (void)c;
    if (store_query_file(file, &spec, &a, &why) != 0) {
        query_answer_done(&a);
        return command_fail(why.kind == FAULT_RETRY   ? DAEMON_LATER
                            : why.kind == FAULT_INPUT ? DAEMON_DATA
                                                      : DAEMON_IO,
            "%s", why.text);
    }
    *ret = view_audit(&a.rows);
    query_answer_done(&a);
    return *ret ? 0 : command_fail(DAEMON_LATER, "out of memory");
}

static int verify_live(struct command *c, const char *expect, json_t **ret)
{
    json_t *arguments = json_object();
    struct buf path;
    int code;

    if (expect)
        json_object_set_new(arguments, "expect", json_string(expect));
    buf_init(&path, 4096);
    code = command_query("/v1/audit/verify", arguments, &path);
    if (code == 0)
        code = command_ask(c, "GET", buf_text(&path), NULL, ret);
    buf_done(&path);
    json_decref(arguments);
    return code;
}

static void print_verdict(const json_t *answer)
{
    json_t *one;
    size_t i;

    json_array_foreach(json_object_get(answer, "findings"), i, one)
    {
        const char *text = json_string_value(json_object_get(one, "text"));
        struct buf safe;

        buf_init(&safe, 65536);
        table_put_safe(&safe, text ? text : "", text ? strlen(text) : 0);
        printf("damage\t%s\n", buf_text(&safe));
        buf_done(&safe);
    }
    printf("rows\t%lld\nfirst\t%lld\nlast\t%lld\nhead\t%s\n",
        (long long)json_integer_value(json_object_get(answer, "rows")),
        (long long)json_integer_value(json_object_get(answer, "first")),
        (long long)json_integer_value(json_object_get(answer, "last")),
        json_string_value(json_object_get(answer, "head")));
    if (json_is_integer(json_object_get(answer, "expected")))
        printf(
            "expected\t%lld\n", (long long)json_integer_value(json_object_get(answer, "expected")));
}

static int verify(struct command *c)
{
    const char *expect = args_get(&c->args, "--expect");
    json_t *answer = NULL;
    char file[4096];
    int code = store_file_find(c, file, sizeof file);

    if (expect &&
        (strlen(expect) != HEAD_TEXT || strspn(expect, "0123456789abcdefABCDEF") != HEAD_TEXT))
        return command_fail(
            DAEMON_USAGE, "--expect is a head as this verb printed it: %d hex digits", HEAD_TEXT);
    if (code == 0)
        code = file[0] ? verify_file(c, file, expect, &answer) : verify_live(c, expect, &answer);
    if (code != 0)
        return code;
    if (c->json)
        command_print_json(answer);
    else
        print_verdict(answer);
    if (json_array_size(json_object_get(answer, "findings")))
        code = command_fail(DAEMON_DATA, "the audit is not as it was written");
    json_decref(answer);
    return code;
}

static const struct args_option verify_options[] = {
    { "--store", "FILE",
        "this file, which no daemon has open; else the daemon's, or the configuration's" },
    { "--expect", "HASH",
        "a head that was noted elsewhere: without one, a chain that was made anew, or cut at its "
        "end, with everything that tells of it, passes" },
    { NULL, NULL, NULL },
};

const struct verb verbs_audit[] = {
    { "audit verify", "",
        "find audit rows that were changed, removed, put in or moved; print the head",
        "bascule audit verify --expect $(cat /mnt/elsewhere/audit.head)", verify_options, 0, 0,
        verify },
    { 0 },
};
