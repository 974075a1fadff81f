// mako.rs - what a plugin of this size needs of mako/store_plugin.h, in Rust.
//
// Members, their order and their types are the header's; layout.rs holds them against it.

use std::os::raw::{c_char, c_void};

pub const OK: i32 = 0;
pub const NOT_FOUND: i32 = 1;
pub const STALE: i32 = 6;
pub const REFUSED: i32 = 7;
pub const E_NOMEM: i32 = -2;
pub const E_IO: i32 = -4;
pub const E_UNSUPPORTED: i32 = -7;

pub const STORE_ABI: u32 = 1;
pub const SAVE_IF_NEWER: u32 = 1 << 0;
pub const OPEN_READ_ONLY: u32 = 1 << 0;
pub const DURABLE_MEMORY: u32 = 1;
pub const THREADS_STORE: u32 = 1;
pub const FEATURE_EARLY_META: u64 = 1 << 0;
pub const FEATURE_IF_NEWER: u64 = 1 << 2;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str {
    pub ptr: *const u8,
    pub len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Meta {
    pub seq: u64,
    pub schema: u32,
    pub reserved: u32,
    pub created_ms: i64,
}

#[repr(C)]
pub struct Error {
    pub text: [u8; 512],
}

#[repr(C)]
pub struct Record {
    pub stream: Str,
    pub meta: Meta,
    pub flags: u32,
    pub reserved: u32,
    pub blob: *const u8,
    pub blob_len: usize,
}

#[repr(C)]
pub struct Traits {
    pub struct_size: u32,
    pub flags: u32,
    pub durability: u32,
    pub threads: u32,
    pub features: u64,
}

/// Also has lend, behind accept; who takes the room that accept gives needs no more.
#[repr(C)]
pub struct Sink {
    pub struct_size: u32,
    pub reserved: u32,
    pub accept: unsafe extern "C" fn(*mut Sink, *const Meta, usize) -> *mut u8,
}

/// The host's log, and options: this plugin has no use for them.
pub enum Host {}
pub enum Value {}

/// The first two thirds: struct_size says that the optional operations are not there.
#[repr(C)]
pub struct StorePlugin {
    pub struct_size: u32,
    pub abi: u32,
    pub option_size: u32,
    pub reserved: u32,
    pub name: *const c_char,
    pub version: *const c_char,
    pub summary: *const c_char,
    pub durability: u32,
    pub threads: u32,
    pub features: u64,
    pub options: *const c_void,
    pub open: unsafe extern "C" fn(
        *const Host,
        *const Value,
        *mut Traits,
        *mut *mut c_void,
        *mut Error,
    ) -> i32,
    pub close: unsafe extern "C" fn(*mut c_void),
    pub save: unsafe extern "C" fn(*mut c_void, *const Record, *mut Error) -> i32,
    pub load: unsafe extern "C" fn(*mut c_void, Str, *mut Sink, *mut Error) -> i32,
    pub remove: unsafe extern "C" fn(*mut c_void, Str, *mut Error) -> i32,
}

// Its pointers are to what never changes and never ends.
unsafe impl Sync for StorePlugin {}

/// sizeof(struct mako_option), of which this plugin has none.
pub const OPTION_SIZE: u32 = 56;

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::size_of;

    assert!(size_of::<Str>() == 16);
    assert!(size_of::<Meta>() == 24);
    assert!(size_of::<Error>() == 512);
    assert!(size_of::<Record>() == 64);
    assert!(size_of::<Traits>() == 24);
    assert!(size_of::<StorePlugin>() == 104);
};
