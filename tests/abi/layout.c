/* tests/abi/layout.c - what no later version may change: the numbers of the statuses and
 * flags, and where each member of each public struct lies.  Structs that grow do so by
 * appending, so their size is not pinned; those that stand in arrays are frozen.
 *
 * Compiled against the headers as they are, and, for what plugins see, against the copy
 * of the first version below v1. */
#include <mako/store_plugin.h>
#ifndef PLUGIN_HALF
#include <mako/process.h>
#endif

#define IS(what, number)      _Static_assert((what) == (number), #what)
#define AT(type, member, off) IS(offsetof(struct type, member), off)
#define FROZEN(type, size)    IS(sizeof(struct type), size)

IS(MAKO_OK, 0);
IS(MAKO_NOT_FOUND, 1);
IS(MAKO_SCHEMA_OLDER, 2);
IS(MAKO_SCHEMA_NEWER, 3);
IS(MAKO_AHEAD, 4);
IS(MAKO_DAMAGED, 5);
IS(MAKO_STALE, 6);
IS(MAKO_REFUSED, 7);
IS(MAKO_FOREIGN, 8);
IS(MAKO_DIVERGED, 9);
IS(MAKO_NOT_DUE, 10);
IS(MAKO_TOO_LARGE, 11);
IS(MAKO_E_INVALID, -1);
IS(MAKO_E_NOMEM, -2);
IS(MAKO_E_CONFIG, -3);
IS(MAKO_E_IO, -4);
IS(MAKO_E_UNAVAILABLE, -5);
IS(MAKO_E_LIMIT, -6);
IS(MAKO_E_UNSUPPORTED, -7);
IS(MAKO_E_PLUGIN, -8);
IS(MAKO_E_FORKED, -9);
IS(MAKO_E_CALLBACK, -10);
IS(MAKO_E_NO_SPACE, -11);

IS(MAKO_STORE_ABI, 1);
IS(MAKO_SAVE_IF_NEWER, 1);
IS(MAKO_OPEN_READ_ONLY, 1);
IS(MAKO_FEATURE_EARLY_META, 1);
IS(MAKO_FEATURE_SHARED, 2);
IS(MAKO_FEATURE_IF_NEWER, 4);
IS(MAKO_LOG_ERROR, 0);
IS(MAKO_LOG_WARN, 1);
IS(MAKO_LOG_INFO, 2);
IS(MAKO_LOG_DEBUG, 3);
IS(MAKO_OPT_STRING, 1);
IS(MAKO_OPT_BOOL, 2);
IS(MAKO_OPT_INT, 3);
IS(MAKO_OPT_SIZE, 4);
IS(MAKO_OPT_DURATION, 5);
IS(MAKO_OPT_PATH, 6);
IS(MAKO_OPT_REQUIRED, 1);
IS(MAKO_OPT_SECRET, 2);
IS(MAKO_DURABLE_NONE, 0);
IS(MAKO_DURABLE_MEMORY, 1);
IS(MAKO_DURABLE_CRASH, 2);
IS(MAKO_DURABLE_POWER, 3);
IS(MAKO_THREADS_PLUGIN, 0);
IS(MAKO_THREADS_STORE, 1);
IS(MAKO_THREADS_PARALLEL, 2);

/* Offsets are those of machines with 64-bit pointers; elsewhere there is no promise yet.
 */
#if UINTPTR_MAX == UINT64_MAX

IS(MAKO_STORE_PLUGIN_MIN_SIZE, 104);
IS(sizeof(union mako_value), 8);

AT(mako_error, text, 0);
FROZEN(mako_error, 512);

AT(mako_str, ptr, 0);
AT(mako_str, len, 8);
FROZEN(mako_str, 16);

AT(mako_meta, seq, 0);
AT(mako_meta, schema, 8);
AT(mako_meta, reserved, 12);
AT(mako_meta, created_ms, 16);
FROZEN(mako_meta, 24);

AT(mako_record, stream, 0);
AT(mako_record, meta, 16);
AT(mako_record, flags, 40);
AT(mako_record, reserved, 44);
AT(mako_record, blob, 48);
AT(mako_record, blob_len, 56);
FROZEN(mako_record, 64);

AT(mako_option, name, 0);
AT(mako_option, help, 8);
AT(mako_option, fallback, 16);
AT(mako_option, choices, 24);
AT(mako_option, type, 32);
AT(mako_option, flags, 36);
AT(mako_option, min, 40);
AT(mako_option, max, 48);

AT(mako_host, struct_size, 0);
AT(mako_host, abi, 4);
AT(mako_host, ctx, 8);
AT(mako_host, store_name, 16);
AT(mako_host, max_blob, 24);
AT(mako_host, log, 32);

