#include "bridge/cli/probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 8
#define TIMEOUT_MS 10000
#define FINDINGS_MAX 16

/* One end: a route's source (sink SIZE_MAX) or one of its sinks. */
struct probe {
    size_t route, sink;
    struct finding findings[FINDINGS_MAX];
    size_t count;
};

struct work {
    const struct config *config;
    struct probe *probes;
    size_t count, next;
    pthread_mutex_t lock;
};

static void probe_source(const struct config *config, struct probe *p)
{
    const struct config_route *r = &config->routes[p->route];
    const struct config_connection *c = &config->connections[r->connection];
    struct link_spec link = { c->name, c->options, "0000000000000000", 1, NULL };
    struct source_spec source = { .route = r->name,
        .options = r->source_options,
        .window_events = r->window_events,
        .window_bytes = r->window_bytes,
        .max_event_bytes = r->max_event_bytes,
        .clean_start = true };

    p->count =
        c->connector->link_probe(&link, &source, NULL, TIMEOUT_MS, p->findings, FINDINGS_MAX);
}

static void probe_sink(const struct config *config, struct probe *p)
{
    const struct config_route *r = &config->routes[p->route];
    const struct config_sink *s = &r->sinks[p->sink];
    const struct config_connection *c = &config->connections[s->connection];
    struct link_spec link = { c->name, c->options, "0000000000000000", 1, NULL };
    struct sink_spec sink = { .route = r->name,
        .name = s->name,
        .options = s->options,
        .window_events = s->window_events,
        .window_bytes = s->window_bytes,
        .confirm_timeout_ms = s->confirm_timeout_ms };

    p->count = c->connector->link_probe(&link, NULL, &sink, TIMEOUT_MS, p->findings, FINDINGS_MAX);
}

static void *worker(void *arg)
{
    struct work *w = arg;

    for (;;) {
        size_t i;

        (void)pthread_mutex_lock(&w->lock);
        i = w->next++;
        (void)pthread_mutex_unlock(&w->lock);
        if (i >= w->count)
            return NULL;
        if (w->probes[i].sink == SIZE_MAX)
            probe_source(w->config, &w->probes[i]);
        else
            probe_sink(w->config, &w->probes[i]);
    }
}

static void run_workers(struct work *w)
{
    pthread_t threads[THREADS];
    size_t started = 0;

    while (started < THREADS && started < w->count &&
           pthread_create(&threads[started], NULL, worker, w) == 0)
        started++;
    if (started == 0)
        (void)worker(w);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
}

static size_t print(const struct config *config, const struct probe *p)
{
    const struct config_route *r = &config->routes[p->route];
    const char *end = p->sink == SIZE_MAX ? "source" : r->sinks[p->sink].name;
    size_t errors = 0;

    for (size_t i = 0; i < p->count && i < FINDINGS_MAX; i++) {
        printf("%s/%s: %s: %s\n", r->name, end, p->findings[i].is_error ? "error" : "warning",
            p->findings[i].text);
        errors += p->findings[i].is_error;
    }
    if (!p->count)
        printf("%s/%s: ok\n", r->name, end);
    return errors;
}

size_t probe_all(const struct config *config)
{
    struct work w = { .config = config, .lock = PTHREAD_MUTEX_INITIALIZER };
    size_t errors = 0, limit = 0;

    for (size_t i = 0; i < config->route_count; i++)
        limit += 1 + config->routes[i].sink_count;
    w.probes = calloc(limit + 1, sizeof *w.probes);
    if (!w.probes)
        return 1;
    for (size_t i = 0; i < config->route_count; i++) {
        w.probes[w.count++] = (struct probe){ .route = i, .sink = SIZE_MAX };
        for (size_t k = 0; k < config->routes[i].sink_count; k++)
            w.probes[w.count++] = (struct probe){ .route = i, .sink = k };
    }
    run_workers(&w);
    for (size_t i = 0; i < w.count; i++)
        errors += print(config, &w.probes[i]);
    free(w.probes);
    return errors;
}
