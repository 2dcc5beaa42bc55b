//! SIP over TCP, TLS and IPv6: softphones, OpenSSL, and clients that mean no good.

use crate::microsip::{Script, say_to_the_echo};
use crate::phone::{Phone, Weather};
use crate::process::{ECHO, Offhook, models, there_is, wait_for};
use crate::softphone::Softphone;
use crate::{one_of_two, sound};
use offhook::audio::g711::Codec;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

/// An engine with TLS; returns it and where that is served. Its own certificate is kept in a folder of the test's.
fn with_tls(env: &[(&str, &str)], settings: &str) -> (Offhook, SocketAddr, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut all = vec![("XDG_CONFIG_HOME", folder.path().to_str().expect("text"))];
    all.extend(env);
    let offhook = Offhook::start(&all, &format!("{settings}\n[sip.tls]\nport = {}\n", free.port()));
    (offhook, free, folder)
}

fn options(transport: &str, target: &str, number: u32) -> String {
    format!(
        "OPTIONS {target} SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:9;rport;branch=z9hG4bKo{number}\r\nMax-Forwards: 70\r\n\
         From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: o{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Reads until `mark` has come, or the end.
fn read_until(stream: &mut TcpStream, mark: &str) -> String {
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    while !String::from_utf8_lossy(&text).contains(mark) {
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => break,
            Ok(len) => text.extend_from_slice(&bytes[..len]),
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Whether the other side closes within `limit`.
fn is_closed(stream: &mut TcpStream, limit: Duration) -> bool {
    stream.set_read_timeout(Some(limit)).expect("a timeout");
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn connections(offhook: &Offhook, transport: &str) -> u64 {
    let (_, status) = offhook.ask("GET", "/api/v1/sip/status");
    let transports = status["transports"].as_array().expect("an array").clone();
    let row = transports.iter().find(|row| row["transport"] == transport).expect("a row");
    row["connections"].as_u64().expect("a number")
}

/// Registers, calls, is heard by the echo agent and hears its own words back.
fn talks_over(transport: &str) {
    let Some(models) = models() else { return };
    let _cores = one_of_two();
    let (offhook, tls, _folder) = with_tls(&ECHO, "");
    let server = if transport == "tls" { tls } else { offhook.sip() };
    let Some(mut phone) = Softphone::open_over(transport, server) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let script = Script::new(&models, folder.path());
    let recording = folder.path().join("echo.wav");
    phone.tell(&format!("record {}", recording.display()));
    assert_eq!(phone.register("register"), 300);
    assert_eq!(connections(&offhook, transport), 1);
    let call = phone.call("1000");
    let text = "I would like to hear my own words, please.";
    say_to_the_echo(&offhook, &mut phone, &script, &call, text);
    phone.hang_up();
    let over = offhook.until_call(&call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "caller", "{over}");

    // A second call, ended by this side: the BYE goes back through the connection.
    let call = phone.call("1000");
    let target = format!("/api/v1/sip/calls/{}", crate::process::percent_encoded(&call));
    assert_eq!(offhook.ask("DELETE", &target).0, 200);
    phone.expect_bye();
    phone.tell("stop_recording");
    assert_eq!(phone.register("unregister"), 0);
    phone.close();
    wait_for("the connection's end", SOON, || (connections(&offhook, transport) == 0).then_some(()));
    let heard = sound::read(&recording);
    let likeness = sound::likeness(sound::trim(&script.pcm(text)), &heard);
    eprintln!("{transport}: {} ms loud, likeness {likeness:.2}", sound::loud_ms(&heard));
    assert!(likeness > 0.85, "the words did not come back: {likeness:.2}");
}

#[test]
fn a_softphone_talks_over_tcp() {
    talks_over("tcp");
}

#[test]
fn a_softphone_talks_over_tls() {
    talks_over("tls");
}

#[test]
fn a_lost_connection_takes_its_registration_along() {
    let offhook = Offhook::start(&ECHO, "");
    let mut stream = TcpStream::connect(offhook.sip()).expect("it listens");
    let register = options("TCP", "sip:b", 1)
        .replace("OPTIONS", "REGISTER")
        .replace("Content-Length", "Contact: <sip:a@127.0.0.1:9;transport=tcp>\r\nContent-Length");
    stream.write_all(register.as_bytes()).expect("sent");
    assert!(read_until(&mut stream, "\r\n\r\n").starts_with("SIP/2.0 200 "));
    let registrations = || offhook.ask("GET", "/api/v1/sip/status").1["registrations"].clone();
    assert_eq!(registrations(), 1);
    drop(stream);
    wait_for("the end of the registration", SOON, || (registrations() == 0).then_some(()));
}

#[test]
fn messages_in_pieces_in_rows_and_with_pings_between_are_answered() {
    let offhook = Offhook::start(&ECHO, "");
    let mut stream = TcpStream::connect(offhook.sip()).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    for byte in options("TCP", "sip:a@b", 1).as_bytes() {
        stream.write_all(&[*byte]).expect("sent");
    }
    assert!(read_until(&mut stream, "\r\n\r\n").starts_with("SIP/2.0 200 "));
    stream.write_all(b"\r\n\r\n").expect("sent");
    assert_eq!(read_until(&mut stream, "\r\n"), "\r\n");
    let row: String = (2..12).map(|number| options("TCP", "sip:a@b", number)).collect();
    stream.write_all(row.as_bytes()).expect("sent");
    let answers = read_until(&mut stream, "Call-ID: o11");
    assert_eq!(answers.matches("SIP/2.0 200 ").count(), 10, "{answers}");
    // Half-closed: what came before is answered all the same.
    stream.write_all(options("TCP", "sip:a@b", 12).as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("open");
    assert!(read_until(&mut stream, "nothing comes after it").contains("Call-ID: o12"));
    wait_for("the connection's end", SOON, || (connections(&offhook, "tcp") == 0).then_some(()));
}

#[test]
fn what_is_not_framed_or_not_sip_ends_the_connection() {
    let offhook = Offhook::start(&ECHO, "");
    for (sent, answer) in [
        (options("TCP", "sip:a@b", 1).replace("Content-Length: 0\r\n", ""), "SIP/2.0 400 "),
        (options("TCP", "sip:a@b", 1).replace("Length: 0", "Length: -3"), "SIP/2.0 400 "),
        (options("TCP", "sip:a@b", 1).replace("CSeq", &"X-Long: y\r\n".repeat(2000)), ""),
        ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n".into(), ""),
        ("\x16\x03\x01\x02\x00\x01".into(), ""),
    ] {
        let mut stream = TcpStream::connect(offhook.sip()).expect("it listens");
        stream.write_all(sent.as_bytes()).expect("sent");
        let got = read_until(&mut stream, "\r\n\r\n");
        assert!(got.starts_with(answer), "{got}");
        assert!(is_closed(&mut stream, SOON), "{sent:.40}");
    }
    wait_for("the connections' end", SOON, || (connections(&offhook, "tcp") == 0).then_some(()));
}

#[test]
fn slow_and_silent_clients_are_let_go() {
    let offhook = Offhook::start(&ECHO, "");
    let begun = Instant::now();
    let mut silent = TcpStream::connect(offhook.sip()).expect("it listens");
    let mut slow = TcpStream::connect(offhook.sip()).expect("it listens");
    let text = options("TCP", "sip:a@b", 1);
    let cut = text.bytes().position(|byte| {
        slow.write_all(&[byte]).is_err() || {
            std::thread::sleep(Duration::from_millis(500));
            begun.elapsed() > Duration::from_secs(14)
        }
    });
    assert!(cut.is_some_and(|at| at < 30), "{cut:?}");
    assert!(is_closed(&mut silent, SOON) && is_closed(&mut slow, SOON));
    assert_eq!(connections(&offhook, "tcp"), 0);
}

/// Connects to `server` from another loopback address.
fn connect_from(source: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((source, 0)).into()).expect("a loopback address");
    socket.connect(&server.into()).expect("it listens");
    socket.into()
}

#[test]
fn a_thousand_idle_connections_leave_calls_alone() {
    let offhook = Offhook::start(&ECHO, "");
    let phone = Phone::call(offhook.sip(), Codec::Pcma, Weather::default()).expect("the call is answered");
    let mut idle = Vec::new();
    for number in 0..1000 {
        idle.push(connect_from([127, 0, 1, 1 + u8::try_from(number / 200).expect("small")], offhook.sip()));
    }
    // 128 of each of five addresses, and 512 in all.
    wait_for("the caps", SOON, || (connections(&offhook, "tcp") == 512).then_some(()));
    let second = Phone::call(offhook.sip(), Codec::Pcma, Weather::default()).expect("the call is answered");
    assert!(second.answered_after < Duration::from_secs(1), "{:?}", second.answered_after);
    let before = phone.heard().len();
    std::thread::sleep(Duration::from_secs(1));
    assert!(phone.heard().len() >= before + 45, "{} packets in a second", phone.heard().len() - before);
    // Clients that say nothing are closed, and then there is room.
    wait_for("room", Duration::from_secs(15), || (connections(&offhook, "tcp") == 0).then_some(()));
    let mut stream = TcpStream::connect(offhook.sip()).expect("it listens");
    stream.write_all(options("TCP", "sip:a@b", 1).as_bytes()).expect("sent");
    assert!(read_until(&mut stream, "\r\n\r\n").starts_with("SIP/2.0 200 "));
    second.hang_up();
    phone.hang_up();
}

#[test]
fn openssl_is_served_by_tls_12_and_13_with_the_certificate_that_the_log_names() {
    if !there_is("openssl", "openssl") {
        return;
    }
    let (offhook, tls, folder) = with_tls(&ECHO, "");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = Command::new("openssl")
            .args(["s_client", "-quiet", "-no_ign_eof", version, "-connect", &tls.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl runs");
        let mut stdin = client.stdin.take().expect("it is piped");
        stdin.write_all(options("TLS", "sips:a@b", 1).as_bytes()).expect("sent");
        let mut answer = [0; 12];
        client.stdout.take().expect("it is piped").read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"SIP/2.0 200 ", "{version}");
        drop(stdin);
        client.wait().expect("openssl ends");
    }
    let certificate = folder.path().join("offhook/sip-certificate.pem");
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(certificate)
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fingerprint = text.trim().split_once('=').expect("a fingerprint").1;
    assert!(offhook.log.all().iter().any(|line| line.contains(fingerprint)), "{text}");
    // SIP in the clear at the port of TLS is none.
    let mut plain = TcpStream::connect(tls).expect("it listens");
    plain.write_all(options("TCP", "sip:a@b", 1).as_bytes()).expect("sent");
    assert!(is_closed(&mut plain, SOON));
}

#[test]
fn a_certificate_that_cannot_be_read_is_one_line_and_exit_code_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (settings, named) in [
        ("[sip.tls]\ncertificate = \"a.pem\"\nkey = \"b.pem\"", "sip.tls.certificate"),
        ("[sip.tls]\ncertificate = \"a.pem\"", "sip.tls.key"),
        ("[sip.tls]\nport = 0", "sip.tls.port"),
    ] {
        std::fs::write(folder.path().join("offhook.toml"), settings).expect("a file");
        let output = crate::process::command(folder.path()).envs(ECHO).output().expect("the binary runs");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains(named), "{error}");
    }
}

#[test]
fn a_call_over_ipv6_is_heard() {
    if UdpSocket::bind("[::1]:0").is_err() {
        return crate::process::skip("IPv6", "a machine with ::1");
    }
    for listen in ["[::1]:0", "[::]:0"] {
        let offhook = Offhook::run(&["--start", "--sip", listen], &ECHO, "");
        let server = SocketAddr::new("::1".parse().expect("an address"), offhook.sip().port());
        let phone = Phone::call(server, Codec::Pcma, Weather::default()).expect("the call is answered");
        assert!(phone.wait_until(SOON, |phone| phone.last_loud().is_some()), "{listen}: no chime");
        let known = offhook
            .until_call(phone.call_id(), "the caller", |call| call["quality"]["packets_received"].as_u64() >= Some(20));
        assert_eq!(known["state"], "active", "{known}");
        phone.hang_up();
        if listen == "[::]:0" {
            // The same socket is one for IPv4.
            let server = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), offhook.sip().port());
            let phone = Phone::call(server, Codec::Pcmu, Weather::default()).expect("the call is answered");
            assert!(phone.wait_until(SOON, |phone| phone.last_loud().is_some()), "no chime over IPv4");
            phone.hang_up();
        }
    }
}

#[test]
fn the_address_that_was_asked_is_the_one_that_answers() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let offhook = Offhook::run(&["--start", "--sip", listen], &ECHO, "");
        for asked in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 1, 2, 3]] {
            let server = SocketAddr::from((asked, offhook.sip().port()));
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            // From here on the socket hears nobody else.
            socket.connect(server).expect("a route");
            socket.set_read_timeout(Some(SOON)).expect("a timeout");
            let invite = String::from_utf8_lossy(include_bytes!("../captures/call-01-invite.txt"))
                .replace("Call-ID: ", &format!("Call-ID: {}", asked[3]))
                .replace("z9hG4bK", &format!("z9hG4bK{}", asked[3]));
            socket.send(invite.as_bytes()).expect("sent");
            let mut bytes = [0; 4096];
            let ok = loop {
                let len = socket.recv(&mut bytes).expect("an answer from the address that was asked");
                let text = String::from_utf8_lossy(&bytes[..len]).into_owned();
                if text.starts_with("SIP/2.0 200 ") {
                    break text;
                }
            };
            assert!(ok.contains(&format!("\r\nContact: <sip:{server}>\r\n")), "{ok}");
            assert!(ok.contains(&format!("\r\nc=IN IP4 {}\r\n", server.ip())), "{ok}");
        }
    }
}

