//! Edits, good and bad.

use super::*;
use crate::manifest::read;

const POLICY: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: {action: DENY}\n";
const SPACE: &str = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n";

fn keys(sum: &Sum) -> Vec<String> {
    sum.objects.0.keys().map(ToString::to_string).collect()
}

fn layers(files: &[(&str, &str)]) -> Layers {
    let mut layers = Layers::default();
    for (name, text) in files {
        layers.file(name, Some(read(name, text)));
    }
    layers
}

#[test]
fn a_slip_leaves_objects_as_they_were() {
    let good = [POLICY, SPACE].concat();
    for slip in [
        good.replace("spec: {", "spec: {{"),
        good.replace("kind: Auth", "kin: Auth"),
        good.replace("metadata: {name: p}", "metadata: {nam: p}"),
        "a: [".to_owned(),
        POLICY.to_owned() + &SPACE.replace("metadata: {name: n}", "metadata: []"),
    ] {
        let mut layers = layers(&[("f.yaml", &good)]);
        let before = layers.sum();
        layers.file("f.yaml", Some(read("f.yaml", &slip)));
        let after = layers.sum();
        assert_eq!(keys(&after), ["AuthorizationPolicy default/p", "Namespace n"], "{slip}");
        assert!(after.passed_on["f.yaml"].contains("DENY"), "{slip}");
        assert_eq!(after.invalid.len(), 1, "{slip}");
        layers.file("f.yaml", Some(read("f.yaml", &good)));
        assert_eq!(layers.sum(), before, "repaired");
    }
}

#[test]
fn an_invalid_version_leaves_the_last_good_one() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, command: [x]}]}";
    let mut layers = layers(&[("f.yaml", pod)]);
    let before = layers.sum().objects;
    layers.file("f.yaml", Some(read("f.yaml", &pod.replace("containers:", "container:"))));
    let after = layers.sum();
    assert_eq!((after.objects, after.invalid.len()), (before, 1));
}

#[test]
fn what_is_taken_out_is_gone() {
    let mut layers = layers(&[("f.yaml", &[POLICY, SPACE].concat())]);
    layers.file("f.yaml", Some(read("f.yaml", SPACE)));
    assert_eq!(keys(&layers.sum()), ["Namespace n"]);
    assert!(layers.sum().passed_on.is_empty());
    layers.file("f.yaml", None);
    assert_eq!(layers.sum(), Sum::default());
}

#[test]
fn the_first_of_two_files_counts() {
    let sum = layers(&[("a.yaml", SPACE), ("b.yaml", SPACE)]).sum();
    assert_eq!(sum.objects.0.len(), 1);
    assert_eq!(sum.invalid.len(), 1);
    assert!(sum.invalid[0].to_string().starts_with("b.yaml: Namespace n: is in an earlier file"));
    let twice = [SPACE, SPACE].concat();
    assert_eq!(layers(&[("a.yaml", &twice)]).sum().invalid.len(), 1);
}

#[test]
fn applied_objects_are_on_top_and_can_be_taken_away() {
    let mut layers = layers(&[("f.yaml", POLICY)]);
    let [document] = &read("", &POLICY.replace("DENY", "ALLOW")).documents[..] else { panic!() };
    let key = document.key.clone();
    layers.apply(document.clone());
    let sum = layers.sum();
    let texts: Vec<&String> = sum.passed_on.values().collect();
    assert!(texts.len() == 1 && texts[0].contains("ALLOW"), "{texts:?}");
    assert!(layers.delete(&key));
    assert_eq!(layers.sum(), Sum::default(), "the file's version is gone as well");
    assert!(!layers.delete(&key));
    layers.apply(document.clone());
    assert_eq!(layers.sum().objects.0.len(), 1);
}

#[test]
fn differences_are_named() {
    let before = layers(&[("f.yaml", &[POLICY, SPACE].concat())]).sum().objects;
    let after = layers(&[("f.yaml", &POLICY.replace("DENY", "ALLOW"))]).sum().objects;
    let difference = difference(&before, &after);
    assert_eq!(
        (difference.added.len(), difference.changed.len(), difference.removed.len()),
        (0, 1, 1)
    );
    assert_eq!(super::difference(&after, &after), Difference::default());
    assert_eq!(super::difference(&after, &before).added.len(), 1);
}

#[test]
fn items_of_mixed_lists_are_passed_on_too() {
    let item = |text: &str| text.trim_start_matches("---\n").replace('\n', "\n  ");
    let list = |first: &str| {
        let (first, policy) = (item(first), item(POLICY));
        format!("apiVersion: v1\nkind: List\nitems:\n- {first}\n- {policy}\n")
    };
    let sum = layers(&[("f.yaml", &list(SPACE))]).sum();
    assert_eq!(keys(&sum), ["AuthorizationPolicy default/p", "Namespace n"]);
    let texts: Vec<&String> = sum.passed_on.values().collect();
    assert!(matches!(&texts[..], [text] if text.contains("DENY")), "{texts:?}");
    let alone = layers(&[("f.yaml", &list(&POLICY.replace("name: p", "name: q")))]).sum();
    assert_eq!(alone.passed_on.len(), 1, "as it stands: {:?}", alone.passed_on);
}
