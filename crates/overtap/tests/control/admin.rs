//! Users, tokens, grants and agents, as administrators and others order them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::controller::Controller;

#[test]
fn users_tokens_and_grants_come_and_go_and_the_log_knows() {
    let controller = Controller::start();
    controller.add_user("ann", "operator");
    let users = controller.json("admin", &["users", "list"]);
    assert_eq!((&users[0]["name"], &users[1]["name"]), (&"admin".into(), &"ann".into()));
    assert_eq!((&users[1]["role"], &users[1]["tokens"]), (&"operator".into(), &1.into()));

    let add = ["grants", "add", "ann", "--machine", "tenant:acme", "--machine", "vm:lab-*"];
    let limits = ["--snaplen", "headers", "--longest", "1h", "--until", "30d", "--needs-reason"];
    let id = controller.done("admin", &[&add[..], &limits].concat()).trim().to_owned();
    let grants = controller.json("ann", &["grants", "list"]);
    assert_eq!(grants[0]["id"], id.as_str());
    assert_eq!(grants[0]["machines"], serde_json::json!(["tenant:acme", "vm:lab-*"]));
    assert_eq!((&grants[0]["snaplen"], &grants[0]["longest"]), (&"128".into(), &"PT1H".into()));
    let text = controller.done("ann", &["grants", "list"]);
    let cells = ["ann", "capture", "tenant:acme,vm:lab-*", "128", "1h", "needed"];
    assert!(cells.iter().all(|cell| text.contains(cell)), "{text}");
    controller.done("admin", &["grants", "remove", &id]);
    assert_eq!(controller.json("ann", &["grants", "list"]), serde_json::json!([]));

    let tokens = controller.json("ann", &["tokens", "list"]);
    assert_eq!(tokens.as_array().unwrap().len(), 1, "her own alone: {tokens}");
    controller.done("ann", &["tokens", "remove", tokens[0]["id"].as_str().unwrap()]);
    assert!(controller.refused("ann", &["tokens", "list"]).contains("not known here"));

    let log = controller.log();
    let has =
        |subject: &str| log.iter().any(|(s, is_granted)| s.starts_with(subject) && *is_granted);
    assert!(has("add user ann as operator"), "{log:?}");
    assert!(has("add token for user ann, until "));
    assert!(has("add grant: ann may capture tenant:acme, vm:lab-*, snaplen 128, 1h at a time"));
    assert!(has(&format!("remove grant {id}")));
}

#[test]
fn who_administers_nothing_is_refused_each_time_and_each_time_it_is_logged() {
    let controller = Controller::start();
    controller.add_user("ann", "operator");
    let tries: [&[&str]; 8] = [
        &["users", "list"],
        &["users", "add", "eve", "--role", "admin"],
        &["users", "change", "ann", "--role", "admin"],
        &["users", "disable", "admin"],
        &["tokens", "add", "admin"],
        &["grants", "add", "ann", "--machine", "all"],
        &["agents", "invite"],
        &["agents", "remove", "hv-1"],
    ];
    for words in tries {
        let said = controller.refused("ann", words);
        assert!(said.contains("it needs the role admin"), "{words:?}: {said}");
    }
    for words in [&["audit", "list"][..], &["audit", "export"], &["audit", "verify"]] {
        assert!(controller.refused("ann", words).contains("it needs the role admin"), "{words:?}");
    }
    // What she may not see, she does not learn the existence of.
    let said = controller.refused("ann", &["capture", "web", "-w", "/dev/null"]);
    let refused: Vec<String> =
        controller.log().into_iter().filter(|(_, is)| !is).map(|(s, _)| s).collect();
    assert_eq!(refused.len(), 8 + 3 + 1, "{refused:?}, {said}");
    assert_eq!(refused[2], "change user ann: admin");
    let text = controller.done("admin", &["audit", "list", "--user", "ann", "--refused"]);
    assert_eq!(text.lines().count(), 12, "{text}");
    assert!(text.contains("REFUSED, the role operator may not do this"), "{text}");
}

#[test]
fn a_disabled_user_is_out_at_once_and_an_administrator_stays() {
    let controller = Controller::start();
    controller.add_user("ann", "admin");
    controller.done("ann", &["users", "disable", "admin"]);
    assert!(
        controller.refused("admin", &["users", "list"]).contains("the account admin is disabled")
    );
    let said = controller.refused("ann", &["users", "change", "ann", "--role", "viewer"]);
    assert!(said.contains("ann is the last administrator"), "{said}");
    controller.done("ann", &["users", "enable", "admin"]);
    controller.done("admin", &["users", "list"]);
}

#[test]
fn a_token_of_nobody_and_a_token_misspelt_open_nothing() {
    let controller = Controller::start();
    let login = fs::read_to_string(controller.path("admin.json")).unwrap();
    let mut login: Value = serde_json::from_str(&login).unwrap();
    let good = login["token"].as_str().unwrap().to_owned();
    let other = Controller::start();
    let others = fs::read_to_string(other.path("admin.json")).unwrap();
    let others: Value = serde_json::from_str(&others).unwrap();
    let cases = [
        (others["token"].as_str().unwrap().to_owned(), "not known here"),
        (good[..good.len() - 1].to_owned(), "cut or changed"),
        (good.replacen("ovtu_", "ovte_", 1), "an enrolment token, and a user token is needed"),
        ("hunter2".to_owned(), "no overtap token"),
    ];
    for (token, words) in &cases {
        login["token"] = token.as_str().into();
        fs::write(controller.path("eve.json"), login.to_string()).unwrap();
        let said = controller.refused("eve", &["status"]);
        assert!(said.contains(words), "{token}: {said}");
    }
    let text = controller.done("admin", &["audit", "list", "--refused"]);
    assert_eq!(text.lines().filter(|line| line.contains("UNKNOWN")).count(), cases.len(), "{text}");
    assert!(!text.contains("hunter2"), "what might be a password of something is not logged");
}

#[test]
fn a_host_is_invited_once_listed_and_removed() {
    let controller = Controller::start();
    let line = controller.done("admin", &["agents", "invite"]);
    let folders = ["one", "two"].map(|name| controller.path(name));
    let enrol = |line: &str, name: &str, folder: &Path| {
        let words: Vec<&str> = line.split_whitespace().skip(1).collect();
        let more = ["--name", name, "--dir", folder.to_str().unwrap()];
        controller.overtap("admin", &[&words[..], &more].concat())
    };
    assert!(enrol(&line, "hv-1", &folders[0]).status.success());
    let agents = controller.json("admin", &["agents", "list"]);
    assert_eq!(agents[0]["id"], "hv-1");
    assert_eq!(agents[0]["certificates"].as_array().unwrap().len(), 1);
    let again = enrol(&line, "hv-2", &folders[1]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("used already"), "{said}");
    // Whoever has any invitation cannot become an agent that is there.
    let other = controller.done("admin", &["agents", "invite"]);
    let said = enrol(&other, "hv-1", &folders[1]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("there is an agent hv-1 already"));
    controller.done("admin", &["agents", "remove", "hv-1", "--reason", "sold"]);
    assert_eq!(controller.json("admin", &["agents", "list"]), serde_json::json!([]));
    assert!(enrol(&other, "hv-1", &folders[1]).status.success(), "the name is free again");
    let log = controller.log();
    assert_eq!(log.iter().filter(|(subject, is)| subject == "hv-1" && !is).count(), 1, "{log:?}");
    assert!(log.contains(&("remove agent hv-1".to_owned(), true)));
}
