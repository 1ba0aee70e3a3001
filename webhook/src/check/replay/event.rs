//! An event of the API server's audit log, `audit.k8s.io/v1`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use codex_k8s_shared::install::WEBHOOK_DOMAIN;
use jiff::Timestamp;
use json_patch::Patch;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::review::{Operation, UserInfo};

/// The version of the events.
pub(super) const API_VERSION: &str = "audit.k8s.io/v1";
/// The kind of an event.
pub(super) const KIND: &str = "Event";
/// The key prefix of the annotation with a patch of a mutating webhook. Round and index follow.
const PATCH: &str = "patch.webhook.admission.k8s.io/round_";
/// The key prefix of the annotation about a webhook that was ignored because it failed.
const FAILED_OPEN: &str = "failed-open.mutating.webhook.admission.k8s.io/round_";

/// An event, with its objects as raw JSON.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditEvent<'a> {
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    /// The id, the same for all events of a request.
    #[serde(rename = "auditID", borrow, default)]
    pub(super) id: Cow<'a, str>,
    #[serde(borrow, default)]
    stage: Cow<'a, str>,
    #[serde(rename = "requestURI", borrow, default)]
    uri: Cow<'a, str>,
    #[serde(borrow, default)]
    level: Cow<'a, str>,
    #[serde(borrow, default)]
    verb: Cow<'a, str>,
    #[serde(borrow, default)]
    user: UserInfo<'a>,
    #[serde(borrow, default)]
    impersonated_user: Option<UserInfo<'a>>,
    /// The object of the request; absent for paths such as `/healthz`.
    #[serde(borrow, default)]
    pub(super) object_ref: Option<ObjectRef<'a>>,
    #[serde(default)]
    response_status: Option<ResponseStatus>,
    /// The object as it was sent, with the API server's defaults; of a patch, the patch; of a deletion, its options.
    #[serde(borrow, default)]
    pub(super) request_object: Option<&'a RawValue>,
    /// The object as it was stored, or the status of a failure.
    #[serde(borrow, default)]
    pub(super) response_object: Option<&'a RawValue>,
    #[serde(default)]
    request_received_timestamp: Option<Timestamp>,
    #[serde(default)]
    stage_timestamp: Option<Timestamp>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// The object of a request.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ObjectRef<'a> {
    /// The resource, in the plural.
    #[serde(borrow)]
    pub(super) resource: Cow<'a, str>,
    /// The namespace; of a Namespace, its name.
    #[serde(borrow)]
    pub(super) namespace: Cow<'a, str>,
    /// The name; empty for a creation with `generateName`.
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    /// The API group; empty for the core group.
    #[serde(borrow)]
    pub(super) api_group: Cow<'a, str>,
    /// The version.
    #[serde(borrow)]
    pub(super) api_version: Cow<'a, str>,
    #[serde(borrow)]
    subresource: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

/// The value of the annotations about patches and failures.
#[derive(Debug, Deserialize)]
struct AboutWebhook {
    #[serde(default)]
    webhook: String,
    #[serde(default)]
    patch: Option<Patch>,
}

/// The decision of the webhook, as its audit annotations record it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// The webhook was not called, or the request was out of scope.
    None,
    /// Admitted.
    Admitted,
    /// Denied by these rules.
    Denied(Vec<String>),
    /// The webhook could not read a fact.
    Failed,
}

/// The verb of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// A write of one object.
    One(Operation),
    /// A deletion of all objects of a list.
    Collection,
}

impl ObjectRef<'_> {
    /// Returns the subresource, if any.
    pub(super) fn subresource(&self) -> Option<&str> {
        Some(&*self.subresource).filter(|text| !text.is_empty())
    }
}

