//! Sources that are asked again and again.

use crate::{Event, Member, Result};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::time::Duration;

/// A stream of whole lists, one for each change of them. A poll that fails changes nothing.
pub fn poll<F>(every: Duration, mut ask: impl FnMut() -> F + Send + 'static) -> BoxStream<'static, Event>
where
    F: Future<Output = Result<Vec<Member>>> + Send + 'static,
{
    let asked = move || {
        let answer = ask();
        async move {
            match answer.await {
                Ok(mut members) => {
                    members.sort();
                    members.dedup();
                    Some(members)
                }
                Err(e) => {
                    tracing::warn!(error = %e, "members could not be read, the last ones stay");
                    None
                }
            }
        }
    };
    let first = (asked, None::<Vec<Member>>, false);
    stream::unfold(first, move |(mut asked, mut known, wait)| async move {
        let mut wait = wait;
        loop {
            if wait {
                tokio::time::sleep(every).await;
            }
            wait = true;
            if let Some(members) = asked().await
                && known.as_ref() != Some(&members)
            {
                known = Some(members.clone());
                return Some((Event::Reset(members), (asked, known, true)));
            }
        }
    })
    .boxed()
}
