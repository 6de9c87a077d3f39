use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

use super::*;
use crate::units::{Size, Span};

/// The deadline of each wait; never reached if the test passes.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to check that nothing arrives. On a slow machine such a check may pass wrongly, but never fails wrongly.
const QUIET: Duration = Duration::from_millis(150);

struct Scene {
    link: Link,
    server: TcpListener,
    board: Arc<Board>,
    _directory: tempfile::TempDir,
}

async fn scene(listen: Listen) -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = LinkSpec {
        to: Some(format!("tcp:{}", server.local_addr().unwrap())),
        listen,
        delay: Span::from_secs(0),
        rate: Size(0),
        state: State::Open,
    };
    let board = Arc::new(Board::default());
    let link = Link::open("l", &spec, directory.path(), &board, &Sink::silent()).unwrap();
    Scene { link, server, board, _directory: directory }
}

impl Scene {
    async fn pair(&self) -> (TcpStream, TcpStream) {
        let Address::Tcp(address) = self.link.address() else { panic!("not tcp") };
        let near = TcpStream::connect(address.as_str()).await.unwrap();
        let (far, _) = timeout(PATIENCE, self.server.accept()).await.unwrap().unwrap();
        (near, far)
    }

    async fn set(&self, state: State) {
        self.link.set(Setting { state, ..self.link.setting() });
        self.until(|link| link.is_settled().unwrap()).await;
    }

    /// Waits for a condition of the link; woken by the board.
    async fn until(&self, is_so: impl Fn(&Link) -> bool) {
        let mut changes = self.board.changes();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if is_so(&self.link) {
                    return;
                }
                changes.changed().await.unwrap();
            }
        };
        timeout(PATIENCE, wait).await.expect("the link did not get there");
    }
}

async fn read(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    timeout(PATIENCE, stream.read_exact(&mut bytes)).await.expect("nothing came").unwrap();
    bytes
}

async fn is_quiet(stream: &mut TcpStream) -> bool {
    timeout(QUIET, stream.read_u8()).await.is_err()
}

#[tokio::test]
async fn bytes_arrive_in_order_in_both_directions_and_ends_are_passed_on() {
    let scene = scene(Listen::Tcp).await;
    let (mut near, mut far) = scene.pair().await;
    let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n * 7 + n / 251) as u8).collect();
    let (written, got) = tokio::join!(near.write_all(&sent), read(&mut far, sent.len()));
    written.unwrap();
    assert!(got == sent);
    far.write_all(b"back").await.unwrap();
    assert_eq!(read(&mut near, 4).await, b"back");
    scene.until(|link| link.bytes() == [1_000_000, 4]).await;
    near.shutdown().await.unwrap();
    let mut rest = Vec::new();
    timeout(PATIENCE, far.read_to_end(&mut rest)).await.unwrap().unwrap();
    // A half-closed connection is still open.
    far.write_all(b"late").await.unwrap();
    assert_eq!(read(&mut near, 4).await, b"late");
    drop(far);
    timeout(PATIENCE, near.read_to_end(&mut rest)).await.unwrap().unwrap();
    scene.until(|link| link.alive() == 0).await;
    assert_eq!((rest.len(), scene.link.connections()), (0, 1));
}

#[tokio::test]
async fn each_direction_is_late_by_the_delay_at_least() {
    let scene = scene(Listen::Tcp).await;
    let delay = Duration::from_millis(60);
    scene.link.set(Setting { delay: Span(delay), ..scene.link.setting() });
    let (mut near, mut far) = scene.pair().await;
    let began = Instant::now();
    near.write_all(b"ping").await.unwrap();
    read(&mut far, 4).await;
    assert!(began.elapsed() >= delay, "{:?}", began.elapsed());
    far.write_all(b"pong").await.unwrap();
    read(&mut near, 4).await;
    assert!(began.elapsed() >= 2 * delay, "{:?}", began.elapsed());
}

