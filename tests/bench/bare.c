/* A bare relay without any store: the same client libraries, the same batches, nothing on disk.
 * What Bascule's speed is compared with. Also fills the brokers and measures delays.
 *
 *   bare FROM PORT PLACE TO PORT PLACE EVENTS
 *   bare FROM PORT PLACE check - - EVENTS
 *
 * FROM: kafka, redis (a stream), rabbitmq (a queue), nats (a JetStream stream), make (bodies; PORT
 * is the rate per second, 0 for none). TO: kafka, redis, rabbitmq (the default exchange; PLACE is
 * the queue), nats (a subject of a stream, PLACE for both), clock (tells how old the bodies of
 * `make` are when they come), check (tells whether it is what `make` made, whole; ends when it is,
 * or when nothing comes any more). Acknowledges at the source what the sink has confirmed. Prints
 * one JSON line when EVENTS are through. */
#include "tests/bench/tally.h"

#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <librdkafka/rdkafka.h>
#include <nats/nats.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* hiredis' own inline functions do not pass our warnings. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include <hiredis.h>
#pragma GCC diagnostic pop

#define BATCH 1000
#define WINDOW 10000 /* put and not confirmed, as a sink of Bascule has by default */
#define BATCHES (2 * WINDOW)
#define IDS_BYTES 32
#define MISSING_NS 30000000000 /* after so long without one no more events come */
#define SURPLUS_NS 300000000   /* and after so long none that was not wanted */

struct to {
    void (*open)(const char *port, const char *place);
    void (*put)(const char *key, size_t key_bytes, const char *body, size_t body_bytes);
    /* Until at most `left` of what was put is not confirmed. */
    void (*settle)(uint64_t left);
    void (*close)(void);
};

struct from {
    void (*open)(const char *port, const char *place);
    /* Puts what comes, BATCH at most, waiting a moment for the first. Returns how many. */
    size_t (*take)(const struct to *to);
    /* The oldest `n` batches that were taken. */
    void (*ack)(size_t n);
    void (*close)(void);
};

static uint64_t put_count, confirmed;
static char group[32]; /* of this run alone: each reads from the beginning */
static struct {
    uint64_t end;
    int64_t place; /* offset, delivery tag; redis keeps names of its own */
} batches[BATCHES];
static size_t batch_first, batch_n;

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "bare: %s: %s\n", what, why);
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- kafka ---- */

static rd_kafka_t *producer, *consumer;
static rd_kafka_topic_t *out_topic;
static rd_kafka_queue_t *in_queue;
static char in_topic[256];

static void conf_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
        die(name, why);
}

static rd_kafka_conf_t *kafka_conf(const char *port)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char address[64];

    (void)snprintf(address, sizeof address, "127.0.0.1:%s", port);
    conf_set(conf, "bootstrap.servers", address);
    return conf;
}

static void reported(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    (void)rk, (void)opaque;
    if (m->err)
        die("delivery", rd_kafka_err2str(m->err));
    confirmed++;
}

static void kafka_to_open(const char *port, const char *place)
{
    rd_kafka_conf_t *conf = kafka_conf(port);
    char why[256];

    conf_set(conf, "enable.idempotence", "true");
    conf_set(conf, "linger.ms", "5");
    conf_set(conf, "partitioner", "murmur2_random");
    rd_kafka_conf_set_dr_msg_cb(conf, reported);
    producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!producer)
        die("producer", why);
    out_topic = rd_kafka_topic_new(producer, place, NULL);
}

static void kafka_put(const char *key, size_t key_bytes, const char *body, size_t body_bytes)
{
    while (rd_kafka_produce(out_topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY,
               (void *)(uintptr_t)body, body_bytes, key, key_bytes, NULL) != 0) {
        if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            die("produce", rd_kafka_err2str(rd_kafka_last_error()));
        (void)rd_kafka_poll(producer, 10);
    }
}

