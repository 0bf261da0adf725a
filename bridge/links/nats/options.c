#include "bridge/links/nats/options.h"

#include <stddef.h>
#include <string.h>

#define AT(s, m) offsetof(struct s, m)

static const struct option tls_table[] = {
    { .name = "ca_file",
        .type = OPTION_TEXT,
        .offset = AT(nats_tls_options, ca_file),
        .flags = OPTION_FILE,
        .help = "Authorities that may sign the server's certificate; else the system's." },
    { .name = "cert_file",
        .type = OPTION_TEXT,
        .offset = AT(nats_tls_options, cert_file),
        .flags = OPTION_FILE,
        .help = "Our own certificate, PEM." },
    { .name = "key_file",
        .type = OPTION_TEXT,
        .offset = AT(nats_tls_options, key_file),
        .flags = OPTION_FILE,
        .help = "Its key, PEM." },
    { .name = "server_name",
        .type = OPTION_TEXT,
        .offset = AT(nats_tls_options, server_name),
        .help = "Name that the certificate must hold; else the url's host." },
    { .name = "verify",
        .type = OPTION_BOOL,
        .offset = AT(nats_tls_options, verify),
        .default_text = "true",
        .help = "false trusts any certificate: for trials only." },
    { 0 },
};

const struct option nats_link_table[] = {
    { .name = "url",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, url),
        .flags = OPTION_CREDENTIAL_URL,
        .help = "Address of a server: nats://[user[:password]@]host[:port], or tls://." },
    { .name = "urls",
        .type = OPTION_TEXT_LIST,
        .offset = AT(nats_link_options, urls),
        .flags = OPTION_CREDENTIAL_URL,
        .help = "Several addresses, tried in turn; then the servers that these told of." },
    { .name = "username",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, username),
        .help = "User, where the url names none." },
    { .name = "password",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, password),
        .flags = OPTION_SECRET,
        .help = "Password of the user." },
    { .name = "token",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, token),
        .flags = OPTION_SECRET,
        .help = "Token, for servers that ask for one." },
    { .name = "nkey_seed",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, nkey_seed),
        .flags = OPTION_FILE,
        .help = "File with the seed of our NKey." },
    { .name = "creds",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, creds),
        .flags = OPTION_FILE,
        .help = "Credentials file: a user's JWT and seed." },
    { .name = "tls",
        .type = OPTION_TABLE,
        .offset = AT(nats_link_options, tls),
        .table = tls_table,
        .help = "TLS; a server that asks for it gets it with the system's authorities anyway." },
    { .name = "connect_timeout",
        .type = OPTION_DURATION,
        .offset = AT(nats_link_options, connect_timeout_ms),
        .default_text = "5s",
        .min = 100,
        .max = 600000,
        .help = "Longest wait for connection and login, for each server." },
    { .name = "ping_interval",
        .type = OPTION_DURATION,
        .offset = AT(nats_link_options, ping_interval_ms),
        .default_text = "10s",
        .min = 100,
        .max = 600000,
        .help = "How often the server is asked whether it lives; after two answers missing the "
                "connection is given up." },
    { .name = "inbox_prefix",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, inbox_prefix),
        .default_text = "_INBOX",
        .help = "What the subjects for answers to us begin with." },
    { .name = "domain",
        .type = OPTION_TEXT,
        .offset = AT(nats_link_options, domain),
        .help = "JetStream domain whose streams are meant." },
    { 0 },
};

static const char *const declares[] = { "create", "passive", "none", NULL };
static const char *const starts[] = { "all", "new", "last", NULL };
static const char *const oversizes[] = { "stop", "skip", NULL };

