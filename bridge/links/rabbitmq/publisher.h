/* An exchange's publisher from inside: what the sink's two threads share. The loop's side is
 * sink.c; the connection's thread sends and hears what became of it (publisher.c, returns.c). */
#ifndef BASCULE_PUBLISHER_H
#define BASCULE_PUBLISHER_H

#include "bridge/base/buf.h"
#include "bridge/links/rabbitmq/arena.h"
#include "bridge/links/rabbitmq/io.h"
#include "bridge/links/rabbitmq/options.h"
#include "bridge/links/ring.h"

/* One message on its way: a copy, so that the loop can take its loan back at any time. */
struct job {
    struct job *next;
    struct arena arena;
    uint64_t ref, tag;
    int64_t taken_ms;
    size_t bytes;
    amqp_basic_properties_t properties;
    amqp_bytes_t key, body;
    bool reported, returned, again;
    int return_code;
    char return_text[64];
};

/* A report with the text that it lends. */
struct told {
    struct report report;
    size_t bytes;
    char *text;
};

/* A returned message that is being put together. */
struct returned {
    bool announced, open;
    int code;
    char text[64];
    char key[256];
    size_t key_bytes;
    struct buf raw, body;
    uint64_t body_bytes;
};

struct sink {
    struct channel c;
    /* Read only, own copies. */
    struct arena own;
    char *exchange;
    enum options_declare declare;
    const char *exchange_type;
    amqp_table_t arguments;
    bool mandatory, persistent, token_header, key_varies;
    enum options_dedicated dedicated;
    size_t window_events, window_bytes;
    int64_t confirm_timeout_ms;
    /* [lock] */
    struct job *queue, **queue_end; /* taken, not sent */
    size_t queue_count;
    struct job **ring; /* sent, by tag & (ring_room - 1) */
    size_t ring_room;
    uint64_t oldest, next; /* tags: the ring holds oldest to next-1 */
    size_t unreported;     /* of the ring */
    uint64_t timeout_at;   /* tag from which none has timed out yet */
    uint64_t confirmed;    /* the highest confirmed tag */
    struct ring told;      /* of struct told: has room for all that is taken and not collected */
    uint64_t told_first, told_end;
    /* [loop] */
    size_t out_events, out_bytes;
    struct ring lent; /* texts of the last collect, by number from 0; room as in `told` */
    size_t lent_count;
    int64_t grace_ms; /* the broker blocked us until then */
    bool moving;      /* to a connection of its own, once nothing is out */
    struct io *own_io;
    /* [io] */
    struct returned in;
};

extern const struct channel_ops publisher_ops;

void publisher_lock(const struct sink *s);
void publisher_unlock(const struct sink *s);
/* [lock] What was not sent yet is reported unsent. */
void publisher_unqueue(struct sink *s, int code, const char *text);
/* The texts that the last collect lent. */
void publisher_texts_free(struct sink *s);
/* Frees it; for one that was opened ops->release() does. */
void publisher_free(struct sink *s);

#endif
