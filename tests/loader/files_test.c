/* tests/loader/files_test.c - from a name to a file: where plugins are looked for, and
 * which files are not even mapped. */
#include "fixture.h"

#include <elf.h>
#include <limits.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(names, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(search, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(files, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(owners, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

/* ---- names ---------------------------------------------------------------------- */

#define BAD_NAME(test, name)                                                      \
    Test(names, test)                                                             \
    {                                                                             \
        REFUSED(name, MAKO_E_CONFIG, "plugin '" name "'", "neither a name", "32", \
                "absolute path");                                                 \
    }

BAD_NAME(upwards, "../evil")
BAD_NAME(with_slash, "a/b")
BAD_NAME(relative_path, "./mako-store-good.so")
BAD_NAME(dot, ".")
BAD_NAME(dots, "..")
BAD_NAME(of_33_characters, "abcdefghijklmnopqrstuvwxyz-123456")
BAD_NAME(upper_case, "Good")
BAD_NAME(leading_dash, "-good")
BAD_NAME(with_blank, "go od")
BAD_NAME(with_extension, "good.so")
BAD_NAME(not_ascii, "g\xc3\xb6\xc3\xb6"
                    "d")

BAD_NAME(with_a_section_sign, "go\xc2\xa7"
                              "d")

Test(names, of_32_characters)
{
    REFUSED("abcdefghijklmnopqrstuvwxyz-12345", MAKO_E_CONFIG,
            "no mako-store-abcdefghijklmnopqrstuvwxyz-12345.so");
}

/* JSON can say NUL; a C string would end there and mean another plugin. */
Test(names, with_nul)
{
    const char *json = config_of("good\\u0000evil", "");
    mako_store *store = NULL;
    struct mako_error err = {{0}};

    install_plugin("good");
    cr_expect(mako_store_open_json(json, strlen(json), "test", &store, &err) ==
              MAKO_E_CONFIG);
    cr_expect(store == NULL);
    HAS(err.text, "u0000");
    cr_expect(constructed() == 0);
}

Test(names, endless)
{
    char name[2 * PATH_MAX];

    memset(name, 'a', sizeof name);
    name[sizeof name - 1] = '\0';
    REFUSED(name, MAKO_E_CONFIG, "plugin 'aaaa");
    name[0] = '/';
    REFUSED(name, MAKO_E_CONFIG, "plugin '/aaaa", "too long");
}

/* ---- search ---------------------------------------------------------------------- */

static const char *in_dir(const char *dir, const char *fault, const char *name)
{
    return copy_plugin(fault, text("%s/mako-store-%s.so", dir, name));
}

#define GIVES(config, name, want)                          \
    do {                                                   \
        const char *got = described(config, name, "path"); \
                                                           \
        cr_expect_str_eq(got, want);                       \
    } while (0)

Test(search, configured_directories_in_order)
{
    const char *a = make_dir(below("a")), *b = make_dir(below("b"));
    const char *in_b = in_dir(b, "good", "good");
    const char *in_a;

    GIVES(config_file(text("\"%s\", \"%s\"", a, b)), "good", in_b);
    in_a = in_dir(a, "good", "good");
    GIVES(config_file(text("\"%s\", \"%s\"", a, b)), "good", in_a);
    GIVES(config_file(text("\"%s\", \"%s\"", b, a)), "good", in_b);
}

Test(search, configured_before_environment)
{
    const char *a = make_dir(below("a")), *b = make_dir(below("b"));
    const char *in_a = in_dir(a, "good", "good"), *in_b = in_dir(b, "good", "good");

    setenv("MAKO_PLUGIN_PATH", b, 1);
    GIVES(config_file(text("\"%s\"", a)), "good", in_a);
    GIVES(NULL, "good", in_b);
}

