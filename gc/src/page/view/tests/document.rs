//! A page, parsed as a browser does.

use html5ever::tendril::TendrilSink as _;
use html5ever::{ParseOpts, parse_document};
use markup5ever_rcdom::{Handle, NodeData, RcDom};

pub(super) struct Document(Element);

#[derive(Clone)]
pub(super) struct Element(Handle);

impl Document {
    /// Parses a page, and fails on mistakes that a browser would fix.
    #[track_caller]
    pub(super) fn parse(html: &str) -> Self {
        let dom = parse_document(RcDom::default(), ParseOpts::default()).one(html);
        assert!(dom.errors.borrow().is_empty(), "{:?} in {html}", dom.errors.borrow());
        Self(Element(dom.document))
    }

    pub(super) fn root(&self) -> Element {
        self.all("html").remove(0)
    }

    pub(super) fn all(&self, name: &str) -> Vec<Element> {
        self.0.all(name)
    }

    #[track_caller]
    pub(super) fn by_id(&self, id: &str) -> Element {
        let found =
            self.0.everything().into_iter().find(|element| element.attribute("id").as_deref() == Some(id));
        found.unwrap_or_else(|| panic!("nothing has the id {id}"))
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.0.everything().iter().filter_map(|element| element.attribute("id")).collect()
    }

    pub(super) fn headings(&self) -> Vec<u32> {
        let level = |element: &Element| element.name()?.strip_prefix('h')?.parse().ok();
        self.0.everything().iter().filter_map(level).collect()
    }

    /// The names of all attributes.
    pub(super) fn attributes(&self) -> Vec<String> {
        let of = |element: &Element| match &element.0.data {
            NodeData::Element { attrs, .. } => {
                attrs.borrow().iter().map(|attribute| attribute.name.local.to_string()).collect()
            }
            _ => Vec::new(),
        };
        self.0.everything().iter().flat_map(of).collect()
    }
}

impl Element {
    fn name(&self) -> Option<String> {
        match &self.0.data {
            NodeData::Element { name, .. } => Some(name.local.to_string()),
            _ => None,
        }
    }

    fn everything(&self) -> Vec<Self> {
        let children = self.0.children.borrow();
        let below = children.iter().flat_map(|child| Self(child.clone()).everything());
        std::iter::once(self.clone()).chain(below).collect()
    }

    pub(super) fn all(&self, name: &str) -> Vec<Self> {
        self.everything().into_iter().filter(|element| element.name().as_deref() == Some(name)).collect()
    }

    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let NodeData::Element { attrs, .. } = &self.0.data else { return None };
        attrs.borrow().iter().find(|found| &*found.name.local == name).map(|found| found.value.to_string())
    }

    /// The text, with white space collapsed to one blank.
    pub(super) fn text(&self) -> String {
        let texts: Vec<_> = self
            .everything()
            .iter()
            .filter_map(|element| match &element.0.data {
                NodeData::Text { contents } => Some(contents.borrow().to_string()),
                _ => None,
            })
            .collect();
        if self.name().as_deref() == Some("style") {
            return texts.concat();
        }
        let block = texts.join("\u{0}");
        let block = block
            .replace(" \u{0}", " ")
            .replace("\u{0} ", " ")
            .replace("(\u{0}", "(")
            .replace("\u{0})", ")")
            .replace("\u{0},", ",")
            .replace("\u{0}:", ":")
            .replace("\u{0}.", ".")
            .replace("\u{0};", ";");
        block.replace('\u{0}', " ").split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
