#include "bridge/daemon.h"
#include "bridge/admin/api.h"
#include "bridge/base/address.h"
#include "bridge/base/log.h"
#include "bridge/certificates.h"
#include "bridge/digest.h"
#include "bridge/loop.h"
#include "bridge/notify.h"
#include "bridge/reload.h"
#include "bridge/trace_export.h"
#include "bridge/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define READERS 3            /* one of them kept for sinks */
#define TRACES_MS 2000       /* longest wait for a collector at the end */
#define STATUS_MS 5000       /* between status lines to the service manager */
#define CERTIFICATES_MS 5000 /* between looks at certificates: a broker shows its own late */
#define CLOCK_STEP_MS 60000  /* wall clock against monotonic: said when it jumped farther */

struct daemon {
    const struct daemon_spec *spec;
    struct loop *loop;
    struct store *store;
    struct relay *relay;
    struct config *config; /* that runs */
    struct trace_export *traces;
    struct reload *reload;
    struct api *api;
    struct http *http, *public; /* public: on a TCP address; NULL: none */
    int64_t now_ms, unix_ms;
    int64_t drain_until_ms; /* 0: not draining */
    int64_t status_at_ms;
    struct certificates_watch *certificates;
    int64_t certificates_at_ms;
    struct watchdog watchdog;
    struct histogram turns;
    bool told_reloading, reload_again;
};

/* By enum config_log_format. */
static const enum log_format log_formats[] = { LOG_FORMAT_AUTO, LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON,
    LOG_FORMAT_JOURNAL };

/* ---- start ---- */

/* What a person set in the environment holds over the files, through reloads too. */
static int open_log(const struct config *c, struct fault *why)
{
    struct log_spec spec = { .level = (enum log_level)c->log_level,
        .format = log_formats[c->log_format] };

    if (log_environment(&spec, why) != 0)
        return -1;
    log_open(&spec);
    return 0;
}

/* Every connection is a descriptor or more; soft limits are for programs that use select(). */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* What it could not do is said once there is a log. */
void daemon_forbid_core(void)
{
    struct rlimit none = { 0, 0 };

    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
}

static void say_core(void)
{
    if (prctl(PR_GET_DUMPABLE) != 0)
        log_say(LOG_LEVEL_WARN, NULL, NULL,
            "this process may leave a core, which holds bodies and passwords");
}

static uint64_t make_seed(const struct daemon *d)
{
    uint64_t seed;

    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
        seed = (uint64_t)d->unix_ms * 1000003u ^ (uint64_t)getpid();
    return seed;
}

static void read_clocks(struct daemon *d)
{
    int64_t now = loop_now_ms(), unix_now = loop_unix_ms();
    int64_t stepped = (unix_now - d->unix_ms) - (now - d->now_ms);

    if (d->now_ms && (stepped > CLOCK_STEP_MS || stepped < -CLOCK_STEP_MS))
        log_say(LOG_LEVEL_WARN, NULL, NULL,
            "the wall clock was stepped by %lld s; ages wait until the clocks agree again",
            (long long)(stepped / 1000));
    d->now_ms = now;
    d->unix_ms = unix_now;
}

/* What the store's refusal means for whoever started us. */
static int store_exit(const struct fault *why)
{
    if (why->kind == FAULT_RETRY || why->code == EWOULDBLOCK)
        return DAEMON_LATER; /* the latter: another process holds its lock */
    return why->code == EACCES || why->code == EPERM ? DAEMON_PERMISSION : DAEMON_IO;
}

static void say_upgrade(const struct store *s)
{
    int from, to;
    const char *copy = store_upgraded(s, &from, &to);

    if (copy)
        log_say(LOG_LEVEL_WARN, NULL, NULL,
            "the store was brought from schema version %d to %d; as it was before it stands in %s, "
            "which may be deleted when this version is to be kept",
            from, to, copy);
}

