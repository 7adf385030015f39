//! The state as tables: each event, and what is to be done about it.

mod simulation;

use std::sync::Arc;

use ambit_redirect::Capture;
use ambit_zds::WorkloadInfo;

use super::*;
use crate::pod::{Pod, PodSpec};

const INTERVAL: Duration = Duration::from_secs(60);

/// Pod `uid`; `dns` tells two descriptions of it apart.
fn pod(uid: &str, dns: bool) -> Arc<Pod> {
    Arc::new(Pod {
        uid: uid.into(),
        info: WorkloadInfo::default(),
        capture: Capture { dns, ..Capture::default() },
        spec: PodSpec::default(),
    })
}

fn outcome(text: &str) -> Outcome {
    match text {
        "ok" => Ok(()),
        problem => Err(problem.into()),
    }
}

/// An event in words: `add R UID NETNS`, `add- UID NETNS` (restored), `change R UID NETNS`, `remove R UID`,
/// `remove-dead R UID`, `giveup R`, `captured UID OUTCOME`, `released UID OUTCOME`, `cleared UID OUTCOME`, `verified UID`, `connected Z`,
/// `gone Z`, `offered Z UID VERSION OUTCOME`, `withdrawn Z UID`, `tick`.
fn event(text: &str) -> Event<u32> {
    let words: Vec<&str> = text.split(' ').collect();
    let number = |word: &str| word.parse::<u64>().unwrap();
    let add = |request: Option<RequestId>, uid, netns: &str, dns| {
        Event::Add(Addition {
            request,
            pod: pod(uid, dns),
            netns: netns.parse().unwrap(),
            restored: request.is_none(),
        })
    };
    let remove = |request, uid: &str, alive| {
        Event::Remove(Removal { request: Some(number(request)), uid: uid.into(), alive })
    };
    match *words.as_slice() {
        ["add", request, uid, netns] => add(Some(number(request)), uid, netns, true),
        ["add-", uid, netns] => add(None, uid, netns, true),
        ["change", request, uid, netns] => add(Some(number(request)), uid, netns, false),
        ["remove", request, uid] => remove(request, uid, true),
        ["remove-dead", request, uid] => remove(request, uid, false),
        ["giveup", request] => Event::GiveUp(number(request)),
        ["captured", uid, text] => Event::Captured { uid: uid.into(), outcome: outcome(text) },
        ["released", uid, text] => Event::Released { uid: uid.into(), outcome: outcome(text) },
        ["cleared", uid, text] => Event::Cleared { uid: uid.into(), outcome: outcome(text) },
        ["verified", uid] => Event::Verified { uid: uid.into() },
        ["connected", ztunnel] => Event::Connected(number(ztunnel)),
        ["gone", ztunnel] => Event::Gone(number(ztunnel)),
        ["offered", ztunnel, uid, version, text] => Event::Offered(Offered {
            ztunnel: number(ztunnel),
            uid: uid.into(),
            version: number(version),
            outcome: outcome(text),
        }),
        ["withdrawn", ztunnel, uid] => {
            Event::Withdrawn { ztunnel: number(ztunnel), uid: uid.into() }
        }
        ["tick"] => Event::Tick,
        _ => unreachable!("{text}"),
    }
}

/// An effect in words.
fn words(effect: &Effect<u32>) -> String {
    let changed = |pod: &Pod| if pod.capture.dns { "" } else { " changed" };
    match effect {
        Effect::Work(Work::Capture { pod, netns, fresh }) => {
            let fresh = if *fresh { " fresh" } else { "" };
            format!("capture {}@{netns}{}{fresh}", pod.uid, changed(pod))
        }
        Effect::Work(Work::Release { pod, netns }) => format!("release {}@{netns}", pod.uid),
        Effect::Work(Work::Clear { uid, netns }) => format!("clear {uid}@{netns}"),
        Effect::Work(Work::Verify { pod, netns }) => format!("verify {}@{netns}", pod.uid),
        Effect::Forget { uid } => format!("forget {uid}"),
        Effect::Tell(ztunnel, Order::Offer { pod, netns, version }) => {
            format!("offer {ztunnel} {}@{netns} v{version}{}", pod.uid, changed(pod))
        }
        Effect::Tell(ztunnel, Order::Keep { uid }) => format!("keep {ztunnel} {uid}"),
        Effect::Tell(ztunnel, Order::SnapshotSent) => format!("snapshot {ztunnel}"),
        Effect::Tell(ztunnel, Order::Withdraw { uid }) => format!("withdraw {ztunnel} {uid}"),
        Effect::Reply { request, outcome: Ok(()) } => format!("reply {request}"),
        Effect::Reply { request, outcome: Err(problem) } => format!("reply {request}: {problem}"),
    }
}

