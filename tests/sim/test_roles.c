/* Roles on the admin socket: who asks is another user of this machine, as the kernel says. */
#include "tests/harness.h"
#include "tests/sim/desk.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOBODY = 4000, VIEWER, OPERATOR, ADMIN };

static uint32_t uids[] = { VIEWER, OPERATOR, ADMIN };
static const struct config_members roles[CONFIG_ROLE_COUNT] = {
    [CONFIG_ROLE_VIEW] = { .uids = &uids[0], .uid_count = 1 },
    [CONFIG_ROLE_OPERATE] = { .uids = &uids[1], .uid_count = 1 },
    [CONFIG_ROLE_ADMIN] = { .uids = &uids[2], .uid_count = 1 },
};

static void open_with_roles(struct desk *d)
{
    if (geteuid() != 0)
        harness_skip("asking as another user needs root");
    CHECK_INT(chmod(".", 0711), 0);
    rig_init(&d->rig, 91, 2);
    d->rig.world.ids = true;
    d->rig.world.sinks[0].refuse_every = 5;
    d->roles = roles;
    desk_open(d);
    world_publish(&d->rig.world, 20);
    CHECK(rig_settle(&d->rig, 20000));
}

/* An endpoint's path with something in its places. */
static void path_of(const char *pattern, char ret[256])
{
    size_t n = 0;

    while (*pattern && n < 200) {
        if (*pattern != '{') {
            ret[n++] = *pattern++;
            continue;
        }
        n += (size_t)snprintf(ret + n, 50, "%s",
            strncmp(pattern, "{route}", 7) == 0  ? "orders"
            : strncmp(pattern, "{sink}", 6) == 0 ? "one"
                                                 : "1");
        pattern = strchr(pattern, '}') + 1;
    }
    ret[n] = '\0';
    /* Whoever may look on would do so for ever: a sample of none is refused after the role. */
    if (strcmp(ret + n - 4, "/tap") == 0)
        (void)snprintf(ret + n, 256 - n, "?sample=0");
}

/* What it answers is another test's matter; here only whether it was refused for who asked. */
static bool is_forbidden(struct desk *d, const struct api_endpoint *e, uint32_t uid)
{
    char path[256];
    json_t *a;
    int status;

    path_of(e->path, path);
    d->ask_as = uid;
    status =
        desk_try(d, e->method, path, strcmp(e->method, "POST") == 0 ? json_object() : NULL, &a);
    d->ask_as = 0;
    if (status == 403)
        CHECK_TEXT(json_string_value(json_object_get(a, "code")), "forbidden");
    json_decref(a);
    return status == 403;
}

/* A tap goes on until whoever asked goes away: only its refusals can be waited for. */
static bool ends(const struct api_endpoint *e)
{
    const char *last = strrchr(e->path, '/');

    return strcmp(last, "/tap") != 0;
}

TEST(every_endpoint_refuses_those_whose_role_is_below_its_own)
{
    struct desk d = { 0 };

    open_with_roles(&d);
    for (const struct api_endpoint *e = api_endpoints; e->path; e++) {
        if (strcmp(e->path, "/metrics") == 0) /* answers with text */
            continue;
        for (uint32_t uid = NOBODY; uid <= ADMIN; uid++) {
            bool below = uid - NOBODY < (uint32_t)e->role;

            if ((below || ends(e)) && is_forbidden(&d, e, uid) != below)
                harness_fail(__FILE__, __LINE__, "%s %s by user %u", e->method, e->path, uid);
        }
        CHECK(!ends(e) || !is_forbidden(&d, e, 0));
    }
    desk_close(&d);
}

static json_t *ask_as(
    struct desk *d, uint32_t uid, const char *method, const char *path, json_t *body, int status)
{
    json_t *ret;

    d->ask_as = uid;
    ret = desk_ask(d, method, path, body, status);
    d->ask_as = 0;
    return ret;
}

