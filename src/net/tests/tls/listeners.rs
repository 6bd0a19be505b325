//! Groups that share a listener share its certificate.

use super::*;

/// What a group is told that cannot start.
fn refusal(listen: &str, group: &str, tls: Option<Tls>) -> String {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let config = Config { listen: listen.into(), tls, ..config() };
    match Net::start(runtime.handle(), Recorder::new(group, 1, &members()), config) {
        Err(Error::Config(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("group {group} starts"),
    }
}

/// One certificate for two groups: both are reached, and what does not fit is refused with the reason,
/// and leaves the others as they were.
#[test]
fn groups_of_a_listener_have_the_same_files() {
    let office = Office::new();
    let both = ["dledger:g/1", "dledger:h/1"];
    let files = office.files("both", &office.authority.issue(&both));
    let read = |group: &str| Tls::read(files.clone(), group, 1).unwrap();
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = probe.local_addr().unwrap().to_string();
    drop(probe);
    let at = |group: &str| {
        let config = Config { listen: listen.clone(), tls: Some(read(group)), ..config() };
        Node::start(Recorder::new(group, 1, &members()), config)
    };
    let (one, other) = (at("g"), at("h"));
    let mut dialler =
        Node::start(Recorder::new("g", 2, &members()), office.config(2, &["dledger:g/2"]));
    let tls = Some(
        Tls::read(office.files("of h", &office.authority.issue(&["dledger:h/2"])), "h", 2).unwrap(),
    );
    let mut of_h = Node::start(Recorder::new("h", 2, &members()), Config { tls, ..config() });
    dialler.net().set_peers(&[one.peer()]);
    of_h.net().set_peers(&[other.peer()]);
    dialler.says_soon(&one, 1);
    of_h.says_soon(&other, 2);

    // A third one, without TLS or with other files.
    let text = refusal(&listen, "i", None);
    assert!(text.contains("must have the same tls.cert, tls.key and tls.ca"), "{text}");
    let third = office.files("third", &office.authority.issue(&["dledger:i/1"]));
    let text = refusal(&listen, "i", Some(Tls::read(third, "i", 1).unwrap()));
    assert!(text.contains("must have the same tls.cert") && text.contains(" i "), "{text}");
    // The same files, in which there is something else now: it is for all, or for none.
    let renewed = office.authority.issue(&["dledger:i/1", "dledger:g/1"]);
    office.files("both", &renewed);
    let text = refusal(&listen, "i", Some(read("i")));
    assert!(text.contains("does not name dledger:h/1"), "{text}");
    drop(one);
    dialler.handler.next(&Heard::Lost(1));
    // Whoever comes is shown what is right for those that are there.
    office.files("both", &office.authority.issue(&both));
    let one = at("g");
    dialler.says_soon(&one, 3);
    of_h.says(&other, 4);
    drop((one, other));
    assert!(std::net::TcpListener::bind(&listen).is_ok(), "the listener is still there");
}

/// What is in the files when a group comes is for the whole listener: those that were there go on with
/// a new certificate, here of a new authority.
#[test]
fn the_last_group_renews_the_certificate() {
    let office = Office::new();
    let both = ["dledger:g/1", "dledger:h/1"];
    let files = office.files("both", &office.authority.issue(&both));
    let read = |group: &str| Tls::read(files.clone(), group, 1).unwrap();
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = probe.local_addr().unwrap().to_string();
    drop(probe);
    let at = |group: &str| {
        let config = Config { listen: listen.clone(), tls: Some(read(group)), ..config() };
        Node::start(Recorder::new(group, 1, &members()), config)
    };
    let one = at("g");
    let old = client(Some(&office.authority.issue(&["dledger:g/3"])));
    let enters = |config: &Arc<ClientConfig>| {
        let mut stranger = Stranger::in_tls(&one, config.clone());
        stranger.sends(&hello(3, 1).encode().unwrap());
        assert!(matches!(stranger.answer(), HelloAnswer::Hello(_)));
        stranger
    };
    enters(&old);

    let next = Authority::new("two");
    std::fs::write(office.path("ca"), next.pem()).unwrap();
    office.files("both", &next.issue(&both));
    let other = at("h");
    enters(&client(Some(&next.issue(&["dledger:g/3"]))));
    let before = one.listener_count(Fault::Tls(TlsError::Authority));
    let mut stranger = Stranger::in_tls(&one, old);
    let _ = stranger.0.write_all(&hello(3, 1).encode().unwrap());
    stranger.sees_its_end();
    until("the count", || one.listener_count(Fault::Tls(TlsError::Authority)) == before + 1);
    drop(other);
}

/// With TLS a port that is open to the network is no decision.
#[test]
fn tls_may_be_open_to_the_network() {
    let office = Office::new();
    let open = Config { listen: "0.0.0.0:0".into(), ..office.config(1, &["dledger:g/1"]) };
    let node = Node::start(Recorder::new("g", 1, &members()), open);
    assert_eq!(node.address().ip().to_string(), "0.0.0.0");
}
