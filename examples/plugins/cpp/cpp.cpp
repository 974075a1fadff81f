// cpp - a store plugin in C++17: a map in memory, whose snapshots are lent.
//
// No exception may leave a plugin: every function that may throw runs inside guarded().
// Nothing is freed by hand: a snapshot lives as long as the map or a reader has it.
#include <mako/store_plugin.h>

#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <shared_mutex>
#include <string>
#include <string_view>

namespace
{

struct Snapshot {
    mako_meta meta;
    std::string blob;
};

using SnapshotPtr = std::shared_ptr<const Snapshot>;

struct Store {
    std::shared_mutex lock; // of the map; the snapshots in it never change
    std::map<std::string, SnapshotPtr, std::less<>> snapshots;
};

std::string_view view(mako_str str)
{
    return {str.ptr, str.len};
}

// What is thrown becomes a status and a sentence.
template <typename Work> int guarded(mako_error *err, Work work) noexcept
{
    try {
        return work();
    } catch (const std::bad_alloc &) {
        return mako_fail(err, MAKO_E_NOMEM, "no memory");
    } catch (const std::exception &failure) {
        return mako_fail(err, MAKO_E_IO, "%s", failure.what());
    } catch (...) {
        return mako_fail(err, MAKO_E_IO, "an exception without a name");
    }
}

} // namespace

extern "C" {

static int cpp_open(const mako_host *, const mako_value *, mako_traits *traits,
                    void **store, mako_error *err)
{
    if (traits->flags & ~MAKO_OPEN_READ_ONLY)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown open flags 0x%x",
                         traits->flags);
    return guarded(err, [&] {
        *store = new Store;
        return MAKO_OK;
    });
}

static void cpp_close(void *store)
{
    delete static_cast<Store *>(store);
}

// All that may fail is done before the map is touched; what was replaced is freed after
// it is let go of.
static int cpp_save(void *handle, const mako_record *record, mako_error *err)
{
    if (record->flags & 0xffffu & ~MAKO_SAVE_IF_NEWER)
        return mako_fail(err, MAKO_E_UNSUPPORTED, "unknown record flags 0x%x",
                         record->flags);
    return guarded(err, [&]() -> int {
        auto *store = static_cast<Store *>(handle);
        const auto *bytes = static_cast<const char *>(record->blob);
        SnapshotPtr fresh = std::make_shared<const Snapshot>(
            Snapshot{record->meta, std::string(bytes, record->blob_len)});
        std::string stream(view(record->stream));
        const std::unique_lock<std::shared_mutex> hold(store->lock);
        SnapshotPtr &place = store->snapshots[std::move(stream)];

        if (record->flags & MAKO_SAVE_IF_NEWER && place &&
            place->meta.seq > record->meta.seq)
            return MAKO_STALE;
        place.swap(fresh);
        return MAKO_OK;
    });
}

static SnapshotPtr find(Store *store, mako_str stream)
{
    const std::shared_lock<std::shared_mutex> hold(store->lock);
    const auto found = store->snapshots.find(view(stream));

    return found == store->snapshots.end() ? nullptr : found->second;
}

static void release(void *cookie)
{
    delete static_cast<SnapshotPtr *>(cookie);
}

// The reader gets a share of the snapshot, which it lets go of by release.
static int cpp_load(void *handle, mako_str stream, mako_sink *sink, mako_error *err)
{
    return guarded(err, [&]() -> int {
        const SnapshotPtr found = find(static_cast<Store *>(handle), stream);

        if (!found)
            return MAKO_NOT_FOUND;
        auto share = std::make_unique<SnapshotPtr>(found);

        if (sink->lend(sink, &found->meta, found->blob.data(), found->blob.size(),
                       release, share.get()) != 0)
            return MAKO_REFUSED;
        (void)share.release(); // the host's now
        return MAKO_OK;
    });
}

static int cpp_remove(void *handle, mako_str stream, mako_error *err)
{
    return guarded(err, [&]() -> int {
        auto *store = static_cast<Store *>(handle);
        const std::unique_lock<std::shared_mutex> hold(store->lock);
        const auto found = store->snapshots.find(view(stream));

        if (found == store->snapshots.end())
            return MAKO_NOT_FOUND;
        store->snapshots.erase(found);
        return MAKO_OK;
    });
}

} // extern "C"

// Before C++20 there are no names in an initializer; a function that runs in the compiler
// has them.
static constexpr mako_store_plugin describe()
{
    mako_store_plugin plugin{};

    plugin.struct_size = sizeof plugin;
    plugin.abi = MAKO_STORE_ABI;
    plugin.option_size = sizeof(mako_option);
    plugin.name = "cpp";
    plugin.version = "1";
    plugin.summary = "a map in memory, in C++";
    plugin.durability = MAKO_DURABLE_MEMORY;
    plugin.threads = MAKO_THREADS_PARALLEL;
    plugin.features = MAKO_FEATURE_EARLY_META | MAKO_FEATURE_IF_NEWER;
    plugin.open = cpp_open;
    plugin.close = cpp_close;
    plugin.save = cpp_save;
    plugin.load = cpp_load;
    plugin.remove = cpp_remove;
    return plugin;
}

static constexpr mako_store_plugin plugin = describe();

MAKO_EXPORT_STORE_PLUGIN(plugin)
