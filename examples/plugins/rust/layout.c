/* layout.c - where the header has what mako.rs says; layout.rs compares. */
#include <mako/store_plugin.h>

#define AT(type, member) offsetof(struct mako_##type, member)

extern const size_t mako_layout[];

const size_t mako_layout[] = {
    sizeof(struct mako_str),
    AT(str, ptr),
    AT(str, len),
    sizeof(struct mako_meta),
    AT(meta, seq),
    AT(meta, schema),
    AT(meta, created_ms),
    sizeof(struct mako_error),
    sizeof(struct mako_record),
    AT(record, stream),
    AT(record, meta),
    AT(record, flags),
    AT(record, blob),
    AT(record, blob_len),
    AT(traits, flags),
    AT(traits, durability),
    AT(traits, threads),
    AT(traits, features),
    AT(sink, accept),
    sizeof(struct mako_option),
    MAKO_STORE_PLUGIN_MIN_SIZE,
    AT(store_plugin, abi),
    AT(store_plugin, option_size),
    AT(store_plugin, name),
    AT(store_plugin, version),
    AT(store_plugin, summary),
    AT(store_plugin, durability),
    AT(store_plugin, threads),
    AT(store_plugin, features),
    AT(store_plugin, options),
    AT(store_plugin, open),
    AT(store_plugin, close),
    AT(store_plugin, save),
    AT(store_plugin, load),
    AT(store_plugin, remove),
    MAKO_STORE_ABI,
    SIZE_MAX,
};
