/* What the files hold that a connection names: one hash, and until when their certificates are
 * good.
 */
#include "routes/config_build.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES_MAX (4u << 20) /* of one file; certificates are far smaller */

struct reading {
    struct config_connection *to;
    EVP_MD_CTX *md;
    bool any; /* the options name a file */
};

/* A key's file is no file of certificates, and what follows it in the same file still counts. */
static int64_t earliest_end(const char *text, size_t n)
{
    BIO *bio = BIO_new_mem_buf(text, (int)n);
    int64_t ret = 0;
    X509 *one;

    while (bio && (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        struct tm tm = { 0 };
        int64_t end = ASN1_TIME_to_tm(X509_get0_notAfter(one), &tm) == 1 ? timegm(&tm) * 1000 : 0;

        if (end && (!ret || end < ret))
            ret = end;
        X509_free(one);
    }
    BIO_free(bio);
    ERR_clear_error(); /* the last one ended at the file's end */
    return ret;
}

static void read_file(struct reading *r, const char *key, const char *path)
{
    char *text = malloc(FILE_BYTES_MAX);
    int fd = text ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    size_t n = 0;
    ssize_t got;
    int64_t end;

    r->any = true;
    /* One that cannot be read counts as another one. */
    (void)EVP_DigestUpdate(r->md, fd < 0 ? "-" : "+", 1);
    while (fd >= 0 && n < FILE_BYTES_MAX && (got = read(fd, text + n, FILE_BYTES_MAX - n)) > 0)
        n += (size_t)got;
    if (n)
        (void)EVP_DigestUpdate(r->md, text, n);
    if (n && r->to->certificate_count < CONFIG_CERTIFICATES_MAX &&
        (end = earliest_end(text, n)) != 0)
        r->to->certificates[r->to->certificate_count++] =
            (struct config_certificate){ key, path, end };
    if (fd >= 0)
        (void)close(fd);
    if (text)
        explicit_bzero(text, n);
    free(text);
}

/* librdkafka's own names of files end so ("ssl.ca.location"). */
static bool names_file(const char *property)
{
    size_t n = strlen(property);

    return n > 9 && strcmp(property + n - 9, ".location") == 0;
}

static void read_files(struct reading *r, const struct option *table, const void *values)
{
    for (const struct option *o = table; o->name; o++) {
        const void *at = (const char *)values + o->offset;
        const struct option_map *map = at;

        if (o->type == OPTION_TABLE)
            read_files(r, o->table, at);
        if (o->type == OPTION_TEXT && o->flags & OPTION_FILE && *(char *const *)at)
            read_file(r, o->name, *(char *const *)at);
        for (size_t i = 0; o->type == OPTION_TEXT_MAP && i < map->n; i++)
            if (names_file(map->at[i].name) && map->at[i].value)
                read_file(r, map->at[i].name, map->at[i].value);
    }
}

void config_build_files(struct config_connection *c)
{
    struct reading r = { .to = c, .md = EVP_MD_CTX_new() };
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (r.md && EVP_DigestInit_ex(r.md, EVP_sha256(), NULL) == 1)
        read_files(&r, c->connector->link_options, c->options);
    if (r.any)
        (void)EVP_DigestFinal_ex(r.md, sum, &n);
    EVP_MD_CTX_free(r.md);
    for (unsigned i = 0; i < n && i < 32; i++)
        (void)snprintf(c->files + (size_t)2 * i, 3, "%02x", sum[i]);
}
