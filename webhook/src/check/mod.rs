//! Evaluates files without a cluster, with the engine of the webhook and the requests that the API server would send.
//!
//! The objects of a set form a [virtual cluster](VirtualCluster). Its Namespaces are evaluated first, and the mutated
//! ones are facts for the objects that they contain. A namespace that is missing in the set is replaced by what the
//! webhook would make of one with only that name.

mod assumptions;
mod cluster;
mod decode;
mod defaults;
mod documents;
mod encoding;
mod evaluation;
pub mod explain;
pub mod live;
pub mod replay;
mod report;
mod request;
mod source;
mod stream;
mod yaml;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use codex_k8s_shared::policy::RunPolicy;
use serde_json::{Value, json};
use tokio::time::Instant;

pub(crate) use cluster::VirtualCluster;
pub use decode::{REMEDY, RULE, TITLE, WHY};
pub use documents::{Contents, Document, LARGEST, Origin, PassedOver, read};
pub use evaluation::{Assumption, Evaluation, Problem, Severity, Verdict};
pub use report::{Report, Summary};
pub use request::{CONNECTIONS, CheckRequest, Requester};
pub use source::Position;
pub(crate) use source::{Source, locate_in_text};

use assumptions::Set;

use crate::decision::{Decided, EvaluatedReview};
use crate::engine::{Engine, Failure};
use crate::metrics::Metrics;
use crate::review::{self, AdmissionRequest, Entry, Operation};
use crate::rules::Kind;

/// There is no gate in a virtual cluster, so nothing waits.
const NO_WAIT: Duration = Duration::ZERO;

/// Group, kind, namespace and name: the identity of an object in a cluster.
type Key = (String, String, Option<String>, String);

/// Evaluates objects.
#[derive(Debug)]
pub struct Checker {
    engine: Engine<VirtualCluster>,
    cluster: VirtualCluster,
    request: CheckRequest,
    there: BTreeMap<Key, Value>,
}

/// The reason why an object could not be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// An object that the API server would never send.
    #[error("{file}:{line}: failed to put it into a review")]
    Review {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An existing object that the API server cannot read.
    #[error("{file}:{line}: {what}: {problem}")]
    Invalid {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// Kind, namespace and name.
        what: String,
        /// The first problem.
        problem: String,
    },
    /// An update of an object that does not exist.
    #[error(
        "{file}:{line}: found no old object for {what}; an update is evaluated by what it changes: give that in --old"
    )]
    NoOldObject {
        /// The file.
        file: String,
        /// The line.
        line: usize,
        /// Kind, namespace and name.
        what: String,
    },
}

/// An object before and after, as in a review.
struct Change {
    object: Option<Value>,
    old: Option<Value>,
}

impl Checker {
    /// Creates a checker with a policy and the request to evaluate.
    pub fn new(policy: RunPolicy, request: CheckRequest) -> Self {
        Self::over(VirtualCluster::default(), policy, request)
    }

    /// Creates a checker like [`new`](Self::new), in an existing cluster.
    pub(crate) fn over(cluster: VirtualCluster, policy: RunPolicy, request: CheckRequest) -> Self {
        let engine = Engine::new(policy, cluster.clone(), Arc::<Metrics>::default());
        let engine = match request.now {
            Some(now) => engine.stopped_at(now),
            None => engine,
        };
        Self { engine, cluster, request, there: BTreeMap::new() }
    }

    /// Adds existing objects, unchanged: Namespaces are facts, and all objects can be updated or deleted.
    ///
    /// # Errors
    /// If the API server could not have read one of them.
    pub fn assume(&mut self, documents: &[Document]) -> Result<(), CheckError> {
        for document in documents {
            self.is_readable(document)?;
            if is_namespace(document) {
                self.cluster.add(&document.object);
            }
            self.there.insert(self.key(document), document.object.clone());
        }
        Ok(())
    }

    fn is_readable(&self, document: &Document) -> Result<(), CheckError> {
        let evaluation = evaluation::invalid(document, self.request.operation, self.position_of(document));
        let Some(problem) = evaluation.problems.first() else { return Ok(()) };
        let line = problem.line.unwrap_or(document.line);
        let (what, problem) = (evaluation.what(), problem.to_string());
        Err(CheckError::Invalid { file: evaluation.file, line, what, problem })
    }

