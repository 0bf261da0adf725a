/* A terminal as lines of text and keys. The terminal library is known here alone. */
#ifndef BASCULE_SCREEN_H
#define BASCULE_SCREEN_H

#include "bridge/base/fault.h"

#include <stdbool.h>

enum screen_style {
    SCREEN_PLAIN = 0,
    SCREEN_BOLD = 1 << 0,
    SCREEN_REVERSE = 1 << 1,
    SCREEN_DIM = 1 << 2,
    SCREEN_RED = 1 << 3,
    SCREEN_YELLOW = 1 << 4,
};

/* Other keys are their character. */
enum screen_key {
    SCREEN_KEY_NONE = 0,
    SCREEN_KEY_UP = 256,
    SCREEN_KEY_DOWN,
    SCREEN_KEY_LEFT,
    SCREEN_KEY_RIGHT,
    SCREEN_KEY_PAGE_UP,
    SCREEN_KEY_PAGE_DOWN,
    SCREEN_KEY_ENTER,
    SCREEN_KEY_BACK,
    SCREEN_KEY_RESIZE,
    SCREEN_KEY_OTHER,
};

/* Takes the terminal of stdin and stdout. FAULT_INPUT: it cannot move its cursor, or is not known.
 * SIGWINCH and SIGTSTP are the library's then; other signals are the caller's to end by. */
int screen_open(bool color, struct fault *why);
/* As it was before. Does nothing when none is open. */
void screen_close(void);
void screen_size(int *lines, int *columns);
void screen_clear(void);
/* Cut at the right edge; the style fills the line. */
void screen_put(int line, const char *text, unsigned style);
void screen_show(void);
/* Never waits. */
int screen_key(void);

#endif
