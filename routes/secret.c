#include "routes/secret.h"
#include "routes/memory.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct expansion {
    const struct yaml_file *file;
    const struct yaml_node *node;
    const char *name;
    enum secret_mode mode;
    bool secret;
    struct config_problems *problems;
    struct buf to;
};

#define SAY(x, code, ...)                                                                          \
    ((x)->problems                                                                                 \
            ? problem_add((x)->problems, code, yaml_place((x)->file, (x)->node), __VA_ARGS__)      \
            : (void)0)

static const char *const prefixes[] = { "env:", "file:", "credential:", NULL };

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static bool is_loaded(const char *inside)
{
    for (size_t i = 0; prefixes[i]; i++) {
        if (has_prefix(inside, prefixes[i]))
            return true;
    }
    return false;
}

bool secret_is_literal(const char *text)
{
    for (const char *at = strstr(text, "${"); at; at = strstr(at + 2, "${")) {
        if ((at == text || at[-1] != '$') && is_loaded(at + 2))
            return false;
    }
    return true;
}

/* A loaded text is data: inside a template its own ${ must not become one. */
static void put_loaded(struct expansion *x, const char *text)
{
    for (; *text; text++) {
        if (x->mode == SECRET_TEMPLATE && has_prefix(text, "${"))
            buf_put_byte(&x->to, '$');
        buf_put_byte(&x->to, (uint8_t)*text);
    }
}

static int load_env(struct expansion *x, char *inside)
{
    char *fallback = strstr(inside, ":-");
    const char *value;

    if (fallback)
        *fallback = '\0';
    value = getenv(inside);
    if (fallback && (!value || !*value))
        value = fallback + 2;
    if (!value) {
        SAY(x, PROBLEM_SECRET, "environment variable '%.128s' is not set", inside);
        return -1;
    }
    put_loaded(x, value);
    return 0;
}

static int load_file(struct expansion *x, const char *path)
{
    char text[SECRET_BYTES_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t n = -1;

    if (fd >= 0 && fstat(fd, &st) == 0)
        n = read(fd, text, sizeof text - 1);
    if (n < 0) {
        SAY(x, PROBLEM_SECRET, "'%.128s' cannot be read: %s", path, strerror(errno));
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    (void)close(fd);
    if (n == SECRET_BYTES_MAX || memchr(text, 0, (size_t)n)) {
        SAY(x, PROBLEM_SECRET, "'%.128s' is longer than %d bytes or holds a NUL", path,
            SECRET_BYTES_MAX - 1);
        explicit_bzero(text, (size_t)n);
        return -1;
    }
    if (x->secret && (st.st_mode & S_IROTH))
        SAY(x, PROBLEM_SECRET_OPEN, "'%.128s' can be read by every user (mode %04o)", path,
            (unsigned)st.st_mode & 07777);
    n -= n > 0 && text[n - 1] == '\n'; /* editors end files so */
    n -= n > 0 && text[n - 1] == '\r';
    text[n] = '\0';
    put_loaded(x, text);
    explicit_bzero(text, (size_t)n);
    return 0;
}

static int load_credential(struct expansion *x, const char *name)
{
    const char *directory = getenv("CREDENTIALS_DIRECTORY");
    char path[4096];

    if (!directory || !*directory) {
        SAY(x, PROBLEM_SECRET,
            "credential '%.128s': CREDENTIALS_DIRECTORY is not set (systemd sets it for "
            "LoadCredential=)",
            name);
        return -1;
    }
    if (!*name || strchr(name, '/') || has_prefix(name, "..") ||
        snprintf(path, sizeof path, "%s/%s", directory, name) >= (int)sizeof path) {
        SAY(x, PROBLEM_SECRET, "'%.128s' is no name of a credential", name);
        return -1;
    }
    return load_file(x, path);
}

static int name_unknown(struct expansion *x, const char *inside)
{
    static const char *const known[] = { "env", "file", "credential", "address", "key", "id",
        "route", "header", NULL };
    char word[64];
    const char *near;

    (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(inside, ":."), inside);
    /* What stands behind the colon may be a secret that was put there by mistake. */
    SAY(x, PROBLEM_REFERENCE, "'${%s%s}' is not known", word,
        strlen(word) < strlen(inside) ? "…" : "");
    near = problem_nearest(word, known);
    if (x->problems && near)
        problem_hint(x->problems, "did you mean '%s'?", near);
    else if (x->problems)
        problem_hint(x->problems, "loaded values: env:NAME, file:PATH, credential:NAME; $${ is ${");
    return -1;
}

static bool is_event_value(const char *inside)
{
    static const char *const names[] = { "address", "key", "id", "route", NULL };
    size_t n = strcspn(inside, ":");

    for (size_t i = 0; names[i]; i++) {
        if (strlen(names[i]) == n && strncmp(inside, names[i], n) == 0)
            return true;
    }
    return has_prefix(inside, "header.");
}

static int take_reference(struct expansion *x, char *inside)
{
    if (has_prefix(inside, "env:"))
        return load_env(x, inside + 4);
    if (has_prefix(inside, "file:"))
        return load_file(x, inside + 5);
    if (has_prefix(inside, "credential:"))
        return load_credential(x, inside + 11);
    if (x->mode == SECRET_TEMPLATE) { /* template_open() knows which exist */
        buf_put_format(&x->to, "${%s}", inside);
        return 0;
    }
    if (!is_event_value(inside))
        return name_unknown(x, inside);
    SAY(x, PROBLEM_EVENT_VALUE,
        "'${%.64s}' is a value of the event, and '%.64s' is read once, at load", inside, x->name);
    return -1;
}

static int take_text(struct expansion *x, const char *text)
{
    int ret = 0;

    while (*text) {
        const char *end;
        char *inside;

        if (has_prefix(text, "$${")) {
            buf_put_text(&x->to, x->mode == SECRET_TEMPLATE ? "$${" : "${");
            text += 3;
            continue;
        }
        if (!has_prefix(text, "${")) {
            buf_put_byte(&x->to, (uint8_t)*text++);
            continue;
        }
        end = strchr(text, '}');
        if (!end) {
            SAY(x, PROBLEM_REFERENCE, "'${' has no '}'");
            return -1;
        }
        inside = memory_copy(text + 2, (size_t)(end - text - 2));
        if (take_reference(x, inside) != 0)
            ret = -1;
        memory_wipe(inside);
        text = end + 1;
    }
    return ret;
}

char *secret_expand(const struct yaml_file *f, const struct yaml_node *node, const char *name,
    enum secret_mode mode, bool secret, struct config_problems *problems)
{
    struct expansion x = { f, node, name, mode, secret, problems, { 0 } };
    char *ret = NULL;

    buf_init(&x.to, 4 * YAML_FILE_BYTES_MAX);
    if (take_text(&x, node->text) == 0) {
        if (x.to.failed)
            SAY(&x, PROBLEM_RANGE, "the value of '%.64s' is too long", name);
        else
            ret = memory_copy(x.to.at, x.to.n);
    }
    if (x.to.at)
        explicit_bzero(x.to.at, x.to.n);
    buf_done(&x.to);
    return ret;
}
