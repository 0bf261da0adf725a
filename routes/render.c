/* An event becomes a message: today's steps run on what was received, then the sink's templates. */
#include "routes/outflow.h"

#include "bridge/base/header.h"

#include <stdio.h>

/* A rendered piece: a run of the scratch buffer, which may move until all pieces are there. */
struct piece {
    size_t from, n;
    bool present;
};

int render_open(struct outflow *o, struct fault *why)
{
    const struct config_sink *c = o->spec.config;
    size_t starts[CONNECTOR_FIELDS_MAX];
    struct event none = { 0 };
    const char *missing;

    buf_init(&o->fixed, 1 << 20);
    (void)snprintf(o->token_head, sizeof o->token_head, "%s/%llu/", store_id(o->spec.store),
        (unsigned long long)o->spec.route_id);
    for (size_t i = 0; i < c->field_count; i++) {
        starts[i] = o->fixed.n;
        if (c->fields[i] && template_fixed(c->fields[i]))
            (void)template_render(c->fields[i], &none, o->spec.route->name, &o->fixed, &missing);
    }
    if (o->fixed.failed)
        return fault_set(why, FAULT_INPUT, 0, "route '%s': sink '%s': a template is too long",
            o->spec.route->name, c->name);
    for (size_t i = 0; i < c->field_count; i++) {
        size_t end = i + 1 < c->field_count ? starts[i + 1] : o->fixed.n;

        if (c->fields[i] && template_fixed(c->fields[i]))
            o->fixed_fields[i] = bytes_of(o->fixed.at + starts[i], end - starts[i]);
    }
    return 0;
}

static int render_piece(struct flight *f, const struct template *t, const char *what, bool may_miss,
    struct piece *ret, struct fault *why)
{
    const char *missing = NULL;

    ret->from = f->scratch.n;
    ret->present = template_render(t, &f->out, f->lane->route, &f->scratch, &missing) == 0;
    if (f->scratch.failed)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    if (!ret->present && !may_miss)
        return fault_set(why, FAULT_INPUT, 0, "'%s' has no value in this event, wanted by '%s'",
            missing ? missing : "?", what);
    ret->n = f->scratch.n - ret->from;
    return 0;
}

static struct bytes piece_bytes(const struct flight *f, const struct piece *p)
{
    return p->present ? bytes_of(f->scratch.at + p->from, p->n) : BYTES_NONE;
}

static bool replaced(const struct config_sink *c, const struct header *h)
{
    for (size_t i = 0; i < c->header_count; i++)
        if (h->scope == HEADER_USER && bytes_equal(h->name, bytes_text(c->headers[i].name)))
            return true;
    return false;
}

/* The received headers, those that the sink names replaced by its own. */
static int render_headers(struct flight *f, struct piece *ret, struct fault *why)
{
    const struct config_sink *c = f->lane->o->spec.config;
    struct bytes from = f->out.headers;
    struct buf list;
    struct header h;
    int result = 0;

    buf_init(&list, SIZE_MAX / 2);
    while (header_next(&from, &h) == 1)
        if (!replaced(c, &h))
            header_put(&list, h.scope, h.name, &h.value);
    for (size_t i = 0; result == 0 && i < c->header_count; i++) {
        struct piece value = { 0 };

        result = render_piece(f, c->headers[i].value, c->headers[i].name, false, &value, why);
        if (result == 0)
            header_put_text(&list, HEADER_USER, c->headers[i].name, piece_bytes(f, &value));
    }
    ret->from = f->scratch.n;
    ret->n = list.n;
    ret->present = true;
    buf_put_bytes(&f->scratch, buf_bytes(&list));
    buf_done(&list);
    return result;
}

static int render_templates(struct flight *f, struct fault *why)
{
    const struct outflow *o = f->lane->o;
    const struct config_sink *c = o->spec.config;
    struct piece fields[CONNECTOR_FIELDS_MAX] = { 0 }, key = { 0 }, headers = { 0 };
    const struct option *option = o->spec.connector->sink_options;

    for (size_t i = 0; i < c->field_count; i++, option++) {
        while (option->name && option->type != OPTION_TEMPLATE)
            option++;
        if (c->fields[i] && !bytes_present(o->fixed_fields[i]) &&
            render_piece(f, c->fields[i], option->name, false, &fields[i], why) != 0)
            return -1;
    }
    if (c->key && render_piece(f, c->key, "key", true, &key, why) != 0)
        return -1;
    if (c->header_count && render_headers(f, &headers, why) != 0)
        return -1;
    for (size_t i = 0; i < c->field_count; i++)
        f->fields[i] =
            bytes_present(o->fixed_fields[i]) ? o->fixed_fields[i] : piece_bytes(f, &fields[i]);
    f->send_key = c->key ? piece_bytes(f, &key) : f->out.key;
    if (c->header_count)
        f->out.headers = piece_bytes(f, &headers);
    return 0;
}

static char *put_number(char *to, uint64_t v)
{
    char digits[20];
    size_t n = 0;

    do
        digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        *to++ = digits[--n];
    return to;
}

/* STORE/ROUTE/SEQ/SINK/GENERATION: for each event sent, so no snprintf. */
static void render_token(struct flight *f)
{
    const struct outflow *o = f->lane->o;
    char *to = f->token;

    if (f->lane->route_id == o->spec.route_id) {
        size_t n = strlen(o->token_head);

        memcpy(to, o->token_head, n);
        to += n;
    } else {
        to += snprintf(to, 48, "%s/", store_id(o->spec.store));
        to = put_number(to, f->lane->route_id);
        *to++ = '/';
    }
    to = put_number(to, f->seq);
    *to++ = '/';
    to = put_number(to, o->id);
    *to++ = '/';
    to = put_number(to, f->entry ? f->entry->generation : lane_generation(f->lane));
    *to = 0;
}

enum step_result render_flight(struct flight *f, enum held_reason *reason, struct fault *why)
{
    struct outflow *o = f->lane->o;
    bool raw = f->lane->job && f->lane->job->raw;

    buf_clear(&f->scratch);
    f->out = f->in;
    f->out.hops = f->in.hops + 1;
    *reason = REASON_STEP;
    for (size_t i = 0; !raw && i < o->step_count; i++) {
        enum step_result r = o->steps[i]->run(o->steps[i], &f->out, &f->scratch, why);

        if (r != STEP_PASS)
            return r;
    }
    *reason = REASON_TEMPLATE;
    if (render_templates(f, why) != 0)
        return why->kind == FAULT_RETRY ? STEP_WAIT : STEP_FAIL;
    render_token(f);
    f->rendered = true;
    return STEP_PASS;
}
