//! Keeps people who are not let in from filling the log with it.

use jiff::{SignedDuration, Timestamp};

use crate::audit::{Answer, Draft};

/// How many refusals of strangers the log takes: some at once, then one a second. Those it does
/// not take are counted, and the next one it takes says how many they were.
///
/// Users and agents with a good token or certificate are never counted here; all that they are
/// refused is in the log.
#[derive(Debug, Clone)]
pub struct Strangers {
    left: u32,
    refilled_at: Timestamp,
    missed: u64,
}

impl Strangers {
    /// With room for the first ones.
    pub const fn new(now: Timestamp) -> Self {
        Self { left: AT_ONCE, refilled_at: now, missed: 0 }
    }

    /// The entry as it is to be written; `None` where it is only counted.
    pub fn admit(&mut self, draft: Draft) -> Option<Draft> {
        self.refill(draft.at);
        let Some(left) = self.left.checked_sub(1) else {
            self.missed += 1;
            return None;
        };
        self.left = left;
        let missed = std::mem::take(&mut self.missed);
        Some(if missed == 0 { draft } else { mention(draft, missed) })
    }

    fn refill(&mut self, now: Timestamp) {
        let since = now.duration_since(self.refilled_at);
        // A clock that was set back begins anew.
        if since.is_negative() {
            self.refilled_at = now;
        }
        let earned = since.as_millis() / REFILL.as_millis();
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(AT_ONCE);
            self.refilled_at = now;
        }
    }
}

fn mention(draft: Draft, missed: u64) -> Draft {
    let answer = match draft.answer {
        Answer::Refused { because } => Answer::Refused {
            because: format!("{because} (after {missed} more refusals that were only counted)"),
        },
        other => other,
    };
    Draft { answer, ..draft }
}

const AT_ONCE: u32 = 100;
const REFILL: SignedDuration = SignedDuration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Action, Who};

    fn refusal(ms: i64) -> Draft {
        Draft {
            at: Timestamp::from_millisecond(ms).unwrap(),
            who: Who::Unknown(String::new()),
            from: "10.0.0.9:5".to_owned(),
            action: Action::LogIn,
            subject: String::new(),
            machines: vec![],
            answer: Answer::Refused { because: "no".to_owned() },
            reason: String::new(),
        }
    }

    #[test]
    fn a_flood_costs_one_entry_a_second_and_none_is_forgotten() {
        let mut strangers = Strangers::new(refusal(0).at);
        let written: Vec<Draft> =
            (0..10_000).filter_map(|ms| strangers.admit(refusal(ms))).collect();
        assert_eq!(written.len(), 100 + 9);
        let because = |draft: &Draft| match &draft.answer {
            Answer::Refused { because } => because.clone(),
            _ => String::new(),
        };
        assert_eq!(because(&written[99]), "no");
        let text = "no (after 900 more refusals that were only counted)";
        assert_eq!(because(&written[100]), text);
        let text = "no (after 999 more refusals that were only counted)";
        assert_eq!(because(&written[101]), text);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_close_the_log() {
        let mut strangers = Strangers::new(refusal(1_000_000).at);
        while strangers.admit(refusal(1_000_000)).is_some() {}
        assert_eq!(strangers.admit(refusal(0)), None);
        assert!(strangers.admit(refusal(1000)).is_some());
    }
}
