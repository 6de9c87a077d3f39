use super::*;

#[test]
fn a_spread_has_measured_values_only() {
    let of = |values: &[f64]| Spread::of(&mut values.to_vec());
    let spread = |n, min, median, p95, max| Some(Spread { n, min, median, p95, max });
    assert_eq!(of(&[3.0, 1.0, 2.0]), spread(3, 1.0, 2.0, 3.0, 3.0));
    assert_eq!(of(&[2.0, 1.0]), spread(2, 1.0, 1.0, 2.0, 2.0));
    let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
    assert_eq!(of(&hundred), spread(100, 1.0, 50.0, 95.0, 100.0));
    assert_eq!(of(&[f64::NAN]), None);
}

#[test]
fn a_written_event_reads_back_unchanged() {
    let (sink, stream) = Sink::new();
    sink.for_case(3)
        .emit(What::QmpEvent { vm: "primary".into(), message: serde_json::json!({"event": "STOP"}) });
    drop(sink);
    let event = stream.recv().unwrap();
    let line = serde_json::to_string(&event).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
    assert!(line.contains(r#""case":3"#) && line.contains(r#""event":"qmp_event""#), "{line}");
}
