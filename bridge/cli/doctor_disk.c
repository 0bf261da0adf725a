/* The store's disk: does it keep what is synced, how fast, how much of it is left. */
#include "bridge/cli/doctor.h"
#include "bridge/cli/table.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define SYNCS 100
#define SYNC_BYTES 4096
#define SYNC_SECONDS 3 /* then fewer must do */
/* Slower than these a commit waits noticeably; a plain hard disk takes about 10 ms. The alert
 * BasculeCommitsSlow has the second one too. */
#define SYNC_MEDIAN_WARN_US 25000
#define SYNC_LAST_WARN_US 500000
#define SPACE_FAIL_BYTES (64LL << 20)

/* Beside linux/magic.h, which lacks these: statfs(2). */
#define MAGIC_CIFS 0xff534d42u
#define MAGIC_SMB2 0xfe534d42u
#define MAGIC_FUSE 0x65735546u
#define MAGIC_XFS 0x58465342u
#define MAGIC_ZFS 0x2fc12fc1u
#define MAGIC_OCFS2 0x7461636fu
#define MAGIC_GFS2 0x01161970u
#define MAGIC_LUSTRE 0x0bd00bd0u
#define MAGIC_BCACHEFS 0xca451a4eu

static const struct {
    uint32_t magic;
    enum verdict verdict;
    const char *name, *text;
} systems[] = {
    { EXT4_SUPER_MAGIC, VERDICT_OK, "ext2/3/4", "local" },
    { MAGIC_XFS, VERDICT_OK, "xfs", "local" },
    { BTRFS_SUPER_MAGIC, VERDICT_OK, "btrfs", "local" },
    { MAGIC_ZFS, VERDICT_OK, "zfs", "local" },
    { F2FS_SUPER_MAGIC, VERDICT_OK, "f2fs", "local" },
    { MAGIC_BCACHEFS, VERDICT_OK, "bcachefs", "local" },
    { OVERLAYFS_SUPER_MAGIC, VERDICT_WARN, "overlayfs",
        "a container's own layer: it goes with the container; mount a volume" },
    { TMPFS_MAGIC, VERDICT_FAIL, "tmpfs", "memory: a reboot loses it" },
    { RAMFS_MAGIC, VERDICT_FAIL, "ramfs", "memory: a reboot loses it" },
    { NFS_SUPER_MAGIC, VERDICT_FAIL, "nfs", "a network file system" },
    { SMB_SUPER_MAGIC, VERDICT_FAIL, "smb", "a network file system" },
    { MAGIC_CIFS, VERDICT_FAIL, "cifs", "a network file system" },
    { MAGIC_SMB2, VERDICT_FAIL, "smb2", "a network file system" },
    { CEPH_SUPER_MAGIC, VERDICT_FAIL, "ceph", "a network file system" },
    { AFS_SUPER_MAGIC, VERDICT_FAIL, "afs", "a network file system" },
    { CODA_SUPER_MAGIC, VERDICT_FAIL, "coda", "a network file system" },
    { V9FS_MAGIC, VERDICT_FAIL, "9p", "a network file system" },
    { MAGIC_OCFS2, VERDICT_FAIL, "ocfs2", "a cluster's file system" },
    { MAGIC_GFS2, VERDICT_FAIL, "gfs2", "a cluster's file system" },
    { MAGIC_LUSTRE, VERDICT_FAIL, "lustre", "a cluster's file system" },
    { MSDOS_SUPER_MAGIC, VERDICT_WARN, "fat", "no owners, no journal" },
    { MAGIC_FUSE, VERDICT_WARN, "fuse",
        "a program serves it: whether it keeps what was synced is that program's word" },
};

