#include "bridge/links/kafka/linger.h"

#include <stdlib.h>
#include <string.h>

/* The first message of a quiet time is sent at once, others with those that come within so long,
 * unless the user says otherwise. */
#define TELL_EVERY_MS 5
/* One request is full (batch.size): it is sent as soon as its partition has none under way, untold.
 */
#define FULL_BYTES 1000000
#define TELL_FULL_EVERY_MS 20
/* Doubled so often while nothing is reported; then linger.ms is over. */
#define UNHEARD_MAX 4
/* librdkafka's broker threads wake up for it in far less. */
#define TELL_MS 1
/* Above an answer's time, below what is noticed when a call on the handle's thread takes long. */
#define LINGER_MS 100

int64_t kafka_linger_every_ms(const struct kafka_link_options *o)
{
    int64_t ms = TELL_EVERY_MS;

    for (size_t i = 0; i < o->properties.n; i++)
        if (strcmp(o->properties.at[i].name, "linger.ms") == 0 ||
            strcmp(o->properties.at[i].name, "queue.buffering.max.ms") == 0) {
            double wanted = strtod(o->properties.at[i].value, NULL);

            ms = wanted >= LINGER_MS ? 0 : wanted <= 1 ? 1 : (int64_t)wanted;
        }
    return ms;
}

int kafka_linger_conf(rd_kafka_conf_t *conf, const struct kafka_link_options *o, int64_t timeout_ms,
    struct fault *why)
{
    char text[24];
    int64_t ms = timeout_ms / 2 < LINGER_MS ? timeout_ms / 2 : LINGER_MS;

    if (kafka_linger_every_ms(o) == 0)
        return 0;
    (void)snprintf(text, sizeof text, "%lld", (long long)ms);
    return kafka_conf_set(conf, "linger.ms", text, why);
}

void kafka_linger_reported(struct kafka_linger *l)
{
    l->unheard = 0;
}

struct tell_job {
    struct kafka_job job;
    struct kafka_linger *of;
};

static void tell_run(struct kafka_job *j, rd_kafka_t *rk)
{
    (void)j;
    (void)rd_kafka_flush(rk, TELL_MS);
}

static void tell_free(struct kafka_job *j)
{
    free(j);
}

static void tell_done(struct link *l, const struct kafka_job *j)
{
    (void)l;
    ((const struct tell_job *)j)->of->telling = false;
}

static void tell(struct kafka_linger *l, struct kafka_handle *h, int64_t now_ms)
{
    struct tell_job *t = calloc(1, sizeof *t);

    l->told_ms = now_ms;
    if (!t)
        return;
    t->job.run = tell_run;
    t->job.done = tell_done;
    t->job.free_job = tell_free;
    t->of = l;
    l->telling = true;
    l->unheard++;
    kafka_handle_post(h, &t->job);
}

int64_t kafka_linger_due(const struct kafka_linger *l, size_t out, size_t out_bytes)
{
    int64_t every = l->every_ms;

    if (out_bytes >= FULL_BYTES && every < TELL_FULL_EVERY_MS)
        every = TELL_FULL_EVERY_MS;
    if (l->every_ms == 0 || l->telling || out == 0 || l->unheard > UNHEARD_MAX)
        return INT64_MAX;
    return l->told_ms + (every << l->unheard);
}

int64_t kafka_linger_step(
    struct kafka_linger *l, struct kafka_handle *h, int64_t now_ms, size_t out, size_t out_bytes)
{
    if (now_ms >= kafka_linger_due(l, out, out_bytes))
        tell(l, h, now_ms);
    return kafka_linger_due(l, out, out_bytes);
}
