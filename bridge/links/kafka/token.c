#include "bridge/links/kafka/token.h"

#include "bridge/base/buf.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>

#define ANSWER_BYTES_MAX (64u << 10)
#define TIMEOUT_MS 10000L
#define LIFETIME_SECONDS 300 /* of a token that does not say how long it lives */

/* ---- one fetch ---- */

struct fetch {
    json_t *config;
    CURL *curl;
    char *form;
    struct buf answer;
    char error[CURL_ERROR_SIZE], text[300];
};

static const char *config_text(const struct fetch *f, const char *name)
{
    return json_string_value(json_object_get(f->config, name));
}

static size_t take(char *at, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;

    (void)size; /* always 1 */
    buf_put(&f->answer, at, n);
    return f->answer.failed ? 0 : n;
}

static int form_make(struct fetch *f)
{
    const char *scope = config_text(f, "scope");
    char *escaped = scope ? curl_easy_escape(f->curl, scope, 0) : NULL;
    int got = asprintf(&f->form, "grant_type=client_credentials%s%s", escaped ? "&scope=" : "",
        escaped ? escaped : "");

    curl_free(escaped);
    if (got < 0)
        f->form = NULL;
    return got < 0 || (scope && !escaped) ? -1 : 0;
}

/* RFC 6749, 4.4.2 and 2.3.1: the client's id and secret, form-encoded, as HTTP's own login. */
static int login_set(struct fetch *f)
{
    char *id = curl_easy_escape(f->curl, config_text(f, "id"), 0);
    char *secret = curl_easy_escape(f->curl, config_text(f, "secret"), 0);
    bool set = id && secret && curl_easy_setopt(f->curl, CURLOPT_USERNAME, id) == CURLE_OK &&
               curl_easy_setopt(f->curl, CURLOPT_PASSWORD, secret) == CURLE_OK &&
               curl_easy_setopt(f->curl, CURLOPT_HTTPAUTH, CURLAUTH_BASIC) == CURLE_OK;

    curl_free(id);
    curl_free(secret);
    return set ? 0 : -1;
}

static int request_set(struct fetch *f)
{
    const char *ca_file = config_text(f, "ca_file");
    CURL *c = f->curl;

    if (!config_text(f, "url") || !config_text(f, "id") || !config_text(f, "secret") ||
        form_make(f) != 0 || login_set(f) != 0 ||
        (ca_file && curl_easy_setopt(c, CURLOPT_CAINFO, ca_file) != CURLE_OK))
        return -1;
    return curl_easy_setopt(c, CURLOPT_URL, config_text(f, "url")) != CURLE_OK ||
                   curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
                   curl_easy_setopt(c, CURLOPT_POSTFIELDS, f->form) != CURLE_OK ||
                   curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take) != CURLE_OK ||
                   curl_easy_setopt(c, CURLOPT_WRITEDATA, f) != CURLE_OK ||
                   curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->error) != CURLE_OK ||
                   curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, TIMEOUT_MS) != CURLE_OK ||
                   curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) != CURLE_OK
               ? -1
               : 0;
}

/* The answer's token to librdkafka; else why not, in f->text. */
static int token_give(struct fetch *f, rd_kafka_t *rk)
{
    json_t *answer = json_loadb((const char *)f->answer.at, f->answer.n, 0, NULL);
    const char *token = json_string_value(json_object_get(answer, "access_token"));
    json_int_t seconds = json_integer_value(json_object_get(answer, "expires_in"));
    rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR_NO_ERROR;

    if (seconds <= 0 || seconds > INT32_MAX)
        seconds = LIFETIME_SECONDS;
    if (!token)
        (void)snprintf(f->text, sizeof f->text, "its answer holds no access_token");
    else
        e = rd_kafka_oauthbearer_set_token(rk, token, ((int64_t)time(NULL) + seconds) * 1000,
            config_text(f, "id"), NULL, 0, f->text, sizeof f->text);
    json_decref(answer);
    return token && e == RD_KAFKA_RESP_ERR_NO_ERROR ? 0 : -1;
}

static int fetch_run(struct fetch *f, rd_kafka_t *rk)
{
    long status = 0;
    CURLcode e;

    if (!f->config || !f->curl || request_set(f) != 0) {
        (void)snprintf(
            f->text, sizeof f->text, "cannot be asked: out of memory, or built without TLS");
        return -1;
    }
    e = curl_easy_perform(f->curl);
    if (e != CURLE_OK) {
        (void)snprintf(
            f->text, sizeof f->text, "%.280s", *f->error ? f->error : curl_easy_strerror(e));
        return -1;
    }
    (void)curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        (void)snprintf(f->text, sizeof f->text, "HTTP status %ld", status);
        return -1;
    }
    return token_give(f, rk);
}

/* On librdkafka's background thread, which has nothing else to do for us. */
static void refresh(rd_kafka_t *rk, const char *config, void *opaque)
{
    struct fetch f = { .config = json_loads(config ? config : "", 0, NULL),
        .curl = curl_easy_init() };
    char told[512];

    (void)opaque;
    buf_init(&f.answer, ANSWER_BYTES_MAX);
    if (fetch_run(&f, rk) != 0) {
        const char *url = config_text(&f, "url");

        (void)snprintf(told, sizeof told, "token_url %.150s: %s", url ? url : "", f.text);
        (void)rd_kafka_oauthbearer_set_token_failure(rk, told);
    }
    curl_easy_cleanup(f.curl);
    json_decref(f.config);
    free(f.form);
    buf_done(&f.answer);
}

/* Before 1.9 librdkafka asks for tokens only where its queue is polled: on the loop, which must not
 * wait for an HTTP server. */
#ifdef HAVE_KAFKA_SASL_QUEUE
static int queue_enable(rd_kafka_conf_t *conf, struct fault *why)
{
    (void)why;
    rd_kafka_conf_enable_sasl_queue(conf, 1);
    return 0;
}

void kafka_token_enable(rd_kafka_t *rk)
{
    rd_kafka_error_destroy(rd_kafka_sasl_background_callbacks_enable(rk));
}
#else
static int queue_enable(rd_kafka_conf_t *conf, struct fault *why)
{
    (void)conf;
    return fault_set(why, FAULT_INPUT, 0,
        "kafka: token_url needs librdkafka 1.9; this program was built for older ones");
}

void kafka_token_enable(rd_kafka_t *rk)
{
    (void)rk;
}
#endif

/* The handle may outlive the options, so it carries its own copy. */
int kafka_token_conf(rd_kafka_conf_t *conf, const struct kafka_sasl *s, struct fault *why)
{
    json_t *all = json_pack("{s:s, s:s, s:s, s:s*, s:s*}", "url", s->token_url, "id", s->client_id,
        "secret", s->client_secret, "scope", s->scope, "ca_file", s->token_ca_file);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL, told[200];
    int failed = -1;

    json_decref(all);
    if (!text)
        return fault_set(
            why, FAULT_INPUT, 0, "kafka: token_url, client_id or client_secret: not UTF-8");
    if (rd_kafka_conf_set(conf, "sasl.oauthbearer.config", text, told, sizeof told) ==
        RD_KAFKA_CONF_OK)
        failed = 0;
    else
        (void)fault_set(why, FAULT_INPUT, 0, "kafka: %s", told);
    explicit_bzero(text, strlen(text));
    free(text);
    if (failed == 0)
        failed = queue_enable(conf, why);
    rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, refresh);
    return failed;
}
