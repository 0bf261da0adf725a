#include "bridge/links/rabbitmq/returns.h"

#include <stdio.h>

#include "bridge/links/rabbitmq/codec.h"
#include "bridge/links/rabbitmq/jobs.h"

int returns_begin(struct sink *s, const amqp_basic_return_t *r)
{
    struct returned *in = &s->in;

    in->announced = true;
    in->open = false;
    in->code = r->reply_code;
    (void)snprintf(in->text, sizeof in->text, "%.*s", (int)(r->reply_text.len & 0xff),
        (const char *)r->reply_text.bytes);
    in->key_bytes = r->routing_key.len & 0xff;
    if (in->key_bytes)
        memcpy(in->key, r->routing_key.bytes, in->key_bytes);
    buf_clear(&in->raw);
    buf_clear(&in->body);
    return 0;
}

static bool body_equal(const struct returned *in, const struct job *j)
{
    return !j->returned && j->key.len == in->key_bytes && j->body.len == in->body.n &&
           (in->key_bytes == 0 || memcmp(j->key.bytes, in->key, in->key_bytes) == 0) &&
           (in->body.n == 0 || memcmp(j->body.bytes, in->body.at, in->body.n) == 0);
}

static bool raw_equal(const struct returned *in, const struct job *j)
{
    struct buf raw;
    bool equal;

    buf_init(&raw, in->raw.n + 1024);
    equal = codec_raw(&j->properties, &raw) == 0 && raw.n == in->raw.n &&
            memcmp(raw.at, in->raw.at, raw.n) == 0;
    buf_done(&raw);
    return equal;
}

/* A return names no delivery tag, and confirms of several messages come together. But returns come
 * in the order of publishing and before their confirm, and bring the message back whole: it is the
 * oldest unconfirmed one that is equal in every byte. Two that are equal in every byte, message id
 * and headers included, are one to every consumer as well. */
static int return_end(struct sink *s)
{
    struct returned *in = &s->in;
    struct job *likely = NULL, *found = NULL;

    in->announced = in->open = false;
    publisher_lock(s);
    for (uint64_t tag = s->oldest; tag < s->next && !found; tag++) {
        struct job *j = *jobs_at(s, tag);

        if (!j || !body_equal(in, j))
            continue;
        if (raw_equal(in, j))
            found = j;
        else if (!likely)
            likely = j; /* the broker wrote its properties another way */
    }
    if (!found)
        found = likely;
    if (found) {
        found->returned = true;
        found->return_code = in->code;
        memcpy(found->return_text, in->text, sizeof found->return_text);
    }
    publisher_unlock(s);
    /* To take an unknown return as none would count a lost message as delivered. */
    return found ? 0
                 : io_close_channel(&s->c, "the broker returned a message that we did not send");
}

int returns_head(struct sink *s, const amqp_frame_t *f)
{
    struct returned *in = &s->in;

    if (!in->announced)
        return 0;
    in->body_bytes = f->payload.properties.body_size;
    in->open = true;
    buf_put(&in->raw, f->payload.properties.raw.bytes, f->payload.properties.raw.len);
    return in->body_bytes == 0 ? return_end(s) : 0;
}

int returns_body(struct sink *s, amqp_bytes_t part)
{
    struct returned *in = &s->in;

    if (!in->open)
        return 0;
    buf_put(&in->body, part.bytes, part.len);
    if (in->body.failed || in->body.n > in->body_bytes)
        return io_close_channel(&s->c, "the broker returned more than can have been sent");
    return in->body.n == in->body_bytes ? return_end(s) : 0;
}
