use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

/// The deadline of each wait; never reached if the test passes.
const PATIENCE: Duration = Duration::from_secs(60);

fn lines_to(address: String, every: Duration, first: u64, draws: bool) -> Work {
    let speaks = Speaks::Lines { request: "{n}".to_owned(), answer: None, draws };
    Work::Operations { service: Service { address, does: Does::Lines, speaks }, every, first, connections: 1 }
}

/// A service, played by the test.
struct Played {
    listener: TcpListener,
    board: Arc<Board>,
}

/// A connection of the client, as the service sees it.
struct Served {
    stream: BufReader<TcpStream>,
}

impl Played {
    async fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), board: Arc::new(Board::default()) }
    }

    fn client(&self, first: u64) -> Client {
        self.client_of(first, false)
    }

    fn client_of(&self, first: u64, draws: bool) -> Client {
        let connect = self.listener.local_addr().unwrap().to_string();
        let work = lines_to(connect, Duration::from_millis(1), first, draws);
        Client::start("c", work, &self.board, &Sink::silent()).unwrap()
    }

    async fn accept(&self) -> Served {
        let (stream, _) = timeout(PATIENCE, self.listener.accept()).await.expect("nobody came").unwrap();
        Served { stream: BufReader::new(stream) }
    }

    /// Waits for a condition of the client; woken by the board.
    async fn until(&self, client: &Client, is_so: impl Fn(&Record) -> bool) {
        let mut changes = self.board.changes();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if is_so(&client.record()) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, wait)
            .await
            .unwrap_or_else(|_| panic!("it did not get there: {}", client.summary()));
    }
}

impl Served {
    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.stream.read_line(&mut line)).await.expect("no line came").unwrap();
        line
    }

    async fn say(&mut self, text: &str) {
        self.stream.get_mut().write_all(text.as_bytes()).await.unwrap();
    }

    /// Answers this number of lines correctly.
    async fn answer(&mut self, count: usize) {
        for _ in 0..count {
            let line = self.line().await;
            self.say(&format!("ok {line}")).await;
        }
    }
}

#[tokio::test]
async fn lines_are_sent_one_at_a_time_and_what_was_acknowledged_is_known() {
    let service = Played::new().await;
    let client = service.client(100);
    let mut served = service.accept().await;
    assert_eq!((served.line().await.as_str(), client.is_up()), ("100\n", false));
    // The next line does not come before the answer is complete.
    served.say("ok 1").await;
    assert!(timeout(Duration::from_millis(50), served.stream.fill_buf()).await.is_err());
    served.say("00\n").await;
    served.answer(9).await;
    service.until(&client, |record| record.lines == 10).await;
    assert_eq!(client.acknowledged(), (100..110).collect::<Vec<_>>());
    let record = client.record();
    assert_eq!((record.reconnects, record.wrong_answers, client.is_up()), (0, 0, true));
    assert!(record.latency(1.0).unwrap() >= 0.05 && record.latency(0.0).unwrap() < 0.05);
    assert_eq!(client.values()["acknowledged"], json!([[100, 109]]));
}

#[tokio::test]
async fn after_a_reconnect_the_first_unacknowledged_line_is_sent_again() {
    let service = Played::new().await;
    let client = service.client(1);
    let mut served = service.accept().await;
    served.answer(3).await;
    assert_eq!(served.line().await, "4\n");
    drop(served);
    let mut served = service.accept().await;
    assert_eq!(served.line().await, "4\n");
    served.say("ok 4\n").await;
    service.until(&client, |record| record.lines == 4).await;
    assert_eq!((client.record().reconnects, client.acknowledged()), (1, vec![1, 2, 3, 4]));
}

#[tokio::test]
async fn a_connection_without_an_answer_is_not_a_reconnect() {
    let service = Played::new().await;
    let client = service.client(1);
    for _ in 0..3 {
        drop(service.accept().await);
    }
    let mut served = service.accept().await;
    served.answer(1).await;
    service.until(&client, |record| record.lines == 1).await;
    assert_eq!(client.record().reconnects, 0);
}

#[tokio::test]
async fn a_service_that_refuses_is_tried_again() {
    let service = Played::new().await;
    let address = service.listener.local_addr().unwrap();
    let board = Arc::clone(&service.board);
    drop(service);
    let work = lines_to(address.to_string(), Duration::ZERO, 1, false);
    let client = Client::start("c", work, &board, &Sink::silent()).unwrap();
    let mut changes = board.changes();
    timeout(PATIENCE, changes.changed()).await.expect("it was not refused").unwrap();
    assert!(client.summary().contains("refused"), "{}", client.summary());
    let service = Played { listener: TcpListener::bind(address).await.unwrap(), board };
    service.accept().await.answer(1).await;
    service.until(&client, |record| record.lines == 1).await;
}