    /// Evaluates all objects and returns the results in their order.
    ///
    /// # Errors
    /// If an object cannot be evaluated at all.
    pub async fn evaluate_all(&self, documents: &[Document]) -> Result<Vec<Evaluation>, CheckError> {
        let (namespaces, others): (Vec<_>, Vec<_>) =
            documents.iter().enumerate().partition(|(_, document)| is_namespace(document));
        let mut set = Set::default();
        let mut evaluated = Vec::with_capacity(documents.len());
        for (index, document) in namespaces.into_iter().chain(others) {
            evaluated.push((index, self.evaluate(document, &mut set).await?));
        }
        evaluated.sort_by_key(|(index, _)| *index);
        Ok(evaluated.into_iter().map(|(_, evaluation)| evaluation).collect())
    }

    /// Evaluates a review, unchanged, about a kind that has rules. Its namespace must be [imagined](Self::imagine)
    /// first.
    ///
    /// # Errors
    /// If its object is unreadable.
    pub(crate) async fn evaluate_review(
        &self,
        entry: Entry,
        kind: Kind,
        review: &AdmissionRequest<'_>,
    ) -> Result<EvaluatedReview, Failure> {
        self.engine.evaluate(entry, kind, review, Instant::now() + NO_WAIT).await
    }

    async fn evaluate(&self, document: &Document, set: &mut Set) -> Result<Evaluation, CheckError> {
        let (operation, namespace) = (self.request.operation, self.position_of(document));
        if !document.defects.is_empty() {
            if is_namespace(document) {
                set.add_invalid(document);
            }
            return Ok(evaluation::invalid(document, operation, namespace));
        }
        let is_ours = Kind::of(document.group(), &document.kind).is_some();
        if let Some(namespace) = namespace.as_ref().filter(|name| is_ours && set.is_invalid(name)) {
            return Ok(evaluation::not_evaluated(document, operation, namespace.clone()));
        }
        let (mut evaluation, object) = self.evaluate_change(&self.request.requester, document).await?;
        let is_denied = evaluation.result == Verdict::Denied;
        if !is_namespace(document) {
            let name = namespace.as_deref().filter(|_| evaluation.result != Verdict::NotOurs);
            let policy = self.engine.policy();
            evaluation.assumption =
                name.and_then(|name| set.assumption(&self.cluster, &policy.policy, &self.request, name));
        } else if let Some(object) = object.filter(|_| !is_denied || operation == Operation::Create) {
            // The content of a namespace that is denied is evaluated too, so that one report lists all problems.
            self.cluster.add(&object);
            if is_denied {
                set.add_denied(document.name());
            }
        }
        Ok(evaluation)
    }

    /// Evaluates the request of another user, and does not change the cluster.
    pub(crate) async fn evaluate_by(
        &self,
        requester: &Requester,
        document: &Document,
    ) -> Result<Evaluation, CheckError> {
        self.evaluate_change(requester, document).await.map(|(evaluation, _)| evaluation)
    }

    /// Evaluates a request, and also returns the mutated object.
    async fn evaluate_change(
        &self,
        requester: &Requester,
        document: &Document,
    ) -> Result<(Evaluation, Option<Value>), CheckError> {
        let namespace = self.namespace_of(document);
        if let Some(namespace) = namespace.as_deref().filter(|_| !is_namespace(document)) {
            self.imagine(namespace).await?;
        }
        let mut change = self.change(document, namespace.as_deref()).await?;
        let position = namespace.as_deref();
        let mut mutated = self.ask(Entry::Mutate, requester, document, &change, position).await?;
        let patch = std::mem::take(&mut mutated.outcome.patch);
        if let Some(object) = &mut change.object {
            json_patch::patch(object, &patch.0).map_err(|error| failed(document, error))?;
        }
        let mut decided = self.ask(Entry::Validate, requester, document, &change, position).await?;
        if mutated.outcome.denial.is_some() {
            decided = mutated;
        } else {
            decided.outcome.warnings.splice(..0, mutated.outcome.warnings);
        }
        let namespace = self.position_of(document);
        let evaluation = evaluation::of(document, self.request.operation, namespace, patch, decided);
        Ok((evaluation, change.object))
    }

    /// Returns both objects of a review. The old object of a deletion is the one that its creation would have left.
    async fn change(&self, document: &Document, namespace: Option<&str>) -> Result<Change, CheckError> {
        let filled = |object: &Value| {
            let mut object = object.clone();
            defaults::fill_in(&document.kind, &mut object);
            object
        };
        let object = filled(&document.object);
        let old = self.there.get(&self.key(document)).map(filled);
        Ok(match (self.request.operation, old) {
            (Operation::Create, _) => Change { object: Some(object), old: None },
            (Operation::Update, None) => return Err(self.no_old_object(document)),
            (Operation::Update, old) => Change { object: Some(object), old },
            (Operation::Delete, Some(old)) => Change { object: None, old: Some(old) },
            (Operation::Delete, None) => {
                Change { object: None, old: Some(self.created(document, object, namespace).await?) }
            }
            (Operation::Connect, _) => Change { object: None, old: None },
        })
    }

