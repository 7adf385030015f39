//! Who asks, how often, and in which order.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use ambit_identity::{Identities, IdentityError, SavedCredential, State};
use ambit_tls::Revocations;

use crate::fixtures::{DEADLINE, HOUR, Scripted, eventually, identity};

fn identities(source: &Arc<Scripted>) -> Identities {
    Identities::new(Arc::clone(source) as Arc<_>, Revocations::none())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_one_request() {
    let source = Scripted::with_leave(HOUR, 0);
    let identities = identities(&source);
    let web = identity("web");
    assert!(identities.current(&web).is_none());
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (identities, web) = (identities.clone(), web.clone());
            tokio::spawn(async move { identities.obtain(&web).await.unwrap() })
        })
        .collect();
    eventually("a request", || source.count() == 1).await;
    assert!(matches!(identities.states()[0].state, State::Initializing));
    source.leave.add_permits(1);
    let mut serials = HashSet::new();
    for caller in callers {
        serials.insert(caller.await.unwrap().cert_chain()[0].serial_number.clone());
    }
    assert_eq!((serials.len(), source.count()), (1, 1));
    assert!(identities.current(&web).is_some());
    assert_eq!(identities.states()[0].state.to_string(), "Available");
}

#[tokio::test]
async fn eight_at_once_and_whoever_is_waited_for_goes_first() {
    let source = Scripted::with_leave(HOUR, 0);
    let identities = identities(&source);
    for i in 0..20 {
        identities.prefetch(&identity(&format!("ahead-{i:02}")));
    }
    eventually("eight requests", || source.count() == 8).await;
    // One that nobody has asked for yet, and one that stands last in line already.
    let last_in_line = identity("ahead-19");
    assert!(!source.asked.lock().contains(&last_in_line));
    let newcomer = identity("newcomer");
    let waiting = [newcomer.clone(), last_in_line.clone()].map(|wanted| {
        let identities = identities.clone();
        tokio::spawn(async move { identities.obtain(&wanted).await.map(drop) })
    });
    // Until both stand in line: waiting yields, and this runtime has one thread.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    source.leave.add_permits(2);
    eventually("two more requests", || source.count() == 10).await;
    let next: HashSet<_> = source.asked.lock()[8..].iter().cloned().collect();
    assert_eq!(next, HashSet::from([newcomer, last_in_line]));
    source.leave.add_permits(100);
    for caller in waiting {
        caller.await.unwrap().unwrap();
    }
    eventually("all are there", || identities.states().iter().all(|s| s.credential.is_some()))
        .await;
    assert_eq!((source.count(), source.most_running.load(Ordering::SeqCst)), (21, 8));
}

#[tokio::test]
async fn a_failure_is_told_at_once_and_heals_by_itself() {
    let source = Scripted::new(HOUR);
    source.failing.store(true, Ordering::SeqCst);
    let identities = identities(&source);
    let web = identity("web");
    let error = identities.obtain(&web).await.unwrap_err();
    assert!(matches!(&error, IdentityError::Unavailable { identity, .. } if *identity == web));
    assert_eq!(error.reason(), "token");
    let state = &identities.states()[0];
    assert!(
        state.state.to_string().starts_with("Unavailable: the token of AUTH_TOKEN"),
        "{}",
        state.state
    );
    assert!(state.credential.is_none());
    // The next try is due in about a second: no caller speeds that up.
    for _ in 0..20 {
        assert!(identities.obtain(&web).await.is_err());
    }
    assert_eq!(source.count(), 1);
    source.failing.store(false, Ordering::SeqCst);
    eventually("the next try", || identities.current(&web).is_some()).await;
    assert!(identities.obtain(&web).await.is_ok());
}

