//! Prints what each source of this host says; with `--watch`, each new report until it is ended.

use std::time::{Duration, Instant};

use inventory::facts::{Facts, Report};

fn main() -> std::io::Result<()> {
    let has = |option: &str| std::env::args().any(|argument| argument == option);
    if has("--watch") {
        let watcher = platform::Watcher::start()?;
        let begin = Instant::now();
        loop {
            if let Some(report) = watcher.recv_timeout(Duration::from_secs(3600)) {
                print!("{:9.3} ", begin.elapsed().as_secs_f64());
                print_report(&report, has("--short"));
            }
        }
    }
    let begin = Instant::now();
    let reports = platform::read_once(Duration::from_secs(5));
    let took = begin.elapsed();
    for report in &reports {
        print_report(report, has("--short"));
    }
    println!("{} reports in {took:?}", reports.len());
    Ok(())
}

fn print_report(report: &Report, is_short: bool) {
    let source = &report.source;
    match &report.facts {
        Ok(facts) if !is_short => println!("{source:?}: {facts:#?}"),
        Ok(Facts::Network(facts)) => println!(
            "{source:?}: {} links, {} neighbours, {} FDB entries, {} routes",
            facts.links.len(),
            facts.neighbours.len(),
            facts.fdb.len(),
            facts.routes.len()
        ),
        Ok(Facts::Processes(facts)) => println!(
            "{source:?}: {} VMs {:?}, {} namespaces {:?}, gaps {:?}",
            facts.qemus.len(),
            facts.qemus.iter().map(|q| q.name.as_deref().unwrap_or("?")).collect::<Vec<_>>(),
            facts.namespaces.len(),
            facts.namespaces.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(),
            facts.gaps
        ),
        Ok(Facts::OpenVSwitch(facts)) => println!(
            "{source:?}: {:?}",
            facts.bridges.iter().map(|b| (&b.name, b.ports.len())).collect::<Vec<_>>()
        ),
        Ok(Facts::Libvirt(facts)) => println!(
            "{source:?}: {:?}",
            facts.domains.iter().map(|d| (&d.name, d.state)).collect::<Vec<_>>()
        ),
        Err(problem) => println!("{source:?}: {problem}"),
    }
}