#[tokio::test]
async fn no_more_than_the_rate_comes_and_another_rate_counts_at_once() {
    let scene = scene(Listen::Tcp).await;
    scene.link.set(Setting { rate: Size(1_000_000), ..scene.link.setting() });
    let (mut near, mut far) = scene.pair().await;
    let began = Instant::now();
    let sent = vec![1; 300_000];
    let (written, _) = tokio::join!(near.write_all(&sent), read(&mut far, sent.len()));
    written.unwrap();
    // The first chunk is sent at once.
    assert!(began.elapsed() >= Duration::from_millis(280), "{:?}", began.elapsed());
    // At one byte a second this would take all day.
    scene.link.set(Setting { rate: Size(1), ..scene.link.setting() });
    near.write_all(&sent[..100_000]).await.unwrap();
    read(&mut far, 1).await;
    scene.link.set(Setting { rate: Size(0), ..scene.link.setting() });
    read(&mut far, 99_999).await;
}

#[tokio::test]
async fn the_rate_is_that_of_the_link_however_many_connections_share_it() {
    let scene = scene(Listen::Tcp).await;
    scene.link.set(Setting { rate: Size(1_000_000), ..scene.link.setting() });
    let (mut near1, mut far1) = scene.pair().await;
    let (mut near2, mut far2) = scene.pair().await;
    let began = Instant::now();
    let sent = vec![1; 150_000];
    let (one, two, _, _) = tokio::join!(
        near1.write_all(&sent),
        near2.write_all(&sent),
        read(&mut far1, sent.len()),
        read(&mut far2, sent.len())
    );
    one.and(two).unwrap();
    assert!(began.elapsed() >= Duration::from_millis(270), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_cut_resets_both_ends_and_refuses_connections_until_it_is_opened() {
    let scene = scene(Listen::Tcp).await;
    let (mut near, mut far) = scene.pair().await;
    scene.set(State::Cut).await;
    for end in [&mut near, &mut far] {
        let error = timeout(PATIENCE, end.read_u8()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    let Address::Tcp(address) = scene.link.address().clone() else { panic!() };
    let refused = TcpStream::connect(address.as_str()).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    scene.set(State::Open).await;
    let (mut near, mut far) = scene.pair().await;
    near.write_all(b"x").await.unwrap();
    assert_eq!(read(&mut far, 1).await, b"x");
}

#[tokio::test]
async fn in_a_black_hole_nothing_arrives_and_nothing_is_lost() {
    let scene = scene(Listen::Tcp).await;
    let (mut near, mut far) = scene.pair().await;
    near.write_all(b"a").await.unwrap();
    assert_eq!(read(&mut far, 1).await, b"a");
    scene.set(State::Blackhole).await;
    near.write_all(b"b").await.unwrap();
    far.write_all(b"c").await.unwrap();
    assert!(is_quiet(&mut far).await && is_quiet(&mut near).await);
    // A new connection looks established, but is not accepted.
    let Address::Tcp(address) = scene.link.address().clone() else { panic!() };
    let _waiting = TcpStream::connect(address.as_str()).await.unwrap();
    assert!(timeout(QUIET, scene.server.accept()).await.is_err());
    assert_eq!((scene.link.connections(), scene.link.alive()), (1, 1));
    scene.set(State::Open).await;
    assert_eq!(read(&mut far, 1).await, b"b");
    assert_eq!(read(&mut near, 1).await, b"c");
    timeout(PATIENCE, scene.server.accept()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_black_hole_blocks_a_sender_once_the_buffers_are_full() {
    let scene = scene(Listen::Tcp).await;
    let (mut near, _far) = scene.pair().await;
    scene.set(State::Blackhole).await;
    let much = vec![0; 64 << 20];
    assert!(timeout(QUIET, near.write_all(&much)).await.is_err(), "64 MiB went into a black hole");
}

#[tokio::test]
async fn a_unix_socket_leads_to_the_target_as_well_and_is_there_again_after_a_cut() {
    let scene = scene(Listen::Unix).await;
    let Address::Unix(path) = scene.link.address().clone() else { panic!() };
    for _ in 0..2 {
        let mut near = UnixStream::connect(&path).await.unwrap();
        let (mut far, _) = timeout(PATIENCE, scene.server.accept()).await.unwrap().unwrap();
        near.write_all(b"hello").await.unwrap();
        assert_eq!(read(&mut far, 5).await, b"hello");
        scene.set(State::Cut).await;
        assert_eq!(timeout(PATIENCE, near.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
        UnixStream::connect(&path).await.unwrap_err();
        scene.set(State::Open).await;
    }
}

#[tokio::test]
async fn dropping_a_link_ends_its_connections() {
    let scene = scene(Listen::Tcp).await;
    let (mut near, mut far) = scene.pair().await;
    let Address::Tcp(address) = scene.link.address().clone() else { panic!() };
    drop(scene.link);
    for end in [&mut near, &mut far] {
        assert_eq!(timeout(PATIENCE, end.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    }
    TcpStream::connect(address.as_str()).await.unwrap_err();
}

#[tokio::test]
async fn a_connection_without_a_target_is_closed_at_once() {
    let scene = scene(Listen::Tcp).await;
    scene.link.set_target("unix:/no/such/socket".parse().unwrap());
    let Address::Tcp(address) = scene.link.address() else { panic!() };
    let mut near = TcpStream::connect(address.as_str()).await.unwrap();
    timeout(PATIENCE, near.read_u8()).await.unwrap().unwrap_err();
}

#[test]
fn an_address_names_its_kind() {
    let read = |text: &str| text.parse::<Address>();
    assert_eq!(read("tcp:[::1]:80").unwrap(), Address::Tcp("[::1]:80".into()));
    assert_eq!(read("unix:/a").unwrap().to_qapi(), json!({"type": "unix", "path": "/a"}));
    assert_eq!(
        read("tcp:localhost:80").unwrap().to_qapi(),
        json!({"type": "inet", "host": "localhost", "port": "80"})
    );
    for wrong in ["127.0.0.1:80", "tcp:80", "tcp::80", "tcp:a:b", "unix:", "udp:a:1", ""] {
        assert!(read(wrong).unwrap_err().contains("write `tcp:HOST:PORT`"), "{wrong}");
    }
}

#[tokio::test]
async fn each_connection_has_its_own_bytes_and_says_when_an_end_is_closed() {
    let scene = scene(Listen::Tcp).await;
    let (mut first, mut first_far) = scene.pair().await;
    let (mut second, mut second_far) = scene.pair().await;
    first.write_all(b"abc").await.unwrap();
    second.write_all(b"de").await.unwrap();
    second_far.write_all(b"f").await.unwrap();
    assert_eq!(read(&mut first_far, 3).await, b"abc");
    assert_eq!(read(&mut second_far, 2).await, b"de");
    assert_eq!(read(&mut second, 1).await, b"f");
    scene.until(|link| link.bytes() == [5, 1]).await;
    let values = scene.link.values();
    assert_eq!(values["each"][0], json!({"bytes": 3, "bytes_there": 3, "bytes_back": 0}));
    assert_eq!(values["each"][1], json!({"bytes": 3, "bytes_there": 2, "bytes_back": 1}));
    assert_eq!((scene.link.alive(), scene.link.intact()), (2, 2));
    // The other end of the connection does not react, so the connection stays open.
    second.shutdown().await.unwrap();
    scene.until(|link| link.intact() == 1).await;
    assert_eq!(scene.link.alive(), 2);
}

#[tokio::test]
async fn a_lasting_error_of_accept_is_reported_once_without_a_busy_loop() {
    let scene = scene(Listen::Tcp).await;
    // Bound, but not listening: each `accept` fails at once.
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK,
        None,
    );
    let socket = socket.unwrap();
    rustix::net::bind(&socket, &"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
    let socket = std::net::TcpListener::from(socket);
    let twin = socket.try_clone().unwrap();
    let address = Address::Tcp(socket.local_addr().unwrap().to_string());
    let listener = Listener::Tcp(TcpListener::from_std(socket).unwrap());
    let shared = &scene.link.shared;
    let began = Instant::now();
    let serving = tokio::spawn(serve(Arc::clone(shared), address.clone(), Some(listener)));
    let refused = || shared.refused.load(Ordering::Relaxed);
    while refused() < 2 {
        tokio::time::sleep(QUIET).await;
    }
    let most = began.elapsed().as_millis() / AFTER_AN_ERROR.as_millis() + 1;
    assert!(u128::from(refused()) <= most, "{} errors in {:?}", refused(), began.elapsed());
    // It accepts again as soon as that is possible.
    rustix::net::listen(&twin, 1).unwrap();
    let Address::Tcp(at) = &address else { panic!("not tcp") };
    let _near = TcpStream::connect(at.as_str()).await.unwrap();
    timeout(PATIENCE, scene.server.accept()).await.unwrap().unwrap();
    serving.abort();
}