/// Plays a script of `event => effect; effect`, one event a line; `+5s` or `+5ms` lets time pass.
fn play(script: &str) -> State<u32> {
    let mut state = State::new(INTERVAL);
    let mut now = Instant::now();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(passed) = line.strip_prefix('+') {
            now += match passed.strip_suffix("ms") {
                Some(millis) => Duration::from_millis(millis.parse().unwrap()),
                None => Duration::from_secs(passed.trim_end_matches('s').parse().unwrap()),
            };
            continue;
        }
        let (given, expected) = line.split_once("=>").unwrap();
        let effects = state.handle(now, event(given.trim()));
        let found: Vec<String> = effects.iter().map(words).collect();
        assert_eq!(found.join("; "), expected.trim(), "at {given}\nin {script}");
    }
    state
}

#[test]
fn ztunnel_then_rules_then_reply_and_back() {
    let state = play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      => reply 7
         remove 8 a         => release a@4
         released a ok      => reply 8
         tick               =>
         +6s
         tick               => withdraw 1 a
         withdrawn 1 a      => clear a@4
         cleared a ok       => forget a",
    );
    assert_eq!(state.census(), Census { ztunnels: 1, ..Census::default() });
    assert_eq!(state.next_tick(), None);
}

#[test]
fn a_pod_goes_without_the_mesh_until_a_ztunnel_takes_it() {
    let state = play(
        "add 7 a 4          =>
         connected 1        => offer 1 a@4 v1; snapshot 1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      => reply 7",
    );
    assert_eq!(state.census(), Census { served: 1, ztunnels: 1, ..Census::default() });
    // Nobody has to be told but those who were asked.
    play(
        "add 7 a 4          =>
         remove 8 a         => reply 7: the pod was removed meanwhile; reply 8; forget a
         connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v2
         remove 8 a         => reply 7: the pod was removed meanwhile; withdraw 1 a
         offered 1 a 2 ok   =>
         withdrawn 1 a      => reply 8; forget a",
    );
}

#[test]
fn rules_that_cannot_go_in_are_final() {
    let state = play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a no-nft  => reply 7: no-nft; withdraw 1 a
         add 8 a 4          =>
         withdrawn 1 a      => forget a; offer 1 a@4 v2",
    );
    assert_eq!(state.census().pending, 1);
}

#[test]
fn refused_pods_are_offered_again_with_growing_pauses() {
    let state = play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 busy =>
         tick               =>
         +5ms
         tick               => offer 1 a@4 v1
         tick               =>
         offered 1 a 1 busy =>
         +5ms
         tick               =>
         +5ms
         tick               => offer 1 a@4 v1
         giveup 7           => reply 7: not done yet, and being tried further: ztunnel refuses it: busy
         giveup 7           =>
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      =>",
    );
    assert_eq!(state.census().served, 1);
}

#[test]
fn the_latest_ztunnel_gets_new_pods_and_all_lose_old_ones() {
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      => reply 7
         connected 2        => offer 2 a@4 v1; snapshot 2
         add 8 b 5          => offer 2 b@5 v2
         offered 2 a 1 ok   =>
         offered 2 b 2 ok   => capture b@5 fresh
         captured b ok      => reply 8
         remove 9 a         => release a@4
         released a ok      => reply 9
         +6s
         tick               => withdraw 1 a; withdraw 2 a
         withdrawn 2 a      =>
         withdrawn 1 a      => clear a@4
         cleared a ok       => forget a
         gone 2             => offer 1 b@5 v2
         offered 1 b 2 ok   =>
         gone 1             =>
         connected 3        => offer 3 b@5 v2; snapshot 3",
    );
}

