#include "bridge/reload.h"
#include "bridge/base/log.h"
#include "routes/tell.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum state { STATE_NONE = 0, STATE_IDLE, STATE_READING, STATE_MOVING };

/* A file may stand on a file system that hangs, so the loop never reads one. */
struct reading {
    pthread_t thread;
    const char *path;
    int done_fd;
    struct config *config; /* NULL: there are errors */
    struct config_problems problems;
};

struct names {
    char **at;
    size_t n;
};

struct reload {
    struct reload_spec spec;
    enum state state;
    int done_fd;
    struct reading reading;
    enum reload_kind kind;
    struct names discard, drain;
    int64_t uid, pid;
    struct config *next; /* while it moves */
    struct reload_result last;
    enum reload_outcome last_go;
    int64_t last_go_ms;
    char last_go_text[512];
};

int reload_open(const struct reload_spec *spec, struct reload **ret, struct fault *why)
{
    struct reload *l = calloc(1, sizeof *l);

    if (!l)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    l->spec = *spec;
    l->state = STATE_IDLE;
    l->done_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->done_fd < 0) {
        (void)fault_set(why, FAULT_RETRY, errno, "eventfd: %s", strerror(errno));
        free(l);
        return -1;
    }
    *ret = l;
    return 0;
}

static void names_done(struct names *n)
{
    for (size_t i = 0; i < n->n; i++)
        free(n->at[i]);
    free(n->at);
    *n = (struct names){ 0 };
}

static void result_done(struct reload_result *r)
{
    relay_plan_done(&r->plan);
    config_problems_done(&r->problems);
    *r = (struct reload_result){ 0 };
}

void reload_free(struct reload *l)
{
    if (!l)
        return;
    if (l->state == STATE_READING) {
        (void)pthread_join(l->reading.thread, NULL);
        config_free(l->reading.config);
        config_problems_done(&l->reading.problems);
    }
    if (l->state == STATE_MOVING)
        config_free(relay_reload_forget(l->spec.relay));
    result_done(&l->last);
    names_done(&l->discard);
    names_done(&l->drain);
    (void)close(l->done_fd);
    free(l);
}

int reload_pollfd(const struct reload *l)
{
    return l->done_fd;
}

bool reload_busy(const struct reload *l)
{
    return l->state != STATE_IDLE;
}

/* ---- begin ---- */

static void *read_files(void *arg)
{
    struct reading *r = arg;
    uint64_t one = 1;

    if (config_load(&r->path, 1, &r->config, &r->problems) != 0)
        r->config = NULL;
    (void)!write(r->done_fd, &one, sizeof one);
    return NULL;
}

static int names_copy(const char *const *from, size_t n, struct names *ret)
{
    *ret = (struct names){ .at = calloc(n + 1, sizeof(char *)) };
    for (; ret->at && ret->n < n; ret->n++)
        if (!(ret->at[ret->n] = strdup(from[ret->n])))
            break;
    return ret->at && ret->n == n ? 0 : -1;
}

int reload_begin(struct reload *l, const struct reload_ask *ask, struct fault *why)
{
    if (l->state != STATE_IDLE)
        return fault_set(why, FAULT_RETRY, 0, "another plan or reload is in progress");
    if (!l->spec.path)
        return fault_set(why, FAULT_INPUT, 0, "this daemon's configuration is not a file");
    names_done(&l->discard);
    names_done(&l->drain);
    if (names_copy(ask->names.discard, ask->names.discard_count, &l->discard) != 0 ||
        names_copy(ask->names.drain, ask->names.drain_count, &l->drain) != 0)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    l->kind = ask->kind;
    l->uid = ask->uid;
    l->pid = ask->pid;
    l->reading = (struct reading){ .path = l->spec.path, .done_fd = l->done_fd };
    if (pthread_create(&l->reading.thread, NULL, read_files, &l->reading) != 0)
        return fault_set(why, FAULT_RETRY, 0, "cannot start a thread to read the configuration");
    (void)pthread_setname_np(l->reading.thread, "reload");
    l->state = STATE_READING;
    return 0;
}

/* ---- end ---- */

static const struct config_problem *first_error(const struct config_problems *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (!p->at[i].warning)
            return &p->at[i];
    return NULL;
}

static void end(struct reload *l, enum reload_outcome outcome, int64_t unix_ms)
{
    struct reload_result *r = &l->last;
    const struct config_problem *first;
    char code[16] = "";

    /* systemd 252 fills it at the start of a unit only. */
    r->note = getenv("CREDENTIALS_DIRECTORY")
                  ? "what LoadCredential= loads (${credential:NAME}) is as it was at the start; a "
                    "restart takes up another"
                  : NULL;
    r->kind = l->kind;
    r->outcome = outcome;
    r->unix_ms = unix_ms;
    l->state = STATE_IDLE;
    if (l->kind != RELOAD_GO)
        return;
    l->last_go = outcome;
    l->last_go_ms = unix_ms;
    (void)snprintf(l->last_go_text, sizeof l->last_go_text, "%s", r->text);
    first = first_error(&r->problems);
    if (first && outcome == RELOAD_REFUSED)
        (void)snprintf(code, sizeof code, "BSC-%04d", first->code);
    log_about(outcome == RELOAD_DONE ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
        &(struct log_about){ .code = code }, "reload %s: %s", reload_outcome_text(outcome),
        r->text);
    store_audit_put(l->spec.store, unix_ms, l->uid, l->pid, "reload", r->hash, r->text,
        reload_outcome_text(outcome));
    tell_reload(relay_lifecycle(l->spec.relay), outcome == RELOAD_DONE,
        reload_outcome_text(outcome), r->hash, r->text);
}

