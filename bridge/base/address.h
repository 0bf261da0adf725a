/* Addresses to listen on, as text: "127.0.0.1:9095", "[::1]:9095". */
#ifndef BASCULE_ADDRESS_H
#define BASCULE_ADDRESS_H

#include "bridge/base/fault.h"

#include <sys/socket.h>

struct address {
    struct sockaddr_storage at;
    socklen_t n;
    int port;
};

/* Numbers only: looking up a name may block. FAULT_INPUT says what is wanted. */
int address_parse(const char *text, struct address *ret, struct fault *why);

#endif