static void kafka_settle(uint64_t left)
{
    (void)rd_kafka_poll(producer, 0);
    while (put_count - confirmed > left)
        (void)rd_kafka_poll(producer, 100);
}

static void kafka_to_close(void)
{
    rd_kafka_topic_destroy(out_topic);
    rd_kafka_destroy(producer);
}

static void kafka_from_open(const char *port, const char *place)
{
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
    rd_kafka_conf_t *conf = kafka_conf(port);
    char why[256];

    (void)snprintf(group, sizeof group, "bare-%d", (int)getpid());
    conf_set(conf, "group.id", group);
    conf_set(conf, "auto.offset.reset", "earliest");
    conf_set(conf, "enable.auto.commit", "false");
    /* A fetcher that finds its queue full sleeps for up to a second: it never does. */
    conf_set(conf, "queued.min.messages", "10000000");
    conf_set(conf, "queued.max.messages.kbytes", "1000000");
    consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!consumer)
        die("consumer", why);
    (void)rd_kafka_poll_set_consumer(consumer);
    (void)rd_kafka_topic_partition_list_add(topics, place, RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(consumer, topics) != 0)
        die("subscribe", place);
    rd_kafka_topic_partition_list_destroy(topics);
    (void)snprintf(in_topic, sizeof in_topic, "%s", place);
    in_queue = rd_kafka_queue_get_consumer(consumer);
}

static size_t kafka_take(const struct to *to)
{
    rd_kafka_message_t *messages[BATCH];
    ssize_t got = rd_kafka_consume_batch_queue(in_queue, 1, messages, BATCH);
    size_t n = 0;

    for (ssize_t i = 0; i < got; i++) {
        rd_kafka_message_t *m = messages[i];

        if (!m->err) {
            to->put(m->key, m->key_len, m->payload, m->len);
            batches[(batch_first + batch_n) % BATCHES].place = m->offset + 1;
            n++;
        }
        rd_kafka_message_destroy(m);
    }
    return n;
}

static void kafka_ack(size_t n)
{
    static int64_t last_ns;
    int64_t ns = now_ns();
    rd_kafka_topic_partition_list_t *at;

    if (ns - last_ns < 1000000000) /* as often as a consumer that commits by itself, or oftener */
        return;
    last_ns = ns;
    at = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(at, in_topic, 0)->offset =
        batches[(batch_first + n - 1) % BATCHES].place;
    (void)rd_kafka_commit(consumer, at, 1);
    rd_kafka_topic_partition_list_destroy(at);
}

static void kafka_from_close(void)
{
    rd_kafka_queue_destroy(in_queue);
    (void)rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
}

/* ---- redis ---- */

static redisContext *redis_in, *redis_out;
static char stream_in[256], stream_out[256];
static char (*ids)[IDS_BYTES]; /* of taken entries, oldest first, from id_first, wrapping */
static uint64_t id_first, id_end;
static bool asked;

static redisContext *redis_dial(const char *port)
{
    redisContext *c = redisConnect("127.0.0.1", atoi(port));

    if (!c || c->err)
        die("redis", c ? c->errstr : "out of memory");
    return c;
}

static redisReply *redis_reply(redisContext *c)
{
    redisReply *r;

    if (redisGetReply(c, (void **)&r) != REDIS_OK)
        die("redis", c->errstr);
    if (r->type == REDIS_REPLY_ERROR && strncmp(r->str, "BUSYGROUP", 9) != 0)
        die("redis", r->str);
    return r;
}

static void redis_to_open(const char *port, const char *place)
{
    redis_out = redis_dial(port);
    (void)snprintf(stream_out, sizeof stream_out, "%s", place);
}

static void redis_put(const char *key, size_t key_bytes, const char *body, size_t body_bytes)
{
    const char *args[] = { "XADD", stream_out, "*", "key", key, "body", body };
    const size_t sizes[] = { 4, strlen(stream_out), 1, 3, key_bytes, 4, body_bytes };

    (void)redisAppendCommandArgv(redis_out, 7, args, sizes);
}

