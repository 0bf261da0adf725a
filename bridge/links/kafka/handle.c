#include "bridge/links/kafka/handle.h"
#include "bridge/links/tls.h"

#include <errno.h>
#include <openssl/x509_vfy.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WATCH_BUSY_MS 25
#define WATCH_IDLE_MS 1000
#define WATCH_QUERY_MS 1000
#define END_WAIT_MS 3000
#define PEERS_MAX 64 /* brokers whose certificates are remembered */

struct peer {
    int32_t broker; /* -1: one of those asked first, before it told its number */
    int64_t expires_ms;
};

struct kafka_handle {
    rd_kafka_t *rk;
    rd_kafka_queue_t *events;
    int wake_fd;
    bool consumer;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kafka_job *todo, **todo_end, *done, **done_end;
    rd_kafka_topic_partition_list_t *watched; /* .offset: the high watermark */
    int watch_at;
    atomic_bool stop, busy;
    bool nudged; /* [lock] */
    atomic_ullong answers;
    struct peer peers[PEERS_MAX]; /* [lock] */
    size_t peer_count;
};

static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t live_changed = PTHREAD_COND_INITIALIZER;
static pthread_once_t live_once = PTHREAD_ONCE_INIT;
static int live;

static void live_add(int n)
{
    (void)pthread_mutex_lock(&live_lock);
    live += n;
    (void)pthread_cond_broadcast(&live_changed);
    (void)pthread_mutex_unlock(&live_lock);
}

static struct timespec time_after(int64_t ms)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* At the process's end: a consumer that has left its group spares the others the wait for its
 * session's end. */
static void live_wait(void)
{
    struct timespec until = time_after(END_WAIT_MS);

    (void)pthread_mutex_lock(&live_lock);
    while (live > 0 && pthread_cond_timedwait(&live_changed, &live_lock, &until) == 0)
        ;
    (void)pthread_mutex_unlock(&live_lock);
}

void kafka_handle_wake(int fd)
{
    uint64_t one = 1;

    (void)!write(fd, &one, sizeof one); /* a full counter is readable as well */
}

static void live_begin(void)
{
    (void)atexit(live_wait);
}

/* Any request to a broker wakes its thread, which else may sleep up to 1 s on a full queue. */
static void watch_one(struct kafka_handle *h)
{
    char topic[256] = "";
    int32_t partition = 0;
    int64_t low, high;
    rd_kafka_topic_partition_t *p;

    (void)pthread_mutex_lock(&h->lock);
    if (h->watched && h->watched->cnt > 0) {
        p = &h->watched->elems[h->watch_at++ % h->watched->cnt];
        (void)snprintf(topic, sizeof topic, "%s", p->topic);
        partition = p->partition;
    }
    (void)pthread_mutex_unlock(&h->lock);
    if (!*topic ||
        rd_kafka_query_watermark_offsets(h->rk, topic, partition, &low, &high, WATCH_QUERY_MS) != 0)
        return;
    h->answers++;
    (void)pthread_mutex_lock(&h->lock);
    p = h->watched ? rd_kafka_topic_partition_list_find(h->watched, topic, partition) : NULL;
    if (p)
        p->offset = high;
    (void)pthread_mutex_unlock(&h->lock);
}

/* Returns the next job, NULL when it is time to look at a watermark. */
static struct kafka_job *job_wait(struct kafka_handle *h)
{
    struct timespec idle = time_after(WATCH_IDLE_MS), busy = time_after(WATCH_BUSY_MS);
    struct kafka_job *j;

    (void)pthread_mutex_lock(&h->lock);
    while (!h->todo && !h->stop && !h->nudged &&
           pthread_cond_timedwait(&h->changed, &h->lock, h->busy ? &busy : &idle) != ETIMEDOUT)
        ;
    j = h->todo;
    h->nudged = h->nudged && j;
    if (j) {
        h->todo = j->next;
        if (!h->todo)
            h->todo_end = &h->todo;
        j->next = NULL;
    }
    (void)pthread_mutex_unlock(&h->lock);
    return j;
}

