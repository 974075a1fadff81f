/* What a plugin says of itself, and what its file exports. */
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "raw.h"

/* ---- the file --------------------------------------------------------------------- */

struct object {
    const unsigned char *bytes;
    size_t len;
};

static bool map_object(struct object *object)
{
    struct stat st;
    int fd = open(raw_binary(), O_RDONLY | O_CLOEXEC);
    void *bytes = MAP_FAILED;

    if (fd >= 0 && fstat(fd, &st) == 0)
        bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (fd >= 0)
        (void)close(fd);
    if (bytes == MAP_FAILED)
        return false;
    object->bytes = bytes;
    object->len = (size_t)st.st_size;
    return true;
}

/* The section header, or NULL where it, or what it points to, is not in the file. */
static const ElfW(Shdr) * section(const struct object *object, size_t index)
{
    const ElfW(Ehdr) *head = (const void *)object->bytes;
    const ElfW(Shdr) * s;

    if (index >= head->e_shnum || head->e_shoff + (index + 1) * sizeof *s > object->len)
        return NULL;
    s = (const void *)(object->bytes + head->e_shoff + index * sizeof *s);
    return s->sh_offset + s->sh_size <= object->len ? s : NULL;
}

static bool of_the_linker(const char *name)
{
    static const char *const names[] = {"_init",  "_fini",       "_edata", "_end",
                                        "_etext", "__bss_start", "_ftext", NULL};

    for (const char *const *n = names; *n; n++)
        if (strcmp(*n, name) == 0)
            return true;
    return false;
}

/* Call each on every global symbol of the dynamic table. */
static bool each_symbol(const struct object *object,
                        void (*each)(void *arg, const char *name, bool defined),
                        void *arg)
{
    const ElfW(Shdr) *table = NULL, *names;
    const ElfW(Sym) * symbols;

    for (size_t i = 0; section(object, i) && !table; i++)
        if (section(object, i)->sh_type == SHT_DYNSYM)
            table = section(object, i);
    names = table ? section(object, table->sh_link) : NULL;
    if (!names)
        return false;
    symbols = (const void *)(object->bytes + table->sh_offset);
    for (size_t i = 1; i < table->sh_size / sizeof *symbols; i++)
        if (ELF64_ST_BIND(symbols[i].st_info) != STB_LOCAL &&
            symbols[i].st_name < names->sh_size)
            each(arg, (const char *)object->bytes + names->sh_offset + symbols[i].st_name,
                 symbols[i].st_shndx != SHN_UNDEF);
    return true;
}

struct symbols {
    char others[300], needed[300];
    bool entry;
};

static void add_name(char *list, size_t room, const char *name)
{
    size_t used = strlen(list);

    (void)snprintf(list + used, room - used, "%s%.80s", used ? ", " : "", name);
}

static void note_symbol(void *arg, const char *name, bool defined)
{
    struct symbols *s = arg;

    if (defined && strcmp(name, "mako_store_plugin_entry") == 0)
        s->entry = true;
    else if (defined && !of_the_linker(name))
        add_name(s->others, sizeof s->others, name);
    else if (!defined && strncmp(name, "mako_", 5) == 0)
        add_name(s->needed, sizeof s->needed, name);
}

static enum verdict read_symbols(struct trial *t, struct symbols *symbols)
{
    struct object object;

    CHECKF(map_object(&object), "%s: cannot be read", raw_binary());
    if (!each_symbol(&object, note_symbol, symbols))
        return trial_skip(t, "the file has no section headers");
    return PASS;
}

static enum verdict one_symbol_is_exported(struct trial *t)
{
    struct symbols symbols = {.entry = false};

    TRY(read_symbols(t, &symbols));
    CHECKF(symbols.entry, "mako_store_plugin_entry is not exported");
    CHECKF(!symbols.others[0], "also exported: %s", symbols.others);
    return PASS;
}

static enum verdict nothing_of_the_library_is_needed(struct trial *t)
{
    struct symbols symbols = {.entry = false};

    TRY(read_symbols(t, &symbols));
    CHECKF(!symbols.needed[0], "needed from elsewhere: %s", symbols.needed);
    return PASS;
}

/* ---- the descriptor --------------------------------------------------------------- */

static enum verdict the_abi_is_known(struct trial *t)
{
    const struct mako_store_plugin *d = raw_descriptor_of();

    CHECKF(d, "the entry returned NULL");
    CHECKF(d->abi == MAKO_STORE_ABI, "abi is %u, not %u", d->abi, MAKO_STORE_ABI);
    CHECKF(d->struct_size >= MAKO_STORE_PLUGIN_MIN_SIZE,
           "struct_size is %u, at least %zu", d->struct_size, MAKO_STORE_PLUGIN_MIN_SIZE);
    CHECKF((d->struct_size - MAKO_STORE_PLUGIN_MIN_SIZE) % sizeof(void *) == 0,
           "struct_size is %u: half a pointer", d->struct_size);
    return PASS;
}

