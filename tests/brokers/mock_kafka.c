/* A mock Kafka cluster, for where the real one cannot be had: prints its bootstrap servers and runs
 * until standard input ends. It keeps nothing and makes topics when they are asked for. */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include <stdio.h>
#include <unistd.h>

static int set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char text[256];

    if (rd_kafka_conf_set(conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return 0;
    (void)fprintf(stderr, "mock_kafka: %s\n", text);
    return -1;
}

int main(void)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_mock_cluster_t *cluster;
    char text[256];
    rd_kafka_t *rk;

    if (set(conf, "test.mock.num.brokers", "1") != 0)
        return 1;
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    cluster = rk ? rd_kafka_handle_mock_cluster(rk) : NULL;
    if (!cluster) {
        (void)fprintf(stderr, "mock_kafka: %s\n", rk ? "no cluster" : text);
        return 1;
    }
    (void)printf("%s\n", rd_kafka_mock_cluster_bootstraps(cluster));
    (void)fflush(stdout);
    while (read(STDIN_FILENO, text, sizeof text) > 0)
        ;
    rd_kafka_destroy(rk);
    return 0;
}
