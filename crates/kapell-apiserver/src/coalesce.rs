//! One write for what several streams of a connection have to say at the same time.
//!
//! A change that a hundred watches of one HTTP/2 connection are told of becomes a hundred frames. Each stream wakes the
//! connection when it has its frame, and the connection runs next: so each frame would be a TLS record and a system call of its own.
//! Here the connection lets those who are ready go first, for one turn, before it sends what has come together.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Sent in any case when this much has come together: four full TLS records.
const MOST: usize = 64 << 10;

/// Which turn of its task a connection has: within one it may flush several times.
#[derive(Clone, Default)]
pub(crate) struct Turns(Arc<AtomicUsize>);

impl Turns {
    /// Drives the connection and counts its turns.
    pub(crate) async fn drive<F: Future>(&self, mut connection: Pin<&mut F>) -> F::Output {
        poll_fn(|context| {
            self.0.fetch_add(1, Ordering::Relaxed);
            connection.as_mut().poll(context)
        })
        .await
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A connection whose writes are held until it is flushed.
pub(crate) struct Coalesced<S> {
    inner: S,
    /// Without streams there is nothing to wait for, and everything passes.
    turns: Option<Turns>,
    held: BytesMut,
    /// The turn in which it was to be flushed first; in a later one the others have had theirs.
    asked: Option<usize>,
}

impl<S: AsyncWrite + Unpin> Coalesced<S> {
    /// `turns` are those of the task that drives the connection, if it carries several answers at a time.
    pub(crate) fn new(inner: S, turns: Option<Turns>) -> Self {
        Self { inner, turns, held: BytesMut::new(), asked: None }
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(context, &self.held))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(sent);
        }
        // A connection at rest holds no memory for the next burst.
        self.held = BytesMut::new();
        self.asked = None;
        Poll::Ready(Ok(()))
    }

    fn poll_hold(&mut self, context: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.held.len() >= MOST {
            ready!(self.poll_send(context))?;
        }
        parts.iter().for_each(|part| self.held.extend_from_slice(part));
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Coalesced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Coalesced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.turns.is_some() {
            true => self.poll_hold(context, &[IoSlice::new(bytes)]),
            false => Pin::new(&mut self.inner).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.turns.is_some() {
            true => self.poll_hold(context, parts),
            false => Pin::new(&mut self.inner).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.turns.is_some() || self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.held.is_empty()
            && let Some(now) = self.turns.as_ref().map(Turns::now)
        {
            match self.asked {
                None => {
                    // A task that wakes itself goes to the end of the line.
                    self.asked = Some(now);
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Some(turn) if turn == now => return Poll::Pending,
                Some(_) => {}
            }
        }
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
