#include "bridge/trace_export.h"
#include "bridge/base/log.h"
#include "bridge/trace_json.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#define BODY_BYTES_MAX (8u << 20)
#define ANSWER_BYTES_MAX (64u << 10)

/* Of one collector; given to the thread, which frees them. */
struct settings {
    char *url, *service, *ca_file;
    struct curl_slist *headers;
    long timeout_ms;
};

struct trace_export {
    struct tracer tracer; /* the loop's; first, so that its functions find the rest */
    char store[24];
    bool running;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    struct span *filling;
    size_t n;
    struct settings *next; /* to go over to; NULL: none */
    bool ending;
    int64_t end_ms; /* with ending: monotonic */
    struct trace_status status;
    /* The thread's own. */
    struct span *going;
    struct settings *settings;
    CURL *curl;
    struct buf body, answer;
    bool failing;
    uint64_t lost; /* since it fails */
};

static int64_t monotonic_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- settings ---- */

static void settings_free(struct settings *s)
{
    if (!s)
        return;
    for (struct curl_slist *h = s->headers; h; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(s->headers);
    free(s->url);
    free(s->service);
    free(s->ca_file);
    free(s);
}

static int header_add(struct settings *s, const char *name, const char *value)
{
    struct curl_slist *longer;
    char *line = NULL;

    /* curl drops "Name:", and sends "Name;" as a header without value. */
    if (asprintf(&line, *value ? "%s: %s" : "%s;%s", name, value) < 0)
        return -1;
    longer = curl_slist_append(s->headers, line);
    explicit_bzero(line, strlen(line));
    free(line);
    if (!longer)
        return -1;
    s->headers = longer;
    return 0;
}

/* Without a path the one that OTLP names for traces. */
static char *url_make(const char *endpoint)
{
    const char *host = strstr(endpoint, "//") + 2;
    const char *path = host + strcspn(host, "/?#");
    char *url = NULL;

    if (*path && strcmp(path, "/") != 0)
        return strdup(endpoint);
    return asprintf(&url, "%.*s/v1/traces", (int)(path - endpoint), endpoint) < 0 ? NULL : url;
}

static struct settings *settings_copy(const struct config_trace *from)
{
    struct settings *s = calloc(1, sizeof *s);
    bool whole = s != NULL;

    if (!whole)
        return NULL;
    s->url = url_make(from->endpoint);
    s->service = strdup(from->service ? from->service : "bascule");
    s->ca_file = from->ca_file ? strdup(from->ca_file) : NULL;
    s->timeout_ms = (long)from->timeout_ms;
    whole = s->url && s->service && (s->ca_file || !from->ca_file) &&
            header_add(s, "Content-Type", "application/json") == 0;
    for (size_t i = 0; whole && i < from->headers.n; i++)
        whole = header_add(s, from->headers.at[i].name, from->headers.at[i].value) == 0;
    if (whole)
        return s;
    settings_free(s);
    return NULL;
}

/* ---- one request ---- */

enum verdict { VERDICT_NONE = 0, VERDICT_TAKEN, VERDICT_AGAIN, VERDICT_NEVER };

static size_t take(char *at, size_t size, size_t n, void *arg)
{
    struct trace_export *t = arg;

    (void)size;                 /* always 1 */
    buf_put(&t->answer, at, n); /* what is too long is not read, and not missed */
    return n;
}

static bool is_over(struct trace_export *t)
{
    bool over;

    (void)pthread_mutex_lock(&t->lock);
    over = t->ending && monotonic_ms() >= t->end_ms;
    (void)pthread_mutex_unlock(&t->lock);
    return over;
}

/* curl asks once a second at least. */
static int progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return is_over(arg);
}

static bool request_set(struct trace_export *t, char *error)
{
    const struct settings *s = t->settings;
    CURL *c = t->curl;

    curl_easy_reset(c);
    return curl_easy_setopt(c, CURLOPT_URL, s->url) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_HTTPHEADER, s->headers) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDS, t->body.at) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE, (long)t->body.n) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_WRITEDATA, t) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, progress) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_XFERINFODATA, t) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, s->timeout_ms) == CURLE_OK &&
           curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           (!s->ca_file || curl_easy_setopt(c, CURLOPT_CAINFO, s->ca_file) == CURLE_OK);
}

/* 429 and these of 5xx mean later; all else means never
 * (https://opentelemetry.io/docs/specs/otlp/#failures-1). */
static enum verdict verdict_of(long status)
{
    if (status >= 200 && status < 300)
        return VERDICT_TAKEN;
    return status == 429 || status == 502 || status == 503 || status == 504 ? VERDICT_AGAIN
                                                                            : VERDICT_NEVER;
}

static enum verdict post(struct trace_export *t, char *why, size_t limit)
{
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;
    CURLcode e;

