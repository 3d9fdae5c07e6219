//! Which row of a list is chosen: a row, not a place, so that it stays chosen when rows change
//! their order.

/// The chosen row, by what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor<K> {
    chosen: Option<K>,
}

impl<K: Clone + PartialEq> Cursor<K> {
    /// No row yet.
    pub(crate) const fn new() -> Self {
        Self { chosen: None }
    }

    /// Where it is among these rows; nowhere while nobody has chosen one, or it is gone.
    pub(crate) fn place(&self, rows: &[K]) -> Option<usize> {
        let chosen = self.chosen.as_ref()?;
        rows.iter().position(|row| row == chosen)
    }

    /// Goes so many rows down, or up, and no further than the ends; to the first row at first.
    pub(crate) fn step(&mut self, rows: &[K], by: isize) {
        let last = rows.len().saturating_sub(1);
        let place = self.place(rows).map_or(0, |place| place.saturating_add_signed(by).min(last));
        self.chosen = rows.get(place).cloned();
    }

    /// No row any more.
    pub(crate) fn clear(&mut self) {
        self.chosen = None;
    }
}

/// The first row that is shown of so many lines, so that row `place` is among them.
pub(crate) const fn first_shown(place: usize, lines: usize) -> usize {
    (place + 1).saturating_sub(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stays_chosen_when_it_moves_and_none_is_when_it_goes() {
        let mut cursor = Cursor::new();
        assert_eq!(cursor.place(&['a', 'b', 'c']), None);
        cursor.step(&['a', 'b', 'c'], 1);
        assert_eq!(cursor.place(&['a', 'b', 'c']), Some(0), "the first one first");
        cursor.step(&['a', 'b', 'c'], 1);
        assert_eq!(cursor.place(&['a', 'b', 'c']), Some(1));
        assert_eq!(cursor.place(&['b', 'c', 'a']), Some(0));
        assert_eq!(cursor.place(&['c', 'a']), None);
        cursor.step(&['a', 'b', 'c'], 99);
        assert_eq!(cursor.place(&['a', 'b', 'c']), Some(2));
        cursor.step(&[], -1);
        assert_eq!(cursor.place(&['a']), None);
    }

    #[test]
    fn the_chosen_row_is_always_shown() {
        assert_eq!(first_shown(0, 5), 0);
        assert_eq!(first_shown(4, 5), 0);
        assert_eq!(first_shown(5, 5), 1);
        assert_eq!(first_shown(3, 0), 4);
    }
}
