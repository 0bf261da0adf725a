/* The contract between the core and a link: one descriptor to poll, functions to call, no upcalls.
 *
 * A link is one `connections:` entry. It opens sources and sinks, which share its sockets and
 * threads as its client library allows. All functions are called on the loop thread, none may block
 * longer than 5 ms, none may call back. No function reads a clock or asks the system for a random
 * number: `now_ms` (monotonic) and a seed are given.
 *
 * Two loans cross this line: a received batch, from receive() until settle(); and the bytes of
 * published messages, from publish() until the message's one report came out of collect().
 *
 * Not connected is a state. A link connects, authenticates and declares again by itself, waiting
 * backoff_connect between tries (base/backoff.h), for ever, and says how it is in status(). open()
 * functions do no I/O and fail only on input that can never work. */
#ifndef BASCULE_CONNECTOR_H
#define BASCULE_CONNECTOR_H

#include "bridge/base/buf.h"
#include "bridge/base/event.h"
#include "bridge/base/fault.h"
#include "bridge/base/lifecycle.h"
#include "bridge/base/option.h"

#define CONNECTOR_FIELDS_MAX 6

/* A link, a source and a sink are the link file's own structs behind these names. */
struct link;
struct source;
struct sink;

struct link_spec {
    const char *name;     /* the connection's name; kept (outlives the link), as all text here */
    const void *options;  /* the struct that connector.link_options fills; kept */
    const char *store_id; /* text, names this installation's store to brokers */
    uint64_t seed;        /* for back-off jitter and made-up names */
    const char *const *store_was; /* ids that it had before it was restored, ended by NULL; NULL:
                                   * none. What they left at a broker about positions is its own;
                                   * what they sent is not known to be: another may go on as them */
};

/* ---- sources ---- */

/* A source's place, stored in the transaction that holds its events. `name` says of what
 * ("orders/3": topic and partition; "clicks:17": stream and batch), `value` is the link's own
 * encoding. */
struct position {
    struct bytes name;
    struct bytes value; /* absent: forget this name */
};

/* A time in which events may have been lost before they reached us, or were trimmed. */
struct source_gap {
    int64_t start_ms,
        end_ms;     /* unix ms; end 0: not over yet, then the next one of the same start ends it */
    uint64_t count; /* events known to be lost, 0 when unknown */
    struct bytes what;  /* channel, stream or topic-partition */
    struct bytes cause; /* a sentence */
};

/* What one receive() hands over: events, positions and gaps of one transaction. Any of them may be
 * empty: a batch without events still is committed and then settled. Owned by the source, lent to
 * the caller until settle(). */
struct batch {
    struct event *events; /* the route may set order_key, received_ms, seq and flags in them;
                           * EVENT_REFUSED ones are settled as all are */
    size_t count;
    const struct position *positions;
    size_t position_count;
    const struct source_gap *gaps;
    size_t gap_count;
    size_t bytes; /* of its events (event_bytes) */
};

struct source_spec {
    const char *route;                /* the route's name; kept */
    uint64_t route_id;                /* number never used again in this store */
    const void *options;              /* the struct that connector.source_options fills; kept */
    const struct position *positions; /* as stored for (route, connection); lent during open */
    size_t position_count;
    int64_t window_events;   /* most events lent and unsettled at a time, over all batches */
    int64_t window_bytes;    /* same, in bytes; one event may pass it alone */
    int64_t max_event_bytes; /* larger bodies cannot be logged, see `oversize` in the link */
    bool clean_start;        /* false after a crash: start carefully (RabbitMQ prefetch 1) */
    struct lifecycle
        *lifecycle; /* what happens to the bridge itself, for the built-in source; kept */
};

/* ---- sinks ---- */

enum fate { FATE_NONE = 0, FATE_DELIVERED, FATE_UNSENT, FATE_UNSURE, FATE_REFUSED };

