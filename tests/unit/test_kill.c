/* A process that works on a store is killed at each of its system calls that change a file, in
 * turn: what it had acknowledged is there at the next start, and that goes on. The kernel lives, so
 * what was written stays: for a power cut see test_power.c.
 *
 * BASCULE_KILLS: how many of the calls of each test, evenly spread (25; 0: all, for `make
 * soak-store`).
 */
#include "tests/unit/load.h"
#include "tests/unit/old_stores.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef void work(struct load *w);

/* Is it one that changes a file, or its name? */
static bool changes(const struct __ptrace_syscall_info *i)
{
    switch (i->entry.nr) {
    case SYS_pwrite64:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_ftruncate:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_rename:
    case SYS_renameat2:
    case SYS_fallocate:
    case SYS_mkdir:
    case SYS_flock:
        return true;
    case SYS_write:
        return i->entry.args[0] > 2;
    case SYS_openat:
        return (i->entry.args[2] & O_CREAT) != 0;
    default:
        return false;
    }
}

/* Runs it in a process that is killed before the n-th change (0: never). Returns the changes it
 * made or was about to make. */
static int run_until(work *does, struct load *w, int n)
{
    pid_t pid;
    int status, seen = 0;

    (void)fflush(NULL);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(99);
        (void)raise(SIGSTOP);
        does(w);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 99)
        harness_skip("needs the right to trace a process of its own");
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
    for (int signal = 0;;) {
        struct __ptrace_syscall_info info = { 0 };

        CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, signal) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WIFEXITED(status) || WIFSIGNALED(status))
            break;
        signal = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
        if (signal || ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) <= 0 ||
            info.op != PTRACE_SYSCALL_INFO_ENTRY || !changes(&info))
            continue;
        if (++seen != n)
            continue;
        CHECK(kill(pid, SIGKILL) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        return seen;
    }
    if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)
        harness_fail(__FILE__, __LINE__, "the work itself failed (status %d)", status);
    return seen;
}

static void judge_now(struct load *w, int n)
{
    pid_t pid;
    int status;

    (void)fflush(NULL);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        w->judge(w);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (status != 0)
        harness_fail(__FILE__, __LINE__, "after the kill before change %d", n);
}

/* `first` is done once and `begins` each time is where its files are copied from. */
static void begin_at(struct load *w, const struct load *begins, int n)
{
    char name[32];

    (void)snprintf(name, sizeof name, "kill-%d", n);
    *w = *begins;
    CHECK_INT(mkdir(name, 0700), 0);
    CHECK_INT(chdir(name), 0);
}

static void leave(int n)
{
    char command[64];

    CHECK_INT(chdir(".."), 0);
    (void)snprintf(command, sizeof command, "rm -r kill-%d", n);
    CHECK_INT(system(command), 0);
}

/* Kills `does` at its changes, each time after `prepare`, which nobody kills. */
static void kill_in_turn(work *prepare, work *does, void (*judge)(struct load *w))
{
    struct load *w =
        mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int kills = (int)load_setting("BASCULE_KILLS", 25), count;
    struct load begins;

    CHECK(w != MAP_FAILED);
    load_begin(&begins, 5);
    if (judge)
        begins.judge = judge;
    begin_at(w, &begins, 0);
    if (prepare)
        (void)run_until(prepare, w, 0);
    count = run_until(does, w, 0);
    judge_now(w, 0);
    leave(0);
    CHECK(count > 10);
    for (int i = 0, n = 0; n < count; i++) {
        int next = kills && kills < count ? (int)((int64_t)i * count / kills) + 1 : i + 1;

        if (next <= n || next > count)
            break;
        n = next;
        begin_at(w, &begins, n);
        if (prepare)
            (void)run_until(prepare, w, 0);
        CHECK_INT(run_until(does, w, n), n);
        judge_now(w, n);
        leave(n);
    }
    (void)munmap(w, sizeof *w);
}

/* A start, a few commits with all that there is, and an end in order. */
static void work_commits(struct load *w)
{
    load_open(w);
    w->stays_open = true;
    for (int i = 0; i < 4; i++)
        load_step(w, false);
    store_free(w->store, true);
}

TEST(a_kill_at_each_change_of_start_commits_and_end_loses_nothing)
{
    kill_in_turn(NULL, work_commits, NULL);
}

/* Not closed: the next one starts on what a kill would leave. */
static void prepare_log(struct load *w)
{
    load_open(w);
    w->stays_open = true;
    for (int i = 0; i < 25; i++)
        load_step(w, true);
}

/* As much as is copied into the database on the way. */
static void work_checkpoint(struct load *w)
{
    load_open(w);
    w->stays_open = true;
    for (int i = 0; i < 2; i++)
        load_step(w, false);
    store_free(w->store, true);
}

TEST(a_kill_at_each_change_of_a_checkpoint_loses_nothing)
{
    kill_in_turn(prepare_log, work_checkpoint, NULL);
}

static void work_tidy(struct load *w)
{
    load_open(w);
    w->now_ms += 2 * LOAD_RETAIN_MS;
    for (int i = 0; i < 3; i++)
        load_keep_house(w);
}

TEST(a_kill_at_each_change_of_retention_and_joining_loses_nothing)
{
    kill_in_turn(prepare_log, work_tidy, NULL);
}

static void work_backup(struct load *w)
{
    load_open(w);
    load_back_up(w);
}

TEST(a_kill_at_each_change_of_a_backup_loses_nothing)
{
    kill_in_turn(prepare_log, work_backup, NULL);
}

static void prepare_old(struct load *w)
{
    old_stores_put(0);
    w->acked[0].next = OLD_STORES_NEXT_SEQ;
}

static void work_upgrade(struct load *w)
{
    uint64_t next = OLD_STORES_NEXT_SEQ;
    struct store_route r;

    w->store = store_rig_open();
    store_rig_route(w->store, "orders", &r);
    store_rig_append(w->store, r.id, &next, 10, w->now_ms + 100000, 20, false);
    store_rig_commit(w->store, w->now_ms + 100000);
    w->acked[0].next = next;
}

TEST(a_kill_at_each_change_of_an_upgrade_loses_nothing)
{
    kill_in_turn(prepare_old, work_upgrade, load_judge_upgrade);
}
