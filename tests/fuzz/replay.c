/* tests/fuzz/replay.c - runs a target once on each file that is named, and on each file
 * of a directory: what was found once is tried again by every build, under valgrind and
 * for coverage too.
 *
 *     replay_TARGET FILE|DIRECTORY... */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

static size_t done, broken;

static void complain(const char *path)
{
    (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
    broken++;
}

/* The input stands alone in its memory, so that a sanitizer sees what lies beyond. */
static void run_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = malloc(size > 0 ? size : 1);

    if (!file || !bytes || fread(bytes, 1, size, file) != size) {
        complain(path);
    } else {
        (void)LLVMFuzzerTestOneInput(bytes, size);
        done++;
    }
    free(bytes);
    if (file)
        (void)fclose(file);
}

static void run(const char *path);

static void run_directory(const char *path)
{
    char inner[PATH_MAX];
    DIR *dir = opendir(path);
    const struct dirent *entry;

    if (!dir) {
        complain(path);
        return;
    }
    while ((entry = readdir(dir)) != NULL)
        if (entry->d_name[0] != '.' &&
            snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) < PATH_MAX)
            run(inner);
    (void)closedir(dir);
}

static void run(const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0)
        complain(path);
    else if (S_ISDIR(st.st_mode))
        run_directory(path);
    else
        run_file(path, (size_t)st.st_size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run(argv[i]);
    (void)printf("%zu inputs\n", done);
    return done > 0 && broken == 0 ? 0 : 1;
}
