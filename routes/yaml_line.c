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

/* scheme://user:PASSWORD@host, also in files that are not YAML. */
static void hide_url(char *text)
{
    for (char *at = strstr(text, "://"); at; at = strstr(at + 3, "://")) {
        size_t n = strcspn(at + 3, "/ \t\"'");
        char *end = memrchr(at + 3, '@', n);
        char *colon = end ? memchr(at + 3, ':', (size_t)(end - at - 3)) : NULL;

        if (colon && colon[1] != '$')
            stars(colon + 1, (size_t)(end - colon - 1));
    }
}

static void hide_value(char *at)
{
    char quote;

    at += strcspn(at, ":");
    if (*at)
        at++;
    while (*at == ' ' || *at == '"' || *at == '\'')
        at++;
    if (*at == '$' && at[1] == '{')
        return;
    quote = at[-1];
    stars(at, quote == '"' || quote == '\'' ? strcspn(at, quote == '"' ? "\"" : "'") : strlen(at));
}

/* A key that sounds like a secret, whether it is known or not. */
static void hide_words(char *text)
{
    static const char *const words[] = { "pass", "secret", "token", "pwd", NULL };

    for (size_t i = 0; words[i]; i++) {
        char *at = strcasestr(text, words[i]);

        /* Only before a colon: an explanation that mentions a password is no secret. */
        if (at && strchr(at, ':'))
            hide_value(at);
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
    for (size_t i = 0; i < f->secret_count; i++)
        hide_span(&f->secrets[i], line, ret);
    hide_words(ret);
    hide_url(ret);
}