Test(search, environment_in_order)
{
    const char *a = make_dir(below("a")), *b = make_dir(below("b"));
    const char *in_a = in_dir(a, "good", "good");

    in_dir(b, "good", "good");
    setenv("MAKO_PLUGIN_PATH", text("/nowhere/at/all::%s:%s", a, b), 1);
    GIVES(NULL, "good", in_a);
}

Test(search, environment_before_built_in)
{
    const char *dir = make_dir(below("a"));
    size_t len;
    unsigned char *bytes = read_file(BUILT_IN "/mako-store-noop.so", &len);
    const char *copy = make_file(text("%s/mako-store-noop.so", dir), bytes, len);

    setenv("MAKO_PLUGIN_PATH", dir, 1);
    GIVES(NULL, "noop", copy);
}

Test(search, built_in_is_beside_the_library)
{
    char *real = realpath(BUILT_IN, NULL);

    cr_assert(real != NULL);
    GIVES(NULL, "noop", text("%s/mako-store-noop.so", real));
    free(real);
}

Test(search, relative_directory_in_the_file_starts_at_the_file)
{
    const char *in_a = in_dir(make_dir(below("a")), "good", "good");

    cr_assert(chdir("/") == 0);
    GIVES(config_file("\"a\""), "good", in_a);
}

Test(search, relative_directory_in_the_environment)
{
    in_dir(make_dir(below("a")), "good", "good");
    cr_assert(chdir(scratch()) == 0);
    setenv("MAKO_PLUGIN_PATH", "a", 1);
    REFUSED("good", MAKO_E_CONFIG, "plugin 'good'", "'a'", "relative");
    cr_expect(constructed() == 0);
}

Test(search, nowhere)
{
    setenv("MAKO_PLUGIN_PATH", "/nowhere/at/all", 1);
    REFUSED("good", MAKO_E_CONFIG, "plugin 'good'", "no mako-store-good.so in",
            "/nowhere/at/all");
}

/* As if it were not set. */
Test(search, an_empty_environment)
{
    char *real = realpath(BUILT_IN, NULL);

    cr_assert(real != NULL);
    setenv("MAKO_PLUGIN_PATH", "", 1);
    GIVES(NULL, "noop", text("%s/mako-store-noop.so", real));
    free(real);
}

/* A directory whose files have no name that the system would take. */
Test(search, an_endless_directory)
{
    char *dir = malloc(PATH_MAX + 1);

    cr_assert_not_null(dir);
    memset(dir, 'a', PATH_MAX);
    dir[0] = '/';
    dir[PATH_MAX] = '\0';
    setenv("MAKO_PLUGIN_PATH", dir, 1);
    REFUSED("good", MAKO_E_CONFIG, "plugin 'good'", "no mako-store-good.so in", "/aaaa");
    free(dir);
}

/* Only the whole of "mako-store-NAME.so" says what a plugin must be called. */
Test(search, names_that_say_nothing)
{
    static const char *const names[] = {"mako-store-", "mako-store-bad", "mako-store-.s",
                                        "store-bad.so", "mako-store-bad.dll"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = copy_plugin("good", below(names[i]));

        GIVES(NULL, path, path);
    }
}

/* A bad file hides a good one further on: the order of search is not a matter of luck. */
Test(search, first_found_is_the_one)
{
    const char *a = make_dir(below("a")), *b = make_dir(below("b"));
    const char *bad = in_dir(a, "abi_2", "good");
    struct mako_error err = {{0}};

    in_dir(b, "good", "good");
    cr_expect(describe(config_file(text("\"%s\", \"%s\"", a, b)), "good", "", NULL,
                       &err) == MAKO_E_PLUGIN);
    HAS(err.text, bad);
}

/* ---- one file, several names ------------------------------------------------------ */

Test(search, one_file_is_loaded_once)
{
    const char *path = install_plugin("good"), *link = below("another.so");

    cr_assert(symlink(path, link) == 0);
    GIVES(NULL, path, path);
    (void)described(NULL, path, "path");
    (void)described(NULL, link, "path");
    (void)described(config_file(text("\"%s\"", scratch())), "good", "path");
    (void)described(NULL, text("%s/./mako-store-good.so", scratch()), "path");
    cr_expect(constructed() == 1, "mapped %d times", constructed());
    cr_expect(entered() == 1, "asked %d times", entered());
}

