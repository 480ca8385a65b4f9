//! The load generator as a program of its own, for development: `cargo run --example bench -- put`.

fn main() {
    std::process::exit(bench::main(std::env::args().collect()));
}
