/* Files to one configuration: finds, reads and hashes them; top level and connections. */
#include "bridge/base/address.h"
#include "routes/check.h"
#include "routes/config_build.h"
#include "routes/config_tables.h"
#include "routes/memory.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#define FILES_MAX 1000

struct store_options {
    bool set;
    char *path;
    int64_t max_size;
    struct {
        bool set;
        int64_t age, size;
    } retain;
};

struct admin_options {
    bool set;
    char *socket, *group, *http;
    struct config_roles_options roles;
};

struct log_options {
    bool set;
    int level, format;
};

struct top_options {
    int64_t version;
    struct store_options store;
    struct admin_options admin;
    struct log_options log;
    struct config_trace trace;
};

#define AT(type, member) offsetof(struct type, member)

static const struct option retain_table[] = {
    { .name = "age",
        .type = OPTION_DURATION,
        .offset = AT(store_options, retain.age) - AT(store_options, retain),
        .default_text = "7d",
        .min = 60000,
        .max = INT64_MAX / 2,
        .help = "How long finished events stay, and dead letters that are done with, and gaps; "
                "audit rows stay as long, and 90 days at least." },
    { .name = "size",
        .type = OPTION_SIZE,
        .offset = AT(store_options, retain.size) - AT(store_options, retain),
        .help = "Most bytes that finished events may take; absent: no limit of its own." },
    { 0 },
};

static const struct option store_table[] = {
    { .name = "path",
        .type = OPTION_TEXT,
        .offset = AT(store_options, path),
        .default_text = "/var/lib/bascule/bascule.db",
        .help = "The log's file, on a local file system." },
    { .name = "max_size",
        .type = OPTION_SIZE,
        .offset = AT(store_options, max_size),
        .default_text = "20GiB",
        .min = 1048576,
        .max = INT64_MAX / 2,
        .help = "Where sources pause." },
    { .name = "retain",
        .type = OPTION_TABLE,
        .offset = AT(store_options, retain),
        .table = retain_table,
        .help = "How long finished events stay." },
    { 0 },
};

static const struct option admin_table[] = {
    { .name = "socket",
        .type = OPTION_TEXT,
        .offset = AT(admin_options, socket),
        .default_text = "/run/bascule/admin.sock",
        .help = "The admin socket's path." },
    { .name = "group",
        .type = OPTION_TEXT,
        .offset = AT(admin_options, group),
        .default_text = "bascule",
        .help = "Whose socket it is: without `roles` its members may all." },
    { .name = "http",
        .type = OPTION_TEXT,
        .offset = AT(admin_options, http),
        .help = "Address and port, in numbers, for /metrics, /health, /ready and /live over TCP, "
                "to anybody who can connect; nothing can be changed there." },
    { .name = "roles",
        .type = OPTION_TABLE,
        .offset = AT(admin_options, roles),
        .table = config_roles_table,
        .help = "Who may do what on the socket. With it only these count, whoever the socket's "
                "group is; root and the daemon's own user may always all." },
    { 0 },
};

/* In the order of enum log_level and enum config_log_format; level counts from 1. */
static const char *const levels[] = { "error", "warn", "info", "debug", NULL };
static const char *const formats[] = { "auto", "logfmt", "json", "journal", NULL };

static const struct option log_table[] = {
    { .name = "level",
        .type = OPTION_ENUM,
        .offset = AT(log_options, level),
        .default_text = "info",
        .choices = levels,
        .help = "What is logged: this, and all that stands before it. BASCULE_LOG_LEVEL goes over "
                "it; 'bascule log-level' changes it while the daemon runs." },
    { .name = "format",
        .type = OPTION_ENUM,
        .offset = AT(log_options, format),
        .default_text = "auto",
        .choices = formats,
        .help =
            "How it is written. auto: as fields to systemd's journal where standard error is the "
            "journal's, else logfmt. BASCULE_LOG_FORMAT goes over it." },
    { 0 },
};

const struct option config_top_table[] = {
    { .name = "version",
        .type = OPTION_INT,
        .offset = AT(top_options, version),
        .default_text = "1",
        .min = 1,
        .max = 1,
        .help = "Version of this format." },
    { .name = "store",
        .type = OPTION_TABLE,
        .offset = AT(top_options, store),
        .table = store_table,
        .help = "The log." },
    { .name = "admin",
        .type = OPTION_TABLE,
        .offset = AT(top_options, admin),
        .table = admin_table,
        .help = "The admin socket." },
    { .name = "log",
        .type = OPTION_TABLE,
        .offset = AT(top_options, log),
        .table = log_table,
        .help = "Logging." },
    { .name = "trace",
        .type = OPTION_TABLE,
        .offset = AT(top_options, trace),
        .table = config_trace_table,
        .help = "Spans of events for a collector of traces (OpenTelemetry)." },
    { 0 },
};