TEST(who_watches_reads_no_bodies_and_finds_none_by_their_text)
{
    static const char *const asking[] = { "/v1/events?all=true", "/v1/events?match=1",
        "/v1/events?header_name=a&header_value=b", "/v1/dead-letters/1" };
    struct desk d = { 0 };
    json_t *a;

    open_with_roles(&d);
    for (size_t i = 0; i < sizeof asking / sizeof *asking; i++)
        json_decref(ask_as(&d, VIEWER, "GET", asking[i], NULL, 403));
    a = ask_as(&d, VIEWER, "GET", "/v1/events?route=orders", NULL, 200);
    CHECK_INT(json_array_size(json_object_get(a, "rows")), 20);
    CHECK(!json_object_get(json_array_get(json_object_get(a, "rows"), 0), "body"));
    json_decref(a);
    a = ask_as(&d, OPERATOR, "GET", "/v1/events?route=orders&all=true", NULL, 200);
    CHECK(json_object_get(json_array_get(json_object_get(a, "rows"), 0), "body"));
    json_decref(a);
    json_decref(ask_as(
        &d, OPERATOR, "POST", "/v1/store/check", json_pack("{s:s}", "salvage", "/tmp/x"), 403));
    desk_close(&d);
}

TEST(a_refused_change_says_who_and_what_and_is_on_record)
{
    struct desk d = { 0 };
    const json_t *row;
    const char *said;
    json_t *a;

    open_with_roles(&d);
    d.unix_ms = d.rig.unix_ms;
    a = ask_as(&d, VIEWER, "POST", "/v1/routes/orders/pause", NULL, 403);
    said = json_string_value(json_object_get(a, "message"));
    CHECK_CONTAINS(said, "needs the role 'operate'");
    CHECK_CONTAINS(said, "uid 4001");
    CHECK_CONTAINS(said, "has the role 'view'");
    json_decref(a);
    a = ask_as(&d, NOBODY, "GET", "/v1/status", NULL, 403);
    CHECK_CONTAINS(json_string_value(json_object_get(a, "message")), "no role here");
    json_decref(a);
    for (int i = 0; i < 30; i++)
        json_decref(ask_as(&d, NOBODY, "POST", "/v1/routes/orders/pause", NULL, 403));
    CHECK_INT(rig_sink(&d.rig, 0).paused, false);
    for (int i = 0; i < 10; i++)
        desk_turn(&d);
    a = desk_get(&d, "/v1/audit");
    row = json_array_get(json_object_get(a, "rows"), 0);
    CHECK_TEXT(json_string_value(json_object_get(row, "what")), "refused");
    CHECK_TEXT(json_string_value(json_object_get(row, "object")), "POST /v1/routes/orders/pause");
    CHECK_CONTAINS(json_string_value(json_object_get(row, "detail")), "needs the role 'operate'");
    CHECK_INT(json_integer_value(json_object_get(row, "uid")), VIEWER);
    CHECK_INT(json_array_size(json_object_get(a, "rows")), 10); /* not all thirty */
    json_decref(a);
    d.unix_ms += 61000;
    json_decref(ask_as(&d, NOBODY, "POST", "/v1/routes/orders/pause", NULL, 403));
    for (int i = 0; i < 10; i++)
        desk_turn(&d);
    a = desk_get(&d, "/v1/audit");
    row = json_array_get(json_object_get(a, "rows"), 10);
    CHECK_CONTAINS(json_string_value(json_object_get(row, "result")), "21 refusals before it");
    json_decref(a);
    desk_close(&d);
}

TEST(the_socket_is_open_to_all_only_where_roles_are_looked_at)
{
    struct desk d = { 0 };
    struct stat st;

    open_with_roles(&d);
    CHECK_INT(stat("sock", &st), 0);
    CHECK_INT(st.st_mode & 0777, 0666);
    desk_close(&d);
    d = (struct desk){ 0 };
    rig_init(&d.rig, 92, 1);
    desk_open(&d);
    CHECK_INT(stat("sock", &st), 0);
    CHECK_INT(st.st_mode & 0777, 0660);
    desk_close(&d);
}
