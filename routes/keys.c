#include "routes/keys.h"

#include <stdlib.h>

#define SLAB_KEYS 256
#define BUCKETS_FIRST 1024

struct slab {
    struct slab *next;
    struct key keys[SLAB_KEYS];
};

void keys_init(struct keys *k)
{
    *k = (struct keys){ 0 };
}

void keys_done(struct keys *k)
{
    for (struct slab *s = k->slabs; s;) {
        struct slab *next = s->next;

        free(s);
        s = next;
    }
    free(k->buckets);
    *k = (struct keys){ 0 };
}

static struct key **bucket_of(const struct keys *k, uint64_t hash)
{
    return &k->buckets[hash & (k->bucket_count - 1)];
}

struct key *keys_find(const struct keys *k, uint64_t hash)
{
    struct key *key = k->bucket_count ? *bucket_of(k, hash) : NULL;

    while (key && key->hash != hash)
        key = key->chain;
    return key;
}

static bool grow(struct keys *k)
{
    struct keys bigger = *k;

    bigger.bucket_count = k->bucket_count ? k->bucket_count * 2 : BUCKETS_FIRST;
    bigger.buckets = calloc(bigger.bucket_count, sizeof *bigger.buckets);
    if (!bigger.buckets)
        return false;
    for (size_t i = 0; i < k->bucket_count; i++) {
        for (struct key *key = k->buckets[i]; key;) {
            struct key *next = key->chain;
            struct key **to = bucket_of(&bigger, key->hash);

            key->chain = *to;
            *to = key;
            key = next;
        }
    }
    free(k->buckets);
    *k = bigger;
    return true;
}

static struct key *take_free(struct keys *k)
{
    struct key *key = k->free;
    struct slab *s;

    if (key) {
        k->free = key->chain;
        return key;
    }
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->next = k->slabs;
    k->slabs = s;
    for (size_t i = 1; i < SLAB_KEYS; i++) {
        s->keys[i].chain = k->free;
        k->free = &s->keys[i];
    }
    return &s->keys[0];
}

struct key *keys_get(struct keys *k, uint64_t hash)
{
    struct key *key = keys_find(k, hash);
    struct key **bucket;

    if (key)
        return key;
    if (k->n >= k->bucket_count && !grow(k))
        return NULL;
    key = take_free(k);
    if (!key)
        return NULL;
    bucket = bucket_of(k, hash);
    *key = (struct key){ .hash = hash, .chain = *bucket };
    *bucket = key;
    k->n++;
    return key;
}

void keys_release(struct keys *k, struct key *key)
{
    struct key **at;

    if (key->in_flight || key->ready || key->held)
        return;
    for (at = bucket_of(k, key->hash); *at != key; at = &(*at)->chain)
        ;
    *at = key->chain;
    key->chain = k->free;
    k->free = key;
    k->n--;
}
