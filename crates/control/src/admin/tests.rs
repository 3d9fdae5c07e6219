//! What administrators do and others may not, and that the log has it all.

use std::collections::BTreeSet;

use super::*;
use crate::audit::verify;
use crate::grants::{Purpose, Snaplen};
use crate::store::MemoryStore;
use crate::tokens::EnrolmentToken;

fn now() -> Timestamp {
    Timestamp::from_second(1000).unwrap()
}

fn later() -> Timestamp {
    Timestamp::from_second(2000).unwrap()
}

fn name(text: &str) -> UserName {
    text.parse().unwrap()
}

/// A store with the first administrator, called root.
fn begun() -> MemoryStore {
    let store = MemoryStore::default();
    assert!(first_admin(&store, name("root"), now()).unwrap().is_some());
    store
}

fn act(store: &MemoryStore, by: &str, command: &Command) -> Result<Outcome, AdminError> {
    let store: &dyn Store = store;
    let by = &store.one::<User>(by).unwrap().unwrap().value;
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_make(folder.path(), now()).unwrap();
    act_with(store, by, &authority, command)
}

fn act_with(
    store: &dyn Store,
    by: &User,
    authority: &Authority,
    command: &Command,
) -> Result<Outcome, AdminError> {
    Office { store, authority, by, from: "10.0.0.9:5", now: now() }.act(command)
}

fn add_user(user: &str, role: Role) -> Command {
    Command::AddUser { name: name(user), role, note: String::new() }
}

fn change(user: &str, role: Option<Role>, is_enabled: Option<bool>) -> Command {
    Command::ChangeUser { name: name(user), role, is_enabled }
}

fn add_token(user: &str) -> Command {
    Command::AddToken { user: name(user), expires_at: Some(later()), note: "laptop".into() }
}

fn new_grant(to: &str) -> NewGrant {
    NewGrant {
        to: name(to),
        machines: BTreeSet::from(["tenant:acme".parse().unwrap()]),
        purposes: BTreeSet::from([Purpose::Capture]),
        snaplen: Snaplen::HEADERS,
        longest: None,
        from: None,
        until: Some(later()),
        needs_reason: true,
        note: String::new(),
    }
}

/// What the log says, oldest first.
fn log(store: &MemoryStore) -> Vec<(String, bool)> {
    let entries = store.audit(1, 1000).unwrap();
    verify(&entries, &[store.audit_head().unwrap()]).unwrap();
    let bodies = entries.iter().map(|entry| entry.read().unwrap());
    bodies.map(|body| (body.subject, body.answer == Answer::Granted)).collect()
}

fn made(outcome: Outcome) -> Made {
    match outcome.reply {
        Reply::Made(made) => made,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_administrator_is_made_once() {
    let store = begun();
    assert!(first_admin(&store, name("eve"), now()).unwrap().is_none());
    let outcome = act(&store, "root", &Command::ListUsers).unwrap();
    let Reply::Users(rows) = outcome.reply else { panic!() };
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].user.role, rows[0].tokens, rows[0].grants), (Role::Admin, 1, 0));
}

