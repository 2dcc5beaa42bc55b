//! Messages that real phones sent, through the whole user agent: the right answers.

use offhook::config;
use offhook::ids::CallId;
use offhook::sip::flow::Flow;
use offhook::sip::{Command, EndedBy, Event, Input, Invitation, Output, UserAgent};
use offhook::time::Instant;
use std::net::SocketAddr;
use std::time::Duration;

const CALL: &[u8] = include_bytes!("captures/call-01-invite.txt");
const HIDDEN: &[u8] = include_bytes!("captures/call-12-invite-hide-caller-id.txt");
const UNBOUND: &[u8] = include_bytes!("captures/localhost-02-invite-unbound.txt");
const LOCAL_ACCOUNT: &[u8] = include_bytes!("captures/localhost-05-invite-local-account.txt");
const BARESIP: &[u8] = include_bytes!("captures/baresip-03-invite.txt");
const TCP: &[u8] = include_bytes!("captures/tcp-03-invite.txt");
const TO_BE_CANCELLED: &[u8] = include_bytes!("captures/cancel-01-invite.txt");
const CANCEL: &[u8] = include_bytes!("captures/cancel-02-cancel.txt");

const OURS: &[u8] = b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\n";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

struct Bench {
    ua: UserAgent,
    now: Instant,
    sent: Vec<(SocketAddr, Vec<u8>)>,
    events: Vec<Event>,
}

impl Bench {
    fn new(settings: &config::Sip) -> Self {
        let ua = UserAgent::new(settings, "Offhook/0", fastrand::Rng::with_seed(4475));
        Self { ua, now: Instant::ZERO, sent: Vec::new(), events: Vec::new() }
    }

    fn receive(&mut self, source: &str, bytes: &[u8]) {
        let (source, local) = (address(source), address("127.0.0.1:5070"));
        self.ua.handle_input(Input::Received { flow: Flow::udp(source, local), bytes }, self.now);
        self.drain();
    }