static void redis_settle(uint64_t left)
{
    int done = 0;

    while (!done)
        if (redisBufferWrite(redis_out, &done) != REDIS_OK)
            die("redis", redis_out->errstr);
    for (; put_count - confirmed > left; confirmed++)
        freeReplyObject(redis_reply(redis_out));
}

static void redis_to_close(void)
{
    redisFree(redis_out);
}

static void redis_from_open(const char *port, const char *place)
{
    redis_in = redis_dial(port);
    (void)snprintf(group, sizeof group, "bare-%d", (int)getpid());
    ids = calloc(BATCHES, sizeof *ids);
    if (!ids)
        die("redis", "out of memory");
    (void)snprintf(stream_in, sizeof stream_in, "%s", place);
    (void)redisAppendCommand(redis_in, "XGROUP CREATE %s %s 0 MKSTREAM", place, group);
    freeReplyObject(redis_reply(redis_in));
}

/* The next reading is asked for before this one is put, so that the server works meanwhile. */
static void redis_ask(void)
{
    int done = 0;

    (void)redisAppendCommand(redis_in, "XREADGROUP GROUP %s me COUNT %d BLOCK 100 STREAMS %s >",
        group, BATCH, stream_in);
    while (!done)
        if (redisBufferWrite(redis_in, &done) != REDIS_OK)
            die("redis", redis_in->errstr);
    asked = true;
}

/* The value of an entry's field; an empty one where it has none. */
static const redisReply *redis_field(const redisReply *fields, const char *name)
{
    static char nothing_str[1];
    static const redisReply none = { .str = nothing_str };

    for (size_t i = 0; i + 1 < fields->elements; i += 2)
        if (strcmp(fields->element[i]->str, name) == 0)
            return fields->element[i + 1];
    return &none;
}

static size_t redis_take(const struct to *to)
{
    redisReply *r, *entries;
    size_t n = 0;

    if (!asked)
        redis_ask();
    r = redis_reply(redis_in);
    while (r->type == REDIS_REPLY_INTEGER) { /* of an XACK */
        freeReplyObject(r);
        r = redis_reply(redis_in);
    }
    redis_ask();
    if (r->type == REDIS_REPLY_ARRAY) {
        entries = r->element[0]->element[1];
        for (n = 0; n < entries->elements; n++) {
            const redisReply *e = entries->element[n], *key = redis_field(e->element[1], "key"),
                             *body = redis_field(e->element[1], "body");

            (void)snprintf(ids[id_end++ % BATCHES], IDS_BYTES, "%s", e->element[0]->str);
            to->put(key->str, key->len, body->str, body->len);
        }
    }
    freeReplyObject(r);
    return n;
}

static void redis_ack(size_t n)
{
    uint64_t end = batches[(batch_first + n - 1) % BATCHES].end;

    while (id_first < end) {
        const char *args[3 + BATCH] = { "XACK", stream_in, group };
        int count = 3;

        while (id_first < end && count < 3 + BATCH)
            args[count++] = ids[id_first++ % BATCHES];
        (void)redisAppendCommandArgv(redis_in, count, args, NULL);
    }
}

static void redis_from_close(void)
{
    free(ids);
    redisFree(redis_in);
}

/* ---- rabbitmq ---- */

static amqp_connection_state_t rabbit_in, rabbit_out;
static char queue_out[256];
static bool tags_done[BATCHES];

static amqp_connection_state_t rabbit_dial(const char *port)
{
    amqp_connection_state_t c = amqp_new_connection();
    amqp_socket_t *s = amqp_tcp_socket_new(c);

    if (!s || amqp_socket_open(s, "127.0.0.1", atoi(port)) != 0)
        die("rabbitmq", "no connection");
    if (amqp_login(c, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "app", "secret").reply_type !=
        AMQP_RESPONSE_NORMAL)
        die("rabbitmq", "login refused");
    (void)amqp_channel_open(c, 1);
    return c;
}

