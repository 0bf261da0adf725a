#include "bridge/links/committed.h"

#include <stdlib.h>

/* Nineteen digits always fit. */
static int take_number(struct bytes *from, uint64_t *ret)
{
    uint64_t n = 0;
    size_t i = 0;

    for (; i < from->n; i++) {
        unsigned d = (unsigned)from->at[i] - '0';
        if (d > 9)
            break;
        if (i < 19)
            n = n * 10 + d;
        else if (__builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, d, &n))
            return -1;
    }
    *from = bytes_of(from->at + i, from->n - i);
    *ret = n;
    return i ? 0 : -1;
}

int entry_id_parse(struct bytes text, struct entry_id *ret)
{
    struct entry_id id;

    if (take_number(&text, &id.ms) != 0 || text.n == 0 || text.at[0] != '-')
        return -1;
    text = bytes_of(text.at + 1, text.n - 1);
    if (take_number(&text, &id.seq) != 0 || text.n)
        return -1;
    *ret = id;
    return 0;
}

static void put(struct committed *c, struct commit *m)
{
    struct commit **at = &c->all;

    while (*at && (*at)->number < m->number)
        at = &(*at)->next;
    m->next = *at;
    *at = m;
    c->last = m->number > c->last ? m->number : c->last;
}

static struct commit *commit_new(uint64_t number, size_t n)
{
    struct commit *m = calloc(1, sizeof *m + n * sizeof m->ids[0]);

    if (m) {
        m->number = number;
        m->n = n;
    }
    return m;
}

/* Value: for each id the distance of its milliseconds to the one before (zigzag) and its seq. */
static struct commit *decode(uint64_t number, struct bytes value)
{
    uint64_t n = 0, step = 0, ms = 0;
    struct commit *m = NULL;

    if (bytes_get_varint(&value, &n) != 0 || n > value.n / 2)
        n = 0; /* unreadable: nothing is known of it, so it is only there to be forgotten */
    m = commit_new(number, (size_t)n);
    for (size_t i = 0; m && i < n; i++) {
        if (bytes_get_varint(&value, &step) != 0 || bytes_get_varint(&value, &m->ids[i].seq) != 0) {
            m->n = i;
            break;
        }
        ms += (step >> 1) ^ (0 - (step & 1));
        m->ids[i].ms = ms;
    }
    return m;
}

static void encode(const struct entry_id *ids, size_t n, struct buf *to)
{
    uint64_t ms = 0;

    buf_put_varint(to, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t step = ids[i].ms - ms;
        buf_put_varint(to, step << 1 ^ (0 - (step >> 63)));
        buf_put_varint(to, ids[i].seq);
        ms = ids[i].ms;
    }
}

int committed_load(struct committed *c, const char *stream, const struct position *positions,
    size_t n, struct fault *why)
{
    size_t k = strlen(stream);

    for (size_t i = 0; i < n; i++) {
        struct bytes name = positions[i].name;
        uint64_t number = 0;
        struct commit *m = NULL;
        bool ok = name.n > k + 1 && name.n < k + 21 && memcmp(name.at, stream, k) == 0 &&
                  name.at[k] == ':';

        for (size_t d = k + 1; ok && d < name.n; d++) {
            ok = name.at[d] >= '0' && name.at[d] <= '9';
            number = number * 10 + (uint64_t)(name.at[d] - '0');
        }
        if (!ok || number == 0)
            continue;
        m = decode(number, positions[i].value);
        if (!m)
            return fault_set(why, FAULT_RETRY, 0, "out of memory");
        m->stored = true;
        put(c, m);
    }
    return 0;
}

void committed_done(struct committed *c)
{
    while (c->all) {
        struct commit *m = c->all;
        c->all = m->next;
        free(m);
    }
    free(c->sorted);
    *c = (struct committed){ 0 };
}

static bool forgettable(const struct commit *m)
{
    return m->stored && m->confirmed && !m->forgotten_with;
}

uint64_t committed_add(struct committed *c, const char *stream, const struct entry_id *ids,
    size_t n, struct position **positions, size_t *count, struct buf *text)
{
    size_t forget = 0, at = 0, end = 0;
    struct commit *own = commit_new(c->last + 1, n);
    struct position *p = NULL;

    for (const struct commit *m = c->all; m; m = m->next)
        forget += forgettable(m);
    p = own ? calloc(forget + 1, sizeof *p) : NULL;
    if (!p)
        goto fail;
    if (n)
        memcpy(own->ids, ids, n * sizeof *ids);
    buf_put_format(text, "%s:%llu", stream, (unsigned long long)own->number);
    end = text->n;
    encode(ids, n, text);
    p[0] = (struct position){ { NULL, end }, { NULL, text->n - end } };
    *count = 1;
    for (struct commit *m = c->all; m; m = m->next) {
        if (!forgettable(m))
            continue;
        end = text->n;
        buf_put_format(text, "%s:%llu", stream, (unsigned long long)m->number);
        p[(*count)++] = (struct position){ { NULL, text->n - end }, BYTES_NONE };
    }
    if (text->failed)
        goto fail;
    /* Only now the text stands still. */
    for (size_t i = 0; i < *count; i++) {
        p[i].name.at = text->at + at;
        at += p[i].name.n;
        if (i == 0)
            p[0].value.at = text->at + at;
        at += p[i].value.n;
    }
    for (struct commit *m = c->all; m; m = m->next)
        if (forgettable(m))
            m->forgotten_with = own->number;
    put(c, own);
    *positions = p;
    return own->number;
fail:
    *count = 0;
    free(own);
    free(p);
    return 0;
}

void committed_settle(struct committed *c, uint64_t number, bool kept)
{
    for (struct commit **at = &c->all; *at;) {
        struct commit *m = *at;
        if ((m->forgotten_with == number && kept) || (m->number == number && !kept)) {
            *at = m->next;
            free(m);
            continue;
        }
        if (m->forgotten_with == number)
            m->forgotten_with = 0;
        if (m->number == number)
            m->stored = true;
        at = &m->next;
    }
}

void committed_confirm(struct committed *c, uint64_t number)
{
    for (struct commit *m = c->all; m; m = m->next)
        if (m->number == number)
            m->confirmed = true;
}

static int compare(const void *a, const void *b)
{
    const struct entry_id *x = a, *y = b;

    if (x->ms != y->ms)
        return x->ms < y->ms ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

int committed_sort(struct committed *c)
{
    size_t n = 0;

    free(c->sorted);
    c->sorted_n = 0;
    for (struct commit *m = c->all; m; m = m->next)
        n += m->n;
    c->sorted = calloc(n ? n : 1, sizeof *c->sorted);
    if (!c->sorted)
        return -1;
    for (struct commit *m = c->all; m; m = m->next) {
        if (m->n)
            memcpy(c->sorted + c->sorted_n, m->ids, m->n * sizeof m->ids[0]);
        c->sorted_n += m->n;
    }
    if (c->sorted_n)
        qsort(c->sorted, c->sorted_n, sizeof *c->sorted, compare);
    return 0;
}

int committed_read_begin(struct committed *c)
{
    if (committed_sort(c) != 0)
        return -1;
    for (struct commit *m = c->all; m; m = m->next)
        m->old = true;
    return 0;
}

void committed_read_end(struct committed *c)
{
    for (struct commit *m = c->all; m; m = m->next) {
        m->confirmed = m->confirmed || (m->old && m->stored);
        m->old = false;
    }
}

bool committed_has(const struct committed *c, const struct entry_id *id)
{
    return c->sorted_n && bsearch(id, c->sorted, c->sorted_n, sizeof *id, compare) != NULL;
}
