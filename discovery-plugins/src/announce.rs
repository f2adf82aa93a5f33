//! Keeps one member announced until it leaves.

use crate::{Discovery, Member};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long leaving may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// An announcement that is renewed in the background.
pub struct Announced {
    leave: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Announced {
    /// Announces `member` and renews that, three times within `ttl`.
    pub fn start(discovery: Arc<dyn Discovery>, member: Member, ttl: Duration) -> Announced {
        let (leave, mut left) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                let mut renewal = discovery.register(&member);
                tokio::select! {
                    done = &mut renewal => if let Err(e) = done {
                        tracing::warn!(member = %member.name, error = %e, "this node could not be announced, trying again");
                    },
                    _ = &mut left => {
                        // What was sent may still be done, and is not to be done after the farewell. One that hangs is
                        // not waited for.
                        let _ = tokio::time::timeout(PATIENCE / 2, renewal).await;
                        break;
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(ttl / 3) => {}
                    _ = &mut left => break,
                }
            }
            match tokio::time::timeout(PATIENCE / 2, discovery.deregister(&member.name)).await {
                Ok(Ok(())) => {}
                Ok(Err(e)) => tracing::warn!(error = %e, "this node's announcement was not taken back"),
                Err(_) => tracing::warn!("this node's announcement was not taken back in time"),
            }
        });
        Announced { leave, task }
    }

    /// Takes the announcement back.
    pub async fn leave(self) {
        drop(self.leave);
        let _ = self.task.await;
    }
}
