use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use super::*;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

/// A monitor that greets, accepts the negotiation and then answers as `answers` says.
async fn monitor(stream: UnixStream, answers: Vec<String>) {
    let (input, mut output) = stream.into_split();
    let mut lines = BufReader::new(input).lines();
    let greeting = json!({"QMP": {"version": {"qemu": {"major": 11}}, "capabilities": ["oob"]}});
    output.write_all(format!("{greeting}\r\n").as_bytes()).await.unwrap();
    let hello: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    output.write_all(format!("{}\n", json!({"return": {}, "id": hello["id"]})).as_bytes()).await.unwrap();
    for answer in answers {
        let command: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let answer = answer.replace("ID", &command["id"].to_string());
        output.write_all(answer.as_bytes()).await.unwrap();
    }
    // Open until the client has gone.
    while let Ok(Some(_)) = lines.next_line().await {}
}

async fn connected(answers: &[&str]) -> (Qmp, Arc<Mutex<Vec<String>>>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(monitor(theirs, answers.iter().map(|&answer| answer.to_owned()).collect()));
    let events = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&events);
    let tap = move |traffic: Traffic<'_>| {
        if let Traffic::Event(event) = traffic {
            log.lock().unwrap().push(event["event"].as_str().unwrap().to_owned());
        }
    };
    (Qmp::connect(ours, None, soon(), tap).await.unwrap(), events)
}

#[tokio::test]
async fn an_event_before_the_reply_is_not_lost() {
    let (qmp, events) = connected(&["{\"event\": \"STOP\"}\n{\"return\": 7, \"id\": ID}\n"]).await;
    assert!(qmp.oob);
    assert_eq!(qmp.execute("stop", Map::new(), false, soon()).await, Ok(json!(7)));
    assert_eq!(*events.lock().unwrap(), ["STOP"]);
}

#[tokio::test]
async fn an_error_contains_the_message_of_qemu() {
    let error = r#"{"error": {"class": "DeviceNotFound", "desc": "Instance not found"}, "id": ID}"#;
    let (qmp, _) = connected(&[&format!("{error}\n")]).await;
    let message = qmp.execute("yank", Map::new(), true, soon()).await.unwrap_err().to_string();
    assert_eq!(message, "`yank` was refused: Instance not found (DeviceNotFound)");
}

#[tokio::test]
async fn a_command_without_a_reply_times_out_and_the_next_one_works() {
    let (qmp, _) = connected(&["", "{\"return\": {}, \"id\": ID}\n"]).await;
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = qmp.execute("query-status", Map::new(), false, deadline).await.unwrap_err();
    assert!(matches!(&error, QmpError::Silent { oob: false, .. }), "{error}");
    assert!(qmp.execute("yank", Map::new(), true, soon()).await.is_ok());
}

#[tokio::test]
async fn a_command_that_times_out_while_it_is_written_does_not_corrupt_the_next_one() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (input, mut output) = theirs.into_split();
    let mut lines = BufReader::new(input).lines();
    let negotiate = async {
        output.write_all(b"{\"QMP\": {\"capabilities\": []}}\n").await.unwrap();
        let hello = lines.next_line().await.unwrap().unwrap();
        output.write_all(b"{\"return\": {}, \"id\": 1}\n").await.unwrap();
        assert!(hello.contains("qmp_capabilities"), "{hello}");
    };
    let ((), qmp) = tokio::join!(negotiate, Qmp::connect(ours, None, soon(), |_| ()));
    let qmp = qmp.unwrap();
    // More than the socket holds, so that it stops in the middle as long as nothing is read.
    let long = Map::from_iter([("long".to_owned(), Value::from("x".repeat(4 << 20)))]);
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = qmp.execute("first", long, false, deadline).await.unwrap_err();
    assert!(matches!(&error, QmpError::Silent { .. }), "{error}");
    let answers = async {
        let mut commands = Vec::new();
        for _ in 0..2 {
            let line = lines.next_line().await.unwrap().unwrap();
            let command: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}"));
            commands.push(command["execute"].as_str().unwrap().to_owned());
        }
        output.write_all(b"{\"return\": 7, \"id\": 3}\n").await.unwrap();
        commands
    };
    let (commands, reply) = tokio::join!(answers, qmp.execute("second", Map::new(), false, soon()));
    assert_eq!((commands.join(" ").as_str(), reply), ("first second", Ok(json!(7))));
}

#[tokio::test]
async fn a_second_greeting_closes_the_pending_commands() {
    let greeting = "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 12}}, \"capabilities\": []}}\n";
    let (mut qmp, _) = connected(&[greeting, "{\"return\": {}, \"id\": ID}\n"]).await;
    let lost = qmp.execute("stop", Map::new(), false, soon()).await;
    assert_eq!(lost, Err(QmpError::Closed { command: "stop".to_owned() }));
    qmp.greet_again(None, soon()).await.unwrap();
    assert_eq!((qmp.version["qemu"]["major"].as_u64(), qmp.oob), (Some(12), false));
    let soon = Instant::now() + Duration::from_millis(50);
    assert!(qmp.greet_again(None, soon).await.unwrap_err().to_string().contains("no greeting"));
}

#[tokio::test]
async fn a_peer_that_is_not_a_monitor_is_reported() {
    for (said, expected) in [("hello\n", "\"hello\""), ("", "closed before the greeting")] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(said.as_bytes()).await.unwrap();
        drop(theirs);
        let error = Qmp::connect(ours, None, soon(), |_| ()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