static int start_store(struct daemon *d)
{
    const struct config *c = d->config;
    struct store_spec spec = { .path = c->store_path,
        .max_size = c->store_max_size,
        .readers = READERS,
        .seed = make_seed(d),
        .digest = digest_sha256 };
    struct fault why = { 0 };
    int opened;

    watchdog_extend_begin();
    opened = store_open(&spec, d->unix_ms, &d->store, &why);
    watchdog_extend_end();
    if (opened == 0) {
        say_upgrade(d->store);
        if (!store_was_clean(d->store))
            log_say(LOG_LEVEL_WARN, NULL, NULL,
                "the last process did not end in order; starting carefully");
        return 0;
    }
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "%s", why.text);
    if (why.kind == FAULT_BROKEN)
        log_say(LOG_LEVEL_ERROR, NULL, NULL,
            "nothing was changed; 'bascule store check --store %s' lists what is damaged, with "
            "--salvage NEWFILE it saves what can be read",
            c->store_path);
    return store_exit(&why);
}

static int watch_relay(struct daemon *d, struct fault *why)
{
    size_t count = relay_pollfds(d->relay, NULL, 0);
    int *fds = calloc(count ? count : 1, sizeof *fds);
    int result = fds ? 0 : fault_set(why, FAULT_RETRY, 0, "out of memory");

    if (!fds)
        return result;
    (void)relay_pollfds(d->relay, fds, count);
    for (size_t i = 0; result == 0 && i < count; i++)
        if (fds[i] >= 0)
            result = loop_watch(d->loop, fds[i], why);
    free(fds);
    return result;
}

/* Without traces everything else works. */
static void set_traces(struct daemon *d)
{
    struct fault why;

    if (trace_export_set(d->traces, &d->config->trace, &why) != 0)
        log_say(LOG_LEVEL_ERROR, NULL, NULL, "%s", why.text);
}

static int start_relay(struct daemon *d)
{
    char host[HOST_NAME_MAX + 1] = "";
    struct relay_spec spec = {
        .config = d->config, .store = d->store, .seed = make_seed(d), .host = host
    };
    struct fault why = { 0 };

    (void)gethostname(host, sizeof host - 1);
    if (trace_export_open(store_id(d->store), &d->traces, &why) == 0) {
        set_traces(d);
        spec.tracer = trace_export_tracer(d->traces);
    }
    if (d->traces && relay_open(&spec, d->now_ms, d->unix_ms, &d->relay, &why) == 0 &&
        watch_relay(d, &why) == 0)
        return 0;
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "cannot start: %s", why.text);
    return why.kind == FAULT_INPUT   ? DAEMON_CONFIG
           : why.kind == FAULT_RETRY ? DAEMON_LATER
                                     : DAEMON_IO;
}

/* A server of its own: whoever crowds this one leaves the admin socket's connections alone. */
static int start_public(struct daemon *d, struct fault *why)
{
    struct http_spec http = {
        .address = d->config->admin_http, .handle = api_handle_public, .arg = d->api
    };

    if (!http.address)
        return 0;
    if (http_open(&http, &d->public, why) != 0)
        return -1;
    return loop_watch(d->loop, http_pollfd(d->public), why);
}

static int start_admin(struct daemon *d)
{
    const struct config *c = d->config;
    struct reload_spec reload = { d->spec->path, d->relay, d->store };
    struct api_spec api = { .relay = d->relay,
        .store = d->store,
        .config = c,
        .started_ms = d->unix_ms,
        .turns = &d->turns,
        .traces = d->traces };
    struct http_spec http = { .path = d->spec->socket ? d->spec->socket : c->admin_socket,
        .group = c->admin_group,
        .open = c->roles_set,
        .handle = api_handle,
        .rank = api_rank };
    struct fault why = { 0 };
    struct address address;

    if (reload_open(&reload, &d->reload, &why) != 0 ||
        loop_watch(d->loop, reload_pollfd(d->reload), &why) != 0)
        goto fail;
    api.reload = d->reload;
    if (c->admin_http && address_parse(c->admin_http, &address, &why) == 0)
        api.port = address.port;
    if (api_open(&api, &d->api, &why) != 0)
        goto fail;
    http.arg = d->api;
    if (http_open(&http, &d->http, &why) == 0 &&
        loop_watch(d->loop, http_pollfd(d->http), &why) == 0 && start_public(d, &why) == 0)
        return 0;
fail:
    log_say(LOG_LEVEL_ERROR, NULL, NULL, "cannot start: %s", why.text);
    return why.kind == FAULT_RETRY   ? DAEMON_LATER
           : why.kind == FAULT_INPUT ? DAEMON_CONFIG
                                     : DAEMON_IO;
}

