//! PJSIP changes a call while it lasts: hold, UPDATE, late offer, PRACK, session timers, two calls at once.

use crate::process::{ECHO, Offhook};
use crate::softphone::Softphone;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

/// PJSIP's own names of directions: 3 is sendrecv.
const BOTH_WAYS: u64 = 3;

fn phone(offhook: &Offhook, options: &[&str]) -> Option<Softphone> {
    let options: Vec<&str> = ["bind=127.0.0.1"].iter().chain(options).copied().collect();
    Softphone::open_with(offhook.sip(), &options)
}

fn ended_by(offhook: &Offhook, call: &str, by: &str) {
    let over = offhook.until_call(call, "the end", |call| call["state"] == "ended");
    assert_eq!(over["ended"]["by"], by, "{over}");
}

/// Media flow both ways.
fn assert_talking(offhook: &Offhook, phone: &mut Softphone, call: &str) {
    let count = |phone: &mut Softphone| {
        (offhook.call(call)["quality"]["packets_received"].as_u64().unwrap_or(0), phone.stats().0)
    };
    let (there, here) = count(phone);
    std::thread::sleep(Duration::from_secs(2));
    let (more_there, more_here) = count(phone);
    assert!(more_there >= there + 25, "{} packets in 2 s to the agent", more_there - there);
    assert!(more_here >= here + 50, "{} packets in 2 s from the agent", more_here - here);
}

#[test]
fn a_call_is_changed_in_every_way() {
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phone) = phone(&offhook, &[]) else { return };
    let call = phone.call("1000");
    phone.tell("hold");
    phone.expect("hold", |event| event["event"] == "media" && event["direction"] != BOTH_WAYS);
    phone.tell("unhold");
    phone.expect("no hold", |event| event["event"] == "media" && event["direction"] == BOTH_WAYS);
    phone.tell("update");
    phone.expect_transaction("UPDATE", true, 200, SOON);
    phone.tell("reinvite");
    phone.expect_transaction("INVITE", true, 200, SOON);
    phone.tell("info 7");
    phone.expect_transaction("INFO", true, 200, SOON);
    assert_talking(&offhook, &mut phone, &call);
    // A second call beside it, and the first is still there after its end.
    let second = phone.call("1001");
    assert_ne!(call, second);
    assert_talking(&offhook, &mut phone, &second);
    phone.hang_up();
    ended_by(&offhook, &second, "caller");
    phone.tell("select 0");
    assert_talking(&offhook, &mut phone, &call);
    phone.hang_up();
    ended_by(&offhook, &call, "caller");
    phone.close();
}

#[test]
fn an_offer_of_ours_is_answered_in_the_ack() {
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phone) = phone(&offhook, &[]) else { return };
    let call = phone.place("call_late 1000");
    assert_talking(&offhook, &mut phone, &call);
    phone.hang_up();
    ended_by(&offhook, &call, "caller");
    phone.close();
}

#[test]
fn a_ringing_that_has_to_be_acknowledged_is() {
    let offhook = Offhook::start(&ECHO, "");
    let Some(mut phone) = phone(&offhook, &["prack=1"]) else { return };
    let call = phone.call("1000");
    // The 200 to the INVITE does not wait for the PRACK, so that the PRACK's own answer may have come before.
    phone.expect_anywhere("200 to PRACK", SOON, |event| {
        event["event"] == "transaction" && event["method"] == "PRACK" && event["code"] == 200
    });
    assert_talking(&offhook, &mut phone, &call);
    phone.hang_up();
    ended_by(&offhook, &call, "caller");
    phone.close();
}

#[test]
fn a_session_is_refreshed_by_either_side() {
    let offhook = Offhook::start(&ECHO, "[agent]\nreprompt_after_s = 60\n[sip]\nsession_expires_s = 90\n");
    let Some(mut theirs) = phone(&offhook, &["expires=90"]) else { return };
    // One that knows nothing of session timers is refreshed by us.
    let Some(mut ours) = phone(&offhook, &["user=agent002", "timer=0"]) else { return };
    let calls = [theirs.call("1000"), ours.call("1000")];
    // At half time, 45 s.
    let limit = Duration::from_secs(60);
    theirs.expect_transaction("UPDATE", true, 200, limit);
    ours.expect_transaction("UPDATE", false, 200, limit);
    for (phone, call) in [(&mut theirs, &calls[0]), (&mut ours, &calls[1])] {
        assert_talking(&offhook, phone, call);
        phone.hang_up();
        ended_by(&offhook, call, "caller");
    }
    theirs.close();
    ours.close();
}