AT(mako_sink, struct_size, 0);
AT(mako_sink, reserved, 4);
AT(mako_sink, accept, 8);
AT(mako_sink, lend, 16);

AT(mako_visitor, struct_size, 0);
AT(mako_visitor, reserved, 4);
AT(mako_visitor, entry, 8);

AT(mako_counters, struct_size, 0);
AT(mako_counters, reserved, 4);
AT(mako_counters, add, 8);

AT(mako_progress, struct_size, 0);
AT(mako_progress, reserved, 4);
AT(mako_progress, step, 8);

AT(mako_traits, struct_size, 0);
AT(mako_traits, flags, 4);
AT(mako_traits, durability, 8);
AT(mako_traits, threads, 12);
AT(mako_traits, features, 16);

AT(mako_store_plugin, struct_size, 0);
AT(mako_store_plugin, abi, 4);
AT(mako_store_plugin, option_size, 8);
AT(mako_store_plugin, reserved, 12);
AT(mako_store_plugin, name, 16);
AT(mako_store_plugin, version, 24);
AT(mako_store_plugin, summary, 32);
AT(mako_store_plugin, durability, 40);
AT(mako_store_plugin, threads, 44);
AT(mako_store_plugin, features, 48);
AT(mako_store_plugin, options, 56);
AT(mako_store_plugin, open, 64);
AT(mako_store_plugin, close, 72);
AT(mako_store_plugin, save, 80);
AT(mako_store_plugin, load, 88);
AT(mako_store_plugin, remove, 96);
AT(mako_store_plugin, scan, 104);
AT(mako_store_plugin, save_many, 112);
AT(mako_store_plugin, load_many, 120);
AT(mako_store_plugin, stats, 128);
AT(mako_store_plugin, compact, 136);

#ifndef PLUGIN_HALF
IS(MAKO_SAVE_FORCE, 1);
IS(MAKO_EXPECT_HEAD, 1);
IS(MAKO_TAKE_NOW, 1);

AT(mako_save, struct_size, 0);
AT(mako_save, flags, 4);
AT(mako_save, seq, 8);
AT(mako_save, anchor, 16);
AT(mako_save, schema, 24);
AT(mako_save, reserved, 28);
AT(mako_save, kind, 32);
AT(mako_save, state, 40);
AT(mako_save, state_len, 48);

AT(mako_expect, struct_size, 0);
AT(mako_expect, flags, 4);
AT(mako_expect, schema_min, 8);
AT(mako_expect, schema_max, 12);
AT(mako_expect, head, 16);
AT(mako_expect, kind, 24);

AT(mako_source, struct_size, 0);
AT(mako_source, flags, 4);
AT(mako_source, path, 8);
AT(mako_source, json, 16);
AT(mako_source, json_len, 24);
AT(mako_source, name, 32);
AT(mako_source, overrides, 40);

AT(mako_info, struct_size, 0);
AT(mako_info, schema_min, 4);
AT(mako_info, schema_max, 8);
AT(mako_info, fail_on_load_failure, 12);
AT(mako_info, name, 16);
AT(mako_info, plugin, 24);
AT(mako_info, plugin_version, 32);
AT(mako_info, plugin_path, 40);
AT(mako_info, durability, 48);
AT(mako_info, threads, 56);
AT(mako_info, features, 64);
AT(mako_info, snapshot_every, 72);
AT(mako_info, max_snapshot, 80);
AT(mako_info, replay_limit, 88);
AT(mako_info, retry_after_ms, 96);

AT(mako_event, seq, 0);
AT(mako_event, anchor, 8);
AT(mako_event, body, 16);
FROZEN(mako_event, 24);

AT(mako_aggregate, struct_size, 0);
AT(mako_aggregate, flags, 4);
AT(mako_aggregate, schema, 8);
AT(mako_aggregate, schema_oldest, 12);
AT(mako_aggregate, kind, 16);
AT(mako_aggregate, create, 24);
AT(mako_aggregate, destroy, 32);
AT(mako_aggregate, apply, 40);
AT(mako_aggregate, encode, 48);
AT(mako_aggregate, decode, 56);
AT(mako_aggregate, read, 64);

AT(mako_how, struct_size, 0);
AT(mako_how, snapshot, 4);
AT(mako_how, schema, 8);
AT(mako_how, reserved, 12);
AT(mako_how, seq, 16);
AT(mako_how, folded, 24);
AT(mako_how, spared, 32);
#endif
#endif

int main(void)
{
    return 0;
}