const struct option nats_source_table[] = {
    { .name = "stream",
        .type = OPTION_TEXT,
        .offset = AT(nats_source_options, stream),
        .help = "JetStream stream to read; without it, core NATS." },
    { .name = "bucket",
        .type = OPTION_TEXT,
        .offset = AT(nats_source_options, bucket),
        .help = "Key-value bucket to watch: every change, a deleted key as a null body." },
    { .name = "durable",
        .type = OPTION_TEXT,
        .offset = AT(nats_source_options, durable),
        .help = "Name of the durable pull consumer on the stream." },
    { .name = "subjects",
        .type = OPTION_TEXT_LIST,
        .offset = AT(nats_source_options, subjects),
        .help = "Subjects to read, with wildcards; of a stream, all of it unless given." },
    { .name = "queue_group",
        .type = OPTION_TEXT,
        .offset = AT(nats_source_options, queue_group),
        .help = "Core NATS: share the messages with the other members of this group." },
    { .name = "declare",
        .type = OPTION_ENUM,
        .offset = AT(nats_source_options, declare),
        .default_text = "create",
        .choices = declares,
        .help = "Stream and consumer that are not there: create makes them, passive waits for "
                "them and says so, none asks nothing and only pulls." },
    { .name = "start",
        .type = OPTION_ENUM,
        .offset = AT(nats_source_options, start),
        .default_text = "all",
        .choices = starts,
        .help = "Where a consumer that is made begins." },
    { .name = "start_sequence",
        .type = OPTION_INT,
        .offset = AT(nats_source_options, start_sequence),
        .default_text = "0",
        .min = 0,
        .max = INT64_MAX,
        .help = "A consumer that is made begins at this stream sequence." },
    { .name = "start_time",
        .type = OPTION_TEXT,
        .offset = AT(nats_source_options, start_time),
        .help = "A consumer that is made begins at this time, 2006-01-02T15:04:05Z." },
    { .name = "ack_wait",
        .type = OPTION_DURATION,
        .offset = AT(nats_source_options, ack_wait_ms),
        .default_text = "30s",
        .min = 1000,
        .max = 86400000,
        .help = "A consumer that is made gives a message again after so long without an answer." },
    { .name = "oversize",
        .type = OPTION_ENUM,
        .offset = AT(nats_source_options, oversize),
        .default_text = "stop",
        .choices = oversizes,
        .help = "A stream's message above max_event_bytes: stop and wait for a person, or skip it "
                "as a gap. Core NATS always skips." },
    { .name = "id_header",
        .type = OPTION_TEXT,
        .offset = AT(nats_source_options, id_header),
        .default_text = "message-id",
        .help = "Header of the event's id; without it Nats-Msg-Id." },
    { .name = "key_header",
        .type = OPTION_TEXT,
        .offset = AT(nats_source_options, key_header),
        .default_text = "key",
        .help = "Header of the record key." },
    { 0 },
};

const struct option nats_sink_table[] = {
    { .name = "subject",
        .type = OPTION_TEMPLATE,
        .offset = AT(nats_sink_options, subject),
        .help = "Subject to publish to." },
    { .name = "stream",
        .type = OPTION_TEXT,
        .offset = AT(nats_sink_options, stream),
        .help = "JetStream stream that must take it and confirm; without it, core NATS." },
    { .name = "bucket",
        .type = OPTION_TEXT,
        .offset = AT(nats_sink_options, bucket),
        .help = "Key-value bucket to put into; a null body deletes the key." },
    { .name = "bucket_key",
        .type = OPTION_TEMPLATE,
        .offset = AT(nats_sink_options, bucket_key),
        .help = "Key in the bucket." },
    { .name = "require_reply",
        .type = OPTION_BOOL,
        .offset = AT(nats_sink_options, require_reply),
        .default_text = "false",
        .help = "Core NATS: send a request and count it delivered when somebody answers." },
    { .name = "pass_ttl",
        .type = OPTION_BOOL,
        .offset = AT(nats_sink_options, pass_ttl),
        .default_text = "false",
        .help = "Send a Nats-TTL header on, for streams that know it (server 2.11)." },
    { .name = "id_header",
        .type = OPTION_TEXT,
        .offset = AT(nats_sink_options, id_header),
        .default_text = "message-id",
        .help = "Header of the event's id." },
    { .name = "key_header",
        .type = OPTION_TEXT,
        .offset = AT(nats_sink_options, key_header),
        .default_text = "key",
        .help = "Header of the record key." },
    { 0 },
};

size_t nats_url_count(const struct nats_link_options *o)
{
    return o->url ? 1 : o->urls.n;
}

const char *nats_url_at(const struct nats_link_options *o, size_t i)
{
    return o->url ? o->url : o->urls.at[i];
}

static int url_check(const char *url, struct fault *why)
{
    const char *rest = strstr(url, "://");

    if (!rest || (strncmp(url, "nats://", 7) != 0 && strncmp(url, "tls://", 6) != 0))
        return fault_set(why, FAULT_INPUT, 0, "the url must begin with nats:// or tls://");
    rest += 3;
    if (strrchr(rest, '@'))
        rest = strrchr(rest, '@') + 1;
    if (!*rest || *rest == ':' || strpbrk(rest, " /\t"))
        return fault_set(why, FAULT_INPUT, 0, "the url names no host, or more than host and port");
    return 0;
}

