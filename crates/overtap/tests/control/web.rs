//! The HTTP door: the same people, grants and audit log as everywhere, asked by browsers.

use std::time::{Duration, Instant};

use api::document::Part;
use serde_json::{Value, json};
use wire::file::{
    InterfaceHeader, PacketOptions, SectionHeader, write_interface, write_packet, write_section,
};
use wire::{Direction, LinkType, Packet, Timestamp};

use crate::controller::Controller;
use crate::host::{FakeHost, now_ns, uuid};
use crate::http::{Http, token};

/// A host with VMs of two tenants; ann may capture those of acme.
fn site() -> (Controller, FakeHost) {
    let controller = Controller::start();
    controller.add_user("ann", "operator");
    controller.done("admin", &["grants", "add", "ann", "--machine", "tenant:acme"]);
    controller.done("admin", &["grants", "add", "admin", "--machine", "all"]);
    let host = FakeHost::new(&controller, "hv-1");
    host.runs(&[("acme", "web", 1), ("acme", "db", 2), ("other", "vault", 3)]);
    let http = Http::of(&controller, "admin");
    until("the inventory comes", || http.json("/api/v1/machines")["total"] == 3);
    (controller, host)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(10), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a path with `{...}` in it looks like when somebody asks.
fn asked(path: &str) -> String {
    let filled = path.replace("{id}", "s-none").replace("{name}", "nobody");
    match path {
        "/api/v1/plan" => filled + "?vm=web",
        "/api/v1/filter/check" => filled + "?expression=tcp",
        _ => filled,
    }
}

#[test]
fn a_browser_logs_in_with_a_cookie_that_scripts_and_other_sites_cannot_use() {
    let controller = Controller::start();
    let nobody = Http::new(&controller);
    let wrong = nobody.ask("POST", "/api/v1/login", "{\"token\": \"hunter2\"}");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, ""));
    let body = json!({ "token": token(&controller, "admin") }).to_string();
    let answer = nobody.ask("POST", "/api/v1/login", &body);
    assert_eq!(answer.status, 204);
    let set = answer.header("set-cookie").to_owned();
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Strict"), "{set}");
    assert!(!set.contains("ovtu_"), "the token stays here: {set}");
    let cookie = set.split(';').next().unwrap();

    let browser = Http::new(&controller).with(&format!("Cookie: theme=dark; {cookie}"));
    let me = browser.json("/api/v1/me");
    assert_eq!(me, json!({ "name": "admin", "role": "admin", "is_admin": true, "via": "cookie" }));
    let user = json!({ "name": "eve", "role": "viewer" }).to_string();
    let forged = browser.ask("POST", "/api/v1/users", &user);
    assert_eq!(forged.status, 403);
    assert!(forged.detail().contains("X-Overtap: 1"), "{}", forged.detail());
    let own = Http::new(&controller).with(&format!("Cookie: {cookie}")).with("X-Overtap: 1");
    assert_eq!(own.ask("POST", "/api/v1/users", &user).status, 204);

    let out = own.ask("DELETE", "/api/v1/login", "");
    assert!(out.header("set-cookie").contains("Max-Age=0"), "{}", out.header("set-cookie"));
    assert_eq!(browser.get("/api/v1/me").status, 401, "a cookie that was kept is worth nothing");
    let bearer = Http::of(&controller, "admin");
    assert_eq!(bearer.json("/api/v1/me")["via"], "bearer");
    assert_eq!(bearer.json("/api/v1/users")["items"][1]["name"], "eve");
}

#[test]
fn every_question_of_a_stranger_is_refused_and_logged_with_their_address() {
    let controller = Controller::start();
    let stranger = Http::new(&controller);
    let before = controller.log().len();
    let mut count = 0;
    for (method, path) in stranger.described().operations() {
        // Who one is may be asked by nobody: a page that opens asks it first.
        if ["/api/v1/login", "/api/v1/me"].contains(&path.as_str()) {
            continue;
        }
        let answer = stranger.ask(&method, &asked(&path), "");
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text());
        assert!(answer.detail().contains("overtap login"), "{}", answer.detail());
        count += 1;
    }
    assert!(count > 25, "{count}");
    let refusals = controller.log().split_off(before);
    assert_eq!(refusals.iter().filter(|(_, is_granted)| !is_granted).count(), count);
    let entries = Http::of(&controller, "admin").json("/api/v1/audit?limit=1000");
    let entries = entries["items"].as_array().unwrap();
    let strangers = entries.iter().filter(|e| e["action"] == "log-in" && e["who"] == "unknown");
    assert!(strangers.clone().count() >= count);
    assert!(strangers.clone().all(|e| e["from"].as_str().unwrap().starts_with("127.0.0.1:")));
}

