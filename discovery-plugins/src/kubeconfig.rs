//! How to reach a Kubernetes API server: from inside a pod, or by a kubeconfig file.

use crate::http::{HttpOptions, Tls};
use crate::{Error, Result};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::path::{Path, PathBuf};

const PLUGIN: &str = "kubernetes";
/// What a pod has, <https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/>.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A way to the API server.
pub struct Access {
    pub http: HttpOptions,
    /// Is read anew for each connection: tokens of pods are replaced within an hour.
    pub token_file: Option<PathBuf>,
    pub namespace: Option<String>,
}

impl Access {
    /// From inside a pod.
    pub fn in_cluster() -> Result<Access> {
        let env = |name| {
            std::env::var(name)
                .map_err(|_| Error::new(PLUGIN, format!("{name} is not set: this process is not in a pod")))
        };
        let (host, port) = (env("KUBERNETES_SERVICE_HOST")?, env("KUBERNETES_SERVICE_PORT")?);
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let pod = Path::new(POD);
        let namespace = std::fs::read_to_string(pod.join("namespace")).ok().map(|n| n.trim().to_owned());
        let tls = Tls { ca: Some(read(&pod.join("ca.crt"))?), identity: None };
        Ok(Access {
            http: HttpOptions { url: format!("https://{host}:{port}"), secret: None, tls },
            token_file: Some(pod.join("token")),
            namespace,
        })
    }

    /// The current context of a kubeconfig file.
    pub fn from_file(path: &Path) -> Result<Access> {
        let fail = |what: String| Error::new(PLUGIN, format!("{}: {what}", path.display()));
        let config: Config = serde_yaml_ng::from_slice(&read(path)?).map_err(|e| fail(e.to_string()))?;
        let wanted = &config.current_context;
        let context = config.contexts.iter().find(|c| c.name == *wanted);
        let context = &context.ok_or_else(|| fail(format!("there is no context {wanted:?}")))?.context;
        let cluster = config.clusters.iter().find(|c| c.name == context.cluster);
        let cluster =
            &cluster.ok_or_else(|| fail(format!("there is no cluster {:?}", context.cluster)))?.cluster;
        let user = config.users.iter().find(|u| u.name == context.user).map(|u| &u.user);
        let near = |file: &PathBuf| path.parent().unwrap_or(Path::new(".")).join(file);
        let pem = |data: &Option<String>, file: &Option<PathBuf>| match (data, file) {
            (Some(data), _) => BASE64_STANDARD
                .decode(data)
                .map(Some)
                .map_err(|e| fail(format!("base64 of a certificate: {e}"))),
            (None, Some(file)) => read(&near(file)).map(Some),
            (None, None) => Ok(None),
        };
        let ca = pem(&cluster.certificate_authority_data, &cluster.certificate_authority)?;
        let (mut identity, mut secret, mut token_file) = (None, None, None);
        if let Some(user) = user {
            if user.exec.is_some() || user.auth_provider.is_some() {
                return Err(fail("users that are authenticated by a program are not supported: use a token or a certificate".to_owned()));
            }
            let certificate = pem(&user.client_certificate_data, &user.client_certificate)?;
            let key = pem(&user.client_key_data, &user.client_key)?;
            identity = certificate.zip(key);
            secret = user.token.as_ref().map(|token| ("authorization", format!("Bearer {token}")));
            token_file = user.token_file.as_ref().map(near);
        }
        Ok(Access {
            http: HttpOptions { url: cluster.server.clone(), secret, tls: Tls { ca, identity } },
            token_file,
            namespace: context.namespace.clone(),
        })
    }

    /// The options with the token as it is now.
    pub fn signed(&self) -> Result<HttpOptions> {
        let mut http = self.http.clone();
        if let Some(file) = &self.token_file {
            let token = String::from_utf8_lossy(&read(file)?).trim().to_owned();
            http.secret = Some(("authorization", format!("Bearer {token}")));
        }
        Ok(http)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Error::new(PLUGIN, format!("cannot read {}: {e}", path.display())))
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    exec: Option<serde_yaml_ng::Value>,
    auth_provider: Option<serde_yaml_ng::Value>,
}
