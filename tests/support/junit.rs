//! What junit.xml says, without times, hosts and measurements.

/// A test case: its name, class, file and line, its results, and its properties.
pub(crate) type Case = ([Option<String>; 4], Vec<String>, Vec<[Option<String>; 2]>);

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
        let properties = node.descendants().filter(|child| child.has_tag_name("property"));
        let properties =
            properties.map(|child| ["name", "value"].map(|name| child.attribute(name).map(str::to_owned)));
        let is_the_same = |[name, _]: &[Option<String>; 2]| {
            name.as_deref().is_some_and(|name| name != "host" && !name.starts_with("metric."))
        };
        (attributes, result, properties.filter(is_the_same).collect())
    };
    cases.map(case).collect()
}
