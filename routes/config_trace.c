/* `trace:`: where spans of events go. */
#include "routes/config_build.h"

#include <strings.h>

#define AT(member) offsetof(struct config_trace, member)

const struct option config_trace_table[] = {
    { .name = "endpoint",
        .type = OPTION_TEXT,
        .offset = AT(endpoint),
        .help = "URL (http or https) of a collector that takes OTLP over HTTP; without a path, "
                "/v1/traces is meant. Absent: nothing is traced." },
    { .name = "ratio",
        .type = OPTION_NUMBER,
        .offset = AT(ratio),
        .default_text = "0.01",
        .min = 0,
        .max = 1,
        .help =
            "Share of the events without a traceparent that are traced. Those that have one are "
            "traced when its sampled flag is set." },
    { .name = "service",
        .type = OPTION_TEXT,
        .offset = AT(service),
        .default_text = "bascule",
        .help = "The spans' service.name." },
    { .name = "headers",
        .type = OPTION_TEXT_MAP,
        .offset = AT(headers),
        .flags = OPTION_SECRET,
        .help = "Headers of each request, for a login." },
    { .name = "timeout",
        .type = OPTION_DURATION,
        .offset = AT(timeout_ms),
        .default_text = "10s",
        .min = 100,
        .max = 300000,
        .help = "Longest wait for the collector." },
    { .name = "ca_file",
        .type = OPTION_TEXT,
        .offset = AT(ca_file),
        .flags = OPTION_FILE,
        .help = "Certificates that the collector's is checked against; absent: the system's." },
    { 0 },
};

static bool is_url(const char *text)
{
    const char *host = strncasecmp(text, "http://", 7) == 0    ? text + 7
                       : strncasecmp(text, "https://", 8) == 0 ? text + 8
                                                               : NULL;

    if (!host || strcspn(host, "/?#:") == 0)
        return false;
    for (; *text; text++)
        if (*text <= ' ' || *text == 0x7f)
            return false;
    return true;
}

/* Of an HTTP header, which a line end would part (RFC 9110, 5.1 and 5.5). */
static bool is_header(const struct option_pair *h)
{
    static const char odd[] = "!#$%&'*+-.^_`|~0123456789"
                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    return *h->name && strspn(h->name, odd) == strlen(h->name) &&
           (!h->value || !strpbrk(h->value, "\r\n"));
}

void config_build_trace(
    struct config_build *b, const struct yaml_node *trace, const struct config_trace *t)
{
    const char *slashes = t->endpoint ? strstr(t->endpoint, "//") : NULL;
    struct config_place place;

    if (!trace)
        return;
    place = config_build_place(b, trace, "endpoint");
    if (t->endpoint && !is_url(t->endpoint))
        problem_add(b->problems, PROBLEM_VALUE, place, "'endpoint' is not an http or https URL");
    else if (slashes && memchr(slashes + 2, '@', strcspn(slashes + 2, "/?#")))
        problem_add(b->problems, PROBLEM_VALUE, place,
            "'endpoint' holds a login; that goes into 'headers' (authorization)");
    for (size_t i = 0; i < t->headers.n; i++)
        if (!is_header(&t->headers.at[i]))
            problem_add(b->problems, PROBLEM_VALUE, config_build_place(b, trace, "headers"),
                "'%.64s' is no header, or has a line end in its value", t->headers.at[i].name);
}
