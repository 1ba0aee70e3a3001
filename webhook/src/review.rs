//! The wire protocol: `admission.k8s.io/v1`, exactly.
//!
//! A request is read in place: names are borrowed from the body and objects stay raw until a rule asks for them.
//! A response carries what kube-apiserver verifies strictly: the request's uid, no patch on a validating call,
//! and a patch together with its type or neither.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The only version of the protocol that is spoken.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The kind of both the request's and the response's envelope.
pub const KIND: &str = "AdmissionReview";

/// Which of the two calls the API server makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Entry {
    /// The mutating call: fixes, refuses nothing.
    Mutate,
    /// The validating call: evaluates the final object, changes nothing.
    Validate,
}

impl Entry {
    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// The audit annotation that tells a decision's id: the uid of its review, by which the log and a record are found.
pub const DECISION_ID: &str = "decision-id";

/// What is being done to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Operation {
    /// It is created.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// It is connected to, as `kubectl exec` does.
    Connect,
}

impl Operation {
    /// The name on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// A group, version and kind.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct GroupVersionKind<'a> {
    /// The API group; empty for the core group.
    #[serde(borrow)]
    pub group: Cow<'a, str>,
    /// The version.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// The kind.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

/// Who sent the request to the API server.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct UserInfo<'a> {
    /// The user name; with impersonation, the impersonated one.
    #[serde(borrow)]
    pub username: Cow<'a, str>,
    /// The groups.
    #[serde(borrow, deserialize_with = "null_is_empty")]
    pub groups: Vec<Text<'a>>,
}

/// A string that is borrowed from the body where it has no escapes. (`Vec<Cow<str>>` would always copy.)
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The `request` of an `AdmissionReview`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRequest<'a> {
    /// Identifies this call, not the user's request: the API server may call many times for one request.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The kind of the object, as the rules of the registration matched it.
    #[serde(borrow, default)]
    pub kind: GroupVersionKind<'a>,
    #[serde(borrow, default)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    /// What is being done.
    pub operation: Operation,
    /// Who asks.
    #[serde(borrow, default)]
    pub user_info: UserInfo<'a>,
    /// The object as it would be stored; absent on DELETE.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it is stored; absent on CREATE.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
    #[serde(default)]
    dry_run: Option<bool>,
}

impl AdmissionRequest<'_> {
    /// The subresource, if it is one.
    pub fn subresource(&self) -> Option<&str> {
        self.sub_resource.as_deref().filter(|text| !text.is_empty())
    }

    /// The object's name, unless it is still to be generated.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|text| !text.is_empty())
    }

    /// The object's namespace. For a Namespace it is its own name.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|text| !text.is_empty())
    }

    /// Whether nothing will be stored.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run == Some(true)
    }
}

fn null_is_empty<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Why a body is no admission review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or a field of the wrong form.
    #[error("the body is no AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another version or kind.
    #[error("{field}: found {found:?}, expected {expected:?}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What was found.
        found: String,
        /// What is spoken here.
        expected: &'static str,
    },
    /// A field that must be there is not.
    #[error("{0}: found nothing, expected a value")]
    Missing(&'static str),
}

/// Reads the request from a body.
///
/// # Errors
/// [`ReviewError`], which names the field. No answer with a uid can be given then.
pub fn parse(body: &[u8]) -> Result<AdmissionRequest<'_>, ReviewError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope<'a> {
        #[serde(borrow, default)]
        api_version: Cow<'a, str>,
        #[serde(borrow, default)]
        kind: Cow<'a, str>,
        #[serde(borrow, default)]
        request: Option<AdmissionRequest<'a>>,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(body)?;
    for (field, found, expected) in
        [("apiVersion", &envelope.api_version, API_VERSION), ("kind", &envelope.kind, KIND)]
    {
        if found != expected {
            let found = found.chars().take(64).collect();
            return Err(ReviewError::Unsupported { field, found, expected });
        }
    }
    let request = envelope.request.ok_or(ReviewError::Missing("request"))?;
    if request.uid.is_empty() {
        return Err(ReviewError::Missing("request.uid"));
    }
    // Without them there is nothing to evaluate, and nothing that was evaluated may pass.
    let is_null = |raw: Option<&RawValue>| raw.is_none_or(|raw| raw.get() == "null");
    let (object, old_object) = match request.operation {
        Operation::Create => (true, false),
        Operation::Update => (true, true),
        Operation::Delete => (false, true),
        Operation::Connect => (false, false),
    };
    if object && is_null(request.object) {
        return Err(ReviewError::Missing("request.object"));
    }
    if old_object && is_null(request.old_object) {
        return Err(ReviewError::Missing("request.oldObject"));
    }
    Ok(request)
}

