//! What junit.xml says, without times.

/// A test case: its name, class, file and line, and its results.
pub(crate) type Case = ([Option<String>; 4], Vec<String>);

/// The test cases of a file, in their order.
pub(crate) fn cases(xml: &str) -> Vec<Case> {
    let document = roxmltree::Document::parse(xml).unwrap();
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let case = |node: roxmltree::Node<'_, '_>| {
        let result: Vec<String> = node
            .children()
            .filter(|child| ["failure", "error", "skipped"].contains(&child.tag_name().name()))
            .map(|child| format!("{} {:?}", child.tag_name().name(), child.attribute("message")))
            .collect();
        let attributes =
            ["name", "classname", "file", "line"].map(|name| node.attribute(name).map(str::to_owned));
        (attributes, result)
    };
    cases.map(case).collect()
}
