//! A real vCPU: guest code writes to a page that a zone handed out; once it is
//! freed the host's reporter discards it; the guest then reads zeros.
//!
//! Needs `/dev/kvm`; says so loudly and does nothing where it is missing.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};
use potad::memdesc::Order;
use potad::{Potad, Resource};
use potad_reporting::backend::GuestRam;
use potad_reporting::*;
use std::sync::Arc;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const PAGE: u64 = 4096;
/// What a guest in real mode reaches.
const BYTES: u64 = 1 << 20;
const PORT: u8 = 0x10;

/// ```text
///     mov al, 0x5a
///     mov [0], al      ; by ds
///     hlt
///     mov al, [0]
///     out 0x10, al
///     hlt
/// ```
const CODE: [u8; 12] = [0xb0, 0x5a, 0xa2, 0, 0, 0xf4, 0xa0, 0, 0, 0xe6, PORT, 0xf4];

/// A vCPU in real mode at address 0, its data segment at `data`.
fn real_mode(kvm: &Kvm, vcpu: &VcpuFd, data: u64) -> Result<(), kvm_ioctls::Error> {
    vcpu.set_cpuid2(&kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)?)?;
    let mut segments = vcpu.get_sregs()?;
    (segments.cs.base, segments.cs.selector) = (0, 0);
    // Lossless: below 1 MiB.
    (segments.ds.base, segments.ds.selector) = (data, (data >> 4) as u16);
    vcpu.set_sregs(&segments)?;
    let mut registers = vcpu.get_regs()?;
    (registers.rip, registers.rflags) = (0, 2);
    vcpu.set_regs(&registers)
}

/// Runs to the next `hlt`; returns what was written to the port.
fn run(vcpu: &mut VcpuFd) -> Result<Option<u8>, String> {
    let mut written = None;
    loop {
        match vcpu.run() {
            Ok(VcpuExit::IoOut(port, [byte])) if port == u16::from(PORT) => written = Some(*byte),
            Ok(VcpuExit::Hlt) => return Ok(written),
            Ok(other) => return Err(format!("{other:?}")),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Past the harness, which keeps what a passing test prints to itself.
fn say(what: std::fmt::Arguments<'_>) {
    use std::io::Write;
    writeln!(std::io::stderr(), "{what}").expect("standard error takes a line");
}

#[test]
fn a_guest_reads_zeros_from_what_it_freed_and_the_host_took_back() {
    let kvm = match Kvm::new() {
        Ok(kvm) => kvm,
        Err(error) => {
            say(format_args!("SKIPPED: no vCPU here, /dev/kvm says: {error}"));
            return;
        }
    };
    let memory = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), BYTES as usize)]);
    let memory = Arc::new(memory.unwrap());
    memory.write_slice(&CODE, GuestAddress(0)).unwrap();
    let vm = kvm.create_vm().unwrap();
    let slot = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: BYTES,
        userspace_addr: memory.get_host_address(GuestAddress(0)).unwrap().addr() as u64,
    };
    // SAFETY: the mapping outlives the VM, which is dropped first.
    unsafe { vm.set_user_memory_region(slot) }.unwrap();
    let mut vcpu = vm.create_vcpu(0).unwrap();

    // The guest's memory but for the page of the code.
    let zone = Potad::new().register(Resource::new("guest").granule(PAGE).span(PAGE..BYTES));
    let zone = zone.unwrap();
    // SAFETY: the mapping stays; no references into it, only copies.
    let driver = unsafe { GuestRam::new(memory.clone()) }.unwrap();
    let source = ZoneSource::attach(zone.clone(), Order::ZERO).unwrap();
    let mut reporter = Reporter::new(source, driver, Policy::eager()).unwrap();
    while reporter.step(0).state == State::Active {}

    let block = zone.alloc_bare(Order::new(4).unwrap()).unwrap();
    let kept = zone.alloc_bare(Order::new(4).unwrap()).unwrap();
    let at = zone.address_of(block.base());
    let neighbour = GuestAddress(zone.address_of(kept.base()));
    memory.write_obj(0x77_u8, neighbour).unwrap();
    if let Err(error) = real_mode(&kvm, &vcpu, at) {
        say(format_args!("SKIPPED: this vCPU takes no registers: {error}"));
        return;
    }
    assert_eq!(run(&mut vcpu), Ok(None), "the guest writes and halts");
    assert_eq!(memory.read_obj::<u8>(GuestAddress(at)).unwrap(), 0x5a, "the host sees it");

    zone.free_bare(block).unwrap();
    let before = reporter.stats().reported_bytes();
    reporter.control().request();
    while reporter.step(1).state == State::Active {}
    assert!(reporter.stats().reported_bytes() > before, "{}", reporter.stats());

    assert_eq!(run(&mut vcpu), Ok(Some(0)), "the guest reads zeros");
    assert_eq!(memory.read_obj::<u8>(neighbour).unwrap(), 0x77, "what is in use is untouched");
    drop((vcpu, vm));
    zone.free_bare(kept).unwrap();
}
