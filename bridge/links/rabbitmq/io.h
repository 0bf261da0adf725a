/* One AMQP connection with a thread of its own, and the channels on it.
 *
 * The client library blocks while it connects and while a socket takes nothing, and its heartbeats
 * run only inside its calls. So each connection belongs to one thread, which alone touches it. The
 * loop never waits for it: everything between them lies in the structs below, under the link's one
 * lock, held for a few steps at a time. The loop decides when to connect and to open (it has the
 * clock and the back-off), the thread does it and says what became of it.
 *
 * Marks: [lock] under link.lock; [loop] and [io] belong to that thread alone. */
#ifndef BASCULE_IO_H
#define BASCULE_IO_H

#include "bridge/base/backoff.h"
#include "bridge/base/buf.h"
#include "bridge/links/rabbitmq/dial.h"

#include <pthread.h>

struct io;
struct channel;

struct link {
    pthread_mutex_t lock;
    int refs;                   /* [lock] the loop's and one for each thread */
    int bell;                   /* eventfd: a thread has news for the loop */
    bool rung;                  /* [lock] */
    struct dial dial;           /* read only */
    char store_id[64];          /* read only */
    struct random random;       /* [loop] */
    int64_t now_ms;             /* [loop] */
    struct io *ios;             /* [loop]; each lives as long as the link */
    struct io *reader, *writer; /* [loop] the shared ones, NULL until needed */
    struct channel *channels;   /* [loop] all of them */
};

enum io_state { IO_IDLE = 1, IO_CONNECTING, IO_UP };

struct io {
    struct link *link;
    struct io *next;
    const char *purpose;               /* "consume", "publish" */
    int wake;                          /* eventfd: the loop has work for the thread */
    bool woken;                        /* [lock] */
    enum io_state state;               /* [lock] */
    bool dial_wanted;                  /* [lock] loop sets, thread clears */
    bool stop;                         /* [lock] */
    bool blocked;                      /* [lock] by the broker */
    bool sending;                      /* [lock] the thread may hang in a full socket */
    uint64_t sends;                    /* [lock] times that it began to */
    uint64_t sends_seen;               /* [loop] */
    int unread_seen;                   /* [loop] */
    int64_t alive_ms;                  /* [loop] it got on, or heard from the broker, then */
    int64_t sent_ms;                   /* [loop] its sending got on, or there was none, then */
    int fd;                            /* [lock] for shutdown() only; -1: none */
    uint64_t connects, failures;       /* [lock] */
    size_t header_bytes;               /* [lock] room for properties in one frame */
    char error[256];                   /* [lock] */
    struct dial_peer peer;             /* [lock] */
    struct channel *channels;          /* [lock]; the thread alone takes out */
    int64_t retry_ms, since_ms, up_ms; /* [loop] */
    uint32_t tries;                    /* [loop] */
    uint64_t failures_seen;            /* [loop] */
    enum io_state state_seen;          /* [loop] */
    amqp_connection_state_t amqp;      /* [io] */
    struct channel **numbers;          /* [io] by channel number; [0] is NULL */
    size_t number_count;               /* [io] */
    size_t host;                       /* [io] the one to try next */
    bool plain;                        /* [io] without TLS: its socket may be written to */
    struct buf out;                    /* [io] what is written to it at once */
};

/* Why a channel ended. */
struct io_end {
    int code;         /* AMQP reply code, 0: lost, or closed by us */
    bool closed;      /* the broker closed it or its connection, with `code` */
    bool alone;       /* one publish at most was unconfirmed on all that was closed */
    const char *text; /* lent */
};

struct channel_ops {
    /* [io] Sends set-up request number `step`. 1: sent, its reply brings the next call; 0: there
     * are no more, the channel is up; -1: the connection failed. */
    int (*setup)(struct channel *c, int step);
    /* [io] Sends what waits. 1: there is more; 0: no more; -1: the connection failed. */
    int (*work)(struct channel *c);
    /* [io] Sends what must go before the loop closes it. -1: the connection failed. May be NULL. */
    int (*last)(struct channel *c);
    /* [io] A frame for it while it is up. -1: the connection failed. */
    int (*frame)(struct channel *c, const amqp_frame_t *frame);
    /* [io] No more input for now. */
    void (*flush)(struct channel *c);
    /* [io], [lock] The session is over. */
    void (*ended)(struct channel *c, const struct io_end *end);
    /* [lock] */
    size_t (*unconfirmed)(const struct channel *c);
    /* [io] Frees it. */
    void (*release)(struct channel *c);
    /* [loop], [lock] When to call again at the latest. */
    int64_t (*step)(struct channel *c, int64_t now_ms);
};

enum channel_state { CHANNEL_DOWN = 1, CHANNEL_OPENING, CHANNEL_UP, CHANNEL_CLOSING };

/* First member of a source and of a sink. */
struct channel {
    const struct channel_ops *ops;
    struct io *io;                     /* [loop] writes, under lock */
    struct channel *next, *next_all;   /* on its io; [loop] */
    enum channel_state state;          /* [lock] the thread writes */
    bool wanted;                       /* [lock] to be open; the thread clears it when it ended */
    bool gone;                         /* [lock] the loop has let go: release it */
    bool leave, left;                  /* [lock] to be taken off its io; it is off */
    uint64_t session;                  /* [lock] the loop counts up before each opening */
    uint64_t failures;                 /* [lock] */
    char error[256];                   /* [lock] */
    bool hold;                         /* [loop] not to be opened now */
    bool crowded;                      /* [loop] wants a connection of its own, cannot leave yet */
    int64_t retry_ms, since_ms, up_ms; /* [loop] */
    uint32_t tries;                    /* [loop] */
    uint64_t failures_seen;            /* [loop] */
    enum channel_state state_seen;     /* [loop] */
    uint16_t number;                   /* [io] */
    int step;                          /* [io] */
};

/* ---- loop ---- */

/* A new connection with its thread. NULL with *why. */
struct io *io_open(struct link *l, const char *purpose, struct fault *why);
/* Puts the channel on the connection (its own member `io`). */
void io_attach(struct io *io, struct channel *c);
/* [lock] Makes the thread look. */
void io_wake(struct io *io);
/* Stops the thread; what it still holds it frees itself. */
void io_stop(struct io *io);
/* Drops a reference; the last one frees the link and its connections. */
void link_unref(struct link *l);

/* ---- threads ---- */

/* [lock] Tells the loop that there is news. */
void io_ring(struct link *l);
/* [io] Sends a method. 0, or -1 when the connection failed. */
int io_send(struct channel *c, amqp_method_number_t id, void *method);
/* [io] Closes the channel for a reason of our own. 0, or -1 when the connection failed. */
int io_close_channel(struct channel *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
