#include "bridge/links/servers.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct place {
    const char *host;
    size_t n;
    long port;
};

static size_t count(struct servers s)
{
    return s.url ? 1 : s.urls->n;
}

static const char *at(struct servers s, size_t i)
{
    return s.url ? s.url : s.urls->at[i];
}

/* The next address in a text with commas; NULL at its end. */
static const char *next(const char *p, long port, long tls_port, struct place *ret)
{
    const char *scheme = strstr(p, "://"), *user, *colon;
    /* A password may hold commas. */
    const char *end = p + strcspn(p, strchr(p, '@') ? "" : ",");
    size_t n;

    if (!*p)
        return NULL;
    *ret = (struct place){ .port = port };
    if (scheme && scheme < end) {
        ret->port = tls_port && scheme > p && scheme[-1] == 's' ? tls_port : port;
        p = scheme + 3;
    }
    n = strcspn(p, "/?");
    if (p + n > end)
        n = (size_t)(end - p);
    user = memrchr(p, '@', n);
    if (user) {
        n -= (size_t)(user + 1 - p);
        p = user + 1;
    }
    colon = *p == '[' ? memchr(p, ']', n) : memrchr(p, ':', n);
    if (*p == '[' && colon)
        colon = (size_t)(colon + 1 - p) < n && colon[1] == ':' ? colon + 1 : NULL;
    if (colon) {
        ret->port = strtol(colon + 1, NULL, 10);
        n = (size_t)(colon - p);
    }
    ret->host = p;
    ret->n = n;
    return *end ? end + 1 : end;
}

static bool is_here(struct place p)
{
    static const char *const names[] = { "localhost", "127.0.0.1", "::1", "[::1]", "" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (p.n == strlen(names[i]) && strncasecmp(p.host, names[i], p.n) == 0)
            return true;
    return false;
}

static bool same(struct place a, struct place b)
{
    return a.port == b.port &&
           ((is_here(a) && is_here(b)) || (a.n == b.n && strncasecmp(a.host, b.host, a.n) == 0));
}

bool servers_meet(struct servers a, struct servers b, int default_port, int tls_port)
{
    struct place x, y;

    for (size_t i = 0; i < count(a); i++)
        for (const char *p = at(a, i); (p = next(p, default_port, tls_port, &x)) != NULL;)
            for (size_t k = 0; k < count(b); k++)
                for (const char *q = at(b, k); (q = next(q, default_port, tls_port, &y)) != NULL;)
                    if (same(x, y))
                        return true;
    return false;
}
