//! The dates, names and limits of what the authority signs.

use super::*;

fn now() -> Timestamp {
    "2026-11-21T18:00:00.5Z".parse().unwrap()
}

fn agent() -> AgentId {
    "hv-1.example.com".parse().unwrap()
}

#[test]
fn every_certificate_begins_and_ends_when_policy_says() {
    let ca = Ca::make(now()).unwrap();
    let issued = ca.issue_agent(&agent(), &Request::make().unwrap().der, now()).unwrap();
    let (server, _) = ca.issue_server(&["control".to_owned()], now()).unwrap();
    let begin: Timestamp = "2026-11-21T17:00:00Z".parse().unwrap();
    let cases = [
        (ca.certificate(), "2036-11-18T18:00:00Z"),
        (&issued, "2026-12-21T18:00:00Z"),
        (&server, "2029-11-20T18:00:00Z"),
    ];
    for (certificate, end) in cases {
        assert_eq!(certificate.not_before(), begin);
        assert_eq!(certificate.not_after(), end.parse().unwrap());
    }
    assert_eq!(issued.renew_at(), "2026-12-11T17:40:00Z".parse().unwrap());
}

#[test]
fn no_certificate_outlives_the_authority() {
    let ca = Ca::make(now()).unwrap();
    let late = ca.certificate().not_after() - SignedDuration::from_hours(24);
    let issued = ca.issue_agent(&agent(), &Request::make().unwrap().der, late).unwrap();
    assert_eq!(issued.not_after(), ca.certificate().not_after());
    let after = ca.issue_agent(&agent(), &Request::make().unwrap().der, issued.not_after());
    assert!(matches!(after, Err(CaError::Expired(_))));
}

#[test]
fn a_certificate_says_who_the_agent_is_whatever_its_request_said() {
    let ca = Ca::make(now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["control.example.com".to_owned()]).unwrap();
    params.distinguished_name = common_name("somebody else");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let request = params.serialize_request(&key).unwrap();
    let issued = ca.issue_agent(&agent(), request.der(), now()).unwrap();
    let peer = Peer::read(issued.der()).unwrap();
    assert_eq!(peer.agent, agent());
    assert_eq!(&peer.serial, issued.serial());
    let parsed = certificate::parsed(issued.der()).unwrap();
    assert!(!parsed.is_ca());
    assert_eq!(parsed.subject().to_string(), "CN=hv-1.example.com");
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth && !usage.any);
}

#[test]
fn a_request_that_does_not_prove_its_key_gets_nothing() {
    let ca = Ca::make(now()).unwrap();
    let good = Request::make().unwrap().der;
    // RFC 2986, section 4.2: the signature covers all but itself, its algorithm and the frame.
    let algorithm = [0x30, 0x0a, 0x06, 0x08];
    let signed = good.windows(4).position(|bytes| bytes == algorithm).unwrap();
    for at in 0..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        let is_refused = ca.issue_agent(&agent(), &changed, now()).is_err();
        assert!(is_refused || !(3..signed).contains(&at), "byte {at}");
        assert!(ca.issue_agent(&agent(), &good[..at], now()).is_err(), "cut at {at}");
    }
    let long = vec![0x30; MOST_REQUEST_BYTES + 1];
    assert!(matches!(ca.issue_agent(&agent(), &long, now()), Err(CaError::Request)));
}

#[test]
fn what_it_signed_is_signed_by_it_and_by_no_other() {
    let (ours, other) = (Ca::make(now()).unwrap(), Ca::make(now()).unwrap());
    let issued = ours.issue_agent(&agent(), &Request::make().unwrap().der, now()).unwrap();
    let leaf = certificate::parsed(issued.der()).unwrap();
    let verify = |ca: &Ca| {
        let authority = certificate::parsed(ca.certificate().der()).unwrap();
        leaf.verify_signature(Some(authority.public_key())).is_ok()
    };
    assert!(verify(&ours));
    assert!(!verify(&other));
    assert_ne!(ours.issuer.key().serialize_pem(), other.issuer.key().serialize_pem());
}

#[test]
fn an_authority_is_read_back_from_its_text() {
    let ca = Ca::make(now()).unwrap();
    let read = Ca::from_pem(&ca.to_pem()).unwrap();
    assert_eq!(read.certificate(), ca.certificate());
    let issued = read.issue_agent(&agent(), &Request::make().unwrap().der, now()).unwrap();
    let (leaf, authority) = (issued.der(), ca.certificate().der());
    let authority = certificate::parsed(authority).unwrap();
    let leaf = certificate::parsed(leaf).unwrap();
    assert!(leaf.verify_signature(Some(authority.public_key())).is_ok());
    assert_eq!(leaf.issuer(), authority.subject());

    let other = Ca::make(now()).unwrap();
    let mixed = ca.certificate().pem() + &other.issuer.key().serialize_pem();
    assert!(matches!(Ca::from_pem(&mixed), Err(CaError::OtherKey)));
    assert!(matches!(Ca::from_pem(&ca.certificate().pem()), Err(CaError::NoKey)));
    assert!(matches!(Ca::from_pem(""), Err(CaError::NotACertificate)));
}

#[test]
fn the_controller_is_itself_and_nobody_elses() {
    let ca = Ca::make(now()).unwrap();
    let names = ["Control.example.com", "localhost", "10.0.0.5", "::1"].map(str::to_owned);
    let (server, key) = ca.issue_server(&names, now()).unwrap();
    assert!(key.contains("PRIVATE KEY"));
    let parsed = certificate::parsed(server.der()).unwrap();
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && !usage.client_auth, "it must not pass for an agent");
    assert_eq!(parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 4);
    assert_eq!(Peer::read(server.der()), Err(PeerError));
    assert_eq!(Peer::read(ca.certificate().der()), Err(PeerError));
    for bad in ["*.example.com", "hv-1.agents.overtap.internal", "AGENTS.overtap.internal", "a b"] {
        let refused = ca.issue_server(&[bad.to_owned()], now());
        assert!(matches!(refused, Err(CaError::ServerName(name)) if name == bad), "{bad}");
    }
    assert!(matches!(ca.issue_server(&[], now()), Err(CaError::NoName)));
}

#[test]
fn the_chain_of_a_server_ends_in_the_fingerprint_of_the_token() {
    let ca = Ca::make(now()).unwrap();
    let (server, _) = ca.issue_server(&["control".to_owned()], now()).unwrap();
    let chain = ca.chain_pem(&server);
    let (leaf, authority) = chain.split_at(server.pem().len());
    assert_eq!(Certificate::from_pem(leaf).unwrap(), server);
    assert_eq!(Certificate::from_pem(authority).unwrap().fingerprint(), ca.fingerprint());
    let with_colons = ca.fingerprint().to_string().to_uppercase();
    assert_eq!(with_colons.parse(), Ok(ca.fingerprint()));
}
