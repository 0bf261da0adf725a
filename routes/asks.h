/* Who asked the store for a read: tags handed out with a question, looked up when its answer comes.
 */
#ifndef BASCULE_ASKS_H
#define BASCULE_ASKS_H

#include "store/store.h"

typedef void ask_answered(void *asker, struct store_read *answer);

struct ask {
    uint64_t tag; /* 0: free place */
    ask_answered *answered;
    void *asker;
};

struct asks {
    struct store *store; /* kept */
    struct ask *at;
    size_t n;
    uint64_t last_tag;
};

void asks_init(struct asks *a, struct store *store);
void asks_done(struct asks *a);
/* A new tag; 0 when there is no memory. The answer goes to answered(asker, …) once. */
uint64_t asks_add(struct asks *a, ask_answered *answered, void *asker);
/* It was not asked after all. */
void asks_drop(struct asks *a, uint64_t tag);
/* Answers to this asker that are still to come are thrown away. */
void asks_forget(struct asks *a, const void *asker);
/* Hands out all answers that came. Returns how many. */
size_t asks_dispatch(struct asks *a);

#endif
