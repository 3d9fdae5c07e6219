//! Prints the document that describes the API: `cargo run -p web --example openapi`.

fn main() -> Result<(), serde_json::Error> {
    println!("{}", web::openapi().to_pretty_json()?);
    Ok(())
}
