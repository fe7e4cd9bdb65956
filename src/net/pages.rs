//! Memory in large pages.

/// Asks the system to keep this memory in huge pages, as far as it has some: a window is gone through from end to end, page by
/// page, and to find where a page lies costs as much as to write it, in a virtual machine more. It is advice, and where it is not
/// taken nothing is lost. The pages are touched when they are first used, then as now.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "madvise has no safe form")]
pub(crate) fn prefer_huge(memory: &mut [u8]) {
    // SAFETY: sysconf(3) has no conditions.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096);
    let before = memory.as_ptr().align_offset(page);
    let Some(inside) = memory.get_mut(before..) else { return };
    let length = inside.len() / page * page;
    // SAFETY: madvise(2) wants an address at a page's beginning and the length of what is mapped there: whole pages of a slice
    // that is borrowed. MADV_HUGEPAGE "enables Transparent Huge Pages for pages in the range", and changes no byte.
    let refused = unsafe { libc::madvise(inside.as_mut_ptr().cast(), length, libc::MADV_HUGEPAGE) } != 0;
    if refused {
        // EINVAL from a kernel without them.
        tracing::debug!(error = %std::io::Error::last_os_error(), "no huge pages");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_huge(_memory: &mut [u8]) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The flags that the kernel keeps of the mapping at an address (proc_pid_smaps(5)).
    fn flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut here = false;
        for line in maps.lines() {
            let range = line.split(' ').next().unwrap().split_once('-');
            let range = range.and_then(|(from, to)| {
                Some(usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?)
            });
            here = range.map_or(here, |range| range.contains(&address));
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| here) {
                return flags.to_owned();
            }
        }
        panic!("no mapping at {address:x}");
    }

    #[test]
    fn whole_pages_are_kept_in_huge_ones_where_there_are_such_and_any_memory_is_taken() {
        let mut memory = vec![0_u8; 8 << 20];
        let middle = memory.as_ptr() as usize + (4 << 20);
        prefer_huge(&mut memory);
        if std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
            assert!(flags(middle).contains("hg"), "{}", flags(middle));
        }
        prefer_huge(&mut memory[..100]);
        prefer_huge(&mut []);
        assert!(memory.iter().all(|&byte| byte == 0));
    }
}
