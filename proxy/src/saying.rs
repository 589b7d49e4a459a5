//! What a command says on standard output. Whoever reads it may go away before the end, as `head` does, or the disk
//! behind it may be full: then nothing more is done, what must be tidied up is, and the exit code tells.

use std::fmt;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A line on standard output. Ends the program as [`to_its_end`] says where nobody takes it.
macro_rules! say {
    () => { $crate::saying::write(format_args!("\n")) };
    ($($words:tt)*) => { $crate::saying::write(format_args!("{}\n", format_args!($($words)*))) };
}

/// Why something could not be said; travels up the stack to [`to_its_end`], past everything that tidies up on its way.
struct Unsaid(io::Error);

/// Writes this on standard output, at once. As [`say`], but without the end of a line.
pub(crate) fn write(words: fmt::Arguments<'_>) {
    say_by(|out| out.write_fmt(words));
}

/// As [`write`], of bytes that another program reads.
pub(crate) fn write_bytes(bytes: &[u8]) {
    say_by(|out| out.write_all(bytes));
}

fn say_by(how: impl FnOnce(&mut io::StdoutLock<'_>) -> io::Result<()>) {
    let mut out = io::stdout().lock();
    if let Err(cause) = how(&mut out).and_then(|()| out.flush()) {
        drop(out);
        // Not a panic: nothing is wrong with the program, so nobody is told that it panicked.
        resume_unwind(Box::new(Unsaid(cause)));
    }
}

/// A line on standard error. Nobody is left to be told where that is closed.
pub(crate) fn aside(words: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr(), "{words}"));
}

/// Does `work`, which speaks on standard output. The error is what keeps it from speaking on.
pub(crate) fn to_its_end<T>(work: impl FnOnce() -> T) -> Result<T, io::Error> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|unwound| match unwound.downcast::<Unsaid>() {
        Ok(unsaid) => unsaid.0,
        Err(panic) => resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_said_ends_the_work_and_a_panic_stays_one() {
        let closed: io::Result<()> = to_its_end(|| resume_unwind(Box::new(Unsaid(io::ErrorKind::BrokenPipe.into()))));
        assert_eq!(closed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let panicked = catch_unwind(|| -> io::Result<()> { to_its_end(|| resume_unwind(Box::new("a mistake"))) });
        assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&"a mistake"));
    }
}