/* Read by hand, known to the top level all the same. */
static const struct option hand_table[] = {
    { .name = "connections", .type = OPTION_NONE },
    { .name = "routes", .type = OPTION_NONE },
    { 0 },
};

static void text_move(char **to, char **from)
{
    free(*to);
    *to = *from;
    *from = NULL;
}

static void top_keep(struct config *c, struct top_options *top, bool first)
{
    if (top->store.set || first) {
        text_move(&c->store_path, &top->store.path);
        c->store_max_size = top->store.max_size;
        c->retain_age_ms = top->store.retain.age;
        c->retain_bytes = top->store.retain.size;
    }
    if (top->admin.set || first) {
        text_move(&c->admin_socket, &top->admin.socket);
        text_move(&c->admin_group, &top->admin.group);
        text_move(&c->admin_http, &top->admin.http);
    }
    if (top->log.set || first) {
        c->log_level = top->log.level + 1;
        c->log_format = (enum config_log_format)top->log.format;
    }
    if (top->trace.set || first) {
        option_done(config_trace_table, &c->trace);
        c->trace = top->trace;
        top->trace = (struct config_trace){ 0 };
    }
}

static void admin_check(
    struct config_build *b, const struct yaml_node *root, const struct admin_options *admin)
{
    struct address address;
    struct fault why;

    if (admin->http && address_parse(admin->http, &address, &why) != 0)
        problem_add(b->problems, PROBLEM_VALUE,
            yaml_place(b->file, yaml_get(yaml_get(root, "admin"), "http")), "%s", why.text);
    if (admin->roles.set)
        config_build_roles(b, yaml_get(yaml_get(root, "admin"), "roles"), &admin->roles);
}

static void top_read(struct config_build *b, bool first)
{
    const struct yaml_node *root = b->file->root;
    struct options in = { b->file, b->problems, "the configuration", NULL, false, false };
    struct top_options top = { 0 };
    struct options_part parts[] = { { config_top_table, &top, NULL }, { hand_table, &top, NULL } };

    if (root && root->kind != YAML_MAP && !yaml_is_null(root)) {
        problem_add(b->problems, PROBLEM_SHAPE, yaml_place(b->file, root),
            "a configuration is a mapping, not %s", yaml_kind_text(root));
        yaml_file_hide(b->file, root); /* a password's file, by mistake? */
        root = NULL;
    }
    options_fill(&in, parts, 2, root && root->kind == YAML_MAP ? root : NULL);
    admin_check(b, root, &top.admin);
    config_build_trace(b, yaml_get(root, "trace"), &top.trace);
    top_keep(b->config, &top, first);
    option_done(config_top_table, &top);
}

static void twice_check(struct config_build *b, struct yaml_file *const *files, size_t count)
{
    static const char *const names[] = { "store", "admin", "log", "trace", NULL };

    for (size_t n = 0; names[n]; n++) {
        const struct yaml_file *first = NULL;

        for (size_t i = 0; i < count; i++) {
            const struct yaml_node *node = yaml_get(files[i]->root, names[n]);

            if (node && first)
                problem_add(b->problems, PROBLEM_TWICE, yaml_name_place(files[i], node),
                    "'%s' stands in %.160s too", names[n], first->path);
            first = node && !first ? files[i] : first;
        }
    }
}

/* ---- files ---- */

static void files_add(struct config *c, const char *path)
{
    c->files = memory_grow(c->files, c->file_count, sizeof *c->files);
    c->files[c->file_count++] = memory_text(path);
}

static int is_route_file(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);

    return entry->d_name[0] != '.' && n > 5 && strcmp(entry->d_name + n - 5, ".yaml") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The .yaml files of routes.d beside `path`; none when there is no such directory. */
static void files_add_directory(
    struct config *c, const char *path, struct config_problems *problems)
{
    const char *slash = strrchr(path, '/');
    char directory[4096], file[4096 + 260];
    struct dirent **entries = NULL;
    int n;

    (void)snprintf(
        directory, sizeof directory, "%.*sroutes.d", slash ? (int)(slash - path + 1) : 0, path);
    n = scandir(directory, &entries, is_route_file, by_bytes);
    if (n < 0 && errno != ENOENT)
        problem_add(problems, PROBLEM_FILE, (struct config_place){ directory, 0, 0 },
            "cannot be read: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        (void)snprintf(file, sizeof file, "%s/%s", directory, entries[i]->d_name);
        if (c->file_count < FILES_MAX)
            files_add(c, file);
        else if (c->file_count == FILES_MAX)
            problem_add(problems, PROBLEM_FILE, (struct config_place){ directory, 0, 0 },
                "more than %d files", FILES_MAX);
        free(entries[i]);
    }
    free(entries);
}

