//! Words for tags, labels, sessions and tunnels, and their numbers.

use super::super::expression::{Carrier, Direction};
use super::super::numbers::Numbers;
use super::{Kind, ParseError, Parser};

impl Parser<'_> {
    /// What stands behind `word`, which has been taken; `None` if it is not such a word.
    pub(super) fn carrier(&mut self, word: &str) -> Result<Option<Carrier>, ParseError> {
        Ok(Some(match word {
            "vlan" => Carrier::Vlan(self.numbers("a VLAN", 0xfff)?),
            "qinq" => Carrier::QinQ,
            "mpls" => Carrier::Mpls(self.numbers("a label", 0xf_ffff)?),
            "pppoed" => Carrier::PppoeDiscovery,
            "pppoes" => Carrier::PppoeSession(self.numbers("a session", 0xffff)?),
            "vni" => {
                let numbers = self.numbers("an overlay number", MAX_VNI)?;
                if numbers.is_any() {
                    let message = format!("expected an overlay number, a number up to {MAX_VNI}");
                    return Err(self.wrong(message, None));
                }
                Carrier::Vni(numbers)
            }
            "vxlan" => Carrier::Vxlan(self.numbers("an overlay number", MAX_VNI)?),
            "geneve" => Carrier::Geneve(self.numbers("an overlay number", MAX_VNI)?),
            "gre" => Carrier::Gre(self.keyed("key", "a key", u32::MAX)?),
            "nvgre" => Carrier::Nvgre(self.keyed("vsid", "a virtual subnet", MAX_VNI)?),
            "erspan" => Carrier::Erspan(self.keyed("session", "a session", 0x3ff)?),
            "gtpu" => Carrier::Gtpu(self.keyed("teid", "a tunnel end point", u32::MAX)?),
            "etag" => Carrier::ETag(self.numbers("an extended port", 0xf_ffff)?),
            "vntag" => self.vntag()?,
            _ => return Ok(None),
        }))
    }

    /// `vntag`, `vntag vif 5`, `vntag src vif 5`.
    fn vntag(&mut self) -> Result<Carrier, ParseError> {
        let direction = match self.peek_at(1) {
            Some(Kind::Word("vif")) if self.takes("src") => Direction::Source,
            Some(Kind::Word("vif")) if self.takes("dst") => Direction::Destination,
            _ => Direction::Either,
        };
        let vif = self.keyed("vif", "a virtual interface", 0x3fff)?;
        Ok(Carrier::VnTag { direction, vif })
    }

    /// Numbers behind a keyword that may be left out.
    fn keyed(&mut self, keyword: &str, what: &str, max: u32) -> Result<Numbers, ParseError> {
        let has_keyword = self.takes(keyword);
        let numbers = self.numbers(what, max)?;
        if has_keyword && numbers.is_any() {
            return Err(self.wrong(format!("expected {what}, a number up to {max}"), None));
        }
        Ok(numbers)
    }

    /// Numbers, if the next word begins like one.
    fn numbers(&mut self, what: &str, max: u32) -> Result<Numbers, ParseError> {
        let word = match self.peek() {
            Some(Kind::Word(word)) if word.starts_with(|c: char| c.is_ascii_digit()) => word,
            _ => return Ok(Numbers::ANY),
        };
        match Numbers::parse(word, max) {
            Some(numbers) => {
                self.at += 1;
                Ok(numbers)
            }
            None => Err(self.wrong(format!("expected {what}, a number up to {max}"), None)),
        }
    }
}

const MAX_VNI: u32 = 0xff_ffff;