#[tokio::test]
async fn a_gap_is_measured_while_it_is_open_and_when_it_was() {
    let service = Played::new().await;
    let client = service.client(1);
    assert_eq!(client.record().longest_gap(), None);
    let mut served = service.accept().await;
    served.answer(2).await;
    service.until(&client, |record| record.lines == 2).await;
    let line = served.line().await;
    tokio::time::sleep(Duration::from_millis(120)).await;
    let open = client.record().longest_gap().unwrap();
    assert!(open >= Duration::from_millis(120), "{open:?}");
    served.say(&format!("ok {line}")).await;
    served.answer(5).await;
    service.until(&client, |record| record.lines == 8).await;
    assert!(client.record().longest_gap().unwrap() >= open);
}

#[tokio::test]
async fn a_wrong_answer_is_recorded_and_the_right_one_still_awaited() {
    let service = Played::new().await;
    let client = service.client(1);
    let mut served = service.accept().await;
    served.line().await;
    served.say("ok 2\nno\nok 1\n").await;
    service.until(&client, |record| record.lines == 1).await;
    let record = client.record();
    assert_eq!(record.wrong, [(1, "ok 2".to_owned()), (1, "no".to_owned())]);
    assert!(record.summary().contains("2 wrong answers, the last to line 1: \"no\""), "{}", record.summary());
}

#[tokio::test]
async fn what_a_service_drew_is_kept_and_an_answer_without_it_is_wrong() {
    let service = Played::new().await;
    let client = service.client_of(1, true);
    let mut served = service.accept().await;
    served.line().await;
    served.say("ok 1\nok 1 \nok 1 a b\nok 2 c\nok 1 1f2e\n").await;
    served.line().await;
    served.say("ok 2 77\n").await;
    service.until(&client, |record| record.lines == 2).await;
    let record = client.record();
    let wrong: Vec<&str> = record.wrong.iter().map(|(_, answer)| answer.as_str()).collect();
    assert_eq!(wrong, ["ok 1", "ok 1", "ok 1 a b", "ok 2 c"]);
    let lines = record.kept().unwrap();
    let kept: Vec<(u64, &str)> = lines.iter().map(|line| (line.number, line.draw.as_str())).collect();
    assert_eq!(kept, [(1, "1f2e"), (2, "77")]);
    assert!(lines.is_sorted_by(|a, b| a.asked < a.answered && a.answered < b.asked));
}