    fn command(&mut self, command: Command) {
        self.ua.handle_input(Input::Command(command), self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.ua.poll_output() {
            match output {
                Output::Transmit { to, bytes } => self.sent.push((to.peer, bytes)),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        self.ua.handle_timeout(self.now);
        self.drain();
    }

    /// Takes out what was sent, as first lines and where it went.
    fn answers(&mut self) -> Vec<(String, String)> {
        let sent = std::mem::take(&mut self.sent);
        sent.iter().map(|(to, bytes)| (first_line(bytes), to.to_string())).collect()
    }
}

fn first_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().next().expect("a line").to_owned()
}

fn header(bytes: &[u8], name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
}

/// Takes a captured INVITE from 100 to the BYE of its caller, and returns the invitation.
fn whole_call(invite: &[u8], source: &str) -> Invitation {
    let mut bench = Bench::new(&config::Sip::default());
    bench.receive(source, invite);
    assert_eq!(bench.answers(), [("SIP/2.0 100 Trying".to_owned(), source.to_owned())]);
    let [Event::Invited(invitation)] = bench.events.as_slice() else { panic!("{:?}", bench.events) };
    let invitation = invitation.clone();
    let call = invitation.call;

    bench.command(Command::Ring { call });
    bench.command(Command::Answer { call, sdp: OURS.to_vec() });
    let ok = bench.sent.last().expect("the 200").1.clone();
    assert_eq!(first_line(&ok), "SIP/2.0 200 OK");
    assert_eq!(header(&ok, "Contact").as_deref(), Some("<sip:127.0.0.1:5070>"));
    assert!(ok.ends_with(OURS));
    let via = header(&ok, "Via").expect("Via");
    let port = source.rsplit(':').next().expect("a port");
    assert!(via.contains(&format!(";rport={port}")) && via.contains(";received=127.0.0.1"), "{via}");
    bench.answers();

    // The INVITE again, before the ACK and after it: absorbed.
    bench.receive(source, invite);
    let text = String::from_utf8(invite.to_vec()).expect("text");
    let follow_up = |method: &str, branch: &str, cseq: u32| {
        let old = text.lines().find_map(|line| line.strip_prefix("CSeq: ")).expect("CSeq");
        let to = text.lines().find_map(|line| line.strip_prefix("To: ")).expect("To");
        let number: u32 = old.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
        let head = text.split("Content-Type").next().expect("a head").replace("z9hG4bK", branch);
        head.replace("INVITE sip:", &format!("{method} sip:"))
            .replace(&format!("CSeq: {old}"), &format!("CSeq: {} {method}", number + cseq))
            .replace(&format!("To: {to}"), &format!("To: {}", header(&ok, "To").expect("To")))
            + "Content-Length:  0\r\n\r\n"
    };
    bench.receive(source, follow_up("ACK", "z9hG4bKack", 0).as_bytes());
    bench.receive(source, invite);
    assert_eq!(bench.answers(), []);
    assert_eq!(bench.events.last(), Some(&Event::Confirmed { call, answer: None }));
    bench.wait(Duration::from_secs(33));
    assert_eq!(bench.answers(), []);
    bench.receive(source, follow_up("BYE", "z9hG4bKbye", 1).as_bytes());
    assert_eq!(bench.answers(), [("SIP/2.0 200 OK".to_owned(), source.to_owned())]);
    assert!(matches!(bench.events.last(), Some(Event::Ended { by: EndedBy::Caller, .. })));
    assert_eq!((bench.events.len(), bench.ua.live_calls()), (3, 0));
    invitation
}

fn body(message: &[u8]) -> Option<Vec<u8>> {
    let at = message.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(message[at + 4..].to_vec())
}

#[test]
fn a_microsip_call_goes_from_invite_to_bye() {
    let invitation = whole_call(CALL, "127.0.0.1:49833");
    assert_eq!(invitation.from, "<sip:agent001@127.0.0.1>;tag=MDtCiUy9nbR1opdCNCj9EAn90ARvieQf");
    assert_eq!(
        (invitation.to.as_str(), invitation.call_id.as_str()),
        ("sip:1000@127.0.0.1", "1F1dCqGbTlog0UN4wydePNCzN0Sjo9D5")
    );
    assert_eq!((invitation.offer, invitation.local), (body(CALL), address("127.0.0.1:0").ip()));
}

#[test]
fn a_microsip_call_that_hides_its_number_is_taken_by_the_first_from() {
    let invitation = whole_call(HIDDEN, "127.0.0.1:42728");
    assert_eq!(invitation.from, "<sip:agent001@127.0.0.1>;tag=.WM4xJvHJrX8gAeSEthVtTKYVQExfOfx");
}

#[test]
fn a_phone_on_the_same_machine_is_answered_where_it_is_and_not_where_it_says() {
    let invitation = whole_call(UNBOUND, "127.0.0.1:55416");
    assert_eq!(invitation.source, address("127.0.0.1:55416"));
}

#[test]
fn a_local_account_without_a_user_is_served() {
    let invitation = whole_call(LOCAL_ACCOUNT, "127.0.0.1:45870");
    assert!(invitation.from.starts_with("<sip:192.0.2.2>;tag="));
}

#[test]
fn a_baresip_call_goes_from_invite_to_bye() {
    let invitation = whole_call(BARESIP, "127.0.0.1:5074");
    assert_eq!(invitation.offer, body(BARESIP));
}

#[test]
fn an_invite_written_for_tcp_is_read_as_well() {
    let invitation = whole_call(TCP, "127.0.0.1:34477");
    assert_eq!(invitation.offer, body(TCP));
}

#[test]
fn our_bye_follows_the_contact_of_a_phone_but_goes_where_it_is() {
    let mut bench = Bench::new(&config::Sip::default());
    bench.receive("127.0.0.1:55416", UNBOUND);
    let call = CallId(1);
    bench.command(Command::Answer { call, sdp: OURS.to_vec() });
    let to = header(&bench.sent.last().expect("the 200").1, "To").expect("To");
    let ack =
        String::from_utf8(UNBOUND.to_vec()).expect("text").replace("To: sip:1000@127.0.0.1", &format!("To: {to}"));
    let ack = ack.replace("INVITE sip", "ACK sip").replace("9993 INVITE", "9993 ACK").replace("z9hG4bK", "z9hG4bKack");
    bench.receive("127.0.0.1:55416", ack.as_bytes());
    bench.answers();
    bench.command(Command::HangUp { call, reason: "farewell".to_owned() });
    let bye = bench.sent.last().expect("a BYE").1.clone();
    assert_eq!(
        bench.answers(),
        [("BYE sip:agent001@192.0.2.2:55416;ob SIP/2.0".to_owned(), "127.0.0.1:55416".to_owned())]
    );
    assert_eq!(header(&bye, "Reason").as_deref(), Some("Q.850;cause=16;text=\"farewell\""));
}

#[test]
fn a_cancelled_call_gets_200_and_487() {
    let source = "127.0.0.1:51490";
    let mut bench = Bench::new(&config::Sip::default());
    bench.receive(source, TO_BE_CANCELLED);
    bench.command(Command::Ring { call: CallId(1) });
    bench.answers();
    bench.receive(source, CANCEL);
    let lines: Vec<String> = bench.answers().into_iter().map(|(line, _)| line).collect();
    assert_eq!(lines, ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]);
    let reason = "cancelled".to_owned();
    assert_eq!(bench.events.last(), Some(&Event::Ended { call: CallId(1), by: EndedBy::Caller, reason }));
    bench.wait(Duration::from_millis(500));
    assert_eq!(bench.answers().len(), 1, "487 again, since no ACK has come");
}

#[test]
fn a_cancel_without_its_invite_is_refused() {
    let mut bench = Bench::new(&config::Sip::default());
    bench.receive("127.0.0.1:51490", CANCEL);
    assert_eq!(bench.answers()[0].0, "SIP/2.0 481 Call/Transaction Does Not Exist");
}
