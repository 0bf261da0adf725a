/* The loop's side of a wire. */
#include "bridge/links/nats/wire_inside.h"

#include "bridge/base/backoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* After the server said that it goes: time for what is on the way to be answered. */
#define LEAVE_MS 1000
/* The library's own close waits half a second for a flush. */
#define EXIT_SECONDS_MAX 3

struct wire {
    struct wire_spec spec;
    struct box *box;
    struct random random;
    struct link_status status;
    uint32_t tries;
    int64_t now_ms, leave_ms;
    uint64_t published, flushed, flushes;
    int64_t max_payload;
    char inbox[192], last_words[256], denied[256];
    bool corked;
    struct wire_out *out, **out_end; /* while corked */
    size_t out_n, out_bytes;         /* with those that waited in the box when it was corked */
};

/* ---- the box ---- */

void box_signal(struct box *b)
{
    uint64_t one = 1;

    if (b->signalled)
        return;
    b->signalled = true;
    /* It can only fail when it is readable already. */
    (void)!write(b->event_fd, &one, sizeof one);
}

static void port_free(struct wire_port *p)
{
    if (!p)
        return;
    free(p->subject);
    free(p->queue);
    free(p);
}

void wire_out_free(struct wire_out *o)
{
    natsMsg_Destroy(o->msg);
    if (o->kind == WIRE_OPEN_PORT)
        port_free(o->port);
    free(o);
}

void box_release(struct box *b)
{
    bool last = false;

    (void)pthread_mutex_lock(&b->lock);
    last = --b->refs == 0;
    (void)pthread_mutex_unlock(&b->lock);
    if (!last)
        return;
    while (b->out) {
        struct wire_out *o = b->out;
        b->out = o->next;
        wire_out_free(o);
    }
    option_done(nats_link_table, &b->options);
    (void)close(b->event_fd);
    (void)pthread_cond_destroy(&b->changed);
    (void)pthread_mutex_destroy(&b->lock);
    free(b->name);
    free(b);
}

/* Texts, lists of texts and nested tables are what a connection's options hold. */
static int copy_options(const struct option *table, const void *from, void *to)
{
    for (const struct option *o = table; o->name; o++) {
        const char *at = (const char *)from + o->offset;
        char *put = (char *)to + o->offset;

        if (o->type == OPTION_TABLE && copy_options(o->table, at, put) != 0)
            return -1;
        if (o->type == OPTION_TEXT && *(char *const *)at) {
            *(char **)put = strdup(*(char *const *)at);
            if (!*(char **)put)
                return -1;
        }
        if (o->type == OPTION_TEXT_LIST) {
            const struct option_list *list = (const struct option_list *)at;
            struct option_list *copy = (struct option_list *)put;
            copy->at = calloc(list->n ? list->n : 1, sizeof *copy->at);
            for (; copy->at && copy->n < list->n; copy->n++) {
                copy->at[copy->n] = strdup(list->at[copy->n]);
                if (!copy->at[copy->n])
                    return -1;
            }
            if (!copy->at)
                return -1;
        }
    }
    return 0;
}

/* Owned pointers of the original are not ours. */
static void forget_pointers(const struct option *table, void *values)
{
    for (const struct option *o = table; o->name; o++) {
        char *at = (char *)values + o->offset;
        if (o->type == OPTION_TABLE)
            forget_pointers(o->table, at);
        else if (o->type == OPTION_TEXT)
            *(char **)at = NULL;
        else if (o->type == OPTION_TEXT_LIST)
            *(struct option_list *)at = (struct option_list){ 0 };
    }
}

static struct box *box_open(const struct wire_spec *spec)
{
    struct box *b = calloc(1, sizeof *b);

    if (!b)
        return NULL;
    b->refs = 1;
    b->phase = WIRE_IDLE;
    b->out_end = &b->out;
    b->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_cond_init(&b->changed, NULL);
    b->options = *spec->options;
    forget_pointers(nats_link_table, &b->options);
    if (b->event_fd < 0 || asprintf(&b->name, "bascule %s", spec->name) < 0 ||
        copy_options(nats_link_table, spec->options, &b->options) != 0) {
        box_release(b);
        return NULL;
    }
    return b;
}

