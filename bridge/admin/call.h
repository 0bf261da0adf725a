/* One request while it is being answered: its arguments, the questions it puts to the store, its
 * reply. For the api_*.c files only. */
#ifndef BASCULE_CALL_H
#define BASCULE_CALL_H

#include "bridge/admin/api.h"
#include "bridge/admin/api_tap.h"
#include "bridge/admin/view.h"

#define CALL_VALUES_MAX 3
#define CALL_LIMIT_DEFAULT 100
#define CALL_LIMIT_MAX 1000
#define CALL_DEADLINE_MS 20000 /* of a question to the store */

struct call {
    struct api *api;
    struct http_request *request;
    struct relay *relay;
    struct store *store;
    const struct config *config;
    struct reload *reload;
    struct api_taps *taps;
    const struct histogram *turns;
    struct trace_export *traces;
    int port;
    int64_t now_ms, unix_ms;       /* of this turn */
    enum config_role role;         /* of its peer */
    char *values[CALL_VALUES_MAX]; /* from the path */
    json_t *body;                  /* NULL: none */
    json_t *kept;                  /* what a handler keeps over a question; freed with the call */
    void (*then)(struct call *c, struct query_answer *a);
    uint64_t tag;
    uint64_t written; /* the transaction with what it changed, to be on disk before the reply; 0: it
                       * changed nothing */
    unsigned status;  /* of the reply that waits for it, `late` */
    json_t *late;
    struct call *next;
};

/* An argument: from the body, else from the query. NULL when absent or empty. */
const char *call_text(struct call *c, const char *name);
/* `absent` when it is not there; -1 after an error reply. */
int call_number(struct call *c, const char *name, int64_t absent, int64_t *ret);
bool call_flag(struct call *c, const char *name);
/* route, sink, since_ms, until_ms, first_seq, last_seq, id, key, header_name, header_value, match,
 * fate; -1 after an error reply. The texts are the call's. */
int call_selection(struct call *c, struct selection *ret);
/* after and limit; -1 after an error reply. */
int call_page(struct call *c, struct query_spec *spec);

/* The texts of a list in the body, at most `limit`; their count, -1 after an error reply. */
int call_texts(struct call *c, const char *name, const char **ret, size_t limit);

/* Exactly one of these ends the call: it is gone afterwards. */
void call_reply(struct call *c, json_t *json); /* takes json */
void call_reply_status(struct call *c, unsigned status, json_t *json);
void call_reply_text(struct call *c, const char *content_type, struct bytes text);
void call_stream(struct call *c, const struct http_stream_spec *spec);
void call_fail(struct call *c, unsigned status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void call_fault(struct call *c, const struct fault *why);
/* As call_fail(), with details (taken). */
void call_refuse(
    struct call *c, unsigned status, const char *code, const char *message, json_t *details);

/* Asks the store; `then` gets the answer, unless it failed, which is replied. */
void call_ask(struct call *c, const struct query_spec *spec,
    void (*then)(struct call *c, struct query_answer *a));
/* Waits for something else than an answer of the store: `then` gets NULL from call_resume(). */
void call_hold(struct call *c, void (*then)(struct call *c, struct query_answer *a));
/* A `then` that replies the rows as they are. */
void call_reply_rows(struct call *c, struct query_answer *a);

/* True when the peer may do what that role may; else it was refused, the call is gone. */
bool call_need(struct call *c, enum config_role role);
/* Records a change by this call's peer. */
void call_audit(
    struct call *c, const char *what, const char *object, const char *detail, const char *result);
/* Names of a route and a sink by number, "" when unknown. */
const char *call_route_name(const struct call *c, uint64_t route_id);
const char *call_sink_name(const struct call *c, uint64_t sink_id, const char **route);
int64_t call_started_ms(const struct call *c);
int64_t call_configured_ms(const struct call *c);
const char *call_who(struct call *c, char ret[128]);

int64_t call_memory_bytes(void); /* resident (health.c); 0: unknown */

/* Endpoints. */
void api_live(struct call *c);
void api_ready(struct call *c);
void api_health(struct call *c);
void api_metrics(struct call *c);
void api_status(struct call *c);
void api_route(struct call *c);
void api_version(struct call *c);
void api_plan(struct call *c);
void api_reload(struct call *c);
void api_pause(struct call *c);
void api_resume(struct call *c);
void api_drain(struct call *c);
void api_breaker(struct call *c);
void api_dead_list(struct call *c);
void api_dead_groups(struct call *c);
void api_dead_show(struct call *c);
void api_dead_retry(struct call *c);
void api_dead_drop(struct call *c);
void api_dead_edit(struct call *c);
void api_replay_plan(struct call *c);
void api_replay_list(struct call *c);
void api_replay_show(struct call *c);
void api_replay_do(struct call *c);
void api_events(struct call *c);
void api_trace_id(struct call *c);
void api_trace_seq(struct call *c);
void api_attempts(struct call *c);
void api_gaps(struct call *c);
void api_tap(struct call *c);
void api_audit(struct call *c);
void api_audit_verify(struct call *c);
void api_log(struct call *c);
void api_log_level(struct call *c);
void api_store(struct call *c);
void api_backup_start(struct call *c);
void api_backup_show(struct call *c);
void api_check_start(struct call *c);
void api_check_show(struct call *c);

#endif
