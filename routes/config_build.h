/* Between the files of routes/config*.c: a configuration while it is read. */
#ifndef BASCULE_CONFIG_BUILD_H
#define BASCULE_CONFIG_BUILD_H

#include "routes/config.h"
#include "routes/options.h"

struct config_build {
    struct config *config;
    struct config_problems *problems;
    struct yaml_file *file; /* being read now; its path is one of config->files */
};

/* `connections:` of one file. */
void config_build_connections(struct config_build *b, const struct yaml_node *map);
/* `routes:` of one file, after all connections are known. */
void config_build_routes(struct config_build *b, const struct yaml_node *list);
/* Does that `from` read the bridge itself? */
bool config_reads_internal(const struct yaml_node *from);
/* The connection that `from: { internal }` in that mapping reads, made when it is not there. */
size_t config_build_internal(struct config_build *b, const struct yaml_node *from);
/* A name's form; a problem is added when it is not good. */
void config_build_name(struct config_build *b, struct config_place place, const char *name);
/* The place of `key` in the mapping, else of the mapping itself. */
struct config_place config_build_place(
    const struct config_build *b, const struct yaml_node *map, const char *key);
/* Runs a link's own check and adds what it says. */
void config_build_check(struct config_build *b, const struct yaml_node *map,
    int (*check)(const void *options, const char **key, struct fault *why), const void *options);
/* As YAML on one line; NULL: too long. */
char *config_build_text(const struct yaml_node *node);
/* Fills c->files, so that a reload sees a certificate that was renewed in its place. */
void config_build_files(struct config_connection *c);

struct config_role_options {
    bool set;
    struct option_list users, groups;
};
struct config_roles_options {
    bool set;
    struct config_role_options view, operate, admin;
};
extern const struct option config_roles_table[];
/* `roles:` of `admin:`, its names looked up. */
void config_build_roles(struct config_build *b, const struct yaml_node *roles,
    const struct config_roles_options *options);
void config_roles_done(struct config *c);
extern const struct option config_trace_table[];
/* What `trace:` of one file says is possible at all. */
void config_build_trace(
    struct config_build *b, const struct yaml_node *trace, const struct config_trace *t);
void config_route_done(struct config_route *r, const struct config *c);

#endif
