//! The wire protocol, exactly: `admission.k8s.io/v1`.
//!
//! A request is parsed in place: names are borrowed from the body, and objects stay raw until a rule needs them. A
//! response satisfies the strict checks of kube-apiserver: it has the request's uid, no patch on a validating call, and
//! a patch only together with its type.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use crate::rules::{Entry, Operation};

/// The only supported version of the protocol.
pub const API_VERSION: &str = "admission.k8s.io/v1";
/// The kind of the request and the response.
pub const KIND: &str = "AdmissionReview";

/// The audit annotation with the decision id: the uid of the review, which identifies it in the log.
pub(crate) const DECISION_ID: &str = "decision-id";

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

/// The sender of the request to the API server.
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

/// A string that is borrowed from the body if it has no escapes. (`Vec<Cow<str>>` would always copy.)
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The `request` of an `AdmissionReview`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionRequest<'a> {
    /// Identifies this call, not the user's request: the API server may call several times for one request.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The kind of the object that the rules of the registration matched.
    #[serde(borrow, default)]
    pub kind: GroupVersionKind<'a>,
    #[serde(borrow, default)]
    sub_resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    namespace: Option<Cow<'a, str>>,
    /// The operation.
    pub operation: Operation,
    /// The requester.
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
    /// Returns the subresource, if any.
    pub(crate) fn subresource(&self) -> Option<&str> {
        self.sub_resource.as_deref().filter(|text| !text.is_empty())
    }

    /// Returns the object's name, unless it has not been generated yet.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref().filter(|text| !text.is_empty())
    }

    /// Returns the object's namespace. For a Namespace it is its own name.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|text| !text.is_empty())
    }

    /// Returns true if nothing will be stored.
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

/// The reason why a body is not a valid admission review.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// Not JSON, or a field has the wrong type.
    #[error("the body is no AdmissionReview: {0}")]
    Malformed(#[from] serde_json::Error),
    /// An unsupported version or kind.
    #[error("{field}: found {found:?}, expected {expected:?}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// The value that was found.
        found: String,
        /// The supported value.
        expected: &'static str,
    },
    /// A required field is missing.
    #[error("{0}: found nothing, expected a value")]
    Missing(&'static str),
}

/// Parses the request in a body.
///
/// # Errors
/// [`ReviewError`], which names the field. An answer with a uid is then not possible.
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
    // Without them there is nothing to evaluate, and a request that was not evaluated must not pass.
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

/// The answer to a review.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The changes; empty if there are none.
    pub patch: json_patch::Patch,
    /// The denial, if the request is denied.
    pub denial: Option<Denial>,
    /// Warnings for the user.
    pub warnings: Vec<String>,
    /// Annotations for the audit log. The API server prefixes each key with the webhook's name.
    pub audit: Vec<(&'static str, String)>,
}

/// A denial.
#[derive(Debug)]
pub struct Denial {
    /// The HTTP status for the user.
    pub code: DenialCode,
    /// The problem and its fix.
    pub message: String,
    /// The delay after which a direct client may retry; client-go then does so by itself. Never set for a controller's
    /// request, because it would put the controller's worker to sleep.
    pub retry_after_seconds: Option<u32>,
    /// Every problem, by field.
    pub causes: Vec<Cause>,
}

/// One problem.
#[derive(Debug, Serialize)]
pub struct Cause {
    /// The rule.
    pub reason: &'static str,
    /// The value that was found, and the fix.
    pub message: String,
    /// The field.
    pub field: String,
}

/// The HTTP status of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DenialCode {
    /// 403: the policy denies the request.
    Forbidden,
    /// 422: a value is invalid.
    Invalid,
    /// 429: not yet.
    TooManyRequests,
    /// 500: the webhook failed.
    Internal,
}

impl DenialCode {
    /// Returns the status code and its reason.
    pub(crate) const fn parts(self) -> (u16, &'static str) {
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
    /// The decision id. It is not in the message, because the message would then differ each time: controllers put
    /// messages into Events, which are aggregated by their text.
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

/// Encodes the answer to a request. An answer that a validating call must not have, or that cannot be encoded, becomes
/// a denial: the API server must never take it for "allowed".
pub(crate) fn encode(entry: Entry, uid: &str, outcome: &Outcome) -> Vec<u8> {
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
    // It contains only strings, numbers and maps with string keys, so serde_json cannot fail.
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

/// Warnings are sent in HTTP headers: a control character would drop them, and more than 4096 characters would cut
/// them.
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