/* Hands are never joined, for a close may take its time; but the libraries below them take their
 * state down when the process exits, and must find nobody at work. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t n;
} hands = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 };

static void wait_for_hands(void)
{
    struct timespec end;

    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += EXIT_SECONDS_MAX;
    (void)pthread_mutex_lock(&hands.lock);
    while (hands.n && pthread_cond_timedwait(&hands.changed, &hands.lock, &end) == 0)
        ;
    (void)pthread_mutex_unlock(&hands.lock);
}

static void wait_at_exit(void)
{
    (void)atexit(wait_for_hands);
}

static void count_hands(int more)
{
    (void)pthread_mutex_lock(&hands.lock);
    hands.n += (size_t)more;
    (void)pthread_cond_broadcast(&hands.changed);
    (void)pthread_mutex_unlock(&hands.lock);
}

static void *run_hand(void *box)
{
    void *ret = hand_run(box);

    count_hands(-1);
    return ret;
}

static int start_hand(struct box *b)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_attr_t attributes;
    pthread_t thread;
    int error = 0;

    /* After the library was opened, so that this runs before what it leaves for the exit. */
    (void)pthread_once(&once, wait_at_exit);

    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    b->refs++;
    count_hands(1);
    error = pthread_create(&thread, &attributes, run_hand, b);
    if (error) {
        b->refs--;
        count_hands(-1);
    }
    (void)pthread_attr_destroy(&attributes);
    return error ? -1 : 0;
}

/* By the library's own random numbers: two processes must not get one name, whatever their seeds.
 */
static int make_inbox(struct wire *w)
{
    const char *prefix = w->spec.options->inbox_prefix;
    char *made = NULL;

    if (natsInbox_Create(&made) != NATS_OK || !made)
        return -1;
    (void)snprintf(w->inbox, sizeof w->inbox, "%.120s%.60s", prefix ? prefix : "_INBOX",
        strrchr(made, '.') ? strrchr(made, '.') : made);
    natsInbox_Destroy(made);
    return 0;
}

int wire_open(const struct wire_spec *spec, struct wire **ret, struct fault *why)
{
    struct epoll_event event = { .events = EPOLLIN };
    struct wire *w = calloc(1, sizeof *w);

    if (!w)
        return fault_set(why, FAULT_RETRY, 0, "out of memory");
    w->spec = *spec;
    w->random.state = spec->seed;
    w->status = (struct link_status){ .state = LINK_DOWN, .lag = -1 };
    w->box = box_open(spec);
    if (!w->box || make_inbox(w) != 0 ||
        epoll_ctl(spec->poll_fd, EPOLL_CTL_ADD, w->box->event_fd, &event) != 0 ||
        start_hand(w->box) != 0) {
        if (w->box)
            box_release(w->box);
        free(w);
        return fault_set(why, FAULT_RETRY, 0, "no descriptor, thread or memory is left");
    }
    *ret = w;
    return 0;
}

void wire_free(struct wire *w)
{
    if (!w)
        return;
    (void)epoll_ctl(w->spec.poll_fd, EPOLL_CTL_DEL, w->box->event_fd, NULL);
    (void)pthread_mutex_lock(&w->box->lock);
    w->box->stop = true;
    (void)pthread_cond_broadcast(&w->box->changed);
    (void)pthread_mutex_unlock(&w->box->lock);
    box_release(w->box);
    free(w);
}

/* ---- its state ---- */

static void set_state(struct wire *w, enum link_state state)
{
    if (w->status.state == state)
        return;
    w->status.state = state;
    w->status.since_ms = w->now_ms;
}

static void ended(struct wire *w, const char *text)
{
    bool was_up = w->status.state == LINK_UP;

    w->tries = was_up ? 1 : w->tries + 1;
    (void)snprintf(w->status.error, sizeof w->status.error, "%.255s", text);
    (void)snprintf(w->last_words, sizeof w->last_words, "%.255s", was_up ? text : "");
    w->status.retry_ms = w->now_ms + backoff_wait_ms(&backoff_connect, w->tries, &w->random);
    set_state(w, LINK_DOWN);
}

static void came_up(struct wire *w, const struct box *b)
{
    w->status.reconnects += w->status.session > 0;
    w->status.session = b->session;
    w->max_payload = b->max_payload;
    w->tries = 0;
    w->leave_ms = 0;
    w->status.error[0] = 0;
    (void)snprintf(w->status.peer, sizeof w->status.peer, "%s", b->peer);
    set_state(w, LINK_UP);
}

int64_t wire_step(struct wire *w, int64_t now_ms, int64_t unix_ms)
{
    struct box *b = w->box;
    uint64_t drained = 0;
    int64_t wake = INT64_MAX;

    (void)unix_ms;
    w->now_ms = now_ms;
    (void)pthread_mutex_lock(&b->lock);
    if (b->signalled && read(b->event_fd, &drained, sizeof drained) > 0)
        b->signalled = false;
    if (b->phase == WIRE_UP && w->status.session != b->session)
        came_up(w, b);
    memcpy(w->denied, b->denied, sizeof w->denied);
    w->flushed = b->flushed;
    w->flushes = b->flushes;
    if (b->phase == WIRE_UP && b->leaving && !w->leave_ms)
        w->leave_ms = now_ms + LEAVE_MS;
    if (w->leave_ms && now_ms >= w->leave_ms && b->phase == WIRE_UP) {
        (void)snprintf(b->error, sizeof b->error, "the server is going down and asked us to leave");
        b->phase = WIRE_END;
        w->leave_ms = 0;
        (void)pthread_cond_broadcast(&b->changed);
    }
    if (b->phase == WIRE_ENDED) {
        ended(w, b->error);
        b->phase = WIRE_IDLE;
    }
    if (b->phase == WIRE_IDLE && now_ms >= w->status.retry_ms) {
        b->phase = WIRE_DIAL;
        set_state(w, LINK_CONNECTING);
        (void)pthread_cond_broadcast(&b->changed);
    } else if (b->phase == WIRE_IDLE) {
        wake = w->status.retry_ms;
    }
    (void)pthread_mutex_unlock(&b->lock);
    return w->leave_ms && w->leave_ms < wake ? w->leave_ms : wake;
}

