/* What the running daemon says of itself, and whether it runs what the files say. */
#include "bridge/cli/client.h"
#include "bridge/cli/doctor.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENVIRONMENT_BYTES_MAX 262144
#define CREDENTIAL_BYTES_MAX (1u << 20) /* systemd's own limit: systemd.exec(5) */
#define UNIT_BYTES_MAX 65536

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}

/* ---- is it there ---- */

bool doctor_find_daemon(struct doctor *d)
{
    struct client_answer answer = { 0 };
    struct fault why = { 0 };

    if (client_ask(d->socket, "GET", "/v1/status", NULL, &answer, &why) != 0) {
        doctor_say(d, DOCTOR_DAEMON, VERDICT_FAIL, d->socket, "%s%s", why.text,
            why.code == EACCES ? " (members of the socket's group may ask)" : "");
        return false;
    }
    if (answer.status != 200) {
        doctor_say(
            d, DOCTOR_DAEMON, VERDICT_FAIL, d->socket, "%s", text_of(answer.json, "message"));
        json_decref(answer.json);
        return false;
    }
    d->status = answer.json;
    if (strcmp(text_of(d->status, "version"), BASCULE_VERSION) != 0)
        doctor_say(d, DOCTOR_DAEMON, VERDICT_WARN, d->socket,
            "it is version %s, this program is %s: restart it to run what is installed",
            text_of(d->status, "version"), BASCULE_VERSION);
    else
        doctor_say(d, DOCTOR_DAEMON, VERDICT_OK, d->socket, "version %s, process %" PRId64,
            BASCULE_VERSION, doctor_pid(d));
    return true;
}

/* ---- does it run what the files say ---- */

static void compare_hash(struct doctor *d, const char *because)
{
    const char *runs = text_of(d->status, "config_hash");

    if (!d->config)
        doctor_say(d, DOCTOR_RELOAD, VERDICT_SKIPPED, d->config_path, "%s", because);
    else if (strcmp(runs, d->config->hash) == 0)
        doctor_say(d, DOCTOR_RELOAD, VERDICT_OK, d->config_path,
            "the files are those that run (%.12s); secrets in files were not compared: %s", runs,
            because);
    else
        doctor_say(d, DOCTOR_RELOAD, VERDICT_WARN, d->config_path,
            "the files are %.12s, those that run were %.12s", d->config->hash, runs);
}

static void read_plan(struct doctor *d, const struct client_answer *answer)
{
    size_t changes = json_array_size(json_object_get(answer->json, "changes"));

    if (answer->status == 422)
        doctor_say(d, DOCTOR_RELOAD, VERDICT_FAIL, d->config_path, "a reload would be refused: %s",
            text_of(answer->json, "message"));
    else if (answer->status != 200)
        compare_hash(d, text_of(answer->json, "message"));
    else if (changes)
        doctor_say(d, DOCTOR_RELOAD, VERDICT_WARN, d->config_path,
            "a reload would change %zu thing%s: %.300s", changes, changes == 1 ? "" : "s",
            text_of(answer->json, "summary"));
    else
        doctor_say(d, DOCTOR_RELOAD, VERDICT_OK, d->config_path,
            "what runs is what the files say (%.12s)", text_of(d->status, "config_hash"));
}

/* The daemon itself reads and compares, with its own environment and credentials; a plan changes
 * nothing. */
static void look_at_reload(struct doctor *d)
{
    const json_t *last = json_object_get(d->status, "last_reload");
    json_t *nothing = json_object();
    struct client_answer answer = { 0 };
    struct fault why = { 0 };

    if (client_ask(d->socket, "POST", "/v1/plan", nothing, &answer, &why) == 0)
        read_plan(d, &answer);
    else
        compare_hash(d, why.text);
    json_decref(answer.json);
    json_decref(nothing);
    if (json_is_object(last) && strcmp(text_of(last, "result"), "done") != 0)
        doctor_say(d, DOCTOR_RELOAD, VERDICT_WARN, d->config_path, "the last reload was %s: %.300s",
            text_of(last, "result"), text_of(last, "text"));
}

/* ---- does it work ---- */

static void look_at_sinks(struct doctor *d)
{
    json_t *route, *sink;
    long long dead = 0;
    size_t i, k;

    json_array_foreach(json_object_get(d->status, "routes"), i, route)
        json_array_foreach(json_object_get(route, "sinks"), k, sink)
    {
        char name[160];

        (void)snprintf(name, sizeof name, "%s/%s", text_of(route, "name"), text_of(sink, "name"));
        dead += json_integer_value(json_object_get(json_object_get(sink, "counts"), "dead"));
        if (!json_is_true(json_object_get(sink, "balanced")))
            doctor_say(d, DOCTOR_WORK, VERDICT_FAIL, name,
                "its sum does not agree: a fault of the program; keep the store's file");
    }
    if (dead)
        doctor_say(d, DOCTOR_WORK, VERDICT_WARN, "",
            "%lld dead letters wait for a person (`bascule dlq groups`)", dead);
    if (json_array_size(json_object_get(d->status, "orphans")))
        doctor_say(d, DOCTOR_WORK, VERDICT_WARN, "",
            "%zu routes or sinks in the store are in no file (`bascule status --json`: orphans)",
            json_array_size(json_object_get(d->status, "orphans")));
}