Test(search, a_second_name_must_be_its_own_too)
{
    const char *path = install_plugin("good"), *other = below("mako-store-other.so");
    const char *config = config_file(text("\"%s\"", scratch()));
    struct mako_error err = {{0}};

    cr_assert(link(path, other) == 0);
    GIVES(config, "good", path);
    cr_expect(describe(config, "other", "", NULL, &err) == MAKO_E_PLUGIN);
    HAS(err.text, other, "'good'", "'other'");
    REFUSED(other, MAKO_E_PLUGIN, other, "'good'", "'other'");
    cr_expect(constructed() == 1 && entered() == 1);
}

/* Only a file called mako-store-NAME.so says who it is. */
Test(search, a_file_of_any_name_by_its_path)
{
    const char *path = copy_plugin("good", below("libacme.so.3"));

    GIVES(NULL, path, path);
}

/* ---- what is not even mapped ------------------------------------------------------ */

Test(files, missing)
{
    const char *path = below("mako-store-good.so");

    REFUSED(path, MAKO_E_CONFIG, path, "No such file");
}

Test(files, missing_directory)
{
    REFUSED("/nowhere/at/all.so", MAKO_E_CONFIG, "/nowhere/at/all.so", "No such file");
}

Test(files, directory)
{
    const char *path = make_dir(below("mako-store-good.so"));

    REFUSED(path, MAKO_E_CONFIG, path, "not a regular file");
    REFUSED("/", MAKO_E_CONFIG, "/", "not a regular file");
}

/* Opening it would wait for a writer. */
Test(files, fifo)
{
    const char *path = below("mako-store-good.so");

    cr_assert(mkfifo(path, 0600) == 0);
    REFUSED(path, MAKO_E_CONFIG, path, "not a regular file");
}

Test(files, device)
{
    REFUSED("/dev/null", MAKO_E_CONFIG, "/dev/null", "not a regular file");
}

Test(files, dangling_link)
{
    const char *path = below("mako-store-good.so");

    cr_assert(symlink("/nowhere/at/all", path) == 0);
    REFUSED(path, MAKO_E_CONFIG, path, "No such file");
}

Test(files, link_to_itself)
{
    const char *path = below("mako-store-good.so");

    cr_assert(symlink(path, path) == 0);
    REFUSED(path, MAKO_E_CONFIG, path, "symbolic links");
}

Test(files, link_to_a_good_file)
{
    const char *target = in_dir(make_dir(below("real")), "good", "good");
    const char *path = below("mako-store-good.so");

    cr_assert(symlink(target, path) == 0);
    GIVES(NULL, path, path);
}

/* Relative ones, too, and through directories that are links. */
Test(files, chain_of_links)
{
    const char *real = make_dir(below("real")), *middle = make_dir(below("middle"));
    const char *path = below("mako-store-good.so");

    in_dir(real, "good", "good");
    cr_assert(symlink("real", below("alias")) == 0);
    cr_assert(symlink("../alias/mako-store-good.so", text("%s/one.so", middle)) == 0);
    cr_assert(symlink(text("%s/one.so", middle), below("two.so")) == 0);
    cr_assert(symlink("two.so", path) == 0);
    GIVES(NULL, path, path);
    cr_expect(constructed() == 1);
}

static bool is_mapped(const char *path)
{
    for (const struct link_map *m = _r_debug.r_map; m; m = m->l_next)
        if (strcmp(m->l_name, path) == 0)
            return true;
    return false;
}

