/* A tree back to text. */
#include "routes/yaml.h"

#include <string.h>

static void put_quoted(const char *text, struct buf *to)
{
    buf_put_byte(to, '"');
    for (const char *c = text; *c; c++) {
        if (*c == '"' || *c == '\\')
            buf_put_format(to, "\\%c", *c);
        else if ((unsigned char)*c < 0x20 || *c == 0x7f)
            buf_put_format(to, "\\x%02x", (unsigned)(unsigned char)*c);
        else
            buf_put_byte(to, (uint8_t)*c);
    }
    buf_put_byte(to, '"');
}

/* Null, numbers and bools must stay bare; whatever else is in doubt may be quoted. */
static bool is_bare(const struct yaml_node *node)
{
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+";

    return !node->quoted && node->text[strspn(node->text, plain)] == '\0';
}

static void put_text(const struct yaml_node *node, struct buf *to)
{
    bool negative = !node->quoted && node->text[0] == '-' && node->text[1];
    struct yaml_node rest = *node;

    rest.text += negative;
    if (yaml_is_null(node))
        buf_put_byte(to, '~');
    else if (is_bare(&rest))
        buf_put_text(to, node->text);
    else
        put_quoted(node->text, to);
}

void yaml_print(const struct yaml_node *node, struct buf *to)
{
    if (node->kind == YAML_TEXT) {
        put_text(node, to);
        return;
    }
    buf_put_byte(to, node->kind == YAML_MAP ? '{' : '[');
    for (size_t i = 0; i < node->n; i++) {
        if (i)
            buf_put_text(to, ", ");
        if (node->kind == YAML_MAP) {
            put_quoted(node->items[i]->name, to);
            buf_put_text(to, ": ");
        }
        yaml_print(node->items[i], to);
    }
    buf_put_byte(to, node->kind == YAML_MAP ? '}' : ']');
}
