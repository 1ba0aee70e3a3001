//! Examples of the rule about quotas and limits outside the baseline.

use crate::rules::example::User::{Agent, Reconciler};
use crate::rules::example::{Example, Object};

pub(in crate::rules::baseline) const QUOTA001: &[Example] = &[
    Example::new("a person deletes an existing LimitRange").deletes(Object::LimitRange, ""),
    Example::new("an agent creates a LimitRange with other defaults")
        .by(Agent)
        .creates(Object::LimitRange, "")
        .denied_at("metadata.name"),
    Example::new("a person creates a quota of zero, which would stop the run")
        .creates(Object::ResourceQuota, "metadata: {name: none}\nspec: {hard: {pods: '0'}}")
        .denied_at("metadata.name"),
    Example::new("the reconciler creates a LimitRange").by(Reconciler).creates(Object::LimitRange, ""),
];
