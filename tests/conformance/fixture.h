/* One kind of end that the conformance suite runs against: its connector, and the name of the
 * independent client (ends.py) that feeds and reads its real broker. A link adds a fixture file;
 * the suite (suite.c) runs on all of them. */
#ifndef BASCULE_FIXTURE_H
#define BASCULE_FIXTURE_H

#include "bridge/connector.h"

enum fixture_flag {
    FIXTURE_LOSSY = 1u << 0,  /* pub/sub: what is sent while nobody listens is gone */
    FIXTURE_NO_CUT = 1u << 1, /* cannot cut connections without stopping the broker */
    FIXTURE_OPEN = 1u << 2,   /* no TLS and no login, so nothing can be wrong with them */
};

enum fixture_wrong { FIXTURE_WRONG_PASSWORD = 1, FIXTURE_WRONG_CA, FIXTURE_WRONG_NAME };

struct fixture {
    const char *name;  /* "redis_stream" */
    const char *end;   /* "redis_stream", as ends.py calls it */
    const char *needs; /* environment variable that tells that the broker runs, else skipped */
    const struct connector *connector;
    unsigned flags;
    unsigned slot; /* of the template that holds the place, among the sink's */
    /* Fill zeroed option structs for the running broker and a queue, topic, channel or stream of
     * that name. Strings are malloced (option_done frees them). */
    void (*link_options)(void *ret);
    void (*source_options)(const char *place, void *ret);
    void (*sink_options)(const char *place, void *ret);
    /* Makes filled link options wrong, and tells what status must say then. Without FIXTURE_OPEN.
     */
    const char *(*spoil)(void *link_options, enum fixture_wrong what);
};

/* For the parts of options. */
void fixture_text(char **at, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In place of the host: the same address in a form that no certificate has. */
#define FIXTURE_OTHER_NAME "127.1"

/* Registers the suite's tests for it. */
void fixture_add(const struct fixture *f);

/* Runs a command line by sh, its output to the test's log; fails the test when it fails. */
void fixture_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Called meanwhile, where set: a command may take seconds, and a link's time goes on. */
extern void (*fixture_idle)(void);

/* ---- what only a client or the operator of a broker can do (run.py); fail the test when it fails
 */

/* Makes the queue, topic, … where the broker wants that. */
void fixture_place(const struct fixture *f, const char *place);
/* Sends messages FROM to FROM+N-1 to the place, body "message NNNNNNN", record key "kN%5" and
 * header "n"=N where the broker has them. */
void fixture_feed(const struct fixture *f, const char *place, size_t from, size_t n);
/* Starts to read the place: from its beginning, with FIXTURE_LOSSY from now on. Takes away what it
 * reads where the broker does that. */
void fixture_listen(const struct fixture *f, const char *place);
/* How many the broker would send to what comes to the place next; 1 where it keeps it for them. */
size_t fixture_subscribers(const struct fixture *f, const char *place);
/* Waits until all lines of the file came as bodies (or 60 s), ends listening, returns how many did
 * not come. */
size_t fixture_lacks(const char *file);
/* Cuts all client connections at the broker. */
void fixture_cut(const struct fixture *f);
/* SIGKILLs the broker; starts it again on the same ports and data. */
void fixture_stop(const struct fixture *f);
void fixture_start(const struct fixture *f);

#endif
