#include "bridge/cli/top.h"
#include "bridge/cli/screen.h"
#include "bridge/cli/status_view.h"
#include "bridge/cli/top_table.h"
#include "bridge/loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define INTERVAL_MS 1000
#define INTERVAL_LEAST_MS 100
#define INTERVAL_MOST_MS 3600000
#define SILENT_MS 3000 /* an answer that takes longer is said to be missing */
#define LOOK_MS 5000   /* between two questions for dead letters */
#define LOOK_DEAD 10
#define HEAD_LINES 4 /* above the first row */
#define FOOT_LINES 2 /* below the last */

enum top_mode { TOP_TABLE = 1, TOP_LOOK };

struct top {
    struct command *c;
    struct client_fetch status, change, dead;
    json_t *answer; /* the last one; NULL: none yet */
    json_t *rows;   /* of it, sorted */
    json_t *dead_rows;
    int64_t interval_ms, now_ms, asked_ms, answered_ms, dead_ms;
    int sort; /* a column; -1: as configured */
    bool reversed;
    enum top_mode mode;
    char selected[192]; /* the name of a row */
    int scroll;
    const char *asking; /* "pause": waits for y; NULL */
    char message[768];  /* for the line above the help */
    char trouble[512];  /* why there is no answer; "" */
    bool ended;
};

static volatile sig_atomic_t ended_by;

/* ---- what the daemon says ---- */

static const json_t *selected_row(const struct top *t)
{
    json_t *row;
    size_t i;

    json_array_foreach(
        t->rows, i, row) if (strcmp(status_text(row, "name"), t->selected) == 0) return row;
    return NULL;
}

static int selected_place(const struct top *t)
{
    json_t *row;
    size_t i;

    json_array_foreach(
        t->rows, i, row) if (strcmp(status_text(row, "name"), t->selected) == 0) return (int)i;
    return 0;
}

static void select_place(struct top *t, int place)
{
    int count = (int)json_array_size(t->rows);

    place = place >= count ? count - 1 : place;
    place = place < 0 ? 0 : place;
    (void)snprintf(t->selected, sizeof t->selected, "%s",
        status_text(json_array_get(t->rows, (size_t)place), "name"));
}

static void arrange(struct top *t)
{
    json_t *rows = status_rows(json_object_get(t->answer, "routes"));
    int place = selected_place(t);

    json_decref(t->rows);
    t->rows = top_table_sort(rows, t->sort, t->reversed);
    json_decref(rows);
    if (!selected_row(t))
        select_place(t, place);
}

static void take_status(struct top *t, json_t *json)
{
    json_decref(t->answer);
    t->answer = json;
    t->answered_ms = t->now_ms;
    t->trouble[0] = '\0';
    arrange(t);
}

static void lost(struct top *t, const char *why)
{
    (void)snprintf(t->trouble, sizeof t->trouble, "%s", why);
}

static void step_status(struct top *t)
{
    struct client_answer a = { 0 };
    struct fault why = { 0 };
    int got;

    if (t->status.fd >= 0) {
        got = client_fetch_step(&t->status, &a, &why);
        if (got > 0 && a.status == 200) {
            take_status(t, a.json);
        } else if (got != 0) {
            lost(t, got < 0 ? why.text : status_text(a.json, "message"));
            json_decref(a.json);
        }
    }
    if (t->status.fd >= 0 && t->now_ms - t->asked_ms > SILENT_MS)
        lost(t, "the daemon does not answer");
    if (t->status.fd >= 0 || t->now_ms - t->asked_ms < t->interval_ms)
        return;
    t->asked_ms = t->now_ms;
    if (client_fetch_begin(&t->status, command_socket(t->c), "GET", "/v1/status", NULL, &why) != 0)
        lost(t, why.text);
}

static void put_object(struct buf *to, const json_t *row)
{
    buf_put_text(to, "/v1/routes/");
    client_put_encoded(to, status_text(row, "route"));
    if (*status_text(row, "sink")) {
        buf_put_text(to, "/sinks/");
        client_put_encoded(to, status_text(row, "sink"));
    }
}

