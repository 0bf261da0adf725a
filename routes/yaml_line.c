/* One line of a file as problems show it: cut, and without secrets. */
#include "routes/yaml.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

/* Stars keep the place of every other character, so that the caret stays right. */
static void stars(char *at, size_t n)
{
    memset(at, '*', n);
}

static void hide_span(const struct yaml_secret *s, int line, char *text)
{
    int column = 1;

    if (line < s->line || line > s->end_line)
        return;
    for (char *c = text; *c; c++) {
        bool starts = line > s->line || column >= s->column;
        bool ends = line == s->end_line && column >= s->end_column;

        if (starts && !ends)
            *c = '*';
        column += ((unsigned char)c[1] & 0xc0) != 0x80;
    }
}

/* Who logs in stays, where it stands before a colon; NATS has tokens without. */
static void hide_user(char *from, const char *end)
{
    char *colon = memchr(from, ':', (size_t)(end - from));

    from = colon ? colon + 1 : from;
    if (from < end && !(from[0] == '$' && from[1] == '{'))
        stars(from, (size_t)(end - from));
}

/* scheme://user:PASSWORD@host, also in files that are not YAML, and with a slip in the "://". */
static void hide_url(char *text)
{
    static const char spaces[] = " \t\"'";

    for (char *at = text + strspn(text, spaces); *at; at += strspn(at, spaces)) {
        size_t n = strcspn(at, spaces);
        char *end = memrchr(at, '@', n), *slashes = strstr(at, "://");

        if (end && slashes && slashes < end)
            hide_user(slashes + 3, end);
        else if (end && memchr(at, ':', (size_t)(end - at)))
            hide_user(at, end);
        at += n;
    }
}

static bool is_reference(const char *at)
{
    static const char *const known[] = { "${env:", "${file:", "${credential:", NULL };

    for (size_t i = 0; known[i]; i++)
        if (strncmp(at, known[i], strlen(known[i])) == 0)
            return true;
    return false;
}

/* What stands behind the colon at `at`. */
static void hide_value(char *at)
{
    char quote;

    at++;
    while (*at == ' ' || *at == '"' || *at == '\'')
        at++;
    if (is_reference(at))
        return;
    quote = at[-1];
    stars(at, quote == '"' || quote == '\'' ? strcspn(at, quote == '"' ? "\"" : "'") : strlen(at));
}

static bool has_secret_word(const char *text, char **colon)
{
    static const char *const words[] = { "pass", "secret", "token", "pwd", "authorization", NULL };
    const char *first = NULL;

    for (size_t i = 0; words[i]; i++) {
        const char *at = strcasestr(text, words[i]);

        if (at && (!first || at < first))
            first = at;
    }
    /* Only before a colon: an explanation that mentions a password is no secret. */
    *colon = first ? strchr(first, ':') : NULL;
    return *colon != NULL;
}

/* Keys that sound like a secret, whether they are known or not. */
static void hide_words(char *text)
{
    for (char *colon; has_secret_word(text, &colon); text = colon + 1)
        hide_value(colon);
}

/* Where the file is not YAML: a line of its own that belongs to such a key above it. */
static void hide_below(const struct yaml_file *f, const char *line, char *text)
{
    size_t indent = strspn(text, " ");
    const char *at = line;

    while (at > f->text && indent > 0) {
        const char *start = memrchr(f->text, '\n', (size_t)(at - 1 - f->text));
        char above[200], *colon;
        size_t n;

        start = start ? start + 1 : f->text;
        n = (size_t)(at - start) < sizeof above ? (size_t)(at - start) : sizeof above - 1;
        memcpy(above, start, n);
        above[n] = '\0';
        at = start;
        if (strspn(above, " ") >= indent || above[strspn(above, " \r\n")] == '\0')
            continue;
        if (has_secret_word(above, &colon))
            stars(text + indent, strlen(text + indent));
        return;
    }
}

void yaml_file_line(const struct yaml_file *f, int line, char *ret, size_t n)
{
    const char *at = f->text, *end = f->text ? f->text + f->n : NULL;
    const char *newline;
    size_t length;

    ret[0] = '\0';
    if (!at || line < 1)
        return;
    for (int i = 1; i < line && at; i++) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at ? at + 1 : NULL;
    }
    if (!at)
        return;
    newline = memchr(at, '\n', (size_t)(end - at));
    length = (size_t)((newline ? newline : end) - at);
    if (length > n - 1) {
        for (length = n - 1; length > 0 && ((unsigned char)at[length] & 0xc0) == 0x80;)
            length--;
    }
    memcpy(ret, at, length);
    ret[length] = '\0';
    for (size_t i = 0; i < length; i++) {
        if (iscntrl((unsigned char)ret[i]) && ret[i] != '\t')
            ret[i] = ' ';
    }
    if (!f->root)
        hide_below(f, at, ret);
    for (size_t i = 0; i < f->secret_count; i++)
        hide_span(&f->secrets[i], line, ret);
    hide_words(ret);
    hide_url(ret);
}