impl AuditEvent<'_> {
    /// Returns true if it is an event of a known version.
    pub(super) fn is_known(&self) -> bool {
        self.kind == KIND && self.api_version == API_VERSION
    }

    /// Returns true if the request has ended: of the events of one request, the one with its result.
    pub(super) fn is_last(&self) -> bool {
        matches!(&*self.stage, "ResponseComplete" | "Panic")
    }

    /// Returns true if the level omits the objects.
    pub(super) fn is_metadata_only(&self) -> bool {
        !matches!(&*self.level, "Request" | "RequestResponse")
    }

    /// Returns the kind of write; `None` for reads and connections. A patch or an update can create its object.
    pub(super) fn write(&self) -> Option<Write> {
        const CREATED: u16 = 201;
        let operation = match &*self.verb {
            "create" => Operation::Create,
            "update" | "patch" if self.code() == CREATED => Operation::Create,
            "update" | "patch" => Operation::Update,
            "delete" => Operation::Delete,
            "deletecollection" => return Some(Write::Collection),
            _ => return None,
        };
        Some(Write::One(operation))
    }

    /// Returns true for a patch, whose request is not an object.
    pub(super) fn is_patch(&self) -> bool {
        self.verb == "patch"
    }

    /// Returns the HTTP status of the response; 0 if there is none.
    pub(super) fn code(&self) -> u16 {
        self.response_status.as_ref().map_or(0, |status| status.code)
    }

    /// Returns true if the request was successful.
    pub(super) fn has_succeeded(&self) -> bool {
        (200..300).contains(&self.code())
    }

    /// Returns true if nothing was stored. The option is in the address, or in the body of a deletion.
    pub(super) fn is_dry_run(&self) -> bool {
        let in_body = || {
            self.verb == "delete" && self.request_object.is_some_and(|raw| raw.get().contains("\"dryRun\":["))
        };
        self.uri.contains("dryRun=") || in_body()
    }

    /// Returns the user for whom the request was authorized.
    pub(super) fn requester(&self) -> &UserInfo<'_> {
        self.impersonated_user.as_ref().unwrap_or(&self.user)
    }

    /// Returns the time at which the request arrived.
    pub(super) fn received_at(&self) -> Option<Timestamp> {
        self.request_received_timestamp.or(self.stage_timestamp)
    }

    /// Returns the time at which the request ended.
    pub(super) fn ended_at(&self) -> Option<Timestamp> {
        self.stage_timestamp.or(self.request_received_timestamp)
    }

    /// Returns the recorded decision. Several of our webhooks may have been called; one denial denies.
    pub(super) fn decision(&self) -> Decision {
        let mut decision = Decision::None;
        for (webhook, value) in self.ours("decision") {
            decision = match (value, decision) {
                ("failed", _) => return Decision::Failed,
                ("denied", Decision::Denied(mut rules)) => {
                    rules.extend(self.rules(webhook));
                    Decision::Denied(rules)
                }
                ("denied", _) => Decision::Denied(self.rules(webhook)),
                (_, Decision::None) => Decision::Admitted,
                (_, earlier) => earlier,
            };
        }
        decision
    }

    fn rules(&self, webhook: &str) -> Vec<String> {
        let found = self.ours("rules").find(|(of, _)| *of == webhook);
        found.map(|(_, rules)| rules.split(',').map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Returns our webhooks that have set an annotation, with its value.
    fn ours(&self, annotation: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.annotations.iter().flatten().filter_map(move |(key, value)| {
            let (webhook, name) = key.split_once('/')?;
            (name == annotation && is_ours(webhook)).then_some((webhook, value.as_str()))
        })
    }

    /// Returns the patches of our webhooks in their order; `None` if one cannot be read.
    pub(super) fn patches(&self) -> Option<Vec<Patch>> {
        let mut patches = self
            .about_webhooks(PATCH)
            .map(|(order, about)| about.map(|about| (order, about)))
            .collect::<Option<Vec<_>>>()?;
        patches.retain(|(_, about)| is_ours(&about.webhook));
        patches.sort_by_key(|(order, _)| *order);
        patches.into_iter().map(|(_, about)| about.patch).collect()
    }

    /// Returns true if one of our mutating webhooks failed, and was ignored.
    pub(super) fn has_failed_open(&self) -> bool {
        self.about_webhooks(FAILED_OPEN).any(|(_, about)| about.is_none_or(|about| is_ours(&about.webhook)))
    }

    /// Returns the annotations with a prefix, by round and index.
    fn about_webhooks(
        &self,
        prefix: &'static str,
    ) -> impl Iterator<Item = ((u32, u32), Option<AboutWebhook>)> {
        self.annotations.iter().flatten().filter_map(move |(key, value)| {
            let (round, index) = key.strip_prefix(prefix)?.split_once("_index_")?;
            let order = (round.parse().ok()?, index.parse().ok()?);
            Some((order, serde_json::from_str(value).ok()))
        })
    }
}

fn is_ours(webhook: &str) -> bool {
    webhook.strip_suffix(WEBHOOK_DOMAIN).is_some_and(|subject| subject.ends_with('.'))
}
