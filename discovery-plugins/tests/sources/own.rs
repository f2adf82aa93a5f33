use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use mishards_discovery::{Discovery, Event, Member};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Members are the files of a directory: the file's name, and host:port in it.
pub struct Folder {
    pub path: PathBuf,
}

fn read(folder: &Path) -> std::io::Result<Vec<Member>> {
    let mut members = Vec::new();
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        let address = std::fs::read_to_string(file.path())?.trim().to_owned();
        members.push(Member { name: file.file_name().to_string_lossy().into_owned(), address });
    }
    members.sort();
    Ok(members)
}

#[async_trait]
impl Discovery for Folder {
    fn watch(&self) -> BoxStream<'static, Event> {
        let start = (self.path.clone(), None);
        let events = stream::unfold(start, |(path, known)| async move {
            loop {
                match read(&path) {
                    Ok(members) if known.as_ref() != Some(&members) => {
                        let event = Event::Reset(members.clone());
                        return Some((event, (path, Some(members))));
                    }
                    Ok(_) => {}
                    // Nothing is said: the members that were there stay.
                    Err(e) => tracing::warn!(folder = %path.display(), error = %e, "cannot be read"),
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        events.boxed()
    }
}