enum verdict doctor_file_system(int64_t type, char *ret, size_t n)
{
    for (size_t i = 0; i < sizeof systems / sizeof *systems; i++)
        if (systems[i].magic == (uint32_t)type) {
            (void)snprintf(ret, n, "%s: %s", systems[i].name, systems[i].text);
            return systems[i].verdict;
        }
    (void)snprintf(ret, n, "file system number 0x%x is not known here", (unsigned)type);
    return VERDICT_WARN;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

void doctor_sync_times(struct doctor *d, const char *where, int64_t *us, size_t n)
{
    int64_t median, last;

    qsort(us, n, sizeof *us, compare);
    median = us[n / 2];
    last = us[n - 1 - n / 100];
    doctor_say(d, DOCTOR_SYNC,
        median > SYNC_MEDIAN_WARN_US || last > SYNC_LAST_WARN_US ? VERDICT_WARN : VERDICT_OK, where,
        "%zu syncs of 4 KiB: median %.2f ms, 99 of 100 within %.2f ms", n, (double)median / 1000,
        (double)last / 1000);
}

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Without a name, so that nothing is left behind whatever happens. */
static int open_nameless(const char *directory)
{
    char path[PATH_MAX];
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    if (snprintf(path, sizeof path, "%s/.bascule-doctor-XXXXXX", directory) >= (int)sizeof path)
        return -1;
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(path);
    return fd;
}

static void measure(struct doctor *d, const char *directory)
{
    static const char page[SYNC_BYTES] = { 1 };
    int64_t us[SYNCS], begin = now_us();
    size_t n = 0;
    int fd = open_nameless(directory);
    bool failed = false;

    if (fd < 0) {
        bool forbidden = errno == EACCES || errno == EPERM;

        doctor_say(d, DOCTOR_SYNC, forbidden ? VERDICT_SKIPPED : VERDICT_FAIL, directory,
            "cannot make a file there: %s%s", strerror(errno),
            forbidden ? " (run it as root or as the daemon's user)" : "");
        return;
    }
    while (!failed && n < SYNCS && (n == 0 || now_us() - begin < SYNC_SECONDS * 1000000LL)) {
        int64_t at = now_us();

        failed = pwrite(fd, page, sizeof page, (off_t)(n * sizeof page)) != (ssize_t)sizeof page ||
                 fdatasync(fd) != 0;
        us[n++] = now_us() - at;
    }
    if (failed)
        doctor_say(
            d, DOCTOR_SYNC, VERDICT_FAIL, directory, "writing there failed: %s", strerror(errno));
    else
        doctor_sync_times(d, directory, us, n);
    (void)close(fd);
}

static int64_t used_bytes(const struct doctor *d, const char *path)
{
    const json_t *store = json_object_get(d->status, "store");
    struct stat st;

    if (store)
        return json_integer_value(json_object_get(store, "used_bytes"));
    return stat(path, &st) == 0 ? (int64_t)st.st_size : 0;
}

static void look_at_space(struct doctor *d, const char *directory)
{
    struct statvfs fs;
    int64_t left, wanted = d->config->store_max_size - used_bytes(d, d->config->store_path);
    struct buf have, want;

    if (statvfs(directory, &fs) != 0) {
        doctor_say(d, DOCTOR_SPACE, VERDICT_SKIPPED, directory, "%s", strerror(errno));
        return;
    }
    left = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    buf_init(&have, 64);
    buf_init(&want, 64);
    table_put_size(&have, left);
    table_put_size(&want, wanted > 0 ? wanted : 0);
    if (json_is_true(json_object_get(json_object_get(d->status, "store"), "full")))
        doctor_say(d, DOCTOR_SPACE, VERDICT_FAIL, directory,
            "the store is full: sources wait; %s are free", buf_text(&have));
    else
        doctor_say(d, DOCTOR_SPACE,
            left < SPACE_FAIL_BYTES ? VERDICT_FAIL
            : left < wanted         ? VERDICT_WARN
                                    : VERDICT_OK,
            directory, "%s are free; the store may grow by %s", buf_text(&have), buf_text(&want));
    buf_done(&want);
    buf_done(&have);
}

static void look_at_system(struct doctor *d, const char *directory)
{
    struct statfs fs;
    char text[160];
    enum verdict v;

    if (statfs(directory, &fs) != 0) {
        doctor_say(d, DOCTOR_FILE_SYSTEM, VERDICT_FAIL, directory, "%s", strerror(errno));
        return;
    }
    v = doctor_file_system((int64_t)fs.f_type, text, sizeof text);
    if (v == VERDICT_OK && fs.f_flags & ST_RDONLY) {
        doctor_say(d, DOCTOR_FILE_SYSTEM, VERDICT_FAIL, directory, "mounted read-only");
        return;
    }
    doctor_say(d, DOCTOR_FILE_SYSTEM, v, directory, "%s", text);
}

/* A store that is in use is never opened here: closing it would drop nobody's locks but ours, and
 * still its owner knows better. */
static void look_at_version(struct doctor *d)
{
    const char *path = d->config->store_path;
    struct fault why = { 0 };
    int version;

    if (d->status) {
        doctor_say(d, DOCTOR_STORE, VERDICT_OK, path, "open in the daemon");
        return;
    }
    version = store_file_version(path, &why);
    if (version < 0)
        doctor_say(d, DOCTOR_STORE, why.code == EACCES ? VERDICT_SKIPPED : VERDICT_FAIL, path, "%s",
            why.text);
    else if (version == 0)
        doctor_say(d, DOCTOR_STORE, VERDICT_OK, path, "not there yet: the first start makes it");
    else
        doctor_say(d, DOCTOR_STORE,
            version > store_version()   ? VERDICT_FAIL
            : version < store_version() ? VERDICT_WARN
                                        : VERDICT_OK,
            path, "schema version %d; this program keeps version %d", version, store_version());
}

void doctor_disk(struct doctor *d)
{
    char path[PATH_MAX];
    const char *directory;

    if (!d->config)
        return;
    (void)snprintf(path, sizeof path, "%s", d->config->store_path);
    directory = dirname(path);
    look_at_system(d, directory);
    look_at_space(d, directory);
    measure(d, directory);
    look_at_version(d);
}
