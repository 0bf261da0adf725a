/* One kind of end that the conformance suite runs against: its connector, and independent means to
 * feed and read its real broker. A link adds a fixture file; the suite (suite.c) runs on all of
 * them. */
#ifndef BASCULE_FIXTURE_H
#define BASCULE_FIXTURE_H

#include "bridge/connector.h"

enum fixture_flag {
    FIXTURE_LOSSY_SOURCE = 1u << 0, /* pub/sub: what is sent while nobody listens is gone */
    FIXTURE_NO_CUT = 1u << 1,       /* cannot cut connections without stopping the broker */
};

struct fixture {
    const char *name;  /* "redis_stream" */
    const char *needs; /* environment variable that tells that the broker runs, else skipped */
    const struct connector *connector;
    unsigned flags;
    /* Fill zeroed option structs for the running broker and a queue, topic, channel or stream of
     * that name, which does not exist yet and is made where the broker wants that. Strings are
     * malloced (option_done frees them). */
    void (*link_options)(void *ret);
    void (*source_options)(const char *place, void *ret);
    void (*sink_options)(const char *place, void *ret);
    /* With an independent client: publish messages FROM to FROM+N-1 to the place, body
     * "message NNNNNNN", record key "kN%5" and header "n"=N where the broker has them. */
    void (*feed)(const char *place, size_t from, size_t n);
    /* With an independent client: starts listening at the place (made if need be) so that what is
     * published from now on can be counted; then waits until `want` messages came (or 60 s), writes
     * their bodies, one a line, to `file`. listen returns when it is subscribed. */
    void *(*listen)(const char *place);
    size_t (*heard)(void *listener, size_t want, const char *file);
    /* Cuts all client connections at the broker (NULL with FIXTURE_NO_CUT). */
    void (*cut)(void);
    /* SIGKILLs and starts the broker again on the same port and data. */
    void (*stop)(void);
    void (*start)(void);
};

void fixture_add(const struct fixture *f);

/* Runs a command line by sh, its output to the test's log; fails the test when it fails. */
void fixture_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