static void jobs_free(struct kafka_job *j)
{
    while (j) {
        struct kafka_job *next = j->next;

        j->free_job(j);
        j = next;
    }
}

static void *handle_run(void *arg)
{
    struct kafka_handle *h = arg;

    (void)pthread_setname_np(pthread_self(), "kafka-jobs");
    while (!h->stop) {
        struct kafka_job *j = job_wait(h);

        if (!j) {
            if (!h->stop)
                watch_one(h);
            continue;
        }
        j->run(j, h->rk);
        (void)pthread_mutex_lock(&h->lock);
        *h->done_end = j;
        h->done_end = &j->next;
        if (!h->stop)
            kafka_handle_wake(h->wake_fd);
        (void)pthread_mutex_unlock(&h->lock);
    }
    jobs_free(h->todo);
    jobs_free(h->done);
    rd_kafka_queue_destroy(h->events);
    rd_kafka_destroy(h->rk);
    if (h->watched)
        rd_kafka_topic_partition_list_destroy(h->watched);
    (void)pthread_cond_destroy(&h->changed);
    (void)pthread_mutex_destroy(&h->lock);
    free(h);
    live_add(-1);
    return NULL;
}

int kafka_peer_verdict(int *error, bool endless, char *why, size_t n)
{
    if (*error == X509_V_OK && endless)
        *error = X509_V_ERR_ERROR_IN_CERT_NOT_AFTER_FIELD;
    if (*error != X509_V_OK)
        (void)snprintf(why, n, "%s", X509_verify_cert_error_string(*error));
    return *error == X509_V_OK;
}

/* By librdkafka's threads, for every certificate of a chain. */
static int peer_seen(rd_kafka_t *rk, const char *name, int32_t broker, int *error, int depth,
    const char *at, size_t n, char *why, size_t why_bytes, void *opaque)
{
    struct kafka_handle *h = opaque;
    int64_t expires_ms = depth == 0 ? tls_der_expires_ms(at, n) : 0;
    size_t i = 0;

    (void)rk, (void)name;
    if (depth == 0) {
        (void)pthread_mutex_lock(&h->lock);
        while (i < h->peer_count && h->peers[i].broker != broker)
            i++;
        if (i < PEERS_MAX) {
            h->peers[i] = (struct peer){ broker, expires_ms };
            h->peer_count += i == h->peer_count;
        }
        (void)pthread_mutex_unlock(&h->lock);
    }
    return kafka_peer_verdict(error, depth == 0 && expires_ms == 0, why, why_bytes);
}

int64_t kafka_handle_peer_expires(struct kafka_handle *h)
{
    int64_t known = 0, first = 0;

    (void)pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->peer_count; i++) {
        int64_t *to = h->peers[i].broker < 0 ? &first : &known, at = h->peers[i].expires_ms;

        if (at && (!*to || at < *to))
            *to = at;
    }
    (void)pthread_mutex_unlock(&h->lock);
    return known ? known : first;
}

