/* The option tables of the configuration itself; those of the ends stand in each link's connector.
 */
#ifndef BASCULE_CONFIG_TABLES_H
#define BASCULE_CONFIG_TABLES_H

#include "bridge/base/option.h"

/* Top level without `connections` and `routes`; what every connection has. */
extern const struct option config_top_table[], config_connection_table[];
/* What every route, source and sink has; `shared` may stand on a route as its sinks' default. */
extern const struct option config_route_table[], config_source_table[], config_sink_table[],
    config_shared_table[];
/* What a source has that reads a connection: all but the built-in one. */
extern const struct option config_reads_table[];

#endif
