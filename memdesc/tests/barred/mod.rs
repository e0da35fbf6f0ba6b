//! A kernel that refuses its barrier, for tests of the asymmetric one.

/// Answers this thread's `membarrier` with "not permitted" from now on; `false`
/// where that cannot be had.
pub(crate) fn forbid_membarrier() -> bool {
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut steps = [
        // The number of the call is what a filter's data begins with.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_membarrier as u32, 1),
        step(libc::BPF_RET | libc::BPF_K, refused, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let filter = libc::sock_fprog { len: 4, filter: steps.as_mut_ptr() };
    // SAFETY: numbers alone; of this thread.
    let no_new = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    let (mode, filter) = (libc::SECCOMP_MODE_FILTER, &raw const filter);
    // SAFETY: reads the filter, which is live, before it returns.
    let filtered = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, filter) };
    (no_new, filtered) == (0, 0)
}
