//! What an operating system's libraries give elsewhere: an entry, an exit, a
//! heap, and the four functions on bytes that compiled code calls.
//!
//! For Linux on x86-64, whose only part in it is to load and to end us.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::{asm, global_asm};
use core::panic::PanicInfo;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicUsize, Ordering};

// The kernel starts us with the stack pointer at the arguments, and no return
// address; a call wants it aligned.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "and rsp, -16", "call {entry}", "ud2", entry = sym entry);

extern "C" fn entry() -> ! {
    exit(crate::main());
}

fn exit(status: i32) -> ! {
    // SAFETY: `exit_group`, which ends us and does nothing else.
    unsafe { asm!("syscall", in("rax") 231, in("rdi") status, options(noreturn)) }
}

#[panic_handler]
fn panicked(_: &PanicInfo<'_>) -> ! {
    exit(101);
}

/// Bytes of the heap.
const HEAP: usize = 64 << 20;

/// A heap that only grows: enough for a program that ends.
struct Heap {
    used: AtomicUsize,
}

#[repr(align(4096))]
struct Memory(core::cell::UnsafeCell<[u8; HEAP]>);

// SAFETY: each byte is given out once, by the count.
unsafe impl Sync for Memory {}

static MEMORY: Memory = Memory(core::cell::UnsafeCell::new([0; HEAP]));

#[global_allocator]
static ALLOCATOR: Heap = Heap { used: AtomicUsize::new(0) };

// SAFETY: what is returned is aligned (up to a page), of that size, and given
// out once.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let first = used.next_multiple_of(layout.align());
            let Some(end) = first.checked_add(layout.size()).filter(|&end| end <= HEAP) else {
                return null_mut();
            };
            if layout.align() > 4096 {
                return null_mut();
            }
            match self.used.compare_exchange(used, end, Ordering::Relaxed, Ordering::Relaxed) {
                // SAFETY: within the heap, as was seen above.
                Ok(_) => return unsafe { MEMORY.0.get().cast::<u8>().add(first) },
                Err(now) => used = now,
            }
        }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Copies `count` bytes, lowest first.
///
/// # Safety
///
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    // SAFETY: promised by the caller.
    unsafe {
        asm!("rep movsb", inout("rcx") count => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack))
    };
    to
}

/// Copies `count` bytes that may overlap.
///
/// # Safety
///
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= count {
        // SAFETY: lowest first is right here, by the comparison.
        return unsafe { memcpy(to, from, count) };
    }
    // `to` is inside, so `count` is not 0: highest first.
    let (last_to, last_from) = (to.wrapping_add(count - 1), from.wrapping_add(count - 1));
    // SAFETY: promised by the caller; the direction is as it was afterwards.
    unsafe {
        asm!("std", "rep movsb", "cld", inout("rcx") count => _, inout("rdi") last_to => _, inout("rsi") last_from => _, options(nostack))
    };
    to
}

/// Fills `count` bytes.
///
/// # Safety
///
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, count: usize) -> *mut u8 {
    // SAFETY: promised by the caller.
    unsafe {
        asm!("rep stosb", inout("rcx") count => _, inout("rdi") to => _, in("al") byte as u8, options(nostack))
    };
    to
}

/// Compares `count` bytes.
///
/// # Safety
///
/// As C says.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, count: usize) -> i32 {
    for at in 0..count {
        // Volatile, or the compiler would make a call of us out of the loop.
        // SAFETY: within the first, by the promise.
        let one = unsafe { one.add(at).read_volatile() };
        // SAFETY: within the second, by the promise.
        let other = unsafe { other.add(at).read_volatile() };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// What the linker asks for and nobody calls: we do not unwind.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    exit(102);
}
