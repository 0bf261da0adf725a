/* What the two sides of a wire share: the loop's (wire.c) and the threads' (hand.c). */
#ifndef BASCULE_WIRE_INSIDE_H
#define BASCULE_WIRE_INSIDE_H

#include "bridge/base/random.h"
#include "bridge/links/nats/wire.h"

#include <nats/nats.h>
#include <pthread.h>

#define WIRE_OUT_BYTES_MAX (16u << 20)
#define WIRE_OUT_MAX 65536
#define WIRE_ERRORS_MAX 64

enum wire_kind { WIRE_MESSAGE = 1, WIRE_FLUSH, WIRE_CLOSE_PORT, WIRE_OPEN_PORT };

struct wire_out {
    struct wire_out *next;
    enum wire_kind kind;
    uint64_t number;  /* WIRE_MESSAGE, WIRE_FLUSH: of the last message it is about */
    uint64_t session; /* what was meant for another connection is not sent on this one */
    size_t bytes;
    natsMsg *msg;
    struct wire_port *port;
};

struct wire_port {
    struct wire_port *next; /* hand's list */
    struct box *box;
    char *subject, *queue;
    int limit, limit_bytes;
    natsSubscription *sub; /* hand's */
    /* under the box's lock: */
    bool running; /* its thread may still call */
    bool over;    /* nothing more is taken */
    struct wire_message *first, **end;
    size_t waiting;
    uint64_t dropped, dropped_before;
    /* The loop's: taken from there at once, where nothing waits for each place to become free. */
    struct wire_message *taken;
};

enum wire_phase { WIRE_IDLE = 1, WIRE_DIAL, WIRE_DIALLING, WIRE_UP, WIRE_END, WIRE_ENDED };

/* Lives until both sides have let go. */
struct box {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int event_fd;
    unsigned refs;
    struct nats_link_options options; /* own copies: the hand may outlive the link */
    char *name;
    bool stop;
    _Atomic bool closed;   /* the library has said its last word on this connection */
    enum wire_phase phase; /* the loop asks by WIRE_DIAL and WIRE_END, the hand answers */
    bool leaving;          /* the server goes down in a while */
    uint64_t session;
    int64_t max_payload;
    char peer[128], error[256], denied[256];
    char errors[WIRE_ERRORS_MAX][192];
    size_t error_first, error_end;
    struct wire_out *out, **out_end;
    size_t out_n, out_bytes;
    bool starved;            /* the loop wants to hear when there is room again */
    _Atomic uint64_t handed; /* the hand's alone to write */
    uint64_t flushed, flushes;
    bool signalled;
};

void box_signal(struct box *b); /* with the lock held */
void box_release(struct box *b);
void *hand_run(void *box); /* the thread */
void wire_out_free(struct wire_out *o);

#endif
