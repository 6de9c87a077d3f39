//! The page at any time: written to its file, or shown while the run goes on.

use std::io::Write;
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;

use super::{DATA, Html};

impl Html {
    pub(super) fn write_to(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let page = self.page()?;
        let (head, tail) = page.split_once(DATA).context("the page has no placeholder for the cases")?;
        out.write_all(head.as_bytes())?;
        if let Some(aside) = &self.aside {
            let mut chunk = vec![0; 64 << 10];
            let mut at = 0;
            while at < self.written {
                let most = chunk.len().min(usize::try_from(self.written - at)?);
                aside.read_exact_at(&mut chunk[..most], at)?;
                out.write_all(&chunk[..most])?;
                at += most as u64;
            }
        }
        Ok(out.write_all(tail.as_bytes())?)
    }

    /// The page of the events so far, in which cases may be running, with a further script.
    ///
    /// # Errors
    /// When the data of the cases cannot be read.
    pub fn so_far(&self, script: &'static str) -> anyhow::Result<Vec<u8>> {
        // It shares the file of the data: what it adds at the end is overwritten with the next case.
        let mut copy = Self { live: Some(script), ..self.clone() };
        for case in self.fold.open() {
            copy.add(case)?;
        }
        let mut page = Vec::new();
        copy.write_to(&mut page)?;
        Ok(page)
    }
}
