#include "store/wal.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* https://www.sqlite.org/fileformat2.html#walformat */
#define HEADER_BYTES 32
#define FRAME_BYTES 24
#define MAGIC 0x377f0682u /* the lowest bit: checksums are over big-endian words */
/* Each time the WAL is begun again its first salt grows by one; the first is random. */
#define SALTS_MAX 16777216u

/* What a WAL file holds. */
struct wal {
    bool exists, empty, header_good;
    uint32_t salt;
    uint64_t good_frames;
    uint32_t *pages; /* of the good frames; owned */
    uint64_t committed_frames;
    bool has_words;
    uint32_t page_bytes, page_count; /* of the database, after the last commit in it */
    uint64_t lost_commits;           /* behind the first bad frame, of the same run of the WAL */
};

/* What the database says of its WAL. */
struct claim {
    bool needs; /* the one whose first salt is this, or some more */
    uint32_t salt;
    char words[32]; /* none is needed; one that is there has these in it. "": it says nothing */
};

struct scan {
    FILE *f;
    const char *words;
    bool big_endian;
    uint32_t page_bytes, salt[2], sum[2];
    uint8_t *frame;
};

static uint32_t big(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void add_sum(struct scan *s, const uint8_t *at, size_t n)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        uint32_t one = big(at + i), two = big(at + i + 4);

        if (!s->big_endian) {
            one = __builtin_bswap32(one);
            two = __builtin_bswap32(two);
        }
        s->sum[0] += one + s->sum[1];
        s->sum[1] += two + s->sum[0];
    }
}

static bool read_header(struct scan *s, struct wal *ret)
{
    uint8_t header[HEADER_BYTES];
    static const uint8_t none[HEADER_BYTES];

    if (fread(header, 1, sizeof header, s->f) != sizeof header ||
        memcmp(header, none, sizeof none) == 0) {
        ret->empty = true; /* its first sync never was */
        return false;
    }
    s->big_endian = (big(header) & 1) != 0;
    s->page_bytes = big(header + 8);
    s->salt[0] = ret->salt = big(header + 16);
    s->salt[1] = big(header + 20);
    add_sum(s, header, 24);
    ret->header_good = (big(header) & ~1u) == MAGIC && s->sum[0] == big(header + 24) &&
                       s->sum[1] == big(header + 28) && s->page_bytes >= 512 &&
                       s->page_bytes <= 65536;
    return ret->header_good;
}

/* False: no memory. */
static bool note_frame(struct wal *w, const uint8_t *head)
{
    if (w->good_frames % 1024 == 0) {
        uint32_t *pages = realloc(w->pages, (w->good_frames + 1024) * sizeof *pages);

        if (!pages)
            return false;
        w->pages = pages;
    }
    w->pages[w->good_frames++] = big(head);
    if (big(head + 4) != 0) {
        w->committed_frames = w->good_frames;
        w->page_count = big(head + 4);
    }
    return true;
}

static int read_frames(struct scan *s, struct wal *ret)
{
    size_t n = FRAME_BYTES + s->page_bytes;
    bool good = true;

    while (fread(s->frame, 1, n, s->f) == n) {
        const uint8_t *head = s->frame;

        if (big(head + 8) != s->salt[0] || big(head + 12) != s->salt[1]) {
            good = false; /* of an earlier run of the WAL */
            continue;
        }
        if (good) {
            add_sum(s, head, 8);
            add_sum(s, head + FRAME_BYTES, s->page_bytes);
            good = s->sum[0] == big(head + 16) && s->sum[1] == big(head + 20);
        }
        if (good && !note_frame(ret, head))
            return -1;
        if (good && s->words[0] &&
            memmem(head + FRAME_BYTES, s->page_bytes, s->words, strlen(s->words)))
            ret->has_words = true;
        if (!good && big(head + 4) != 0)
            ret->lost_commits++;
    }
    return 0;
}
static int read_wal(const char *path, const char *words, struct wal *ret, struct fault *why)
{
    char name[PATH_MAX];
    struct scan s = { .words = words };
    int result = 0;

    *ret = (struct wal){ 0 };
    (void)snprintf(name, sizeof name, "%s-wal", path);
    s.f = fopen(name, "rbe");
    if (!s.f)
        return errno == ENOENT ? 0
                               : fault_set(why, FAULT_BROKEN, errno, "store: cannot read %s: %s",
                                     name, strerror(errno));
    ret->exists = true;
    if (read_header(&s, ret)) {
        s.frame = malloc(FRAME_BYTES + s.page_bytes);
        ret->page_bytes = s.page_bytes;
        if (!s.frame || read_frames(&s, ret) != 0)
            result = fault_set(why, FAULT_RETRY, 0, "out of memory");
    }
    if (ferror(s.f))
        result = fault_set(why, FAULT_BROKEN, EIO, "store: cannot read %s", name);
    free(s.frame);
    (void)fclose(s.f);
    return result;
}

