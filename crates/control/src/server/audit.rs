//! Gives the audit log to administrators, page by page.

use std::sync::Arc;

use api::proto::{AuditEntries, ReadAuditRequest};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit::{Action, Answer, Draft, Who};

use super::desk::{Asker, Desk, broken, draft};

/// The log from where it is asked for to where it ends now. Reading it is an entry of its own,
/// and so is being refused it.
pub(super) fn read(
    desk: Arc<Desk>,
    asker: &Asker,
    ask: &ReadAuditRequest,
) -> Result<impl Stream<Item = Result<AuditEntries, Status>> + use<>, Status> {
    let role = asker.user.role;
    let refusal = (!role.administers())
        .then(|| format!("the role {role} may not read the audit log; it needs the role admin"));
    let answer = match &refusal {
        Some(because) => Answer::Refused { because: because.clone() },
        None => Answer::Granted,
    };
    let entry = Draft {
        who: Who::User(asker.user.name.clone()),
        from: asker.from.clone(),
        subject: "read".to_owned(),
        ..draft(Action::Audit, answer)
    };
    desk.note(&entry).map_err(|error| broken(&error))?;
    if let Some(because) = refusal {
        return Err(Status::permission_denied(because));
    }
    let end = desk.blocking(|store| store.audit_head()).map_err(|error| broken(&error))?.seq;
    let first = match ask.last {
        0 => ask.first,
        last => ask.first.max(end.saturating_sub(last.saturating_sub(1))),
    };
    let (to, pages) = mpsc::channel(2);
    tokio::spawn(async move { send(&desk, first.max(1), end, &to).await });
    Ok(ReceiverStream::new(pages))
}

async fn send(desk: &Desk, first: u64, end: u64, to: &mpsc::Sender<Result<AuditEntries, Status>>) {
    let mut next = first;
    while next <= end {
        let page = match desk.blocking(|store| store.audit(next, PAGE)) {
            Ok(page) => page,
            Err(error) => {
                let _ = to.send(Err(broken(&error))).await;
                return;
            }
        };
        // Numbers are as they are stored: a log that was damaged is shown as it is.
        let Some(last) = page.last() else { return };
        next = last.seq.saturating_add(1);
        let shown = page.iter().take_while(|entry| entry.seq <= end);
        let line: Vec<String> = shown.map(ToString::to_string).collect();
        if to.send(Ok(AuditEntries { line })).await.is_err() {
            return;
        }
    }
}

/// An entry has a megabyte or two at most, and mostly 300 bytes.
const PAGE: usize = 30;
