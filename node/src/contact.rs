//! When the writable node was last heard: on the stream of deletes, or of the log, that this node follows. It sends something
//! every second, so that silence says something.

use crate::{DeleteSource, LogSource};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use mishards_proto::node::{DeletesUpdate, LogUpdate};
use mishards_types::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Before anything was heard.
const NEVER: u64 = u64::MAX;

/// See the file's head.
pub struct Contact {
    clock: Arc<dyn Clock>,
    heard_ms: AtomicU64,
}

impl Contact {
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Contact> {
        Arc::new(Contact { clock, heard_ms: AtomicU64::new(NEVER) })
    }

    fn note(&self) {
        self.heard_ms.store(self.clock.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// How long ago it was heard; `None` when it never was.
    pub fn ago(&self) -> Option<Duration> {
        let heard = self.heard_ms.load(Ordering::Relaxed);
        let heard = (heard != NEVER).then(|| Duration::from_millis(heard))?;
        Some(self.clock.elapsed().saturating_sub(heard))
    }

    fn noting<T: Send + 'static>(
        self: &Arc<Contact>,
        stream: BoxStream<'static, Result<T, tonic::Status>>,
    ) -> BoxStream<'static, Result<T, tonic::Status>> {
        let contact = Arc::clone(self);
        stream.inspect(move |message| message.iter().for_each(|_| contact.note())).boxed()
    }
}

/// A source whose messages are noted.
pub struct Heard<S: ?Sized> {
    pub source: Arc<S>,
    pub contact: Arc<Contact>,
}

#[tonic::async_trait]
impl DeleteSource for Heard<dyn DeleteSource> {
    async fn watch_deletes(
        &self,
    ) -> Result<BoxStream<'static, Result<DeletesUpdate, tonic::Status>>, tonic::Status> {
        Ok(self.contact.noting(self.source.watch_deletes().await?))
    }
}

#[tonic::async_trait]
impl LogSource for Heard<dyn LogSource> {
    async fn watch_log(&self) -> Result<BoxStream<'static, Result<LogUpdate, tonic::Status>>, tonic::Status> {
        Ok(self.contact.noting(self.source.watch_log().await?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use futures_util::stream;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn unix_ms(&self) -> u64 {
            0
        }

        fn elapsed(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    struct Twice;

    #[tonic::async_trait]
    impl DeleteSource for Twice {
        async fn watch_deletes(
            &self,
        ) -> Result<BoxStream<'static, Result<DeletesUpdate, tonic::Status>>, tonic::Status> {
            let broken = Err(tonic::Status::unavailable("the writer is gone"));
            Ok(stream::iter([Ok(DeletesUpdate::default()), broken]).boxed())
        }
    }

    #[tokio::test]
    async fn messages_count_and_failures_do_not() {
        let clock = Arc::new(Hand::default());
        let contact = Contact::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let heard = Heard { source: Arc::new(Twice) as Arc<dyn DeleteSource>, contact: Arc::clone(&contact) };
        assert_eq!(contact.ago(), None);
        let mut stream = heard.watch_deletes().await.unwrap();
        assert_eq!(contact.ago(), None);
        *clock.0.lock().unwrap() = Duration::from_secs(5);
        stream.next().await.unwrap().unwrap();
        assert_eq!(contact.ago(), Some(Duration::ZERO));
        *clock.0.lock().unwrap() = Duration::from_secs(70);
        stream.next().await.unwrap().unwrap_err();
        assert_eq!(contact.ago(), Some(Duration::from_secs(65)));
    }
}
