/* An SQLite VFS over the default one whose disk forgets: what was written and not synced is kept
 * apart, and a power cut may keep, drop or tear any of it, sector by sector, in any order.
 *
 * The model: a sector of 512 B is written whole or not at all, and what is written to it since the
 * last sync of its file comes out as any of its states since then. Names are
 * durable, and what was deleted is gone, when the directory was synced (SQLite does it with the
 * first sync of a WAL or journal, not of a database); a rename is durable at once. No file is
 * really synced, so it is fast. One thread, one directory. */
#ifndef BASCULE_TESTS_POWER_VFS_H
#define BASCULE_TESTS_POWER_VFS_H

#include <stdbool.h>
#include <stdint.h>

/* Becomes the default VFS of this process, so that it counts for every connection. All that is in
 * the files now is taken as durable when they are opened. */
void power_vfs_register(void);
/* From now on calls cut(arg) before each write, truncation, sync and deletion of which `pick` says
 * so: after 1..2 * spacing - 1 of them, again and again. spacing 0: never. */
void power_vfs_cuts(unsigned spacing, uint64_t seed, void (*cut)(void *arg), void *arg);
/* Writes what the files of this directory are after a cut now into the directory `to`. Another seed
 * is another outcome. */
void power_vfs_after_cut(const char *to, uint64_t seed);
/* Forgets what it knows of all files: a process that begins anew on what a cut left. */
void power_vfs_forget(void);
/* Removes a file for good, as nothing but SQLite may do otherwise once it was opened. */
void power_vfs_remove(const char *path);
/* The n-th sync from now on (1: the next) fails, and as on Linux what it should have written is
 * marked clean: it is read as written, but no later sync writes it. 0: none. */
void power_vfs_fail_sync(int n);
/* That sync is still to come. */
bool power_vfs_will_fail(void);
/* While it is dead nothing can be written, synced or deleted: a process that closes its files then
 * leaves them as one does that is killed. */
void power_vfs_dead(bool dead);
/* How many writes, truncations, syncs and deletions there were. */
uint64_t power_vfs_count(void);

#endif