/* Why it was not delivered. The route decides by this what is charged (design, section 3). */
enum cause {
    CAUSE_NONE = 0,   /* only with FATE_DELIVERED */
    CAUSE_FINAL,      /* REFUSED: oversize, wrong type, malformed: never will be taken */
    CAUSE_UNROUTABLE, /* REFUSED for now: returned, no receiver */
    CAUSE_NACK,       /* REFUSED for now: basic.nack, a record error that may pass */
    CAUSE_ADDRESS,    /* REFUSED for now: exchange, topic or stream of this message unknown or
                         forbidden */
    CAUSE_PROTOCOL,   /* UNSURE: the broker closed channel or connection over one of the unconfirmed
                       * messages and did not say which (406, 5xx). With `alone`, it was the only one:
                       * REFUSED for good */
    CAUSE_BROKER,     /* UNSENT: the broker's state: OOM, READONLY, LOADING, not enough replicas */
    CAUSE_TIMEOUT,    /* UNSURE: no confirmation within the sink's confirm timeout */
    CAUSE_LOST,       /* UNSENT or UNSURE: the session ended */
    CAUSE_DRAINED,    /* UNSENT: drain's time was over before it was sent */
};

enum message_flag {
    MESSAGE_RESEND =
        1u << 0, /* an earlier try is unsure: look for the token first, where that works */
    MESSAGE_ALONE = 1u << 1,  /* nothing else is in flight at this sink (lone resend) */
    MESSAGE_REPLAY = 1u << 2, /* publish with the replay header */
};

/* One event to publish. */
struct message {
    uint64_t ref;              /* echoed in its report */
    const struct event *event; /* what to send, after the steps; hops already counted up */
    struct bytes fields[CONNECTOR_FIELDS_MAX]; /* rendered templates by slot (option.h) */
    struct bytes key;      /* record key to send: the sink's rendered `key:`, else the event's own;
                            * absent: none. Links without record keys ignore it */
    struct bytes token;    /* store/route/seq/sink/generation; what a server may deduplicate on */
    int64_t first_sent_ms; /* unix ms of its first try, 0 when this is the first */
    unsigned flags;        /* enum message_flag */
};

struct report {
    uint64_t ref;
    enum fate fate;
    enum cause cause;
    int code; /* the broker's number (AMQP reply code, Kafka error), 0 when it has none */
    bool later_confirmed; /* CAUSE_TIMEOUT: something sent later on that session was confirmed */
    bool alone;           /* CAUSE_PROTOCOL: nothing else was unconfirmed, so this one did it */
    const char *text; /* the broker's words, NULL when none; lent until the next call on the sink */
};

struct sink_spec {
    const char *route, *name; /* kept */
    uint64_t sink_id;         /* number never used again in this store */
    const void *options;      /* the struct that connector.sink_options fills; kept */
    int64_t window_events;    /* most messages taken and without report at a time */
    int64_t window_bytes;
    int64_t confirm_timeout_ms; /* then CAUSE_TIMEOUT */
};

/* ---- status ---- */

enum link_state {
    LINK_NONE = 0,
    LINK_CONNECTING,
    LINK_UP,
    LINK_BLOCKED, /* connected, but the broker asked us to stop publishing */
    LINK_DOWN,    /* waiting to try again */
    LINK_STOPPED, /* needs a person (offset out of range, cluster in place of one server) */
};

struct link_status {
    enum link_state state;
    int64_t since_ms; /* monotonic: in this state since */
    int64_t retry_ms; /* LINK_DOWN: monotonic time of the next try */
    uint64_t session; /* changes whenever old delivery tags or assignments became void */
    uint64_t reconnects;
    char error[256];         /* the last trouble in plain words; "" when none since it is up */
    char peer[128];          /* "rabbit-1:5671, RabbitMQ 3.10.8, TLS 1.3"; "" until connected */
    int64_t lag;             /* source: events waiting at the broker, -1 unknown */
    uint64_t duplicates;     /* source: redeliveries refused or acknowledged unappended */
    uint64_t reordered;      /* source: events handed over behind newer ones of the same place,
                              * where the broker numbers them: late first arrivals */
    int64_t peer_expires_ms; /* unix ms: end of the certificate that the broker showed last; 0:
                              * none, or the client library does not tell */
};

