// rust - a store plugin in Rust, without a crate: a map in memory.
//
// Three things differ from a program.  No panic may leave a plugin: every function that
// may panic runs inside guarded().  A plugin does not end the process: what may lack memory
// is asked for with try_reserve.  And .threads says STORE: the core lets in one call at a
// time, so that the map may be changed without a lock.
#![deny(unsafe_op_in_unsafe_fn)]

mod mako;

use mako::*;
use std::alloc::{alloc, Layout};
use std::collections::HashMap;
use std::fmt::{Arguments, Write};
use std::os::raw::{c_char, c_void};
use std::panic::{catch_unwind, AssertUnwindSafe};

struct Snapshot {
    meta: Meta,
    blob: Vec<u8>,
}

type Store = HashMap<Vec<u8>, Snapshot>;

/// What is known of a failure: a status, and the sentence is in the host's buffer.
type Outcome = Result<i32, i32>;

/// The host's buffer, of which a NUL at the end is left.
struct Text<'a>(&'a mut [u8]);

impl Write for Text<'_> {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let len = part.len().min(self.0.len() - 1);
        let (here, rest) = std::mem::take(&mut self.0).split_at_mut(len);

        here.copy_from_slice(&part.as_bytes()[..len]);
        rest[0] = 0;
        self.0 = rest;
        Ok(())
    }
}

fn fail(err: &mut Error, status: i32, sentence: Arguments) -> i32 {
    let _ = Text(&mut err.text).write_fmt(sentence);
    status
}

/// What panics becomes a status and a sentence.
fn guarded(err: *mut Error, work: impl FnOnce(&mut Error) -> Outcome) -> i32 {
    let err = unsafe { &mut *err };

    match catch_unwind(AssertUnwindSafe(|| work(err))) {
        Ok(Ok(status)) | Ok(Err(status)) => status,
        Err(payload) => {
            std::mem::forget(payload); // to free it might panic again
            fail(err, E_IO, format_args!("a panic in the plugin"))
        }
    }
}

/// Nobody else has it until the call is over.
unsafe fn store_of<'a>(store: *mut c_void) -> &'a mut Store {
    unsafe { &mut *store.cast::<Store>() }
}

unsafe fn bytes_of<'a>(ptr: *const u8, len: usize) -> &'a [u8] {
    match len {
        0 => &[],
        _ => unsafe { std::slice::from_raw_parts(ptr, len) },
    }
}

fn copy_of(bytes: &[u8], err: &mut Error) -> Result<Vec<u8>, i32> {
    let mut copy = Vec::new();

    copy.try_reserve_exact(bytes.len())
        .map_err(|_| fail(err, E_NOMEM, format_args!("no memory for {} bytes", bytes.len())))?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

unsafe extern "C" fn rust_open(
    _host: *const Host,
    _options: *const Value,
    traits: *mut Traits,
    store: *mut *mut c_void,
    err: *mut Error,
) -> i32 {
    guarded(err, |err| {
        let flags = unsafe { (*traits).flags } & !OPEN_READ_ONLY;
        if flags != 0 {
            return Err(fail(err, E_UNSUPPORTED, format_args!("unknown open flags {:#x}", flags)));
        }
        let place = unsafe { alloc(Layout::new::<Store>()) }.cast::<Store>();
        if place.is_null() {
            return Err(fail(err, E_NOMEM, format_args!("no memory for a map")));
        }
        unsafe {
            place.write(Store::new());
            *store = place.cast();
        }
        Ok(OK)
    })
}

unsafe extern "C" fn rust_close(store: *mut c_void) {
    let _ = catch_unwind(|| drop(unsafe { Box::from_raw(store.cast::<Store>()) }));
}

unsafe extern "C" fn rust_save(
    store: *mut c_void,
    record: *const Record,
    err: *mut Error,
) -> i32 {
    guarded(err, |err| {
        let (store, record) = unsafe { (store_of(store), &*record) };
        let flags = record.flags & 0xffff & !SAVE_IF_NEWER;
        if flags != 0 {
            return Err(fail(err, E_UNSUPPORTED, format_args!("unknown record flags {:#x}", flags)));
        }
        let stream = unsafe { bytes_of(record.stream.ptr, record.stream.len) };
        let newer_only = record.flags & SAVE_IF_NEWER != 0;
        if newer_only && store.get(stream).map_or(false, |old| old.meta.seq > record.meta.seq) {
            return Ok(STALE);
        }
        let blob = copy_of(unsafe { bytes_of(record.blob, record.blob_len) }, err)?;
        let stream = copy_of(stream, err)?;
        store
            .try_reserve(1)
            .map_err(|_| fail(err, E_NOMEM, format_args!("no memory for an entry")))?;
        store.insert(stream, Snapshot { meta: record.meta, blob });
        Ok(OK)
    })
}

unsafe extern "C" fn rust_load(
    store: *mut c_void,
    stream: Str,
    sink: *mut Sink,
    err: *mut Error,
) -> i32 {
    guarded(err, |_| {
        let found = unsafe { store_of(store).get(bytes_of(stream.ptr, stream.len)) };
        let snapshot = found.ok_or(NOT_FOUND)?;
        let room = unsafe { ((*sink).accept)(sink, &snapshot.meta, snapshot.blob.len()) };
        if room.is_null() {
            return Err(REFUSED);
        }
        unsafe { room.copy_from_nonoverlapping(snapshot.blob.as_ptr(), snapshot.blob.len()) };
        Ok(OK)
    })
}

unsafe extern "C" fn rust_remove(store: *mut c_void, stream: Str, err: *mut Error) -> i32 {
    guarded(err, |_| {
        let removed = unsafe { store_of(store).remove(bytes_of(stream.ptr, stream.len)) };
        removed.map(|_| OK).ok_or(NOT_FOUND)
    })
}

const fn text(bytes: &'static [u8]) -> *const c_char {
    bytes.as_ptr().cast()
}

static PLUGIN: StorePlugin = StorePlugin {
    struct_size: std::mem::size_of::<StorePlugin>() as u32,
    abi: STORE_ABI,
    option_size: OPTION_SIZE,
    reserved: 0,
    name: text(b"rust\0"),
    version: text(b"1\0"),
    summary: text(b"a map in memory, in Rust\0"),
    durability: DURABLE_MEMORY,
    threads: THREADS_STORE,
    features: FEATURE_EARLY_META | FEATURE_IF_NEWER,
    options: std::ptr::null(),
    open: rust_open,
    close: rust_close,
    save: rust_save,
    load: rust_load,
    remove: rust_remove,
};

/// The one symbol that a cdylib shows.
#[no_mangle]
pub extern "C" fn mako_store_plugin_entry() -> *const StorePlugin {
    &PLUGIN
}
