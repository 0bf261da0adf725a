#include "bridge/links/kafka/link.h"

static bool topic_look(rd_kafka_t *rk, const char *name, int64_t timeout_ms, struct finding *ret)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    const struct rd_kafka_metadata *found;
    rd_kafka_resp_err_t e;

    if (!topic)
        return false;
    e = rd_kafka_metadata(rk, 0, topic, &found, (int)timeout_ms);
    rd_kafka_topic_destroy(topic);
    if (e == 0) {
        if (found->topic_cnt > 0)
            e = found->topics[0].err;
        rd_kafka_metadata_destroy(found);
    }
    if (e == 0)
        return false;
    ret->is_error = true;
    (void)snprintf(ret->text, sizeof ret->text, "kafka topic '%s': %s", name, rd_kafka_err2str(e));
    return true;
}

size_t kafka_link_probe(const struct link_spec *spec, const struct source_spec *source,
    const struct sink_spec *sink, int64_t timeout_ms, struct finding *ret, size_t limit)
{
    const struct kafka_source_options *from = source ? source->options : NULL;
    const struct kafka_sink_options *to = sink ? sink->options : NULL;
    struct fault why = { 0 };
    rd_kafka_conf_t *conf;
    rd_kafka_t *rk;
    size_t n = 0;

    if (limit == 0)
        return 0;
    conf = kafka_conf_open(spec->options, false, &why);
    rk = conf ? kafka_conf_start(conf, false, &why) : NULL;
    if (!rk) {
        ret->is_error = true;
        (void)snprintf(ret->text, sizeof ret->text, "%.399s", why.text);
        return 1;
    }
    for (size_t i = 0; from && i < from->topics.n && n < limit; i++)
        if (from->topics.at[i][0] != '^')
            n += topic_look(rk, from->topics.at[i], timeout_ms, &ret[n]);
    if (to && to->topic.fixed && n < limit)
        n += topic_look(rk, to->topic.text, timeout_ms, &ret[n]);
    rd_kafka_destroy(rk);
    return n;
}
