/* What the admin socket answers: the table of endpoints, and everything asked of relay and store.
 */
#ifndef BASCULE_API_H
#define BASCULE_API_H

#include "bridge/admin/http.h"
#include "bridge/reload.h"
#include "bridge/trace_export.h"

struct api;
struct call;

struct api_spec {
    struct relay *relay; /* kept, as the next ones */
    struct store *store;
    const struct config *config;
    int64_t started_ms;            /* unix ms */
    struct reload *reload;         /* kept; NULL: none */
    const struct histogram *turns; /* kept; how long turns of the loop took; NULL: unknown */
    struct trace_export *traces;   /* kept; NULL: none */
    int port;                      /* of the TCP address; 0: none */
};

struct api_endpoint {
    const char *method, *path; /* "/v1/routes/{route}/pause"; a last "{id...}" takes slashes too */
    enum config_role role;     /* the least that may */
    void (*handle)(struct call *c);
};
/* Ended by a zeroed entry; openapi.yaml describes the same ones. */
extern const struct api_endpoint api_endpoints[];

int api_open(const struct api_spec *spec, struct api **ret, struct fault *why);
void api_free(struct api *a); /* after http_free(), so that nobody waits any more */
/* An http_handle with the api as its argument, and an http_rank. */
void api_handle(void *arg, struct http_request *q);
enum http_rank api_rank(void *arg, const struct http_peer *peer);
/* As api_handle() for anybody: it knows only what changes nothing and tells no event. */
void api_handle_public(void *arg, struct http_request *q);
/* Takes the store's answers in (after relay_turn()), then replies. now_ms is monotonic; handlers
 * see the times of the last turn. Returns true when a person asked for something that the next turn
 * does. */
bool api_turn(struct api *a, int64_t now_ms, int64_t unix_ms);

/* Whoever looks on is told that the process ends. Before http_free(). */
void api_stop(struct api *a); /* NULL is allowed */
/* Another configuration runs since this moment. */
void api_reconfigure(struct api *a, const struct config *config, int64_t unix_ms);
/* A plan or reload has ended: who asked for it is answered. */
void api_reloaded(struct api *a);

/* Fills values[] (malloced, at most `limit`) when path fits the pattern; their count, -1 when not.
 */
int api_match(const char *pattern, const char *path, char **values, size_t limit);

#endif