static void look_at_work(struct doctor *d)
{
    struct client_answer answer = { 0 };
    struct fault why = { 0 };
    const char *route;
    json_t *text, *routes;

    if (client_ask(d->socket, "GET", "/ready", NULL, &answer, &why) != 0) {
        doctor_say(d, DOCTOR_WORK, VERDICT_SKIPPED, "", "%s", why.text);
        return;
    }
    routes = json_object_get(answer.json, "routes");
    json_object_foreach(routes, route, text)
    {
        const char *what = json_string_value(text) ? json_string_value(text) : "";

        /* A pause is somebody's will. */
        doctor_say(d, DOCTOR_WORK, strncmp(what, "paused", 6) == 0 ? VERDICT_WARN : VERDICT_FAIL,
            route, "%.400s", what);
    }
    if (!json_object_size(routes))
        doctor_say(d, DOCTOR_WORK, VERDICT_OK, "", "%zu routes make progress or have nothing to do",
            json_array_size(json_object_get(d->status, "routes")));
    json_decref(answer.json);
    look_at_sinks(d);
}

/* ---- credentials of the unit ---- */

/* Reads at most n-1 bytes; -1 with errno. */
static ssize_t read_whole(const char *path, char *ret, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error;
    size_t have = 0;
    ssize_t got = -1;

    while (fd >= 0 && have + 1 < n && (got = read(fd, ret + have, n - 1 - have)) > 0)
        have += (size_t)got;
    error = errno;
    if (fd >= 0)
        (void)close(fd);
    errno = error;
    if (got < 0)
        return -1;
    ret[have] = '\0';
    return (ssize_t)have;
}

/* What the daemon was given as its credentials' directory; root may read it. */
bool doctor_credentials_directory(int64_t pid, char *ret, size_t n)
{
    static const char name[] = "CREDENTIALS_DIRECTORY=";
    char path[64], *text = calloc(1, ENVIRONMENT_BYTES_MAX);
    ssize_t got = 0;
    bool found = false;

    (void)snprintf(path, sizeof path, "/proc/%" PRId64 "/environ", pid);
    if (text)
        got = read_whole(path, text, ENVIRONMENT_BYTES_MAX);
    for (ssize_t at = 0; !found && at < got; at += (ssize_t)strlen(text + at) + 1)
        if (strncmp(text + at, name, sizeof name - 1) == 0)
            found = snprintf(ret, n, "%s", text + at + sizeof name - 1) < (int)n;
    if (text && got > 0)
        explicit_bzero(text, (size_t)got);
    free(text);
    return found;
}

/* One credential as it was loaded, and the file that it came from. */
static void compare_credential(struct doctor *d, const char *loaded, const char *source)
{
    char *a = malloc(CREDENTIAL_BYTES_MAX), *b = malloc(CREDENTIAL_BYTES_MAX);
    ssize_t n = a && b ? read_whole(loaded, a, CREDENTIAL_BYTES_MAX) : -1;
    ssize_t m = n >= 0 ? read_whole(source, b, CREDENTIAL_BYTES_MAX) : -1;

    if (n < 0 || m < 0)
        doctor_say(d, DOCTOR_CREDENTIAL, VERDICT_SKIPPED, source, "cannot be compared: %s",
            a && b ? strerror(errno) : "out of memory");
    else
        doctor_say(d, DOCTOR_CREDENTIAL,
            n == m && memcmp(a, b, (size_t)n) == 0 ? VERDICT_OK : VERDICT_WARN, source,
            n == m && memcmp(a, b, (size_t)n) == 0 ? "is what was loaded"
                                                   : "was changed since the unit's start");
    if (n > 0)
        explicit_bzero(a, (size_t)n);
    if (m > 0)
        explicit_bzero(b, (size_t)m);
    free(a);
    free(b);
}

/* Lines "name:path" of a unit's LoadCredential=. */
void doctor_credentials(struct doctor *d, const char *directory, const char *lines)
{
    while (*lines) {
        size_t n = strcspn(lines, " \n"), name = strcspn(lines, ": \n");
        char loaded[PATH_MAX], source[PATH_MAX];

        if (name + 1 < n && lines[name + 1] == '/' &&
            snprintf(loaded, sizeof loaded, "%s/%.*s", directory, (int)name, lines) <
                (int)sizeof loaded &&
            snprintf(source, sizeof source, "%.*s", (int)(n - name - 1), lines + name + 1) <
                (int)sizeof source)
            compare_credential(d, loaded, source);
        lines += n + (lines[n] != '\0');
    }
}

/* What systemd says of the unit; "" when it says nothing. */
static void ask_systemd(const char *unit, char *ret, size_t n)
{
    int ends[2], state;
    size_t have = 0;
    ssize_t got;
    pid_t child;

    ret[0] = '\0';
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    child = fork();
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)execlp("systemctl", "systemctl", "show", "--value", "--property=LoadCredential", "--",
            unit, (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    while (child > 0 && have + 1 < n && (got = read(ends[0], ret + have, n - 1 - have)) > 0)
        have += (size_t)got;
    (void)close(ends[0]);
    ret[have] = '\0';
    if (child > 0)
        (void)waitpid(child, &state, 0);
}

static void look_at_credentials(struct doctor *d)
{
    char directory[PATH_MAX], *lines = calloc(1, UNIT_BYTES_MAX);
    const char *unit;

    if (lines && doctor_credentials_directory(doctor_pid(d), directory, sizeof directory)) {
        unit = strrchr(directory, '/') ? strrchr(directory, '/') + 1 : directory;
        ask_systemd(unit, lines, UNIT_BYTES_MAX);
        doctor_credentials(d, directory, lines);
    }
    free(lines);
}

void doctor_daemon(struct doctor *d)
{
    if (!d->status)
        return;
    look_at_reload(d);
    look_at_work(d);
    look_at_credentials(d);
}
