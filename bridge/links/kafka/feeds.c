/* What of a configuration's topics comes back to its sources. */
#include "bridge/links/kafka/options.h"
#include "bridge/links/overlap.h"
#include "bridge/links/servers.h"

#include <regex.h>
#include <string.h>

bool kafka_link_same(const void *a, const void *b)
{
    const struct kafka_link_options *x = a, *y = b;

    return servers_meet(
        (struct servers){ NULL, &x->brokers }, (struct servers){ NULL, &y->brokers }, 9092, 0);
}

/* A template against an expression: by what both begin with; the rest is not known. */
static bool begins_alike(const char *template, const char *expression)
{
    size_t a = strcspn(template, "$"), b = strcspn(expression, ".[]()|?*+{}\\^$");

    /* The last byte may be meant not at all ("ab?"), and an alternative has another beginning. */
    if (strchr(expression, '|'))
        return true;
    if (b > 0 && expression[b] && strchr("?*{", expression[b]))
        b--;
    return strncmp(template, expression, a < b ? a : b) == 0;
}

static bool expression_takes(const char *expression, const struct option_template *topic)
{
    regex_t compiled;
    bool matches;

    if (!topic->fixed)
        return begins_alike(topic->text, expression + 1);
    if (regcomp(&compiled, expression, REG_EXTENDED | REG_NOSUB) != 0)
        return false; /* librdkafka refuses it when it subscribes */
    matches = regexec(&compiled, topic->text, 0, NULL, 0) == 0;
    regfree(&compiled);
    return matches;
}

bool kafka_feeds(
    const void *sink_link, const void *sink, const void *source_link, const void *source)
{
    const struct kafka_sink_options *to = sink;
    const struct kafka_source_options *from = source;

    (void)sink_link, (void)source_link;
    for (size_t i = 0; to->topic.text && i < from->topics.n; i++) {
        const char *topic = from->topics.at[i];

        if (*topic == '^' ? expression_takes(topic, &to->topic)
                          : overlap(OVERLAP_TEMPLATE, to->topic.text, OVERLAP_NAME, topic))
            return true;
    }
    return false;
}
