/* Who may do what on the admin socket: a peer's role by the configuration's lists. */
#ifndef BASCULE_ACCESS_H
#define BASCULE_ACCESS_H

#include "bridge/admin/http.h"
#include "routes/config.h"

/* The highest role that any list gives to the peer. Without `admin.roles` the socket's own mode is
 * the guard, and who came through it may all. Root and the daemon's own user may always all: they
 * could do it without us. */
enum config_role access_role(const struct config *config, const struct http_peer *peer);
/* "none", "view", "operate", "admin". */
const char *access_text(enum config_role role);

#endif
