//! `overtap find` on real bridges, taps and namespaces, in a network namespace of its own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::process::{Command, Output};

use serde_json::Value;

const OVERTAP: &str = env!("CARGO_BIN_EXE_overtap");

/// Runs a script where it can do no harm: own network, mounts, processes and host name. `None`,
/// loudly, where that is not allowed.
fn jailed(script: &str) -> Option<Output> {
    let jail = |arguments: &[&str], script: &str| {
        let mut command = Command::new("unshare");
        command.args(arguments).args(["--net", "--mount", "--pid", "--uts", "--ipc"]);
        command.args(["--fork", "--kill-child", "--mount-proc", "bash", "-ec", script]);
        command.env("F", OVERTAP).env("OVERTAP_STATE_DIR", "/run/state").output()
    };
    let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let way = ways.into_iter().find(|way| {
        jail(way, "mount -t tmpfs t /run && ip link add br0 type bridge")
            .is_ok_and(|o| o.status.success())
    });
    let Some(way) = way else {
        eprintln!("SKIPPED: no right to make network namespaces and bridges here");
        return None;
    };
    let prepare =
        "hostname hv-lab; mount -t tmpfs t /run; mkdir -p /run/netns; ip link set lo up\n";
    let output = jail(way, &format!("{prepare}{script}")).unwrap();
    assert!(output.status.success(), "{output:#?}");
    Some(output)
}

fn documents(output: &Output) -> Vec<Value> {
    let stream = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
    stream.collect::<Result<_, _>>().unwrap()
}

const TWO_NAMESPACES: &str = "
    ip link add br0 type bridge; ip link set br0 up
    for n in web db; do
      ip netns add $n
      ip link add $n-h type veth peer name eth0 netns $n
      ip link set $n-h master br0 up
      ip -n $n link set eth0 up
    done
    ip -n web addr add 10.0.7.12/24 dev eth0
";

#[test]
fn a_namespace_on_a_bridge_is_found_by_name_address_and_port() {
    let script = format!(
        "{TWO_NAMESPACES}
        $F find web --output json; $F find 10.0.7.12 --output json; $F find web-h --output json
        $F find wbe && exit 9 || test $? = 1
        $F find --at tomorrowish && exit 9 || test $? = 2"
    );
    let Some(output) = jailed(&script) else { return };
    let documents = documents(&output);
    assert_eq!(documents.len(), 3);
    for document in &documents {
        assert_eq!(document["host"], "hv-lab");
        let machines = document["machines"].as_array().unwrap();
        assert_eq!(machines.len(), 1, "{document:#}");
        assert_eq!(
            (&machines[0]["name"], &machines[0]["kind"]),
            (&"web".into(), &"namespace".into())
        );
        let vnic = &machines[0]["vnics"][0];
        assert_eq!(vnic["name"], "eth0");
        assert_eq!(vnic["ips"][0]["ip"], "10.0.7.12");
        let place = &vnic["attachment"];
        assert_eq!((&place["device"], &place["switch"]), (&"web-h".into(), &"br0".into()));
        assert_eq!(place["switch_kind"], "linux-bridge");
        assert_eq!(place["notes"][0], "internal only: no uplink leads out of br0");
    }
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains(r#"no VM is called "wbe"; did you mean "web"?"#), "{words}");
}

#[test]
fn changes_are_printed_as_they_happen_and_answer_later_questions() {
    let script = format!(
        "{TWO_NAMESPACES}
        $F find > /dev/null
        $F find --watch --output json > /run/watch & watch=$!
        sleep 1
        ip link set db-h nomaster; sleep 3
        ip netns delete web; sleep 1
        kill $watch
        cat /run/watch
        $F find db --at '90 seconds' --output json && exit 9 || true
        $F find db --at '2 seconds ago' --output json || true"
    );
    let Some(output) = jailed(&script) else { return };
    let documents = documents(&output);
    let changes: Vec<String> = documents
        .iter()
        .filter_map(|d| Some(format!("{} {}", d["name"].as_str()?, d["change"].as_str()?)))
        .collect();
    assert!(changes.contains(&"db moved".to_owned()), "{changes:?}");
    assert!(changes.contains(&"web vanished".to_owned()), "{changes:?}");
    let past = documents.last().unwrap();
    let db = &past["machines"][0];
    assert_eq!((&db["known"], &db["machine"]["name"]), (&"seen".into(), &"db".into()), "{past:#}");
}

#[test]
fn many_taps_are_all_there() {
    let script = "
        ip link add br0 type bridge; ip link set br0 up
        for n in $(seq 100); do echo link add name v$n type veth peer name p$n; done > /run/batch
        for n in $(seq 100); do echo link set v$n master br0; done >> /run/batch
        ip -batch /run/batch
        for n in $(seq 10); do ip netns add vm$n; ip link set p$n netns vm$n; done
        $F find --output json";
    let Some(output) = jailed(script) else { return };
    let documents = documents(&output);
    let machines = documents[0]["machines"].as_array().unwrap();
    let on_br0 = machines.iter().filter(|m| m["vnics"][0]["attachment"]["switch"] == "br0");
    assert_eq!(on_br0.count(), 10);
}