/* What was checked is what is opened: a link may lead elsewhere in the meantime. */
Test(files, opened_by_its_own_name)
{
    const char *target = in_dir(make_dir(below("real")), "good", "good");
    const char *path = below("mako-store-good.so");
    char *real = realpath(target, NULL);

    cr_assert(real != NULL && symlink(target, path) == 0);
    GIVES(NULL, path, path);
    cr_expect(is_mapped(real) && !is_mapped(path));
    free(real);
}

/* Messages have the name that was asked for. */
Test(files, link_to_a_file_with_an_undefined_symbol)
{
    const char *target = in_dir(make_dir(below("real")), "undefined_symbol", "x");
    const char *path = below("mako-store-x.so");

    cr_assert(symlink(target, path) == 0);
    REFUSED(path, MAKO_E_PLUGIN, text("%s: undefined symbol", path));
}

Test(files, empty)
{
    const char *path = make_file(below("mako-store-good.so"), "", 0);

    REFUSED(path, MAKO_E_PLUGIN, path, "not an ELF file");
}

Test(files, text)
{
    static const char script[] = "#!/bin/sh\necho plugin, honestly; exit 0 # and so on\n"
                                 "# more than the header of an object file is long\n";
    const char *path = make_file(below("mako-store-good.so"), script, sizeof script - 1);

    REFUSED(path, MAKO_E_PLUGIN, path, "not an ELF file");
}

/* How much of an object is mapped; what follows is for debuggers. */
static size_t mapped_size(const unsigned char *bytes)
{
    ElfW(Ehdr) head;
    size_t end = 0;

    memcpy(&head, bytes, sizeof head);
    for (size_t i = 0; i < head.e_phnum; i++) {
        ElfW(Phdr) part;

        memcpy(&part, bytes + head.e_phoff + i * sizeof part, sizeof part);
        if (part.p_type == PT_LOAD && part.p_offset + part.p_filesz > end)
            end = part.p_offset + part.p_filesz;
    }
    return end;
}

/* The first len bytes of a good plugin; len 0: all but the last byte that is mapped. */
static void cut_off(size_t len)
{
    size_t whole;
    unsigned char *bytes = read_file(install_plugin("good"), &whole);
    const char *path = below("cut.so");

    if (len == 0)
        len = mapped_size(bytes) - 1;
    make_file(path, bytes, len);
    REFUSED(path, MAKO_E_PLUGIN, path, "cut off", text("%zu", len));
    cr_expect(constructed() == 0);
}

Test(files, truncated_in_the_header)
{
    cut_off(sizeof(ElfW(Ehdr)) - 1);
}

Test(files, truncated_in_the_program_headers)
{
    cut_off(sizeof(ElfW(Ehdr)) + sizeof(ElfW(Phdr)) / 2);
}

/* Mapped, its missing pages would raise SIGBUS. */
Test(files, truncated_after_one_page)
{
    cut_off(4096);
}

Test(files, truncated_by_one_byte)
{
    cut_off(0);
}

/* A good plugin with one changed header field. */
static const char *patched(size_t at, uint16_t value, uint16_t *old)
{
    size_t len;
    unsigned char *bytes = read_file(install_plugin("good"), &len);

    memcpy(old, bytes + at, sizeof *old);
    memcpy(bytes + at, &value, sizeof value);
    return make_file(below("patched.so"), bytes, len);
}

/* No file reaches so far; the system does not read there. */
Test(files, program_headers_at_a_negative_offset)
{
    uint16_t old;
    const char *path = patched(offsetof(ElfW(Ehdr), e_phoff) + 6, 0xffff, &old);

    REFUSED(path, MAKO_E_PLUGIN, path, "cut off");
}

Test(files, other_machine)
{
    uint16_t old;
    const char *path = patched(offsetof(ElfW(Ehdr), e_machine), EM_SPARCV9, &old);

    REFUSED(path, MAKO_E_PLUGIN, path, "machine", text("%u", EM_SPARCV9),
            text("%u", old));
}

