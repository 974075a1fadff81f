// layout.rs - a test: mako.rs has everything where the header, in layout.c, has it.
#![allow(dead_code)]

mod mako;

use mako::*;
use std::mem::{size_of, MaybeUninit};
use std::ptr::addr_of;

macro_rules! at {
    ($type:ty, $member:ident) => {{
        let base = MaybeUninit::<$type>::uninit();
        let member = unsafe { addr_of!((*base.as_ptr()).$member) };
        member as usize - base.as_ptr() as usize
    }};
}

extern "C" {
    static mako_layout: usize;
}

fn main() {
    let ours = [
        size_of::<Str>(),
        at!(Str, ptr),
        at!(Str, len),
        size_of::<Meta>(),
        at!(Meta, seq),
        at!(Meta, schema),
        at!(Meta, created_ms),
        size_of::<Error>(),
        size_of::<Record>(),
        at!(Record, stream),
        at!(Record, meta),
        at!(Record, flags),
        at!(Record, blob),
        at!(Record, blob_len),
        at!(Traits, flags),
        at!(Traits, durability),
        at!(Traits, threads),
        at!(Traits, features),
        at!(Sink, accept),
        OPTION_SIZE as usize,
        size_of::<StorePlugin>(),
        at!(StorePlugin, abi),
        at!(StorePlugin, option_size),
        at!(StorePlugin, name),
        at!(StorePlugin, version),
        at!(StorePlugin, summary),
        at!(StorePlugin, durability),
        at!(StorePlugin, threads),
        at!(StorePlugin, features),
        at!(StorePlugin, options),
        at!(StorePlugin, open),
        at!(StorePlugin, close),
        at!(StorePlugin, save),
        at!(StorePlugin, load),
        at!(StorePlugin, remove),
        STORE_ABI as usize,
        usize::MAX,
    ];
    let theirs = unsafe { std::slice::from_raw_parts(&mako_layout, ours.len()) };

    assert_eq!(ours[..], *theirs, "mako.rs (left) differs from the header (right)");
}