/* One finding of `bascule check --connect` or of a live connection: "queue 'x' has a delivery limit
 * of 20 and no dead-letter exchange". */
struct finding {
    bool is_error;
    char text[400];
};

/* What a broker tells of itself, for `bascule doctor`. */
struct link_facts {
    char peer[128];          /* "rabbit-1:5671" */
    char version[64];        /* "RabbitMQ 3.10.8"; "": it does not tell */
    bool has_clock;          /* it tells the time */
    int64_t clock_ahead_ms;  /* its clock less ours */
    int64_t clock_unsure_ms; /* the answer took so long */
    int64_t peer_expires_ms; /* as in link_status */
};

/* ---- the link's table ---- */

enum connector_trait {
    /* As a source: */
    TRAIT_KEEPS = 1u << 0, /* the broker keeps what is not settled and gives it again */
    TRAIT_SETTLES_POSITION =
        1u << 1,         /* it goes on from a stored position, so no repeats after a crash */
    TRAIT_IDS = 1u << 2, /* gives each message a name that stays the same on a redelivery */
    TRAIT_READS_HEADERS = 1u << 8, /* with them the hop count that ends a loop */
    /* As a sink: */
    TRAIT_CONFIRMS = 1u << 3,   /* the broker confirms that it has taken responsibility */
    TRAIT_CARRIES_ID = 1u << 4, /* a repeat can be known by its id at the other side */
    TRAIT_CARRIES_HEADERS = 1u << 5,
    TRAIT_DEDUPES = 1u << 6, /* the server, or our look-up, refuses repeats by token */
    TRAIT_ORDERS_CHANNEL =
        1u << 7, /* keeps the order in which it was given messages of one address */
};

struct traits {
    unsigned set;    /* enum connector_trait */
    const char *why; /* a sentence on what it does not promise, NULL when there is nothing to say:
                      * "Redis pub/sub does not keep messages" */
};

struct connector {
    const char *type; /* "rabbitmq": what `type:` names */
    const struct option *link_options, *source_options, *sink_options;
    size_t link_options_bytes, source_options_bytes, sink_options_bytes;

    /* Beyond single options: returns 0, or -1 with *why when the combination cannot work ("give
     * channels or stream, not both"). `key` gets the name of the option to point at, NULL for none.
     */
    int (*link_check)(const void *options, const char **key, struct fault *why);
    int (*source_check)(const void *options, const char **key, struct fault *why);
    int (*sink_check)(const void *options, const char **key, struct fault *why);
    /* The same of a sink with its connection, once both are known to be right alone; of the spec
     * only what stands in the configuration. NULL: any two go together. */
    int (*sink_fits)(const void *link_options, const struct sink_spec *sink, const char **key,
        struct fault *why);
    struct traits (*source_traits)(const void *options);
    struct traits (*sink_traits)(const void *options);
    /* What the source reads from and the sink writes to, for finding routes that feed themselves
     * and for `status`: "queue orders", "exchange alerts", "topic clicks", "channel alerts.*". */
    void (*source_place)(const void *options, char *ret, size_t n);
    void (*sink_place)(const void *options, char *ret, size_t n);

    /* For finding routes that feed themselves, as far as the options tell. NULL: nothing is known.
     * Whether two connections lead to one server: */
    bool (*link_same)(const void *a, const void *b);
    /* and there, whether what a sink writes may come to a source; */
    bool (*feeds)(
        const void *sink_link, const void *sink, const void *source_link, const void *source);
    /* whether two sources read one queue or stream, so that what comes to one comes to the other.
     */
    bool (*source_shares)(const void *a_link, const void *a, const void *b_link, const void *b);