/* Config was read before; then the store, what fills it, and last the way in for people. */
static int start(struct daemon *d)
{
    struct fault why = { 0 };
    int code;

    raise_descriptor_limit();
    if (loop_open(&d->loop, &why) != 0) {
        log_say(LOG_LEVEL_ERROR, NULL, NULL, "%s", why.text);
        return DAEMON_BROKEN;
    }
    read_clocks(d);
    if (certificates_watch_open(&d->certificates, &why) != 0) {
        log_say(LOG_LEVEL_ERROR, NULL, NULL, "%s", why.text);
        return DAEMON_LATER;
    }
    if ((code = start_store(d)) != 0 || (code = start_relay(d)) != 0)
        return code;
    return start_admin(d);
}

/* ---- turns ---- */

static void begin_drain(struct daemon *d, int signal_number)
{
    if (d->drain_until_ms)
        return;
    log_say(LOG_LEVEL_INFO, NULL, NULL, "%s: finishing what is in flight, at most %lld s",
        sigabbrev_np(signal_number) ? sigabbrev_np(signal_number) : "signal",
        (long long)(d->spec->drain_ms / 1000));
    notify_send("STOPPING=1\nSTATUS=finishing what is in flight");
    relay_drain(d->relay);
    d->drain_until_ms = d->now_ms + d->spec->drain_ms;
}

static void begin_reload(struct daemon *d)
{
    struct reload_ask ask = { .kind = RELOAD_GO, .uid = -1 };
    struct fault why;

    /* The files may have changed again since the one in progress read them. */
    d->reload_again = reload_busy(d->reload);
    if (!d->reload_again && reload_begin(d->reload, &ask, &why) != 0)
        log_say(LOG_LEVEL_ERROR, NULL, NULL, "SIGHUP: %s", why.text);
}

static void take_signals(struct daemon *d)
{
    int number;

    while ((number = loop_signal(d->loop)) != 0) {
        if (number == SIGHUP)
            begin_reload(d);
        else
            begin_drain(d, number);
    }
}