/* Text with a check of its own: while a checkpoint was cut off, its page may be torn. */
static void claim_text(uint32_t salt, char ret[32])
{
    (void)snprintf(
        ret, 32, "need-%08" PRIx32 "-%08" PRIx32, salt, salt * 2654435761u ^ 0x57414c31u);
}

/* What the database itself says, without any WAL; nothing, when it cannot be read. */
static void read_claim(const char *path, const char *vfs, struct claim *ret)
{
    struct statement *st;
    struct db *d;

    *ret = (struct claim){ 0 };
    if (db_open(path, DB_ALONE, vfs, &d, NULL) != 0)
        return;
    st = db_prepare(d, "SELECT value FROM meta WHERE name = 'wal'", NULL);
    if (st && db_step(st, NULL) == 1 && db_text(st, 0)) {
        const char *text = db_text(st, 0);
        char check[32];

        if (strncmp(text, "none-", 5) == 0 && strlen(text) == 21)
            (void)snprintf(ret->words, sizeof ret->words, "%s", text);
        ret->salt = strlen(text) > 5 ? (uint32_t)strtoul(text + 5, NULL, 16) : 0;
        claim_text(ret->salt, check);
        ret->needs = strcmp(check, text) == 0;
    }
    db_close(d);
}

static int judge_claim(
    const char *path, const struct wal *w, const struct claim *c, struct fault *why)
{
    bool foreign = c->needs ? w->header_good && w->salt - c->salt > SALTS_MAX
                            : c->words[0] && w->committed_frames && !w->has_words;

    if (c->needs && (!w->exists || w->empty))
        return fault_set(why, FAULT_BROKEN, WAL_MISSING,
            "store %s is damaged: its WAL, %s-wal, is missing, and what was committed last stands "
            "there. Put it back. Only if it is certain that sqlite3 was run on the store and has "
            "copied it into the database: sqlite3 %s \"DELETE FROM meta WHERE name = 'wal'\"",
            path, path, path);
    if (foreign)
        return fault_set(why, FAULT_BROKEN, WAL_FOREIGN,
            "store %s is damaged: the WAL beside it, %s-wal, is of another database. If the file "
            "was put in the place of another one, delete that WAL",
            path, path);
    return 0;
}

/* The file ends before its last page, and the WAL does not have those that are not there. A
 * checkpoint that was cut off may leave it short, but only of pages that the WAL has. */
static bool is_short(const char *path, const struct wal *w)
{
    uint32_t have, missing;
    struct stat is;
    uint8_t *there;

    if (w->page_count == 0 || stat(path, &is) != 0)
        return false;
    have = (uint32_t)(is.st_size / w->page_bytes);
    if (have >= w->page_count)
        return false;
    missing = w->page_count - have;
    there = calloc(missing, 1);
    for (uint64_t i = 0; there && i < w->committed_frames; i++) {
        uint32_t page = w->pages[i];

        if (page > have && page <= w->page_count && !there[page - have - 1]) {
            there[page - have - 1] = 1;
            missing--;
        }
    }
    free(there);
    return missing > 0;
}

static int judge_frames(const char *path, const struct wal *w, struct fault *why)
{
    if (!w->exists || w->empty)
        return 0;
    if (!w->header_good)
        return fault_set(why, FAULT_BROKEN, WAL_DAMAGED,
            "store %s is damaged: the header of its WAL, %s-wal, is not what was written", path,
            path);
    /* One commit behind a bad frame is what a power cut leaves of a transaction whose sync was not
     * done; a second one began after the sync of the first. */
    if (w->lost_commits > 1)
        return fault_set(why, FAULT_BROKEN, WAL_DAMAGED,
            "store %s is damaged: its WAL, %s-wal, in frame %" PRIu64 "; %" PRIu64
            " transactions stand behind it",
            path, path, w->good_frames + 1, w->lost_commits);
    if (is_short(path, w))
        return fault_set(why, FAULT_BROKEN, WAL_DAMAGED,
            "store %s is damaged: it was cut short, %" PRIu32 " pages should be there", path,
            w->page_count);
    return 0;
}

int wal_judge(const char *path, const char *vfs, struct fault *why)
{
    struct claim c;
    struct wal w;
    int result;

    read_claim(path, vfs, &c);
    result = read_wal(path, c.words, &w, why);
    if (result == 0)
        result = judge_claim(path, &w, &c, why);
    if (result == 0)
        result = judge_frames(path, &w, why);
    free(w.pages);
    return result;
}

int wal_claim(struct db *d, const char *path, struct fault *why)
{
    struct statement *st;
    char text[32];
    struct wal w;
    int read = read_wal(path, "", &w, why);

    free(w.pages);
    if (read != 0)
        return -1;
    if (!w.header_good)
        return fault_set(why, FAULT_BROKEN, 0, "store: %s-wal is not there after a write", path);
    claim_text(w.salt, text);
    st = db_prepare(d, "INSERT OR REPLACE INTO meta (name, value) VALUES ('wal', ?1)", why);
    if (!st)
        return -1;
    db_bind_text(st, 1, text);
    if (db_run(st, why) != 0)
        return -1;
    return db_settle(d, why);
}
