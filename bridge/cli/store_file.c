#include "bridge/cli/store_file.h"
#include "bridge/cli/client.h"
#include "routes/config.h"

#include <stdio.h>
#include <unistd.h>

static int read_path(const char *path, char *ret, size_t n)
{
    struct config_problems problems = { 0 };
    struct config *config = NULL;
    int result = config_load(&path, 1, &config, &problems);

    if (result == 0)
        (void)snprintf(ret, n, "%s", config->store_path);
    config_problems_done(&problems);
    config_free(config);
    return result;
}

int store_file_configured(struct command *c, char *ret, size_t n)
{
    const char *path = command_config_path(c);

    if (read_path(path, ret, n) == 0)
        return 0;
    return command_fail(
        DAEMON_CONFIG, "%s has errors (see `bascule check`), so it names no store", path);
}

int store_file_find(struct command *c, char *ret, size_t n)
{
    const char *file = args_get(&c->args, "--store"), *path = command_config_path(c);
    struct client_answer answer = { 0 };
    struct fault why = { 0 };

    ret[0] = 0;
    if (file) {
        (void)snprintf(ret, n, "%s", file);
        return 0;
    }
    if (client_ask(command_socket(c), "GET", "/v1/status", NULL, &answer, &why) == 0 ||
        why.kind != FAULT_RETRY || access(path, R_OK) != 0) {
        json_decref(answer.json);
        return 0;
    }
    if (read_path(path, ret, n) == 0)
        return 0;
    return command_fail(DAEMON_CONFIG,
        "no daemon listens on %s, and %s has errors (see `bascule check`): name the file with "
        "--store",
        c->socket, path);
}