#[test]
fn users_tokens_and_grants_are_made_listed_and_removed() {
    let store = begun();
    act(&store, "root", &add_user("ann", Role::Operator)).unwrap();
    let token = made(act(&store, "root", &add_token("ann")).unwrap());
    let shown: UserToken = token.token.parse().unwrap();
    let kept = (&store as &dyn Store).one::<UserCredential>(&token.id.to_string()).unwrap();
    assert_eq!(kept.unwrap().value.open(&shown.secret, now()), Ok(&name("ann")));

    let outcome = act(&store, "root", &Command::AddGrant(new_grant("ann"))).unwrap();
    let Reply::Grants(grants) = outcome.reply else { panic!() };
    let id = grants[0].id.clone();
    assert_eq!(act(&store, "ann", &Command::ListGrants).unwrap().reply, Reply::Grants(grants));

    act(&store, "root", &Command::RemoveGrant { id: id.clone() }).unwrap();
    let again = act(&store, "root", &Command::RemoveGrant { id });
    assert!(matches!(again, Err(AdminError::Unknown { kind: Kind::Grant, .. })));
    act(&store, "root", &Command::RemoveToken { id: token.id }).unwrap();
    let Reply::Tokens(left) = act(&store, "root", &Command::ListTokens).unwrap().reply else {
        panic!()
    };
    assert_eq!(left.len(), 1, "the first administrator's own");
    let subjects: Vec<String> = log(&store).into_iter().map(|(subject, _)| subject).collect();
    assert_eq!(subjects[2], "add token for user ann, until 1970-01-01T00:33:20Z");
    let grant = "add grant: ann may capture tenant:acme, snaplen 128, with a reason, \
                 until 1970-01-01T00:33:20Z";
    assert_eq!(subjects[3], grant);
}

