//! The helpers whose value depends only on their parameters.

use handlebars::{
    Context, Handlebars, Helper, HelperDef, Output, RenderContext, RenderError, RenderErrorReason, ScopedJson,
};
use serde_json::Value;

/// Whether a value counts as true for `when`: everything but `""`, `false`, `0` and null.
#[must_use]
pub fn is_true(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

pub(super) fn json_helper(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    out: &mut dyn Output,
) -> Result<(), RenderError> {
    let value = helper.param(0).map_or(&Value::Null, |param| param.value());
    out.write(&value.to_string())?;
    Ok(())
}

/// The value of a function, or why it has none.
pub(super) type Computed = Result<Value, String>;

/// A function of values.
pub(super) type Function = fn(&[&Value]) -> Computed;

/// A helper whose value is a function of its parameters.
pub(super) struct Of(pub Function);

impl HelperDef for Of {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        context: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        if helper.params().is_empty() {
            return Ok(context.data().get(helper.name()).cloned().unwrap_or_default().into());
        }
        // The number of parameters was checked when the template was compiled.
        let values: Vec<&Value> = helper.params().iter().map(handlebars::PathAndJson::value).collect();
        let value = (self.0)(&values).map_err(RenderErrorReason::Other)?;
        Ok(ScopedJson::from(value))
    }
}

/// The value itself.
pub(super) fn same(values: &[&Value]) -> Value {
    values.first().map_or(Value::Null, |&value| value.clone())
}

/// The text of a value, such as a port for QAPI's addresses.
pub(super) fn as_text(values: &[&Value]) -> Value {
    match values {
        [Value::String(text), ..] => Value::String(text.clone()),
        [other, ..] => Value::String(other.to_string()),
        [] => Value::Null,
    }
}

/// The second of three values if the first one is true, else the third.
pub(super) fn choose(values: &[&Value]) -> Value {
    match values {
        [asked, yes, no] => (*if is_true(asked) { yes } else { no }).clone(),
        _ => Value::Null,
    }
}

/// A list with values appended.
pub(super) fn append(values: &[&Value]) -> Value {
    match values {
        [Value::Array(list), more @ ..] => list.iter().chain(more.iter().copied()).cloned().collect(),
        _ => Value::Null,
    }
}

/// One of the values, selected by a seed and a number: deterministic on every machine.
pub(super) fn pick(values: &[&Value]) -> Value {
    match values {
        [seed, number, choices @ ..] if !choices.is_empty() => {
            let drawn = picked(&format!("{seed} {number}")) % choices.len() as u64;
            choices[drawn as usize].clone()
        }
        _ => Value::Null,
    }
}

/// FNV-1a with a final bit mix, since the low bits are used.
fn picked(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 32
}
