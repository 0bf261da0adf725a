/* What a source has read: packs as they came, pieces of them that are lent out as batches. */
#ifndef BASCULE_BATCHES_H
#define BASCULE_BATCHES_H

#include "bridge/base/buf.h"
#include "bridge/connector.h"

/* Memory of one reply, or of one run of messages; freed with the last piece of it. */
struct pack {
    struct pack *next;
    unsigned refs;
    struct event *events;
    size_t n, at; /* events, and the first one not lent yet */
    void *reply;  /* what the events lie in, in its link's own shape */
    void (*reply_free)(void *reply);
    struct buf data;
    struct bytes *gone; /* ids of entries that were trimmed before they were read */
    size_t gone_n;
    bool gone_lent;
    int64_t from_ms; /* unix time of its first event, for its owner */
};

struct note {
    struct note *next;
    int64_t start_ms, end_ms;
    uint64_t count;
    char what[160], cause[200];
};

struct piece {
    struct batch batch; /* first: a piece is found by its batch */
    struct piece *next;
    struct pack *pack; /* NULL: it holds no events */
    struct note *notes;
    struct source_gap *gaps;
    struct position *positions;
    struct buf text; /* of the positions */
    struct bytes *gone;
    size_t gone_n;
    uint64_t number; /* for its owner */
};

struct batches {
    struct pack *ready;
    struct piece *out; /* oldest first */
    struct note *notes;
    size_t ready_events, ready_bytes, events_out, bytes_out;
};

/* n is the most events it will hold. NULL: no memory. */
struct pack *pack_new(size_t n);
void pack_free(struct pack *p);
void piece_free(struct piece *p);
void batches_done(struct batches *b);
/* Takes the pack. */
void batches_put(struct batches *b, struct pack *p);
/* What is read and not lent is forgotten. */
void batches_drop_ready(struct batches *b);
/* `what` and `cause` are copied. A note that cannot be kept for want of memory is tried again by
 * nobody: the caller hears -1. */
int batches_note(struct batches *b, const struct note *note);
/* The next piece within the limits, with the notes that wait; `even_empty`: also when there is
 * nothing in it. NULL: none now, or no memory. */
struct piece *batches_take(
    struct batches *b, size_t limit, const struct source_spec *spec, bool even_empty);
/* The piece was not stored: its notes wait for the next one. */
void batches_keep_notes(struct batches *b, struct piece *p);
/* Ends the loan; the caller owns the piece then. NULL: no such batch. */
struct piece *batches_return(struct batches *b, struct batch *batch);

#endif
