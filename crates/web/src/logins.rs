//! Browsers that are logged in: a random word in a cookie stands for a token that stays here.
//!
//! Kept in memory alone: whoever copies a browser's cookies has them until they end, not the
//! token, and when the controller starts again people log in again. What the token opens is asked
//! anew at each question, so a token that was removed opens nothing here either.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// Who is logged in.
#[derive(Default)]
pub(crate) struct Logins(Mutex<HashMap<Key, Login>>);

/// The digest of a cookie: what is compared takes as long whatever it is, and memory has no cookie.
type Key = Vec<u8>;

struct Login {
    token: String,
    began: Instant,
    used: Instant,
}

impl Login {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) > IDLE || now.duration_since(self.began) > LONGEST
    }
}

impl Logins {
    /// Keeps a token that was found to be good; gives the cookie for it. `None` if there is no
    /// randomness. Of too many the one that was used longest ago ends.
    pub(crate) fn add(&self, token: String, now: Instant) -> Option<String> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).ok()?;
        let cookie = BASE64URL_NOPAD.encode(&secret);
        let mut logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logins.retain(|_, login| !login.is_over(now));
        if logins.len() >= MOST {
            let oldest = logins.iter().min_by_key(|(_, login)| login.used);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                logins.remove(&key);
            }
        }
        logins.insert(key(&cookie), Login { token, began: now, used: now });
        Some(cookie)
    }

    /// The token that a cookie stands for.
    pub(crate) fn token(&self, cookie: &str, now: Instant) -> Option<String> {
        let mut logins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let login = logins.get_mut(&key(cookie)).filter(|login| !login.is_over(now))?;
        login.used = now;
        Some(login.token.clone())
    }

    /// Ends a login.
    pub(crate) fn remove(&self, cookie: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(cookie));
    }
}

fn key(cookie: &str) -> Key {
    digest(&SHA256, cookie.as_bytes()).as_ref().to_vec()
}

/// How long a login lasts that nobody uses, and how long any does.
const IDLE: Duration = Duration::from_secs(12 * 3600);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// Browsers that are logged in at the same time.
const MOST: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_ends_when_it_is_left_or_too_old_or_ended() {
        let (logins, now) = (Logins::default(), Instant::now());
        let hours = |count: u64| now + Duration::from_secs(count * 3600);
        let cookie = logins.add("ovtu_1".into(), now).unwrap();
        assert_eq!(logins.token(&cookie, hours(11)), Some("ovtu_1".into()));
        assert_eq!(logins.token(&cookie, hours(22)), Some("ovtu_1".into()), "it was used");
        assert_eq!(logins.token(&cookie, hours(35)), None, "it was left");
        assert_eq!(logins.token("guessed", now), None);
        let cookie = logins.add("ovtu_2".into(), now).unwrap();
        for day in 0..14 {
            assert_eq!(logins.token(&cookie, hours(day * 12)), Some("ovtu_2".into()));
        }
        assert_eq!(logins.token(&cookie, hours(14 * 12 + 1)), None, "however it is used");
        let cookie = logins.add("ovtu_3".into(), now).unwrap();
        logins.remove(&cookie);
        assert_eq!(logins.token(&cookie, now), None);
    }

    #[test]
    fn of_too_many_the_one_left_longest_ends() {
        let (logins, now) = (Logins::default(), Instant::now());
        let first = logins.add("first".into(), now).unwrap();
        for second in 1..=MOST as u64 {
            logins.add("next".into(), now + Duration::from_millis(second)).unwrap();
        }
        assert_eq!(logins.token(&first, now), None);
        assert_eq!(logins.0.lock().unwrap().len(), MOST);
    }
}
