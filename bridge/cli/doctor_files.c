/* Files that the configuration is, and names: who may change and read them, how long they are good.
 */
#include "bridge/cli/doctor.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* A directory on the way that others may not enter protects all below it. */
static bool others_get_there(const char *path)
{
    char at[PATH_MAX];
    struct stat st;

    if (!realpath(path, at))
        return true;
    for (char *slash = strrchr(at, '/'); slash && slash != at; slash = strrchr(at, '/')) {
        *slash = '\0';
        if (stat(at, &st) == 0 && !(st.st_mode & S_IXOTH))
            return false;
    }
    return true;
}

void doctor_mode(struct doctor *d, const char *path, bool secret)
{
    struct stat st;
    unsigned mode;
    bool sticky;

    if (stat(path, &st) != 0) {
        if (errno != ENOENT)
            doctor_say(d, DOCTOR_MODE, VERDICT_SKIPPED, path, "%s", strerror(errno));
        return;
    }
    mode = (unsigned)st.st_mode & 07777;
    sticky = S_ISDIR(st.st_mode) && st.st_mode & S_ISVTX;
    if (!others_get_there(path))
        doctor_say(d, DOCTOR_MODE, VERDICT_OK, path, "mode %04o, where nobody else gets", mode);
    else if (st.st_mode & S_IWOTH && !sticky)
        doctor_say(d, DOCTOR_MODE, VERDICT_FAIL, path, "everybody may change it (mode %04o)", mode);
    else if (secret && st.st_mode & S_IROTH)
        doctor_say(d, DOCTOR_MODE, VERDICT_FAIL, path, "everybody may read it (mode %04o)", mode);
    else
        doctor_say(d, DOCTOR_MODE, VERDICT_OK, path, "mode %04o", mode);
}

/* Of `key_file: …`, `creds: …` and such the name tells that they are secret; authorities and
 * certificates are public. */
static bool is_secret(const char *key)
{
    return !strstr(key, "ca_file") && !strstr(key, "cert");
}

static void look_at_table(struct doctor *d, const struct option *table, const void *values)
{
    for (const struct option *o = table; o->name; o++) {
        const void *at = (const char *)values + o->offset;

        if (o->type == OPTION_TABLE)
            look_at_table(d, o->table, at);
        if (o->type == OPTION_TEXT && o->flags & OPTION_FILE && *(char *const *)at)
            doctor_mode(d, *(char *const *)at, is_secret(o->name));
    }
}

/* A password in the configuration itself makes that a secret file. */
static bool holds_secret(const struct config_problems *problems, const char *path)
{
    for (size_t i = 0; i < problems->n; i++)
        if (problems->at[i].code == PROBLEM_SECRET_LITERAL &&
            strcmp(problems->at[i].place.file, path) == 0)
            return true;
    return false;
}

static void look_at_store(struct doctor *d)
{
    char path[PATH_MAX];

    doctor_mode(d, d->config->store_path, true);
    (void)snprintf(path, sizeof path, "%s", d->config->store_path);
    doctor_mode(d, dirname(path), false);
}

void doctor_files(struct doctor *d, const struct config_problems *problems)
{
    const struct config *c = d->config;

    if (!c)
        return;
    for (size_t i = 0; i < c->file_count; i++)
        doctor_mode(d, c->files[i], holds_secret(problems, c->files[i]));
    for (size_t i = 0; i < c->connection_count; i++) {
        look_at_table(d, c->connections[i].connector->link_options, c->connections[i].options);
        for (size_t k = 0; k < c->connections[i].certificate_count; k++)
            doctor_certificate(d, c->connections[i].name, c->connections[i].certificates[k].key,
                c->connections[i].certificates[k].expires_ms);
    }
    for (size_t i = 0; i < problems->n; i++)
        if (problems->at[i].code == PROBLEM_SECRET_OPEN)
            doctor_say(d, DOCTOR_MODE, VERDICT_FAIL, problems->at[i].place.file, "%s",
                problems->at[i].text);
    look_at_store(d);
    doctor_mode(d, d->socket, true);
}
