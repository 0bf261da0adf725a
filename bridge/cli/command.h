/* One run of a verb: its words, where the daemon is, how to say things. */
#ifndef BASCULE_COMMAND_H
#define BASCULE_COMMAND_H

#include "bridge/base/buf.h"
#include "bridge/cli/args.h"
#include "bridge/cli/client.h"
#include "bridge/daemon.h"

#include <jansson.h>

struct verb;

struct command {
    const struct verb *verb;
    struct args args;
    bool json;     /* --json */
    bool terminal; /* data goes to a terminal */
    bool color;
    char socket[256]; /* by command_socket() */
};

struct verb {
    const char *name;  /* "dlq ls" */
    const char *words; /* "ROUTE[/SINK]" */
    const char *help;  /* a sentence */
    const char *example;
    const struct args_option *options;
    size_t least, most;            /* words besides options */
    int (*run)(struct command *c); /* returns the exit code */
};

/* Ended by zeroed entries. */
extern const struct verb verbs_operate[], verbs_dead[], verbs_replay[], verbs_events[],
    verbs_audit[], verbs_store[], verbs_log[], verbs_doctor[], verbs_explain[], verbs_schema[],
    verbs_reload[], verbs_live[];
extern const struct args_option command_common[];

int command_main(int argc, char **argv);

/* Complaints, on stderr; returns the code. */
int command_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Asks the daemon. 0 with *ret (owned by the caller), or the exit code after saying why. */
int command_ask(
    struct command *c, const char *method, const char *path, json_t *body, json_t **ret);
/* Where the daemon listens. */
const char *command_socket(struct command *c);
/* Asks for an answer of lines (client.h); 0 when the connection has ended, or the exit code. */
int command_lines(struct command *c, const char *path, client_line *line, void *arg);
/* Prints JSON as it is. */
void command_print_json(const json_t *json);
/* The file of --config, BASCULE_CONFIG, or the installed one. */
const char *command_config_path(const struct command *c);
/* The daemon's socket: of --socket, BASCULE_SOCKET, the configuration, or the installed one. */
const char *command_socket(struct command *c);

/* Puts the options of a selection (--route --sink --since --until --seq --id --key --header --match
 * --fate --event --reason) into body. 0 or the exit code. */
int command_selection(struct command *c, json_t *body);
/* The same as query text: PATH?name=value&… */
int command_query(const char *path, json_t *arguments, struct buf *ret);
/* Asks a person on the terminal to type `word`; false when they do not, or there is no terminal. */
bool command_confirm(const char *question, const char *word);
struct table_column;
/* Fetches a list page by page and prints it: on a terminal a table of --limit rows (1000), else
 * every row as its page comes, so that a list of any length takes the memory of one page. --json
 * prints one object a line. */
int command_list(
    struct command *c, const char *path, json_t *arguments, const struct table_column *columns);
/* Sleeps between two looks at a job of the daemon, as a person would; false when Ctrl-C came. */
bool command_pause(void);
void command_watch_interrupt(void);
bool command_interrupted(void);

#define COMMAND_SELECTION_OPTIONS                                                                  \
    { "--route", "ROUTE", "of this route" }, { "--sink", "SINK", "at this sink" },                 \
        { "--since", "TIME", "received since: 2026-05-04T10:00:00Z, or 10m, 2h, 7d ago" },         \
        { "--until", "TIME", "received before" },                                                  \
        { "--seq", "N[-M]", "places in the route's log" }, { "--id", "ID", "with this id" },       \
        { "--key", "KEY", "with this key" }, { "--header", "N=V", "with this header" },            \
    {                                                                                              \
        "--match", "TEXT", "with this text in the body"                                            \
    }

#endif