int kafka_handle_open(
    rd_kafka_conf_t *conf, bool consumer, int wake_fd, struct kafka_handle **ret, struct fault *why)
{
    struct kafka_handle *h = calloc(1, sizeof *h);
    uint64_t one = 1;

    if (!h) {
        rd_kafka_conf_destroy(conf);
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    /* Its brokers may be there before the rest of it. */
    (void)pthread_mutex_init(&h->lock, NULL);
    rd_kafka_conf_set_opaque(conf, h);
    (void)rd_kafka_conf_set_ssl_cert_verify_cb(conf, peer_seen);
    h->rk = kafka_conf_start(conf, consumer, why);
    if (!h->rk) {
        (void)pthread_mutex_destroy(&h->lock);
        free(h);
        return -1;
    }
    /* After librdkafka's own first start, so that it runs before the clean-up of OpenSSL. */
    (void)pthread_once(&live_once, live_begin);
    if (consumer)
        (void)rd_kafka_poll_set_consumer(h->rk);
    h->events = consumer ? rd_kafka_queue_get_consumer(h->rk) : rd_kafka_queue_get_main(h->rk);
    h->wake_fd = wake_fd;
    h->consumer = consumer;
    h->todo_end = &h->todo;
    h->done_end = &h->done;
    (void)pthread_cond_init(&h->changed, NULL);
    live_add(1);
    if (pthread_create(&h->thread, NULL, handle_run, h) != 0) {
        live_add(-1);
        rd_kafka_queue_destroy(h->events);
        rd_kafka_destroy(h->rk);
        (void)pthread_mutex_destroy(&h->lock);
        free(h);
        return fault_set(why, FAULT_RETRY, errno, "kafka: no thread");
    }
    (void)pthread_detach(h->thread);
    rd_kafka_queue_io_event_enable(h->events, wake_fd, &one, sizeof one);
    *ret = h;
    return 0;
}

void kafka_handle_free(struct kafka_handle *h)
{
    if (!h)
        return;
    /* The descriptor may be closed and given to somebody else after this. */
    rd_kafka_queue_io_event_enable(h->events, -1, NULL, 0);
    (void)pthread_mutex_lock(&h->lock);
    h->stop = true;
    (void)pthread_cond_signal(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
}

rd_kafka_t *kafka_handle_rk(const struct kafka_handle *h)
{
    return h->rk;
}

uint64_t kafka_handle_answers(const struct kafka_handle *h)
{
    return h->answers;
}

rd_kafka_queue_t *kafka_handle_events(const struct kafka_handle *h)
{
    return h->events;
}

void kafka_handle_post(struct kafka_handle *h, struct kafka_job *j)
{
    (void)pthread_mutex_lock(&h->lock);
    j->next = NULL;
    *h->todo_end = j;
    h->todo_end = &j->next;
    (void)pthread_cond_signal(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
}

struct kafka_job *kafka_handle_done(struct kafka_handle *h)
{
    struct kafka_job *j;

    (void)pthread_mutex_lock(&h->lock);
    j = h->done;
    if (j) {
        h->done = j->next;
        if (!h->done)
            h->done_end = &h->done;
    }
    (void)pthread_mutex_unlock(&h->lock);
    return j;
}

void kafka_handle_watch(struct kafka_handle *h, const rd_kafka_topic_partition_list_t *list)
{
    (void)pthread_mutex_lock(&h->lock);
    if (h->watched)
        rd_kafka_topic_partition_list_destroy(h->watched);
    h->watched = list ? rd_kafka_topic_partition_list_copy(list) : NULL;
    for (int i = 0; h->watched && i < h->watched->cnt; i++)
        h->watched->elems[i].offset = -1;
    (void)pthread_cond_signal(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
}

void kafka_handle_busy(struct kafka_handle *h, bool busy)
{
    if (h->busy == busy)
        return;
    h->busy = busy;
    if (busy) {
        (void)pthread_mutex_lock(&h->lock);
        (void)pthread_cond_signal(&h->changed);
        (void)pthread_mutex_unlock(&h->lock);
    }
}

void kafka_handle_nudge(struct kafka_handle *h)
{
    (void)pthread_mutex_lock(&h->lock);
    h->nudged = true;
    (void)pthread_cond_signal(&h->changed);
    (void)pthread_mutex_unlock(&h->lock);
}

int64_t kafka_handle_high(struct kafka_handle *h, const char *topic, int32_t partition)
{
    rd_kafka_topic_partition_t *p = NULL;
    int64_t high = -1;

    (void)pthread_mutex_lock(&h->lock);
    if (h->watched)
        p = rd_kafka_topic_partition_list_find(h->watched, topic, partition);
    if (p)
        high = p->offset;
    (void)pthread_mutex_unlock(&h->lock);
    return high;
}
