//! A telephone registers, refreshes, and is forgotten, whatever the network loses.

use super::support::{Weather, World, ms, seeds};
use offhook::sip::Event;
use std::time::Duration;

fn registered(world: &World) -> usize {
    world.ua.bindings().count()
}

#[test]
fn a_registration_is_answered_and_expires() {
    let mut world = World::new(1);
    world.add_caller();
    world.callers[0].register(60, world.now);
    world.run_for(ms(100));
    assert_eq!(world.callers[0].answers(), ["200 OK"]);
    assert_eq!(registered(&world), 1);
    world.run_for(Duration::from_secs(59));
    assert_eq!(registered(&world), 1);
    world.run_for(Duration::from_secs(2));
    assert_eq!(registered(&world), 0);
    assert!(matches!(world.sip_events.last(), Some((_, Event::Unregistered { .. }))));
}

#[test]
fn a_refresh_keeps_the_binding_and_zero_removes_it() {
    let mut world = World::new(1);
    world.add_caller();
    for _ in 0..5 {
        world.callers[0].register(60, world.now);
        world.run_for(Duration::from_secs(50));
        assert_eq!(registered(&world), 1);
    }
    world.callers[0].register(0, world.now);
    world.run_for(ms(100));
    assert_eq!(registered(&world), 0);
    assert!(world.callers[0].answers().iter().all(|answer| *answer == "200 OK"));
}

#[test]
fn a_lossy_network_only_delays_registrations() {
    for seed in seeds(20) {
        let mut world = World::new(seed);
        world.network.sip = Weather { loss: 0.3, delay: ms(20), jitter: ms(200), duplicate: 0.2, ..Weather::default() };
        for n in 0..10 {
            world.add_caller();
            world.callers[n].register(3600, world.now);
        }
        world.run_for(Duration::from_secs(32));
        assert_eq!(registered(&world), 10);
        for caller in &world.callers {
            assert!(caller.answers().iter().all(|answer| *answer == "200 OK"), "{:?}", caller.answers());
        }
        let events = world.sip_events.iter().filter(|(_, event)| matches!(event, Event::Registered { .. })).count();
        assert_eq!(events, 10, "a request that comes again is answered, not carried out again");
    }
}
