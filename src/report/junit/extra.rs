//! What the crate `junit-report` cannot write, added to the XML that it has written.

use quick_xml::events::{BytesCData, BytesStart, Event};
use quick_xml::{Reader, Writer};

/// Names and values; both on a single line, without characters that XML forbids.
pub(super) type Properties = Vec<(String, String)>;

/// The additions to a report; suites and cases in the order of the report.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// The attributes of the root.
    pub root: Vec<(&'static str, String)>,
    /// The properties of each suite.
    pub run: Properties,
    /// The number of skipped cases of each suite.
    pub skipped: Vec<usize>,
    /// For each test case.
    pub cases: Vec<Extra>,
}

/// The additions to a test case.
#[derive(Debug, Default)]
pub(super) struct Extra {
    pub properties: Properties,
    /// The line in its file.
    pub line: Option<usize>,
    /// Failed attempts, besides the one that is the result.
    pub attempts: Vec<Attempt>,
}

/// A failed attempt, with texts that are ready for a `CDATA` section.
#[derive(Debug)]
pub(super) struct Attempt {
    /// The name of its element.
    pub element: &'static str,
    pub type_: String,
    pub message: String,
    pub trace: String,
    pub output: String,
}

impl Attempt {
    /// The size of its texts, in bytes.
    pub(super) fn weight(&self) -> usize {
        self.message.len() + self.trace.len() + self.output.len()
    }
}

impl Extras {
    /// The XML with the additions.
    pub(super) fn add(self, xml: &str) -> anyhow::Result<Vec<u8>> {
        let mut reader = Reader::from_str(xml);
        reader.config_mut().expand_empty_elements = true;
        let mut out = Writer::new(Vec::with_capacity(xml.len() + xml.len() / 2));
        let (mut suites, mut cases) = (self.skipped.into_iter(), self.cases.into_iter());
        let mut case = Extra::default();
        loop {
            match reader.read_event()? {
                Event::Eof => break,
                Event::Start(mut tag) => match tag.name().as_ref().to_owned().as_slice() {
                    b"testsuites" => {
                        tag.extend_attributes(self.root.iter().map(|(name, value)| (*name, value.as_str())));
                        out.write_event(Event::Start(tag))?;
                    }
                    b"testsuite" => {
                        tag = rounded(&tag)?;
                        let skipped = suites.next().unwrap_or_default().to_string();
                        tag.push_attribute(("skipped", skipped.as_str()));
                        out.write_event(Event::Start(tag))?;
                        write_properties(&mut out, &self.run)?;
                    }
                    b"testcase" => {
                        tag = rounded(&tag)?;
                        case = cases.next().unwrap_or_default();
                        if let Some(line) = case.line {
                            tag.push_attribute(("line", line.to_string().as_str()));
                        }
                        out.write_event(Event::Start(tag))?;
                        write_properties(&mut out, &case.properties)?;
                    }
                    _ => out.write_event(Event::Start(tag))?,
                },
                Event::End(tag) => {
                    // At the end: a reader may take the first element for the result.
                    if tag.name().as_ref() == b"testcase" {
                        case.attempts.iter().try_for_each(|attempt| write_attempt(&mut out, attempt))?;
                    }
                    out.write_event(Event::End(tag))?;
                }
                other => out.write_event(other)?,
            }
        }
        Ok(out.into_inner())
    }
}

/// The tag with its time in milliseconds: the crate adds the parts of a duration as floating-point numbers, and writes
/// `1.3679999999999999`.
fn rounded<'t>(tag: &BytesStart<'_>) -> anyhow::Result<BytesStart<'t>> {
    let mut rounded = BytesStart::new(std::str::from_utf8(tag.name().as_ref())?.to_owned());
    for attribute in tag.attributes() {
        let attribute = attribute?;
        if attribute.key.as_ref() == b"time" {
            let time: f64 = std::str::from_utf8(&attribute.value)?.parse()?;
            rounded.push_attribute(("time", seconds(time).as_str()));
        } else {
            rounded.push_attribute(attribute);
        }
    }
    Ok(rounded)
}

/// A time as it is written.
pub(super) fn seconds(seconds: f64) -> String {
    format!("{seconds:.3}")
}

fn write_properties(out: &mut Writer<Vec<u8>>, properties: &Properties) -> std::io::Result<()> {
    if properties.is_empty() {
        return Ok(());
    }
    out.create_element("properties").write_inner_content(|out| {
        for (name, value) in properties {
            let attributes = [("name", name.as_str()), ("value", value.as_str())];
            out.create_element("property").with_attributes(attributes).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn write_attempt(out: &mut Writer<Vec<u8>>, attempt: &Attempt) -> std::io::Result<()> {
    let attributes = [("type", attempt.type_.as_str()), ("message", attempt.message.as_str())];
    out.create_element(attempt.element).with_attributes(attributes).write_inner_content(|out| {
        for (name, text) in [("stackTrace", &attempt.trace), ("system-out", &attempt.output)] {
            out.create_element(name).write_cdata_content(BytesCData::new(text))?;
        }
        Ok(())
    })?;
    Ok(())
}
