//! The program under its own name, for development and for the tests that
//! compare it with etcd's.

fn main() {
    std::process::exit(ctl::main_os(
        ctl::Called::Etcdctl,
        std::env::args_os().skip(1).collect(),
        |words| {
            eprintln!("etcdutl is not part of this example: {words:?}");
            1
        },
    ));
}
