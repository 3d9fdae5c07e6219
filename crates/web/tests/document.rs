//! The document in `docs/` is the one that the routes make.
#![allow(clippy::unwrap_used, reason = "a test may fail this way")]

#[test]
fn the_document_in_the_reference_is_that_of_the_routes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/openapi.json");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    let made = web::openapi().to_pretty_json().unwrap() + "\n";
    assert!(kept == made, "run: cargo run -p web --example openapi > docs/reference/openapi.json");
}
