//! A connection read and written by the thread that serves it.
//!
//! A thread that waits in the kernel for its socket is woken once for what comes. One that waits for tokio's is woken by another
//! that was woken before: twice the way, some ten times for a small image.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a thread waits for its socket before it looks at what else may have happened: time-outs, the node stopping.
const TICK: Duration = Duration::from_millis(100);

/// A socket whose reads and writes wait in the kernel, at most for a tick: then they are pending, and ask to be called again. For
/// a future that has a thread of its own.
#[derive(Debug)]
pub(super) struct Blocking(TcpStream);

impl Blocking {
    /// # Errors
    /// The system refuses a socket's options.
    pub(super) fn new(stream: TcpStream) -> io::Result<Blocking> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TICK))?;
        stream.set_write_timeout(Some(TICK))?;
        Ok(Blocking(stream))
    }
}

/// What a call gave, or that it is to be called again.
fn again<T>(cx: &Context<'_>, mut call: impl FnMut() -> io::Result<T>) -> Poll<io::Result<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            done => return Poll::Ready(done),
        }
    }
}

impl AsyncRead for Blocking {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = again(cx, || (&self.0).read(buf.initialize_unfilled()));
        read.map_ok(|n| buf.advance(n))
    }
}

impl AsyncWrite for Blocking {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        again(cx, || (&self.0).write(bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(std::net::Shutdown::Write))
    }
}
