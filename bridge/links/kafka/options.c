#include "bridge/links/kafka/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const char *const kafka_mechanisms[] = { "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER",
    NULL };
const char *const kafka_isolations[] = { "read_committed", "read_uncommitted", NULL };
const char *const kafka_compressions[] = { "none", "gzip", "snappy", "lz4", "zstd", NULL };
static const char *const oversizes[] = { "stop", "skip", NULL };
static const char *const dedicateds[] = { "auto", "always", "never", NULL };

#define AT(type, member) .offset = offsetof(struct type, member)

static const struct option sasl_table[] = {
    { .name = "mechanism",
        .type = OPTION_ENUM,
        AT(kafka_sasl, mechanism),
        .default_text = "PLAIN",
        .choices = kafka_mechanisms,
        .help = "How to log in." },
    { .name = "username", .type = OPTION_TEXT, AT(kafka_sasl, username), .help = "Login name." },
    { .name = "password",
        .type = OPTION_TEXT,
        AT(kafka_sasl, password),
        .flags = OPTION_SECRET,
        .help = "Its password." },
    { .name = "token_url",
        .type = OPTION_TEXT,
        AT(kafka_sasl, token_url),
        .help = "OAUTHBEARER: where client credentials are exchanged for a token." },
    { .name = "token_ca_file",
        .type = OPTION_TEXT,
        AT(kafka_sasl, token_ca_file),
        .flags = OPTION_FILE,
        .help = "OAUTHBEARER: PEM file of the authorities to trust there, else the system's." },
    { .name = "client_id",
        .type = OPTION_TEXT,
        AT(kafka_sasl, client_id),
        .help = "OAUTHBEARER: who we are." },
    { .name = "client_secret",
        .type = OPTION_TEXT,
        AT(kafka_sasl, client_secret),
        .flags = OPTION_SECRET,
        .help = "OAUTHBEARER: its secret." },
    { .name = "scope",
        .type = OPTION_TEXT,
        AT(kafka_sasl, scope),
        .help = "OAUTHBEARER: scope to ask for." },
    { 0 },
};

static const struct option tls_table[] = {
    { .name = "ca_file",
        .type = OPTION_TEXT,
        AT(kafka_tls, ca_file),
        .flags = OPTION_FILE,
        .help = "PEM file of the authorities to trust, else the system's." },
    { .name = "cert_file",
        .type = OPTION_TEXT,
        AT(kafka_tls, cert_file),
        .flags = OPTION_FILE,
        .help = "PEM file of our own certificate." },
    { .name = "key_file",
        .type = OPTION_TEXT,
        AT(kafka_tls, key_file),
        .flags = OPTION_FILE,
        .help = "PEM file of its key." },
    { .name = "key_password",
        .type = OPTION_TEXT,
        AT(kafka_tls, key_password),
        .flags = OPTION_SECRET,
        .help = "Password of the key file." },
    { .name = "verify",
        .type = OPTION_BOOL,
        AT(kafka_tls, verify),
        .default_text = "true",
        .help = "Whether certificate and host name are checked." },
    { 0 },
};

const struct option kafka_link_table[] = {
    { .name = "brokers",
        .type = OPTION_TEXT_LIST,
        AT(kafka_link_options, brokers),
        .flags = OPTION_REQUIRED,
        .help = "Hosts and ports to ask first." },
    { .name = "sasl",
        .type = OPTION_TABLE,
        AT(kafka_link_options, sasl),
        .table = sasl_table,
        .help = "Login." },
    { .name = "tls",
        .type = OPTION_TABLE,
        AT(kafka_link_options, tls),
        .table = tls_table,
        .help = "TLS." },
    { .name = "properties",
        .type = OPTION_TEXT_MAP,
        AT(kafka_link_options, properties),
        .help = "Any other librdkafka property." },
    { 0 },
};

const struct option kafka_source_table[] = {
    { .name = "topics",
        .type = OPTION_TEXT_LIST,
        AT(kafka_source_options, topics),
        .flags = OPTION_REQUIRED,
        .help = "Topics to read; ^ begins a regular expression." },
    { .name = "group",
        .type = OPTION_TEXT,
        AT(kafka_source_options, group),
        .flags = OPTION_REQUIRED,
        .help = "Consumer group." },
    { .name = "start",
        .type = OPTION_TEXT,
        AT(kafka_source_options, start),
        .default_text = "earliest",
        .help = "Where the first assignment starts: earliest, latest, or a time." },
    { .name = "isolation",
        .type = OPTION_ENUM,
        AT(kafka_source_options, isolation),
        .default_text = "read_committed",
        .choices = kafka_isolations,
        .help = "Whether records of unfinished transactions are read." },
    { .name = "oversize",
        .type = OPTION_ENUM,
        AT(kafka_source_options, oversize),
        .default_text = "stop",
        .choices = oversizes,
        .help =
            "What to do about a record too large for the log: stop, or skip and record a gap." },
    { 0 },
};

const struct option kafka_sink_table[] = {
    { .name = "topic",
        .type = OPTION_TEMPLATE,
        AT(kafka_sink_options, topic),
        .flags = OPTION_REQUIRED,
        .help = "Topic to write to." },
    { .name = "partition",
        .type = OPTION_TEMPLATE,
        AT(kafka_sink_options, partition),
        .help = "Partition number; absent: by key, as Java does." },
    { .name = "compression",
        .type = OPTION_ENUM,
        AT(kafka_sink_options, compression),
        .default_text = "none",
        .choices = kafka_compressions,
        .help = "Compression of batches." },
    { .name = "dedicated",
        .type = OPTION_ENUM,
        AT(kafka_sink_options, dedicated),
        .default_text = "auto",
        .choices = dedicateds,
        .help = "Whether the sink has a producer of its own." },
    { 0 },
};

int kafka_start_parse(const char *text, int64_t *ret)
{
    struct tm tm = { 0 };
    long long number;
    char *end;

    if (!text || strcmp(text, "earliest") == 0) {
        *ret = KAFKA_START_EARLIEST;
        return 0;
    }
    if (strcmp(text, "latest") == 0) {
        *ret = KAFKA_START_LATEST;
        return 0;
    }
    errno = 0;
    number = strtoll(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && number >= 0) {
        *ret = number;
        return 0;
    }
    end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    if (!end || *end != '\0' || timegm(&tm) < 0)
        return -1;
    *ret = (int64_t)timegm(&tm) * 1000;
    return 0;
}
