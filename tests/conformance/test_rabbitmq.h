/* Options for the private RabbitMQ that the environment names; shared by its fixture and its tests.
 */
#ifndef BASCULE_TEST_RABBITMQ_H
#define BASCULE_TEST_RABBITMQ_H

void rabbitmq_link_options(void *ret);
void rabbitmq_source_options(const char *place, void *ret);
void rabbitmq_sink_options(const char *place, void *ret);

#endif
