/* doctor: looks at everything that an installation rests on. */
#include "bridge/admin/view.h"
#include "bridge/cli/doctor.h"
#include "bridge/cli/table.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* The problems of a configuration are one finding each, as `bascule check` tells them. */
static size_t connections_of(const struct config *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->connection_count; i++)
        n += !c->connections[i].built_in;
    return n;
}

static void say_problems(struct doctor *d, const struct config_problems *problems)
{
    for (size_t i = 0; i < problems->n; i++) {
        const struct config_problem *p = &problems->at[i];
        char subject[160];

        if (p->code == PROBLEM_SECRET_OPEN)
            continue; /* a file's mode, told there */
        (void)snprintf(subject, sizeof subject, "%s:%d", p->place.file, p->place.line);
        doctor_say(d, DOCTOR_CONFIG, p->warning ? VERDICT_WARN : VERDICT_FAIL, subject,
            "BSC-%04d: %s", p->code, p->text);
    }
    if (!problems->n)
        doctor_say(d, DOCTOR_CONFIG, VERDICT_OK, d->config_path, "%zu connections, %zu routes",
            connections_of(d->config), d->config->route_count);
}

/* The daemon's credentials are ours to read with, where we may. */
static void borrow_credentials(const struct doctor *d)
{
    char directory[PATH_MAX];

    if (doctor_pid(d) && !getenv("CREDENTIALS_DIRECTORY") &&
        doctor_credentials_directory(doctor_pid(d), directory, sizeof directory))
        (void)setenv("CREDENTIALS_DIRECTORY", directory, 1);
}

static void examine(struct doctor *d, struct config_problems *problems)
{
    struct config *config = NULL;

    (void)doctor_find_daemon(d);
    borrow_credentials(d);
    if (config_load(&d->config_path, 1, &config, problems) == 0)
        d->config = config;
    say_problems(d, problems);
    doctor_daemon(d);
    doctor_host(d);
    doctor_disk(d);
    doctor_files(d, problems);
    doctor_brokers(d);
    doctor_libraries(d);
    d->config = NULL;
    config_free(config);
}

static json_t *finding_json(const struct doctor_finding *f)
{
    char code[16];
    bool bad = f->verdict == VERDICT_WARN || f->verdict == VERDICT_FAIL;

    (void)snprintf(code, sizeof code, "BSC-%04d", f->check->code);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s, s:s?}", "code", code, "check", f->check->name,
        "verdict", doctor_verdict_text(f->verdict), "subject", view_bytes(bytes_text(f->subject)),
        "text", view_bytes(bytes_text(f->text)), "means", f->check->means, "todo",
        bad ? f->check->todo : NULL);
}

static const struct table_column columns[] = {
    { "verdict", "", TABLE_TEXT },
    { "code", "CODE", TABLE_TEXT },
    { "check", "CHECK", TABLE_TEXT },
    { "subject", "OF", TABLE_TEXT },
    { "text", "FOUND", TABLE_TEXT },
    { "todo", "TO DO", TABLE_TEXT },
    { NULL, NULL, 0 },
};

static size_t count(const struct doctor *d, enum verdict v)
{
    size_t n = 0;

    for (size_t i = 0; i < d->n; i++)
        n += d->at[i].verdict == v;
    return n;
}

/* The advice of a check stands once, behind the last of its findings that need it. */
static bool advises(const struct doctor *d, size_t i)
{
    bool bad = d->at[i].verdict == VERDICT_WARN || d->at[i].verdict == VERDICT_FAIL;

    for (size_t k = i + 1; bad && k < d->n; k++)
        if (d->at[k].check == d->at[i].check &&
            (d->at[k].verdict == VERDICT_WARN || d->at[k].verdict == VERDICT_FAIL))
            return false;
    return bad;
}

/* Sentences do not fit into a table's columns. */
static void print_lines(const struct command *c, const struct doctor *d)
{
    static const char *const colors[] = { "", "\033[32m", "\033[33m", "\033[31m", "" };

    for (size_t i = 0; i < d->n; i++) {
        const struct doctor_finding *f = &d->at[i];
        struct buf line;

        buf_init(&line, 4096);
        table_put_safe(&line, f->subject, strlen(f->subject));
        buf_put_text(&line, f->subject[0] ? ": " : "");
        table_put_safe(&line, f->text, strlen(f->text));
        printf("%s%-4s%s  %s: %s\n", c->color ? colors[f->verdict] : "",
            doctor_verdict_text(f->verdict), c->color ? "\033[0m" : "", f->check->name,
            buf_text(&line));
        if (advises(d, i))
            printf("      (BSC-%04d) %s\n      To do: %s\n", f->check->code, f->check->means,
                f->check->todo);
        buf_done(&line);
    }
}

static void print(struct command *c, const struct doctor *d)
{
    json_t *rows = json_array();

    for (size_t i = 0; i < d->n; i++)
        json_array_append_new(rows, finding_json(&d->at[i]));
    if (c->json) {
        json_t *all = json_pack("{s:O, s:i, s:i, s:i, s:i}", "findings", rows, "ok",
            (int)count(d, VERDICT_OK), "warn", (int)count(d, VERDICT_WARN), "fail",
            (int)count(d, VERDICT_FAIL), "skip", (int)count(d, VERDICT_SKIPPED));

        command_print_json(all);
        json_decref(all);
    } else if (c->terminal) {
        print_lines(c, d);
    } else {
        table_print(c, columns, rows, 0);
    }
    json_decref(rows);
    fprintf(stderr, "%zu ok, %zu warnings, %zu failed, %zu not looked at\n", count(d, VERDICT_OK),
        count(d, VERDICT_WARN), count(d, VERDICT_FAIL), count(d, VERDICT_SKIPPED));
}

static int doctor(struct command *c)
{
    struct config_problems problems = { 0 };
    struct doctor d = { .config_path = command_config_path(c), .socket = command_socket(c) };
    struct timespec now;
    int code;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    d.unix_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    examine(&d, &problems);
    config_problems_done(&problems);
    print(c, &d);
    code = d.failed ? command_fail(DAEMON_LATER, "out of memory: findings are missing")
                    : doctor_exit(&d);
    doctor_done(&d);
    return code;
}

const struct verb verbs_doctor[] = {
    { "doctor", "",
        "look at everything it rests on: files, clock, disk, limits, certificates, libraries, "
        "brokers, the daemon",
        "bascule doctor", NULL, 0, 0, doctor },
    { 0 },
};
