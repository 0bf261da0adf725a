/* Dead letters: shown, retried, dropped, edited. Bulk changes go page by page: a request handles at
 * most `limit` of them and says where to go on, so that none holds the loop for long. */
#include "bridge/admin/call.h"
#include "bridge/base/encoding.h"
#include "bridge/base/header.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int reason_number(const struct bytes text)
{
    for (int i = 0; i < REASON_COUNT; i++)
        if (bytes_equal(text, bytes_text(held_reason_text((enum held_reason)i))))
            return i;
    return REASON_NONE;
}

static int path_number(struct call *c, uint64_t *ret)
{
    char end;
    unsigned long long n;

    if (sscanf(c->values[0], "%llu%c", &n, &end) != 1 || n == 0) {
        call_fail(c, 400, "bad_request", "'%s' is not the number of a dead letter", c->values[0]);
        return -1;
    }
    *ret = n;
    return 0;
}

/* ---- reading ---- */

/* `code` and `text` together are the cause that groups are told by. Codes may be below 0 (Kafka's).
 */
static int dead_cause(struct call *c, struct query_spec *spec)
{
    json_t *given = json_object_get(c->body, "code");
    const char *code = call_text(c, "code");
    char end;

    spec->text = call_text(c, "text");
    spec->same_cause = spec->text || code || given;
    if (json_is_integer(given))
        spec->code = (int32_t)json_integer_value(given);
    else if ((given || code) && (!code || sscanf(code, "%" SCNd32 "%c", &spec->code, &end) != 1)) {
        call_fail(c, 400, "bad_request", "code is not a number");
        return -1;
    }
    return 0;
}

/* A filter that is not looked at would change or drop more than was asked for. */
static int dead_selection(struct call *c, struct query_spec *spec)
{
    static const char *const others[] = { "key", "header_name", "header_value", "match", "fate" };

    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (call_text(c, others[i])) {
            call_fail(c, 400, "bad_request", "dead letters are not selected by %s", others[i]);
            return -1;
        }
    spec->reason = call_text(c, "reason");
    return dead_cause(c, spec) != 0 ? -1 : call_selection(c, &spec->where);
}

void api_dead_list(struct call *c)
{
    struct query_spec spec = {
        .kind = QUERY_DEAD, .all = call_flag(c, "all"), .newest = call_flag(c, "newest")
    };

    if (dead_selection(c, &spec) == 0 && call_page(c, &spec) == 0)
        call_ask(c, &spec, call_reply_rows);
}

void api_dead_groups(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_DEAD_GROUPS };

    if (dead_selection(c, &spec) == 0 && call_page(c, &spec) == 0)
        call_ask(c, &spec, call_reply_rows);
}

static void reply_with_attempts(struct call *c, struct query_answer *a)
{
    json_t *attempts = view_rows(&a->rows), *ret = c->kept;

    json_object_set(ret, "attempt_list", json_object_get(attempts, "rows"));
    json_decref(attempts);
    c->kept = NULL;
    call_reply(c, ret);
}

static void shown(struct call *c, struct query_answer *a)
{
    struct query_spec spec = { .kind = QUERY_ATTEMPTS, .limit = CALL_LIMIT_MAX };
    json_t *rows;

    if (a->rows.row_count == 0 || path_number(c, &spec.number) != 0) {
        call_fail(c, 404, "not_found", "there is no dead letter %s", c->values[0]);
        return;
    }
    rows = view_rows(&a->rows);
    c->kept = json_incref(json_array_get(json_object_get(rows, "rows"), 0));
    json_decref(rows);
    call_ask(c, &spec, reply_with_attempts);
}

void api_dead_show(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_DEAD_SHOW, .limit = 1 };

    if (path_number(c, &spec.number) == 0)
        call_ask(c, &spec, shown);
}

/* ---- retry and drop ---- */

typedef int dead_change(
    struct relay *r, const struct relay_dead *d, int64_t unix_ms, struct fault *why);

struct row_texts {
    char route[64], sink[64], text[512];
};

static void copy_cell(char *to, size_t n, struct bytes from)
{
    (void)snprintf(
        to, n, "%.*s", (int)(from.n < n ? from.n : n), from.at ? (const char *)from.at : "");
}

