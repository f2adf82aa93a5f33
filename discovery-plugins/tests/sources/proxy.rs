//! A TCP proxy that a test can cut, freeze and lead elsewhere.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Default)]
struct State {
    /// Connections are closed, also those that come.
    is_cut: bool,
    /// Connections stay, and nothing passes any more. Those from this time never recover.
    is_frozen: bool,
    /// How often all connections were closed.
    cuts: u64,
}

pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: Mutex<String>,
    state: watch::Sender<State>,
    connections: AtomicUsize,
}

/// Counts a connection.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    async fn pass(&self, mut client: TcpStream) {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.connections);
        let mut state = self.state.subscribe();
        let State { is_cut, cuts, .. } = *state.borrow();
        if is_cut {
            return;
        }
        let to = self.to.lock().unwrap().clone();
        let Ok(mut server) = TcpStream::connect(&to).await else { return };
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut server) => return,
            _ = state.wait_for(|s| s.is_frozen || s.cuts != cuts) => {}
        }
        let mut lost = [0; 4096];
        tokio::select! {
            _ = state.wait_for(|s| s.cuts != cuts) => {}
            () = async { while client.read(&mut lost).await.is_ok_and(|n| n > 0) {} } => {}
        }
    }
}

impl Proxy {
    /// Leads to `host:port`.
    pub async fn to(server: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            to: Mutex::new(server.to_owned()),
            state: watch::Sender::new(State::default()),
            connections: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                tokio::spawn(async move { shared.pass(client).await });
            }
        });
        Proxy { address, shared }
    }

    pub fn cut(&self) {
        self.shared.state.send_modify(|s| *s = State { is_cut: true, is_frozen: false, cuts: s.cuts + 1 });
    }

    pub fn freeze(&self) {
        self.shared.state.send_modify(|s| s.is_frozen = true);
    }

    pub fn restore(&self) {
        self.shared.state.send_modify(|s| (s.is_cut, s.is_frozen) = (false, false));
    }

    /// Ends all connections; those that come lead to another server.
    pub fn lead_to(&self, server: &str) {
        self.cut();
        *self.shared.to.lock().unwrap() = server.to_owned();
        self.restore();
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}
