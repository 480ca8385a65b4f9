//! `etcdutl` alone, without the rest of the one binary.

fn main() {
    std::process::exit(utl::main(std::env::args().collect()));
}
