//! The installation in a cluster: its namespace, its policy, and the template of its Jobs.

use anyhow::{Context as _, anyhow};
use codex_k8s_shared::install::{COLLECTOR, DEFAULT_NAMESPACE, PART_OF, POLICY, POLICY_KEY, POLICY_LABEL};
use codex_k8s_shared::policy::RunPolicy;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};

use crate::cluster::{ClusterArgs, InstallArgs};
use crate::exit::{Exit, Failure, OrExit as _};
use crate::output;
use crate::policy_file::{self, PolicyArgs};

/// An installation.
#[derive(Clone)]
pub(crate) struct Installation {
    pub(crate) client: Client,
    /// The install namespace.
    pub(crate) namespace: String,
    /// The cluster, for people: the context and the address.
    pub(crate) target: String,
}

impl Installation {
    /// Finds the installation of a cluster: in the namespace that is named, or by the labels of its policy.
    pub(crate) async fn find(cluster: &ClusterArgs, install: &InstallArgs) -> Result<Self, Failure> {
        let target = cluster.target().or_exit(Exit::Cluster)?;
        let client = target.client().or_exit(Exit::Cluster)?;
        let namespace = match install.named() {
            Some(named) => named.to_owned(),
            None => found(&client).await?,
        };
        Ok(Self { client, namespace, target: target.to_string() })
    }

    /// Reads the policy.
    pub(crate) async fn policy(&self) -> Result<RunPolicy, Failure> {
        let what = || format!("failed to read the installed policy, ConfigMap {}/{POLICY}", self.namespace);
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), &self.namespace);
        let stored = api.get(POLICY).await.with_context(what).or_exit(Exit::Cluster)?;
        let text = stored.data.and_then(|mut data| data.remove(POLICY_KEY));
        let text = text.with_context(|| format!("data[{POLICY_KEY:?}]: Required value"));
        text.and_then(|text| policy_file::parse(&text)).with_context(what).or_exit(Exit::Usage)
    }

    /// Reads the CronJob of the garbage collector, whose Pods have the installation's policy, store and identity.
    pub(crate) async fn template(&self) -> Result<CronJob, Failure> {
        let labels = format!("{PART_OF},{COLLECTOR}");
        let api = Api::<CronJob>::namespaced(self.client.clone(), &self.namespace);
        let listed = api.list(&ListParams::default().labels(&labels)).await;
        let what = || format!("failed to list CronJobs of namespace {}", self.namespace);
        let mut found = listed.with_context(what).or_exit(Exit::Cluster)?.items;
        match (found.pop(), found.as_slice()) {
            (Some(only), []) => Ok(only),
            (None, _) => Err(anyhow!(
                "found no CronJob with the labels {labels} in namespace {}: the chart creates it unless gc.mode is off; name \
                 the install namespace with --guard-namespace",
                self.namespace
            ))
            .or_exit(Exit::Cluster),
            (Some(_), _) => Err(anyhow!(
                "found more than one CronJob with the labels {labels} in namespace {}: delete all but that of the chart",
                self.namespace
            ))
            .or_exit(Exit::Cluster),
        }
    }
}

/// Returns the policy that is named, or else that of the installation, and tells which it is.
pub(crate) async fn policy_in_use(
    named: &PolicyArgs,
    cluster: &ClusterArgs,
    install: &InstallArgs,
) -> Result<RunPolicy, Failure> {
    if let Some(file) = named.file() {
        let policy = named.read().or_exit(Exit::Usage)?;
        output::note(&format!("using policy {} of {}", policy.hash(), file.display()));
        return Ok(policy);
    }
    installed_policy(cluster, install).await
}

/// Returns the policy of the installation, and tells where it is.
pub(crate) async fn installed_policy(
    cluster: &ClusterArgs,
    install: &InstallArgs,
) -> Result<RunPolicy, Failure> {
    let at = Installation::find(cluster, install).await?;
    let policy = at.policy().await?;
    let Installation { namespace, target, .. } = &at;
    let hash = policy.hash();
    output::note(&format!("using policy {hash} of the installation in namespace {namespace} of {target}"));
    Ok(policy)
}

/// Returns the install namespace. A user who may not list all namespaces gets the default one.
async fn found(client: &Client) -> Result<String, Failure> {
    let params = ListParams::default().labels(&format!("{PART_OF},{POLICY_LABEL}"));
    let listed = match Api::<ConfigMap>::all(client.clone()).list_metadata(&params).await {
        Err(kube::Error::Api(status)) if status.code == 403 => return Ok(DEFAULT_NAMESPACE.to_owned()),
        listed => listed.context("failed to find the installation by its labels").or_exit(Exit::Cluster)?,
    };
    only(listed.items.iter().filter_map(ResourceExt::namespace).collect()).or_exit(Exit::Usage)
}

fn only(mut namespaces: Vec<String>) -> anyhow::Result<String> {
    namespaces.sort_unstable();
    match (namespaces.len(), namespaces.pop()) {
        (1, Some(only)) => Ok(only),
        (_, Some(last)) => Err(anyhow!(
            "--guard-namespace: Required value: there are installations in the namespaces {}, {last}",
            namespaces.join(", ")
        )),
        (_, None) => Err(anyhow!(
            "found no installation of codex-k8s-guard in this cluster: check the context, or name the install namespace with \
             --guard-namespace"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_installation_is_found_and_of_several_one_must_be_named() {
        let names = |names: &[&str]| only(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(names(&["agents-guard"]).unwrap(), "agents-guard");
        let several = names(&["b", "a"]).unwrap_err().to_string();
        assert_eq!(
            several,
            "--guard-namespace: Required value: there are installations in the namespaces a, b"
        );
        assert!(names(&[]).unwrap_err().to_string().starts_with("found no installation"), "none");
    }
}