#[tokio::test]
async fn a_service_is_queried_for_each_number() {
    let service = Played::new().await;
    let address = service.listener.local_addr().unwrap().to_string();
    let asked = tokio::spawn(async move { recall(&address, &[3, 1]).await });
    let mut served = service.accept().await;
    assert_eq!(served.line().await, "told 3\n");
    served.say("ok 3 5\n").await;
    assert_eq!(served.line().await, "told 1\n");
    served.say("error nothing\n").await;
    assert_eq!(asked.await.unwrap().unwrap(), ["ok 3 5", "error nothing"]);
    assert_eq!(served.line().await, "");

    let address = service.listener.local_addr().unwrap().to_string();
    let asked = tokio::spawn(async move { recall(&address, &[3, 1]).await });
    drop(service.accept().await);
    asked.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn it_stops_after_the_answer_under_way_and_no_line_comes_any_more() {
    let service = Played::new().await;
    let client = service.client(1);
    let mut served = service.accept().await;
    let line = served.line().await;
    client.ask_to_stop();
    assert!(!client.is_stopped());
    served.say(&format!("ok {line}")).await;
    service.until(&client, |record| record.ended.is_some()).await;
    assert_eq!((client.lines(), served.line().await.as_str()), (1, ""));
    let gap = client.record().longest_gap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(client.record().longest_gap(), gap, "the gap goes on after the end");
}

#[tokio::test]
async fn why_the_last_try_failed_is_known_while_the_next_one_is_under_way() {
    let mut service = Played::new().await;
    let client = service.client(1);
    // It is accepted and closed without an answer; the next connection is accepted and not answered.
    drop(service.accept().await);
    let mut served = service.accept().await;
    served.line().await;
    let summary = client.summary();
    assert!(summary.contains("waiting for the answer to line 1 for "), "{summary}");
    assert!(summary.contains("; previous connection: "), "{summary}");
    served.say("ok 1\n").await;
    service.until(&client, |record| record.lines == 1).await;
    assert!(!client.summary().contains("previous connection"), "{}", client.summary());
    // There is no listener any more: the cause is reported whatever the client is doing.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    drop(std::mem::replace(&mut service.listener, nobody));
    drop(served);
    service.until(&client, |record| record.summary().contains("Connection refused")).await;
    for _ in 0..100 {
        assert!(client.summary().contains("Connection refused"), "{}", client.summary());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn it_stops_at_once_without_an_answer_and_reports_what_it_waits_for() {
    let service = Played::new().await;
    let client = service.client(7);
    let mut served = service.accept().await;
    served.line().await;
    assert!(client.summary().contains("waiting for the answer to line 7 for "), "{}", client.summary());
    client.stop_now();
    assert!(client.is_stopped() && client.acknowledged().is_empty());
    assert_eq!(served.line().await, "");
}

#[tokio::test]
async fn datagrams_are_counted_even_without_a_receiver() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let board = Arc::new(Board::default());
    let start = |to: String| {
        let work = Work::Datagrams { to, every: Duration::from_millis(1), size: 1400 };
        Client::start("f", work, &board, &Sink::silent()).unwrap()
    };
    let client = start(receiver.local_addr().unwrap().to_string());
    let mut bytes = [0; 2000];
    for number in 0..5_u64 {
        let count = timeout(PATIENCE, receiver.recv(&mut bytes)).await.unwrap().unwrap();
        assert_eq!((count, &bytes[..8]), (1400, &number.to_be_bytes()[..]));
    }
    assert!(client.record().sent >= 5 && client.is_up() && !client.has_lines());
    client.stop_now();
    let nobody = receiver.local_addr().unwrap().to_string();
    drop(receiver);
    let client = start(nobody);
    let mut changes = board.changes();
    while !client.is_up() {
        timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    }
    client.ask_to_stop();
    while !client.is_stopped() {
        timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_line_and_its_answer_can_have_a_form_of_their_own() {
    let service = Played::new().await;
    let address = service.listener.local_addr().unwrap().to_string();
    let (request, answer) = ("put {n} x".to_owned(), Some("^stored {n} as (.+)$".to_owned()));
    let speaks = Speaks::Lines { request, answer, draws: false };
    let lines = Service { address, does: Does::Lines, speaks };
    let work = Work::Operations { service: lines, every: Duration::ZERO, first: 7, connections: 1 };
    let client = Client::start("c", work, &service.board, &Sink::silent()).unwrap();
    let mut served = service.accept().await;
    assert_eq!(served.line().await, "put 7 x\n");
    served.say("ok 7\nstored 8 as a\nstored 7 as b c\n").await;
    assert_eq!(served.line().await, "put 8 x\n");
    let record = client.record();
    assert_eq!((record.lines, record.wrong_answers), (1, 2));
    assert_eq!(record.kept().unwrap()[0].draw, "b c");
}

#[tokio::test]
async fn a_page_is_read_and_another_status_or_text_is_a_wrong_answer() {
    use played::{Fault, Front};
    let answered = async |status: u16, answer: &str| {
        let page = played::Played::start(Front::Http, Fault::None).await;
        page.hold("hello");
        let answer = Some(regex::Regex::new(answer).unwrap());
        let speaks = Speaks::Http { path: "/".to_owned(), status, answer };
        let service = Service { address: page.address.clone(), does: Does::Get, speaks };
        let work = Work::Operations { service, every: Duration::ZERO, first: 1, connections: 1 };
        let board = Arc::new(Board::default());
        let client = Client::start("c", work, &board, &Sink::silent()).unwrap();
        let mut changes = board.changes();
        while client.record().lines + client.record().wrong_answers < 3 {
            timeout(PATIENCE, changes.changed()).await.unwrap().unwrap();
        }
        let record = client.record();
        (record.lines > 0, record.wrong.first().map(|(number, text)| format!("{number}: {text}")))
    };
    assert_eq!(answered(200, "(?m)^hel+o$").await, (true, None));
    let wrong = Some("1: status 200 OK: hello\n".to_owned());
    assert_eq!(answered(200, "^other").await, (false, wrong.clone()));
    assert_eq!(answered(201, "").await, (false, wrong));
}
