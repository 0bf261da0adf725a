#include "store/dictionary.h"

#include "store/chunk.h"

#include <stdlib.h>
#include <zdict.h>
#include <zstd.h>

#define DICTIONARY_BYTES 4096
#define HEADER_BYTES 600 /* of its tables, at most: what is left holds events */
#define SAMPLES_MIN 100
#define SAMPLES_MAX 200
#define RENEW_MS ((int64_t)86400 * 1000)
#define CACHED 8

/* What one connection has made of them: a compressing one takes 84 KB, so few are kept. */
struct cached {
    uint64_t number, used;
    ZSTD_CDict *compress;
    ZSTD_DDict *expand;
};

struct cache {
    struct cached at[CACHED];
    uint64_t uses;
};

static void cached_done(struct cached *c)
{
    (void)ZSTD_freeCDict(c->compress);
    (void)ZSTD_freeDDict(c->expand);
    *c = (struct cached){ 0 };
}

static void cache_free(void *arg)
{
    struct cache *c = arg;

    for (size_t i = 0; i < CACHED; i++)
        cached_done(&c->at[i]);
    free(c);
}

static struct cache *cache_of(struct db *d)
{
    struct cache *c = db_kept(d);

    if (!c && (c = calloc(1, sizeof *c)) != NULL)
        db_keep(d, c, cache_free);
    return c;
}

/* The place of that number, or the one that was not used for the longest time. */
static struct cached *place(struct db *d, uint64_t number)
{
    struct cache *c = cache_of(d);
    struct cached *oldest;

    if (!c)
        return NULL;
    oldest = &c->at[0];
    for (size_t i = 0; i < CACHED; i++) {
        if (c->at[i].number == number) {
            c->at[i].used = ++c->uses;
            return &c->at[i];
        }
        if (c->at[i].used < oldest->used)
            oldest = &c->at[i];
    }
    cached_done(oldest);
    oldest->number = number;
    oldest->used = ++c->uses;
    return oldest;
}

/* What its row holds, a zstd frame with a checksum, as bytes. */
static int read_bytes(
    struct db *d, uint64_t number, uint8_t to[DICTIONARY_BYTES], size_t *n, struct fault *why)
{
    struct statement *st = db_prepare(d, "SELECT bytes FROM dictionary WHERE number = ?1", why);
    int got;

    *n = 0;
    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)number);
    got = db_step(st, why);
    if (got == 1)
        *n = ZSTD_decompress(to, DICTIONARY_BYTES, db_bytes(st, 0).at, db_bytes(st, 0).n);
    db_reset(st);
    if (got < 0)
        return -1;
    if (got == 0 || ZSTD_isError(*n))
        return fault_set(why, FAULT_BROKEN, 0, "its dictionary %llu is %s",
            (unsigned long long)number, got ? "damaged" : "missing");
    return 0;
}

const void *dictionary_to_compress(struct db *d, uint64_t number, struct fault *why)
{
    struct cached *c = place(d, number);
    uint8_t bytes[DICTIONARY_BYTES];
    size_t n = 0;

    if (c && c->compress)
        return c->compress;
    if (c && read_bytes(d, number, bytes, &n, why) != 0)
        return NULL;
    if (!c || !(c->compress = ZSTD_createCDict(bytes, n, CHUNK_LEVEL))) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory for a dictionary");
        return NULL;
    }
    return c->compress;
}

const void *dictionary_to_expand(struct db *d, uint64_t number, struct fault *why)
{
    struct cached *c = place(d, number);
    uint8_t bytes[DICTIONARY_BYTES];
    size_t n = 0;

    if (c && c->expand)
        return c->expand;
    if (c && read_bytes(d, number, bytes, &n, why) != 0)
        return NULL;
    if (!c || !(c->expand = ZSTD_createDDict(bytes, n))) {
        (void)fault_set(why, FAULT_RETRY, 0, "out of memory for a dictionary");
        return NULL;
    }
    return c->expand;
}

int dictionary_load(
    struct db *d, uint64_t route_id, struct dictionary_state *state, struct fault *why)
{
    struct statement *st;
    int got;

    if (state->loaded)
        return 0;
    st = db_prepare(d,
        "SELECT number, made_ms FROM dictionary WHERE route_id = ?1 ORDER BY number DESC LIMIT 1",
        why);
    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    got = db_step(st, why);
    if (got >= 0)
        *state = (struct dictionary_state){ .loaded = true };
    if (got == 1) {
        state->number = (uint64_t)db_int(st, 0);
        state->made_ms = db_int(st, 1);
    }
    db_reset(st);
    return got < 0 ? -1 : 0;
}

static uint32_t first_sample(const struct block *b)
{
    return b->count > SAMPLES_MAX ? b->count - SAMPLES_MAX : 0;
}

/* The newest events as they are, and the statistics of more. Against training on the same samples
 * (ZDICT_trainFromBuffer) it takes 0.6 ms instead of 20, and frames of one event come out at 139 B
 * instead of 151. 0: they are not of a kind that a dictionary can be made of. */
