#include "bridge/links/redis/backlog.h"

void backlog_init(struct backlog *b, const char *group)
{
    *b = (struct backlog){ .group = bytes_text(group), .waiting = -1 };
}

/* Value of a name in a list of names and values in turn, NULL when it is not there. */
static const struct resp_value *find(const struct resp_value *list, const char *name)
{
    for (size_t i = 0; list->type == RESP_ARRAY && i + 1 < list->n; i += 2)
        if (list->items[i].type == RESP_TEXT && bytes_equal(list->items[i].text, bytes_text(name)))
            return &list->items[i + 1];
    return NULL;
}

static bool number(const struct resp_value *list, const char *name, uint64_t *ret)
{
    const struct resp_value *v = find(list, name);

    if (!v || v->type != RESP_INT || v->i < 0)
        return false;
    *ret = (uint64_t)v->i;
    return true;
}

static bool id_at(const struct resp_value *v, struct entry_id *ret)
{
    return v && v->type == RESP_TEXT && entry_id_parse(v->text, ret) == 0;
}

/* https://redis.io/docs/latest/commands/xinfo-stream/ */
static void told_stream(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct backlog *b = owner;
    const struct resp_value *first = NULL;

    (void)arg;
    (void)sent;
    b->counted = v && number(v, "entries-added", &b->added) && number(v, "length", &b->length) &&
                 id_at(find(v, "last-generated-id"), &b->last);
    if (!b->counted)
        return;
    first = find(v, "first-entry");
    b->has_first =
        first && first->type == RESP_ARRAY && first->n && id_at(&first->items[0], &b->first);
}

static bool later(const struct entry_id *a, const struct entry_id *b)
{
    return a->ms != b->ms ? a->ms > b->ms : a->seq > b->seq;
}

/* Of all that was ever added, what is neither there nor counted as read is lost, as long as nothing
 * that is there was read. Later trims of entries that were read hide nothing: those are counted. */
static void compare(struct backlog *b, const struct entry_id *delivered, uint64_t read)
{
    uint64_t unread = b->added > read ? b->added - read : 0, lost = 0;

    if (!later(&b->last, delivered)) {
        b->told = unread;
        b->waiting = 0;
        return;
    }
    b->told = b->told < unread ? b->told : 0; /* the stream is another one */
    unread -= b->told;
    if (unread > b->length && (!b->has_first || later(&b->first, delivered))) {
        lost = unread - b->length;
        b->before = *delivered;
        b->after = b->has_first ? b->first : b->last;
        b->lost += lost;
        b->told += lost;
    }
    b->waiting = (int64_t)(unread - lost < b->length ? unread - lost : b->length);
}

/* https://redis.io/docs/latest/commands/xinfo-groups/ */
static void told_groups(void *owner, uint64_t arg, const struct resp_value *v, bool sent)
{
    struct backlog *b = owner;
    struct entry_id delivered;
    uint64_t read = 0;

    (void)arg;
    (void)sent;
    b->waiting = -1;
    if (!v || v->type != RESP_ARRAY || !b->counted)
        return;
    for (size_t i = 0; i < v->n; i++) {
        const struct resp_value *name = find(&v->items[i], "name");
        if (!name || !bytes_equal(name->text, b->group) ||
            !id_at(find(&v->items[i], "last-delivered-id"), &delivered))
            continue;
        /* Absent after a group was set to some place by hand, until it has read on. */
        if (number(&v->items[i], "entries-read", &read))
            compare(b, &delivered, read);
        else if (!later(&b->last, &delivered))
            b->waiting = 0;
        else if (b->has_first && later(&b->first, &delivered))
            b->waiting = (int64_t)b->length;
    }
}

void backlog_ask(struct backlog *b, struct resp *r, const char *stream)
{
    b->counted = false;
    if (resp_command(r, 3, told_stream, b, 0) != 0)
        return;
    resp_arg_text(r, "XINFO");
    resp_arg_text(r, "STREAM");
    resp_arg_text(r, stream);
    if (resp_command(r, 3, told_groups, b, 0) != 0)
        return;
    resp_arg_text(r, "XINFO");
    resp_arg_text(r, "GROUPS");
    resp_arg_text(r, stream);
}
