/* What the files hold that a connection names, as one hash. */
#include "routes/config_build.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <unistd.h>

#define FILE_DIGEST_MAX (4u << 20) /* of one file; certificates are far smaller */

static void digest_file(EVP_MD_CTX *md, const char *path)
{
    unsigned char part[4096];
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    size_t left = FILE_DIGEST_MAX;
    ssize_t n;

    if (!path)
        return;
    /* One that cannot be read counts as another one. */
    (void)EVP_DigestUpdate(md, fd < 0 ? "-" : "+", 1);
    while (fd >= 0 && left >= sizeof part && (n = read(fd, part, sizeof part)) > 0) {
        (void)EVP_DigestUpdate(md, part, (size_t)n);
        left -= (size_t)n;
    }
    if (fd >= 0)
        (void)close(fd);
    explicit_bzero(part, sizeof part);
}

/* librdkafka's own names of files end so ("ssl.ca.location"). */
static bool names_file(const char *property)
{
    size_t n = strlen(property);

    return n > 9 && strcmp(property + n - 9, ".location") == 0;
}

/* Returns whether the table names any. */
static bool digest_files(EVP_MD_CTX *md, const struct option *table, const void *values)
{
    bool any = false;

    for (const struct option *o = table; o->name; o++) {
        const void *at = (const char *)values + o->offset;
        const struct option_map *map = at;

        if (o->type == OPTION_TABLE && digest_files(md, o->table, at))
            any = true;
        if (o->type == OPTION_TEXT && o->flags & OPTION_FILE && *(char *const *)at) {
            digest_file(md, *(char *const *)at);
            any = true;
        }
        for (size_t i = 0; o->type == OPTION_TEXT_MAP && i < map->n; i++)
            if (names_file(map->at[i].name)) {
                digest_file(md, map->at[i].value);
                any = true;
            }
    }
    return any;
}

void config_build_files(struct config_connection *c)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    if (md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
        digest_files(md, c->connector->link_options, c->options))
        (void)EVP_DigestFinal_ex(md, sum, &n);
    EVP_MD_CTX_free(md);
    for (unsigned i = 0; i < n && i < 32; i++)
        (void)snprintf(c->files + (size_t)2 * i, 3, "%02x", sum[i]);
}
