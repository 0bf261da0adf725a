#include "store/selection.h"
#include "bridge/base/buf.h"
#include "bridge/base/header.h"

#include <stdlib.h>

static bool copy_text(const char *from, const char **to)
{
    *to = from ? strdup(from) : NULL;
    return !from || *to;
}

static bool copy_key(struct bytes from, struct bytes *to)
{
    uint8_t *key = bytes_present(from) ? malloc(from.n + 1) : NULL;

    *to = BYTES_NONE;
    if (!bytes_present(from))
        return true;
    if (!key)
        return false;
    memcpy(key, from.at, from.n);
    *to = bytes_of(key, from.n);
    return true;
}

int selection_copy(const struct selection *from, struct selection *ret)
{
    bool whole;

    *ret = *from;
    whole = copy_text(from->route, &ret->route);
    whole &= copy_text(from->sink, &ret->sink);
    whole &= copy_text(from->id, &ret->id);
    whole &= copy_text(from->header_name, &ret->header_name);
    whole &= copy_text(from->header_value, &ret->header_value);
    whole &= copy_text(from->match, &ret->match);
    whole &= copy_text(from->fate, &ret->fate);
    whole &= copy_key(from->key, &ret->key);
    if (whole)
        return 0;
    selection_done(ret);
    return -1;
}

void selection_done(struct selection *s)
{
    free((void *)(uintptr_t)s->route);
    free((void *)(uintptr_t)s->sink);
    free((void *)(uintptr_t)s->id);
    free((void *)(uintptr_t)s->key.at);
    free((void *)(uintptr_t)s->header_name);
    free((void *)(uintptr_t)s->header_value);
    free((void *)(uintptr_t)s->match);
    free((void *)(uintptr_t)s->fate);
    *s = (struct selection){ 0 };
}

static bool header_fits(const struct selection *w, const struct event *e)
{
    struct header h;
    struct buf text;
    bool fits;

    if (!w->header_name)
        return true;
    if (!header_find(e->headers, bytes_text(w->header_name), &h))
        return false;
    if (!w->header_value)
        return true;
    buf_init(&text, 1 << 24);
    fits = header_value_text(&h.value, &text) == 0 &&
           bytes_equal(buf_bytes(&text), bytes_text(w->header_value));
    buf_done(&text);
    return fits;
}

bool selection_fits(const struct selection *w, const struct event *e)
{
    if ((w->first_seq && e->seq < w->first_seq) || (w->last_seq && e->seq > w->last_seq))
        return false;
    if ((w->since_ms && e->received_ms < w->since_ms) ||
        (w->until_ms && e->received_ms >= w->until_ms))
        return false;
    if (w->id && !bytes_equal(event_id(e), bytes_text(w->id)))
        return false;
    if (bytes_present(w->key) && !bytes_equal(e->key, w->key))
        return false;
    if (w->match &&
        (!bytes_present(e->body) || !memmem(e->body.at, e->body.n, w->match, strlen(w->match))))
        return false;
    return header_fits(w, e);
}
