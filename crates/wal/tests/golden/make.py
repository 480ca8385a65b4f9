#!/usr/bin/env python3
"""Makes the golden logs and snapshots: a short life of one member under each
real etcd. Usage: make.py PEERS-DIR OUT-DIR, where PEERS-DIR/<version>/ holds
etcd and etcdctl. Zero tails are cut off to keep the files small; readers
accept that, as etcd's do."""
import os, shutil, signal, socket, subprocess, sys, tempfile, time

def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def life(bin_dir, out):
    home = tempfile.mkdtemp()
    data = os.path.join(home, "data")
    client, peer = (f"http://127.0.0.1:{port()}" for _ in range(2))
    ctl = [os.path.join(bin_dir, "etcdctl"), "--endpoints", client]
    env = dict(os.environ, ETCDCTL_API="3")

    def run(*args):
        return subprocess.run(ctl + list(args), env=env, check=True, capture_output=True, text=True).stdout

    def start():
        process = subprocess.Popen(
            [os.path.join(bin_dir, "etcd"), "--name", "m1", "--data-dir", data, "--snapshot-count", "10",
             "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
             "--initial-advertise-peer-urls", peer, "--initial-cluster", f"m1={peer}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.time() + 30
        while subprocess.run(ctl + ["endpoint", "health"], env=env, capture_output=True).returncode:
            assert time.time() < deadline, "etcd does not answer"
        return process

    def stop(process, how):
        process.send_signal(how)
        process.wait()

    etcd = start()
    for i in range(12):
        run("put", f"key/{i}", "v" * (i * 60))
    lease = run("lease", "grant", "600").split()[1]
    run("put", "leased", "x", "--lease", lease)
    run("del", "key/3")
    stop(etcd, signal.SIGTERM)
    etcd = start()
    run("member", "add", "learner", "--learner", "--peer-urls", "http://127.0.0.1:1")
    for i in range(5):
        run("put", "again", str(i))
    stop(etcd, signal.SIGKILL)

    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    for name in sorted(os.listdir(os.path.join(data, "member/wal"))):
        if name.endswith(".wal"):
            content = open(os.path.join(data, "member/wal", name), "rb").read().rstrip(b"\0")
            content += bytes(-len(content) % 8)
            open(os.path.join(out, name), "wb").write(content)
    snaps = sorted(n for n in os.listdir(os.path.join(data, "member/snap")) if n.endswith(".snap"))
    shutil.copyfile(os.path.join(data, "member/snap", snaps[-1]), os.path.join(out, snaps[-1]))
    shutil.rmtree(home)

if __name__ == "__main__":
    peers, out = sys.argv[1:]
    for version in sorted(os.listdir(peers)):
        if os.path.exists(os.path.join(peers, version, "etcd")):
            life(os.path.join(peers, version), os.path.join(out, version))
            print(version)
