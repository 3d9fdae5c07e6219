//! Lists in pages: so many at once, and a word by which to go on.
//!
//! The word stands for the last item that was given, not for a number: what is added or removed
//! meanwhile neither repeats nor hides another item.

use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::problem::Problem;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Pages {
    /// Most items, 1 to 1000; 100 if nothing is said.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Where to go on: the `next` of the answer before.
    cursor: Option<String>,
}

impl Pages {
    /// The items behind the cursor, in the order of their keys, and the cursor for those behind
    /// them.
    pub(crate) fn of<T>(
        &self,
        mut items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        let (limit, last) = self.bounds()?;
        if let Some(last) = last {
            items.retain(|item| key(item) > last);
        }
        items.sort_by_cached_key(&key);
        let has_more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| has_more);
        let next = last.map(|last| Self::cursor(&key(last)));
        Ok((items, next))
    }

    /// How many items are wanted, and the key of the last one that was given.
    pub(crate) fn bounds(&self) -> Result<(usize, Option<String>), Problem> {
        let limit = self.limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::bad_request(format!("limit is 1 to {MOST}, not {limit}")));
        }
        let read = |cursor: &String| {
            let last = BASE64URL_NOPAD.decode(cursor.as_bytes()).ok();
            let last = last.and_then(|bytes| String::from_utf8(bytes).ok());
            last.ok_or_else(|| {
                Problem::bad_request("cursor is no `next` of an answer; leave it out to begin")
            })
        };
        Ok((limit, self.cursor.as_ref().map(read).transpose()?))
    }

    /// The cursor that stands for an item with this key.
    pub(crate) fn cursor(key: &str) -> String {
        BASE64URL_NOPAD.encode(key.as_bytes())
    }
}

const USUAL: usize = 100;
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_comes_once_whatever_is_added_meanwhile() {
        let mut all: Vec<u32> = (0..250).map(|number| number * 10).collect();
        let (mut got, mut cursor) = (Vec::new(), None);
        loop {
            let pages = Pages { limit: None, cursor: cursor.take() };
            let (items, next) = pages.of(all.clone(), |number| format!("{number:06}")).unwrap();
            got.extend(items);
            // Before and behind where we are.
            all.extend([5, 2495]);
            match next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        let old: Vec<u32> = got.iter().copied().filter(|number| number % 10 == 0).collect();
        assert_eq!(old, (0..250).map(|number| number * 10).collect::<Vec<_>>());
        assert!(!got.contains(&5));
    }

    #[test]
    fn a_limit_beyond_reason_and_a_made_up_cursor_are_refused() {
        let all = |pages: Pages| pages.of(vec![1], u32::to_string);
        assert!(all(Pages { limit: Some(0), cursor: None }).is_err());
        assert!(all(Pages { limit: Some(1001), cursor: None }).is_err());
        assert!(all(Pages { limit: None, cursor: Some("!".into()) }).is_err());
    }
}