#[tokio::test]
async fn an_answer_for_somebody_else_is_refused() {
    let source = Scripted::new(HOUR);
    *source.answer_for.lock() = Some(identity("cart"));
    let identities = identities(&source);
    let error = identities.obtain(&identity("web")).await.unwrap_err();
    assert_eq!(error.reason(), "wrong_identity");
    let state = identities.states()[0].state.to_string();
    assert_eq!(
        state,
        "Unavailable: the answer is for Some(\"spiffe://cluster.local/ns/shop/sa/cart\")"
    );
}

#[tokio::test]
async fn forgetting_ends_it_for_everybody() {
    let source = Scripted::with_leave(HOUR, 0);
    let identities = identities(&source);
    let web = identity("web");
    let waiting = {
        let (identities, web) = (identities.clone(), web.clone());
        tokio::spawn(async move { identities.obtain(&web).await })
    };
    eventually("a request", || source.count() == 1).await;
    identities.forget(&web);
    let told = tokio::time::timeout(DEADLINE, waiting).await.unwrap().unwrap();
    assert!(matches!(told, Err(IdentityError::Forgotten(_))));
    assert!(identities.states().is_empty());
    identities.forget(&web); // Twice is fine.
    // The place of the request is free again, and the identity can come back.
    source.leave.add_permits(1);
    assert!(identities.obtain(&web).await.is_ok());
    assert_eq!(source.count(), 2);
}

#[test]
fn any_runtime_and_thread_may_ask() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap();
    let source = Scripted::new(HOUR);
    let identities = runtime.block_on(async { identities(&source) });
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let identities = identities.clone();
            std::thread::spawn(move || {
                let worker = tokio::runtime::Builder::new_current_thread().build().unwrap();
                worker.block_on(identities.obtain(&identity("web"))).map(drop)
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap().unwrap();
    }
    assert_eq!(source.count(), 1);
}

#[tokio::test]
async fn what_was_exported_serves_again_without_a_request() {
    let source = Scripted::new(HOUR);
    let before = identities(&source);
    let (web, cart) = (identity("web"), identity("cart"));
    let mut changes = before.changes();
    changes.borrow_and_update();
    let serial = before.obtain(&web).await.unwrap().cert_chain()[0].serial_number.clone();
    before.obtain(&cart).await.unwrap();
    assert!(changes.has_changed().unwrap());
    let saved = before.export();
    let text = serde_json::to_string(&saved).unwrap();
    assert!(!format!("{saved:?}").contains("PRIVATE"), "keys are not printed");
    let saved: Vec<SavedCredential> = serde_json::from_str(&text).unwrap();

    let down = Scripted::new(HOUR);
    down.failing.store(true, Ordering::SeqCst);
    let after = identities(&down);
    assert_eq!(after.import(saved.clone(), SystemTime::now()), 2);
    assert!(after.states().is_empty(), "nobody has claimed them yet");
    let credential = after.obtain(&web).await.unwrap();
    assert_eq!(credential.cert_chain()[0].serial_number, serial);
    assert_eq!(down.count(), 0);
    // What nobody has claimed is still kept for the next restart, and not asked for.
    assert_eq!(after.export(), saved);
    after.forget(&cart);
    assert_eq!(after.export().len(), 1);
}

#[tokio::test]
async fn only_sound_leftovers_are_imported() {
    let source = Scripted::new(HOUR);
    let identities = identities(&source);
    identities.obtain(&identity("web")).await.unwrap();
    let good = identities.export().remove(0);
    let now = SystemTime::now();
    let broken = |change: &dyn Fn(&mut SavedCredential)| {
        let mut saved = good.clone();
        change(&mut saved);
        saved
    };
    let leftovers = vec![
        broken(&|saved| saved.key = "gone".to_owned()),
        broken(&|saved| saved.roots.truncate(40)),
        broken(&|saved| saved.identity = identity("cart")),
        good.clone(),
    ];
    assert_eq!(identities.import(leftovers, now), 1);
    assert_eq!(identities.import(vec![good.clone()], now + 2 * HOUR), 0, "expired");
    assert_eq!(identities.import(vec![good], now - Duration::from_secs(600)), 0, "not valid yet");
}
