/* The daemon: start order, turns, signals, an orderly end. */
#ifndef BASCULE_DAEMON_H
#define BASCULE_DAEMON_H

#include "routes/config.h"

#include <stdint.h>

/* Exit codes that people and service managers see (sysexits.h). */
enum daemon_exit {
    DAEMON_OK = 0,
    DAEMON_USAGE = 64,
    DAEMON_DATA = 65,
    DAEMON_UNREACHABLE = 69,
    DAEMON_BROKEN = 70, /* a fault of the program itself or its machine */
    DAEMON_IO = 74,
    DAEMON_LATER = 75,
    DAEMON_PERMISSION = 77,
    DAEMON_CONFIG = 78,
};

struct daemon_spec {
    struct config *config; /* taken over */
    const char *path;      /* of its first file, to read it again; kept */
    const char *socket;    /* NULL: the configuration's */
    int64_t drain_ms;      /* longest orderly end */
};

/* No core of this process from now on: memory holds bodies and passwords. Not being dumpable also
 * keeps other processes of the same user from tracing it and from reading its environment and
 * memory in /proc; root still may. Before the configuration is read. */
void daemon_forbid_core(void);
/* Runs until a signal or a fault ends it. Returns the exit code; the reason is in the log. */
int daemon_run(const struct daemon_spec *spec);

#endif