#[test]
fn an_invite_of_six_thousand_bytes_is_answered_by_udp() {
    let offhook = Offhook::start(&ECHO, "");
    let text = String::from_utf8_lossy(include_bytes!("../captures/call-01-invite.txt")).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let body = format!("{body}{}", "a=x-padding:0123456789012345678901234567890123456789\r\n".repeat(95));
    let lines = head.lines().filter(|line| !line.starts_with("Content-Length"));
    let head: String = lines.map(|line| format!("{line}\r\n")).collect();
    let invite = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    assert!((6_000..8_192).contains(&invite.len()), "{}", invite.len());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    socket.send_to(invite.as_bytes(), offhook.sip()).expect("sent");
    let mut bytes = [0; 4096];
    loop {
        let len = socket.recv(&mut bytes).expect("an answer");
        if bytes[..len].starts_with(b"SIP/2.0 200 ") {
            break;
        }
        assert!(bytes[..len].starts_with(b"SIP/2.0 1"), "{}", String::from_utf8_lossy(&bytes[..len]));
    }
}

#[test]
fn a_tcp_port_that_is_taken_is_a_warning_and_no_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let sip = taken.local_addr().expect("it is bound").to_string();
    let offhook = Offhook::run(&["--start", "--sip", &sip], &ECHO, "");
    let (_, status) = offhook.ask("GET", "/api/v1/sip/status");
    let tcp = &status["transports"][1];
    assert_eq!((&tcp["transport"], &tcp["address"]), (&Value::from("tcp"), &Value::from(sip)), "{status}");
    assert!(tcp["error"].as_str().is_some_and(|error| error.contains("in use")), "{status}");
    let warnings = offhook.log.all().into_iter().filter(|line| line.contains("no SIP over tcp")).count();
    assert_eq!(warnings, 1);
    Phone::call(offhook.sip(), Codec::Pcma, Weather::default()).expect("the call is answered").hang_up();
}

#[test]
fn twenty_starts_and_stops_leave_no_descriptor() {
    let (offhook, tls, _folder) = with_tls(&ECHO, "");
    let folder = format!("/proc/{}/fd", offhook.id());
    let open = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
    let sip = offhook.sip();
    let start = format!("/api/v1/sip/start?host=127.0.0.1&port={}", sip.port());
    let mut first = None;
    for _ in 0..20 {
        let mut streams = [sip, tls].map(|server| TcpStream::connect(server).expect("it listens"));
        streams[0].write_all(options("TCP", "sip:a@b", 1).as_bytes()).expect("sent");
        assert!(read_until(&mut streams[0], "\r\n\r\n").starts_with("SIP/2.0 200 "));
        assert_eq!(offhook.ask("POST", "/api/v1/sip/stop").1["status"], "stopped");
        assert!(streams.iter_mut().all(|stream| is_closed(stream, SOON)));
        // What asks the control API has connections of its own, which end a moment later.
        let first = *first.get_or_insert_with(&open);
        wait_for("the descriptors of the first stop", SOON, || (open() <= first).then_some(()));
        assert_eq!(offhook.ask("POST", &start).1["status"], "started");
    }
}
