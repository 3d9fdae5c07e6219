//! Numbers that are calculated and compared: `tcp[tcpflags] & (tcp-syn|tcp-ack) != 0`.

use super::super::arithmetic::{ACCESSORS, Accessor, Arithmetic, Operator, Width};
use super::super::expression::Primitive;
use super::{Deep, Kind, ParseError, Parsed, Parser, constant, names};

/// A part of a calculation and how many levels it has.
struct Calculation {
    arithmetic: Arithmetic,
    depth: usize,
}

impl Deep for Calculation {
    fn depth(&self) -> usize {
        self.depth
    }
}

impl Parser<'_> {
    /// Whether a number begins here that will be compared.
    pub(super) fn is_calculation(&self) -> bool {
        match self.peek() {
            Some(Kind::Operator(Operator::Subtract)) => true,
            Some(Kind::Word("len")) => true,
            Some(Kind::Word(word)) => match self.peek_at(1) {
                Some(Kind::OpenIndex) => names::number(ACCESSORS, word).is_some(),
                Some(Kind::Operator(_) | Kind::Compare(_)) => constant(word).is_some(),
                _ => false,
            },
            // What stands behind the parenthesis tells what is in it.
            Some(Kind::Open) => {
                let end = self.ends.get(self.at).copied().unwrap_or(usize::MAX);
                let behind = self.tokens.get(end.saturating_add(1)).map(|token| token.kind);
                matches!(behind, Some(Kind::Operator(_) | Kind::Compare(_)))
            }
            _ => false,
        }
    }

    /// Two numbers and how they are compared.
    pub(super) fn relation(&mut self) -> Result<Parsed, ParseError> {
        // What stands around a calculation takes nothing from its own depth: the normal form has
        // more parentheses in it than were typed.
        let around = std::mem::take(&mut self.nesting);
        let relation = self.compared();
        self.nesting = around;
        relation
    }

    fn compared(&mut self) -> Result<Parsed, ParseError> {
        let left = self.calculation(0)?;
        let Some(Kind::Compare(compare)) = self.peek() else {
            let message = "expected a comparison: `=`, `!=`, `<`, `>`, `<=` or `>=`";
            return Err(self.wrong(message, None));
        };
        self.at += 1;
        let right = self.calculation(0)?;
        Ok(Parsed::is(Primitive::Relation {
            left: left.arithmetic,
            compare,
            right: right.arithmetic,
        }))
    }

    /// What binds at least as strongly as `rank`, from the left to the right.
    fn calculation(&mut self, rank: u8) -> Result<Calculation, ParseError> {
        let mut left = self.nested(Self::operand)?;
        while let Some(Kind::Operator(operator)) = self.peek() {
            if operator.rank() < rank {
                break;
            }
            let place = self.place();
            self.at += 1;
            // libpcap's grammar gives `%` and `^` no rank: they take all that follows them.
            let right_rank = match operator {
                Operator::Remainder | Operator::Xor => 0,
                other => other.rank() + 1,
            };
            let right = self.nested(|parser| parser.calculation(right_rank))?;
            let is_zero = right.arithmetic == Arithmetic::Number(0);
            if is_zero && matches!(operator, Operator::Divide | Operator::Remainder) {
                return Err(self.error(place, "a division by zero".into(), None));
            }
            if let (Operator::ShiftLeft | Operator::ShiftRight, Arithmetic::Number(32..)) =
                (operator, &right.arithmetic)
            {
                return Err(self.error(place, "a shift by more than 31 bits".into(), None));
            }
            let depth = left.depth.max(right.depth) + 1;
            if depth >= DEEPEST_CALCULATION {
                return Err(self.error(place, "too much to calculate".into(), None));
            }
            let (left_part, right_part) = (Box::new(left.arithmetic), Box::new(right.arithmetic));
            let arithmetic =
                Arithmetic::Calculated { operator, left: left_part, right: right_part };
            left = Calculation { arithmetic, depth };
        }
        Ok(left)
    }

    fn operand(&mut self) -> Result<Calculation, ParseError> {
        let alone = |arithmetic| Ok(Calculation { arithmetic, depth: 1 });
        match self.peek() {
            Some(Kind::Operator(Operator::Subtract)) => {
                let place = self.place();
                self.at += 1;
                let Calculation { arithmetic, depth } = self.nested(Self::operand)?;
                // Numbers wrap, so twice is not at all.
                if let Arithmetic::Negative(of) = arithmetic {
                    return Ok(Calculation { arithmetic: *of, depth });
                }
                let depth = depth + 1;
                if depth >= DEEPEST_CALCULATION {
                    return Err(self.error(place, "too much to calculate".into(), None));
                }
                Ok(Calculation { arithmetic: Arithmetic::Negative(Box::new(arithmetic)), depth })
            }
            Some(Kind::Open) => {
                self.at += 1;
                let inside = self.nested(|parser| parser.calculation(0))?;
                match self.peek() {
                    Some(Kind::Close) => {
                        self.at += 1;
                        Ok(inside)
                    }
                    _ => Err(self.wrong("expected `)`", None)),
                }
            }
            Some(Kind::Word("len")) => {
                self.at += 1;
                alone(Arithmetic::Length)
            }
            Some(Kind::Word(word)) => {
                if self.peek_at(1) == Some(Kind::OpenIndex) {
                    return self.indexed(word);
                }
                let Some(number) = constant(word) else {
                    let near = names::nearest(word, super::CONSTANTS.iter().map(|(name, _)| *name));
                    let message = "expected a number, `len` or bytes of a header, as `ip[8]`";
                    return Err(self.wrong(message, near.map(ToOwned::to_owned)));
                };
                let Ok(number) = u32::try_from(number) else {
                    return Err(self.wrong("numbers end at 4294967295", None));
                };
                self.at += 1;
                alone(Arithmetic::Number(number))
            }
            _ => Err(self.wrong("expected a number, `len` or bytes of a header, as `ip[8]`", None)),
        }
    }

    /// `ip[8]`, `udp[4:2]`.
    fn indexed(&mut self, word: &str) -> Result<Calculation, ParseError> {
        let Some(header): Option<Accessor> = names::number(ACCESSORS, word) else {
            let near = names::nearest(word, ACCESSORS.iter().map(|(name, _)| *name));
            let message = format!("`{word}` is no header to take bytes from");
            return Err(self.wrong(message, near.map(ToOwned::to_owned)));
        };
        self.at += 2;
        let offset = self.nested(|parser| parser.calculation(0))?;
        let mut width = Width::One;
        if self.peek() == Some(Kind::Colon) {
            self.at += 1;
            width = match self.peek() {
                Some(Kind::Word("1")) => Width::One,
                Some(Kind::Word("2")) => Width::Two,
                Some(Kind::Word("4")) => Width::Four,
                _ => return Err(self.wrong("expected 1, 2 or 4 bytes", None)),
            };
            self.at += 1;
        }
        if self.peek() != Some(Kind::CloseIndex) {
            return Err(self.wrong("expected `]`, or `:` and how many bytes", None));
        }
        self.at += 1;
        let depth = offset.depth + 1;
        if depth >= DEEPEST_CALCULATION {
            return Err(self.wrong("too much to calculate", None));
        }
        let offset = Box::new(offset.arithmetic);
        Ok(Calculation { arithmetic: Arithmetic::Bytes { header, offset, width }, depth })
    }
}

/// libpcap has 16 cells for what is not finished; a person needs four.
const DEEPEST_CALCULATION: usize = 32;
