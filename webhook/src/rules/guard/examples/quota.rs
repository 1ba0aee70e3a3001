//! Examples of the rule about quotas and limits beside the baseline's.

use crate::rules::example::User::{Agent, Reconciler};
use crate::rules::example::{Example, Object};

pub(in crate::rules::guard) const QUOTA001: &[Example] = &[
    Example::new("one that is there already can be deleted").deletes(Object::LimitRange, ""),
    Example::new("an agent gives its Pods other limits")
        .by(Agent)
        .creates(Object::LimitRange, "")
        .denied_at("metadata.name"),
    Example::new("a quota of zero stops the run")
        .creates(Object::ResourceQuota, "metadata: {name: none}\nspec: {hard: {pods: '0'}}")
        .denied_at("metadata.name"),
    Example::new("the reconciler is not bound").by(Reconciler).creates(Object::LimitRange, ""),
];
