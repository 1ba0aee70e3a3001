//! The help that denials give.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PolicyError, invalid};

/// The help that denials give to their readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Denials {
    /// The address of a page about the rules, with an anchor for each rule, such as `#ns007`. Denials link to it. An
    /// empty address means no link.
    pub rules_url: String,
}

impl Default for Denials {
    fn default() -> Self {
        Self { rules_url: concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/rules.md").to_owned() }
    }
}

impl Denials {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let url = self.rules_url.as_str();
        let has_scheme = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
        if !url.is_empty()
            && (!has_scheme || url.contains(|found: char| found == '#' || !found.is_ascii_graphic()))
        {
            return Err(invalid(
                "denials.rulesUrl",
                "must be an address that begins with https:// and has no anchor, or empty",
            ));
        }
        Ok(())
    }

    /// Returns the sentence that ends a denial by a rule: the address of the rule, and the command that explains it.
    pub fn help(&self, rule: &str) -> String {
        let command = format!("kubectl guard explain {rule}");
        match self.rules_url.as_str() {
            "" => format!("(run {command})"),
            url => format!("(see {url}#{} or run {command})", rule.to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::RunPolicy;

    fn denials(section: &str) -> Result<Denials, String> {
        let header = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
        let policy = RunPolicy::from_yaml(&format!("{header}denials: {section}\n"));
        policy.map(|policy| policy.denials).map_err(|error| error.to_string())
    }

    #[test]
    fn a_denial_names_the_address_of_its_rule_and_the_command_that_explains_it() {
        let own = denials("{rulesUrl: 'https://wiki.example.org/guard'}").unwrap();
        assert_eq!(
            own.help("NS007"),
            "(see https://wiki.example.org/guard#ns007 or run kubectl guard explain NS007)"
        );
        assert!(denials("{}").unwrap().help("NS007").contains("/docs/rules.md#ns007 or run "));
        assert_eq!(denials("{rulesUrl: ''}").unwrap().help("NS007"), "(run kubectl guard explain NS007)");
    }

    #[test]
    fn what_is_not_an_address_is_refused_with_its_field() {
        for wrong in ["wiki.example.org", "javascript:alert(1)", "https://a b", "https://a#b", "https://a\\n"]
        {
            let error = denials(&format!("{{rulesUrl: \"{wrong}\"}}")).unwrap_err();
            assert!(error.contains("denials.rulesUrl"), "{error}");
        }
    }
}
