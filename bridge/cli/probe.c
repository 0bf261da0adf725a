#include "bridge/cli/probe.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 8
#define TIMEOUT_MS 10000

struct work {
    const struct config *config;
    struct probes *probes;
    size_t next;
    pthread_mutex_t lock;
};

static struct link_spec link_of(const struct config_connection *c)
{
    return (struct link_spec){ c->name, c->options, "0000000000000000", 1, NULL };
}

static void probe_source(const struct config *config, struct probe_end *p)
{
    const struct config_route *r = p->route;
    const struct config_connection *c = &config->connections[r->connection];
    struct link_spec link = link_of(c);
    struct source_spec source = { .route = r->name,
        .options = r->source_options,
        .window_events = r->window_events,
        .window_bytes = r->window_bytes,
        .max_event_bytes = r->max_event_bytes,
        .clean_start = true };

    p->count =
        c->connector->link_probe(&link, &source, NULL, TIMEOUT_MS, p->findings, PROBE_FINDINGS_MAX);
}

static void probe_sink(const struct config *config, struct probe_end *p)
{
    const struct config_sink *s = p->sink;
    const struct config_connection *c = &config->connections[s->connection];
    struct link_spec link = link_of(c);
    struct sink_spec sink = { .route = p->route->name,
        .name = s->name,
        .options = s->options,
        .window_events = s->window_events,
        .window_bytes = s->window_bytes,
        .confirm_timeout_ms = s->confirm_timeout_ms };

    p->count =
        c->connector->link_probe(&link, NULL, &sink, TIMEOUT_MS, p->findings, PROBE_FINDINGS_MAX);
}

static void probe_broker(struct probe_broker *b)
{
    struct link_spec link = link_of(b->connection);

    b->asked = b->connection->connector->link_facts != NULL;
    if (b->asked)
        b->result = b->connection->connector->link_facts(&link, TIMEOUT_MS, &b->facts, &b->why);
}

static void *worker(void *arg)
{
    struct work *w = arg;
    struct probes *p = w->probes;

    for (;;) {
        size_t i;

        (void)pthread_mutex_lock(&w->lock);
        i = w->next++;
        (void)pthread_mutex_unlock(&w->lock);
        if (i >= p->broker_count + p->end_count)
            return NULL;
        if (i < p->broker_count)
            probe_broker(&p->brokers[i]);
        else if (p->ends[i - p->broker_count].sink)
            probe_sink(w->config, &p->ends[i - p->broker_count]);
        else
            probe_source(w->config, &p->ends[i - p->broker_count]);
    }
}

static void run_workers(struct work *w)
{
    size_t count = w->probes->broker_count + w->probes->end_count, started = 0;
    pthread_t threads[THREADS];

    while (started < THREADS && started < count &&
           pthread_create(&threads[started], NULL, worker, w) == 0)
        started++;
    if (started == 0)
        (void)worker(w);
    for (size_t i = 0; i < started; i++)
        (void)pthread_join(threads[i], NULL);
}

int probes_run(const struct config *config, bool brokers, struct probes *ret)
{
    struct work w = { .config = config, .probes = ret, .lock = PTHREAD_MUTEX_INITIALIZER };
    size_t limit = 0;

    for (size_t i = 0; i < config->route_count; i++)
        limit += 1 + config->routes[i].sink_count;
    *ret = (struct probes){ .ends = calloc(limit + 1, sizeof *ret->ends),
        .brokers = calloc(config->connection_count + 1, sizeof *ret->brokers) };
    if (!ret->ends || !ret->brokers) {
        probes_done(ret);
        return -1;
    }
    for (size_t i = 0; brokers && i < config->connection_count; i++)
        if (!config->connections[i].built_in)
            ret->brokers[ret->broker_count++].connection = &config->connections[i];
    for (size_t i = 0; i < config->route_count; i++) {
        const struct config_route *r = &config->routes[i];

        ret->ends[ret->end_count++].route = r;
        for (size_t k = 0; k < r->sink_count; k++)
            ret->ends[ret->end_count++] = (struct probe_end){ .route = r, .sink = &r->sinks[k] };
    }
    run_workers(&w);
    return 0;
}

void probes_done(struct probes *p)
{
    free(p->ends);
    free(p->brokers);
    *p = (struct probes){ 0 };
}

static size_t print(const struct probe_end *p)
{
    const char *end = p->sink ? p->sink->name : "source";
    size_t errors = 0;

    for (size_t i = 0; i < p->count && i < PROBE_FINDINGS_MAX; i++) {
        printf("%s/%s: %s: %s\n", p->route->name, end,
            p->findings[i].is_error ? "error" : "warning", p->findings[i].text);
        errors += p->findings[i].is_error;
    }
    if (!p->count)
        printf("%s/%s: ok\n", p->route->name, end);
    return errors;
}

size_t probe_all(const struct config *config)
{
    struct probes all;
    size_t errors = 0;

    if (probes_run(config, false, &all) != 0)
        return 1;
    for (size_t i = 0; i < all.end_count; i++)
        errors += print(&all.ends[i]);
    probes_done(&all);
    return errors;
}