const struct link_status *wire_status(const struct wire *w)
{
    return &w->status;
}

bool wire_ready(const struct wire *w)
{
    return w->status.state == LINK_UP && !w->leave_ms;
}

size_t wire_max_payload(const struct wire *w)
{
    return w->max_payload > 0 ? (size_t)w->max_payload : 0;
}

const char *wire_inbox(const struct wire *w)
{
    return w->inbox;
}

const char *wire_last_words(const struct wire *w)
{
    return w->last_words;
}

void wire_fail(struct wire *w, const char *text)
{
    struct box *b = w->box;

    (void)pthread_mutex_lock(&b->lock);
    if (b->phase == WIRE_UP) {
        (void)snprintf(b->error, sizeof b->error, "%.255s", text);
        b->phase = WIRE_END;
        (void)pthread_cond_broadcast(&b->changed);
    }
    (void)pthread_mutex_unlock(&b->lock);
}

bool wire_take_error(struct wire *w, char *ret, size_t n)
{
    struct box *b = w->box;
    bool any = false;

    (void)pthread_mutex_lock(&b->lock);
    any = b->error_first < b->error_end;
    if (any)
        (void)snprintf(ret, n, "%s", b->errors[b->error_first++ % WIRE_ERRORS_MAX]);
    (void)pthread_mutex_unlock(&b->lock);
    return any;
}

/* ---- out ---- */

static bool has_room(size_t n, size_t bytes, const struct wire_out *o)
{
    /* Ports must not be lost; they are few. */
    return o->kind != WIRE_MESSAGE || (n < WIRE_OUT_MAX && bytes + o->bytes <= WIRE_OUT_BYTES_MAX);
}

static bool put_corked(struct wire *w, struct wire_out *o)
{
    if (!has_room(w->out_n, w->out_bytes, o))
        return false;
    *w->out_end = o;
    w->out_end = &o->next;
    w->out_n++;
    w->out_bytes += o->bytes;
    return true;
}

static bool put_out(struct wire *w, struct wire_out *o)
{
    struct box *b = w->box;
    bool taken = false;

    if (w->corked && put_corked(w, o))
        return true;
    (void)pthread_mutex_lock(&b->lock);
    if (!w->corked && has_room(b->out_n, b->out_bytes, o)) {
        if (!b->out)
            (void)pthread_cond_broadcast(&b->changed);
        *b->out_end = o;
        b->out_end = &o->next;
        b->out_n++;
        b->out_bytes += o->bytes;
        taken = true;
    } else {
        b->starved = true;
    }
    (void)pthread_mutex_unlock(&b->lock);
    return taken;
}

void wire_cork(struct wire *w)
{
    struct box *b = w->box;

    if (w->corked)
        return;
    w->corked = true;
    w->out = NULL;
    w->out_end = &w->out;
    (void)pthread_mutex_lock(&b->lock);
    w->out_n = b->out_n;
    w->out_bytes = b->out_bytes;
    (void)pthread_mutex_unlock(&b->lock);
}

void wire_uncork(struct wire *w)
{
    struct box *b = w->box;

    w->corked = false;
    if (!w->out)
        return;
    (void)pthread_mutex_lock(&b->lock);
    if (!b->out)
        (void)pthread_cond_broadcast(&b->changed);
    *b->out_end = w->out;
    b->out_end = w->out_end;
    for (const struct wire_out *o = w->out; o; o = o->next) {
        b->out_n++;
        b->out_bytes += o->bytes;
    }
    (void)pthread_mutex_unlock(&b->lock);
    w->out = NULL;
}

/* The library takes headers one by one into a table without order, and writes a name as it is
 * given. So what goes in as one name is the whole block up to the last value. */
static natsStatus set_headers(natsMsg *msg, const char *block)
{
    const char *line = strrchr(block, '\n'), *colon = strstr(line ? line : block, ": ");
    natsStatus s = NATS_INVALID_ARG;
    char *names = NULL;

    if (!colon)
        return s;
    names = strndup(block, (size_t)(colon - block));
    if (!names)
        return NATS_NO_MEMORY;
    s = natsMsgHeader_Set(msg, names, colon + 2);
    free(names);
    return s;
}

