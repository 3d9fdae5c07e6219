//! The same questions put to the controller this user is logged in at. What comes is what their
//! grants show; it is printed like what a store answers.

use std::io::Write;

use api::traffic::{Answer, Question, Subject, Totals, What};
use flows::{By, Matrix, PairSums, Summary, Sums};
use flowstore::{Ask, Source};

use super::rows::Printing;
use super::{MOST, say_widened};
use crate::commands::flows::Form;
use crate::controller::Far;

/// Who moves how much.
pub(super) fn summary(far: &Far, ask: &Ask, by: By) -> anyhow::Result<Summary> {
    let what = What::Top { by: subject(by), most: MOST };
    let Answer::Top(top) = far.wait(far.connection.traffic_at_once(&question(ask, what)))? else {
        return Err(nonsense());
    };
    say_widened(top.is_widened);
    let mut summary = Summary::new(by);
    for (name, sums) in &top.rows {
        summary.add_sums(name, &sums_of(sums));
    }
    summary.add_others(&sums_of(&top.others));
    summary.set_totals(totals_of(&top.totals));
    Ok(summary)
}

/// Between whom.
pub(super) fn matrix(far: &Far, ask: &Ask, by: By) -> anyhow::Result<Matrix> {
    let what = What::Pairs { by: subject(by), most: MOST };
    let answer = far.wait(far.connection.traffic_at_once(&question(ask, what)))?;
    let Answer::Pairs(pairs) = answer else { return Err(nonsense()) };
    say_widened(pairs.is_widened);
    let mut matrix = Matrix::new(by);
    for ([one, other], sums) in &pairs.rows {
        matrix.add_sums([one, other], &pair_of(sums));
    }
    matrix.add_others(&pair_of(&pairs.others));
    matrix.set_totals(totals_of(&pairs.totals));
    Ok(matrix)
}

/// Prints rows, as they come.
pub(super) fn print(
    far: &Far,
    ask: &Ask,
    is_once: bool,
    form: Form,
    out: impl Write,
) -> anyhow::Result<()> {
    let mut printing = Printing::new(form, out);
    let question = question(ask, What::Flows { is_once });
    far.wait(async {
        let mut parts = far.connection.traffic(&question).await?;
        while let Some(answer) = far.connection.traffic_part(&mut parts).await? {
            let Answer::Flows(flows) = answer else { return Err(nonsense()) };
            for flow in flows {
                if !printing.is_good() {
                    return Ok(());
                }
                printing.add(&flow.fields);
            }
        }
        Ok(())
    })?;
    printing.finish()
}

fn question(ask: &Ask, what: What) -> Question {
    let to_ns = ask.to.as_nanos();
    Question {
        what,
        from_ns: ask.from.as_nanos(),
        to_ns: if to_ns == u64::MAX { 0 } else { to_ns },
        conditions: ask.filter.conditions().iter().map(ToString::to_string).collect(),
        is_from_rows: ask.source == Source::Rows,
    }
}

const fn subject(by: By) -> Subject {
    match by {
        By::Vms => Subject::Vms,
        By::Hosts => Subject::Hosts,
        By::Tenants => Subject::Tenants,
        By::Apps => Subject::Apps,
        By::Ports => Subject::Ports,
        By::Addresses => Subject::Addresses,
    }
}

const fn sums_of(sums: &api::traffic::Sums) -> Sums {
    let api::traffic::Sums { flows, packets, sent, received, by_split } = *sums;
    Sums { flows, packets, sent, received, by_split }
}

const fn pair_of(sums: &api::traffic::Sums) -> PairSums {
    let api::traffic::Sums { flows, packets, sent, received, by_split } = *sums;
    PairSums { flows, packets, octets: [sent, received], by_split }
}

const fn totals_of(totals: &Totals) -> flows::Totals {
    let Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates } =
        *totals;
    flows::Totals { flows, copies, packets, octets, by_split, copied, carried, unknown_rates }
}

fn nonsense() -> anyhow::Error {
    anyhow::anyhow!("the controller answered another question")
}
