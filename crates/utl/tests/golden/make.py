#!/usr/bin/env python3
"""Makes the golden snapshot and what the real etcdutl makes of it and says.
Usage: make.py PEERS-DIR OUT-DIR, where PEERS-DIR/3.5.30/ holds etcd, etcdctl and
etcdutl."""
import json, os, shutil, signal, socket, subprocess, sys, tempfile, time

LINES = """
snapshot status small.snapshot
snapshot status small.snapshot -w json
snapshot status small.snapshot -wfields
snapshot status --write-out=table small.snapshot
snapshot status small.snapshot -w protobuf
snapshot status small.snapshot -w bogus
snapshot status
snapshot status a b
snapshot status nope
snapshot status small.snapshot -x
snapshot status -w
snapshot status small.snapshot --write-out
snapshot status small.snapshot --foo
snapshot status --help
snapshot
snapshot --help
snapshot foo
help snapshot
help snapshot restore
foo
snapshott
defrag
defrag --help
version --help
snapshot restore
snapshot restore --help
snapshot restore --data-dir q
snapshot restore a b --data-dir q
snapshot restore small.snapshot --data-dir q --bump-revision 5
snapshot restore small.snapshot --data-dir q --mark-compacted
snapshot restore small.snapshot --data-dir q --mark-compacted=maybe
snapshot restore small.snapshot --data-dir q --bump-revision x --mark-compacted
snapshot restore small.snapshot --data-dir q --name z
snapshot restore small.snapshot --data-dir q --initial-advertise-peer-urls foo
snapshot restore small.snapshot --data-dir q --initial-advertise-peer-urls http://localhost
snapshot restore small.snapshot --data-dir q --initial-advertise-peer-urls http://localhost:2380/path
snapshot restore small.snapshot --data-dir q --initial-advertise-peer-urls http://localhost:2380,http://localhost:2381
snapshot restore small.snapshot --data-dir q --initial-cluster foo
snapshot restore small.snapshot --data-dir q --initial-cluster default=http://localhost:2380,default2
snapshot restore small.snapshot --data-dir q --initial-cluster default=http://localhost:2380,b=http://localhost:2380
snapshot restore small.snapshot --data-dir q --initial-cluster default=http://localhost:2380,default=http://localhost:2381
""".strip().splitlines()

RESTORES = {
    "one": [],
    "three": ["--name", "b", "--initial-cluster-token", "tok", "--initial-cluster",
              "a=http://127.0.0.1:1,b=http://127.0.0.1:2,b=https://x.local:3,c=http://10.0.0.1:2380",
              "--initial-advertise-peer-urls", "http://127.0.0.1:2,https://x.local:3"],
    "bumped": ["--bump-revision", "1000", "--mark-compacted"],
}

def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def main(peers, out):
    bin_dir, out = os.path.join(peers, "3.5.30"), os.path.abspath(out)
    home = tempfile.mkdtemp()
    os.chdir(home)
    client, peer = (f"http://127.0.0.1:{port()}" for _ in range(2))
    ctl = [os.path.join(bin_dir, "etcdctl"), "--endpoints", client]
    utl = os.path.join(bin_dir, "etcdutl")
    etcd = subprocess.Popen(
        [os.path.join(bin_dir, "etcd"), "--name", "m1", "--data-dir", "data",
         "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
         "--initial-advertise-peer-urls", peer, "--initial-cluster", f"m1={peer}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.time() + 30
    while subprocess.run(ctl + ["endpoint", "health"], capture_output=True).returncode:
        assert time.time() < deadline, "etcd does not answer"

    def run(*args):
        return subprocess.run(ctl + list(args), check=True, capture_output=True, text=True).stdout

    for i in range(20):
        run("put", f"k{i}", f"v{i}")
    run("del", "k3")
    run("put", "k4", "again")
    run("compact", "10")
    time.sleep(1)
    hashes = {}
    for rev in [0, 12, 15, 22]:
        answer = json.loads(run("endpoint", "hashkv", "--rev", str(rev), "-w", "json"))[0]["HashKV"]
        hashes[rev] = [answer["hash"], answer["compact_revision"]]
    run("snapshot", "save", "small.snapshot")
    etcd.send_signal(signal.SIGTERM)
    etcd.wait()

    said = []
    for line in LINES:
        done = subprocess.run([utl] + line.split(), capture_output=True, text=True)
        said.append({"line": line, "code": done.returncode, "stdout": done.stdout, "stderr": done.stderr})
    restored = {}
    for name, flags in RESTORES.items():
        subprocess.run([utl, "snapshot", "restore", "small.snapshot", "--data-dir", name] + flags,
                       check=True, capture_output=True)
        status = json.loads(subprocess.run([utl, "snapshot", "status", f"{name}/member/snap/db", "-w", "json"],
                                           check=True, capture_output=True, text=True).stdout)
        wal = open(f"{name}/member/wal/0000000000000000-0000000000000000.wal", "rb").read().rstrip(b"\0")
        restored[name] = {"flags": flags, "wal": wal.hex(), "db_hash": status["hash"],
                          "snap": sorted(n for n in os.listdir(f"{name}/member/snap") if n != "db")}
    shutil.copyfile("small.snapshot", os.path.join(out, "small.snapshot"))
    with open(os.path.join(out, "etcdutl-3.5.30.json"), "w") as file:
        json.dump({"said": said, "restored": restored, "hash_kv": hashes}, file, indent=1)
        file.write("\n")
    shutil.rmtree(home)

if __name__ == "__main__":
    main(*sys.argv[1:])
