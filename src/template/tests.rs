use serde_json::json;

use super::*;

struct Eleven;

impl Versions for Eleven {
    fn version(&self, vm: Option<&str>) -> Option<semver::Version> {
        (vm != Some("old")).then(|| semver::Version::new(11, 0, 2))
    }
}

fn scope() -> Scope<'static> {
    let Value::Object(names) = json!({
        "delay": 300, "on": true, "side": "primary", "list": [1, "b"], "nic": {"model": "e1000"}, "none": null,
        "html": "<a & \"b\">", "round": 2, "case": {"name": "x"}, "env": {"HOME": "/root"},
    }) else {
        unreachable!()
    };
    Scope::new(names, &Eleven)
}

fn value(text: &str) -> Value {
    match render(text, &scope()).unwrap() {
        Rendered::Value(value) => value,
        other => panic!("{text}: {other:?}"),
    }
}

fn error(text: &str) -> TemplateError {
    render(text, &scope()).expect_err(text)
}

#[test]
fn one_expression_keeps_the_type_of_its_value() {
    assert_eq!(value("{{delay}}"), json!(300));
    assert_eq!(value("{{ delay }}"), json!(300));
    assert_eq!(value("{{{list}}}"), json!([1, "b"]));
    assert_eq!(value("{{nic}}"), json!({"model": "e1000"}));
    assert_eq!(value("{{none}}"), Value::Null);
    assert_eq!(value("{{eq side 'primary'}}"), json!(true));
    assert_eq!(value("{{list.1}}"), json!("b"));
    assert_eq!(value("{{env.HOME}}"), json!("/root"));
    assert_eq!(value("{{and (gt delay 200) (not (eq side 'x'))}}"), json!(true));
    assert_eq!(value("{{len list}}"), json!(2));
}

#[test]
fn anything_else_becomes_text_without_escaping() {
    assert_eq!(value("{{delay}}ms"), json!("300ms"));
    assert_eq!(value(" {{delay}}"), json!(" 300"));
    assert_eq!(value("{{html}}!"), json!("<a & \"b\">!"));
    assert_eq!(value("a{{#if (eq side 'primary')}}_p{{else}}_s{{/if}}"), json!("a_p"));
    assert_eq!(value("{{#each list}}{{this}},{{@root.side}} {{/each}}"), json!("1,primary b,primary "));
    assert_eq!(value("plain \\ text"), json!("plain \\ text"));
}

#[test]
fn an_unknown_name_is_an_error_in_any_place() {
    for text in [
        "{{dealy}}",
        "x{{dealy}}",
        "{{eq dealy 1}}",
        "{{#if dealy}}x{{/if}}",
        "{{#if on}}x{{else}}{{dealy}}{{/if}}",
        "{{#if (and on (eq dealy 1))}}x{{/if}}",
        "{{#each list}}{{@root.dealy}}{{/each}}",
        "{{#each list}}{{#if ../dealy}}{{/if}}{{/each}}",
        "{{version '>=11' vm=dealy}}",
    ] {
        let error = error(text);
        assert!(error.unknown_name && error.message.contains("dealy`"), "{text}: {error:?}");
        assert_eq!(error.help, "did you mean `delay`?", "{text}");
    }
    assert!(error("{{nic.modle}}").help.contains("`model`"));
    assert!(error("{{delay.x}}").help.contains("single value"));
    assert!(error("{{env.NOPE}}").help.contains("environment variable"));
    assert!(error("{{@index}}").unknown_name);
}

#[test]
fn a_wrong_call_is_an_error() {
    assert!(error("{{equals delay 1}}").message.contains("unknown helper `equals`"));
    assert!(error("{{eq delay}}").message.contains("two values"));
    assert!(error("{{version 'eleven'}}").message.contains("not a version range"));
    assert!(error("{{version '>=11' of='x'}}").message.contains("`of=`"));
    assert!(error("{{> partial}}").message.contains("partials"));
    assert!(error("{{#if on}}").message.contains("not a valid template"));
    assert!(error("{{").message.contains("not a valid template"));
    assert!(
        error(&format!("{{{{not {}on{}}}}}", "(not ".repeat(200), ")".repeat(200)))
            .message
            .contains("nested")
    );
}

