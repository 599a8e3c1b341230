//! Descriptors that outlive the program: a process that replaces itself by `execve` keeps what is not close-on-exec, and
//! says in the environment which number is what.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Lets a descriptor pass through `execve`, and returns its number there.
///
/// # Errors
/// What the operating system says.
pub fn leave(fd: impl AsFd) -> io::Result<RawFd> {
    let flags = fcntl_getfd(&fd)?;
    fcntl_setfd(&fd, flags - FdFlags::CLOEXEC)?;
    Ok(fd.as_fd().as_raw_fd())
}

/// Takes [`leave`] back.
///
/// # Errors
/// What the operating system says.
pub fn keep(fd: impl AsFd) -> io::Result<()> {
    let flags = fcntl_getfd(&fd)?;
    Ok(fcntl_setfd(&fd, flags | FdFlags::CLOEXEC)?)
}

/// Takes ownership of a descriptor that this process inherited. Each can be taken once.
///
/// # Errors
/// If there is no such descriptor, or this process opened it itself.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    crate::sys::adopt(number)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn only_what_was_left_can_be_adopted_and_only_once() {
        let file = File::open("/dev/null").unwrap();
        assert!(adopt(file.as_raw_fd()).is_err(), "opened here");
        let number = leave(&file).unwrap();
        keep(&file).unwrap();
        assert!(adopt(number).is_err(), "kept after all");
        // As if it came through execve: open, and nobody's.
        let number = leave(&file).unwrap();
        std::mem::forget(file);
        let adopted = adopt(number).unwrap();
        assert_eq!(adopted.as_raw_fd(), number);
        assert!(adopt(number).is_err(), "adopted before");
        drop(adopted);
        for wrong in [-1, 0, 1, 2, number, 100_000] {
            assert!(adopt(wrong).is_err(), "{wrong}");
        }
    }
}
