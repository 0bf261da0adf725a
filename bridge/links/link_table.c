/* The one list of links: adding a broker is its folder here and its name in this file. */
#include "bridge/connector.h"

extern const struct connector connector_rabbitmq;
extern const struct connector connector_kafka;
extern const struct connector connector_redis;
extern const struct connector connector_nats;

const struct connector *const connector_all[] = {
    &connector_rabbitmq,
    &connector_kafka,
    &connector_redis,
    &connector_nats,
    NULL,
};

const struct connector *connector_find(const char *type)
{
    for (const struct connector *const *c = connector_all; *c; c++)
        if (strcmp((*c)->type, type) == 0)
            return *c;
    return NULL;
}
