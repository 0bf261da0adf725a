/* Any bytes as the headers of a Kafka record: a list that is sound, what was read and written once
 * is read and written the same again, and it may name a trace. The input is pairs of runs, each
 * behind a byte that tells its length; 255 is a null. */
#include "bridge/base/span.h"
#include "bridge/links/kafka/codec.h"

#include <stdlib.h>

#define FIELDS_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct written {
    struct codec_field fields[CODEC_FIELDS_MAX];
    size_t n;
    struct buf bytes;
};

static struct bytes take_run(struct bytes *from)
{
    struct bytes run = BYTES_NONE;
    size_t n = from->n ? from->at[0] : 255;

    if (from->n)
        *from = bytes_of(from->at + 1, from->n - 1);
    if (n == 255)
        return run;
    run = bytes_of(from->at, n < from->n ? n : from->n);
    *from = bytes_of(from->at + run.n, from->n - run.n);
    return run;
}

static void put(void *to, struct bytes name, struct bytes value)
{
    struct written *w = to;

    if (w->n == CODEC_FIELDS_MAX)
        abort();
    /* Places for now: the bytes may move until all is there. */
    w->fields[w->n++] = (struct codec_field){ name, value };
    buf_put_bytes(&w->bytes, name);
    if (bytes_present(value))
        buf_put_bytes(&w->bytes, value);
}

static void settle(struct written *w)
{
    const uint8_t *at = w->bytes.at;

    for (size_t i = 0; i < w->n; i++) {
        w->fields[i].name = bytes_of(at, w->fields[i].name.n);
        at += w->fields[i].name.n;
        if (!bytes_present(w->fields[i].value))
            continue;
        w->fields[i].value = bytes_of(at, w->fields[i].value.n);
        at += w->fields[i].value.n;
    }
}

/* Its list in *list, with id and hops in *e. */
static void read(const struct codec_field *fields, size_t n, struct buf *list, struct event *e)
{
    *e = (struct event){ .body = bytes_text("b") };
    kafka_codec_read(fields, n, list, e);
    e->headers = buf_bytes(list);
    if (!list->failed && !header_valid(e->headers))
        abort();
}

static void use_trace(const struct event *e)
{
    struct tracer tracer = { .on = true, .ratio = 0.5 };
    struct span span;

    (void)span_begin(&tracer, 1, e, &span);
}

/* False when it cannot be written. Places that mean nothing may change: the content type goes
 * before the headers. */
static bool there_and_back(const struct event *e, struct buf *list, struct event *back)
{
    static struct written w;
    struct buf scratch;
    bool result;

    w.n = 0;
    buf_init(&w.bytes, 1 << 20);
    buf_init(&scratch, 1 << 20);
    result = kafka_codec_write(e, false, &scratch, put, &w) == 0;
    if (result) {
        settle(&w);
        read(w.fields, w.n, list, back);
        if (back->hops != e->hops || !bytes_equal(back->id, event_id(e)) || list->failed)
            abort();
        back->id = e->id; /* which lives longer */
    }
    buf_done(&scratch);
    buf_done(&w.bytes);
    return result;
}

static void use_twice(const struct event *e)
{
    struct event once, twice;
    struct buf one, two;

    buf_init(&one, 1 << 21);
    buf_init(&two, 1 << 21);
    if (there_and_back(e, &one, &once) &&
        (!there_and_back(&once, &two, &twice) || !bytes_equal(once.headers, twice.headers)))
        abort();
    buf_done(&one);
    buf_done(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct codec_field fields[FIELDS_MAX];
    struct bytes rest = bytes_of(data, n);
    struct buf list;
    struct event e;
    size_t count = 0;

    for (; rest.n && count < FIELDS_MAX; count++) {
        fields[count].name = take_run(&rest);
        fields[count].value = take_run(&rest);
        if (!bytes_present(fields[count].name))
            fields[count].name = bytes_text("");
    }
    buf_init(&list, 1 << 20);
    read(fields, count, &list, &e);
    if (!list.failed) {
        use_trace(&e);
        use_twice(&e);
    }
    buf_done(&list);
    return 0;
}
