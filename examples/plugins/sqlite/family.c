/* family.c - see family.h. */
#include "family.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct family_member *list;
static pthread_once_t handlers_once = PTHREAD_ONCE_INIT;
static int handlers_error;

/* A child must not find the list in the hands of a thread that it does not have. */
static void before_fork(void)
{
    (void)pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    (void)pthread_mutex_unlock(&lock);
}

static void add_handlers(void)
{
    handlers_error = pthread_atfork(before_fork, after_fork, after_fork);
}

/* The lock is held.  What the parent has open is in the child's list as well. */
static bool is_inherited(const struct family_member *member)
{
    const struct family_member *other;

    for (other = list; other; other = other->next)
        if (other->device == member->device && other->inode == member->inode &&
            other->pid != member->pid)
            return true;
    return false;
}

static int enlist(const char *file, struct family_member *member, struct mako_error *err)
{
    if (is_inherited(member))
        return mako_fail(err, MAKO_E_UNSUPPORTED,
                         "%s: was open when this process was forked, and SQLite cannot "
                         "open it here then; fork first, or exec",
                         file);
    member->listed = true;
    member->next = list;
    list = member;
    return MAKO_OK;
}

int family_join(const char *file, struct family_member *member, struct mako_error *err)
{
    struct stat st;
    int status;

    (void)pthread_once(&handlers_once, add_handlers);
    if (handlers_error != 0)
        return mako_fail(err, MAKO_E_NOMEM, "%s: handlers of fork: %s", file,
                         strerror(handlers_error));
    if (stat(file, &st) != 0)
        return MAKO_OK;
    *member =
        (struct family_member){.device = st.st_dev, .inode = st.st_ino, .pid = getpid()};
    (void)pthread_mutex_lock(&lock);
    status = enlist(file, member, err);
    (void)pthread_mutex_unlock(&lock);
    return status;
}

void family_leave(struct family_member *member)
{
    struct family_member **place = &list;

    if (!member->listed)
        return;
    (void)pthread_mutex_lock(&lock);
    while (*place != member)
        place = &(*place)->next;
    *place = member->next;
    (void)pthread_mutex_unlock(&lock);
}