Test(files, other_word_size)
{
    uint16_t old;
    const char *path = patched(EI_CLASS, 1 | ELFDATA2LSB << 8, &old);

    REFUSED(path, MAKO_E_PLUGIN, path);
}

Test(files, other_byte_order)
{
    uint16_t old;
    const char *path = patched(EI_DATA, ELFDATA2MSB | EV_CURRENT << 8, &old);

    REFUSED(path, MAKO_E_PLUGIN, path, "built for another machine");
}

Test(files, program)
{
    REFUSED(SOME_PROGRAM, MAKO_E_PLUGIN, SOME_PROGRAM);
}

Test(files, missing_dependency)
{
    const char *path = install_plugin("missing_dependency");

    REFUSED(path, MAKO_E_PLUGIN, path, "libmako-test-elsewhere.so", "dependency", "ldd");
}

/* Found when it is loaded, not at the first call. */
Test(files, undefined_symbol)
{
    const char *path = install_plugin("undefined_symbol");

    REFUSED(path, MAKO_E_PLUGIN, path, "undefined symbol: mako_test_defined_nowhere");
}

/* The dynamic loader would put something else there, which nobody has checked. */
Test(files, dollar_in_the_path)
{
    const char *dir = make_dir(below("$ORIGIN"));
    const char *path = in_dir(dir, "good", "good");
    struct mako_error err = {{0}};

    cr_expect(describe(NULL, path, "", NULL, &err) == MAKO_E_CONFIG);
    HAS(err.text, path, "'$'");
}

/* Nor in that of the file that a link leads to. */
Test(files, link_to_a_path_with_a_dollar)
{
    const char *target = in_dir(make_dir(below("$ORIGIN")), "good", "good");
    const char *link = below("mako-store-good.so");

    cr_assert(symlink(target, link) == 0);
    REFUSED(link, MAKO_E_CONFIG, target, "'$'");
}

/* ---- who may have written it ------------------------------------------------------- */

static void set_mode(const char *path, mode_t mode)
{
    cr_assert(chmod(path, mode) == 0);
}

Test(owners, world_writable_file)
{
    const char *path = install_plugin("good");

    set_mode(path, 0757);
    REFUSED(path, MAKO_E_CONFIG, path, "writable by others", "0757");
    cr_expect(constructed() == 0);
}

Test(owners, world_writable_directory)
{
    const char *dir = make_dir(below("open"));
    const char *path = in_dir(dir, "good", "good");

    set_mode(dir, 0777);
    REFUSED(path, MAKO_E_CONFIG, dir, "writable by others", "0777");
    set_mode(dir, 01777); /* like /tmp: others may put files there */
    REFUSED(path, MAKO_E_CONFIG, dir, "writable by others", "1777");
    cr_expect(constructed() == 0);
}

Test(owners, link_into_a_world_writable_directory)
{
    const char *dir = make_dir(below("open")), *link = below("mako-store-good.so");

    cr_assert(symlink(in_dir(dir, "good", "good"), link) == 0);
    set_mode(dir, 0777);
    REFUSED(link, MAKO_E_CONFIG, dir, "writable by others", "0777");
    cr_expect(constructed() == 0);
}

/* Whoever writes the directory of a link chooses the file. */
Test(owners, link_in_a_world_writable_directory)
{
    const char *dir = make_dir(below("open")), *target = install_plugin("good");
    const char *link = text("%s/mako-store-good.so", dir);

    cr_assert(symlink(target, link) == 0);
    set_mode(dir, 0777);
    REFUSED(link, MAKO_E_CONFIG, dir, "writable by others", "0777");
    cr_expect(constructed() == 0);
}

/* Nor is who writes the directory of a link in between. */
Test(owners, link_by_way_of_a_world_writable_directory)
{
    const char *dir = make_dir(below("open")), *link = below("mako-store-good.so");
    const char *middle = text("%s/middle.so", dir);

    cr_assert(symlink(in_dir(make_dir(below("real")), "good", "good"), middle) == 0);
    cr_assert(symlink("open/middle.so", link) == 0);
    set_mode(dir, 0777);
    REFUSED(link, MAKO_E_CONFIG, dir, "writable by others", "0777");
    cr_expect(constructed() == 0);
}

