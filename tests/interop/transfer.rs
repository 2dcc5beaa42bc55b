//! PJSIP transfers calls: blind, and attended in both directions; the agent's conversation goes on with another telephone.

use crate::process::{ECHO, Offhook};
use crate::softphone::Softphone;
use serde_json::Value;
use std::time::Duration;

/// Two telephones that are registered: who transfers, and who is transferred to.
fn phones(offhook: &Offhook) -> Option<[Softphone; 2]> {
    let open = |user| Softphone::open_with(offhook.sip(), &["bind=127.0.0.1", user]);
    let mut phones = [open("user=agent001")?, open("user=agent002")?];
    phones.iter_mut().for_each(|phone| assert_eq!(phone.register("register"), 300));
    Some(phones)
}

fn is_up(event: &Value) -> bool {
    event["event"] == "call" && event["state"] == "CONFIRMED"
}

/// The agent's call is the same, and it is `phone` that hears and is heard.
fn assert_goes_on_with(offhook: &Offhook, phone: &mut Softphone, call: &str) {
    let count = |phone: &mut Softphone| (offhook.call(call)["quality"]["packets_received"].as_u64(), phone.stats().0);
    std::thread::sleep(Duration::from_secs(1));
    let (there, here) = count(phone);
    std::thread::sleep(Duration::from_secs(2));
    let (more_there, more_here) = count(phone);
    assert!(more_there >= there.map(|there| there + 50), "{there:?} and {more_there:?} packets to the agent");
    assert!(more_here >= here + 50, "{here} and {more_here} packets from the agent");
    assert_eq!(offhook.call(call)["state"], "active");
    let calls = offhook.ask("GET", "/api/v1/sip/calls").1;
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(1), "{calls}");
}

fn end(offhook: &Offhook, [first, mut second]: [Softphone; 2], call: &str) {
    second.hang_up();
    let over = offhook.until_call(call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], "caller", "{over}");
    first.close();
    second.close();
}

#[test]
fn a_blind_transfer_hands_the_agent_over() {
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phones) = phones(&offhook) else { return };
    let [first, second] = &mut phones;
    let call = first.call("1000");
    // Nobody whom this server does not know is called.
    first.tell(&format!("transfer sip:+49900123456@{}", offhook.sip()));
    first.expect_transaction("REFER", true, 603, Duration::from_secs(10));
    first.tell(&format!("transfer sip:agent002@{}", offhook.sip()));
    second.expect("the agent's call", is_up);
    let told = |event: &Value| event["event"] == "transfer" && event["code"] == 200 && event["final"] == true;
    first.expect("success", told);
    first.expect_bye();
    assert_goes_on_with(&offhook, second, &call);
    end(&offhook, phones, &call);
}

#[test]
fn an_attended_transfer_gives_the_agent_to_whom_the_caller_talks_with() {
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phones) = phones(&offhook) else { return };
    let [first, second] = &mut phones;
    let call = first.call("1000");
    first.place(&format!("call_uri sip:agent002@{}", second.address));
    second.expect("the caller's call", is_up);
    // The agent is asked to call the second telephone, in the place of the caller.
    first.tell("select 0");
    first.tell("transfer_to 1");
    second.expect("the agent's call", is_up);
    first.expect_bye();
    first.expect_bye();
    assert_goes_on_with(&offhook, second, &call);
    end(&offhook, phones, &call);
}

#[test]
fn an_attended_transfer_lets_another_take_the_agent_over() {
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phones) = phones(&offhook) else { return };
    let [first, second] = &mut phones;
    let call = first.call("1000");
    first.place(&format!("call_uri sip:agent002@{}", second.address));
    second.expect("the caller's call", is_up);
    // The second telephone is asked to call the agent, in the place of the caller.
    first.tell("transfer_to 0");
    second.expect("the call to the agent", is_up);
    first.expect_bye();
    assert_goes_on_with(&offhook, second, &call);
    end(&offhook, phones, &call);
}