static void hash_make(struct config *c, struct yaml_file *const *files, size_t count)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1) {
        for (size_t i = 0; i < count; i++) {
            uint64_t length = files[i]->n;

            (void)EVP_DigestUpdate(md, &length, sizeof length);
            (void)EVP_DigestUpdate(md, files[i]->text ? files[i]->text : "", files[i]->n);
        }
        (void)EVP_DigestFinal_ex(md, sum, &n);
    }
    EVP_MD_CTX_free(md);
    for (unsigned i = 0; i < n && i < 32; i++)
        (void)snprintf(c->hash + (size_t)2 * i, 3, "%02x", sum[i]);
}

static void files_read(struct config_build *b, struct yaml_file **files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (memory_failed())
            return;
        files[i] = yaml_file_open(b->config->files[i], b->problems);
    }
    hash_make(b->config, files, count);
    for (size_t i = 0; i < count; i++) {
        b->file = files[i];
        top_read(b, i == 0);
    }
    twice_check(b, files, count);
    for (size_t i = 0; i < count && !memory_failed(); i++) {
        b->file = files[i];
        config_build_connections(b, yaml_get(files[i]->root, "connections"));
    }
    for (size_t i = 0; i < count && !memory_failed(); i++) {
        b->file = files[i];
        config_build_routes(b, yaml_get(files[i]->root, "routes"));
    }
}

/* Places outlive the files that they were read from: their paths move to the configuration's own.
 */
static void places_keep(struct config *c)
{
    for (size_t f = 0; f < c->file_count; f++) {
        const char *own = c->files[f];

        for (size_t i = 0; i < c->connection_count; i++) {
            if (strcmp(c->connections[i].place.file, own) == 0)
                c->connections[i].place.file = own;
        }
        for (size_t i = 0; i < c->route_count; i++) {
            struct config_route *r = &c->routes[i];

            if (strcmp(r->place.file, own) == 0)
                r->place.file = own;
            for (size_t s = 0; s < r->sink_count; s++) {
                if (strcmp(r->sinks[s].place.file, own) == 0)
                    r->sinks[s].place.file = own;
            }
        }
    }
}

static struct config *load(const char *const *paths, size_t count, struct config_problems *problems)
{
    struct config *c = memory_array(1, sizeof *c);
    struct config_build b = { c, problems, NULL };
    struct yaml_file **files;

    for (size_t i = 0; i < count; i++)
        files_add(c, paths[i]);
    if (count == 1)
        files_add_directory(c, paths[0], problems);
    files = memory_array(c->file_count, sizeof(struct yaml_file *));
    files_read(&b, files, c->file_count);
    places_keep(c);
    if (!memory_failed())
        check_config(c, problems);
    problem_finish(problems, files, c->file_count);
    for (size_t i = 0; i < c->file_count; i++)
        yaml_file_free(files[i]);
    free(files);
    return c;
}

/* What was found until then may be a consequence only. */
static void no_memory(const char *path, struct config_problems *problems)
{
    config_problems_done(problems);
    if (memory_begin() == 0)
        problem_add(problems, PROBLEM_MEMORY, (struct config_place){ path, 0, 0 },
            "out of memory while the configuration is read");
    (void)memory_end();
    problems->error_count = 1;
}

int config_load(
    const char *const *paths, size_t count, struct config **ret, struct config_problems *problems)
{
    struct config *c = NULL;

    *problems = (struct config_problems){ 0 };
    if (memory_begin() == 0)
        c = load(paths, count, problems);
    if (memory_end() || !c)
        no_memory(count ? paths[0] : NULL, problems);
    if (problems->error_count > 0) {
        config_free(c);
        return -1;
    }
    *ret = c;
    return 0;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->route_count; i++)
        config_route_done(&c->routes[i], c);
    for (size_t i = 0; i < c->connection_count; i++) {
        if (c->connections[i].options)
            option_done(c->connections[i].connector->link_options, c->connections[i].options);
        free(c->connections[i].options);
        free(c->connections[i].name);
        free(c->connections[i].text);
    }
    for (size_t i = 0; i < c->file_count; i++)
        free(c->files[i]);
    free(c->files);
    free(c->routes);
    free(c->connections);
    free(c->store_path);
    free(c->admin_socket);
    free(c->admin_group);
    free(c->admin_http);
    config_roles_done(c);
    option_done(config_trace_table, &c->trace);
    free(c);
}