static void begin_change(struct top *t)
{
    const json_t *row = selected_row(t);
    struct fault why = { 0 };
    struct buf path;

    if (!row)
        return;
    buf_init(&path, 4096);
    put_object(&path, row);
    buf_put_format(&path, "/%s", t->asking);
    (void)snprintf(t->message, sizeof t->message, "%s %s …", t->asking, t->selected);
    if (client_fetch_begin(&t->change, command_socket(t->c), "POST", buf_text(&path), NULL, &why) !=
        0)
        (void)snprintf(t->message, sizeof t->message, "%s: %s", t->selected, why.text);
    buf_done(&path);
}

static void step_change(struct top *t)
{
    struct client_answer a = { 0 };
    struct fault why = { 0 };
    int got = t->change.fd >= 0 ? client_fetch_step(&t->change, &a, &why) : 0;

    if (got == 0)
        return;
    (void)snprintf(t->message, sizeof t->message, "%s: %s", t->selected,
        got < 0           ? why.text
        : a.status == 200 ? status_text(a.json, "done")
                          : status_text(a.json, "message"));
    json_decref(a.json);
    t->asked_ms = t->now_ms - t->interval_ms; /* show it at once */
}

static void step_dead(struct top *t)
{
    const json_t *row = selected_row(t);
    struct client_answer a = { 0 };
    struct fault why = { 0 };
    struct buf path;

    if (t->dead.fd >= 0 && client_fetch_step(&t->dead, &a, &why) > 0) {
        if (a.status == 200) {
            json_decref(t->dead_rows);
            t->dead_rows = json_incref(json_object_get(a.json, "rows"));
        }
        json_decref(a.json);
    }
    if (t->mode != TOP_LOOK || t->dead.fd >= 0 || !row || t->now_ms - t->dead_ms < LOOK_MS)
        return;
    t->dead_ms = t->now_ms;
    buf_init(&path, 4096);
    buf_put_format(&path, "/v1/dead-letters?newest=1&limit=%d&route=", LOOK_DEAD);
    client_put_encoded(&path, status_text(row, "route"));
    (void)client_fetch_begin(&t->dead, command_socket(t->c), "GET", buf_text(&path), NULL, &why);
    buf_done(&path);
}

/* ---- drawing ---- */

static void draw_head(struct top *t)
{
    const json_t *store = json_object_get(t->answer, "store");
    struct buf line;
    unsigned style = SCREEN_PLAIN;

    buf_init(&line, 8192);
    buf_put_format(&line, "bascule %s  ", t->answer ? status_text(t->answer, "version") : "top");
    table_put_time(&line, loop_unix_ms());
    if (store) {
        buf_put_text(&line, "  store ");
        table_put_size(&line, json_integer_value(json_object_get(store, "used_bytes")));
        buf_put_text(&line, " of ");
        table_put_size(&line, json_integer_value(json_object_get(store, "max_bytes")));
    }
    screen_put(0, buf_text(&line), SCREEN_BOLD);
    buf_clear(&line);
    if (t->trouble[0]) {
        buf_put_text(&line, "NO ANSWER");
        if (t->answered_ms) {
            buf_put_text(&line, " for ");
            table_put_duration(&line, t->now_ms - t->answered_ms);
        }
        buf_put_format(&line, ", trying again: %s", t->trouble);
        style = SCREEN_BOLD | SCREEN_RED;
    } else if (t->answer) {
        status_verdict(t->answer, t->rows, &line);
    }
    screen_put(1, buf_text(&line), style);
    buf_done(&line);
}