#[test]
fn each_sees_what_their_grants_show_and_no_more() {
    let (controller, _host) = site();
    let (ann, admin) = (Http::of(&controller, "ann"), Http::of(&controller, "admin"));
    let names = |all: &Value| -> Vec<String> {
        let items = all["items"].as_array().unwrap();
        items.iter().map(|it| it["machine"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&ann.json("/api/v1/machines")), ["db", "web"]);
    assert_eq!(names(&ann.json("/api/v1/machines?what=vault")), [""; 0]);
    let web = &ann.json("/api/v1/machines?what=10.0.0.1")["items"][0];
    assert_eq!((&web["host"], &web["host_state"]), (&"hv-1".into(), &"connected".into()));
    assert_eq!(web["machine"]["uuid"], uuid(1).as_str());
    assert_eq!(web["machine"]["vnics"][0]["ips"][0]["ip"], "10.0.0.1");

    let first = admin.json("/api/v1/machines?limit=2");
    let cursor = first["next"].as_str().unwrap();
    let second = admin.json(&format!("/api/v1/machines?limit=2&cursor={cursor}"));
    let both = [names(&first), names(&second)].concat();
    assert_eq!(
        (both, &second["next"]),
        (vec!["db".into(), "vault".into(), "web".into()], &Value::Null)
    );

    let count = |http: &Http| http.json("/api/v1/topology")["hosts"][0]["machines"].clone();
    assert_eq!((count(&ann), count(&admin)), (2.into(), 3.into()));
    assert_eq!(ann.json("/api/v1/status")["agents"][0]["host"], "hv-1");
    let then = ann.json("/api/v1/machines?at=2020-01-01T00:00:00Z");
    assert_eq!(then["total"], 0, "nobody knew them then");

    let plan = ann.json("/api/v1/plan?vm=web&filter=tcp%20port%20443");
    assert_eq!((&plan["vm"], &plan["points"][0]["rank"]), (&"web".into(), &1.into()));
    assert_eq!(ann.get("/api/v1/plan?vm=vault").status, 404);
    let check = ann.json("/api/v1/filter/check?expression=vm%20web%20and%20tcp");
    assert!(check["normal"].as_str().unwrap().contains("vm"), "{check}");
    let unknown = ann.get("/api/v1/filter/check?expression=vm%20vault");
    assert_eq!(unknown.status, 400);
    let typo = ann.get("/api/v1/filter/check?expression=tcp%20prot%2080");
    assert_eq!(typo.status, 400);
    assert_eq!(typo.json()["mistake"]["column"], 5, "{}", typo.text());
    for path in ["machines?limit=0", "machines?cursor=!", "machines?at=soon", "audit?limit=x"] {
        assert_eq!(admin.get(&format!("/api/v1/{path}")).status, 400, "{path}");
    }
}

#[test]
fn what_nobody_granted_is_refused_over_http_too_and_logged() {
    let (controller, host) = site();
    let ann = Http::of(&controller, "ann");
    let tries = [
        json!({ "what": ["vault"] }),
        json!({ "what": [uuid(3)] }),
        json!({ "what": ["10.0.0.3"] }),
        json!({ "what": ["tenant:other"] }),
        json!({ "what": ["web"], "expression": "vm vault or tcp" }),
    ];
    let before = controller.log().len();
    for body in &tries {
        let answer = ann.ask("POST", "/api/v1/sessions", &body.to_string());
        assert!([400, 403, 404].contains(&answer.status), "{body}: {}", answer.text());
    }
    for path in ["users", "agents", "audit"] {
        let answer = ann.get(&format!("/api/v1/{path}"));
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.detail().contains("it needs the role admin"), "{}", answer.detail());
    }
    let log = controller.log().split_off(before);
    assert_eq!(
        log.iter().filter(|(_, is_granted)| !is_granted).count(),
        tries.len() + 3,
        "{log:?}"
    );

    // Sessions of others: an administrator may look and end, and not have the packets.
    let began = ann.ask("POST", "/api/v1/sessions", "{\"what\": [\"web\"]}");
    assert_eq!(began.status, 201, "{}", began.text());
    let id = began.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(began.header("location"), format!("/api/v1/sessions/{id}"));
    host.wait_for(|host| host.permit(&id).is_some());
    has_part(&host, &id, 3);
    let admin = Http::of(&controller, "admin");
    until("the part is known", || admin.json(&format!("/api/v1/sessions/{id}"))["packets"] == 3);
    for file in ["capture.pcapng", "packets"] {
        let answer = admin.get(&format!("/api/v1/sessions/{id}/{file}"));
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.detail().contains("are ann's"), "{}", answer.detail());
    }
    let filter = format!("/api/v1/sessions/{id}/filter");
    assert_eq!(admin.ask("POST", &filter, "{\"expression\": \"tcp\"}").status, 403);
    controller.add_user("eve", "operator");
    let eve = Http::of(&controller, "eve");
    assert_eq!(eve.get(&format!("/api/v1/sessions/{id}")).status, 404);
    assert_eq!(eve.json("/api/v1/sessions")["items"], json!([]));
    assert_eq!(admin.ask("DELETE", &format!("/api/v1/sessions/{id}"), "").status, 204);
}

