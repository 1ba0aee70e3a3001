//! The registered webhook configurations and the CAs that they trust.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use codex_k8s_certs::trust;
use http::Uri;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

/// A kind of webhook configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Which {
    /// The mutating one.
    Mutating,
    /// The validating one.
    Validating,
}

impl Which {
    /// Both kinds.
    pub(crate) const BOTH: [Self; 2] = [Self::Mutating, Self::Validating];

    /// Returns its kind.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }

    /// Returns the API for configurations of this kind.
    pub(crate) fn api(self, client: Client) -> Api<DynamicObject> {
        let resource = match self {
            Self::Mutating => ApiResource::erase::<MutatingWebhookConfiguration>(&()),
            Self::Validating => ApiResource::erase::<ValidatingWebhookConfiguration>(&()),
        };
        Api::all_with(client, &resource)
    }
}

/// Returns the webhooks of a configuration.
pub(crate) fn webhooks(configuration: &DynamicObject) -> &[Value] {
    configuration.data.get("webhooks").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Returns the caBundle of each webhook; empty if it has none.
pub(crate) fn bundles(configuration: &DynamicObject) -> Vec<Vec<u8>> {
    webhooks(configuration).iter().map(bundle_of).collect()
}

/// Returns the caBundle of a webhook; empty if it is missing or unreadable.
fn bundle_of(webhook: &Value) -> Vec<u8> {
    let bundle = webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str);
    bundle.and_then(|bundle| BASE64.decode(bundle).ok()).unwrap_or_default()
}

/// A registered webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    /// Its name.
    pub webhook: String,
    host: String,
    bundle: Vec<u8>,
}

impl Called {
    /// Returns each webhook of a configuration.
    pub(crate) fn of(configuration: &DynamicObject) -> Vec<Self> {
        webhooks(configuration).iter().map(Self::new).collect()
    }

    fn new(webhook: &Value) -> Self {
        let text = |path: &str| webhook.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let host = if let Ok(url) = text("/clientConfig/url").parse::<Uri>() {
            url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned()
        } else {
            let (name, namespace) =
                (text("/clientConfig/service/name"), text("/clientConfig/service/namespace"));
            format!("{name}.{namespace}.svc")
        };
        Self { webhook: text("/name").to_owned(), host, bundle: bundle_of(webhook) }
    }

    /// Returns true if the API server would trust a certificate chain. Without a caBundle it uses the CAs of its
    /// machine, which do not include ours.
    pub(crate) fn trusts(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> bool {
        trust::bundle_verifies(&self.bundle, chain, &self.host, now)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use codex_k8s_certs::{Authority, Leaf};
    use rustls::pki_types::pem::PemObject;
    use serde_json::json;

    use super::*;

    fn called(client_config: &Value) -> Called {
        Called::new(&json!({"name": "namespaces.guard.codex-k8s.dev", "clientConfig": client_config}))
    }

    #[test]
    fn a_chain_is_trusted_under_the_name_that_is_called_by_the_bundle_that_is_registered() {
        let now = Timestamp::now();
        let authority = Authority::generate(now, "guard").unwrap();
        let mut leaf = Leaf::of_service("hook", "guard");
        leaf.addresses.push([127, 0, 0, 1].into());
        leaf.addresses.push(std::net::Ipv6Addr::LOCALHOST.into());
        let pair = authority.issue(now, &leaf).unwrap();
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).map(Result::unwrap).collect();
        let bundle = BASE64.encode(&authority.pem().certificate);
        let other = BASE64.encode(&Authority::generate(now, "guard").unwrap().pem().certificate);
        let service = |name: &str| json!({"name": name, "namespace": "guard", "path": "/validate"});
        for (client_config, trusted) in [
            (json!({"service": service("hook"), "caBundle": bundle}), true),
            (json!({"url": "https://127.0.0.1:8443/validate", "caBundle": bundle}), true),
            (json!({"url": "https://[::1]:8443/validate", "caBundle": bundle}), true),
            (json!({"url": "https://[::2]:8443/validate", "caBundle": bundle}), false),
            (json!({"service": service("another"), "caBundle": bundle}), false),
            (json!({"url": "https://127.0.0.2:8443/validate", "caBundle": bundle}), false),
            (json!({"service": service("hook"), "caBundle": other}), false),
            (json!({"service": service("hook")}), false),
        ] {
            assert_eq!(called(&client_config).trusts(&chain, now), trusted, "{client_config}");
        }
    }
}