static unsigned row_style(const struct top *t, const json_t *row)
{
    unsigned style = *status_text(row, "trouble") ? SCREEN_RED
                     : json_is_true(json_object_get(row, "paused")) ||
                             json_integer_value(json_object_get(row, "dead")) > 0
                         ? SCREEN_YELLOW
                         : SCREEN_PLAIN;

    if (!*status_text(row, "sink"))
        style |= SCREEN_BOLD;
    if (t->trouble[0])
        style = SCREEN_DIM;
    return strcmp(status_text(row, "name"), t->selected) == 0 ? style | SCREEN_REVERSE : style;
}

static void draw_table(struct top *t, int lines)
{
    int room = lines - HEAD_LINES - FOOT_LINES, place = selected_place(t);
    int64_t now = json_integer_value(json_object_get(t->answer, "now_ms"));
    size_t count = json_array_size(t->rows);
    char **texts = top_table_lines(t->rows, t->sort, t->reversed, now);

    t->scroll = t->scroll > (int)count - room ? (int)count - room : t->scroll;
    t->scroll = t->scroll < 0 ? 0 : t->scroll;
    t->scroll = place < t->scroll ? place : t->scroll;
    t->scroll = room > 0 && place >= t->scroll + room ? place - room + 1 : t->scroll;
    if (texts)
        screen_put(HEAD_LINES - 1, texts[0] ? texts[0] : "", SCREEN_BOLD);
    for (int i = 0; texts && i < room && t->scroll + i < (int)count; i++) {
        size_t row = (size_t)t->scroll + (size_t)i;

        screen_put(HEAD_LINES + i, texts[row + 1] ? texts[row + 1] : "",
            row_style(t, json_array_get(t->rows, row)));
    }
    top_table_lines_free(texts, count + 1);
}

static const json_t *selected_route(const struct top *t)
{
    const char *name = status_text(selected_row(t), "route");
    json_t *route;
    size_t i;

    json_array_foreach(json_object_get(t->answer, "routes"), i,
        route) if (strcmp(status_text(route, "name"), name) == 0) return route;
    return NULL;
}

static void draw_look(struct top *t, int lines)
{
    const json_t *route = selected_route(t);
    int room = lines - HEAD_LINES - FOOT_LINES, count = 0;
    struct buf text;
    char *at, *end;

    buf_init(&text, 1 << 20);
    if (route)
        top_look(
            route, t->dead_rows, json_integer_value(json_object_get(t->answer, "now_ms")), &text);
    (void)buf_text(&text);
    for (size_t i = 0; i < text.n; i++)
        count += text.at[i] == '\n';
    t->scroll = t->scroll > count - room ? count - room : t->scroll;
    t->scroll = t->scroll < 0 ? 0 : t->scroll;
    screen_put(HEAD_LINES - 1, route ? status_text(route, "name") : "", SCREEN_BOLD);
    at = text.n ? (char *)text.at : NULL;
    for (int line = 0; at && (end = strchr(at, '\n')) != NULL; line++, at = end + 1) {
        *end = '\0';
        if (line >= t->scroll && line < t->scroll + room)
            screen_put(HEAD_LINES + line - t->scroll, at,
                strncmp(at, "  ! ", 4) == 0 ? SCREEN_RED : SCREEN_PLAIN);
    }
    buf_done(&text);
}

static void draw_foot(struct top *t, int lines)
{
    const json_t *row = selected_row(t);
    const char *help = t->mode == TOP_LOOK
                           ? "up/down scroll  p pause or resume  esc back  q quit"
                           : "up/down select  left/right sort by  r reverse  p pause or resume  "
                             "enter look into  q quit";
    struct buf line;

    buf_init(&line, 2048);
    if (t->asking)
        buf_put_format(&line, "%s %s? y/n", t->asking, t->selected);
    else if (t->message[0])
        table_put_safe(&line, t->message, strlen(t->message));
    else if (row && *status_text(row, "trouble")) {
        buf_put_format(&line, "%s: ", t->selected);
        table_put_safe(&line, status_text(row, "trouble"), strlen(status_text(row, "trouble")));
    }
    screen_put(lines - 2, buf_text(&line), t->asking ? SCREEN_BOLD : SCREEN_PLAIN);
    screen_put(lines - 1, help, SCREEN_REVERSE);
    buf_done(&line);
}