static void row_dead(
    const struct rows *r, size_t row, struct row_texts *texts, struct relay_dead *ret)
{
    const struct cell *code = view_cell(r, row, "code");

    copy_cell(texts->route, sizeof texts->route, view_cell_bytes(r, row, "route"));
    copy_cell(texts->sink, sizeof texts->sink, view_cell_bytes(r, row, "sink"));
    copy_cell(texts->text, sizeof texts->text, view_cell_bytes(r, row, "text"));
    *ret = (struct relay_dead){ .number = view_cell_number(r, row, "number"),
        .seq = view_cell_number(r, row, "seq"),
        .job = view_cell_number(r, row, "job"),
        .route = texts->route,
        .sink = texts->sink,
        .reason = (enum held_reason)reason_number(view_cell_bytes(r, row, "reason")),
        .code = code && code->type == CELL_INT ? (int32_t)code->i : 0,
        .text = texts->text,
        .attempts = (uint32_t)view_cell_number(r, row, "attempts") };
}

/* A row on its way already, or gone since, is passed over. Stops at the first that must wait
 * (FAULT_RETRY: too many on their way); what was done stays done and is told. */
static void change_rows(
    struct call *c, struct query_answer *a, dead_change *change, const char *what)
{
    uint64_t after = 0, changed = 0, skipped = 0;
    struct fault why = { 0 };
    char object[192] = "", detail[1024];
    size_t row;

    for (row = 0; row < a->rows.row_count; row++) {
        struct row_texts texts;
        struct relay_dead d;

        row_dead(&a->rows, row, &texts, &d);
        if (bytes_equal(view_cell_bytes(&a->rows, row, "state"), bytes_text("dead")) &&
            change(c->relay, &d, c->unix_ms, &why) == 0) {
            changed++;
            (void)snprintf(object, sizeof object, "%s/%s dead letter %llu", texts.route, texts.sink,
                (unsigned long long)d.number);
        } else if (why.kind == FAULT_NONE || why.kind == FAULT_INPUT) {
            skipped++;
        } else {
            break;
        }
        after = d.number;
    }
    /* With what was asked: a drop's reason stands there. */
    (void)snprintf(detail, sizeof detail, "%llu changed, %llu passed over, asked: %s",
        (unsigned long long)changed, (unsigned long long)skipped, json_string_value(c->kept));
    if (changed)
        call_audit(c, what, changed == 1 ? object : json_string_value(c->kept), detail, "done");
    call_reply(c, json_pack("{s:o, s:o, s:o, s:b, s:o, s:o}", "changed", view_unsigned(changed),
                      "skipped", view_unsigned(skipped), "after", view_unsigned(after), "more",
                      row < a->rows.row_count || a->rows.more, "stopped",
                      row < a->rows.row_count ? view_bytes(bytes_text(why.text)) : json_null(),
                      "why", why.kind ? view_bytes(bytes_text(why.text)) : json_null()));
}

/* A drop's reason stands in the audit row, with what was selected. */
static void keep_request(struct call *c)
{
    char *text = json_dumps(c->body, JSON_COMPACT);

    c->kept = view_bytes(bytes_text(text ? text : "{}"));
    free(text);
}

static void retry_rows(struct call *c, struct query_answer *a)
{
    change_rows(c, a, relay_dead_retry, "dead_letter_retry");
}

static void drop_rows(struct call *c, struct query_answer *a)
{
    change_rows(c, a, relay_dead_drop, "dead_letter_drop");
}

static void change_page(struct call *c, void (*then)(struct call *c, struct query_answer *a))
{
    struct query_spec spec = { .kind = QUERY_DEAD };
    int64_t number;

    if (dead_selection(c, &spec) != 0 || call_page(c, &spec) != 0 ||
        call_number(c, "number", 0, &number) != 0)
        return;
    if (number) {
        spec.number = (uint64_t)number;
        spec.after = (uint64_t)number - 1;
        spec.limit = 1;
    }
    keep_request(c);
    call_ask(c, &spec, then);
}

static void check_number(
    struct call *c, struct query_answer *a, void (*then)(struct call *c, struct query_answer *a))
{
    json_t *number = json_object_get(c->body, "number");

    if (json_is_integer(number) &&
        (a->rows.row_count == 0 ||
            view_cell_number(&a->rows, 0, "number") != (uint64_t)json_integer_value(number)))
        call_fail(c, 404, "not_found", "there is no open dead letter %lld",
            (long long)json_integer_value(number));
    else
        then(c, a);
}

static void retry_checked(struct call *c, struct query_answer *a)
{
    check_number(c, a, retry_rows);
}

static void drop_checked(struct call *c, struct query_answer *a)
{
    check_number(c, a, drop_rows);
}

void api_dead_retry(struct call *c)
{
    change_page(c, retry_checked);
}

void api_dead_drop(struct call *c)
{
    change_page(c, drop_checked);
}

/* ---- edit ---- */

static bool is_removed(json_t *remove, struct bytes name)
{
    json_t *one;
    size_t i;

    json_array_foreach(remove, i,
        one) if (json_is_string(one) &&
                 bytes_equal(
                     name, bytes_of(json_string_value(one), json_string_length(one)))) return true;
    return false;
}