#[test]
fn an_invitation_opens_the_door_it_names() {
    let store = begun();
    let new = NewInvitation {
        address: "control:7443".parse().unwrap(),
        agent: None,
        uses: 3,
        expires_at: later(),
        note: String::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_make(folder.path(), now()).unwrap();
    let root = (&store as &dyn Store).one::<User>("root").unwrap().unwrap().value;
    let invite = Command::Invite(new.clone());
    let made = made(act_with(&store, &root, &authority, &invite).unwrap());
    let token: EnrolmentToken = made.token.parse().unwrap();
    let ca = authority.now().ca.fingerprint();
    assert_eq!((token.address, token.ca), (new.address.clone(), ca));
    let Reply::Tokens(rows) = act(&store, "root", &Command::ListTokens).unwrap().reply else {
        panic!()
    };
    let kind = TokenKind::Enrolment { agent: None, uses_left: 3 };
    assert!(rows.iter().any(|row| row.id == made.id && row.kind == kind));
    act(&store, "root", &Command::RemoveToken { id: made.id }).unwrap();
    let none = NewInvitation { uses: 0, ..new.clone() };
    assert!(matches!(act(&store, "root", &Command::Invite(none)), Err(AdminError::NoUse)));
    let past = NewInvitation { expires_at: now(), ..new };
    assert!(matches!(act(&store, "root", &Command::Invite(past)), Err(AdminError::Past(_))));
}

#[test]
fn a_removed_agent_has_no_certificate_left() {
    let store = begun();
    let ca = crate::ca::Ca::make(now()).unwrap();
    let hv: AgentId = "hv-1".parse().unwrap();
    let issue = |at| ca.issue_agent(&hv, &crate::ca::Request::make().unwrap().der, at).unwrap();
    let (first, second) = (issue(now()), issue(later()));
    let agent = Enrolled::new(hv.clone(), "00".repeat(8).parse().unwrap(), &first, now());
    let agent = agent.renewed(&second, later());
    let put = Change::put(&agent, Expected::Absent).unwrap();
    store.commit(&[put], &[]).unwrap();
    let outcome = act(&store, "root", &Command::ListAgents).unwrap();
    assert_eq!(outcome.reply, Reply::Agents(vec![agent]));

    let remove = Command::RemoveAgent { id: hv.clone(), reason: "stolen".to_owned() };
    let outcome = act(&store, "root", &remove).unwrap();
    assert_eq!(outcome.over, Some(Over::Agent(hv.clone())));
    for certificate in [first, second] {
        let serial = certificate.serial().to_string();
        let found = (&store as &dyn Store).one::<crate::ca::Revocation>(&serial).unwrap().unwrap();
        assert_eq!((found.value.agent, found.value.reason.as_str()), (hv.clone(), "stolen"));
    }
    let last = store.audit(1, 100).unwrap().pop().unwrap().read().unwrap();
    assert_eq!((last.subject.as_str(), last.reason.as_str()), ("remove agent hv-1", "stolen"));
    assert!(matches!(act(&store, "root", &remove), Err(AdminError::Unknown { .. })));
}

#[test]
fn half_a_key_that_is_revoked_is_nowhere_any_more() {
    let store = begun();
    act(&store, "root", &add_user("ann", Role::Operator)).unwrap();
    let hv: AgentId = "hv-1".parse().unwrap();
    let revoke = Command::RevokeRecorder { id: hv.clone(), reason: "stolen".to_owned() };
    assert!(matches!(act(&store, "root", &revoke), Err(AdminError::Unknown { .. })));
    let key = RecorderKey::make(hv.clone(), now()).unwrap();
    store.commit(&[Change::put(&key, Expected::Absent).unwrap()], &[]).unwrap();
    assert!(matches!(act(&store, "ann", &revoke), Err(AdminError::NotAdmin(_))));

    let outcome = act(&store, "root", &revoke).unwrap();
    assert_eq!(outcome.over, Some(Over::Recorder(hv)));
    let found = (&store as &dyn Store).one::<RecorderKey>("hv-1").unwrap().unwrap().value;
    assert_ne!(found.half(), key.half());
    let last = store.audit(1, 100).unwrap().pop().unwrap().read().unwrap();
    assert_eq!(last.subject, "revoke the recorder key of agent hv-1");
    assert_eq!(last.reason, "stolen");
    let half = data_encoding::HEXLOWER.encode(&found.half());
    let log: Vec<_> = store.audit(1, 100).unwrap();
    assert!(log.iter().all(|entry| !entry.body.contains(&half)), "the log does not have it");
}

#[test]
fn who_administers_nothing_changes_nothing_and_sees_their_own() {
    let store = begun();
    act(&store, "root", &add_user("ann", Role::Operator)).unwrap();
    act(&store, "root", &add_user("bob", Role::Viewer)).unwrap();
    let own = made(act(&store, "root", &add_token("ann")).unwrap());
    let other = made(act(&store, "root", &add_token("bob")).unwrap());
    act(&store, "root", &Command::AddGrant(new_grant("bob"))).unwrap();
    let before = log(&store).len();
    let forbidden = [
        Command::ListUsers,
        add_user("eve", Role::Admin),
        change("ann", Some(Role::Admin), None),
        change("root", None, Some(false)),
        add_token("ann"),
        Command::AddGrant(new_grant("ann")),
        Command::RemoveGrant { id: GrantId::random().unwrap() },
        Command::ListAgents,
        Command::RemoveAgent { id: "hv-1".parse().unwrap(), reason: String::new() },
    ];
    for command in &forbidden {
        let refused = act(&store, "ann", command);
        assert!(matches!(refused, Err(AdminError::NotAdmin(Role::Operator))), "{command}");
    }
    let refusals = log(&store).split_off(before);
    let said: Vec<String> = forbidden.iter().map(ToString::to_string).collect();
    assert_eq!(refusals, said.into_iter().map(|s| (s, false)).collect::<Vec<_>>());

    let Reply::Tokens(rows) = act(&store, "ann", &Command::ListTokens).unwrap().reply else {
        panic!()
    };
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [own.id]);
    assert_eq!(act(&store, "ann", &Command::ListGrants).unwrap().reply, Reply::Grants(vec![]));
    let refused = act(&store, "ann", &Command::RemoveToken { id: other.id });
    assert!(matches!(refused, Err(AdminError::Unknown { .. })));
    act(&store, "ann", &Command::RemoveToken { id: own.id }).unwrap();
}

