/* The one list of what the admin socket answers; openapi.yaml describes the same (a test compares).
 */
#ifndef BASCULE_ENDPOINTS_H
#define BASCULE_ENDPOINTS_H

/* clang-format off */
/* These change nothing and tell no event: they are answered on the TCP address too, alone. */
#define API_PUBLIC_ENDPOINTS(X) \
    X("GET", "/live", api_live) \
    X("GET", "/ready", api_ready) \
    X("GET", "/health", api_health) \
    X("GET", "/health/live", api_live) \
    X("GET", "/health/ready", api_ready) \
    X("GET", "/metrics", api_metrics)

#define API_ENDPOINTS(X) \
    API_PUBLIC_ENDPOINTS(X) \
    X("GET", "/v1/version", api_version) \
    X("GET", "/v1/status", api_status) \
    X("POST", "/v1/plan", api_plan) \
    X("POST", "/v1/reload", api_reload) \
    X("GET", "/v1/routes/{route}", api_route) \
    X("POST", "/v1/routes/{route}/pause", api_pause) \
    X("POST", "/v1/routes/{route}/resume", api_resume) \
    X("POST", "/v1/routes/{route}/drain", api_drain) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/pause", api_pause) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/resume", api_resume) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/drain", api_drain) \
    X("POST", "/v1/routes/{route}/sinks/{sink}/breaker", api_breaker) \
    X("GET", "/v1/routes/{route}/events/{seq}", api_trace_seq) \
    X("GET", "/v1/routes/{route}/events/{seq}/attempts", api_attempts) \
    X("GET", "/v1/routes/{route}/tap", api_tap) \
    X("GET", "/v1/routes/{route}/sinks/{sink}/tap", api_tap) \
    X("GET", "/v1/events", api_events) \
    X("GET", "/v1/events/{id...}", api_trace_id) \
    X("GET", "/v1/dead-letters", api_dead_list) \
    X("GET", "/v1/dead-letters/groups", api_dead_groups) \
    X("POST", "/v1/dead-letters/retry", api_dead_retry) \
    X("POST", "/v1/dead-letters/drop", api_dead_drop) \
    X("GET", "/v1/dead-letters/{number}", api_dead_show) \
    X("POST", "/v1/dead-letters/{number}/edit", api_dead_edit) \
    X("GET", "/v1/replays", api_replay_list) \
    X("POST", "/v1/replays", api_replay_plan) \
    X("GET", "/v1/replays/{number}", api_replay_show) \
    X("POST", "/v1/replays/{number}/{verb}", api_replay_do) \
    X("GET", "/v1/gaps", api_gaps) \
    X("GET", "/v1/audit", api_audit) \
    X("GET", "/v1/store", api_store) \
    X("GET", "/v1/store/backup", api_backup_show) \
    X("POST", "/v1/store/backup", api_backup_start) \
    X("GET", "/v1/store/check", api_check_show) \
    X("POST", "/v1/store/check", api_check_start)
/* clang-format on */

#endif
