/* What a source knows of whether it listened: where the server keeps nothing, each time in which
 * nobody did is a gap. It is told when it begins and again when it is over; a place that is stored
 * once a minute tells the next start until when the last one listened. */
#ifndef BASCULE_LISTENED_H
#define BASCULE_LISTENED_H

#include "bridge/links/batches.h"

struct listened {
    struct batches *batches; /* of the source; kept */
    bool on;                 /* it listens now */
    bool no_memory;          /* a note was lost for want of it; for the owner to reset */
    int64_t seen_ms;         /* stored at the last start; 0: none, or told */
    int64_t stored_ms;       /* as given with the last batch */
    int64_t missing_ms;      /* start of the gap that is open; 0: none */
    uint64_t number;         /* of messages, for names */
    int64_t base_ms;         /* of those names: time of the first subscription; 0: none yet */
    char what[160], cause[200];
};

void listened_init(struct listened *l, struct batches *batches, const struct source_spec *spec);
/* Puts names behind those that its gaps are told of. */
void listened_name(struct listened *l, const struct option_list *names);
void listened_note(
    struct listened *l, int64_t start_ms, int64_t end_ms, uint64_t count, const char *cause);
/* Nobody listens any more, since `at_ms`. */
void listened_end(struct listened *l, int64_t at_ms, const char *cause);
void listened_begin(struct listened *l, int64_t now_ms);
/* A name for the next message that came. */
struct listened_origin {
    char text[48];
};
struct listened_origin listened_next(struct listened *l);
/* As batches_take(), with its place. `heard_ms`: until when it is sure that nothing was missed. */
struct batch *listened_take(struct listened *l, const struct source_spec *spec, size_t limit,
    int64_t now_ms, int64_t heard_ms);
/* The piece comes back and was not stored. */
void listened_lost(struct listened *l, const struct piece *p, int64_t now_ms);

#endif
