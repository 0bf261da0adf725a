/* The one list of what the admin socket answers, and of the role that each asks for; openapi.yaml
 * describes the same (a test compares).
 *
 * VIEW sees everything but the events' headers and bodies: those are the customers', and who
 * watches a relay need not read them. OPERATE reads them, and does what can be taken back or done
 * again. ADMIN does what cannot: it changes or gives up events, takes another configuration, writes
 * files. A handler asks for more where its arguments do (call_need()). */
#ifndef BASCULE_ENDPOINTS_H
#define BASCULE_ENDPOINTS_H

/* clang-format off */
/* These change nothing and tell no event: they are answered on the TCP address too, alone. */
#define API_PUBLIC_ENDPOINTS(X) \
    X("GET", "/live", VIEW, api_live) \
    X("GET", "/ready", VIEW, api_ready) \
    X("GET", "/health", VIEW, api_health) \
    X("GET", "/health/live", VIEW, api_live) \
    X("GET", "/health/ready", VIEW, api_ready) \
    X("GET", "/metrics", VIEW, api_metrics)

#define API_ENDPOINTS(X) \
    API_PUBLIC_ENDPOINTS(X) \
    X("GET", "/v1/version", VIEW, api_version) \
    X("GET", "/v1/status", VIEW, api_status) \
    X("POST", "/v1/plan", VIEW, api_plan) \
    X("POST", "/v1/reload", ADMIN, api_reload) \
    X("GET", "/v1/routes/{route}", VIEW, api_route) \
    X("POST", "/v1/routes/{route}/pause", OPERATE, api_pause) \
    X("POST", "/v1/routes/{route}/resume", OPERATE, api_resume) \
    X("POST", "/v1/routes/{route}/drain", OPERATE, api_drain) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/pause", OPERATE, api_pause) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/resume", OPERATE, api_resume) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/drain", OPERATE, api_drain) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/breaker", OPERATE, api_breaker) \
    X("GET", "/v1/routes/{route}/events/{seq}", VIEW, api_trace_seq) \
    X("GET", "/v1/routes/{route}/events/{seq}/attempts", VIEW, api_attempts) \
    X("GET", "/v1/routes/{route}/tap", OPERATE, api_tap) \
    X("GET", "/v1/routes/{route}/sinks/{sink}/tap", OPERATE, api_tap) \
    X("GET", "/v1/events", VIEW, api_events) \
    X("GET", "/v1/events/{id...}", VIEW, api_trace_id) \
    X("GET", "/v1/dead-letters", VIEW, api_dead_list) \
    X("GET", "/v1/dead-letters/groups", VIEW, api_dead_groups) \
    X("POST", "/v1/dead-letters/retry", OPERATE, api_dead_retry) \
    X("POST", "/v1/dead-letters/drop", ADMIN, api_dead_drop) \
    X("GET", "/v1/dead-letters/{number}", OPERATE, api_dead_show) \
    X("POST", "/v1/dead-letters/{number}/edit", ADMIN, api_dead_edit) \
    X("GET", "/v1/replays", VIEW, api_replay_list) \
    X("POST", "/v1/replays", OPERATE, api_replay_plan) \
    X("GET", "/v1/replays/{number}", VIEW, api_replay_show) \
    X("POST", "/v1/replays/{number}/{verb}", OPERATE, api_replay_do) \
    X("GET", "/v1/gaps", VIEW, api_gaps) \
    X("GET", "/v1/audit", VIEW, api_audit) \
    X("GET", "/v1/audit/verify", VIEW, api_audit_verify) \
    X("GET", "/v1/log", VIEW, api_log) \
    X("POST", "/v1/log", ADMIN, api_log_level) \
    X("GET", "/v1/store", VIEW, api_store) \
    X("GET", "/v1/store/backup", VIEW, api_backup_show) \
    X("POST", "/v1/store/backup", ADMIN, api_backup_start) \
    X("GET", "/v1/store/check", VIEW, api_check_show) \
    X("POST", "/v1/store/check", OPERATE, api_check_start)
/* clang-format on */

#endif