#[test]
fn an_answer_of_a_former_ztunnel_is_not_enough() {
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         connected 2        => offer 2 a@4 v1; snapshot 2
         offered 1 a 1 ok   =>
         offered 2 a 1 busy =>
         gone 2             => capture a@4 fresh
         captured a ok      => reply 7",
    );
    // It may be replaced while the rules go in.
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         connected 2        => keep 2 a; snapshot 2
         captured a ok      => offer 2 a@4 v1
         offered 2 a 1 ok   => reply 7",
    );
}

#[test]
fn an_older_ztunnel_that_goes_changes_nothing() {
    play(
        "connected 1        => snapshot 1
         connected 2        => snapshot 2
         add 7 a 4          => offer 2 a@4 v1
         gone 1             =>
         offered 1 a 1 ok   =>
         offered 2 a 1 ok   => capture a@4 fresh",
    );
}

#[test]
fn a_ztunnel_that_goes_has_let_go() {
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      => reply 7
         remove-dead 8 a    => withdraw 1 a
         gone 1             => reply 8; forget a",
    );
}

#[test]
fn adding_again_changes_nothing() {
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         add 8 a 4          =>
         offered 1 a 1 ok   => capture a@4 fresh
         add 9 a 4          =>
         captured a ok      => reply 7; reply 8; reply 9
         add 10 a 4         => reply 10
         remove 11 nobody   => reply 11",
    );
}

#[test]
fn a_changed_pod_is_captured_and_offered_anew() {
    play(
        "connected 1             => snapshot 1
         add 7 a 4               => offer 1 a@4 v1
         change 8 a 4            => offer 1 a@4 v2 changed
         offered 1 a 1 ok        =>
         offered 1 a 2 ok        => capture a@4 changed fresh
         captured a ok           => reply 7; reply 8
         add 9 a 4               => capture a@4
         captured a ok           => offer 1 a@4 v3
         offered 1 a 3 ok        => reply 9
         change 10 a 4           => capture a@4 changed
         captured a no-nft       => reply 10: no-nft
         connected 2             => offer 2 a@4 v3; snapshot 2",
    );
}

#[test]
fn a_pod_with_a_new_namespace_is_let_go_and_taken_again() {
    for released in ["ok", "namespace-is-gone"] {
        play(&format!(
            "connected 1            => snapshot 1
             add 7 a 4              => offer 1 a@4 v1
             offered 1 a 1 ok       => capture a@4 fresh
             captured a ok          => reply 7
             add 8 a 5              => release a@4
             released a {released}  => withdraw 1 a
             withdrawn 1 a          => clear a@4
             cleared a {released}   => forget a; offer 1 a@5 v2
             offered 1 a 2 ok       => capture a@5 fresh"
        ));
    }
    play(
        "connected 1            => snapshot 1
         add 7 a 4              => offer 1 a@4 v1
         add 8 a 5              => reply 7: the pod was removed meanwhile; withdraw 1 a
         withdrawn 1 a          => forget a; offer 1 a@5 v2",
    );
}

#[test]
fn a_pod_that_comes_back_is_not_cleared() {
    let state = play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      => reply 7
         remove 8 a         => release a@4
         add 9 a 4          =>
         released a ok      => reply 8; capture a@4 fresh
         captured a ok      => reply 9
         +6s
         tick               =>",
    );
    assert_eq!(state.census().served, 1);
    // Another ztunnel has come meanwhile; it leaves again before its rules are in: those of the first time are taken out.
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      => reply 7
         remove 8 a         => release a@4
         released a ok      => reply 8
         remove 9 a         => reply 9
         gone 1             =>
         add 10 a 4         =>
         connected 2        => offer 2 a@4 v1; snapshot 2
         remove 11 a        => reply 10: the pod was removed meanwhile; withdraw 2 a
         withdrawn 2 a      => reply 11; clear a@4
         cleared a gone     => forget a",
    );
    // A changed one has to be served anew.
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         captured a ok      => reply 7
         remove 8 a         => release a@4
         released a ok      => reply 8
         change 9 a 4       => offer 1 a@4 v2 changed
         offered 1 a 2 ok   => capture a@4 changed fresh",
    );
    // It dies.
    play(
        "add- a 4           => capture a@4
         captured a ok      =>
         remove 8 a         => release a@4
         released a ok      => reply 8
         remove-dead 9 a    => reply 9; forget a",
    );
}

#[test]
fn a_namespace_has_one_pod() {
    play(
        "add 7 a 4          =>
         add 8 b 4          => reply 8: its network namespace is that of pod a: remove that first",
    );
}

