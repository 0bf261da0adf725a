/* Whether two lists of addresses lead to one server. */
#ifndef BASCULE_SERVERS_H
#define BASCULE_SERVERS_H

#include "bridge/base/option.h"

/* Of one connection: its `url`, or else its `urls` ("scheme://user:password@host:port/…" or just
 * "host:port", commas between several). */
struct servers {
    const char *url;                /* lent */
    const struct option_list *urls; /* lent */
};

/* True when one host and port stands in both. Letters' case counts for nothing, 127.0.0.1 and ::1
 * are localhost; `default_port` is meant where none is written, `tls_port` where the scheme ends
 * in s (0: the same). Names are not looked up. */
bool servers_meet(struct servers a, struct servers b, int default_port, int tls_port);

#endif
