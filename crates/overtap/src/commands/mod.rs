//! One module for each word a person types after `overtap`.

pub(crate) mod capture;
pub(crate) mod decode;
pub(crate) mod find;
pub(crate) mod plan;
