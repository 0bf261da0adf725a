/* Telling a service manager how we are: systemd's sd_notify protocol, without its library. */
#ifndef BASCULE_NOTIFY_H
#define BASCULE_NOTIFY_H

/* "READY=1", "STATUS=…", "STOPPING=1"; several lines may stand in one. Nothing happens where
 * NOTIFY_SOCKET is not set. Never blocks; a manager that does not listen is its own trouble. */
void notify_send(const char *text);

#endif
