/* Sockets that a service manager opened for us: systemd's sd_listen_fds protocol, without its
 * library. */
#ifndef BASCULE_HANDED_H
#define BASCULE_HANDED_H

/* The listening Unix socket at `path` among those that LISTEN_FDS and LISTEN_PID name, made
 * non-blocking and close-on-exec; owned by the caller. -1 when there is none. */
int handed_socket(const char *path);

#endif
