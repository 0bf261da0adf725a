#include "routes/asks.h"

#include <stdlib.h>

void asks_init(struct asks *a, struct store *store)
{
    *a = (struct asks){ .store = store };
}

void asks_done(struct asks *a)
{
    free(a->at);
    *a = (struct asks){ 0 };
}

static struct ask *free_place(struct asks *a)
{
    struct ask *at;

    for (size_t i = 0; i < a->n; i++)
        if (a->at[i].tag == 0)
            return &a->at[i];
    at = realloc(a->at, (a->n + 16) * sizeof *at);
    if (!at)
        return NULL;
    memset(at + a->n, 0, 16 * sizeof *at);
    a->at = at;
    a->n += 16;
    return &at[a->n - 16];
}

uint64_t asks_add(struct asks *a, ask_answered *answered, void *asker)
{
    struct ask *place = free_place(a);

    if (!place)
        return 0;
    *place = (struct ask){ .tag = ++a->last_tag, .answered = answered, .asker = asker };
    return place->tag;
}

void asks_drop(struct asks *a, uint64_t tag)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->at[i].tag == tag)
            a->at[i] = (struct ask){ 0 };
}

void asks_forget(struct asks *a, const void *asker)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->at[i].asker == asker)
            a->at[i].answered = NULL;
}

static void answer(struct asks *a, struct store_read *read)
{
    for (size_t i = 0; i < a->n; i++) {
        struct ask ask = a->at[i];

        if (ask.tag != read->tag || ask.tag == 0)
            continue;
        a->at[i] = (struct ask){ 0 };
        if (ask.answered)
            ask.answered(ask.asker, read);
        return;
    }
}

size_t asks_dispatch(struct asks *a)
{
    struct store_read read;
    size_t n = 0;

    for (; store_read_next(a->store, &read); n++) {
        answer(a, &read);
        store_read_done(&read);
    }
    return n;
}
