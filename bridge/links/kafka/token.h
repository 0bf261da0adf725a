/* OAUTHBEARER with client credentials: fetches tokens for librdkafka, which asks for them. Its own
 * way to do so (`sasl.oauthbearer.method=oidc`) is not built into Debian's package. */
#ifndef BASCULE_KAFKA_TOKEN_H
#define BASCULE_KAFKA_TOKEN_H

#include "bridge/links/kafka/options.h"

#include <librdkafka/rdkafka.h>

/* Makes every handle of conf fetch its tokens. Each needs kafka_token_enable() once it is there. */
int kafka_token_conf(rd_kafka_conf_t *conf, const struct kafka_sasl *s, struct fault *why);
/* From then on a thread of librdkafka's fetches them. Does nothing where none are wanted. */
void kafka_token_enable(rd_kafka_t *rk);

#endif
