#include "bridge/base/address.h"

#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int refuse(const char *text, struct fault *why)
{
    return fault_set(why, FAULT_INPUT, 0,
        "'%.100s' is not an address and a port in numbers, as 127.0.0.1:9095 or [::1]:9095", text);
}

int address_parse(const char *text, struct address *ret, struct fault *why)
{
    static const struct addrinfo hints = { .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *found = NULL;
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : 0;
    bool bracketed = n >= 2 && text[0] == '[' && text[n - 1] == ']';
    char host[128], *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : 0;

    if (n == 0 || n >= sizeof host || port < 1 || port > 65535 || *end || colon[1] == '+' ||
        (!bracketed && memchr(text, ':', n)))
        return refuse(text, why);
    memcpy(host, text + bracketed, n);
    host[bracketed ? n - 2 : n] = '\0';
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return refuse(text, why);
    *ret = (struct address){ .n = found->ai_addrlen, .port = (int)port };
    memcpy(&ret->at, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}