static void tell_reload(struct daemon *d)
{
    bool busy = reload_busy(d->reload);
    struct timespec now;
    char text[96];

    if (busy == d->told_reloading || d->drain_until_ms)
        return;
    d->told_reloading = busy;
    (void)clock_gettime(CLOCK_MONOTONIC, &now); /* the manager's own clock, for its own use */
    (void)snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
        (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    notify_send(busy ? text : "READY=1");
}

/* What runs now, after a reload: everybody who looks at the configuration hears of it. */
static void take_over(struct daemon *d, struct config *old)
{
    struct fault why;

    d->config = relay_config(d->relay);
    (void)open_log(d->config, &why); /* the environment is as it was at the start */
    set_traces(d);
    api_reconfigure(d->api, d->config, d->unix_ms);
    d->certificates_at_ms = 0;
    if (watch_relay(d, &why) != 0)
        log_say(LOG_LEVEL_ERROR, NULL, NULL, "reload: %s", why.text);
    config_free(old);
}

static bool step_reload(struct daemon *d)
{
    struct config *old;

    if (!reload_turn(d->reload, d->unix_ms, &old)) {
        tell_reload(d);
        return false;
    }
    if (old)
        take_over(d, old);
    api_reloaded(d->api);
    tell_reload(d);
    if (d->reload_again)
        begin_reload(d);
    return true;
}

static void tell_status(struct daemon *d)
{
    size_t routes = relay_route_count(d->relay), troubled = 0;
    char text[160];

    if (d->now_ms < d->status_at_ms || d->drain_until_ms)
        return;
    d->status_at_ms = d->now_ms + STATUS_MS;
    for (size_t i = 0; i < routes; i++) {
        struct relay_route_status s;

        relay_route_status(d->relay, i, &s);
        troubled += s.error[0] || s.held_back[0];
    }
    (void)snprintf(text, sizeof text, "STATUS=%zu routes, %zu with trouble", routes, troubled);
    notify_send(text);
}

static void look_at_certificates(struct daemon *d)
{
    struct certificates all;

    if (d->now_ms < d->certificates_at_ms)
        return;
    d->certificates_at_ms = d->now_ms + CERTIFICATES_MS;
    if (certificates_read(d->relay, d->config, &all) != 0)
        return; /* without memory: at the next look */
    certificates_watch_look(d->certificates, &all, d->unix_ms);
    certificates_done(&all);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Returns the exit code when this was the last turn, else -1. */
static int turn(struct daemon *d, int64_t *wake_ms)
{
    struct fault why = { 0 };
    int64_t wake;

    read_clocks(d);
    take_signals(d);
    wake = relay_turn(d->relay, d->now_ms, d->unix_ms, &why);
    if (wake < 0) {
        log_say(LOG_LEVEL_ERROR, NULL, NULL, "ending: %s", why.text);
        return why.code == EIO || why.kind == FAULT_BROKEN ? DAEMON_IO : DAEMON_BROKEN;
    }
    if (step_reload(d))
        wake = d->now_ms; /* the next turn writes what it leaves in the audit */
    (void)api_turn(d->api, d->now_ms, d->unix_ms);
    wake = earlier(wake, http_step(d->http, d->now_ms));
    if (d->public)
        wake = earlier(wake, http_step(d->public, d->now_ms));
    if (api_turn(d->api, d->now_ms, d->unix_ms))
        wake = d->now_ms; /* what was asked is done by the next turn */
    tell_status(d);
    look_at_certificates(d);
    wake = earlier(wake,
        watchdog_step(&d->watchdog, d->now_ms, store_busy(d->store), store_committed(d->store)));
    wake = earlier(wake, log_step(d->now_ms));
    *wake_ms = earlier(earlier(wake, d->status_at_ms), d->certificates_at_ms);
    if (!d->drain_until_ms)
        return -1;
    *wake_ms = earlier(wake, d->drain_until_ms);
    if (!relay_drained(d->relay) && d->now_ms < d->drain_until_ms)
        return -1;
    return DAEMON_OK;
}

static int turns(struct daemon *d)
{
    struct fault why = { 0 };
    int64_t wake_ms = 0;
    int code;

    while ((code = turn(d, &wake_ms)) < 0) {
        histogram_add(&d->turns, (loop_now_ms() - d->now_ms) * 1000);
        if (loop_wait(d->loop, wake_ms, &why) != 0) {
            log_say(LOG_LEVEL_ERROR, NULL, NULL, "ending: %s", why.text);
            return DAEMON_BROKEN;
        }
    }
    return code;
}

/* ---- end ---- */

static void stop(struct daemon *d, bool clean)
{
    api_stop(d->api);
    http_free(d->public);
    http_free(d->http);
    api_free(d->api);
    reload_free(d->reload);
    relay_free(d->relay);
    if (d->store)
        store_free(d->store, clean);
    trace_export_free(d->traces, TRACES_MS);
    loop_free(d->loop);
    certificates_watch_free(d->certificates);
    config_free(d->config);
}

int daemon_run(const struct daemon_spec *spec)
{
    struct daemon d = { .spec = spec, .config = spec->config };
    struct fault why;
    bool clean;
    int code;

    if (open_log(d.config, &why) != 0) {
        (void)fprintf(stderr, "bascule: %s\n", why.text);
        config_free(d.config);
        return DAEMON_CONFIG;
    }
    /* The store holds bodies of events: its files are nobody else's, whoever starts this. */
    (void)umask(0077);
    say_core();
    code = start(&d);

    if (code != 0) {
        /* Nothing was taken from any source: the last process's flag stays true for the next. */
        stop(&d, d.store && store_was_clean(d.store));
        log_close();
        return code;
    }
    log_say(LOG_LEVEL_INFO, NULL, NULL,
        "bascule " BASCULE_VERSION " is up: store %s (%s), %zu routes", store_id(d.store),
        d.config->store_path, relay_route_count(d.relay));
    notify_send("READY=1\nSTATUS=up");
    watchdog_init(&d.watchdog, d.now_ms);
    code = turns(&d);
    clean = code == DAEMON_OK && relay_drained(d.relay) && !relay_unsure(d.relay);
    if (code == DAEMON_OK)
        log_say(clean ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, NULL, NULL, "%s",
            clean ? "finished in order" : "time is over; what is in flight will be sent again");
    stop(&d, clean);
    log_close();
    return code;
}