static void draw(struct top *t)
{
    int lines, columns;

    screen_size(&lines, &columns);
    screen_clear();
    draw_head(t);
    if (t->mode == TOP_LOOK)
        draw_look(t, lines);
    else
        draw_table(t, lines);
    draw_foot(t, lines);
    screen_show();
}

/* ---- keys ---- */

static void sort_by(struct top *t, int column)
{
    t->sort = column < -1 ? TOP_TABLE_COLUMNS - 1 : column >= TOP_TABLE_COLUMNS ? -1 : column;
    t->reversed = false;
    arrange(t);
}

static void ask_pause(struct top *t)
{
    const json_t *row = selected_row(t);

    if (row && t->change.fd < 0)
        t->asking = json_is_true(json_object_get(row, "paused")) ? "resume" : "pause";
}

static void set_mode(struct top *t, enum top_mode mode)
{
    if (mode == TOP_LOOK && !selected_row(t))
        return;
    t->mode = mode;
    t->scroll = 0;
    t->dead_ms = t->now_ms - LOOK_MS;
    json_decref(t->dead_rows);
    t->dead_rows = NULL;
}

static void move(struct top *t, int by)
{
    if (t->mode == TOP_LOOK)
        t->scroll += by;
    else
        select_place(t, selected_place(t) + by);
}

static void press(struct top *t, int key)
{
    int lines, columns, page;

    screen_size(&lines, &columns);
    page = lines - HEAD_LINES - FOOT_LINES;
    if (t->asking) {
        if (key == 'y' || key == 'Y')
            begin_change(t);
        t->asking = NULL;
        return;
    }
    t->message[0] = '\0';
    switch (key) {
    case 'q':
        t->ended = true;
        break;
    case SCREEN_KEY_UP:
    case 'k':
        move(t, -1);
        break;
    case SCREEN_KEY_DOWN:
    case 'j':
        move(t, 1);
        break;
    case SCREEN_KEY_PAGE_UP:
        move(t, -page);
        break;
    case SCREEN_KEY_PAGE_DOWN:
        move(t, page);
        break;
    case SCREEN_KEY_LEFT:
    case '<':
        sort_by(t, t->sort - 1);
        break;
    case SCREEN_KEY_RIGHT:
    case '>':
        sort_by(t, t->sort + 1);
        break;
    case 'r':
        t->reversed = !t->reversed;
        arrange(t);
        break;
    case 'p':
        ask_pause(t);
        break;
    case SCREEN_KEY_ENTER:
        set_mode(t, TOP_LOOK);
        break;
    case SCREEN_KEY_BACK:
        set_mode(t, TOP_TABLE);
        break;
    default:
        break;
    }
}

/* ---- the whole ---- */

static void on_signal(int number)
{
    ended_by = number;
}

/* Before the terminal is taken: the library leaves a signal alone that is somebody's. */
static void catch_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction action = { .sa_handler = on_signal };

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)sigaction(numbers[i], &action, NULL);
}

/* Until something is to be read, or a new question is due. */
static void wait(struct top *t)
{
    struct pollfd fds[] = { { STDIN_FILENO, POLLIN, 0 }, { t->status.fd, POLLIN, 0 },
        { t->change.fd, POLLIN, 0 }, { t->dead.fd, POLLIN, 0 } };
    int64_t left = t->asked_ms + t->interval_ms - loop_now_ms();

    /* The clock in the first line goes on. */
    left = left > INTERVAL_MS || t->status.fd >= 0 ? INTERVAL_MS : left < 0 ? 0 : left;
    (void)poll(fds, sizeof fds / sizeof *fds, (int)left);
    if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
        t->ended = true;
}

