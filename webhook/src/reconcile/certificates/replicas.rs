//! The certificates that the replicas behind the Service serve, observed one by one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use codex_k8s_certs::observe;
use codex_k8s_certs::plan::Replica;
use futures::{StreamExt, stream};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::ListParams;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Certificates, Failure};

/// The timeout for a replica to present its chain.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The maximum number of replicas that are observed concurrently.
const MAX_CONCURRENT: usize = 16;

/// The source of the addresses of replicas.
#[derive(Debug, Clone)]
pub enum Where {
    /// The endpoints of a Service.
    Service {
        /// The namespace of the Service.
        namespace: String,
        /// The name of the Service.
        name: String,
    },
    /// These addresses only.
    Addresses(Vec<SocketAddr>),
}

impl Certificates {
    pub(super) async fn replicas(&self) -> Result<Vec<Replica>, Failure> {
        let addresses = match &self.options.replicas {
            Where::Addresses(addresses) => {
                addresses.iter().map(|address| (address.to_string(), true)).collect()
            }
            Where::Service { namespace, name } => self.endpoints(namespace, name).await?,
        };
        let Ok(config) = observe::looking() else { return Err(Failure::Absent) };
        let config = Arc::new(config);
        let requests = addresses.into_iter().map(|(name, ready)| {
            let config = Arc::clone(&config);
            async move {
                let served = tokio::time::timeout(TIMEOUT, chain(&name, config)).await.ok().flatten();
                Replica { name, ready, served }
            }
        });
        Ok(stream::iter(requests).buffered(MAX_CONCURRENT).collect().await)
    }

    /// Returns the addresses behind a Service, each with true if it is ready.
    async fn endpoints(&self, namespace: &str, name: &str) -> Result<Vec<(String, bool)>, Failure> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), namespace);
        let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
        let listed = slices.list(&params).await;
        let listed = listed.map_err(|error| Failure::Kube("list the replicas", error))?;
        let mut all: Vec<_> = listed.items.iter().flat_map(addresses).collect();
        all.sort_unstable();
        // An address is listed twice while the control plane moves it to another slice: it is ready if it is ready in
        // either.
        all.reverse();
        all.dedup_by(|one, other| one.0 == other.0);
        Ok(all)
    }
}

fn addresses(slice: &EndpointSlice) -> Vec<(String, bool)> {
    let ports = slice.ports.iter().flatten().filter_map(|port| port.port);
    let pairs = ports.flat_map(|port| slice.endpoints.iter().flatten().map(move |endpoint| (port, endpoint)));
    pairs
        .flat_map(|(port, endpoint)| {
            // An unknown condition must be interpreted as ready.
            let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
            endpoint.addresses.iter().map(move |address| {
                let host = if address.contains(':') { format!("[{address}]") } else { address.clone() };
                (format!("{host}:{port}"), ready)
            })
        })
        .collect()
}

/// Returns the chain that a server presents; `None` if it presents none.
async fn chain(address: &str, config: Arc<ClientConfig>) -> Option<Vec<CertificateDer<'static>>> {
    let address: SocketAddr = address.parse().ok()?;
    let stream = TcpStream::connect(address).await.ok()?;
    let stream = TlsConnector::from(config).connect(ServerName::from(address.ip()), stream).await.ok()?;
    stream
        .get_ref()
        .1
        .peer_certificates()
        .map(|chain| chain.iter().map(|der| der.clone().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_address_of_a_slice_is_a_replica_and_ready_unless_it_says_no() {
        let slice = serde_json::from_value(json!({
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 8443}],
            "endpoints": [
                {"addresses": ["10.0.0.7"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.8"], "conditions": {"ready": false}},
                {"addresses": ["fd00::9"]},
            ],
        }));
        let found = addresses(&slice.unwrap());
        let expected = [("10.0.0.7:8443", true), ("10.0.0.8:8443", false), ("[fd00::9]:8443", true)];
        assert_eq!(found, expected.map(|(name, ready)| (name.to_owned(), ready)));
    }
}
