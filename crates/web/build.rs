//! The page is part of the program: a file that comes or goes makes another one.

fn main() {
    println!("cargo:rerun-if-changed=page");
}