static bool good_name(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    return len >= 1 && len <= 32 && name[0] != '-' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static enum verdict one_line(struct trial *t, const char *member, const char *text)
{
    CHECKF(text && *text, "%s is %s", member, text ? "empty" : "NULL");
    CHECKF(strlen(text) <= 200 && !strpbrk(text, "\n\r\t"), "%s is not one line", member);
    return PASS;
}

static enum verdict names_are_names(struct trial *t)
{
    const char *base = strrchr(raw_binary(), '/') + 1;
    char want[64];

    CHECKF(!raw_unusable(), "%s", raw_unusable());
    CHECKF(good_name(raw_ops.name), "the name is '%.60s'",
           raw_ops.name ? raw_ops.name : "NULL");
    (void)snprintf(want, sizeof want, "mako-store-%s.so", raw_ops.name);
    CHECKF(strncmp(base, "mako-store-", 11) != 0 || strcmp(base, want) == 0,
           "the file is called %.100s, the name is '%s'", base, raw_ops.name);
    TRY(one_line(t, "version", raw_ops.version));
    return one_line(t, "summary", raw_ops.summary);
}

static enum verdict promises_are_known(struct trial *t)
{
    CHECKF(!raw_unusable(), "%s", raw_unusable());
    CHECKF(raw_ops.durability <= MAKO_DURABLE_POWER, "durability is %u",
           raw_ops.durability);
    CHECKF(raw_ops.threads <= MAKO_THREADS_PARALLEL, "threads is %u", raw_ops.threads);
    return PASS;
}

static enum verdict required_operations_are_there(struct trial *t)
{
    const struct mako_store_plugin *d = raw_descriptor_of();

    CHECKF(d, "the entry returned NULL");
    CHECKF(d->open && d->close && d->save && d->load && d->remove,
           "open, close, save, load and remove are required; one is NULL");
    return PASS;
}

/* ---- the options ------------------------------------------------------------------ */

static bool is_number(const struct mako_option *row)
{
    return row->type == MAKO_OPT_INT || row->type == MAKO_OPT_SIZE ||
           row->type == MAKO_OPT_DURATION;
}

static enum verdict check_row(struct trial *t, const struct mako_option *row)
{
    bool required = row->flags & MAKO_OPT_REQUIRED;

    CHECKF(row->name[0] && strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_") ==
                               strlen(row->name),
           "an option is called '%.60s'", row->name);
    CHECKF(row->type >= MAKO_OPT_STRING && row->type <= MAKO_OPT_PATH,
           "option %s: type %u", row->name, row->type);
    CHECKF(row->help && *row->help && !strchr(row->help, '\n'),
           "option %s: no help, or several lines of it", row->name);
    CHECKF(!(required && row->fallback), "option %s: required, with a fallback",
           row->name);
    CHECKF(required || row->fallback || row->type == MAKO_OPT_STRING ||
               row->type == MAKO_OPT_PATH,
           "option %s: neither required nor a fallback", row->name);
    CHECKF(!is_number(row) || row->min <= row->max, "option %s: min is above max",
           row->name);
    return PASS;
}

static void no_line(void *arg, const char *key, const char *value)
{
    (void)arg, (void)key, (void)value;
}

/* Each row, and then the library's own opinion: fallbacks, repeats. */
static enum verdict options_are_described(struct trial *t)
{
    struct mako_error err = {""};

    CHECKF(!raw_unusable(), "%s", raw_unusable());
    CHECKF(raw_option_count() < 256, "an option table without an end");
    for (size_t i = 0; i < raw_option_count(); i++)
        TRY(check_row(t, raw_option(i)));
    STATUS(mako_plugin_describe(NULL, raw_binary(), no_line, NULL, &err), MAKO_OK);
    return PASS;
}

/* What open, save and load must leave alone. */
static enum verdict the_descriptor_does_not_change(struct trial *t)
{
    struct mako_store_plugin before;
    struct raw_store s;

    CHECKF(!raw_unusable(), "%s", raw_unusable());
    before = raw_ops;
    TRY(raw_open_well(t, &s));
    WANT(raw_save(&s, (struct raw_record){.stream = "a", .seq = 1, .len = 200}), MAKO_OK);
    TRY(raw_holds(t, &s, (struct raw_record){.stream = "a", .seq = 1, .len = 200}));
    raw_close(&s);
    CHECK(memcmp(&before, raw_descriptor_of(),
                 before.struct_size < sizeof before ? before.struct_size
                                                    : sizeof before) == 0);
    return PASS;
}

const struct test_case raw_descriptor[] = {
    {"one_symbol_is_exported", one_symbol_is_exported},
    {"nothing_of_the_library_is_needed", nothing_of_the_library_is_needed},
    {"the_abi_is_known", the_abi_is_known},
    {"names_are_names", names_are_names},
    {"promises_are_known", promises_are_known},
    {"required_operations_are_there", required_operations_are_there},
    {"options_are_described", options_are_described},
    {"the_descriptor_does_not_change", the_descriptor_does_not_change},
    {NULL, NULL},
};