static void refuse(struct reload *l, int64_t unix_ms)
{
    struct reload_result *r = &l->last;
    const struct config_problem *first = first_error(&r->problems);

    if (!first) {
        (void)snprintf(r->text, sizeof r->text, "out of memory");
        end(l, RELOAD_FAILED, unix_ms);
        return;
    }
    (void)snprintf(r->text, sizeof r->text, "%zu error%s: BSC-%04d %.300s", r->problems.error_count,
        r->problems.error_count == 1 ? "" : "s", first->code, first->text);
    end(l, RELOAD_REFUSED, unix_ms);
}

static void say_plan(struct reload_result *r)
{
    static const char *const kinds[] = { "", "added", "removed", "changed", "changed", "orphaned" };
    static const char *const things[] = { "", "connection", "route", "sink", "daemon" };
    size_t n = 0;

    if (r->plan.n == 0)
        (void)snprintf(r->text, sizeof r->text, "nothing differs");
    for (size_t i = 0; i < r->plan.n && n + 1 < sizeof r->text; i++) {
        const struct relay_change *c = &r->plan.at[i];

        (void)snprintf(r->text + n, sizeof r->text - n, "%s%s %s %s%s", n ? ", " : "",
            things[c->of], c->name, kinds[c->kind],
            c->discard ? " and discarded"
            : c->drain ? " when drained"
                       : "");
        n = strlen(r->text);
    }
}

/* The files were read without errors. Returns true when it has ended with that. */
static bool compare(struct reload *l, int64_t unix_ms)
{
    struct relay_reload_ask ask = { (const char *const *)l->discard.at,
        (const char *const *)l->drain.at, l->discard.n, l->drain.n };
    struct config *config = l->reading.config;
    struct fault why;

    if (relay_plan(l->spec.relay, config, &ask, &l->last.plan, &l->last.problems) != 0) {
        config_free(config);
        refuse(l, unix_ms);
        return true;
    }
    say_plan(&l->last);
    if (l->kind == RELOAD_PLAN) {
        config_free(config);
        end(l, RELOAD_PLANNED, unix_ms);
        return true;
    }
    if (relay_reload(l->spec.relay, config, &ask, &why) != 0) {
        config_free(config);
        (void)snprintf(l->last.text, sizeof l->last.text, "%s", why.text);
        end(l, RELOAD_FAILED, unix_ms);
        return true;
    }
    l->next = config;
    l->state = STATE_MOVING;
    return false;
}

static bool have_read(struct reload *l, int64_t unix_ms)
{
    uint64_t count;

    if (read(l->done_fd, &count, sizeof count) != sizeof count)
        return false;
    (void)pthread_join(l->reading.thread, NULL);
    result_done(&l->last);
    l->last.problems = l->reading.problems;
    if (!l->reading.config) {
        refuse(l, unix_ms);
        return true;
    }
    memcpy(l->last.hash, l->reading.config->hash, sizeof l->last.hash);
    return compare(l, unix_ms);
}

bool reload_turn(struct reload *l, int64_t unix_ms, struct config **old)
{
    enum relay_reload_state state;
    struct config *over = NULL;
    struct fault why;

    *old = NULL;
    if (l->state == STATE_READING)
        return have_read(l, unix_ms);
    if (l->state != STATE_MOVING)
        return false;
    state = relay_reload_state(l->spec.relay, &over, &why);
    if (state == RELAY_RELOAD_RUNNING)
        return false;
    l->next = NULL;
    if (state == RELAY_RELOAD_DONE) {
        *old = over;
        end(l, RELOAD_DONE, unix_ms);
        return true;
    }
    config_free(over);
    (void)snprintf(l->last.text, sizeof l->last.text, "%s", why.text);
    end(l, RELOAD_FAILED, unix_ms);
    return true;
}

const struct reload_result *reload_last(const struct reload *l)
{
    return &l->last;
}

void reload_last_go(
    const struct reload *l, enum reload_outcome *outcome, int64_t *unix_ms, const char **text)
{
    *outcome = l->last_go;
    *unix_ms = l->last_go_ms;
    *text = l->last_go_text;
}

const char *reload_outcome_text(enum reload_outcome outcome)
{
    static const char *const texts[] = { "none", "planned", "done", "refused", "failed" };

    return texts[outcome];
}