static void rabbit_to_open(const char *port, const char *place)
{
    rabbit_out = rabbit_dial(port);
    (void)amqp_confirm_select(rabbit_out, 1);
    (void)snprintf(queue_out, sizeof queue_out, "%s", place);
}

static void rabbit_put(const char *key, size_t key_bytes, const char *body, size_t body_bytes)
{
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG,
        .delivery_mode = 2,
        .message_id = { key_bytes, (void *)(uintptr_t)key },
    };

    if (amqp_basic_publish(rabbit_out, 1, amqp_empty_bytes, amqp_cstring_bytes(queue_out), 1, 0,
            &properties, (amqp_bytes_t){ body_bytes, (void *)(uintptr_t)body }) != 0)
        die("rabbitmq", "publish");
}

static bool rabbit_frame(struct timeval *wait)
{
    amqp_frame_t frame;
    int got = amqp_simple_wait_frame_noblock(rabbit_out, &frame, wait);

    if (got == AMQP_STATUS_TIMEOUT)
        return false;
    if (got != AMQP_STATUS_OK || frame.frame_type != AMQP_FRAME_METHOD ||
        frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
        die("rabbitmq", "not confirmed");
    const amqp_basic_ack_t *ack = frame.payload.method.decoded;

    /* Single ones may come out of order: what counts is everything below the first that is open. */
    for (uint64_t tag = ack->multiple ? confirmed + 1 : ack->delivery_tag; tag <= ack->delivery_tag;
         tag++)
        tags_done[tag % BATCHES] = true;
    while (tags_done[(confirmed + 1) % BATCHES])
        tags_done[++confirmed % BATCHES] = false;
    amqp_maybe_release_buffers_on_channel(rabbit_out, 1);
    return true;
}

static void rabbit_settle(uint64_t left)
{
    struct timeval none = { 0, 0 }, some = { 10, 0 };

    while (rabbit_frame(&none))
        ;
    while (put_count - confirmed > left)
        (void)rabbit_frame(&some);
}

static void rabbit_to_close(void)
{
    (void)amqp_destroy_connection(rabbit_out);
}

static void rabbit_from_open(const char *port, const char *place)
{
    rabbit_in = rabbit_dial(port);
    (void)amqp_basic_qos(rabbit_in, 1, 0, 2 * BATCH, 0);
    (void)amqp_basic_consume(
        rabbit_in, 1, amqp_cstring_bytes(place), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
}

static size_t rabbit_take(const struct to *to)
{
    size_t n = 0;

    while (n < BATCH / 4) {
        struct timeval wait = { 0, n ? 0 : 20000 };
        amqp_envelope_t e;
        amqp_rpc_reply_t r;

        amqp_maybe_release_buffers(rabbit_in);
        r = amqp_consume_message(rabbit_in, &e, &wait, 0);
        if (r.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
            r.library_error == AMQP_STATUS_TIMEOUT)
            return n;
        if (r.reply_type != AMQP_RESPONSE_NORMAL)
            die("rabbitmq", "consume");
        to->put(e.message.properties.message_id.bytes, e.message.properties.message_id.len,
            e.message.body.bytes, e.message.body.len);
        batches[(batch_first + batch_n) % BATCHES].place = (int64_t)e.delivery_tag;
        amqp_destroy_envelope(&e);
        n++;
    }
    return n;
}

static void rabbit_ack(size_t n)
{
    (void)amqp_basic_ack(rabbit_in, 1, (uint64_t)batches[(batch_first + n - 1) % BATCHES].place, 1);
}

static void rabbit_from_close(void)
{
    (void)amqp_destroy_connection(rabbit_in);
}

/* ---- nats ---- */

static natsConnection *nats_in, *nats_out;
static jsCtx *js_in, *js_out;
static natsSubscription *pull;
static natsMsg **taken; /* not acknowledged, oldest first, from taken_first, wrapping */
static uint64_t taken_first, taken_end;
static char subject_out[256];
static pthread_mutex_t nats_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t nats_more = PTHREAD_COND_INITIALIZER;
static uint64_t nats_acked, nats_wanted = UINT64_MAX;

static void nats_check(const char *what, natsStatus s)
{
    if (s != NATS_OK)
        die(what, natsStatus_GetText(s));
}

static natsConnection *nats_dial(const char *port, jsCtx **js, jsOptions *options)
{
    natsConnection *c;
    char url[64];

    (void)snprintf(url, sizeof url, "nats://127.0.0.1:%s", port);
    nats_check("nats", natsConnection_ConnectTo(&c, url));
    nats_check("jetstream", natsConnection_JetStream(js, c, options));
    return c;
}

/* On a thread of the library. */
static void nats_ack(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *err, void *closure)
{
    (void)js, (void)closure;
    if (!ack)
        die("ack", err && err->ErrText ? err->ErrText : "none");
    natsMsg_Destroy(msg);
    (void)pthread_mutex_lock(&nats_lock);
    if (++nats_acked >= nats_wanted)
        (void)pthread_cond_signal(&nats_more);
    (void)pthread_mutex_unlock(&nats_lock);
}

static void nats_to_open(const char *port, const char *place)
{
    jsOptions options;

    nats_check("options", jsOptions_Init(&options));
    options.PublishAsync.AckHandler = nats_ack;
    nats_out = nats_dial(port, &js_out, &options);
    (void)snprintf(subject_out, sizeof subject_out, "%s", place);
}

static void nats_put(const char *key, size_t key_bytes, const char *body, size_t body_bytes)
{
    (void)key, (void)key_bytes;
    nats_check("publish", js_PublishAsync(js_out, subject_out, body, (int)body_bytes, NULL));
}

static void nats_settle(uint64_t left)
{
    (void)pthread_mutex_lock(&nats_lock);
    nats_wanted = put_count > left ? put_count - left : 0;
    while (nats_acked < nats_wanted)
        (void)pthread_cond_wait(&nats_more, &nats_lock);
    nats_wanted = UINT64_MAX;
    confirmed = nats_acked;
    (void)pthread_mutex_unlock(&nats_lock);
}

static void nats_to_close(void)
{
    jsCtx_Destroy(js_out);
    natsConnection_Destroy(nats_out);
}

static void nats_from_open(const char *port, const char *place)
{
    jsSubOptions options;

    (void)snprintf(group, sizeof group, "bare-%d", (int)getpid());
    nats_in = nats_dial(port, &js_in, NULL);
    nats_check("options", jsSubOptions_Init(&options));
    options.Stream = place;
    options.Config.MaxAckPending = BATCHES;
    nats_check("consumer", js_PullSubscribe(&pull, js_in, place, group, NULL, &options, NULL));
    taken = calloc(BATCHES, sizeof *taken);
    if (!taken)
        die("nats", "out of memory");
}

static size_t nats_take(const struct to *to)
{
    natsMsgList list = { NULL, 0 };
    natsStatus s = natsSubscription_Fetch(&list, pull, BATCH, 100, NULL);
    size_t n = s == NATS_OK ? (size_t)list.Count : 0;

    if (s != NATS_OK && s != NATS_TIMEOUT)
        nats_check("fetch", s);
    for (size_t i = 0; i < n; i++) {
        natsMsg *m = list.Msgs[i];

        to->put("", 0, natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
        taken[taken_end++ % BATCHES] = m;
        list.Msgs[i] = NULL;
    }
    natsMsgList_Destroy(&list);
    return n;
}

static void nats_done(size_t n)
{
    uint64_t end = batches[(batch_first + n - 1) % BATCHES].end;

    for (; taken_first < end; taken_first++) {
        nats_check("ack", natsMsg_Ack(taken[taken_first % BATCHES], NULL));
        natsMsg_Destroy(taken[taken_first % BATCHES]);
    }
}

static void nats_from_close(void)
{
    nats_check("flush", natsConnection_Flush(nats_in));
    natsSubscription_Destroy(pull);
    jsCtx_Destroy(js_in);
    natsConnection_Destroy(nats_in);
    free(taken);
}

/* ---- make, clock and check ---- */

static uint64_t made, to_make;
static int64_t rate, made_since_ns;
static int64_t *ages;

static void make_open(const char *port, const char *place)
{
    (void)place;
    rate = strtoll(port, NULL, 10);
    made_since_ns = now_ns();
}

static size_t make_take(const struct to *to)
{
    size_t n = BATCH;

    if (rate) {
        int64_t due = (now_ns() - made_since_ns) / 1000 * rate / 1000000 - (int64_t)made;

        if (due <= 0)
            (void)poll(NULL, 0, 1);
        n = due > BATCH ? BATCH : due < 0 ? 0 : (size_t)due;
    }
    if (n > to_make - made)
        n = to_make - made;
    for (size_t i = 0; i < n; i++, made++) {
        char body[BODY_BYTES + 1], key[32];
        int key_bytes = body_key(key, made);

        body_put(body, made);
        if (rate) /* the clock reads it at the other end */
            (void)snprintf(body + BODY_BYTES - 24, 25, "%22lld\"}", (long long)now_ns());
        to->put(key, (size_t)key_bytes, body, BODY_BYTES);
    }
    return n;
}

static void nothing(void)
{
}

static void no_ack(size_t n)
{
    (void)n;
}

static void clock_open(const char *port, const char *place)
{
    (void)port, (void)place;
}

static void clock_put(const char *key, size_t key_bytes, const char *body, size_t body_bytes)
{
    (void)key, (void)key_bytes;
    if (body_bytes == BODY_BYTES)
        ages[confirmed] = now_ns() - strtoll(body + BODY_BYTES - 24, NULL, 10);
    confirmed++;
}

static void clock_settle(uint64_t left)
{
    (void)left;
}

static struct tally tally;

static void check_put(const char *key, size_t key_bytes, const char *body, size_t body_bytes)
{
    tally_add(&tally, key, key_bytes, body, body_bytes);
}

static const struct from *from_of(const char *name)
{
    static const struct from kafka = { kafka_from_open, kafka_take, kafka_ack, kafka_from_close };
    static const struct from redis = { redis_from_open, redis_take, redis_ack, redis_from_close };
    static const struct from rabbitmq = { rabbit_from_open, rabbit_take, rabbit_ack,
        rabbit_from_close };
    static const struct from nats = { nats_from_open, nats_take, nats_done, nats_from_close };
    static const struct from make = { make_open, make_take, no_ack, nothing };

    return strcmp(name, "kafka") == 0      ? &kafka
           : strcmp(name, "redis") == 0    ? &redis
           : strcmp(name, "rabbitmq") == 0 ? &rabbitmq
           : strcmp(name, "nats") == 0     ? &nats
           : strcmp(name, "make") == 0     ? &make
                                           : NULL;
}

static const struct to *to_of(const char *name)
{
    static const struct to kafka = { kafka_to_open, kafka_put, kafka_settle, kafka_to_close };
    static const struct to redis = { redis_to_open, redis_put, redis_settle, redis_to_close };
    static const struct to rabbitmq = { rabbit_to_open, rabbit_put, rabbit_settle,
        rabbit_to_close };
    static const struct to nats = { nats_to_open, nats_put, nats_settle, nats_to_close };
    static const struct to clock = { clock_open, clock_put, clock_settle, nothing };

    return strcmp(name, "kafka") == 0      ? &kafka
           : strcmp(name, "redis") == 0    ? &redis
           : strcmp(name, "rabbitmq") == 0 ? &rabbitmq
           : strcmp(name, "nats") == 0     ? &nats
           : strcmp(name, "clock") == 0    ? &clock
                                           : NULL;
}

/* ---- the relay ---- */

static int by_age(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static void tell(uint64_t events, int64_t took_ns, bool with_ages)
{
    struct rusage usage;
    double cpu_us;

    (void)getrusage(RUSAGE_SELF, &usage);
    cpu_us = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
             (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    (void)printf("{\"events\":%llu,\"seconds\":%.4f,\"rate\":%.0f,\"cpu_us\":%.3f,\"peak_kib\":%ld",
        (unsigned long long)events, (double)took_ns / 1e9, (double)events * 1e9 / (double)took_ns,
        cpu_us / (double)events, usage.ru_maxrss);
    if (with_ages) {
        /* The first quarter is how everything starts. */
        memmove(ages, ages + events / 4, (events - events / 4) * sizeof *ages);
        events -= events / 4;
        qsort(ages, events, sizeof *ages, by_age);
        const size_t middle = events / 2, last_hundredth = events - 1 - events / 100;
        const size_t last_thousandth = events - 1 - events / 1000;

        (void)printf(",\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f",
            (double)ages[middle] / 1e6, (double)ages[last_hundredth] / 1e6,
            (double)ages[last_thousandth] / 1e6, (double)ages[events - 1] / 1e6);
    }
    (void)printf("}\n");
}

static void ack_confirmed(const struct from *from)
{
    size_t n = 0;

    while (n < batch_n && batches[(batch_first + n) % BATCHES].end <= confirmed)
        n++;
    if (n == 0)
        return;
    from->ack(n);
    batch_first = (batch_first + n) % BATCHES;
    batch_n -= n;
}

static void took(size_t n)
{
    put_count += n;
    if (n)
        batches[(batch_first + batch_n++) % BATCHES].end = put_count;
}

static int check_all(const struct from *from, uint64_t events)
{
    static const struct to check = { .put = check_put };
    int64_t came_ns = now_ns();

    if (!tally_open(&tally, events))
        die("events", "out of memory");
    while (now_ns() - came_ns < (tally.distinct < events ? MISSING_NS : SURPLUS_NS)) {
        size_t got = from->take(&check);

        took(got);
        confirmed = put_count;
        ack_confirmed(from);
        came_ns = got ? now_ns() : came_ns;
    }
    tally_print(&tally);
    from->close();
    tally_free(&tally);
    return 0;
}

int main(int n, char **args)
{
    const struct from *from = n == 8 ? from_of(args[1]) : NULL;
    const struct to *to = n == 8 ? to_of(args[4]) : NULL;
    uint64_t events = n == 8 ? strtoull(args[7], NULL, 10) : 0;
    bool checks = n == 8 && strcmp(args[4], "check") == 0;
    int64_t began_ns = 0;

    if (!from || (!to && !checks) || !events)
        die("usage", "bare FROM PORT PLACE TO PORT PLACE EVENTS");
    if (checks) {
        from->open(args[2], args[3]);
        return check_all(from, events);
    }
    ages = calloc(events + BATCH, sizeof *ages);
    if (!ages)
        die("events", "out of memory");
    to_make = events;
    to->open(args[5], args[6]);
    from->open(args[2], args[3]);
    while (confirmed < events) {
        int64_t asked_ns = now_ns();
        size_t got = put_count < events ? from->take(to) : 0;

        if (got && !began_ns)
            began_ns = asked_ns;
        took(got);
        /* Nothing came: a moment to let the rest through. */
        to->settle(put_count >= events ? 0 : got || rate ? WINDOW - BATCH : 0);
        ack_confirmed(from);
    }
    tell(events, now_ns() - began_ns, strcmp(args[4], "clock") == 0);
    from->close();
    to->close();
    free(ages);
    return 0;
}