static size_t make(const struct block *b, uint8_t to[DICTIONARY_BYTES])
{
    uint32_t first = first_sample(b);
    size_t sizes[SAMPLES_MAX], content = DICTIONARY_BYTES - HEADER_BYTES, n;
    ZDICT_params_t how = { .compressionLevel = CHUNK_LEVEL };

    if (b->count < SAMPLES_MIN || b->bytes - b->offsets[first] < content)
        return 0;
    for (uint32_t i = first; i < b->count; i++)
        sizes[i - first] = b->offsets[i + 1] - b->offsets[i];
    n = ZDICT_finalizeDictionary(to, DICTIONARY_BYTES, b->data + b->bytes - content, content,
        b->data + b->offsets[first], sizes, b->count - first, how);
    return ZDICT_isError(n) ? 0 : n;
}

/* Bytes of some of its newest events, each compressed alone; not of the very last, which a new
 * dictionary holds as they are. */
static size_t try_on(const struct block *b, ZSTD_CCtx *z, const void *dictionary)
{
    uint8_t out[2 * DICTIONARY_CHUNK_BYTES];
    uint32_t first = first_sample(b);
    size_t sum = 0;

    (void)ZSTD_CCtx_refCDict(z, dictionary);
    for (uint32_t i = first; i < first + SAMPLES_MIN / 2; i++) {
        size_t n = b->offsets[i + 1] - b->offsets[i];
        size_t got = n <= DICTIONARY_CHUNK_BYTES
                         ? ZSTD_compress2(z, out, sizeof out, b->data + b->offsets[i], n)
                         : 0;

        sum += ZSTD_isError(got) ? n : got;
    }
    return sum;
}

/* Is the new one better by a tenth than what there is (NULL: none)? */
static bool is_better(const struct block *b, const void *old, const uint8_t *bytes, size_t n)
{
    ZSTD_CCtx *z = ZSTD_createCCtx();
    ZSTD_CDict *now = ZSTD_createCDict(bytes, n, CHUNK_LEVEL);
    bool better = z && now && try_on(b, z, now) < try_on(b, z, old) / 10 * 9;

    (void)ZSTD_freeCCtx(z);
    (void)ZSTD_freeCDict(now);
    return better;
}

static int put_row(struct db *d, uint64_t route_id, uint64_t next_seq, int64_t unix_ms,
    struct bytes frame, uint64_t *number, struct fault *why)
{
    struct statement *st = db_prepare(d,
        "INSERT INTO dictionary (route_id, first_seq, made_ms, bytes) VALUES (?1, ?2, ?3, ?4)",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, (int64_t)next_seq);
    db_bind_int(st, 3, unix_ms);
    db_bind_bytes(st, 4, frame);
    if (db_run(st, why) != 0)
        return -1;
    *number = (uint64_t)db_last_id(d);
    return 0;
}

static size_t with_checksum(struct bytes from, uint8_t *to, size_t n)
{
    ZSTD_CCtx *z = ZSTD_createCCtx();
    size_t got = 0;

    if (z) {
        (void)ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
        got = ZSTD_compress2(z, to, n, from.at, from.n);
    }
    (void)ZSTD_freeCCtx(z);
    return ZSTD_isError(got) ? 0 : got;
}

int dictionary_learn(struct db *d, const struct block *b, uint64_t next_seq, int64_t unix_ms,
    struct dictionary_state *state, struct fault *why)
{
    const void *old = NULL;
    uint8_t bytes[DICTIONARY_BYTES], frame[2 * DICTIONARY_BYTES];
    size_t n;

    if (dictionary_load(d, b->route_id, state, why) != 0)
        return -1;
    if (state->number && unix_ms - state->made_ms < RENEW_MS)
        return 0;
    n = make(b, bytes);
    if (n == 0)
        return 0;
    if (state->number && !(old = dictionary_to_compress(d, state->number, why)))
        return why->kind == FAULT_RETRY ? 0 : -1;
    /* The next try is a day away, whichever wins. */
    state->made_ms = unix_ms;
    if (!is_better(b, old, bytes, n))
        return 0;
    n = with_checksum(bytes_of(bytes, n), frame, sizeof frame);
    if (n == 0)
        return 0;
    return put_row(d, b->route_id, next_seq, unix_ms, bytes_of(frame, n), &state->number, why);
}

int dictionary_forget(struct db *d, uint64_t route_id, uint64_t first_seq, struct fault *why)
{
    struct statement *st = db_prepare(d,
        "DELETE FROM dictionary WHERE route_id = ?1 AND number < (SELECT max(number) FROM"
        " dictionary WHERE route_id = ?1 AND first_seq <= ?2)",
        why);

    if (!st)
        return -1;
    db_bind_int(st, 1, (int64_t)route_id);
    db_bind_int(st, 2, (int64_t)first_seq);
    return db_run(st, why);
}