/// What is answered.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is to be changed; empty for nothing.
    pub patch: json_patch::Patch,
    /// Why the request is refused, if it is.
    pub denial: Option<Denial>,
    /// What the user is told beside the answer.
    pub warnings: Vec<String>,
    /// What the audit log is told. The API server puts the webhook's name before each key.
    pub audit: Vec<(&'static str, String)>,
}

/// A refusal.
#[derive(Debug)]
pub struct Denial {
    /// The HTTP status that the user sees.
    pub code: DenialCode,
    /// What is wrong and how to fix it.
    pub message: String,
    /// When a direct client may try again; client-go then does so by itself. Never for a controller's request: it
    /// would put the controller's worker to sleep.
    pub retry_after_seconds: Option<u32>,
    /// Each thing that is wrong, by field.
    pub causes: Vec<Cause>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
pub struct Cause {
    /// The rule.
    pub reason: &'static str,
    /// What was found and how to fix it.
    pub message: String,
    /// The field.
    pub field: String,
}

/// The HTTP status of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialCode {
    /// 403: the policy refuses it.
    Forbidden,
    /// 422: a value is wrong.
    Invalid,
    /// 429: not now.
    TooManyRequests,
    /// 500: we failed.
    Internal,
}

impl DenialCode {
    /// The status code and its reason.
    pub const fn parts(self) -> (u16, &'static str) {
        match self {
            Self::Forbidden => (403, "Forbidden"),
            Self::Invalid => (422, "Invalid"),
            Self::TooManyRequests => (429, "TooManyRequests"),
            Self::Internal => (500, "InternalError"),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "is_empty", serialize_with = "as_map")]
    audit_annotations: &'a [(&'static str, &'a str)],
}

#[derive(Serialize)]
struct Status<'a> {
    #[serde(rename = "status")]
    outcome: &'static str,
    message: &'a str,
    reason: &'static str,
    code: u16,
    details: Details<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    /// The decision's id. Not in the message, which would then be another one each time: controllers tell messages in
    /// Events, which are counted by their text.
    uid: &'a str,
    #[serde(skip_serializing_if = "is_empty")]
    causes: &'a [Cause],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
}

fn is_empty<T>(slice: &&[T]) -> bool {
    slice.is_empty()
}

fn as_map<S: serde::Serializer>(pairs: &&[(&'static str, &str)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// Writes the answer to a request. What a validating call may not carry, or what cannot be written, becomes a
/// refusal: never an answer that the API server would take for "allowed".
pub fn encode(entry: Entry, uid: &str, outcome: &Outcome) -> Vec<u8> {
    let allowed = outcome.denial.is_none();
    let mut audit: Vec<_> = outcome.audit.iter().map(|(key, value)| (*key, value.as_str())).collect();
    if !audit.is_empty() {
        audit.push((DECISION_ID, uid));
    }
    let patch = (allowed && entry == Entry::Mutate && !outcome.patch.0.is_empty())
        .then(|| serde_json::to_vec(&outcome.patch).ok().map(|json| BASE64.encode(json)))
        .flatten();
    let review = Review {
        api_version: API_VERSION,
        kind: KIND,
        response: Response {
            uid,
            allowed,
            status: outcome.denial.as_ref().map(|denial| status(uid, denial)),
            patch_type: patch.as_ref().map(|_| "JSONPatch"),
            patch,
            warnings: warnings(&outcome.warnings),
            audit_annotations: &audit,
        },
    };
    // Strings, numbers and maps with string keys: there is nothing in it that serde_json could fail to write.
    serde_json::to_vec(&review).unwrap_or_default()
}

fn status<'a>(uid: &'a str, denial: &'a Denial) -> Status<'a> {
    let (code, reason) = denial.code.parts();
    let retry_after_seconds = denial.retry_after_seconds;
    Status {
        outcome: "Failure",
        message: &denial.message,
        reason,
        code,
        details: Details { uid, causes: &denial.causes, retry_after_seconds },
    }
}

/// Warnings travel in HTTP headers: a control character loses them, more than 4096 characters cuts them.
fn warnings(raw: &[String]) -> Vec<String> {
    const LONGEST: usize = 256;
    const ALL: usize = 4096;
    let mut left = ALL;
    let mut clean: Vec<String> = Vec::with_capacity(raw.len());
    for warning in raw {
        let text: String = warning
            .chars()
            .map(|character| if character.is_control() { ' ' } else { character })
            .take(LONGEST.min(left))
            .collect();
        if !text.is_empty() && !clean.contains(&text) {
            left -= text.chars().count();
            clean.push(text);
        }
    }
    clean
}
