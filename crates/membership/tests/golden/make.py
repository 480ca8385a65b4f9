#!/usr/bin/env python3
"""Makes the golden samples: one short life of a cluster under each real etcd.
Usage: make.py PEERS-DIR OUT-DIR, where PEERS-DIR/<version>/ holds etcd and
etcdctl. For each version:
  entries.txt  the log of the first member: index, type, payload in hexadecimal
  snap.json    Snapshot.data of its newest .snap (of one version with the
               event history, of the others without), index in the first line
  buckets.txt  what its database says of the membership: bucket, key, value"""
import json, os, shutil, signal, socket, struct, subprocess, sys, tempfile, time, urllib.error, urllib.parse, urllib.request

WITH_HISTORY = "3.5.16"

def port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]

def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at

def fields(data):
    out, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        if tag & 7 == 0:
            value, at = varint(data, at)
        else:
            assert tag & 7 == 2
            size, at = varint(data, at)
            value, at = data[at:at + size], at + size
        out.setdefault(tag >> 3, []).append(value)
    return out

def log(directory):
    entries = {}
    for name in sorted(n for n in os.listdir(directory) if n.endswith(".wal")):
        data, at = open(os.path.join(directory, name), "rb").read(), 0
        while at + 8 <= len(data):
            head = struct.unpack_from("<Q", data, at)[0]
            if head == 0:
                break
            size, pad = head & (1 << 56) - 1, head >> 56 & 7 if head >> 63 else 0
            record = fields(data[at + 8:at + 8 + size])
            at += 8 + size + pad
            if record[1] == [2]:
                entry = fields(record[3][0])
                entries[entry[3][0]] = (entry[1][0], entry.get(4, [b""])[0])
    return [(index, *entries[index]) for index in sorted(entries)]

def buckets(path, wanted):
    data = open(path, "rb").read()
    size = struct.unpack_from("<I", data, 24)[0]
    metas = [struct.unpack_from("<IIIIQQQQQ", data, page * size + 16) for page in (0, 1)]
    root = max(metas, key=lambda m: m[7])[4]

    def leaves(page, at):
        flags, count = struct.unpack_from("<HH", page, at + 8)
        for i in range(count):
            element = at + 16 + 16 * i
            if flags & 1:
                _, _, child = struct.unpack_from("<IIQ", page, element)
                yield from leaves(data, child * size)
            else:
                kind, pos, ksize, vsize = struct.unpack_from("<IIII", page, element)
                key = page[element + pos:element + pos + ksize]
                yield kind, key, page[element + pos + ksize:element + pos + ksize + vsize]

    for kind, name, value in leaves(data, root * size):
        if kind & 1 and name.decode() in wanted:
            child = struct.unpack_from("<Q", value)[0]
            rows = leaves(data, child * size) if child else leaves(value, 16)
            for _, key, content in rows:
                yield name.decode(), key, content

