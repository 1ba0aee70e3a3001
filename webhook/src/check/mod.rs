//! The webhook's verdict on files, without a cluster: the same engine, asked as the API server would ask it.
//!
//! The objects of a set make a [virtual cluster](VirtualCluster). Its Namespaces are judged first, and what is mended of
//! them is the fact for what lies in them. A namespace that the set does not hold is what the webhook would make of one of
//! that name alone.

mod cluster;
mod defaults;
mod documents;

use std::sync::Arc;
use std::time::Duration;

use codex_k8s_shared::policy::RunPolicy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

pub use cluster::VirtualCluster;
pub use documents::{Document, ReadError, read};

use crate::engine::{Engine, Failure, Judged};
use crate::metrics::Metrics;
use crate::review::{self, AdmissionRequest, Entry, Outcome};
use crate::rules::Kind;

/// What nothing waits for: there is no gate in a virtual cluster.
const AT_ONCE: Duration = Duration::ZERO;

/// Who would create the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requester {
    /// The user name; `agent` is the ServiceAccount of the namespace that each object lies in.
    pub user: String,
    /// The groups.
    pub groups: Vec<String>,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It is none of the webhook's business.
    NotOurs,
    /// It is admitted as it is.
    Admitted,
    /// It is admitted, and changed on its way in.
    Mended,
    /// It is refused.
    Denied,
}

/// The verdict on one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judgement {
    /// The file that it stands in.
    pub file: String,
    /// The line that its document begins at.
    pub line: usize,
    /// Its kind.
    pub kind: String,
    /// The namespace that it lies in; none for what lies in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub result: Verdict,
    /// Why it is refused, as the API server would tell it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The rules that refuse it.
    pub rules: Vec<&'static str>,
    /// What its creator is told beside.
    pub warnings: Vec<String>,
    /// What is changed, as a JSON patch.
    pub patch: json_patch::Patch,
    /// The object as it would be stored, if it is admitted.
    #[serde(skip)]
    pub stored: Option<Value>,
}

/// Judges objects.
#[derive(Debug)]
pub struct Checker {
    engine: Engine<VirtualCluster>,
    cluster: VirtualCluster,
    requester: Requester,
    default_namespace: String,
}