#[test]
fn a_capture_over_http_is_started_seen_stopped_and_downloaded() {
    let (controller, host) = site();
    let ann = Http::of(&controller, "ann");
    let mut events = ann.lines("/api/v1/events").filter(|line| line.starts_with("event:"));
    assert_eq!(events.next().unwrap(), "event: ready");
    let body = json!({ "what": ["web"], "expression": "udp", "snaplen": 96, "reason": "ticket 7" });
    let began = ann.ask("POST", "/api/v1/sessions", &body.to_string()).json();
    let id = began["id"].as_str().unwrap();
    assert_eq!((&began["state"], &began["snaplen"]), (&"running".into(), &96.into()));
    assert!(events.any(|line| line == "event: sessions"));
    let path = |rest: &str| format!("/api/v1/sessions/{id}{rest}");
    let changed = ann.ask("POST", &path("/filter"), "{\"expression\": \"tcp port 443\"}");
    assert_eq!(changed.json()["expression"], "tcp port 443");
    host.wait_for(|host| host.permit(id).is_some());
    has_part(&host, id, 500);
    assert_eq!(ann.ask("POST", &path("/stop"), "").json()["state"], "ended");
    until("it is complete", || {
        let session = ann.json(&path(""));
        session["packets"] == 500 && session["is_complete"] == true
    });
    let receipt = ann.json(&path("/receipt"));
    assert_eq!((&receipt["is_final"], &receipt["total"]["written"]), (&true.into(), &500.into()));

    let file = ann.get(&path("/capture.pcapng"));
    assert_eq!((file.status, file.header("content-type")), (200, "application/x-pcapng"));
    let disposition = format!("attachment; filename=\"web-{id}.pcapng\"");
    assert_eq!(file.header("content-disposition"), disposition);
    let fetched = controller.path("fetched.pcapng");
    let words = ["sessions", "fetch", id, "-w", fetched.to_str().unwrap()];
    controller.done("ann", &words);
    assert_eq!(file.body, std::fs::read(fetched).unwrap(), "the file that the program fetches");

    let lines: Vec<String> = ann.lines(&path("/packets")).collect();
    let data = |event: &str| -> Vec<Value> {
        let pairs = lines.windows(2).filter(|pair| pair[0] == format!("event: {event}"));
        pairs
            .map(|pair| serde_json::from_str(pair[1].strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    };
    let (packets, end) = (data("packet"), data("end"));
    let shown = packets.len();
    assert!((200..400).contains(&shown), "as many at once as a browser draws: {shown}");
    assert_eq!(end, [json!({ "packets": 500, "skipped": 500 - shown })]);
    let first = &packets[0];
    assert_eq!(first["host"], "hv-1");
    assert_eq!(first["stack"], json!(["eth", "ip", "udp"]));
    assert_eq!(first["source"], json!({ "mac": "02:00:00:00:00:01", "ip": "10.0.0.1", "port": 7 }));

    host.runs(&[("acme", "web", 1)]);
    assert!(events.any(|line| line == "event: machines"));
    assert_eq!(ann.ask("DELETE", &path(""), "").status, 204);
    assert_eq!(ann.get(&path("")).status, 404);
}

#[test]
fn the_office_is_open_to_administrators() {
    let controller = Controller::start();
    let admin = Http::of(&controller, "admin");
    let post = |path: &str, body: Value| admin.ask("POST", path, &body.to_string());
    assert_eq!(post("/api/v1/users", json!({ "name": "ann", "role": "operator" })).status, 204);
    assert_eq!(post("/api/v1/users", json!({ "name": "ann", "role": "king" })).status, 400);
    let made = post("/api/v1/tokens", json!({ "user": "ann" }));
    assert_eq!(made.status, 201);
    let ann = Http::new(&controller)
        .with(&format!("Authorization: Bearer {}", made.json()["token"].as_str().unwrap()));
    assert_eq!(ann.json("/api/v1/me")["role"], "operator");
    let grant = json!({ "to": "ann", "machines": ["tenant:acme"], "snaplen": "headers", "longest": "PT1H" });
    let grant = post("/api/v1/grants", grant);
    assert_eq!(grant.status, 201, "{}", grant.text());
    let id = grant.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(ann.json("/api/v1/grants")["items"][0]["id"], id.as_str());
    assert_eq!(admin.ask("DELETE", &format!("/api/v1/grants/{id}"), "").status, 204);
    assert_eq!(ann.json("/api/v1/grants")["items"], json!([]));
    let invitation =
        json!({ "address": "controller.example:7443", "expires_at": "2100-01-01T00:00:00Z" });
    let invitation = post("/api/v1/agents/invitations", invitation);
    assert_eq!(invitation.status, 201, "{}", invitation.text());
    assert_eq!(admin.json("/api/v1/agents")["items"], json!([]));
    let tokens = admin.json("/api/v1/tokens");
    assert_eq!(tokens["items"].as_array().unwrap().len(), 3);
    assert_eq!(post("/api/v1/users/ann", json!({ "is_enabled": false })).status, 204);
    let out = ann.get("/api/v1/me");
    assert_eq!(out.status, 401);
    assert!(out.detail().contains("the account ann is disabled"), "{}", out.detail());
    let audit = admin.json("/api/v1/audit?first=1&limit=2");
    assert_eq!((&audit["items"][0]["seq"], &audit["next"]), (&1.into(), &3.into()));
    assert_eq!(audit["items"].as_array().unwrap().len(), 2);
    let last = admin.json("/api/v1/audit?limit=1");
    assert_eq!((&last["items"][0]["action"], &last["next"]), (&"audit".into(), &Value::Null));
}

#[test]
fn the_page_is_for_nobody_elses_site_and_its_views_can_be_linked_to() {
    let controller = Controller::start();
    let http = Http::new(&controller);
    let page = http.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert!(!page.text().contains("<script>") && !page.text().contains("style="));
    let tag = page.header("etag").to_owned();
    let again = Http::new(&controller).with(&format!("If-None-Match: {tag}")).get("/");
    assert_eq!((again.status, again.body.len()), (304, 0));
    assert_eq!(http.get("/machines/web-01").body, page.body, "a view of it");
    assert_eq!(http.get("/nothing.js").status, 404);
    assert_eq!(http.get("/../../etc/passwd.txt").status, 404);
    for path in ["/api", "/api/v1", "/api/v1/nothing", "/api/v2/me"] {
        let answer = http.get(path);
        assert_eq!((answer.status, answer.header("cache-control")), (404, "no-store"), "{path}");
        assert!(answer.detail().contains("openapi.json"), "{}", answer.detail());
    }
    assert!(http.get("/api/v1/me").header("content-security-policy").contains("'self'"));
}

/// Has the host say that it captured so many packets of web, and that that is all.
fn has_part(host: &FakeHost, session: &str, count: u32) {
    let (began_ns, mut bytes) = (now_ns(), Vec::new());
    write_section(&mut bytes, &SectionHeader::default());
    write_interface(&mut bytes, &InterfaceHeader::ethernet("web/net0 @ hv-1:vnet0"));
    for number in 0..count {
        let time = began_ns + u64::from(number) * 1000;
        let frame = frame(number);
        let wire_len = u32::try_from(frame.len()).unwrap();
        let time = Timestamp::from_nanos(time);
        let packet = Packet {
            direction: Some(Direction::FromVm),
            ..Packet::new(time, LinkType::ETHERNET, &frame, wire_len)
        };
        write_packet(&mut bytes, 0, &packet, &PacketOptions::default());
    }
    let packets = u64::from(count);
    let total = pipeline::Ledger { received: packets, written: packets, ..Default::default() };
    let part: Part = serde_json::from_value(json!({
        "session": session, "host": "hv-1", "number": 1, "machine_id": format!("uuid:{}", uuid(1)),
        "machine": "web", "point": "tap", "began_ns": began_ns, "bytes": bytes.len(),
        "packets": packets, "kernel_dropped": 0, "failed": 0, "ended": "it was enough",
        "receipt": { "total": total, "unaccounted": 0 },
    }))
    .unwrap();
    host.has(&part, bytes, true);
}

/// UDP from web to somebody, each another one.
fn frame(number: u32) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]; // Ethernet, IPv4
    frame.extend([0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 7, 0, 9, 0, 12, 0, 0]); // UDP, port 7 to port 9
    frame.extend(number.to_be_bytes());
    frame
}
