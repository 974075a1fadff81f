/* tests/faults/file_lock_test.c - who may have a directory open: other processes, this
 * one again, children that were forked. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

static struct box box;

static void make(void)
{
    box_make(&box);
}

static void clean(void)
{
    box_free(&box);
}

TestSuite(file_lock, .init = make, .fini = clean, .timeout = 120);

/* The same directory, opened separately. */
static struct box twin(int64_t lock_wait)
{
    struct box other = box;

    other.store = NULL;
    other.lock_wait = lock_wait;
    return other;
}

static int exit_code(pid_t child)
{
    int status = 0;

    while (waitpid(child, &status, 0) < 0)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Test(file_lock, a_second_opening_in_this_process_is_refused_at_once)
{
    struct box other = twin(60000);
    char expected[600];

    box_must_open(&box);
    cr_assert_eq(box_open(&other), MAKO_E_INVALID);
    (void)snprintf(expected, sizeof expected,
                   "%s: open in this process already; share that store with "
                   "mako_store_ref",
                   box.path);
    cr_assert_str_eq(other.err.text, expected);
    box_close(&box);
    box_must_open(&other);
    box_close(&other);
}

Test(file_lock, a_second_name_of_the_directory_is_the_same_directory)
{
    struct box other = twin(0);

    box_must_open(&box);
    (void)snprintf(other.path, sizeof other.path, "%.200s/link", box.dir);
    cr_assert_eq(symlink(box.path, other.path), 0);
    cr_assert_eq(box_open(&other), MAKO_E_INVALID);
}

/* A process that holds the store until told, through ready and go. */
struct holder {
    pid_t pid;
    int ready, go;
};

static void hold(const int ready[2], const int go[2])
{
    char byte = 'x';

    (void)close(go[1]);
    if (box_open(&box) != MAKO_OK || write(ready[1], &byte, 1) != 1)
        _exit(1);
    (void)!read(go[0], &byte, 1); /* or its other end is closed */
    box_close(&box);
    _exit(0);
}

static struct holder start_holder(void)
{
    int ready[2], go[2];
    struct holder holder;
    char byte;

    cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(go, O_CLOEXEC), 0);
    holder = (struct holder){.pid = fork(), .ready = ready[0], .go = go[1]};
    cr_assert_geq(holder.pid, 0);
    if (holder.pid == 0)
        hold(ready, go);
    (void)close(ready[1]);
    (void)close(go[0]);
    cr_assert_eq(read(holder.ready, &byte, 1), 1, "the holder could not open");
    return holder;
}

static void end_holder(struct holder *holder)
{
    (void)close(holder->go);
    cr_assert_eq(exit_code(holder->pid), 0);
    (void)close(holder->ready);
}

Test(file_lock, another_process_is_named)
{
    struct holder holder = start_holder();
    char expected[600];

    box.lock_wait = 50;
    cr_assert_eq(box_open(&box), MAKO_E_UNAVAILABLE);
    (void)snprintf(expected, sizeof expected, "%s: in use by process %ld", box.path,
                   (long)holder.pid);
    cr_assert_str_eq(box.err.text, expected);
    end_holder(&holder);
    box_must_open(&box);
}

static void *let_go(void *arg)
{
    struct timespec pause = {.tv_nsec = 100000000};

    (void)nanosleep(&pause, NULL);
    end_holder(arg);
    return NULL;
}

Test(file_lock, opening_waits_for_a_process_that_ends)
{
    struct holder holder = start_holder();
    pthread_t thread;

    box.lock_wait = 60000;
    cr_assert_eq(pthread_create(&thread, NULL, let_go, &holder), 0);
    box_must_open(&box);
    cr_assert_eq(pthread_join(thread, NULL), 0);
}

Test(file_lock, a_killed_process_leaves_no_lock)
{
    struct holder holder = start_holder();

    cr_assert_eq(kill(holder.pid, SIGKILL), 0);
    cr_assert_eq(exit_code(holder.pid), 128 + SIGKILL);
    box_must_open(&box);
}

/* A child that lives on must not keep the directory from others. */
Test(file_lock, a_forked_child_does_not_hold_the_lock)
{
    int running[2], go[2];
    char byte = 'x';
    pid_t child;

    box_must_open(&box);
    cr_assert_eq(put(&box, "a", 1, 10, 0), MAKO_OK);
    cr_assert_eq(pipe2(running, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(go, O_CLOEXEC), 0);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        (void)close(go[1]);
        _exit(write(running[1], &byte, 1) == 1 && read(go[0], &byte, 1) == 0 ? 0 : 1);
    }
    (void)close(go[0]);
    cr_assert_eq(read(running[0], &byte, 1), 1); /* it has left fork() */
    box_reopen(&box);                            /* while the child is there */
    cr_assert(holds(&box, "a", 1));
    (void)close(go[1]);
    cr_assert_eq(exit_code(child), 0);
}

/* And its end, or its closing of descriptors, must not free the parent's. */
Test(file_lock, the_parent_still_holds_it_after_a_fork)
{
    pid_t child;

    box_must_open(&box);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0)
        _exit(0);
    cr_assert_eq(exit_code(child), 0);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0) {
        struct box other = twin(0);
        char expected[600];

        (void)snprintf(expected, sizeof expected, "%s: in use by process %ld", box.path,
                       (long)getppid());
        _exit(box_open(&other) == MAKO_E_UNAVAILABLE &&
                      strcmp(other.err.text, expected) == 0
                  ? 0
                  : 1);
    }
    cr_assert_eq(exit_code(child), 0);
}

Test(file_lock, a_replaced_lock_file_does_not_let_two_in)
{
    struct box other = twin(0);
    char path[400];
    pid_t child;

    box_must_open(&box);
    (void)snprintf(path, sizeof path, "%s/lock", box.path);
    cr_assert_eq(unlink(path), 0);
    box_close(&box);
    box_must_open(&box);
    child = fork();
    cr_assert_geq(child, 0);
    if (child == 0)
        _exit(box_open(&other) == MAKO_E_UNAVAILABLE ? 0 : 1);
    cr_assert_eq(exit_code(child), 0);
}

Test(file_lock, nothing_stays_open_and_all_is_cloexec)
{
    size_t before = descriptors();
    struct box other = twin(0);

    box_must_open(&box);
    cr_assert_eq(put(&box, "a", 1, 10, 0), MAKO_OK);
    cr_assert(holds(&box, "a", 1));
    cr_assert_gt(descriptors(), before);
    for (int fd = 0; fd < 1024; fd++) {
        char link[64], target[400];
        ssize_t len;

        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        len = readlink(link, target, sizeof target - 1);
        target[len > 0 ? len : 0] = '\0';
        if (strstr(target, box.path) != NULL)
            cr_assert((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0, "%s", target);
    }
    cr_assert_eq(box_open(&other), MAKO_E_INVALID);
    box_close(&box);
    cr_assert_eq(descriptors(), before);
}