int nats_link_check(const void *options, const char **key, struct fault *why)
{
    const struct nats_link_options *o = options;
    int logins =
        (o->username != NULL) + (o->token != NULL) + (o->nkey_seed != NULL) + (o->creds != NULL);

    *key = o->url ? "url" : "urls";
    if (o->url && o->urls.n)
        return fault_set(why, FAULT_INPUT, 0, "give url or urls, not both");
    if (nats_url_count(o) == 0)
        return fault_set(why, FAULT_INPUT, 0, "give the server's url");
    for (size_t i = 0; i < nats_url_count(o); i++)
        if (url_check(nats_url_at(o, i), why) != 0)
            return -1;
    *key = "tls";
    if (!o->tls.cert_file != !o->tls.key_file)
        return fault_set(why, FAULT_INPUT, 0, "give cert_file and key_file together");
    *key = "password";
    if (o->password && !o->username)
        return fault_set(why, FAULT_INPUT, 0, "a password needs its username");
    *key = NULL;
    if (logins > 1)
        return fault_set(
            why, FAULT_INPUT, 0, "give one of username, token, nkey_seed and creds, not several");
    *key = "inbox_prefix";
    if (o->inbox_prefix && !nats_subject_valid(o->inbox_prefix, strlen(o->inbox_prefix), false))
        return fault_set(why, FAULT_INPUT, 0, "no subject");
    *key = "domain";
    if (o->domain &&
        (strpbrk(o->domain, ".") || !nats_subject_valid(o->domain, strlen(o->domain), false)))
        return fault_set(why, FAULT_INPUT, 0, "no JetStream domain");
    return 0;
}

bool nats_subject_valid(const char *subject, size_t n, bool wild)
{
    size_t from = 0;

    for (size_t i = 0; i <= n; i++) {
        unsigned char c = i < n ? (unsigned char)subject[i] : '.';
        if (c <= ' ' || c == 0x7f)
            return false;
        if (c != '.')
            continue;
        if (i == from)
            return false;
        if (i == from + 1 && (subject[from] == '*' || subject[from] == '>') &&
            (!wild || (subject[from] == '>' && i < n)))
            return false;
        from = i + 1;
    }
    return n > 0;
}

/* Streams and consumers are named in subjects of their API. */
static bool name_valid(const char *name)
{
    return *name && !strpbrk(name, " .*>/\\\t\r\n");
}

int nats_source_check(const void *options, const char **key, struct fault *why)
{
    const struct nats_source_options *o = options;
    bool streams = o->stream || o->bucket;

    *key = "subjects";
    for (size_t i = 0; i < o->subjects.n; i++)
        if (!nats_subject_valid(o->subjects.at[i], strlen(o->subjects.at[i]), true))
            return fault_set(why, FAULT_INPUT, 0, "'%s' is no subject", o->subjects.at[i]);
    if (!o->stream && !o->bucket && o->subjects.n == 0)
        return fault_set(why, FAULT_INPUT, 0, "give stream, bucket, or subjects for core NATS");
    *key = "bucket";
    if (o->bucket && (o->stream || o->subjects.n || !name_valid(o->bucket)))
        return fault_set(why, FAULT_INPUT, 0, "give a bucket's name, and no stream or subjects");
    *key = "durable";
    if (streams && !o->durable)
        return fault_set(why, FAULT_INPUT, 0, "a stream is read by a durable: give durable");
    if (o->durable && !name_valid(o->durable))
        return fault_set(why, FAULT_INPUT, 0, "no name of a consumer");
    if (!streams && o->durable)
        return fault_set(why, FAULT_INPUT, 0, "durable is of streams, not of core NATS");
    *key = "stream";
    if (o->stream && !name_valid(o->stream))
        return fault_set(why, FAULT_INPUT, 0, "no name of a stream");
    *key = "queue_group";
    if (o->queue_group && (streams || !name_valid(o->queue_group)))
        return fault_set(why, FAULT_INPUT, 0,
            streams ? "queue_group is of core NATS: members of a stream share its durable"
                    : "no name of a group");
    *key = "start";
    if ((o->start != NATS_START_ALL) + (o->start_sequence > 0) + (o->start_time != NULL) > 1)
        return fault_set(
            why, FAULT_INPUT, 0, "give one of start, start_sequence and start_time, not several");
    if (!streams && (o->start != NATS_START_ALL || o->start_sequence || o->start_time))
        return fault_set(why, FAULT_INPUT, 0, "core NATS keeps nothing to start from");
    return 0;
}

int nats_sink_check(const void *options, const char **key, struct fault *why)
{
    const struct nats_sink_options *o = options;

    *key = "subject";
    if (!o->subject.text == !o->bucket)
        return fault_set(why, FAULT_INPUT, 0, "give subject or bucket, one of them");
    if (o->subject.text && o->subject.fixed &&
        !nats_subject_valid(o->subject.text, strlen(o->subject.text), false))
        return fault_set(why, FAULT_INPUT, 0, "no subject to publish to");
    *key = "stream";
    if (o->stream && !name_valid(o->stream))
        return fault_set(why, FAULT_INPUT, 0, "no name of a stream");
    *key = "require_reply";
    if (o->bucket && (o->stream || !name_valid(o->bucket)))
        return fault_set(why, FAULT_INPUT, 0, "a bucket has a stream of its own");
    *key = "bucket_key";
    if (!o->bucket != !o->bucket_key.text)
        return fault_set(why, FAULT_INPUT, 0, "give bucket and bucket_key together");
    *key = "require_reply";
    if ((o->stream || o->bucket) && o->require_reply)
        return fault_set(why, FAULT_INPUT, 0, "a stream confirms by itself");
    return 0;
}