def life(version, bin_dir, out):
    home = tempfile.mkdtemp()
    client, peer, client2, peer2 = (f"http://127.0.0.1:{port()}" for _ in range(4))
    ctl = [os.path.join(bin_dir, "etcdctl"), "--endpoints", client]
    env = dict(os.environ, ETCDCTL_API="3")

    def run(*args):
        return subprocess.run(ctl + list(args), env=env, check=True, capture_output=True, text=True).stdout

    def start(name, client, peer, cluster, state):
        process = subprocess.Popen(
            [os.path.join(bin_dir, "etcd"), "--name", name, "--data-dir", os.path.join(home, name), "--snapshot-count", "3",
             "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer, "--enable-v2",
             "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, "--initial-cluster-state", state,
             "--initial-cluster-token", "tok " + version],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return process

    def until(done):
        deadline = time.time() + 30
        while not done():
            assert time.time() < deadline, "etcd does not answer"

    def v2(method, path, **form):
        data = urllib.parse.urlencode(form).encode() if method in ("PUT", "POST") else None
        if method == "DELETE" and form:
            path += "?" + urllib.parse.urlencode(form)
        request = urllib.request.Request(client + "/v2/keys" + path, data=data, method=method)
        try:
            return json.load(urllib.request.urlopen(request))
        except urllib.error.HTTPError as error:
            return json.load(error)

    def learners():
        return json.loads(run("member", "list", "-w", "json"))["members"]

    one = start("m1", client, peer, f"m1={peer}", "new")
    until(lambda: subprocess.run(ctl + ["endpoint", "health"], env=env, capture_output=True).returncode == 0)
    run("put", "foo", "bar")
    v2("PUT", "/a/b/c", value="<deep> & \u2028\"quoted\"")
    v2("PUT", "/a/b/c", value="again")
    v2("PUT", "/a/b/c", value="swapped", prevValue="again")
    v2("PUT", "/a/b/c", value="not", prevValue="other")
    v2("PUT", "/a/b/c", value="updated", prevExist="true")
    v2("PUT", "/a/b/new", value="created", prevExist="false")
    v2("PUT", "/a/b/new", value="not", prevExist="false")
    v2("PUT", "/missing", value="not", prevExist="true")
    v2("PUT", "/a/b/c/under-a-leaf", value="not")
    v2("PUT", "/a", value="not, a directory")
    v2("PUT", "/dir", dir="true")
    if not version.startswith("3.4"):  # which takes it, while 3.5 refuses
        v2("PUT", "/dir", dir="true", prevExist="true", ttl="1000")
    v2("POST", "/queue", value="first")
    v2("POST", "/queue", value="second", ttl="100000")
    v2("PUT", "/short", value="x", ttl="1")
    v2("PUT", "/short-dir/in", value="x", ttl="1")
    v2("PUT", "/long", value="x", ttl="100000")
    v2("PUT", "/long", ttl="200000", refresh="true", prevExist="true")
    v2("PUT", "/forever", value="x", ttl="100000")
    v2("PUT", "/forever", value="x", prevExist="true", ttl="")
    v2("PUT", "/gone/1", value="x")
    v2("DELETE", "/gone")
    v2("DELETE", "/gone", dir="true")
    v2("DELETE", "/gone", recursive="true")
    v2("PUT", "/kept", value="x")
    v2("DELETE", "/kept", prevValue="y")
    v2("PUT", "/dropped", value="x")
    v2("DELETE", "/dropped", prevValue="x")
    until(lambda: v2("GET", "/short").get("errorCode") == 100)
    run("member", "add", "gone", "--learner", "--peer-urls", "http://127.0.0.1:1,http://127.0.0.1:2")
    gone = next(m for m in learners() if m.get("isLearner"))
    run("member", "update", f"{gone['ID']:x}", "--peer-urls", "http://127.0.0.1:3")
    run("member", "remove", f"{gone['ID']:x}")
    run("member", "add", "m2", "--learner", "--peer-urls", peer2)
    two = start("m2", client2, peer2, f"m1={peer},m2={peer2}", "existing")
    second = next(m for m in learners() if m.get("isLearner"))
    until(lambda: subprocess.run(ctl + ["member", "promote", f"{second['ID']:x}"], env=env, capture_output=True).returncode == 0)
    until(lambda: all(m.get("clientURLs") for m in learners()))
    snaps = os.path.join(home, "m1/member/snap")
    promoted = set(os.listdir(snaps))
    for i in range(4):
        run("put", "foo", str(i))
    until(lambda: set(n for n in os.listdir(snaps) if n.endswith(".snap")) - promoted)
    for process in (two, one):
        process.send_signal(signal.SIGTERM)
        process.wait()

    shutil.rmtree(out, ignore_errors=True)
    os.makedirs(out)
    data = os.path.join(home, "m1/member")
    with open(os.path.join(out, "entries.txt"), "w") as file:
        for index, kind, payload in log(os.path.join(data, "wal")):
            file.write(f"{index} {kind} {payload.hex()}\n")
    newest = sorted(n for n in os.listdir(snaps) if n.endswith(".snap"))[-1]
    snapshot = fields(fields(open(os.path.join(snaps, newest), "rb").read())[2][0])
    text = snapshot[1][0].decode()
    if version != WITH_HISTORY:
        at = text.index('"WatcherHub":')
        text = text[:at] + text[text.index('"CurrentIndex":', at):]
    with open(os.path.join(out, "snap.json"), "w") as file:
        file.write(f"{fields(snapshot[2][0])[2][0]}\n{text}")
    with open(os.path.join(out, "buckets.txt"), "w") as file:
        for bucket, key, value in buckets(os.path.join(snaps, "db"), ("members", "members_removed", "cluster", "meta")):
            if bucket != "meta" or key == b"confState":
                file.write(f"{bucket} {key.decode()} {value.decode()}\n")
    shutil.rmtree(home)

for version in sorted(os.listdir(sys.argv[1])):
    if os.path.exists(os.path.join(sys.argv[1], version, "etcd")):
        print(version)
        life(version, os.path.join(sys.argv[1], version), os.path.join(sys.argv[2], version))