Test(owners, group_writable_by_the_own_group)
{
    const char *path = install_plugin("good");

    cr_assert(chown(path, (uid_t)-1, getegid()) == 0);
    set_mode(path, 0775);
    GIVES(NULL, path, path);
}

Test(owners, group_writable_where_root_owns_it)
{
    const char *path = install_plugin("good");

    if (geteuid() != 0)
        skip("only root makes files of root");
    cr_assert(chown(path, 0, 12345) == 0);
    set_mode(path, 0775);
    GIVES(NULL, path, path);
}

Test(owners, group_writable_by_another_group)
{
    const char *path = install_plugin("good"), *dir = make_dir(below("shared"));
    const char *inside = in_dir(dir, "good", "good");

    if (geteuid() != 0)
        skip("only root gives files to other groups");
    cr_assert(chown(path, 65534, 12345) == 0 && chown(inside, 65534, 65534) == 0 &&
              chown(dir, 65534, 12345) == 0);
    set_mode(path, 0775);
    set_mode(dir, 0775);
    become_nobody();
    REFUSED(path, MAKO_E_CONFIG, path, "writable by group 12345", "0775");
    REFUSED(inside, MAKO_E_CONFIG, dir, "writable by group 12345", "0775");
    cr_expect(constructed() == 0);
}

Test(owners, another_user)
{
    const char *path = install_plugin("good"), *dir = make_dir(below("theirs"));
    const char *inside = in_dir(dir, "good", "good");

    if (geteuid() != 0)
        skip("only root gives files away");
    cr_assert(chown(path, 12345, 0) == 0 && chown(dir, 12345, 0) == 0);
    REFUSED(path, MAKO_E_CONFIG, path, "owned by user 12345", "root");
    REFUSED(inside, MAKO_E_CONFIG, dir, "owned by user 12345", "root");
    cr_expect(constructed() == 0);
}

/* The caller's own group may write, whoever the caller is. */
Test(owners, group_writable_by_the_group_of_a_user)
{
    const char *path = install_plugin("good");

    if (geteuid() != 0)
        skip("only root gives files away");
    cr_assert(chown(path, 65534, 65534) == 0);
    set_mode(path, 0775);
    become_nobody();
    GIVES(NULL, path, path);
}

Test(owners, unreadable)
{
    const char *path = install_plugin("good");

    set_mode(path, 0);
    become_nobody();
    REFUSED(path, MAKO_E_CONFIG, path, "Permission denied");
}

Test(owners, root_is_trusted_by_everybody)
{
    const char *path = install_plugin("good");

    become_nobody();
    GIVES(NULL, path, path);
}

/* ---- set-user-id programs ------------------------------------------------------------
 */

/* The exit status of probe with these words, or -1. */
static int run(const char *probe, const char *words)
{
    int status = system(text("%s %s >/dev/null 2>&1", probe, words));

    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(owners, environment_is_ignored_where_privileges_were_raised)
{
    const char *probe = below("probe");
    size_t len;
    unsigned char *bytes = read_file(PROBE, &len);

    if (geteuid() != 0)
        skip("only root can make a program of another user");
    install_plugin("good");
    setenv("MAKO_PLUGIN_PATH", scratch(), 1);
    make_file(probe, bytes, len);
    cr_assert(chown(probe, 65534, 65534) == 0);
    cr_expect(run(probe, "describe good") == 0, "not found without raised privileges");
    cr_assert(chmod(probe, 04755) == 0);
    if (run(probe, "secure") != 0)
        skip("set-user-id programs do not work here");
    cr_expect(run(probe, "describe good") == 3, "MAKO_PLUGIN_PATH was obeyed");
}