#[test]
fn requests_wait_for_the_operation_under_way() {
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         remove 8 a         =>
         add 9 a 5          =>
         captured a ok      => reply 7; release a@4
         released a ok      => reply 8; withdraw 1 a
         withdrawn 1 a      => clear a@4
         cleared a ok       => forget a; offer 1 a@5 v2
         offered 1 a 1 ok   =>
         offered 1 a 2 ok   => capture a@5 fresh
         captured a ok      => reply 9",
    );
    play(
        "connected 1        => snapshot 1
         add 7 a 4          => offer 1 a@4 v1
         offered 1 a 1 ok   => capture a@4 fresh
         remove 8 a         =>
         captured a no-nft  => reply 7: no-nft; withdraw 1 a
         withdrawn 1 a      => forget a; reply 8",
    );
}

#[test]
fn requests_do_not_pile_up() {
    let mut state = play("add- a 4 => capture a@4");
    for _ in 0..16 {
        assert_eq!(state.handle(Instant::now(), event("remove 2 a")), []);
    }
    let effects = state.handle(Instant::now(), event("remove 3 a"));
    assert!(matches!(effects.as_slice(), [Effect::Reply { request: 3, outcome: Err(_) }]));
}

#[test]
fn a_pod_whose_rules_stay_is_served_on() {
    play(
        "connected 1            => snapshot 1
         add 7 a 4              => offer 1 a@4 v1
         offered 1 a 1 ok       => capture a@4 fresh
         captured a ok          => reply 7
         remove 8 a             => release a@4
         connected 2            => keep 2 a; snapshot 2
         released a no-nft      => reply 8: its rules cannot be taken out, so it stays captured: no-nft; offer 2 a@4 v1
         giveup 8               =>",
    );
    // Nobody waits for the reply any more: that makes no difference to the pod.
    play(
        "add- a 4               => capture a@4
         captured a ok          =>
         remove 8 a             => release a@4
         add 9 a 4              =>
         giveup 8               => reply 8: not done yet, and being tried further: its rules are still being taken out
         released a no-nft      =>
         connected 1            => offer 1 a@4 v1; snapshot 1
         offered 1 a 1 ok       => reply 9",
    );
}

#[test]
fn a_dead_pod_keeps_its_rules() {
    play(
        "connected 1            => snapshot 1
         add 7 a 4              => offer 1 a@4 v1
         offered 1 a 1 ok       => capture a@4 fresh
         captured a ok          => reply 7
         remove-dead 8 a        => withdraw 1 a
         connected 2            => snapshot 2
         withdrawn 1 a          => reply 8; forget a",
    );
}

#[test]
fn pods_of_before_are_kept_until_they_are_captured_again() {
    play(
        "add- a 4               => capture a@4
         add- b 5               => capture b@5
         connected 1            => keep 1 a; keep 1 b; snapshot 1
         captured a ok          => offer 1 a@4 v1
         captured b no-nft      => offer 1 b@5 v0
         offered 1 b 0 ok       =>",
    );
}

#[test]
fn rules_are_verified_in_turn() {
    let state = play(
        "add- a 4           => capture a@4
         add- b 5           => capture b@5
         captured a ok      =>
         +1s
         captured b ok      =>
         +59s
         tick               => verify a@4
         +1s
         tick               =>
         remove 9 a         =>
         verified a         => release a@4
         tick               => verify b@5
         verified b         =>
         tick               =>",
    );
    assert!(state.next_tick().is_some_and(|at| at > Instant::now()));
}

#[test]
fn giving_up_says_what_is_in_the_way() {
    play(
        "add 7 a 4          =>
         giveup 7           => reply 7: not done yet, and being tried further: no ztunnel is connected: start one on this node
         add 9 a 4          =>
         connected 1        => offer 1 a@4 v1; snapshot 1
         giveup 9           => reply 9: not done yet, and being tried further: ztunnel has not answered yet
         add 7 a 4          =>
         offered 1 a 1 ok   => capture a@4 fresh
         giveup 7           => reply 7: not done yet, and being tried further: its rules are still being put in
         captured a ok      =>
         remove-dead 10 a   => withdraw 1 a
         giveup 10          => reply 10: not done yet, and being tried further: a ztunnel has not let go of it yet
         withdrawn 1 a      => forget a
         giveup 99          =>",
    );
}