uint64_t wire_publish(struct wire *w, const struct wire_publish *p)
{
    struct wire_out *o = NULL;
    natsStatus s = NATS_OK;

    if (!wire_ready(w) || p->body.n > INT32_MAX)
        return 0;
    o = calloc(1, sizeof *o);
    if (!o)
        return 0;
    o->kind = WIRE_MESSAGE;
    o->number = w->published + 1;
    o->session = w->status.session;
    o->bytes = p->body.n + strlen(p->subject) + (p->headers ? strlen(p->headers) : 0);
    s = natsMsg_Create(&o->msg, p->subject, p->reply, (const char *)p->body.at, (int)p->body.n);
    if (s == NATS_OK && p->headers)
        s = set_headers(o->msg, p->headers);
    if (s != NATS_OK || !put_out(w, o)) {
        wire_out_free(o);
        return 0;
    }
    return ++w->published;
}

uint64_t wire_handed(const struct wire *w)
{
    return w->box->handed;
}

void wire_flush(struct wire *w)
{
    struct wire_out *o = wire_ready(w) ? calloc(1, sizeof *o) : NULL;

    if (!o)
        return;
    o->kind = WIRE_FLUSH;
    o->number = w->published;
    o->session = w->status.session;
    (void)put_out(w, o);
}

const char *wire_denied(const struct wire *w)
{
    return w->denied;
}

uint64_t wire_flushes(const struct wire *w)
{
    return w->flushes;
}

uint64_t wire_flushed(const struct wire *w)
{
    return w->flushed;
}

/* ---- in ---- */

struct wire_port *wire_port_open(
    struct wire *w, const char *subject, const char *queue, int limit, int limit_bytes)
{
    struct wire_port *p = calloc(1, sizeof *p);
    struct wire_out *o = calloc(1, sizeof *o);

    if (p) {
        p->box = w->box;
        p->end = &p->first;
        p->limit = limit;
        p->limit_bytes = limit_bytes;
        p->subject = strdup(subject);
        p->queue = queue ? strdup(queue) : NULL;
    }
    if (!p || !o || !p->subject || (queue && !p->queue)) {
        port_free(p);
        free(o);
        return NULL;
    }
    o->kind = WIRE_OPEN_PORT;
    o->port = p;
    (void)put_out(w, o);
    return p;
}

void wire_port_close(struct wire *w, struct wire_port *p)
{
    struct wire_out *o = p ? calloc(1, sizeof *o) : NULL;

    if (!p)
        return;
    while (p->taken) {
        struct wire_message *m = p->taken;
        p->taken = m->next;
        wire_message_free(m);
    }
    (void)pthread_mutex_lock(&w->box->lock);
    p->over = true;
    (void)pthread_mutex_unlock(&w->box->lock);
    if (!o)
        return; /* without memory it stays until the wire goes, and takes nothing */
    o->kind = WIRE_CLOSE_PORT;
    o->port = p;
    (void)put_out(w, o);
}

/* Both with the lock held. */
static struct wire_message *port_first(struct wire *w, struct wire_port *p)
{
    struct wire_message *m = p->first;

    if (!m)
        return NULL;
    p->first = m->next;
    if (!p->first)
        p->end = &p->first;
    if (p->waiting == (size_t)p->limit)
        (void)pthread_cond_broadcast(&w->box->changed);
    p->waiting--;
    return m;
}

static struct wire_message *port_all(struct wire_port *p)
{
    struct wire_message *m = p->first;

    p->first = NULL;
    p->end = &p->first;
    p->waiting = 0;
    return m;
}

struct wire_message *wire_port_take(struct wire *w, struct wire_port *p)
{
    struct wire_message *m = p->limit ? NULL : p->taken;

    if (!m) {
        (void)pthread_mutex_lock(&w->box->lock);
        m = p->limit ? port_first(w, p) : port_all(p);
        (void)pthread_mutex_unlock(&w->box->lock);
    }
    if (m && !p->limit)
        p->taken = m->next;
    if (m)
        m->next = NULL;
    return m;
}

uint64_t wire_port_dropped(struct wire *w, const struct wire_port *p)
{
    uint64_t n = 0;

    (void)pthread_mutex_lock(&w->box->lock);
    n = p->dropped;
    (void)pthread_mutex_unlock(&w->box->lock);
    return n;
}

void wire_message_free(struct wire_message *m)
{
    if (!m)
        return;
    natsMsg_Destroy(m->held);
    free(m->made);
    free(m);
}

const char *wire_library(void)
{
    static char text[48];

    (void)snprintf(text, sizeof text, "cnats %s", nats_GetVersion());
    return text;
}