static void live(struct top *t)
{
    while (!ended_by && !t->ended) {
        int key;

        t->now_ms = loop_now_ms();
        step_status(t);
        step_change(t);
        step_dead(t);
        while ((key = screen_key()) != SCREEN_KEY_NONE)
            press(t, key);
        draw(t);
        if (!t->ended)
            wait(t);
    }
}

static int run_screen(struct top *t)
{
    client_fetch_init(&t->status);
    client_fetch_init(&t->change);
    client_fetch_init(&t->dead);
    t->mode = TOP_TABLE;
    t->asked_ms = loop_now_ms() - t->interval_ms;
    live(t);
    screen_close();
    client_fetch_done(&t->status);
    client_fetch_done(&t->change);
    client_fetch_done(&t->dead);
    json_decref(t->answer);
    json_decref(t->rows);
    json_decref(t->dead_rows);
    if (ended_by && ended_by != SIGINT) {
        (void)signal(ended_by, SIG_DFL);
        (void)raise(ended_by);
    }
    return 0;
}

/* ---- without a screen ---- */

static int print_once(struct top *t)
{
    json_t *answer = NULL, *rows, *sorted;
    int code = command_ask(t->c, "GET", "/v1/status", NULL, &answer);

    if (code != 0)
        return code;
    if (t->c->json) {
        (void)json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
    } else {
        rows = status_rows(json_object_get(answer, "routes"));
        sorted = top_table_sort(rows, t->sort, t->reversed);
        table_print(
            t->c, top_table_columns, sorted, json_integer_value(json_object_get(answer, "now_ms")));
        json_decref(rows);
        json_decref(sorted);
    }
    json_decref(answer);
    return fflush(stdout) == 0 ? 0 : DAEMON_IO;
}

/* A table an interval, with an empty line between two; a daemon that is away is waited for. */
static int run_plain(struct top *t)
{
    struct timespec wait = { .tv_sec = t->interval_ms / 1000,
        .tv_nsec = t->interval_ms % 1000 * 1000000 };
    int code = print_once(t);

    if (args_have(&t->c->args, "--once"))
        return code;
    command_watch_interrupt();
    while (!command_interrupted() && !ferror(stdout)) {
        if (nanosleep(&wait, NULL) != 0)
            continue;
        if (!t->c->json)
            putchar('\n');
        (void)print_once(t);
    }
    return ferror(stdout) ? DAEMON_IO : 0;
}

static int read_options(struct top *t)
{
    const char *interval = args_get(&t->c->args, "--interval"),
               *sort = args_get(&t->c->args, "--sort");
    char *end;

    if (interval) {
        double seconds = strtod(interval, &end);

        if (strcmp(end, "s") == 0)
            end++;
        if (end == interval || *end || !(seconds * 1000 >= INTERVAL_LEAST_MS) ||
            seconds * 1000 > INTERVAL_MOST_MS)
            return command_fail(DAEMON_USAGE, "--interval '%s': from 0.1s to 3600s", interval);
        t->interval_ms = (int64_t)(seconds * 1000);
    }
    if (sort && (t->sort = top_table_column(sort)) < 0)
        return command_fail(DAEMON_USAGE, "--sort '%s': there is no such column", sort);
    return 0;
}

int top_run(struct command *c)
{
    struct top t = {
        .c = c, .interval_ms = INTERVAL_MS, .sort = -1, .reversed = args_have(&c->args, "--reverse")
    };
    struct fault why;
    int code = read_options(&t);

    if (code != 0)
        return code;
    if (args_have(&c->args, "--once") || c->json || !c->terminal || !isatty(STDIN_FILENO))
        return run_plain(&t);
    catch_signals();
    if (screen_open(c->color, &why) == 0)
        return run_screen(&t);
    return run_plain(&t);
}

const struct args_option top_options[] = {
    { "--interval", "S", "seconds between two looks (1)" },
    { "--sort", "COLUMN", "by this column from the start: pending, dead, in/s…" },
    { "--reverse", NULL, "the other way round" },
    { "--once", NULL, "print one table and end" },
    { NULL, NULL, NULL },
};
