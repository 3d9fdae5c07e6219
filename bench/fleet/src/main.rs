//! A controller with as many agents as one machine carries: what a question costs, how soon a
//! migration is known and a filter is everywhere, and what the controller takes for it.
//!
//! The controller is a real `overtap serve` on loopback, its agents are real connections with
//! certificates of their own from one process; only the hosts behind them are made up.

mod agents;
mod controller;
mod people;
mod site;
mod spans;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agents::Agents;
use controller::Controller;
use people::People;
use site::Site;
use spans::Spans;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "\
usage: overtap-fleet OVERTAP [--hosts N] [--vms N] [--migrations N] [--seconds N]

OVERTAP is the program that is measured. N hosts (1000), N VMs on each (10), N migrations a minute
(100), for N seconds (60). Exits 1 if a bar is missed: find 50 ms, a migration known within 1 s, a
filter everywhere within 1 s, 1 GB of memory.";

struct Wanted {
    program: PathBuf,
    hosts: usize,
    vms: usize,
    migrations: u64,
    seconds: u64,
}

fn main() -> ExitCode {
    let Some(wanted) = read(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&wanted))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("overtap-fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(mut words: impl Iterator<Item = String>) -> Option<Wanted> {
    let program = words.next().filter(|word| !word.starts_with('-'))?.into();
    let mut wanted = Wanted { program, hosts: 1000, vms: 10, migrations: 100, seconds: 60 };
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--hosts" => wanted.hosts = usize::try_from(number).ok()?,
            "--vms" => wanted.vms = usize::try_from(number).ok()?,
            "--migrations" => wanted.migrations = number,
            "--seconds" => wanted.seconds = number,
            _ => return None,
        }
    }
    Some(wanted)
}

/// Measures. Says whether all bars were met.
async fn run(wanted: &Wanted) -> Result<bool> {
    api::tls::install_provider();
    let mut site = Site::new(wanted.hosts, wanted.vms);
    let controller = Controller::start(&wanted.program)?;
    let people = People::new(&controller)?;
    let began = std::time::Instant::now();
    let agents = Agents::enrol(&controller, &people, wanted.hosts).await?;
    println!("{} agents enrolled in {:.1} s", wanted.hosts, began.elapsed().as_secs_f64());
    let began = std::time::Instant::now();
    let agents = agents.attend(&site).await?;
    people.wait_for(wanted.hosts * wanted.vms).await?;
    println!("all of them there in {:.1} s", began.elapsed().as_secs_f64());

    let session = people.session().await?;
    let (mut finds, mut known, mut filters) =
        (Spans::default(), Spans::default(), Spans::default());
    let cpu = controller.cpu_s()?;
    let began = std::time::Instant::now();
    let every = Duration::from_millis(60_000 / wanted.migrations.max(1));
    let mut tick = tokio::time::interval(every);
    let mut number = 0_u16;
    while began.elapsed() < Duration::from_secs(wanted.seconds) {
        tick.tick().await;
        number += 1;
        for _ in 0..10 {
            finds.add(people.find(&site.some_name()).await?.0);
        }
        known.add(migrate(&mut site, &agents, &people).await?);
        if number.is_multiple_of(5) {
            let expression = format!("tcp port {number}");
            let began = std::time::Instant::now();
            people.refilter(&session, &expression).await?;
            filters.extend(agents.have_heard(&expression, began).await?);
        }
    }
    let span_s = began.elapsed().as_secs_f64();
    let cpu_percent = 100.0 * (controller.cpu_s()? - cpu) / span_s;
    let (now_mb, most_mb) = controller.memory_mb()?;
    let everything = people.find("").await?.0;
    let unknown = people.find("wbe-77").await?.0;
    println!("{number} migrations in {span_s:.0} s");
    println!("find NAME                  {finds}");
    println!("migration known            {known}");
    println!("filter at each agent       {filters}");
    println!("find, all machines         {:.1} ms", everything.as_secs_f64() * 1e3);
    println!("find, a name of nobody     {:.1} ms", unknown.as_secs_f64() * 1e3);
    println!("memory                     {now_mb} MB, at most {most_mb} MB");
    println!("CPU                        {cpu_percent:.1} % of one core");
    let second = Duration::from_secs(1);
    Ok(finds.most() < Duration::from_millis(50)
        && unknown < Duration::from_millis(50)
        && known.most() < second
        && filters.most() < second
        && most_mb < 1024)
}

/// Moves a machine, and says how long it took from the word of its new host until somebody who
/// asks is told.
async fn migrate(site: &mut Site, agents: &Agents, people: &People) -> Result<Duration> {
    let moved = site.migrate();
    let began = std::time::Instant::now();
    agents.look(moved.to, site).await?;
    agents.look(moved.from, site).await?;
    loop {
        let (_, hosts) = people.find(&moved.name).await?;
        if hosts == [site::host_name(moved.to)] {
            return Ok(began.elapsed());
        }
        if began.elapsed() > Duration::from_secs(10) {
            return Err(format!("{} is on {hosts:?} and not where it went", moved.name).into());
        }
    }
}
