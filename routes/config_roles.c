/* `admin.roles`: who may do what on the admin socket, by users and groups. */
#include "routes/config_build.h"
#include "routes/memory.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>

#define ENTRY_BYTES_MAX (1u << 20) /* of a user or group as the system tells it */

#define AT(type, member) offsetof(struct type, member)

static const struct option role_table[] = {
    { .name = "users",
        .type = OPTION_TEXT_LIST,
        .offset = AT(config_role_options, users),
        .help = "Names or numbers." },
    { .name = "groups",
        .type = OPTION_TEXT_LIST,
        .offset = AT(config_role_options, groups),
        .help = "Names or numbers; a peer's supplementary groups count." },
    { 0 },
};

const struct option config_roles_table[] = {
    { .name = "view",
        .type = OPTION_TABLE,
        .offset = AT(config_roles_options, view),
        .table = role_table,
        .help = "Who may look at everything but the events' headers and bodies." },
    { .name = "operate",
        .type = OPTION_TABLE,
        .offset = AT(config_roles_options, operate),
        .table = role_table,
        .help = "Who may also read headers and bodies, pause, resume, drain, retry, replay, and "
                "reset breakers." },
    { .name = "admin",
        .type = OPTION_TABLE,
        .offset = AT(config_roles_options, admin),
        .table = role_table,
        .help = "Who may also reload, edit and drop dead letters, discard, back up and salvage." },
    { 0 },
};

/* The entry's number, -1 when there is none of that name. */
static int64_t look_up(const char *name, bool group, char *room, size_t n)
{
    struct passwd user, *found_user = NULL;
    struct group grp, *found_group = NULL;
    int failed = group ? getgrnam_r(name, &grp, room, n, &found_group)
                       : getpwnam_r(name, &user, room, n, &found_user);

    if (failed == ERANGE)
        return -2;
    if (group)
        return found_group ? (int64_t)grp.gr_gid : -1;
    return found_user ? (int64_t)user.pw_uid : -1;
}

/* A number counts as itself, whether or not somebody has it. (uint32_t)-1 is the kernel's word for
 * nobody in particular. */
static int64_t number_of(const char *name, bool group)
{
    size_t room_bytes = 4096;
    int64_t ret = -1;
    char *end;

    if (*name >= '0' && *name <= '9') {
        errno = 0;
        ret = strtoll(name, &end, 10);
        return errno || *end || ret >= UINT32_MAX ? -1 : ret;
    }
    do {
        char *room = malloc(room_bytes);

        ret = room ? look_up(name, group, room, room_bytes) : -1;
        free(room);
        room_bytes *= 4;
    } while (ret == -2 && room_bytes <= ENTRY_BYTES_MAX);
    return ret;
}

static size_t numbers(struct config_build *b, const struct yaml_node *role, const char *key,
    const struct option_list *names, uint32_t **ret)
{
    bool group = strcmp(key, "groups") == 0;
    size_t n = 0;

    *ret = memory_array(names->n + 1, sizeof **ret);
    for (size_t i = 0; i < names->n; i++) {
        int64_t number = number_of(names->at[i], group);

        if (number >= 0)
            (*ret)[n++] = (uint32_t)number;
        else
            problem_add(b->problems, PROBLEM_MEMBER, config_build_place(b, role, key),
                "there is no %s '%.64s': nobody gets the role by it", group ? "group" : "user",
                names->at[i]);
    }
    return n;
}

void config_build_roles(struct config_build *b, const struct yaml_node *roles,
    const struct config_roles_options *options)
{
    const struct config_role_options *const at[CONFIG_ROLE_COUNT] = { [CONFIG_ROLE_VIEW] =
                                                                          &options->view,
        [CONFIG_ROLE_OPERATE] = &options->operate,
        [CONFIG_ROLE_ADMIN] = &options->admin };
    static const char *const names[CONFIG_ROLE_COUNT] = { [CONFIG_ROLE_VIEW] = "view",
        [CONFIG_ROLE_OPERATE] = "operate",
        [CONFIG_ROLE_ADMIN] = "admin" };

    config_roles_done(b->config);
    b->config->roles_set = true;
    for (size_t i = CONFIG_ROLE_VIEW; i < CONFIG_ROLE_COUNT; i++) {
        struct config_members *m = &b->config->roles[i];
        const struct yaml_node *role = yaml_get(roles, names[i]);

        m->uid_count = numbers(b, role ? role : roles, "users", &at[i]->users, &m->uids);
        m->gid_count = numbers(b, role ? role : roles, "groups", &at[i]->groups, &m->gids);
    }
}

void config_roles_done(struct config *c)
{
    for (size_t i = 0; i < CONFIG_ROLE_COUNT; i++) {
        free(c->roles[i].uids);
        free(c->roles[i].gids);
        c->roles[i] = (struct config_members){ 0 };
    }
}

static bool same_numbers(const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count)
{
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof *a) == 0);
}

bool config_roles_equal(const struct config *a, const struct config *b)
{
    bool same = a->roles_set == b->roles_set;

    for (size_t i = 0; same && i < CONFIG_ROLE_COUNT; i++) {
        const struct config_members *m = &a->roles[i], *n = &b->roles[i];

        same = same_numbers(m->uids, m->uid_count, n->uids, n->uid_count) &&
               same_numbers(m->gids, m->gid_count, n->gids, n->gid_count);
    }
    return same;
}