    /* What it makes at the broker when it connects and finds it missing, a line each: "queue orders
     * (quorum)"; for `plan`. NULL: never anything. */
    void (*source_declares)(const void *options, struct buf *to);
    void (*sink_declares)(const void *options, struct buf *to);

    int (*link_open)(const struct link_spec *spec, struct link **ret, struct fault *why);
    void (*link_free)(struct link *l); /* after its sources and sinks are freed */
    /* One descriptor for everything the link waits for (an epoll descriptor where it has several);
     * the same for its whole life. Readable: call step(). */
    int (*link_pollfd)(const struct link *l);
    /* Moves everything forward: connects, reads, writes, heartbeats. Returns when to call it again
     * at the latest (monotonic ms, INT64_MAX: only when the descriptor says so). */
    int64_t (*link_step)(struct link *l, int64_t now_ms, int64_t unix_ms);
    void (*link_status)(const struct link *l, struct link_status *ret);
    /* Dials with the given options and looks whether what the source or sink (either may be NULL)
     * needs is there and allowed; may block up to timeout_ms; not on the loop thread of a running
     * daemon. Fills up to limit findings, returns their count. */
    size_t (*link_probe)(const struct link_spec *spec, const struct source_spec *source,
        const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit);
    /* Dials as link_probe does and asks who is there; NULL: cannot be asked. */
    int (*link_facts)(const struct link_spec *spec, int64_t timeout_ms, struct link_facts *ret,
        struct fault *why);
    /* The client library at hand, as it names itself: "librdkafka 2.0.2". NULL: none. */
    const char *(*library)(void);

    int (*source_open)(
        struct link *l, const struct source_spec *spec, struct source **ret, struct fault *why);
    /* The next batch of up to `limit` events, NULL when there is none now. Batches are settled in
     * the order in which they were received, but more than one may be out. */
    struct batch *(*source_receive)(struct source *s, size_t limit);
    /* The caller has its own copy of the events and reads them no more: what they stand in may go,
     * long before the batch is settled. NULL: nothing to let go of. */
    void (*source_copied)(struct source *s, struct batch *batch);
    /* kept: committed, so acknowledge. Not kept: give it back to the broker as never seen, where
     * that costs no delivery attempt; else forget it. */
    void (*source_settle)(struct source *s, struct batch *batch, bool kept);
    /* Paused: takes nothing new from the broker, stays connected and member of its group. */
    void (*source_pause)(struct source *s, bool paused);
    /* Stops for good: hands over nothing more, acknowledges what is settled. Returns true when all
     * acknowledgements are out (call again after steps until then, or give up). */
    bool (*source_drain)(struct source *s);
    void (*source_status)(const struct source *s, struct link_status *ret);
    void (*source_free)(struct source *s); /* batches still out become invalid */

    int (*sink_open)(
        struct link *l, const struct sink_spec *spec, struct sink **ret, struct fault *why);
    /* Takes the first k of n messages, k = 0..n; returns k. 0 while not connected or blocked, or
     * when its window is full. */
    size_t (*sink_publish)(struct sink *s, const struct message *messages, size_t n);
    /* Up to limit reports, in any order. Each taken message gets exactly one. */
    size_t (*sink_collect)(struct sink *s, struct report *ret, size_t limit);
    /* Every message in flight gets its report now (confirmed, or UNSENT/UNSURE with CAUSE_LOST):
     * used when a sink must let go. */
    void (*sink_abandon)(struct sink *s);
    void (*sink_status)(const struct sink *s, struct link_status *ret);
    void (*sink_free)(struct sink *s); /* what was in flight becomes UNSURE to the caller */
};

/* NULL when there is no such type. The one list is bridge/links/link_table.c. */
const struct connector *connector_find(const char *type);
/* All of them, ended by NULL. */
extern const struct connector *const connector_all[];
/* The bridge itself as a source (`from: { internal }`): built in, so no connection is of its type;
 * it has no sinks. */
extern const struct connector connector_internal;

#endif