/// Why an object could not be judged.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// What the API server would never send.
    #[error("{file}:{line}: failed to put it into a review")]
    Review {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Checker {
    /// Judges under a policy what this requester would create; objects without a namespace lie in `default_namespace`.
    pub fn new(policy: RunPolicy, requester: Requester, default_namespace: String) -> Self {
        let cluster = VirtualCluster::default();
        let engine = Engine::new(policy, cluster.clone(), Arc::<Metrics>::default());
        Self { engine, cluster, requester, default_namespace }
    }

    /// Takes Namespaces as there already, as they stand.
    pub fn assume(&self, documents: &[Document]) {
        for document in documents.iter().filter(|document| document.kind == "Namespace") {
            self.cluster.add(&document.object);
        }
    }

    /// Judges all of them, and returns the verdicts in their order.
    ///
    /// # Errors
    /// If one cannot be judged at all.
    pub async fn judge_all(&self, documents: &[Document]) -> Result<Vec<Judgement>, CheckError> {
        let is_namespace = |document: &&(usize, &Document)| document.1.kind == "Namespace";
        let numbered: Vec<_> = documents.iter().enumerate().collect();
        let (namespaces, others): (Vec<_>, Vec<_>) =
            numbered.into_iter().partition(|document| is_namespace(&document));
        let mut judged = Vec::with_capacity(documents.len());
        for (index, document) in namespaces.into_iter().chain(others) {
            judged.push((index, self.judge(document).await?));
        }
        judged.sort_by_key(|(index, _)| *index);
        Ok(judged.into_iter().map(|(_, judgement)| judgement).collect())
    }

    /// Judges a review as it stands, about a kind that the rules know. Its namespace is to be [imagined](Self::imagine)
    /// first.
    ///
    /// # Errors
    /// If its object cannot be read.
    pub async fn judge_review<'a>(
        &self,
        entry: Entry,
        kind: Kind,
        review: &'a AdmissionRequest<'_>,
    ) -> Result<Judged<'a>, Failure> {
        self.engine.judge(entry, kind, review, Instant::now() + AT_ONCE).await
    }

    async fn judge(&self, document: &Document) -> Result<Judgement, CheckError> {
        let namespace = self.namespace_of(document);
        if let Some(namespace) = namespace.as_deref().filter(|_| document.kind != "Namespace") {
            self.imagine(namespace).await?;
        }
        let mut object = document.object.clone();
        defaults::fill_in(&document.kind, &mut object);
        let mutated = self.ask(Entry::Mutate, document, &object, namespace.as_deref()).await?;
        json_patch::patch(&mut object, &mutated.patch.0).map_err(|error| failed(document, error))?;
        let validated = self.ask(Entry::Validate, document, &object, namespace.as_deref()).await?;
        let admitted = validated.denial.is_none();
        if admitted && document.kind == "Namespace" {
            self.cluster.add(&object);
        }
        Ok(judgement(document, namespace, mutated, validated, object))
    }

    /// The namespace that an object lies in. Of kinds that we know, it is known whether they lie in one.
    fn namespace_of(&self, document: &Document) -> Option<String> {
        let kind = Kind::of(document.group(), &document.kind);
        if matches!(kind, Some(Kind::Namespace)) {
            return Some(document.name().to_owned());
        }
        let told = document.object.pointer("/metadata/namespace").and_then(Value::as_str);
        let lies_in_one = kind.is_some() && !matches!(kind, Some(Kind::ClusterRoleBinding));
        told.map(str::to_owned).or_else(|| lies_in_one.then(|| self.default_namespace.clone()))
    }

    /// Makes of a namespace that the set does not hold what the webhook makes of one of that name.
    ///
    /// # Errors
    /// If that cannot be judged at all.
    pub async fn imagine(&self, name: &str) -> Result<(), CheckError> {
        if self.cluster.is_there(name) {
            return Ok(());
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let document = Document::of_nowhere(object);
        let mutated = self.ask(Entry::Mutate, &document, &document.object, Some(name)).await?;
        let mut object = document.object.clone();
        json_patch::patch(&mut object, &mutated.patch.0).map_err(|error| failed(&document, error))?;
        self.cluster.add(&object);
        Ok(())
    }

    async fn ask(
        &self,
        entry: Entry,
        document: &Document,
        object: &Value,
        namespace: Option<&str>,
    ) -> Result<Outcome, CheckError> {
        let review = self.review(document, object, namespace);
        let body = serde_json::to_vec(&review).map_err(|error| failed(document, error))?;
        let request = review::parse(&body).map_err(|error| failed(document, error))?;
        Ok(self.engine.review(entry, &request, Instant::now() + AT_ONCE).await)
    }

    fn review(&self, document: &Document, object: &Value, namespace: Option<&str>) -> Value {
        // What lies in no namespace, an agent of the usual one creates.
        let home = namespace.filter(|_| document.kind != "Namespace").unwrap_or(&self.default_namespace);
        let (user, groups) = self.requester.in_namespace(home);
        json!({
            "apiVersion": review::API_VERSION,
            "kind": review::KIND,
            "request": {
                "uid": "check",
                "kind": {"group": document.group(), "version": document.version(), "kind": document.kind},
                "name": document.name(),
                "namespace": namespace,
                "operation": "CREATE",
                "userInfo": {"username": user, "groups": groups},
                "object": object,
                "dryRun": true,
            },
        })
    }
}

impl Requester {
    /// Name and groups of whoever it is for an object of a namespace.
    fn in_namespace(&self, namespace: &str) -> (String, Vec<String>) {
        let user = match self.user.as_str() {
            "agent" => format!("system:serviceaccount:{namespace}:codex-runner"),
            user => user.to_owned(),
        };
        let mut groups = self.groups.clone();
        groups.push("system:authenticated".to_owned());
        if let Some(home) =
            user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split(':').next())
        {
            groups.extend(["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{home}")]);
        }
        (user, groups)
    }
}

fn failed(document: &Document, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CheckError {
    CheckError::Review { file: document.file.clone(), line: document.line, source: source.into() }
}

fn judgement(
    document: &Document,
    namespace: Option<String>,
    mutated: Outcome,
    validated: Outcome,
    object: Value,
) -> Judgement {
    let is_ours = !validated.audit.is_empty();
    let denial = mutated.denial.or(validated.denial);
    let result = match &denial {
        Some(_) => Verdict::Denied,
        None if !is_ours => Verdict::NotOurs,
        None if mutated.patch.0.is_empty() => Verdict::Admitted,
        None => Verdict::Mended,
    };
    let mut rules: Vec<_> =
        denial.iter().flat_map(|denial| denial.causes.iter().map(|cause| cause.reason)).collect();
    rules.dedup();
    Judgement {
        file: document.file.clone(),
        line: document.line,
        kind: document.kind.clone(),
        namespace: namespace.filter(|_| document.kind != "Namespace"),
        name: document.name().to_owned(),
        result,
        message: denial.map(|denial| denial.message),
        rules,
        warnings: validated.warnings,
        patch: mutated.patch,
        stored: (result != Verdict::Denied).then_some(object),
    }
}

#[cfg(test)]
mod tests;
