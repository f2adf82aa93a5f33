//! Servers behind https://, as the plugins that speak HTTP reach them.

use super::*;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mishards_discovery::{Consul, ConsulOptions, Discovery, Kubernetes, Tls};
use sources::api_server::{ApiServer, slice};
use sources::consul_agent::Agent;
use sources::simple::put;
use sources::tls_front::Certificates;

fn consul(url: String, tls: Tls) -> mishards_discovery::Result<Consul> {
    Consul::new(ConsulOptions { url, service: "mishards".to_owned(), token: None, ttl: TTL, tls })
}

fn member() -> Member {
    Member { name: "a".to_owned(), address: "10.0.0.1:1".to_owned() }
}

async fn refusal(url: &str, tls: Tls) -> String {
    let consul = consul(url.to_owned(), tls).unwrap();
    consul.register(&member()).await.unwrap_err().to_string()
}

fn trusting(certificates: &Certificates) -> Tls {
    Tls { ca: Some(certificates.pem("authority.pem")), identity: None }
}

#[tokio::test]
async fn a_server_is_verified() {
    let (certificates, foreign) = (Certificates::make(), Certificates::make());
    let agent = Agent::start().await;
    let at = certificates.front(agent.address, false).await;
    let url = format!("https://{at}");
    for untrusting in [Tls::default(), trusting(&foreign)] {
        let error = refusal(&url, untrusting).await;
        assert!(error.contains("certificate"), "{error}");
    }
    // The certificate is for the number.
    let error = refusal(&format!("https://localhost:{}", at.port()), trusting(&certificates)).await;
    assert!(error.contains("certificate"), "{error}");
    assert!(agent.with(|s| s.asked.is_empty()));

    let right = consul(url, trusting(&certificates)).unwrap();
    right.register(&member()).await.unwrap();
    let mut watch = Watch::of(&right);
    watch.begins_with(&[member()]).await;
    right.deregister("a").await.unwrap();
    watch.until(&[]).await;
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let certificates = Certificates::make();
    let agent = Agent::start().await;
    let url = format!("https://{}", certificates.front(agent.address, true).await);
    refusal(&url, trusting(&certificates)).await;
    let identity = Some((certificates.pem("client.pem"), certificates.pem("client.key")));
    let right = consul(url, Tls { identity, ..trusting(&certificates) }).unwrap();
    right.register(&member()).await.unwrap();
    Watch::of(&right).begins_with(&[member()]).await;
}

#[tokio::test]
async fn the_wrong_protocol_is_an_error() {
    let certificates = Certificates::make();
    let agent = Agent::start().await;
    let at = certificates.front(agent.address, false).await;
    refusal(&format!("http://{at}"), Tls::default()).await;
    refusal(&format!("https://{}", agent.address), trusting(&certificates)).await;
}

#[test]
fn files_that_are_no_certificates_are_refused() {
    let certificates = Certificates::make();
    let pem = |file: &str| certificates.pem(file);
    let url = "https://127.0.0.1:1".to_owned();
    for ca in [Vec::new(), b"nonsense".to_vec(), pem("server.key")] {
        assert!(consul(url.clone(), Tls { ca: Some(ca), identity: None }).is_err());
    }
    for identity in [
        (pem("client.key"), pem("client.key")),
        (pem("client.pem"), pem("client.pem")),
        (pem("client.pem"), pem("server.key")),
    ] {
        assert!(consul(url.clone(), Tls { ca: None, identity: Some(identity) }).is_err());
    }
}

#[tokio::test]
async fn a_kubeconfig_file_names_certificates() {
    let certificates = Certificates::make();
    let server = ApiServer::start().await;
    server.with(|s| s.put("s", slice(&[("a", "10.0.0.1")])));
    let at = certificates.front(server.proxy.address, true).await;
    let data = |file: &str| BASE64_STANDARD.encode(certificates.pem(file));
    let beside = |file: &str| {
        put(server.kubeconfig().with_file_name(file), std::str::from_utf8(&certificates.pem(file)).unwrap());
        file.to_owned()
    };
    let in_it =
        format!("client-certificate-data: {}, client-key-data: {}", data("client.pem"), data("client.key"));
    let named = format!("client-certificate: {}, client-key: {}", beside("client.pem"), beside("client.key"));
    let authority_in_it = format!("certificate-authority-data: {}", data("authority.pem"));
    let authority_named = format!("certificate-authority: {}", beside("authority.pem"));
    for (user, authority) in [(in_it, authority_in_it), (named, authority_named)] {
        let config = server.config(&user).replace("server:", &format!("{authority}, server:"));
        let config = config.replace(&format!("http://{}", server.proxy.address), &format!("https://{at}"));
        put(server.kubeconfig(), &config);
        let plugin = Kubernetes::new(server.options()).unwrap();
        let a = Member { name: "a".to_owned(), address: "10.0.0.1:19530".to_owned() };
        Watch::of(&plugin).begins_with(&[a]).await;
    }
}
