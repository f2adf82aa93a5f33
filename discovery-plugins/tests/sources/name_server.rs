//! A DNS server that a test scripts, over UDP and TCP, and the source that it makes.

use super::Source;
use async_trait::async_trait;
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mishards_discovery::{Discovery, Dns, DnsOptions, Member};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;

pub const ADDRESSES: &str = "nodes.test.";
pub const SERVICES: &str = "_node._tcp.nodes.test.";
pub const PORT: u16 = 19530;
/// Longer answers are cut off over UDP.
const UDP_BYTES: usize = 1200;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Answer,
    Code(ResponseCode),
    /// An answer with the question only.
    Empty,
    Silent,
}

#[derive(Default)]
struct State {
    records: BTreeMap<String, RData>,
    /// What is asked for otherwise than answered.
    modes: BTreeMap<RecordType, Mode>,
    asked: Option<Instant>,
}

#[derive(Clone)]
pub struct NameServer {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    pub tcp_queries: Arc<AtomicUsize>,
}

impl NameServer {
    pub async fn start() -> NameServer {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let server = NameServer { address, state: Arc::default(), tcp_queries: Arc::default() };
        let (by_udp, by_tcp) = (server.clone(), server.clone());
        tokio::spawn(async move {
            let mut query = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut query).await.unwrap();
                if let Some(mut reply) = by_udp.reply(&query[..length]) {
                    if reply.to_vec().unwrap().len() > UDP_BYTES {
                        reply = reply.truncate();
                    }
                    udp.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
                }
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                let server = by_tcp.clone();
                tokio::spawn(async move { server.talk(stream).await });
            }
        });
        server
    }

    async fn talk(&self, mut stream: TcpStream) {
        while let Ok(length) = stream.read_u16().await {
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            self.tcp_queries.fetch_add(1, Ordering::SeqCst);
            if let Some(reply) = self.reply(&query) {
                let reply = reply.to_vec().unwrap();
                stream.write_u16(u16::try_from(reply.len()).unwrap()).await.unwrap();
                stream.write_all(&reply).await.unwrap();
            }
        }
    }

    fn reply(&self, query: &[u8]) -> Option<Message> {
        let query = Message::from_vec(query).unwrap();
        let question = query.queries.first().unwrap().clone();
        let mut state = self.state.lock().unwrap();
        state.asked = Some(Instant::now());
        let mut reply = Message::response(query.id, OpCode::Query);
        reply.metadata.recursion_available = true;
        reply.metadata.authoritative = true;
        let (name, kind) = (question.name().clone(), question.query_type());
        reply.add_query(question);
        match state.modes.get(&kind).copied().unwrap_or(Mode::Answer) {
            Mode::Answer => {
                let wanted = state.records.values().filter(|data| data.record_type() == kind);
                reply.add_answers(wanted.map(|data| Record::from_rdata(name.clone(), 30, data.clone())));
            }
            Mode::Code(code) => reply.metadata.response_code = code,
            Mode::Empty => {}
            Mode::Silent => return None,
        }
        Some(reply)
    }

    /// How all questions are answered.
    pub fn set(&self, mode: Mode) {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::SRV] {
            self.set_for(kind, mode);
        }
    }

    pub fn set_for(&self, kind: RecordType, mode: Mode) {
        self.state.lock().unwrap().modes.insert(kind, mode);
    }

    pub fn put(&self, who: &str, data: RData) {
        self.state.lock().unwrap().records.insert(who.to_owned(), data);
    }

    pub fn remove(&self, who: &str) {
        self.state.lock().unwrap().records.remove(who);
    }

    pub fn last_asked(&self) -> Option<Instant> {
        self.state.lock().unwrap().asked
    }

    /// The plugin of addresses, or of services when there is no port.
    pub fn plugin(&self, port: Option<u16>) -> Dns {
        let name = if port.is_some() { ADDRESSES } else { SERVICES }.to_owned();
        let server = Some(self.address.to_string());
        Dns::new(DnsOptions { name, port, server, every: Duration::from_millis(100) }).unwrap()
    }
}

pub fn ip(ip: impl Into<IpAddr>) -> RData {
    match ip.into() {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

pub fn service(host: &str, port: u16) -> RData {
    RData::SRV(SRV::new(1, 1, port, Name::from_utf8(host).unwrap()))
}

/// A name server as a source: members are addresses, half of them of IPv6, or services.
pub struct Names {
    server: NameServer,
    port: Option<u16>,
    /// What an interruption looks like.
    away: Mode,
}

impl Names {
    pub async fn addresses() -> Names {
        let away = Mode::Code(ResponseCode::ServFail);
        Names { server: NameServer::start().await, port: Some(PORT), away }
    }

    pub async fn services() -> Names {
        let away = Mode::Code(ResponseCode::Refused);
        Names { server: NameServer::start().await, port: None, away }
    }
}

#[async_trait]
impl Source for Names {
    fn plugin(&self) -> Arc<dyn Discovery> {
        Arc::new(self.server.plugin(self.port))
    }

    async fn join(&self, who: &str, at: u16) -> Member {
        let number = u16::from(who.as_bytes()[0]);
        let (data, address) = match self.port {
            None => (service(&format!("{who}.test."), at), format!("{who}.test:{at}")),
            Some(port) => {
                let [high, low] = at.to_be_bytes();
                let address: IpAddr = match number % 2 {
                    0 => Ipv4Addr::new(10, number as u8, high, low).into(),
                    _ => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, number, at).into(),
                };
                (ip(address), SocketAddr::new(address, port).to_string())
            }
        };
        self.server.put(who, data);
        Member { name: address.clone(), address }
    }

    async fn leave(&self, who: &str) {
        self.server.remove(who);
    }

    async fn interrupt(&self) {
        self.server.set(self.away);
    }

    async fn restore(&self) {
        self.server.set(Mode::Answer);
    }

    async fn running(&self) -> usize {
        let asked = self.server.last_asked();
        usize::from(asked.is_some_and(|at| at.elapsed() < Duration::from_millis(500)))
    }
}
