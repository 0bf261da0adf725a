#include "bridge/cli/screen.h"

#include <locale.h>
#include <ncurses.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define COLUMNS_MAX 1024
#define ESCAPE_MS 50 /* after which an Esc is no longer the beginning of an arrow key */

enum { PAIR_RED = 1, PAIR_YELLOW };

static SCREEN *terminal;

/* Names and errors are UTF-8, whatever the locale says; elsewhere they are printed as they are. */
static void use_utf8(void)
{
    (void)setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX < 2)
        (void)setlocale(LC_CTYPE, "C.UTF-8");
}

static bool moves_cursor(void)
{
    char name[] = "cup";
    const char *text = tigetstr(name);

    return text && text != (const char *)-1;
}

int screen_open(bool color, struct fault *why)
{
    const char *kind = getenv("TERM");

    use_utf8();
    terminal = newterm(NULL, stdout, stdin);
    if (!terminal || !moves_cursor()) {
        screen_close();
        return fault_set(
            why, FAULT_INPUT, 0, "the terminal '%s' cannot show a full screen", kind ? kind : "");
    }
    (void)cbreak();
    (void)noecho();
    (void)nonl();
    (void)curs_set(0);
    (void)keypad(stdscr, TRUE);
    (void)nodelay(stdscr, TRUE);
    (void)set_escdelay(ESCAPE_MS);
    if (color && has_colors() && start_color() == OK) {
        (void)use_default_colors();
        (void)init_pair(PAIR_RED, COLOR_RED, -1);
        (void)init_pair(PAIR_YELLOW, COLOR_YELLOW, -1);
    }
    return 0;
}

void screen_close(void)
{
    if (!terminal)
        return;
    (void)endwin();
    delscreen(terminal);
    terminal = NULL;
}

void screen_size(int *lines, int *columns)
{
    getmaxyx(stdscr, *lines, *columns);
}

void screen_clear(void)
{
    (void)erase();
}

/* Returns how many characters fit into so many columns. */
static int to_wide(const char *text, int columns, wchar_t *ret)
{
    mbstate_t state = { 0 };
    int n = 0, used = 0;

    while (*text && n < COLUMNS_MAX) {
        wchar_t c;
        size_t bytes = mbrtowc(&c, text, MB_CUR_MAX, &state);
        int width;

        if (bytes == (size_t)-1 || bytes == (size_t)-2) {
            state = (mbstate_t){ 0 };
            bytes = 1;
            c = L'?';
        }
        width = wcwidth(c) < 0 ? 0 : wcwidth(c);
        if (used + width > columns)
            break;
        used += width;
        ret[n++] = c;
        text += bytes;
    }
    return n;
}

void screen_put(int line, const char *text, unsigned style)
{
    attr_t attributes = (style & SCREEN_BOLD ? A_BOLD : 0) |
                        (style & SCREEN_REVERSE ? A_REVERSE : 0) | (style & SCREEN_DIM ? A_DIM : 0);
    short pair = style & SCREEN_RED ? PAIR_RED : style & SCREEN_YELLOW ? PAIR_YELLOW : 0;
    wchar_t wide[COLUMNS_MAX + 1];
    int lines, columns, n;

    screen_size(&lines, &columns);
    if (line < 0 || line >= lines)
        return;
    n = to_wide(text, columns, wide);
    (void)mvaddnwstr(line, 0, wide, n);
    (void)mvchgat(line, 0, -1, attributes, has_colors() ? pair : 0, NULL);
}

void screen_show(void)
{
    (void)refresh();
}

int screen_key(void)
{
    int c = getch();

    switch (c) {
    case ERR:
        return SCREEN_KEY_NONE;
    case KEY_UP:
        return SCREEN_KEY_UP;
    case KEY_DOWN:
        return SCREEN_KEY_DOWN;
    case KEY_LEFT:
        return SCREEN_KEY_LEFT;
    case KEY_RIGHT:
        return SCREEN_KEY_RIGHT;
    case KEY_PPAGE:
        return SCREEN_KEY_PAGE_UP;
    case KEY_NPAGE:
        return SCREEN_KEY_PAGE_DOWN;
    case KEY_ENTER:
    case '\r':
    case '\n':
        return SCREEN_KEY_ENTER;
    case KEY_BACKSPACE:
    case '\b':
    case 127:
    case 27:
        return SCREEN_KEY_BACK;
    case KEY_RESIZE:
        return SCREEN_KEY_RESIZE;
    default:
        return c < 256 ? c : SCREEN_KEY_OTHER;
    }
}