#[test]
fn there_is_always_an_administrator() {
    let store = begun();
    for command in [change("root", Some(Role::Operator), None), change("root", None, Some(false))] {
        let refused = act(&store, "root", &command);
        assert!(matches!(refused, Err(AdminError::LastAdmin(_))), "{command}");
    }
    act(&store, "root", &add_user("ann", Role::Admin)).unwrap();
    act(&store, "ann", &change("root", None, Some(false))).unwrap();
    let refused = act(&store, "ann", &change("ann", Some(Role::Viewer), None));
    assert!(matches!(refused, Err(AdminError::LastAdmin(_))), "a disabled one does not count");
    act(&store, "ann", &change("root", None, Some(true))).unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_and_logged() {
    let store = begun();
    let exists = act(&store, "root", &add_user("root", Role::Viewer));
    assert!(matches!(exists, Err(AdminError::Exists { kind: Kind::User, .. })));
    for command in [add_token("eve"), Command::AddGrant(new_grant("eve"))] {
        let refused = act(&store, "root", &command);
        assert!(matches!(refused, Err(AdminError::Unknown { kind: Kind::User, .. })), "{command}");
    }
    let empty = [
        NewGrant { machines: BTreeSet::new(), ..new_grant("root") },
        NewGrant { purposes: BTreeSet::new(), ..new_grant("root") },
        NewGrant { from: Some(later()), ..new_grant("root") },
        NewGrant { longest: Some(jiff::SignedDuration::ZERO), ..new_grant("root") },
    ];
    for grant in empty {
        let refused = act(&store, "root", &Command::AddGrant(grant));
        assert!(matches!(refused, Err(AdminError::EmptyGrant)), "{refused:?}");
    }
    assert_eq!(log(&store).iter().filter(|(_, is_granted)| !is_granted).count(), 7);
}

#[test]
fn no_secret_is_in_the_store_or_the_log() {
    let store = begun();
    let made = made(act(&store, "root", &add_token("root")).unwrap());
    let entries = store.audit(1, 100).unwrap();
    let documents = Kind::ALL.into_iter().flat_map(|kind| store.list(kind).unwrap());
    let texts = entries.into_iter().map(|e| e.body).chain(documents.map(|d| d.body));
    for text in texts {
        assert!(!text.contains(&made.token), "{text}");
    }
    assert!(!format!("{made:?}").contains(&made.token));
}

#[test]
fn an_authority_is_rotated_and_retired_with_a_line_for_each() {
    let store = begun();
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open_or_make(folder.path(), now()).unwrap();
    let root = (&store as &dyn Store).one::<User>("root").unwrap().unwrap().value;
    let order = |command: &Command| act_with(&store, &root, &authority, command);
    let hv: AgentId = "hv-1".parse().unwrap();
    let request = crate::ca::Request::make().unwrap().der;
    let certificate = authority.now().ca.issue_agent(&hv, &request, now()).unwrap();
    let enrolled = Enrolled::new(hv.clone(), "00".repeat(8).parse().unwrap(), &certificate, now());
    let change = Change::put(&enrolled, Expected::Absent).unwrap();
    store.commit(&[change], &[]).unwrap();

    let retire = |is_forced| Command::RetireAuthority { is_forced, reason: "old".into() };
    let rotate = Command::RotateAuthority { until: later(), reason: String::new() };
    assert!(matches!(order(&retire(true)), Err(AdminError::Rotation(RotationError::None))));
    let first = authority.now().ca.fingerprint();
    let Reply::Authority(row) = order(&rotate).unwrap().reply else { panic!() };
    let before = row.before.unwrap();
    assert_eq!((before.fingerprint, before.behind), (first, vec![hv.clone()]));
    assert!(matches!(order(&rotate), Err(AdminError::Rotation(RotationError::UnderWay(_)))));
    assert!(matches!(order(&retire(false)), Err(AdminError::Behind(agents)) if agents == [hv]));
    let Reply::Authority(row) = order(&retire(true)).unwrap().reply else { panic!() };
    assert_eq!((row.fingerprint, row.before), (authority.now().ca.fingerprint(), None));

    let entries = store.audit(1, 100).unwrap();
    let said: Vec<String> = entries.iter().map(|entry| entry.read().unwrap().subject).collect();
    let is_said = |words: &str| said.iter().any(|subject| subject.contains(words));
    assert!(is_said(&format!("takes the place of {first}")), "{said:?}");
    assert!(is_said("retire the authority before, by force"), "{said:?}");
}