    /// Returns what the webhook makes of an object at its creation.
    async fn created(
        &self,
        document: &Document,
        object: Value,
        namespace: Option<&str>,
    ) -> Result<Value, CheckError> {
        let change = Change { object: Some(object.clone()), old: None };
        let review = self.review(Operation::Create, &self.request.requester, document, &change, namespace);
        let mutated = self.decide(Entry::Mutate, document, &review).await?;
        let mut object = object;
        json_patch::patch(&mut object, &mutated.outcome.patch.0).map_err(|error| failed(document, error))?;
        if is_namespace(document) {
            self.cluster.add(&object);
        }
        Ok(object)
    }

    /// Adds a missing namespace: what the webhook makes of one with only this name.
    ///
    /// # Errors
    /// If it cannot be evaluated at all.
    pub(crate) async fn imagine(&self, name: &str) -> Result<(), CheckError> {
        if self.cluster.is_there(name) {
            return Ok(());
        }
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let document = Document::of_nowhere(object.clone());
        let created = self.created(&document, object, Some(name)).await?;
        self.cluster.imagine(&created, name);
        Ok(())
    }

    /// Returns the namespace of an object. Kinds with rules are known to be namespaced or not.
    fn namespace_of(&self, document: &Document) -> Option<String> {
        let kind = Kind::of(document.group(), &document.kind);
        if matches!(kind, Some(Kind::Namespace)) {
            return Some(document.name().to_owned());
        }
        let lies_in_one =
            kind.is_some() && !matches!(kind, Some(Kind::ClusterRole | Kind::ClusterRoleBinding));
        let usual = || lies_in_one.then(|| self.request.default_namespace.clone());
        document.namespace().map(str::to_owned).or_else(usual)
    }

    /// Returns the namespace that contains an object; none for a Namespace.
    fn position_of(&self, document: &Document) -> Option<String> {
        self.namespace_of(document).filter(|_| !is_namespace(document))
    }

    fn key(&self, document: &Document) -> Key {
        let (group, kind, name) = (document.group(), &document.kind, document.name());
        (group.to_owned(), kind.clone(), self.namespace_of(document), name.to_owned())
    }

    fn no_old_object(&self, document: &Document) -> CheckError {
        let what = evaluation::what(&document.kind, self.position_of(document).as_deref(), document.name());
        CheckError::NoOldObject { file: document.file().to_owned(), line: document.line, what }
    }

    async fn ask(
        &self,
        entry: Entry,
        requester: &Requester,
        document: &Document,
        change: &Change,
        namespace: Option<&str>,
    ) -> Result<Decided, CheckError> {
        let review = self.review(self.request.operation, requester, document, change, namespace);
        self.decide(entry, document, &review).await
    }

    async fn decide(&self, entry: Entry, document: &Document, review: &Value) -> Result<Decided, CheckError> {
        let body = serde_json::to_vec(review).map_err(|error| failed(document, error))?;
        let request = review::parse(&body).map_err(|error| failed(document, error))?;
        Ok(self.engine.decide(entry, &request, Instant::now() + NO_WAIT).await)
    }

    fn review(
        &self,
        operation: Operation,
        requester: &Requester,
        document: &Document,
        change: &Change,
        namespace: Option<&str>,
    ) -> Value {
        // For cluster-scoped objects, `agent` is the agent of the default namespace.
        let own_namespace =
            namespace.filter(|_| !is_namespace(document)).unwrap_or(&self.request.default_namespace);
        let (user, groups) = requester.in_namespace(own_namespace);
        let kind = self.request.kind_in_review(&document.kind);
        json!({
            "apiVersion": review::API_VERSION,
            "kind": review::KIND,
            "request": {
                "uid": "check",
                "kind": {"group": document.group(), "version": document.version(), "kind": kind},
                "subResource": self.request.subresource,
                "name": document.name(),
                "namespace": namespace,
                "operation": operation.as_str(),
                "userInfo": {"username": user, "groups": groups},
                "object": change.object,
                "oldObject": change.old,
                "dryRun": true,
            },
        })
    }
}

fn is_namespace(document: &Document) -> bool {
    document.kind == "Namespace" && document.group().is_empty()
}

fn failed(document: &Document, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CheckError {
    CheckError::Review { file: document.file().to_owned(), line: document.line, source: source.into() }
}

#[cfg(test)]
mod tests;
