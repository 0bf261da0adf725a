/* schema: the JSON Schema of the configuration, for editors. */
#include "bridge/cli/command.h"
#include "bridge/cli/config_schema.h"

#include <stdio.h>

static int schema(struct command *c)
{
    json_t *whole = config_schema();

    (void)c;
    if (!whole)
        return command_fail(DAEMON_IO, "out of memory");
    command_print_json(whole);
    json_decref(whole);
    return ferror(stdout) ? DAEMON_IO : DAEMON_OK;
}

const struct verb verbs_schema[] = {
    { "schema", "", "the JSON Schema of the YAML files, for editors",
        "bascule schema > bascule.schema.json", NULL, 0, 0, schema },
    { 0 },
};