    buf_clear(&t->answer);
    if (!t->curl && !(t->curl = curl_easy_init())) {
        (void)snprintf(why, limit, "out of memory");
        return VERDICT_AGAIN;
    }
    if (!request_set(t, error)) {
        (void)snprintf(why, limit, "cannot be asked: out of memory, or built without TLS");
        return VERDICT_NEVER;
    }
    e = curl_easy_perform(t->curl);
    (void)curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, NULL);
    if (e != CURLE_OK) {
        (void)snprintf(why, limit, "%s", *error ? error : curl_easy_strerror(e));
        return VERDICT_AGAIN;
    }
    (void)curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (verdict_of(status) != VERDICT_TAKEN)
        (void)snprintf(why, limit, "HTTP status %ld", status);
    return verdict_of(status);
}

/* A collector may take a batch and refuse some of it: {"partialSuccess": {"rejectedSpans": "3"}}.
 */
static size_t rejected(const struct buf *answer, size_t n)
{
    json_t *whole = json_loadb((const char *)answer->at, answer->n, 0, NULL);
    json_t *count = json_object_get(json_object_get(whole, "partialSuccess"), "rejectedSpans");
    long long got = json_is_string(count) ? strtoll(json_string_value(count), NULL, 10)
                                          : json_integer_value(count);

    json_decref(whole);
    return got <= 0 ? 0 : (size_t)got < n ? (size_t)got : n;
}

/* ---- batches ---- */

static void count(struct trace_export *t, size_t sent, size_t refused, const char *why)
{
    (void)pthread_mutex_lock(&t->lock);
    t->status.sent += sent;
    t->status.refused += refused;
    (void)snprintf(t->status.error, sizeof t->status.error, "%s", why);
    (void)pthread_mutex_unlock(&t->lock);
}

/* Without a query, which may hold a key. */
static int shown(const char *url)
{
    return (int)strcspn(url, "?");
}

static void say_failing(struct trace_export *t, const char *why)
{
    const char *url = t->settings->url;

    if (!t->failing)
        log_say(LOG_LEVEL_WARN, NULL, NULL,
            "traces: %.*s: %s; spans that it does not take are dropped", shown(url), url, why);
    t->failing = true;
}

static void say_well(struct trace_export *t)
{
    const char *url = t->settings->url;

    if (t->failing)
        log_say(LOG_LEVEL_INFO, NULL, NULL, "traces: %.*s takes spans again; it did not take %llu",
            shown(url), url, (unsigned long long)t->lost);
    t->failing = false;
    t->lost = 0;
}

/* False when the time is over. */
static bool wait_ms(struct trace_export *t, int64_t ms)
{
    int64_t until_ms = monotonic_ms() + ms;
    struct timespec until = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };

    (void)pthread_mutex_lock(&t->lock);
    while (!t->ending && pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT)
        ;
    (void)pthread_mutex_unlock(&t->lock);
    return !is_over(t);
}

static void batch_send(struct trace_export *t, const struct span *spans, size_t n)
{
    const struct trace_json_resource who = { t->settings->service, t->store };
    enum verdict verdict = VERDICT_AGAIN;
    char why[CURL_ERROR_SIZE] = "out of memory";
    size_t refused;

    buf_clear(&t->body);
    trace_json(&who, spans, n, &t->body);
    if (t->body.failed)
        verdict = VERDICT_NEVER;
    for (int try = 0; verdict == VERDICT_AGAIN && try < TRACE_TRIES; try++) {
        if (try && !wait_ms(t, (int64_t)TRACE_RETRY_MS << (try - 1)))
            break;
        verdict = post(t, why, sizeof why);
        if (verdict != VERDICT_TAKEN)
            say_failing(t, why);
    }
    if (verdict == VERDICT_TAKEN) {
        refused = rejected(&t->answer, n);
        count(t, n - refused, refused, refused ? "it took a batch in part" : "");
        say_well(t);
        return;
    }
    t->lost += n;
    count(t, 0, n, why);
}

static void all_send(struct trace_export *t, size_t n)
{
    for (size_t i = 0; i < n; i += TRACE_BATCH) {
        size_t left = n - i;

        if (is_over(t)) {
            count(t, 0, left, "it ended before they were sent");
            return;
        }
        batch_send(t, t->going + i, left < TRACE_BATCH ? left : TRACE_BATCH);
    }
}

/* ---- the thread ---- */

/* Under the lock. Something to send is there, and it is enough or its time is over. */
static void wait_for_batch(struct trace_export *t)
{
    struct timespec until;
    int64_t until_ms;

    while (t->n == 0 && !t->ending)
        (void)pthread_cond_wait(&t->changed, &t->lock);
    until_ms = monotonic_ms() + TRACE_WAIT_MS;
    until = (struct timespec){ until_ms / 1000, until_ms % 1000 * 1000000 };
    while (t->n < TRACE_BATCH && !t->ending &&
           pthread_cond_timedwait(&t->changed, &t->lock, &until) != ETIMEDOUT)
        ;
}

