//! Generated manifests, written in many hands.

use std::fmt::Write as _;

use codex_k8s_webhook::rules::Kind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{missing, support, written};

/// Writes objects as people do, each in another way, with comments everywhere. What is decided is drawn from bytes.
struct Hand {
    text: String,
    drawn: std::vec::IntoIter<u8>,
    comments: usize,
    indent: usize,
    lists_are_indented: bool,
}

impl Hand {
    fn write(objects: &[Value], drawn: Vec<u8>) -> String {
        let mut drawn = drawn.into_iter();
        let (indent, lists, ends) = (drawn.next(), drawn.next(), drawn.next());
        let indent = if indent.is_some_and(|byte| byte % 2 == 1) { 4 } else { 2 };
        let lists_are_indented = lists.is_some_and(|byte| byte % 2 == 1);
        let mut hand = Self { text: String::new(), drawn, comments: 0, indent, lists_are_indented };
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                hand.text.push_str("---");
                hand.end_line();
            }
            hand.fields(object, 0, false);
        }
        match ends.map_or(0, |byte| byte % 3) {
            0 => hand.text,
            1 => hand.text.replace('\n', "\r\n"),
            _ => hand.text.trim_end().to_owned(),
        }
    }

    fn one_in(&mut self, many: u8) -> bool {
        self.drawn.next().is_some_and(|byte| byte % many == 0)
    }

    fn comment(&mut self) {
        let _ = write!(self.text, "# c{} é: [", self.comments);
        self.comments += 1;
    }

    fn end_line(&mut self) {
        if self.one_in(4) {
            self.text.push(' ');
            self.comment();
        }
        self.text.push('\n');
    }

    /// The beginning of a line, and perhaps comments and empty lines before it.
    fn begin_line(&mut self, depth: usize) {
        if self.one_in(5) {
            self.text.push_str(&" ".repeat(depth));
            self.comment();
            self.text.push('\n');
        }
        if self.one_in(9) {
            self.text.push('\n');
        }
        self.text.push_str(&" ".repeat(depth));
    }

    fn fields(&mut self, object: &Value, depth: usize, mut is_begun: bool) {
        for (key, value) in object.as_object().unwrap() {
            if !std::mem::take(&mut is_begun) {
                self.begin_line(depth);
            }
            let key = if self.one_in(6) { json!(key).to_string() } else { key.clone() };
            let _ = write!(self.text, "{key}:");
            self.value(value, depth);
        }
    }

    fn value(&mut self, value: &Value, depth: usize) {
        let is_filled = |value: &Value| match value {
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => !items.is_empty(),
            _ => false,
        };
        match value {
            value if is_filled(value) && !self.one_in(7) => {
                self.end_line();
                if let Value::Array(items) = value {
                    let depth = if self.lists_are_indented { depth + self.indent } else { depth };
                    for item in items {
                        self.begin_line(depth);
                        self.text.push_str("- ");
                        match item {
                            Value::Object(_) => self.fields(item, depth + 2, true),
                            item => {
                                self.text.push_str(&item.to_string());
                                self.end_line();
                            }
                        }
                    }
                } else {
                    self.fields(value, depth + self.indent, false);
                }
            }
            Value::Null if self.one_in(2) => self.end_line(),
            value => {
                let _ = write!(self.text, " {value}");
                self.end_line();
            }
        }
    }
}

fn comments(text: &str) -> Vec<usize> {
    let numbers = text.split("# c").skip(1).map(|rest| rest.split(' ').next().unwrap().parse().unwrap());
    numbers.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whoever_wrote_it_all_comments_and_all_that_is_not_mended_stay(
        mut namespace in support::benign_namespace(),
        mode in support::modes(),
        workload in support::modes().prop_flat_map(support::benign_workload),
        user in support::creators(),
        drawn in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        namespace["metadata"]["labels"] = match namespace["metadata"]["labels"].take() {
            Value::Object(mut labels) => {
                labels.insert("codex-k8s.dev/runtime-mode".to_owned(), mode.as_str().into());
                labels.into()
            }
            other => other,
        };
        let (kind, mut workload) = workload;
        if kind == Kind::Pod {
            // The API server's own volume is in no file.
            workload["spec"]["automountServiceAccountToken"] = false.into();
        }
        (workload["apiVersion"], workload["kind"]) = match kind {
            Kind::Job => ("batch/v1".into(), "Job".into()),
            Kind::CronJob => ("batch/v1".into(), "CronJob".into()),
            _ => ("v1".into(), "Pod".into()),
        };
        let text = Hand::write(&[namespace, workload], drawn);
        let new = written(&text, user);
        prop_assert_eq!(comments(&text), comments(&new), "{}\n->\n{}", text, new);
        // What was nothing, or stands in braces, is filled in its own line.
        let is_filled = |line: &&str| {
            let code = line.split(" # c").next().unwrap_or_default();
            let is_given = code.ends_with(':') && !new.lines().any(|new| new == *line);
            is_given || code.ends_with("null") || code.contains(['{', '['])
        };
        let stays: Vec<_> = text.lines().filter(|line| !is_filled(line)).collect();
        let stays = stays.join("\n");
        let changed = missing(&stays, &new);
        prop_assert!(changed.is_empty(), "{changed:?} of\n{text}\n->\n{new}");
    }
}
