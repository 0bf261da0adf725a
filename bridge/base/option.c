#include "bridge/base/option.h"

#include <stdlib.h>
#include <string.h>

/* Any text may hold a loaded secret: a password, a URL, a property. */
static void text_done(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

static void list_done(struct option_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        text_done(list->at[i]);
    free(list->at);
    *list = (struct option_list){ 0 };
}

static void map_done(struct option_map *map)
{
    for (size_t i = 0; i < map->n; i++) {
        free(map->at[i].name);
        text_done(map->at[i].value);
    }
    free(map->at);
    *map = (struct option_map){ 0 };
}

static void tables_done(const struct option *o, struct option_tables *tables)
{
    for (size_t i = 0; i < tables->n; i++)
        option_done(o->table, (char *)tables->at + i * o->item_bytes);
    free(tables->at);
    *tables = (struct option_tables){ 0 };
}

void option_done(const struct option *table, void *values)
{
    for (const struct option *o = table; o->name; o++) {
        void *at = (char *)values + o->offset;

        switch (o->type) {
        case OPTION_TEXT:
            text_done(*(char **)at);
            *(char **)at = NULL;
            break;
        case OPTION_TEMPLATE:
            text_done(((struct option_template *)at)->text);
            *(struct option_template *)at = (struct option_template){ 0 };
            break;
        case OPTION_TEXT_LIST:
            list_done(at);
            break;
        case OPTION_TEXT_MAP:
        case OPTION_VALUE_MAP:
            map_done(at);
            break;
        case OPTION_TABLE:
            option_done(o->table, at);
            *(bool *)at = false;
            break;
        case OPTION_TABLE_LIST:
            tables_done(o, at);
            break;
        default:
            break;
        }
    }
}
