/* family.h - what this process, and those it was forked from, have open.
 *
 * SQLite remembers, in one list for the whole process, which locks it holds on which
 * file. A forked child inherits that list and not the locks.  Would it open a database
 * that its parent had open when it was forked, SQLite would take itself to be safe, and
 * is not: the database may be damaged.  (www.sqlite.org/howtocorrupt.html, 2.6.)  So that
 * is refused. */
#ifndef FAMILY_H
#define FAMILY_H

#include <mako/store_plugin.h>

#include <stdbool.h>
#include <sys/types.h>

struct family_member {
    struct family_member *next;
    bool listed;
    dev_t device;
    ino_t inode;
    pid_t pid;
};

/* Before SQLite sees the file.  One that is not there cannot be open. */
int family_join(const char *file, struct family_member *member, struct mako_error *err);

/* Fine also for one that did not join. */
void family_leave(struct family_member *member);

#endif
