/* The store's own care: statistics, backup, check. A check reads the whole file, so it runs on a
 * thread of its own; one at a time. */
#include "bridge/admin/call.h"
#include "bridge/digest.h"

#include <pthread.h>
#include <stdlib.h>

#define CHECK_LINES_MAX 10000

/* One store, one process, one check: it outlives the calls that ask about it. */
static struct {
    pthread_mutex_t lock;
    bool running, ended;
    char *path, *new_path;
    json_t *lines;
    int damages;
    struct fault why;
} check = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct {
    bool running;
    char path[4096];
} backup;

static void stats(struct call *c, struct query_answer *a)
{
    struct store_usage u;
    json_t *ret = view_rows(&a->rows);

    store_usage(c->store, &u);
    json_object_set_new(ret, "store",
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:b}", "id", store_id(c->store), "path",
            c->config->store_path, "used_bytes", (json_int_t)u.used_bytes, "max_bytes",
            (json_int_t)u.max_bytes, "wal_bytes", (json_int_t)u.wal_bytes, "full",
            store_full(c->store)));
    call_reply(c, ret);
}

void api_store(struct call *c)
{
    struct query_spec spec = { .kind = QUERY_STATS, .limit = CALL_LIMIT_MAX };

    call_ask(c, &spec, stats);
}

/* ---- backup ---- */

void api_backup_start(struct call *c)
{
    const char *path = call_text(c, "path");
    struct fault why = { 0 };

    if (!path || *path != '/' || strlen(path) >= sizeof backup.path) {
        call_fail(c, 400, "bad_request", "path is the absolute name of a new file");
        return;
    }
    if (store_backup_start(c->store, path, &why) != 0) {
        call_fault(c, &why);
        return;
    }
    memcpy(backup.path, path, strlen(path) + 1);
    backup.running = true;
    call_audit(c, "store_backup", path, NULL, "started");
    call_reply(c, json_pack("{s:s}", "started", path));
}

void api_backup_show(struct call *c)
{
    struct fault why = { 0 };
    int progress;

    if (!backup.path[0]) {
        call_fail(c, 404, "not_found", "no backup was started");
        return;
    }
    progress = backup.running ? store_backup_progress(c->store, &why) : 1001;
    if (progress < 0) {
        backup.running = false;
        backup.path[0] = '\0';
        call_fault(c, &why);
        return;
    }
    if (progress > 1000)
        backup.running = false;
    call_reply(c, json_pack("{s:s, s:b, s:i}", "path", backup.path, "done", progress > 1000,
                      "permille", progress > 1000 ? 1000 : progress));
}

/* ---- check and salvage ---- */

static void check_line(void *arg, int severity, const char *line)
{
    static const char *const names[] = { "info", "warning", "damage" };

    (void)arg;
    (void)pthread_mutex_lock(&check.lock);
    if (json_array_size(check.lines) < CHECK_LINES_MAX)
        json_array_append_new(check.lines,
            json_pack("{s:s, s:o}", "severity", names[severity < 0 || severity > 2 ? 2 : severity],
                "line", view_bytes(bytes_text(line))));
    (void)pthread_mutex_unlock(&check.lock);
}

static void *check_thread(void *arg)
{
    struct fault why = { 0 };
    int damages = check.new_path ? store_salvage_file(check.path, check.new_path, digest_sha256,
                                       check_line, NULL, &why)
                                 : store_check_file(check.path, check_line, NULL, &why);

    (void)arg;
    (void)pthread_mutex_lock(&check.lock);
    check.damages = damages;
    check.why = why;
    check.running = false;
    check.ended = true;
    (void)pthread_mutex_unlock(&check.lock);
    return NULL;
}

static bool check_begin(struct call *c, const char *new_path)
{
    pthread_attr_t attributes;
    pthread_t thread;
    bool started;

    json_decref(check.lines);
    free(check.path);
    free(check.new_path);
    check.lines = json_array();
    check.path = strdup(c->config->store_path);
    check.new_path = new_path ? strdup(new_path) : NULL;
    check.ended = false;
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    check.running = true;
    started = check.path && check.lines && (!new_path || check.new_path) &&
              pthread_create(&thread, &attributes, check_thread, NULL) == 0;
    if (!started)
        check.running = false;
    (void)pthread_attr_destroy(&attributes);
    return started;
}

void api_check_start(struct call *c)
{
    const char *new_path = call_text(c, "salvage");
    bool busy, started = false;

    if (new_path && !call_need(c, CONFIG_ROLE_ADMIN)) /* it writes a file */
        return;
    if (new_path && *new_path != '/') {
        call_fail(c, 400, "bad_request", "salvage is the absolute name of a new file");
        return;
    }
    (void)pthread_mutex_lock(&check.lock);
    busy = check.running;
    if (!busy)
        started = check_begin(c, new_path);
    (void)pthread_mutex_unlock(&check.lock);
    if (busy)
        call_fail(c, 503, "try_later", "a check is running");
    else if (!started)
        call_fail(c, 503, "try_later", "no thread for the check");
    else {
        call_audit(c, new_path ? "store_salvage" : "store_check", c->config->store_path, new_path,
            "started");
        call_reply(c, json_pack("{s:b}", "started", 1));
    }
}

/* Lines from number `after` on. */
void api_check_show(struct call *c)
{
    int64_t after;
    json_t *lines, *one;
    size_t i;

    if (call_number(c, "after", 0, &after) != 0)
        return;
    (void)pthread_mutex_lock(&check.lock);
    lines = json_array();
    json_array_foreach(check.lines, i, one) if ((int64_t)i >= after)
        json_array_append_new(lines, json_deep_copy(one));
    one = json_pack("{s:b, s:b, s:i, s:o, s:o}", "running", check.running, "ended", check.ended,
        "damages", check.damages, "error",
        check.ended && check.damages < 0 ? view_bytes(bytes_text(check.why.text)) : json_null(),
        "lines", lines);
    (void)pthread_mutex_unlock(&check.lock);
    call_reply(c, one);
}
