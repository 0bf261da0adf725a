#include "bridge/admin/access.h"

#include <unistd.h>

static bool holds(const uint32_t *numbers, size_t n, int64_t one)
{
    for (size_t i = 0; i < n; i++)
        if ((int64_t)numbers[i] == one)
            return true;
    return false;
}

static bool is_member(const struct config_members *m, const struct http_peer *peer)
{
    if (holds(m->uids, m->uid_count, peer->uid) || holds(m->gids, m->gid_count, peer->gid))
        return true;
    for (size_t i = 0; m->gid_count && i < peer->group_count; i++)
        if (holds(m->gids, m->gid_count, (int64_t)peer->groups[i]))
            return true;
    return false;
}

enum config_role access_role(const struct config *config, const struct http_peer *peer)
{
    if (!config->roles_set || peer->uid == 0 || peer->uid == (int64_t)geteuid())
        return CONFIG_ROLE_ADMIN;
    for (int role = CONFIG_ROLE_ADMIN; role > CONFIG_ROLE_NONE; role--)
        if (is_member(&config->roles[role], peer))
            return (enum config_role)role;
    return CONFIG_ROLE_NONE;
}

const char *access_text(enum config_role role)
{
    static const char *const texts[CONFIG_ROLE_COUNT] = { "none", "view", "operate", "admin" };

    return texts[role];
}