static void settings_take(struct trace_export *t)
{
    if (!t->next)
        return;
    settings_free(t->settings);
    t->settings = t->next;
    t->next = NULL;
    t->failing = false;
    t->lost = 0;
}

static void *run(void *arg)
{
    struct trace_export *t = arg;
    bool ending = false;

    while (!ending) {
        struct span *full;
        size_t n;

        (void)pthread_mutex_lock(&t->lock);
        wait_for_batch(t);
        settings_take(t);
        full = t->filling;
        t->filling = t->going;
        t->going = full;
        n = t->n;
        t->n = 0;
        atomic_store_explicit(&t->tracer.full, false, memory_order_relaxed);
        ending = t->ending;
        (void)pthread_mutex_unlock(&t->lock);
        all_send(t, n);
    }
    return NULL;
}

/* ---- the loop's side ---- */

static int64_t now_ns(struct tracer *tracer)
{
    struct timespec ts;

    (void)tracer;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void put(struct tracer *tracer, const struct span *s)
{
    struct trace_export *t = (struct trace_export *)tracer;

    (void)pthread_mutex_lock(&t->lock);
    if (!s || t->n == TRACE_QUEUE_MAX)
        t->status.crowded++;
    else
        t->filling[t->n++] = *s;
    if (t->n == TRACE_QUEUE_MAX)
        atomic_store_explicit(&t->tracer.full, true, memory_order_relaxed);
    if (t->n == 1 || t->n == TRACE_BATCH)
        (void)pthread_cond_signal(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

int trace_export_open(const char *store, struct trace_export **ret, struct fault *why)
{
    struct trace_export *t = calloc(1, sizeof *t);
    pthread_condattr_t monotonic;

    if (!t)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&t->changed, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)snprintf(t->store, sizeof t->store, "%s", store);
    t->tracer =
        (struct tracer){ .seed = bytes_hash(bytes_text(store)), .now_ns = now_ns, .put = put };
    buf_init(&t->body, BODY_BYTES_MAX);
    buf_init(&t->answer, ANSWER_BYTES_MAX);
    *ret = t;
    return 0;
}

/* Only where something is traced do its buffers and its thread exist. */
static int start(struct trace_export *t, struct fault *why)
{
    if (t->running)
        return 0;
    if (!t->filling)
        t->filling = calloc(TRACE_QUEUE_MAX, sizeof *t->filling);
    if (!t->going)
        t->going = calloc(TRACE_QUEUE_MAX, sizeof *t->going);
    if (!t->filling || !t->going)
        return fault_set(why, FAULT_RETRY, 0, "traces: out of memory");
    if (pthread_create(&t->thread, NULL, run, t) != 0)
        return fault_set(why, FAULT_RETRY, 0, "traces: cannot start a thread");
    (void)pthread_setname_np(t->thread, "traces");
    t->running = true;
    return 0;
}

int trace_export_set(struct trace_export *t, const struct config_trace *settings, struct fault *why)
{
    struct settings *next, *unused;

    t->tracer.on = false;
    if (settings->endpoint) {
        next = settings_copy(settings);
        if (!next)
            return fault_set(why, FAULT_RETRY, 0, "traces: out of memory");
        (void)pthread_mutex_lock(&t->lock);
        unused = t->next;
        t->next = next;
        (void)pthread_mutex_unlock(&t->lock);
        settings_free(unused);
        if (start(t, why) != 0)
            return -1;
        t->tracer.ratio = settings->ratio;
        t->tracer.on = true;
    }
    (void)pthread_mutex_lock(&t->lock);
    t->status.on = t->tracer.on;
    (void)pthread_mutex_unlock(&t->lock);
    return 0;
}

struct tracer *trace_export_tracer(struct trace_export *t)
{
    return &t->tracer;
}

void trace_export_status(struct trace_export *t, struct trace_status *ret)
{
    (void)pthread_mutex_lock(&t->lock);
    *ret = t->status;
    (void)pthread_mutex_unlock(&t->lock);
}

void trace_export_free(struct trace_export *t, int64_t wait)
{
    if (!t)
        return;
    if (t->running) {
        (void)pthread_mutex_lock(&t->lock);
        t->ending = true;
        t->end_ms = monotonic_ms() + wait;
        (void)pthread_cond_signal(&t->changed);
        (void)pthread_mutex_unlock(&t->lock);
        (void)pthread_join(t->thread, NULL);
    }
    if (t->curl)
        curl_easy_cleanup(t->curl);
    settings_free(t->settings);
    settings_free(t->next);
    buf_done(&t->body);
    buf_done(&t->answer);
    free(t->filling);
    free(t->going);
    (void)pthread_cond_destroy(&t->changed);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}