#[test]
fn a_declared_port_is_known_when_the_step_runs_and_an_undeclared_one_is_an_error() {
    let declared = json!({"port": {"service": null}, "link": {"up": {"address": null, "port": null}}});
    let Value::Object(declared) = declared else { unreachable!() };
    let early = scope().with(declared);
    for text in
        ["{{port.service}}", "x {{link.up.address}}", "{{text port.service}}", "{{port}}", "{{link.up}}"]
    {
        assert_eq!(render(text, &early), Ok(Rendered::Deferred), "{text}");
        assert!(is_deferred(text), "{text}");
    }
    assert!(!is_deferred("{{transport.name}}") && !is_deferred("port.service"));
    assert_eq!(render("{{port.servise}}", &early).unwrap_err().help, "did you mean `service`?");
    assert!(render("{{link.up.path}}", &early).unwrap_err().help.contains("address"));
    assert_eq!(error("{{port.x}}").help, "declare it under `ports`");
    let deferred = early.with([("port".to_owned(), json!({"service": 7}))]);
    assert_eq!(render("{{port.service}}", &deferred), Ok(Rendered::Value(json!(7))));
    assert_eq!(render("{{text port.service}}", &deferred), Ok(Rendered::Value(json!("7"))));
}

#[test]
fn names_that_are_only_known_in_a_run_defer_the_scalar() {
    for text in [
        "{{run.captures.x}}",
        "a {{case.dir}}/b",
        "{{eq run.vm.a.pid 1}}",
        "{{#if on}}{{else}}{{run.x}}{{/if}}",
    ] {
        assert_eq!(render(text, &scope()), Ok(Rendered::Deferred), "{text}");
    }
    assert!(error("{{run.x}} {{dealy}}").unknown_name);
    let deferred =
        scope().with([("run".to_owned(), json!({"x": 7})), ("case".to_owned(), json!({"dir": "/d"}))]);
    assert_eq!(render("{{run.x}}", &deferred), Ok(Rendered::Value(json!(7))));
    assert_eq!(render("{{case.dir}}/s", &deferred), Ok(Rendered::Value(json!("/d/s"))));
    assert!(render("{{run.y}}", &deferred).unwrap_err().unknown_name);
}

#[test]
fn a_version_is_compared_or_deferred() {
    assert_eq!(value("{{version '>=11.0'}}"), json!(true));
    assert_eq!(value("{{version \"<11\" vm=\"a\"}}"), json!(false));
    assert_eq!(value("{{#if (version '>=11')}}new{{else}}old{{/if}}"), json!("new"));
    assert_eq!(render("{{version '<2' vm='old'}}", &scope()), Ok(Rendered::Unprobed(json!(true))));
    assert_eq!(
        render("{{version '<2'}}", &Scope::new(Map::new(), &NoVersions)),
        Ok(Rendered::Unprobed(json!(true)))
    );
}

#[test]
fn only_empty_false_zero_and_null_are_false() {
    for no in [json!(""), json!(false), json!(0), json!(0.0), json!(null)] {
        assert!(!is_true(&no), "{no}");
    }
    for yes in [json!("false"), json!(1), json!(true), json!([]), json!("0")] {
        assert!(is_true(&yes), "{yes}");
    }
}

#[test]
fn an_escaped_text_renders_to_itself() {
    for text in ["plain", "{{x}}", "a \\{{b \"q\" }} \\", "{{{{raw}}}}", "\\\\{{"] {
        assert_eq!(value(&escape(text)), json!(text), "{text}");
    }
}

#[test]
fn a_pick_depends_on_seed_and_number_and_reaches_each_value() {
    let drawn = |seed: u64| -> Vec<Value> {
        let pick = |number: u64| value(&format!("{{{{pick {seed} {number} 'a' 'b' 3}}}}"));
        (1..=60).map(pick).collect()
    };
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    for value in [json!("a"), json!("b"), json!(3)] {
        assert!(drawn(7).iter().filter(|one| **one == value).count() > 8, "{value}: {:?}", drawn(7));
    }
}

#[test]
fn a_name_may_be_that_of_a_function() {
    assert_eq!(value("{{round}}"), json!(2));
    assert_eq!(value("{{round (mul 1.3 round)}}"), json!(3));
    assert_eq!(value("round {{round}} of {{add round 3}}"), json!("round 2 of 5"));
    assert!(error("{{add}}").message.contains("unknown name"), "{}", error("{{add}}").message);
}

#[test]
fn a_choice_keeps_the_type_of_its_value() {
    assert_eq!(value("{{choose (eq 1 1) 0 'x'}}"), json!(0));
    assert_eq!(value("{{choose '' 0 'x'}}"), json!("x"));
}