/* Set headers replace all of that name and go as text. A broker's own are kept as they are. */
static void edit_headers(struct bytes from, json_t *set, json_t *remove, struct buf *to)
{
    struct header h;
    const char *name;
    json_t *value;

    while (header_next(&from, &h) == 1) {
        char text[256];

        (void)snprintf(text, sizeof text, "%.*s", (int)(h.name.n < 255 ? h.name.n : 255),
            (const char *)h.name.at);
        if (h.scope != HEADER_BROKER && (json_object_get(set, text) || is_removed(remove, h.name)))
            continue;
        header_put(to, h.scope, h.name, &h.value);
    }
    json_object_foreach(set, name, value) header_put_text(
        to, HEADER_USER, name, bytes_of(json_string_value(value), json_string_length(value)));
}

static int new_body(struct call *c, struct buf *decoded, struct bytes *ret)
{
    json_t *text = json_object_get(c->body, "body"),
           *base64 = json_object_get(c->body, "body_base64");

    if (json_is_string(text))
        *ret = bytes_of(json_string_value(text), json_string_length(text));
    if (!json_is_string(base64))
        return 0;
    if (encoding_base64_decode(bytes_text(json_string_value(base64)), decoded) != 0)
        return -1;
    *ret = bytes_of(decoded->at, decoded->n);
    return 0;
}

/* What an earlier edit left, else what was received. */
static struct bytes latest(const struct rows *r, const char *column)
{
    char name[64];
    struct bytes edited;

    (void)snprintf(name, sizeof name, "edited_%s", column);
    edited = view_cell_bytes(r, 0, name);
    return bytes_present(edited) ? edited : view_cell_bytes(r, 0, column);
}

static void edit_row(struct call *c, struct query_answer *a)
{
    const struct rows *r = &a->rows;
    json_t *set = json_object_get(c->body, "set_headers");
    json_t *remove = json_object_get(c->body, "remove_headers");
    struct buf body, headers;
    struct row_texts texts;
    struct relay_dead d;
    struct event e = { .address = latest(r, "address"),
        .key = latest(r, "key"),
        .id = latest(r, "id"),
        .origin = latest(r, "origin"),
        .body = latest(r, "body"),
        .time_ms = (int64_t)view_cell_number(r, 0, "time_ms"),
        .received_ms = (int64_t)view_cell_number(r, 0, "received_ms"),
        .seq = view_cell_number(r, 0, "seq") };
    struct fault why = { 0 };
    int result = -1;

    if (r->row_count == 0) {
        call_fail(c, 404, "not_found", "there is no dead letter %s", c->values[0]);
        return;
    }
    if (!bytes_equal(view_cell_bytes(r, 0, "state"), bytes_text("dead"))) {
        call_fail(c, 409, "not_open", "dead letter %s is no longer open: %.*s", c->values[0],
            (int)view_cell_bytes(r, 0, "state").n, (const char *)view_cell_bytes(r, 0, "state").at);
        return;
    }
    buf_init(&body, HTTP_BODY_MAX);
    buf_init(&headers, HTTP_BODY_MAX);
    row_dead(r, 0, &texts, &d);
    if (json_is_string(json_object_get(c->body, "key")))
        e.key = bytes_text(json_string_value(json_object_get(c->body, "key")));
    edit_headers(latest(r, "headers"), set, remove, &headers);
    e.headers = buf_bytes(&headers);
    if (new_body(c, &body, &e.body) != 0)
        fault_set(&why, FAULT_INPUT, 0, "body_base64 is not base64");
    else if (headers.failed)
        fault_set(&why, FAULT_INPUT, 0, "the headers are too large");
    else
        result = relay_dead_edit(c->relay, &d, &e, c->unix_ms, &why);
    buf_done(&body);
    buf_done(&headers);
    if (result != 0) {
        call_fault(c, &why);
        return;
    }
    call_audit(c, "dead_letter_edit", c->values[0], NULL, "done");
    call_reply(c, json_pack("{s:o}", "edited", view_unsigned(d.number)));
}

static bool headers_are_text(json_t *set)
{
    const char *name;
    json_t *value;

    json_object_foreach(
        set, name, value) if (!json_is_string(value) || strlen(name) > 255) return false;
    return true;
}

void api_dead_edit(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_DEAD_SHOW, .limit = 1 };

    if (!headers_are_text(json_object_get(c->body, "set_headers"))) {
        call_fail(c, 400, "bad_request", "set_headers: names up to 255 bytes, values are text");
        return;
    }
    if (path_number(c, &spec.number) == 0)
        call_ask(c, &spec, edit_row);
}
